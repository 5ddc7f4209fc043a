"""How work is cut into blocks, as `tuning` says and memory allows."""

import dataclasses
import functools
import math

import warp as wp

from . import tuning
from .columns import Columns
from .lines import Lines, factorise
from .whole import LARGEST_BLOCK, MOST_VALUES, SHARED_MEMORY, Whole

REALS = {"float32": wp.float32, "float64": wp.float64}
CPU_MEMORY = 256 * 1024  # bytes of tiles that Warp has for a block on the CPU
MOST_COLUMNS = 8  # of a block
MOST_BLOCKS = 16  # of a cluster


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled, and how work is cut up.

    Args:
        rows: grid rows of a block; even, since two real rows make one complex line.
        radix: the largest radix of the transforms of rows, which is also about how many numbers a thread holds.
        columns: spectrum columns of a block of the kernel that solves along y.
        chunk: the most points of a column, or bands, that a thread of it holds.
        resident: threads that are to share a multiprocessor; more have fewer registers each.
        groups: lines that a stage transforms at the same time, a divisor of rows/2, or pairs of them where there is a
            tangent; 0 for all of a block's.
        banded: whether a block copies the rows it works on to shared memory before it needs them.
        by_bands: whether a block solves the Poisson equation of its rows itself.
        again: whether it then transforms the rows of a state anew, so that their spectra never go to memory.
        fused: whether a stage of the backward sweep begins the next one too.
        many: whether there are many points.
        whole: how blocks take a whole member through all its steps; None where they do not.
        whole_adjoint: how they sweep back over one, likewise.
        whole_tangent: how they take it along with a tangent, likewise.
        shared_memory: bytes that a block may use.
        serial: for the CPU, where a block has one thread.
    """

    shape: tuple[int, int]
    dtype: str
    rows: int
    radix: int = 16
    columns: int = 8
    chunk: int = 16
    resident: int = 512
    groups: int = 0
    banded: bool = True
    by_bands: bool = False
    again: bool = False
    fused: bool = False
    many: bool = False
    whole: Whole | None = None
    whole_adjoint: Whole | None = None
    whole_tangent: Whole | None = None
    shared_memory: int = SHARED_MEMORY
    serial: bool = False

    def on(self, cpu: bool) -> "Plan":
        """The plan for kernels that run there."""
        rows = self.rows if self.by_bands else 2
        return dataclasses.replace(self, rows=rows, columns=1, serial=True) if cpu else self

    @property
    def real(self):
        return REALS[self.dtype]

    @property
    def half(self) -> int:
        """Wavenumbers kept of a real row."""
        return self.shape[1] // 2 + 1

    @property
    def pitch(self) -> int:
        """Numbers from one row of a spectrum to the next: whole sectors of memory, and whole blocks of columns."""
        whole = max(MOST_COLUMNS, self.columns)
        return -(-self.half // whole) * whole

    @property
    def bands(self) -> int:
        return -(-self.shape[0] // self.rows)

    def row_lines(self, count: int, groups: int) -> Lines:
        groups = 1 if self.serial else groups
        keep = not (self.many or self.serial)  # many points want registers, few want no waiting
        return Lines(self.shape[1], count, groups, self.real, self.radix, self.serial, keep)

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """psi of a band and of one row on either side, two rows a line."""
        pairs = self.rows // 2
        return self.row_lines(pairs + 1, self.groups or pairs + 1)

    @functools.cached_property
    def band_lines(self) -> Lines:
        """The rows of a band, two a line."""
        pairs = self.rows // 2
        return self.row_lines(pairs, pairs)

    @property
    def row_threads(self) -> int:
        """Of the largest block that works on rows."""
        return max(self.stage_lines.block_dim, self.band_lines.block_dim)

    @property
    def sweep_lines(self) -> Lines:
        """The rows of a band, and where the sweep is fused the cotangent of one more on either side."""
        return self.stage_lines if self.fused else self.band_lines

    @functools.cached_property
    def tangent_lines(self) -> Lines:
        """psi and its tangent as in `stage_lines`, one behind the other."""
        pairs = self.rows // 2
        lines = self.row_lines(2 * pairs + 2, self.groups or pairs + 1)
        return lines if lines.block_dim <= LARGEST_BLOCK else self.row_lines(2 * pairs + 2, 1)

    def scratch(self, batch: int, copies: int = 1, sides: int = 2) -> list[tuple[int, ...]]:
        """Shapes of the complex arrays in which spectra go from kernel to kernel, `copies` fields a member: as many as
        `sides`, two where a kernel writes to one while others read the other; bands only read what is their own, and
        have one, and their sums; or only the sums, where they transform rows `again`."""
        spectrum, sums = ((copies, batch, rows, self.pitch) for rows in (self.shape[0], 2 * self.bands))
        if self.by_bands:
            return [sums] if self.again else [sums, spectrum]
        return [spectrum] * sides

    def solved(self, by_bands: bool, again: bool = False) -> "Plan":
        """With bands that solve the Poisson equation of their rows themselves, if they are to and can, or with columns.
        It is not worth it where bands have fewer rows than `tuning` says: they leave two rows of sums each. `again`:
        whether there is a state whose rows could be transformed anew."""
        (ny, nx), float64 = self.shape, self.dtype == "float64"
        way = tuning.entry(tuning.BANDS, nx)[self.many] if by_bands and ny % self.rows == 0 else None
        chunk, columns, *_, anew = way or (*tuning.entry(tuning.COLUMNS, ny)[self.many], False)
        if float64:  # of twice the size: the same registers, the same sectors of memory
            chunk, columns = chunk // 2, columns // 2
        plan = dataclasses.replace(self, by_bands=way is not None, again=again and anew, chunk=chunk, columns=columns)
        while plan.columns > 1 and plan.column_chunks.block_dim > LARGEST_BLOCK:
            plan = dataclasses.replace(plan, columns=plan.columns // 2)
        return plan

    @property
    def in_step(self) -> "Plan":
        """With as many turns for all lines of a block, where these wait for each other at every barrier: at the same
        time, or one after the other."""
        pairs = self.rows // 2 + 1
        if self.stage_lines.alone or pairs % self.stage_lines.groups == 0:
            return self
        at_once = dataclasses.replace(self, groups=0)
        return at_once if at_once.stage_lines.block_dim <= LARGEST_BLOCK else dataclasses.replace(self, groups=1)

    @property
    def on_cpu_too(self) -> "Plan":
        """Without whole members for which Warp has no room on the CPU, where no blocks share them."""

        def kept(way):
            return way if way is None or way.on(cpu=True).nbytes <= CPU_MEMORY else None

        ways = ("whole", "whole_adjoint", "whole_tangent")
        return dataclasses.replace(self, **{name: kept(getattr(self, name)) for name in ways})

    @property
    def for_poisson(self) -> "Plan":
        """The plan of kernels that solve for a streamfunction alone: no block has the rows to transform them again."""
        return dataclasses.replace(self, again=False)

    @property
    def for_state(self) -> "Plan":
        """The plan for the rows of the state in a fused sweep."""
        return dataclasses.replace(self, fused=False)

    @property
    def _derivatives_by_bands(self) -> tuple[bool, bool]:
        """Whether the backward sweep, and kernels with a tangent, solve by bands too."""
        return tuning.entry(tuning.BANDS, self.shape[1])[self.many][2:4] if self.by_bands else (False, False)

    @property
    def for_tangent(self) -> "Plan":
        """The plan of kernels that carry a tangent along, and so need twice as much of everything."""
        most, resident, groups, banded = tuning.entry(tuning.TANGENT, self.shape[1])
        resident = resident if self.many else 1
        cut = {"rows": min(self.rows, most), "resident": resident, "groups": groups, "banded": banded}
        plan = dataclasses.replace(self, **cut)
        while plan.rows > 2 and plan.tangent_bytes > self.shared_memory:
            plan = dataclasses.replace(plan, rows=plan.rows - 2)
        plan = plan.in_step.solved(self._derivatives_by_bands[1] and plan.rows == most)
        return plan if plan.tangent_bytes <= self.shared_memory else dataclasses.replace(plan, banded=False)

    @property
    def for_adjoint(self) -> "Plan":
        """The plan of a stage of the backward sweep."""
        most, resident, fused = tuning.entry(tuning.ADJOINT, self.shape[1])[self.many]
        cut = {"rows": min(self.rows, most), "resident": resident, "groups": 0, "banded": True}
        plan = dataclasses.replace(self, **cut, fused=fused)
        if plan.sweep_bytes > self.shared_memory or plan.sweep_lines.block_dim > LARGEST_BLOCK:
            plan = dataclasses.replace(plan, fused=False)
        plan = dataclasses.replace(plan, banded=plan.sweep_bytes <= self.shared_memory)
        return plan.solved(self._derivatives_by_bands[0] and plan.rows == most)

    @property
    def for_source(self) -> "Plan":
        """The plan of the kernel that begins the backward sweep, or every stage of it."""
        sweep = self.for_adjoint
        if sweep.fused:
            return sweep.for_state
        most, resident, banded = tuning.entry(tuning.SOURCE, self.shape[1])[self.many]
        rows = sweep.rows if sweep.by_bands else min(self.rows, most)
        plan = dataclasses.replace(sweep, rows=rows, resident=resident, banded=True)
        return dataclasses.replace(plan, banded=banded and plan.sweep_bytes <= self.shared_memory)

    @functools.cached_property
    def column_chunks(self) -> Columns:
        """What is solved along y by a kernel of its own: whole columns, or what bands leave of them."""
        n = self.bands if self.by_bands else self.shape[0]
        return Columns(n, self.columns, self.chunk, self.real, self.serial)

    @property
    def column_blocks(self) -> int:
        """Blocks of the kernel that solves along y, for each member."""
        return -(-self.half // self.columns)

    @staticmethod
    def bounds(lines: Lines | Columns, resident: int = 512) -> tuple[int, int]:
        """Threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, resident // lines.block_dim)

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of a band to the next."""
        return self.row_lines(1, 1).row_pitch

    @property
    def margin(self) -> int:
        """Rows on either side of a band that its block works on too."""
        return 1 + self.fused

    @property
    def band_size(self) -> int:
        """Numbers in a band of rows with its margins."""
        return (self.rows + 2 * self.margin) * self.row_pitch if self.banded else 1

    @property
    def band_bytes(self) -> int:
        return self.band_size * wp.types.type_size_in_bytes(self.real)

    @property
    def stage_bytes(self) -> int:
        """Shared memory of a block of a stage."""
        return self.stage_lines.nbytes + self.band_bytes

    @property
    def tangent_bytes(self) -> int:
        """Likewise, where a tangent is carried along."""
        return self.tangent_lines.nbytes + 2 * self.band_bytes

    @property
    def sweep_bytes(self) -> int:
        """Likewise, in the backward sweep: cotangent and streamfunction, and where it is fused the state."""
        state = self.for_state.band_bytes if self.fused else 0
        return self.sweep_lines.nbytes + 2 * self.band_bytes + state

    def need(self) -> tuple[int, int]:
        """The threads and bytes of shared memory without which the kernels of a step cannot run. The backward sweep
        makes do with as much; the tangent's kernel may not (`warp.tangent_fits`)."""
        return max(self.row_threads, self.column_chunks.block_dim), self.stage_bytes


def largest_radix(n: int, wanted: int) -> int:
    """The largest radix up to the one wanted with which a thread does not hold too many numbers."""
    while wanted > 2 and math.lcm(*factorise(n, wanted)) > MOST_VALUES:
        wanted //= 2
    return wanted


def make_plan(shape: tuple[int, int], dtype: str, batch: int = 1, shared_memory: int | None = None) -> Plan:
    """The plan for a grid shape, float type and number of members, on a device with so many bytes of shared memory a
    block (None: as many as a plan may use)."""
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    ny, nx = shape
    many = batch * ny * nx > tuning.FEW_POINTS[batch == 1]
    row_radix, rows, resident, groups = tuning.entry(tuning.STAGE, nx)[many]
    plan = Plan(
        shape,
        dtype,
        rows=min(rows, ny // 2 * 2),
        radix=largest_radix(nx, row_radix),
        resident=resident,
        groups=groups,
        banded=not groups,
        many=many,
        shared_memory=allowed,
    )
    while plan.rows > 2 and (plan.stage_bytes > allowed or plan.row_threads > LARGEST_BLOCK):
        plan = dataclasses.replace(plan, rows=plan.rows - 2)
    plan = dataclasses.replace(plan, groups=groups and math.gcd(groups, plan.rows // 2)).in_step
    if plan.stage_bytes > allowed:
        plan = dataclasses.replace(plan, banded=False)
    return with_whole_members(plan.solved(plan.rows == rows, again=True), batch)


def with_whole_members(plan: Plan, batch: int) -> Plan:
    """The plan with whole members in shared memory, where they fit and there are enough of them."""
    ny, nx = plan.shape
    most = MOST_BLOCKS if plan.shared_memory == SHARED_MEMORY else 1  # devices with so much have clusters

    def first(kind, *variants):
        table = tuning.WHOLE.get(f"{kind} {plan.dtype}", tuning.WHOLE[kind])
        ways = next((ways for longest, ways in sorted(table.items()) if max(ny, nx) <= longest), ())
        for blocks, radix, resident, fewest in ways:
            if batch < fewest or blocks > most:
                continue
            whole = Whole(plan.shape, plan.real, largest_radix(nx, radix), resident, blocks=blocks)
            for way in (variant(whole) for variant in variants):
                if way.fits(plan.shared_memory):
                    return way
        return None

    return dataclasses.replace(
        plan,
        whole=first("advance", lambda whole: whole.with_start, lambda whole: whole),
        whole_adjoint=first("adjoint", lambda whole: whole.with_stage(True), lambda whole: whole.with_stage(False)),
        whole_tangent=first("tangent", lambda whole: whole.with_tangent),
    )


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Why a device with so many bytes of shared memory a block (None: no limit) cannot run a plan, or None."""
    threads, need = plan.need()
    if threads > LARGEST_BLOCK:
        return f"shape {plan.shape} needs more than {LARGEST_BLOCK} threads a block"
    if shared_memory is not None and need > shared_memory:
        return (
            f"shape {plan.shape} in {plan.dtype} needs {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use a smaller grid or float32"
        )
    return None
