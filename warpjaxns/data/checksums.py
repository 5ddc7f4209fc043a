"""Checksums (CRC-32) of every byte of a finished file, and their verification.

provenance/checksums/
  vorticity, velocity, ...    (trajectories, blocks) uint32, of each chunk as it is stored, a block of frames
  rest                        uint32, of all other bytes of the file, except its own four
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from . import claims, layout

GROUP = "provenance/checksums"
PIECE = 2**20  # bytes that are read at once


def write(file, checksums: dict[str, np.ndarray]) -> None:
    """Add the checksums of each field's chunks, ``(trajectories, blocks)``, to an h5py.File, and room for ``rest``.

    `seal` writes ``rest`` once the file is closed.
    """
    group = file.create_group(GROUP)
    for name, values in {**checksums, "rest": np.zeros((), np.uint32)}.items():
        group.create_dataset(name, data=values, dtype="<u4", track_times=False)


def seal(path: Path) -> None:
    """Write the checksum ``rest`` of a file that is complete and closed."""
    import h5py

    with h5py.File(path, "r") as file:
        position = _rest(file).id.get_offset()
        extents = [(offset, length) for *_, offset, length in _chunks(file)]
    with path.open("r+b") as stream:
        checksum = _outside(stream, [*extents, (position, 4)])
        stream.seek(position)
        stream.write(checksum.to_bytes(4, "little"))


def verify(path: str | os.PathLike) -> tuple[str, ...]:
    """Compare a file that `generate` wrote with the checksums in it, which cover every byte.

    Args:
        path: the file. It is read once, and not changed.

    Returns:
        One sentence for each damaged part; an empty tuple if nothing is damaged. A damaged chunk is named by its field,
        trajectory and frames. If only chunks are damaged, the other trajectories can still be read.

    Raises:
        ValueError: the file holds no checksums: `generate` of an earlier version or another program wrote it.
        OSError: the file cannot be opened.
    """
    import h5py

    path, found = Path(path), []
    with path.open("rb") as stream:
        try:
            with h5py.File(path, "r") as file:
                known = GROUP in file
                if known:
                    found = list(_damage(file, stream))
        except Exception as error:  # HDF5 raises many kinds for damaged files
            return (f"it cannot be read as HDF5: {error}",)
    if not known:
        raise ValueError(
            f"{path} holds no checksums: an earlier version of warpjaxns or another program wrote it, or it is damaged"
        )
    return tuple(found)


def _damage(file, stream):
    extents = [(_rest(file).id.get_offset(), 4)]
    expected = int(_rest(file)[()])
    for field, row, block, checksum, offset, length in _chunks(file):
        extents.append((offset, length))
        stream.seek(offset)
        if zlib.crc32(stream.read(length)) != checksum:
            frames, size = field.shape[1], field.chunks[1]
            last, name = min((block + 1) * size, frames) - 1, field.name.rpartition("/")[2]
            yield f"{name} of trajectory {row}, frames {block * size} to {last}, is damaged"
    if _outside(stream, extents) != expected:
        yield "what is not a field is damaged: names, parameters, provenance, or where the fields are"


def _chunks(file):
    """Yield all chunks, ``(field, row, block, checksum, offset, length)``."""
    groups = [claims.group(file, f"t{order}_fields") for order in range(2)]
    for parent, name in [(group, name) for group in groups for name in layout.names_of(group)]:
        field: Any = claims.dataset(parent, name)
        checksums = claims.values(file, f"{GROUP}/{name}", (None, None))
        for row, block in np.ndindex(checksums.shape):
            corner = (row, block * field.chunks[1], *(0,) * (field.ndim - 2))
            stored = field.id.get_chunk_info_by_coord(corner)
            yield field, row, block, checksums[row, block], stored.byte_offset, stored.size


def _outside(stream, extents):
    """Return the checksum of all bytes outside the given ranges ``(offset, length)``."""
    checksum, position = 0, 0
    for offset, length in [*sorted(extents), (stream.seek(0, os.SEEK_END), 0)]:
        stream.seek(position)
        while position < offset:
            piece = stream.read(min(offset - position, PIECE))
            if not piece:
                break
            checksum = zlib.crc32(piece, checksum)
            position += len(piece)
        position = max(position, offset + length)
    return checksum


def _rest(file) -> Any:
    return claims.dataset(file, f"{GROUP}/rest", ())
