"""Decoded blocks of frames: read from a file, and kept in memory up to a number of bytes."""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np

from . import layout
from .stored import Stored, StoredField

CACHE_BYTES = 2**30


class Block(NamedTuple):
    """The place of a block of frames: its field, the row of its trajectory, and its number there."""

    field: str
    row: int
    number: int


class Chunks:
    """The frames of a file, decoded in blocks of consecutive frames and kept in the axes of the package.

    Blocks are the chunks of the file. Those that were used last stay in memory. Each process opens the file by itself,
    and a copy by pickle or a fork begins with nothing in memory.

    Args:
        stored: what the file says.
        cache_bytes: bytes of decoded blocks that may stay in memory.
    """

    def __init__(self, stored: Stored, cache_bytes: int = CACHE_BYTES):
        self.stored, self.cache_bytes = stored, cache_bytes
        self._closed = False
        self._begin()

    def _begin(self):
        self._process, self._file, self._lock = os.getpid(), None, threading.Lock()
        self._datasets = {}
        self._blocks: OrderedDict[Block, np.ndarray] = OrderedDict()
        self._bytes = 0

    def __getstate__(self):
        return self.stored, self.cache_bytes

    def __setstate__(self, state):
        self.__init__(*state)

    def close(self) -> None:
        """Close the file and forget all blocks."""
        self._closed = True
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._begin()

    def windows(
        self, name: str, samples: Sequence[tuple[int, int]], span: int, stride: int, pool: Executor | None = None
    ) -> np.ndarray:
        """Return frames ``start, start + stride, ...`` below ``start + span`` for samples ``(row, start)``.

        Args:
            name: the field.
            samples: a row and a first frame for each sample.
            span: frames from the first one of a sample to its last one, both included.
            stride: frames from one to the next.
            pool: threads to decode in.

        Returns:
            ``(samples, window, ny, nx)``, or for vectors ``(samples, window, 2, ny, nx)`` with components u, v.
            They are float32.
        """
        field, (ny, nx) = self.stored.fields[name], self.stored.grid.shape
        length = block_length(field)
        places = [(row, *divmod(start + i, length)) for row, start in samples for i in range(0, span, stride)]
        blocks = self._blocks_of(dict.fromkeys(Block(name, row, number) for row, number, _ in places), pool)
        out = np.empty((len(places), *((2,) if field.vector else ()), ny, nx), np.float32)
        for i, (row, number, frame) in enumerate(places):
            out[i] = blocks[Block(name, row, number)][frame]
        return out.reshape(len(samples), -1, *out.shape[1:])

    def _blocks_of(self, wanted, pool):
        """Return blocks by their places, from memory or from disk."""
        if self._process != os.getpid():  # forked: the file and the lock belong to the other process
            self._begin()
        with self._lock:
            found = {block: self._blocks[block] for block in wanted if block in self._blocks}
            for block in found:
                self._blocks.move_to_end(block)
        missing = [block for block in wanted if block not in found]
        read = dict(zip(missing, (pool.map if pool else map)(self.read, missing), strict=True))
        with self._lock:
            for block, frames in read.items():
                if block not in self._blocks:
                    self._blocks[block] = frames
                    self._bytes += frames.nbytes
            while self._bytes > self.cache_bytes:
                _, oldest = self._blocks.popitem(last=False)
                self._bytes -= oldest.nbytes
        return found | read

    def read(self, block: Block) -> np.ndarray:
        """Read and decode a block, ``(frames, ny, nx)`` or ``(frames, 2, ny, nx)``; it is not kept.

        Raises:
            OSError: the block is damaged.
            ValueError: the file was closed.
        """
        field = self.stored.fields[block.field]
        try:
            values = self._decoded(self._dataset(field), field, block)
        except (OSError, zlib.error) as error:
            raise OSError(
                f"{self.stored.path}: {block.field} of trajectory {block.row} cannot be read ({error}); "
                "warpjaxns.data.verify says what is damaged"
            ) from error
        return np.ascontiguousarray(self._in_our_axes(values, field.vector), np.float32)

    def _decoded(self, dataset, field, block):
        length = block_length(field)
        first = block.number * length
        last = min(first + length, field.shape[1])
        if field.packed:  # HDF5 would hold its global lock while it decodes
            from h5py._objects import phil  # that lock, which h5py 3.11 does not take for this call

            with phil:
                mask, payload = dataset.id.read_direct_chunk((block.row, first, *(0,) * (len(field.shape) - 2)))
            if mask == 0:
                return layout.decompress(payload, field.chunks)[0, : last - first]
        return dataset[block.row, first:last]

    def _dataset(self, field) -> Any:
        import h5py

        if self._closed:
            raise ValueError(f"{self.stored.path} was closed; read it inside the with block")
        with self._lock:
            if self._file is None:
                self._file = h5py.File(self.stored.path, "r")
            if field.path not in self._datasets:
                self._datasets[field.path] = self._file[field.path]
            return self._datasets[field.path]

    def _in_our_axes(self, values, vector):
        """Transpose (frames, *axes, component) to (frames, component, y, x)."""
        axes = self.stored.axes
        y, x = 1 + axes.index("y"), 1 + axes.index("x")
        if not vector:
            return values.transpose(0, y, x)
        if axes[0] == "y":
            values = values[..., ::-1]  # components come in the order of the axes
        return values.transpose(0, 3, y, x)


def block_length(field: StoredField) -> int:
    """Return the number of frames in a block of a field."""
    return field.chunks[1] if field.chunks else 1
