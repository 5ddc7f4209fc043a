"""Compression and writing of frames, in the background thread."""

from concurrent.futures import Executor

import numpy as np

from . import layout
from .ensemble import Ensemble
from .simulate import Frame
from .statistics import Sums
from .work import WorkFolder


class Recorder:
    """A writer that compresses the frames of a batch and appends them to its part, without failed members.

    Args:
        work: the folder of parts.
        ensemble: the ensemble that is computed.
        batch: the number of the batch.
        pool: an executor of threads to compress in.
    """

    def __init__(self, work: WorkFolder, ensemble: Ensemble, batch: int, pool: Executor):
        self._ensemble, self._pool = ensemble, pool
        self._members = ensemble.members(batch)
        self._part = work.writer(batch)
        self._failed = {}
        self._fields = tuple(layout.groups(ensemble))
        self._sums = {(member, field): Sums((0, 1, 2)) for member in self._members for field in self._fields}
        self._blocks = 0

    def write(self, frames: list[Frame]) -> None:
        """Append a block of frames of the members that have been finite so far."""
        length = layout.frames_per_chunk(self._ensemble)
        for number, frame in enumerate(frames, self._blocks * length):
            for member, finite in zip(self._members, frame.finite, strict=False):  # without the last batch's padding
                if not finite:
                    self._failed.setdefault(member, number)
        chunks = [
            (position, member, field)
            for position, member in enumerate(self._members)
            if member not in self._failed
            for field in self._fields
        ]

        def compressed(chunk):
            position, member, field = chunk
            values = np.stack([frame.fields[field][position] for frame in frames])
            self._sums[member, field].add(values)
            filled = np.zeros((length, *values.shape[1:]), np.float32)  # HDF5's chunks are all of one size
            filled[: len(values)] = values
            return layout.compress(filled, self._ensemble.compression)

        payloads = self._pool.map(compressed, chunks)
        self._part.append(
            (member, field, self._blocks, payload) for (_, member, field), payload in zip(chunks, payloads, strict=True)
        )
        self._blocks += 1

    def seal(self) -> None:
        """Mark the batch as done."""
        kept = [member for member in self._members if member not in self._failed]
        sums = {field: [self._sums[member, field].totals.tolist() for member in kept] for field in self._fields}
        self._part.seal(self._members, self._failed, sums)
