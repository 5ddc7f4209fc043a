"""Assembles one HDF5 file from all parts. Compressed chunks are copied as they are."""

import contextlib
import errno
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from . import checksums, layout
from .ensemble import Ensemble
from .records import sync_folder
from .statistics import statistics
from .work import Part, WorkFolder


def assemble(work: WorkFolder, parts: list[Part], ensemble: Ensemble, manifest: dict[str, Any], path: Path) -> None:
    """Assemble the parts in a fixed order, without timestamps, and rename the file to its final name.

    Args:
        work: the folder of parts.
        parts: all parts.
        ensemble: the ensemble that was computed.
        manifest: the manifest, recorded as provenance.
        path: the file.

    Raises:
        OSError: the disk is full, or a part is damaged.
    """
    members, failed = members_of(parts)
    temporary = work.path / "assembled.tmp"
    _check_room(temporary, parts)
    with _new_file(temporary) as file:
        datasets = layout.create(file, ensemble, members)
        layout.write_provenance(file, manifest, ensemble, members, failed)
        layout.write_statistics(file, _statistics(parts, ensemble))
        rows = {member: row for row, member in enumerate(members)}
        blocks = -(-ensemble.frames // layout.frames_per_chunk(ensemble))
        sums = {field: np.zeros((len(members), blocks), np.uint32) for field in datasets}
        for batch, part in enumerate(parts):
            for (member, field, block, checksum), payload in work.payloads(batch, part):
                if member in rows:
                    layout.write_chunk(datasets[field], rows[member], block, payload)
                    sums[field][rows[member], block] = checksum
        checksums.write(file, sums)
    checksums.seal(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def members_of(parts: list[Part]) -> tuple[list[int], dict[int, int]]:
    """Return the numbers of the members in parts, and the first non-finite frame of each that failed."""
    failed = {member: frame for part in parts for member, frame in part.failed.items()}
    return [member for part in parts for member in part.members if member not in failed], failed


def _statistics(parts, ensemble):
    sums = {field: [member for part in parts for member in part.sums[field]] for field in layout.groups(ensemble)}
    points = math.prod(ensemble.saved_grid.shape)
    return {field: statistics(found, ensemble.frames, points) for field, found in sums.items() if found}


@contextlib.contextmanager
def _new_file(path):
    """Open a new HDF5 file. If the disk is full, closing it fails too; the first error is raised."""
    import h5py

    file: Any = h5py.File(path, "w", libver="earliest")
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):
            file.close()
        raise
    try:
        file.close()
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} could not be written: {error}") from error


def _check_room(path, parts):
    path.unlink(missing_ok=True)  # left by an interrupted call
    needed = sum(chunk[3] for part in parts for chunk in part.chunks)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"all batches are done; putting them together takes {needed:,} bytes and {free:,} are free",
            str(path.parent),
        )
