"""The plan: how the work of kernels is cut into blocks."""

import dataclasses

from .. import tuning
from ..hardware.limits import CPU_MEMORY, LARGEST_BLOCK
from ..hardware.streams import Streams
from .shares import rows_of_slab
from .sizes import Sizes


@dataclasses.dataclass(frozen=True)
class Plan(Sizes):
    """A plan: the cut of the work of kernels into blocks, and the plans of other kernels that follow from it.

    `Sizes` describes the arguments.
    """

    def on(self, cpu: bool) -> "Plan":
        """Return the plan for the CPU where `cpu`, else this plan."""
        rows = self.rows if self.by_slabs else self.rows_of_line
        return dataclasses.replace(self, rows=rows, columns=1, serial=True) if cpu else self

    def with_terms(self, count: int, medium: bool = False) -> "Plan":
        """Return the plan of kernels for so many coefficients of further linear terms, and a `medium` or none."""
        ways = ("resident", "resident_adjoint", "resident_tangent")
        given, residents = {"terms": count, "medium": medium}, {name: getattr(self, name) for name in ways}
        residents = {name: each and dataclasses.replace(each, **given) for name, each in residents.items()}
        return dataclasses.replace(self, **given, **residents)

    # ------------------------------------------------------------------------------------------ other kernels
    # a plan with `edges` is made for one kind of kernels (`planner.make_divided_plan`)

    def solved(self, by_slabs: bool, recompute: bool = False) -> "Plan":
        """Return the plan that solves along y by slabs, if `by_slabs` is set and `tuning` says so, else by columns.

        `recompute`: whether there is a state whose rows could be transformed anew.
        """
        (ny, nx), float64 = self.shape, self.dtype == "float64"
        slabs = tuning.entry(tuning.SLABS, nx)[self.saturated] if by_slabs and ny % self.rows == 0 else None
        recompute = bool(slabs and recompute and slabs.recompute)
        columns = slabs or tuning.entry(tuning.COLUMNS, ny)[self.saturated]
        if slabs is None and ny > tuning.LONGEST_COLUMN:
            columns = tuning.entry(tuning.SLABS, ny)[self.saturated] or tuning.FEW_SLABS
        share = 2 if float64 else 1  # of twice the size: the same registers, the same sectors of memory
        cut = {"chunk": columns.points // share, "columns": columns.columns // share}
        plan = dataclasses.replace(self, by_slabs=slabs is not None, recompute=recompute, **cut)
        return plan.with_threads_for_columns

    @property
    def with_threads_for_columns(self) -> "Plan":
        """The plan whose blocks have fewer columns, or threads more of each, if there would be too many threads."""
        plan = self
        while plan.column_chunks.block_dim > LARGEST_BLOCK:
            fewer, longer = {"columns": plan.columns // 2}, {"chunk": 2 * plan.chunk}
            plan = dataclasses.replace(plan, **(fewer if plan.columns > 1 else longer))
        return plan

    @property
    def in_step(self) -> "Plan":
        """The plan in which all lines of a block take the same number of rounds, if they wait at the same barriers."""
        pairs = self.pairs + 1
        if self.stage_lines.alone or pairs % self.stage_lines.groups == 0:
            return self
        at_once = dataclasses.replace(self, concurrent=0)
        return at_once if at_once.stage_lines.block_dim <= LARGEST_BLOCK else dataclasses.replace(self, concurrent=1)

    @property
    def by_memory(self) -> "Plan":
        """The plan in which psi goes through memory, if rows have even lengths."""
        if self.shape[1] % 2:
            return self
        cut = {
            "rows": 1,
            "occupancy": 512 if self.dtype == "float64" else 1024,  # numbers of twice the size need twice the registers
            "concurrent": 0,
            "copies_rows": False,
            "fused": False,
            "through_memory": True,
        }
        return dataclasses.replace(self, **cut).solved(by_slabs=False)

    @property
    def on_cpu_too(self) -> "Plan":
        """The plan without the resident members that do not fit the memory Warp has for a block on the CPU."""

        def kept(resident):
            return resident if resident is None or resident.on(cpu=True).nbytes <= CPU_MEMORY else None

        ways = ("resident", "resident_adjoint", "resident_tangent")
        return dataclasses.replace(self, **{name: kept(getattr(self, name)) for name in ways})

    @property
    def for_poisson(self) -> "Plan":
        """The plan of kernels that only solve for a streamfunction: no block has rows to transform anew."""
        return dataclasses.replace(self, recompute=False)

    @property
    def for_state(self) -> "Plan":
        """The plan for the rows of the state in a fused sweep."""
        return dataclasses.replace(self, fused=False)

    @property
    def _slabs_entry(self):
        return tuning.entry(tuning.SLABS, self.shape[1])[self.saturated] if self.by_slabs else None

    def _rows_about(self, wanted: int) -> int:
        return rows_of_slab(self.shape[0], wanted) if self.by_slabs else wanted

    @property
    def for_tangent(self) -> "Plan":
        """The plan of kernels that carry a tangent: twice the registers, lines and rows."""
        if self.edges:
            return self
        entry, slabs = tuning.entry(tuning.TANGENT, self.shape[1]), self._slabs_entry
        rows = self._rows_about(entry.rows)
        plan = dataclasses.replace(
            self,
            fields=2,
            rows=min(self.rows, rows),
            occupancy=entry.occupancy if self.saturated else 1,
            concurrent=entry.concurrent,
            copies_rows=entry.copies_rows,
        )
        while plan.rows > 2 and plan.stage_bytes > self.shared_memory:
            plan = dataclasses.replace(plan, rows=plan.rows - 2)
        if self.through_memory or plan.stage_lines.nbytes > self.shared_memory:
            return plan.by_memory
        plan = plan.in_step.solved(bool(slabs and slabs.tangent) and plan.rows == rows)
        return plan if plan.stage_bytes <= self.shared_memory else dataclasses.replace(plan, copies_rows=False)

    @property
    def for_adjoint(self) -> "Plan":
        """The plan of a stage of the backward sweep."""
        if self.edges:
            return self
        entry, slabs = tuning.entry(tuning.SWEEP, self.shape[1])[self.saturated], self._slabs_entry
        rows = self._rows_about(entry.rows)
        cut = {"rows": min(self.rows, rows), "occupancy": entry.occupancy, "concurrent": 0, "copies_rows": True}
        plan = dataclasses.replace(self, **cut, fused=entry.fused)
        if self.through_memory:
            return plan.by_memory
        if plan.sweep_bytes > self.shared_memory or plan.sweep_lines.block_dim > LARGEST_BLOCK:
            plan = dataclasses.replace(plan, fused=False)
        plan = dataclasses.replace(plan, copies_rows=plan.sweep_bytes <= self.shared_memory)
        return plan.solved(bool(slabs and slabs.sweep) and plan.rows == rows)

    @property
    def for_source(self) -> "Plan":
        """The plan of the kernel that begins the backward sweep, or each of its stages if it is not fused."""
        if self.edges:
            return self
        sweep = self.for_adjoint
        if sweep.fused:
            return sweep.for_state
        if self.through_memory:
            return sweep
        entry = tuning.entry(tuning.SOURCE, self.shape[1])[self.saturated]
        rows = sweep.rows if sweep.by_slabs else min(self.rows, entry.rows)
        plan = dataclasses.replace(sweep, rows=rows, occupancy=entry.occupancy, copies_rows=True)
        return dataclasses.replace(plan, copies_rows=entry.copies_rows and plan.sweep_bytes <= self.shared_memory)

    def need(self) -> tuple[int, int]:
        """Return the threads and bytes of shared memory of a block that the kernels of a step need.

        The backward sweep needs no more. The kernel with a tangent may (`tangent_fits`).
        """
        return max(self.row_threads, self.column_chunks.block_dim), self.stage_bytes

    def tangent_fits(self, limit: int) -> bool:
        """Return whether the lines of state and tangent fit `limit` bytes of shared memory."""
        return self.resident_tangent is not None or self.for_tangent.stage_lines.nbytes <= limit

    def streams(self, batch: int, resident: bool, tangent: bool = False) -> Streams:
        """Return the streams for a batch: one if members are resident, the device is not saturated, or modes differ."""
        (ny, nx), entry = self.shape, tuning.entry(tuning.STREAMS, self.shape[1])
        if resident or self.screened or not self.saturated or (tangent and batch * ny * nx < entry.tangent_points):
            return Streams(batch)
        counts = range(entry.parts, 0, -1)
        return Streams(batch, next(c for c in counts if -(-batch // c) * c <= tuning.UNEVEN * batch))
