"""Makes plans from the tables of `tuning` and the limits of the device."""

import dataclasses

from .. import tuning
from ..hardware.limits import LARGEST_BLOCK, SHARED_MEMORY
from .plan import Plan
from .resident.layout import Resident

KINDS = {
    "advance": (tuning.SPECTRAL_COLUMNS, 2),
    "tangent": (tuning.SPECTRAL_TANGENT, 4),
    "sweep": (tuning.SPECTRAL_SWEEP, 4),
}


def make_plan(
    shape: tuple[int, int], dtype: str, dealiasing: str, batch: int = 1, shared_memory: int | None = None
) -> Plan:
    """Return the plan for a grid shape, float type, dealiasing and number of members.

    `shared_memory`: bytes that a block of the device may use; None: the most that a plan uses.
    """
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    ny, nx = shape
    enough = tuning.SATURATED_POINTS if batch == 1 else tuning.SATURATED_ENSEMBLE_POINTS
    saturated = batch * ny * nx > enough
    share = 2 if dtype == "float64" else 1  # of twice the size: the same sectors of memory
    cuts = {name: tuning.entry(table, ny)[saturated] for name, (table, _) in KINDS.items()}
    cuts = {name: cut._replace(columns=max(1, cut.columns // share)) for name, cut in cuts.items()}
    rows = tuning.entry(tuning.SPECTRAL_ROWS, nx)[saturated]
    apart = batch * ny * nx <= tuning.APART_POINTS
    plan = Plan(shape, dtype, dealiasing, rows, **cuts, apart=apart, shared_memory=allowed)
    while plan.rows.rows > 1 and not _fits_rows(plan):
        plan = dataclasses.replace(plan, rows=plan.rows._replace(rows=plan.rows.rows // 2))
    for name, (_, count) in KINDS.items():
        cut = getattr(plan, name)
        while not plan.fits(cut, count) and (cut.columns > 1 or cut.at_once > 1):
            if cut.at_once > 1 and plan.need(cut, count)[0] > LARGEST_BLOCK:
                cut = cut._replace(at_once=cut.at_once // 2)
            elif cut.columns > 1:
                cut = cut._replace(columns=cut.columns // 2)
            else:  # the sweep goes on with half of its columns (`Plan.sweeps_together`)
                break
        if not plan.column_lines(cut, count).alone:  # the sweep transforms two columns forward and four back
            cut = cut._replace(at_once=min(cut.at_once, 2))
        plan = dataclasses.replace(plan, **{name: cut})
    return _with_resident_members(plan, batch)


def _with_resident_members(plan, batch):
    """Return the plan with members resident in shared memory, if they fit and are enough."""

    def first(fields):
        entries = next((e for most, e in sorted(tuning.SPECTRAL_RESIDENT.items()) if max(plan.shape) <= most), [])
        for entry in entries:
            entry = entry._replace(columns=min(entry.columns, plan.modes[0]))
            if batch >= entry.members and Resident(plan, entry, fields).fits():
                return entry
        return None

    return dataclasses.replace(plan, resident=first(1), resident_tangent=first(2), resident_sweep=first(2))


def _fits_rows(plan):
    return plan.row_lines.block_dim <= LARGEST_BLOCK and plan.row_lines.nbytes <= plan.shared_memory


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Return why a device cannot run a plan, or None. `shared_memory`: its bytes a block; None: no limit."""
    needs = [(plan.row_lines.block_dim, plan.row_lines.nbytes), plan.need(plan.advance), plan.need(plan.sweep)]
    threads, need = (max(column) for column in zip(*needs, strict=True))
    if threads > LARGEST_BLOCK:
        return f"shape {plan.shape} needs more than {LARGEST_BLOCK} threads a block"
    if shared_memory is not None and need > shared_memory:
        return (
            f"shape {plan.shape} in {plan.dtype} needs {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use a smaller grid or float32"
        )
    return None
