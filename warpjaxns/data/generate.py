"""Computes an ensemble and writes it to a file, which an interrupted run can resume."""

import contextlib
import dataclasses
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..diagnostics._resolution import warn_if_not_resolved
from . import layout
from .assemble import assemble
from .background import Background
from .ensemble import Ensemble
from .manifest import differences, manifest
from .place import OptionsError, folder_of, refuse_to_lose, target_of
from .record import Recorder
from .records import DamagedError
from .simulate import simulate, solver_of
from .work import WorkFolder

Report = Callable[[int, int], None]
WAITING_BLOCKS = 3  # blocks of frames that may wait for the disk


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of `generate`.

    Attributes:
        path: the file.
        trajectories: number of trajectories in it.
        failed: numbers of the members that became non-finite, which are not in the file.
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

    Args:
        path: the file, ending in ``.hdf5`` or ``.h5``. Its folder is made.
        ensemble: the ensemble to compute.
        resume: whether to continue an interrupted call with the same arguments. If there is none, a new run begins. A
            complete file with the same arguments in its provenance is kept, and not verified.
        overwrite: whether an existing file may be replaced, at the end of the run. The parts of an interrupted call are
            deleted at once, unless `resume` is set too.
        report: called with the number of frames done and the number of all frames, both over all members. The first
            call counts the frames done before.

    Returns:
        The number of trajectories written, and the members that failed.

    Raises:
        OptionsError: (a ValueError) the file or its parts exist, and neither `resume` nor `overwrite` is set; parts
            were made with other arguments or by other software, or their manifest is damaged; the folder of parts holds
            other files, and `overwrite`, which leaves them there, is not set; another process is writing the same file.
        ValueError: `path` has another ending.
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
    target, wanted = target_of(path), manifest(ensemble)
    finished = _finished(target, wanted) if resume and target.is_file() else "it exists"
    if not isinstance(finished, str):
        _tidy(target)  # after a crash when the file was complete
        return Summary(path, *finished)
    refuse_to_lose(target, resume, overwrite, finished)
    _warn_of_viscosity(ensemble)
    target.parent.mkdir(parents=True, exist_ok=True)
    with WorkFolder(target) as work:
        _begin(work, wanted, resume, overwrite)
        error = _compute(work, ensemble, report)
        members, failed = assemble(work, ensemble, wanted, target)
        work.remove()
    warn_if_not_resolved(error, solver_of(ensemble, [0]), "in the worst frame")
    return Summary(path, len(members), tuple(failed))


def _warn_of_viscosity(ensemble):
    viscosity = ensemble.parameters(list(range(ensemble.count)))["viscosity"]
    unstable = int(np.sum(viscosity > ensemble.largest_viscosity))
    if unstable:
        warnings.warn(
            f"{unstable} of {ensemble.count} members are unstable: dt={ensemble.dt:.3g} allows viscosities up to "
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
        raise OptionsError(
            f"the interrupted run cannot be resumed with other options or software ({'; '.join(changed)}); take its "
            "own, or start over (--overwrite without --resume)"
        )


def _compute(work, ensemble, report):
    """Compute every batch that is not done yet. Return the largest estimated error of their frames."""
    report = report or (lambda done, total: None)
    missing = [batch for batch in range(ensemble.batches) if work.part(batch) is None]
    total = ensemble.count * ensemble.frames
    done = total - sum(len(ensemble.members(batch)) for batch in missing) * ensemble.frames
    report(done, total)
    error = 0.0
    frames = simulate(ensemble, missing)
    length = layout.frames_per_chunk(ensemble)
    with (
        jax.enable_x64(ensemble.precision == "float64"),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        Background(WAITING_BLOCKS) as background,
    ):
        for batch in missing:
            recorder = Recorder(work, ensemble, batch, pool)
            for first in range(0, ensemble.frames, length):
                block = []
                for _ in range(first, min(first + length, ensemble.frames)):
                    block.append(next(frames))
                    error = max([error, *block[-1].error[block[-1].finite]])
                    background.check()
                    done += len(ensemble.members(batch))
                    report(done, total)
                background.submit(recorder.write, block)
            background.submit(recorder.seal)
    return error


def _finished(path, wanted):
    """Return trajectories and failed members of a file made from these options, or why it was not, as text."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            provenance: Any = file["provenance"]
            found = {name: json.loads(provenance.attrs[name]) for name in wanted}
            if changed := differences(found, wanted):
                return f"it was made from other options, so there is nothing to resume ({'; '.join(changed)})"
            return len(provenance["member"]), tuple(int(member) for member in provenance["failed/member"][:])
    except Exception as error:  # HDF5 raises many kinds for damaged files
        return f"it is damaged, or generate has not written it, so there is nothing to resume ({error})"


def _tidy(path):
    """Remove the parts of a finished run, unless another run is using them."""
    if folder_of(path).is_dir() and not folder_of(path).is_symlink():
        with contextlib.suppress(OSError, OptionsError), WorkFolder(path) as work:
            work.remove()
