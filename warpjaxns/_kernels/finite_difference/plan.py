"""The plan: how the work of kernels is cut into blocks."""

import dataclasses
import functools

import warp as wp

from .. import tuning
from ..fft.lines import Lines
from ..hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY
from ..hardware.numbers import REALS, complex_type
from ..hardware.streams import Streams
from .columns import Columns
from .further import has_hypodrag, is_screened
from .resident.layout import Resident
from .shares import points_of_thread, rows_of_slab

MOST_COLUMNS = 8  # columns to which the pitch of a spectrum is rounded up
POINTS = 4  # of a row, about, that a thread has where psi goes through memory


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled, and how work is cut up.

    A *slab* is the rows of one block, with a *halo* of rows on either side that belong to others.

    Args:
        rows: grid rows of a slab; even, since two real rows make one complex line.
        radix: the largest radix of the transforms of rows, and about the number of values that a thread holds.
        columns: spectrum columns of a block of the kernel that solves along y.
        chunk: the most points of a column, or slabs, that a thread of it holds.
        occupancy: threads that are to share a multiprocessor; more have fewer registers each.
        concurrent: lines that a stage transforms at the same time, a divisor of rows/2; 0 for all lines of a block.
            With a tangent: of either field.
        copies_rows: whether a block copies the rows it works on to shared memory before it needs them.
        by_slabs: whether a block solves the Poisson equation of its own rows.
        recompute: whether such a block transforms the rows of a state anew, so that their spectra never go to memory.
        fused: whether a stage of the backward sweep also begins the next one.
        saturated: whether there are enough points to fill the device.
        fields: fields that a stage carries: 1, or 2 with a tangent.
        edges: rows at the end of a field that no block has: those around the slab of a device (`divided`).
        through_memory: whether psi goes through memory, since no block holds two lines of it. A line then has one row.
        resident: how blocks keep a member in shared memory through all its steps; None where they do not.
        resident_adjoint: the same for the backward sweep.
        resident_tangent: the same with a tangent.
        shared_memory: bytes that a block may use.
        serial: for the CPU, where a block has one thread.
        terms: coefficients of further linear terms: 0 for none, 4, or 3 with a deformation radius (`further`).
        medium: whether there are obstacles or topography (`medium`).
    """

    shape: tuple[int, int]
    dtype: str
    rows: int
    radix: int = 16
    columns: int = 8
    chunk: int = 16
    occupancy: int = 512
    concurrent: int = 0
    copies_rows: bool = True
    by_slabs: bool = False
    recompute: bool = False
    fused: bool = False
    saturated: bool = False
    fields: int = 1
    edges: int = 0
    through_memory: bool = False
    resident: Resident | None = None
    resident_adjoint: Resident | None = None
    resident_tangent: Resident | None = None
    shared_memory: int = SHARED_MEMORY
    serial: bool = False
    terms: int = 0
    medium: bool = False

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

    @property
    def screened(self) -> bool:
        """True with a deformation radius. Modes of columns then differ from member to member."""
        return is_screened(self.terms)

    @property
    def centres(self) -> bool:
        """True where a term depends on the mean of the streamfunction."""
        return has_hypodrag(self.terms)

    # ------------------------------------------------------------------------------------------ sizes

    @property
    def real(self):
        """Warp's float type."""
        return REALS[self.dtype]

    @property
    def half(self) -> int:
        """Wavenumbers kept of a real row."""
        return self.shape[1] // 2 + 1

    @property
    def pitch(self) -> int:
        """Numbers from one row of a spectrum to the next: full sectors of memory, and full blocks of columns."""
        full = max(MOST_COLUMNS, self.columns)
        return -(-self.half // full) * full

    @property
    def rows_of_line(self) -> int:
        """Rows of a line."""
        return 1 if self.through_memory else 2

    @property
    def pairs(self) -> int:
        """Lines of a slab: its row pairs, or through memory its rows."""
        return self.rows // self.rows_of_line

    @property
    def slabs(self) -> int:
        """Slabs of a member."""
        return -(-self.own_rows // self.rows)

    @property
    def halo(self) -> int:
        """Rows on either side of a slab that its block also works on."""
        return 1 + self.fused

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of a slab in shared memory to the next."""
        return self.row_lines(1, 1).row_pitch

    @property
    def slab_size(self) -> int:
        """Numbers of a slab in shared memory, with its halo."""
        return (self.rows + 2 * self.halo) * self.row_pitch if self.copies_rows else 1

    @property
    def slab_bytes(self) -> int:
        """Bytes of a slab in shared memory."""
        return self.slab_size * wp.types.type_size_in_bytes(self.real)

    @property
    def stage_bytes(self) -> int:
        """Bytes of shared memory of a block of a stage."""
        return self.stage_lines.nbytes + self.fields * self.slab_bytes

    @property
    def sweep_bytes(self) -> int:
        """Bytes of shared memory of a block of the sweep: cotangent, streamfunction, and the state if fused."""
        state = self.for_state.slab_bytes if self.fused else 0
        return self.sweep_lines.nbytes + 2 * self.slab_bytes + state

    # ------------------------------------------------------------------------------------------ threads

    def row_lines(self, count: int, groups: int) -> Lines:
        """Return the layout of `count` lines of rows, of which `groups` are transformed at the same time."""
        groups = 1 if self.serial else groups
        keep = not (self.saturated or self.serial)  # a saturated device wants registers, another one no waiting
        n, one_row = self.shape[1] * self.rows_of_line // 2, self.through_memory
        return Lines(n, count, groups, self.real, self.radix, self.serial, keep, one_row=one_row)

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """Lines of psi in a slab and one row on either side, two rows a line. Those of a tangent follow.

        Through memory psi is not in lines. They are those of the slab.
        """
        if self.through_memory:
            return self.slab_lines
        count = self.pairs + 1
        lines = self.row_lines(self.fields * count, self.concurrent or count)
        fits = self.fields == 1 or lines.block_dim <= LARGEST_BLOCK
        return lines if fits else self.row_lines(self.fields * count, 1)

    @functools.cached_property
    def slab_lines(self) -> Lines:
        """Lines of the rows of a slab, two rows a line."""
        groups = self.concurrent if self.edges else 0
        return self.row_lines(self.pairs, groups or self.pairs)

    @property
    def own_rows(self) -> int:
        """Rows of a field that blocks have."""
        return self.shape[0] - self.edges

    @property
    def point_lines(self) -> Lines:
        """Threads of two rows, where psi goes through memory; a block has a part of them (`points`)."""
        return Lines(self.shape[1], 1, 1, self.real, POINTS, self.serial)

    @property
    def sweep_lines(self) -> Lines:
        """Lines of a slab in the sweep. A fused one has the cotangent of one more row on either side."""
        return self.stage_lines if self.fused else self.slab_lines

    @property
    def in_parts(self) -> bool:
        """True where full columns are solved in parts (`parts`)."""
        return not self.by_slabs and self.shape[0] > tuning.LONGEST_COLUMN

    @property
    def of_parts(self) -> "Plan":
        """The plan in which the slabs are parts of columns: as many rows as a thread holds numbers of a column."""
        most = tuning.ROWS_OF_PART // (1 + (self.dtype == "float64"))
        rows = max(n for n in range(1, most + 1) if self.shape[0] % n == 0)
        return dataclasses.replace(self, rows=rows, by_slabs=True, through_memory=False, fields=1)

    @functools.cached_property
    def column_chunks(self) -> Columns:
        """Layout of the kernel that solves along y: full columns, or the sums of slabs or of parts."""
        n = self.of_parts.slabs if self.in_parts else self.slabs if self.by_slabs else self.shape[0]
        chunk = points_of_thread(n, self.chunk, self.columns)
        return Columns(n, self.columns, chunk, self.real, self.serial)

    @property
    def column_blocks(self) -> int:
        """Blocks of the kernel that solves along y, for each member."""
        return -(-self.half // self.columns)

    @property
    def row_threads(self) -> int:
        """Threads of the largest block that works on rows."""
        return max(self.stage_lines.block_dim, self.slab_lines.block_dim)

    @property
    def slab_bounds(self) -> tuple[int, int]:
        """The `bounds` of kernels that only transform the rows of slabs."""
        return self.bounds(self.slab_lines, *[self.occupancy] * self.through_memory)

    @staticmethod
    def bounds(lines: Lines | Columns, occupancy: int = 512) -> tuple[int, int]:
        """Return the threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, occupancy // lines.counted_threads)

    # ------------------------------------------------------------------------------------------ scratch

    def scratch(self, batch: int, sides: int = 2) -> list[tuple[int, ...]]:
        """Return the shapes of the complex arrays in which spectra go from kernel to kernel.

        `sides` is their number without slabs: two where a kernel writes to one while other blocks read the other one. A
        slab reads only its own spectra, so one array is enough, and one for the sums. With `recompute` only the sums
        are left. Columns that are solved in parts have sums too. Through memory no kernel reads spectra and writes
        others.
        """
        rows = self.shape[0], 2 * (self.of_parts if self.in_parts else self).slabs
        spectrum, sums = ((self.fields, batch, n, self.pitch) for n in rows)
        if self.by_slabs:
            return [sums] if self.recompute else [sums, spectrum]
        return [sums] * self.in_parts + [spectrum] * (1 if self.through_memory else sides)

    def typed_scratch(self, streams: Streams, **how) -> list[tuple[type, tuple[int, ...]]]:
        """Return Warp types and shapes of `scratch`, for all streams."""
        return [(complex_type(self.real), shape) for shape in streams.scratch(self.scratch(streams.members, **how))]

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
            "occupancy": 1024,
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
