"""Computes an ensemble and writes it to a file, which an interrupted run can resume."""

import contextlib
import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._checks import check_processes
from ..diagnostics._resolution import warn_if_not_resolved
from . import claims, layout
from .assemble import assemble, members_of
from .background import Background
from .ensemble import Ensemble
from .manifest import differences, manifest
from .place import OptionsError, folder_of, refuse_to_lose, target_of
from .record import Recorder
from .records import DamagedError
from .simulate import devices_of_process, simulate, solver_of
from .work import WorkFolder

Report = Callable[[int, int], None]
WAITING_BLOCKS = 3  # blocks of frames of a device that may wait for the disk


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of `generate`.

    Attributes:
        path: the file.
        trajectories: number of trajectories in it, or computed so far.
        failed: numbers of the members that became non-finite, which are not in the file.
        missing: number of batches that other processes have still to compute. The file exists once it is 0.
    """

    path: Path
    trajectories: int
    failed: tuple[int, ...]
    missing: int = 0


def generate(
    path: str | os.PathLike,
    ensemble: Ensemble,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
    process_index: int | None = None,
    process_count: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Summary:
    """Compute an ensemble and write it to an HDF5 file in the layout of The Well.

    Other threads compress and write frames while the device computes. Every finished batch is on the disk, in a folder
    ``<path>.parts``. An interrupt, a kill or a full disk costs only the batch in flight, and `resume` computes the
    rest. Once all batches are done they are assembled, which takes room for a second copy, and the file is renamed to
    its final name. Its bytes follow from the ensemble, the versions of the software, ``XLA_FLAGS`` and the kind of
    device. Neither interruptions nor JAX's settings for random numbers change them. The file holds checksums of all its
    bytes: see `warpjaxns.data.verify`.

    Only files of a run are ever removed. If `path` is a symbolic link, the file that it leads to is written, with the
    parts beside it. Symbolic links for the folder of parts, or in it, are refused.

    A member whose energy or enstrophy becomes non-finite is left out. ``provenance/failed`` records it with its
    parameters. The other members are not affected.

    Several processes, on one host or many with a common folder, can compute one file. Process i of n computes batches
    i, i + n, i + 2n and so on, and its devices take turns in these. Processes do not wait for each other: the one that
    finds all batches done assembles the file. Each continues what it was interrupted in, as if `resume` were set. The
    file is the same for any number of processes and devices.

    Args:
        path: the file, ending in ``.hdf5`` or ``.h5``. Its folder is made.
        ensemble: the ensemble to compute.
        resume: whether to continue an interrupted call with the same arguments. If there is none, a new run begins. A
            complete file with the same arguments in its provenance is kept, and not verified.
        overwrite: whether an existing file may be replaced, at the end of the run. The parts of an interrupted call are
            deleted at once, unless `resume` is set too.
        report: called with the number of frames done and the number of all frames, both over all members. The first
            call counts the frames done before. With several processes both numbers are of this one's batches.
        process_index: index of this process; by default `jax.process_index()`.
        process_count: number of processes; by default `jax.process_count()`.
        devices: devices of this process to compute on, of one kind, each a `jax.Device`. By default all of them, or one
            of a CPU, or the one of `jax.default_device`.

    Returns:
        The number of trajectories written, the members that failed, and how many batches other processes have still to
        compute.

    Raises:
        OptionsError: (a ValueError) the file or its parts exist, and neither `resume` nor `overwrite` is set; parts
            were made with other arguments or by other software, or their manifest is damaged; the folder of parts holds
            other files, and `overwrite`, which leaves them there, is not set; another process computes the same
            batches.
        ValueError: `path` has another ending; `process_index` is not less than `process_count`; there are no `devices`.
        OSError: the disk is full, or does not work. Finished batches are kept.

    Warns:
        RuntimeWarning: the viscosity of some members is too large for `dt`, and they will fail or be noise; the flow is
            not resolved in some frame (`diagnostics.resolution`); a part is damaged or belongs to another batch, and
            is computed again.
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"ensemble={ensemble!r}: expected a warpjaxns.data.Ensemble")
    path = Path(path)
    if path.suffix not in (".hdf5", ".h5"):
        raise ValueError(
            f"path={str(path)!r}: expected a name that ends in .hdf5 or .h5, which The Well's reader looks for"
        )
    process = check_processes(process_index, process_count)
    devices = devices_of_process() if devices is None else _checked(devices)
    resume = resume or process[1] > 1
    target, wanted = target_of(path), manifest(ensemble, devices[0])
    finished = _finished(target, wanted) if resume else "it exists"
    if isinstance(finished, tuple):
        _tidy(target, process)  # after a crash when the file was complete
        return Summary(path, *finished)
    refuse_to_lose(target, resume, overwrite, finished)
    _warn_of_viscosity(ensemble)
    target.parent.mkdir(parents=True, exist_ok=True)
    with WorkFolder(target, *process) as work:
        with work.turn():
            finished = _finished(target, wanted) if resume else None
            if isinstance(finished, tuple):  # by other processes, just now
                work.remove()
                return Summary(path, *finished)
            _begin(work, wanted, resume, overwrite)
        error = _compute(work, ensemble, report, devices)
        with work.turn():
            summary = _end(work, ensemble, wanted, path, target)
    warn_if_not_resolved(error, solver_of(ensemble, [0]), "in the worst frame")
    return summary


def _checked(devices):
    for device in devices:
        if not isinstance(device, jax.Device):
            raise TypeError(f"devices={devices!r}: expected some of jax.local_devices()")
    kinds = {device.device_kind for device in devices}
    if len(kinds) != 1 or any(device.process_index != jax.process_index() for device in devices):
        raise ValueError(f"devices={devices!r}: expected some of jax.local_devices(), at least one, of one kind")
    return list(devices)


def _warn_of_viscosity(ensemble):
    parameters = ensemble.parameters(list(range(ensemble.count)))
    diffusivities = [values for name, values in parameters.items() if name.endswith("_diffusivity")]
    largest = np.max([parameters["viscosity"], *diffusivities], axis=0)
    unstable = int(np.sum(largest > ensemble.largest_viscosity))
    if unstable:
        kinds = "viscosities and diffusivities" if diffusivities else "viscosities"
        warnings.warn(
            f"{unstable} of {ensemble.count} members are unstable: dt={ensemble.dt:.3g} allows {kinds} up to "
            f"{ensemble.largest_viscosity:.3g}",
            RuntimeWarning,
            stacklevel=3,
        )


def _begin(work, wanted, resume, overwrite):
    try:
        found = work.read_manifest() if resume else None
    except DamagedError as error:
        if not overwrite:
            raise OptionsError(f"{error}, so that nothing can be resumed; start over (--overwrite)") from error
        found = None
    if found is None:
        work.start(wanted)
    elif changed := differences(found, wanted):
        start = "start over (--overwrite without --resume)" if work.count == 1 else f"delete {work.path}"
        raise OptionsError(
            f"the interrupted run cannot be resumed with other options or software ({'; '.join(changed)}); take its "
            f"own, or {start}"
        )


def _compute(work, ensemble, report, devices):
    """Compute every batch of this process that is not done yet. Return the largest estimated error of their frames."""
    report = report or (lambda done, total: None)
    mine = work.mine(ensemble.batches)
    missing = [batch for batch in mine if work.part(batch) is None]
    total, left = (sum(len(ensemble.members(batch)) for batch in some) * ensemble.frames for some in (mine, missing))
    done, error, recorders, blocks = total - left, 0.0, {}, {}
    report(done, total)
    length = layout.frames_per_chunk(ensemble)
    with (
        jax.enable_x64(ensemble.precision == "float64"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Background(WAITING_BLOCKS * len(devices)) as background,
    ):
        for batch, number, frame in simulate(ensemble, missing, devices):
            if number == 0:
                recorders[batch] = Recorder(work, ensemble, batch, pool)
            block = blocks.setdefault(batch, [])
            block.append(frame)
            error = max([error, *frame.error[frame.finite]])
            background.check()
            done += len(ensemble.members(batch))
            report(done, total)
            last = number + 1 == ensemble.frames
            if last or len(block) == length:
                background.submit(recorders[batch].write, blocks.pop(batch))
            if last:
                background.submit(recorders.pop(batch).seal)
    return error


def _end(work, ensemble, wanted, path, target):
    """Assemble the file if all batches are done, unless another process has. Return what there is then."""
    finished = _finished(target, wanted) if work.count > 1 else None
    if isinstance(finished, tuple):
        work.remove()
        return Summary(path, *finished)
    parts = work.parts(ensemble.batches)
    members, failed = members_of(parts)
    missing = ensemble.batches - len(parts)
    if not missing:
        assemble(work, parts, ensemble, wanted, target)
        work.remove()
    return Summary(path, len(members), tuple(sorted(failed)), missing)


def _finished(path, wanted):
    """Return trajectories and failed members of a file made from these options, or why there is none, as text."""
    import h5py

    if not path.is_file():
        return "it exists"
    try:
        with h5py.File(path, "r") as file:
            provenance = claims.group(file, "provenance")
            found = {name: json.loads(provenance.attrs[name]) for name in wanted}
            if changed := differences(found, wanted):
                return f"it was made from other options, so there is nothing to resume ({'; '.join(changed)})"
            failed = claims.values(provenance, "failed/member", (None,))
            return len(claims.dataset(provenance, "member")), tuple(map(int, failed))
    except Exception as error:  # HDF5 raises many kinds for damaged files
        return f"it is damaged, or generate has not written it, so there is nothing to resume ({error})"


def _tidy(path, process):
    """Remove the parts of a finished run, unless another run is using them."""
    if folder_of(path).is_dir() and not folder_of(path).is_symlink():
        with contextlib.suppress(OSError, OptionsError), WorkFolder(path, *process) as work, work.turn():
            work.remove()
