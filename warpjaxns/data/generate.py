"""Computes an ensemble and writes it to a file, surviving whatever stops it."""

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from . import layout
from .background import Background
from .ensemble import Ensemble
from .simulate import Frame, simulate
from .work import OptionsError, WorkFolder, differences, folder_of, manifest, sync_folder

Report = Callable[[int, int], None]
WAITING_BLOCKS = 3  # blocks of frames that may wait for the disk


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `generate` has done.

    Attributes:
        path: the file.
        trajectories: how many it holds.
        failed: the numbers of the members that became non-finite, which it names but does not hold.
    """

    path: Path
    trajectories: int
    failed: tuple[int, ...]


def generate(
    path: str | os.PathLike,
    ensemble: Ensemble,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> Summary:
    """Compute an ensemble and write it to an HDF5 file in the layout of The Well.

    Frames are compressed and written by other threads while the device computes, at most a few blocks of frames behind.
    Every finished batch is safe on the disk, in a folder ``<path>.parts``, so that an interrupt, a kill or a full disk
    costs the batch in flight only; with `resume` the rest is computed. Once all batches are done they are put together
    (this takes room for a second copy), and the file appears under its name in one go. Its bytes follow from the
    ensemble, the versions of the software and the kind of device alone: interruptions do not change them.

    A member that becomes non-finite is left out, and recorded in ``provenance/failed`` with its parameters. The others
    are not affected.

    Args:
        path: the file, ending in ``.hdf5`` or ``.h5``. Its folder is made.
        ensemble: what to compute.
        resume: whether to continue an interrupted call with the same arguments; without one, begins.
        overwrite: whether an existing file may be replaced, which happens at the very end, and the parts of an
            interrupted call be forgotten, which happens at once unless `resume` is set as well.
        report: called with the number of frames that are done and the number of all, both over all members; first with
            those that were done before.

    Returns:
        How many trajectories were written, and which members failed.

    Raises:
        OptionsError: (a ValueError) the file or its parts exist and neither `resume` nor `overwrite` is set; parts were
            made with other arguments or by other software; another process is writing the same file.
        ValueError: `path` has another ending.
        OSError: the disk is full, or does not work. Finished batches are kept.
    """
    path = Path(path)
    if path.suffix not in (".hdf5", ".h5"):
        raise ValueError(
            f"path={str(path)!r}: expected a name that ends in .hdf5 or .h5, which The Well's reader looks for"
        )
    wanted = manifest(ensemble)
    finished = _finished(path, wanted)
    if finished and resume:
        shutil.rmtree(folder_of(path), ignore_errors=True)  # left by a crash after the file was complete
        return finished
    _refuse_to_lose(path, resume, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with WorkFolder(path) as work:
        _begin(work, wanted, resume)
        _compute(work, ensemble, report)
        summary = _assemble(work, ensemble, wanted, path)
        work.remove()
    return summary


def _refuse_to_lose(path, resume, overwrite):
    if path.exists() and not overwrite:
        hint = "it was made from other options, so there is nothing to resume" if resume else "it exists"
        raise OptionsError(f"{path}: {hint}; overwrite it (--overwrite), or write another file")
    if (folder_of(path) / "manifest.json").exists() and not (resume or overwrite):
        raise OptionsError(
            f"{folder_of(path)} holds the batches of an interrupted run; continue it (--resume), or start over "
            "(--overwrite)"
        )


def _begin(work, wanted, resume):
    found = work.read_manifest()
    if found is None or not resume:
        work.start(wanted)
    elif changed := differences(found, wanted):
        raise OptionsError(
            f"the interrupted run cannot be resumed with other options or software ({'; '.join(changed)}); take its "
            "own, or start over (--overwrite without --resume)"
        )


def _compute(work, ensemble, report):
    """Every batch that is not done yet."""
    report = report or (lambda done, total: None)
    missing = [batch for batch in range(ensemble.batches) if work.part(batch) is None]
    total = ensemble.count * ensemble.frames
    done = total - sum(len(ensemble.members(batch)) for batch in missing) * ensemble.frames
    report(done, total)
    frames = simulate(ensemble, missing)
    length = layout.frames_per_chunk(ensemble)
    with (
        jax.enable_x64(ensemble.precision == "float64"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Background(WAITING_BLOCKS) as background,
    ):
        for batch in missing:
            writer = _BatchWriter(work, ensemble, batch, pool)
            for first in range(0, ensemble.frames, length):
                block = []
                for _ in range(first, min(first + length, ensemble.frames)):
                    block.append(next(frames))
                    background.check()
                    done += len(ensemble.members(batch))
                    report(done, total)
                background.submit(writer.write, block)
            background.submit(writer.seal)


class _BatchWriter:
    """Compresses the frames of a batch and writes them; runs in the background thread."""

    def __init__(self, work, ensemble, batch, pool):
        self._ensemble, self._pool = ensemble, pool
        self._members = ensemble.members(batch)
        self._part = work.writer(batch)
        self._failed = {}
        self._blocks = 0

    def write(self, frames: list[Frame]) -> None:
        """Append a block of frames of the members that are finite so far."""
        length = layout.frames_per_chunk(self._ensemble)
        for number, frame in enumerate(frames, self._blocks * length):
            for member, finite in zip(self._members, frame.finite, strict=False):  # without what fills the last batch
                if not finite:
                    self._failed.setdefault(member, number)
        chunks = [
            (position, member, field)
            for position, member in enumerate(self._members)
            if member not in self._failed
            for field in layout.GROUPS
        ]

        def compressed(chunk):
            position, _, field = chunk
            values = np.stack([getattr(frame, field)[position] for frame in frames])
            filled = np.zeros((length, *values.shape[1:]), np.float32)  # HDF5's chunks are all of one size
            filled[: len(values)] = values
            return layout.compress(filled, self._ensemble.compression)

        for (_, member, field), payload in zip(chunks, self._pool.map(compressed, chunks), strict=True):
            self._part.append(member, field, self._blocks, payload)
        self._blocks += 1

    def seal(self) -> None:
        """Make the batch count as done."""
        self._part.seal(self._members, self._failed)


def _assemble(work, ensemble, wanted, path):
    """The file from its parts, in one order and without a trace of the time."""
    parts = [work.part(batch) for batch in range(ensemble.batches)]
    failed = {member: frame for part in parts for member, frame in part.failed.items()}
    members = [member for part in parts for member in part.members if member not in failed]
    temporary = work.path / "assembled.tmp"
    _check_room(temporary, parts)
    with _new_file(temporary) as file:
        datasets = layout.create(file, ensemble, members)
        layout.write_provenance(file, wanted, ensemble, members, failed)
        rows = {member: row for row, member in enumerate(members)}
        for batch, part in enumerate(parts):
            for (member, field, block), payload in work.payloads(batch, part):
                if member in rows:
                    layout.write_chunk(datasets[field], rows[member], block, payload)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
    return Summary(path, len(members), tuple(sorted(failed)))


class _new_file:
    """A new HDF5 file. Where the disk is full, closing it fails as well: what comes out is the reason."""

    def __init__(self, path):
        import h5py

        self._file = h5py.File(path, "w", libver="earliest")

    def __enter__(self):
        return self._file

    def __exit__(self, kind, error, traceback):
        try:
            self._file.close()
        except (OSError, RuntimeError) as closing:
            if error is None:
                raise OSError(f"could not be written: {closing}") from closing


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


def _finished(path, wanted):
    """The summary of a complete file that was made from these options, or None."""
    if not path.exists():
        return None
    import h5py

    try:
        with h5py.File(path, "r") as file:
            provenance = file["provenance"]
            found = {name: json.loads(provenance.attrs[name]) for name in wanted}
            if differences(found, wanted):
                return None
            failed = tuple(int(member) for member in provenance["failed/member"][:])
            return Summary(path, int(file.attrs["n_trajectories"]), failed)
    except (OSError, KeyError):
        return None
