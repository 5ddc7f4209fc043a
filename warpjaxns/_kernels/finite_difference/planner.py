"""Makes plans from the tables of `tuning` and the limits of the device."""

import dataclasses
import math

from .. import tuning
from ..hardware.limits import LARGEST_BLOCK, LARGEST_CLUSTER, SHARED_MEMORY
from .plan import Plan
from .resident.layout import Resident
from .shares import rows_of_slab


def make_plan(shape: tuple[int, int], dtype: str, batch: int = 1, shared_memory: int | None = None) -> Plan:
    """Return the plan for a grid shape, float type and number of members.

    `shared_memory`: bytes that a block of the device may use; None: the most that a plan uses.
    """
    plan = _make_plan_by_lines(shape, dtype, batch, shared_memory)
    if plan.saturated and shape[1] > tuning.LONGEST_ROW:
        plan = plan.by_memory
    return with_resident_members(plan, batch)


def _make_plan_by_lines(shape, dtype, batch, shared_memory):
    """Return the plan whose blocks hold psi of their rows, if they have room for it."""
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    ny, nx = shape
    enough = tuning.SATURATED_POINTS if batch == 1 else tuning.SATURATED_ENSEMBLE_POINTS
    saturated = batch * ny * nx > enough
    entry = tuning.entry(tuning.STAGE, nx)[saturated]
    rows = rows_of_slab(ny, entry.rows) if tuning.entry(tuning.SLABS, nx)[saturated] else entry.rows
    plan = Plan(
        shape,
        dtype,
        rows=min(rows, ny // 2 * 2),
        radix=entry.radix,
        occupancy=entry.occupancy,
        concurrent=entry.concurrent,
        copies_rows=not entry.concurrent,
        saturated=saturated,
        shared_memory=allowed,
    )
    while plan.rows > 2 and (plan.stage_bytes > allowed or plan.row_threads > LARGEST_BLOCK):
        plan = dataclasses.replace(plan, rows=plan.rows - 2)
    concurrent = entry.concurrent and math.gcd(entry.concurrent, plan.pairs)
    plan = dataclasses.replace(plan, concurrent=concurrent).in_step
    if plan.stage_bytes > allowed:
        plan = dataclasses.replace(plan, copies_rows=False)
    if plan.stage_bytes > allowed or plan.row_threads > LARGEST_BLOCK:
        plan = plan.by_memory
    return plan.solved(plan.rows == rows, recompute=True)


def make_divided_plan(
    shape: tuple[int, int], dtype: str, batch: int = 1, shared_memory: int | None = None, kind: str = "state"
) -> Plan:
    """Return the plan for the slab of a device, of that shape. `kind`: "state", "tangent" (of both), or "sweep".

    A field has two more rows, which come from other devices. Blocks solve for their own rows in any case.
    """
    plan, (ny, nx) = _make_plan_by_lines(shape, dtype, batch, shared_memory), shape
    cut = {"state": plan, "tangent": plan.for_tangent, "sweep": plan.for_adjoint}[kind]
    rows = max((n for n in range(2, cut.rows + 1, 2) if ny % n == 0), default=2)
    if cut.through_memory:
        cut = dataclasses.replace(cut, by_slabs=True, rows=2)
        rows = 2 if cut.slab_lines.nbytes <= plan.shared_memory else 1
    entry = tuning.entry(tuning.SLABS, nx)[plan.saturated] or tuning.FEW_SLABS
    share = 2 if plan.dtype == "float64" else 1
    divided = dataclasses.replace(
        cut,
        shape=(ny + 2, nx),
        edges=2,
        rows=rows,
        concurrent=1 if cut.through_memory else cut.concurrent and math.gcd(cut.concurrent, rows // 2),
        chunk=entry.points // share,
        columns=entry.columns // share,
        by_slabs=True,
        recompute=kind == "state" and not cut.through_memory,
        fused=False,
        resident=None,
        resident_adjoint=None,
        resident_tangent=None,
    )
    divided = divided if cut.through_memory else divided.in_step
    if kind != "state" and divided.pairs == 1 and divided.sweep_lines.block_dim >= LARGEST_BLOCK // 4:
        divided = _with_fewer_sums(divided, kind)
    divided = divided.with_threads_for_columns
    fits = (divided.sweep_bytes if kind == "sweep" else divided.stage_bytes) <= plan.shared_memory
    return dataclasses.replace(divided, copies_rows=divided.copies_rows and fits)


def _with_fewer_sums(plan: Plan, kind: str) -> Plan:
    """Return the plan with twice the rows a block, and half the sums between blocks, if these rows fit.

    The sums of two rows are as many numbers as their spectra. To keep its registers, a thread works on the row pairs in
    turn, and rows are not copied. Measured for the sweep with rows of 4096 and 8192 points, for the tangent with 4096.
    """
    twice = dataclasses.replace(plan, rows=2 * plan.rows, concurrent=1, copies_rows=False)
    nbytes = twice.sweep_bytes if kind == "sweep" else twice.stage_bytes
    fits = nbytes <= plan.shared_memory and (plan.shape[0] - plan.edges) % twice.rows == 0
    return twice if fits and not plan.through_memory else plan


def with_resident_members(plan: Plan, batch: int) -> Plan:
    """Return the plan with members resident in shared memory, if they fit and are enough."""
    ny, nx = plan.shape
    most = LARGEST_CLUSTER if plan.shared_memory == SHARED_MEMORY else 1  # devices with so much have clusters

    def first(kind, *variants):
        table = tuning.RESIDENT.get(f"{kind} {plan.dtype}", tuning.RESIDENT[kind])
        entries = next((entries for longest, entries in sorted(table.items()) if max(ny, nx) <= longest), ())
        for entry in entries:
            if batch < entry.members or entry.blocks > most:
                continue
            resident = Resident(plan.shape, plan.dtype, entry.radix, entry.occupancy, blocks=entry.blocks)
            for candidate in (variant(resident) for variant in variants):
                if candidate.fits(plan.shared_memory):
                    return candidate
        return None

    return dataclasses.replace(
        plan,
        resident=first("advance", lambda r: r.with_start, lambda r: r),
        resident_adjoint=first("adjoint", lambda r: r.with_stage(True), lambda r: r.with_stage(False)),
        resident_tangent=first("tangent", lambda r: r.with_tangent),
    )


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Return why a device cannot run a plan, or None. `shared_memory`: its bytes a block; None: no limit."""
    threads, need = plan.need()
    smaller = "shorter rows" if plan.dtype == "float32" else "shorter rows or float32"
    if shared_memory is not None and need > shared_memory:
        return (
            f"rows of {plan.shape[1]} points in {plan.dtype} need {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use {smaller}"
        )
    if threads > LARGEST_BLOCK:
        return f"rows of {plan.shape[1]} points need more than {LARGEST_BLOCK} threads a block; use {smaller}"
    return None
