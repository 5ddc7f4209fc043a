"""Windows of frames as a random-access source, for `Flows.batches` and for loaders of other packages."""

import operator
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, SupportsIndex

import numpy as np

from .._checks import check_count, check_option
from .chunks import Chunks
from .statistics import NORMALISATIONS, Statistics, of_chunks, scaling

Sample = dict[str, Any]


class Windows:
    """A sequence of samples: windows of frames of one trajectory each, as dicts of NumPy arrays.

    `Flows.windows` makes it. It has a length and takes indices, which is what Grain's ``RandomAccessDataSource`` and
    PyTorch's map-style ``Dataset`` ask for. It can be pickled: each process then opens the file by itself. Sample
    ``row * starts + start`` begins at frame ``start`` of trajectory ``row``.

    Attributes:
        window: frames in a sample.
        stride: frames from one frame of a sample to the next.
        fields: names of the fields in a sample.
        normalise: ``"standard"``, ``"rms"`` or None.
    """

    def __init__(self, chunks: Chunks, window: int, stride: int, fields: Sequence[str], normalise: str | None):
        stored = chunks.stored
        self.window, self.stride = check_count("window", window, least=1), check_count("stride", stride, least=1)
        if isinstance(fields, str) or any(name not in stored.fields for name in fields):
            raise ValueError(f"fields={fields!r}: expected some of {tuple(stored.fields)}, in a tuple")
        self.fields, self.normalise = tuple(fields), normalise
        self._span = (self.window - 1) * self.stride + 1
        if self._span > len(stored.time):
            raise ValueError(
                f"window={window} with stride={stride} spans {self._span} frames of the {len(stored.time)} there are"
            )
        self._chunks, self._starts = chunks, len(stored.time) - self._span + 1
        self._scaling = {}
        if normalise is not None:
            check_option("normalise", normalise, NORMALISATIONS)
            self._scaling = scaling(statistics_of(chunks), self.fields, normalise)

    def __len__(self):
        """Return the number of samples."""
        return len(self._chunks.stored.members) * self._starts

    def __repr__(self):
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        path = str(self._chunks.stored.path)
        return f"<Windows of {path!r}: {len(self)} samples of {self.window} frames{stride}: {', '.join(self.fields)}>"

    def __getitem__(self, index: SupportsIndex) -> Sample:
        """Return a sample: each field ``(window, ny, nx)`` or ``(window, 2, ny, nx)``, ``time`` and parameters."""
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        return {name: values[0] for name, values in self.take([number % len(self)]).items()}

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return several samples, as PyTorch asks for."""
        return [self[index] for index in indices]

    def take(self, indices: Sequence[int] | np.ndarray, pool: Executor | None = None) -> Sample:
        """Return several samples as one dict of arrays with a first axis of samples.

        Args:
            indices: numbers of samples, 0 or greater.
            pool: threads to decode frames in.
        """
        stored = self._chunks.stored
        samples = [divmod(int(index), self._starts) for index in indices]
        batch: Sample = {}
        for name in self.fields:
            values = self._chunks.windows(name, samples, self._span, self.stride, pool)
            if name in self._scaling:
                mean, scale = self._scaling[name]
                values -= mean
                values /= scale
            batch[name] = values
        batch["time"] = np.stack([stored.time[start : start + self._span : self.stride] for _, start in samples])
        rows = [row for row, _ in samples]
        return batch | {name: values[rows] for name, values in stored.parameters.items()}


def statistics_of(chunks: Chunks) -> Statistics:
    """Return the statistics that a file holds, or those of its frames, which are then all read once."""
    return chunks.stored.statistics or of_chunks(chunks)
