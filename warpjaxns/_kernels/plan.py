"""How work is cut into blocks: the one place with tuning constants."""

import dataclasses
import functools

import warp as wp

from .fft import Lines

REALS = {"float32": wp.float32, "float64": wp.float64}
SHARED_MEMORY = 200 * 1024  # bytes a block may use, where the device has more
LARGEST_BLOCK = 1024  # threads
MOST_COLUMNS = 8  # of a block


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled, and how work is cut up.

    Args:
        rows: grid rows of a block; even, since two real rows make one complex line.
        columns: spectrum columns of a block.
        radices: the largest radix of the transforms of rows and of columns, which is also about how many numbers a
            thread holds.
        resident: threads that are to share a multiprocessor, in row and in column kernels; more of them have fewer
            registers each.
        serial: for the CPU, where a block has one thread.
    """

    shape: tuple[int, int]
    dtype: str
    rows: int
    columns: int
    radices: tuple[int, int] = (16, 16)
    resident: tuple[int, int] = (512, 512)
    serial: bool = False

    def on(self, cpu: bool) -> "Plan":
        """The plan for kernels that run there."""
        return dataclasses.replace(self, rows=2, columns=1, serial=True) if cpu else self

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
        return -(-self.half // MOST_COLUMNS) * MOST_COLUMNS

    @property
    def bands(self) -> int:
        return -(-self.shape[0] // self.rows)

    def row_lines(self, count: int, groups: int) -> Lines:
        groups = 1 if self.serial else groups
        return Lines(self.shape[1], count, groups, self.real, self.radices[0], self.serial)

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """psi of a band and of one row on either side, two rows a line."""
        pairs = self.rows // 2
        return self.row_lines(pairs + 1, pairs + 1)

    @functools.cached_property
    def band_lines(self) -> Lines:
        """The rows of a band, two a line."""
        pairs = self.rows // 2
        return self.row_lines(pairs, pairs)

    @functools.cached_property
    def tangent_lines(self) -> Lines:
        """psi and its tangent as in `stage_lines`, one behind the other."""
        pairs = self.rows // 2
        return self.row_lines(2 * pairs + 2, pairs + 1)

    @functools.cached_property
    def column_lines(self) -> Lines:
        columns = self.columns
        return Lines(self.shape[0], columns, columns, self.real, self.radices[1], self.serial, interleaved=True)

    def row_bounds(self, lines: Lines) -> tuple[int, int]:
        """Threads of a block of a row kernel, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, self.resident[0] // lines.block_dim)

    @property
    def column_bounds(self) -> tuple[int, int]:
        """As `row_bounds`, of the column kernel."""
        return self.column_lines.block_dim, max(1, self.resident[1] // self.column_lines.block_dim)

    def need(self) -> tuple[int, int]:
        """The most threads and bytes of shared memory that a block of any kernel but the tangent's has."""
        buffers = self.stage_lines, self.column_lines
        return max(lines.block_dim for lines in buffers), max(lines.nbytes for lines in buffers)


def make_plan(shape: tuple[int, int], dtype: str, batch: int = 1, shared_memory: int | None = None) -> Plan:
    """The plan for a grid shape, float type and number of members, on a device with so many bytes of shared memory a
    block (None: no limit)."""
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    ny, nx = shape
    points = batch * ny * nx
    few = points <= 2**18
    plan = Plan(
        shape,
        dtype,
        rows=min(2 if few or nx >= 2048 else 4 if points <= 2**21 else 8, ny // 2 * 2),
        columns=2 if few else 4,
        radices=(8 if nx <= 512 else 16, 8 if ny <= 512 else 16),
    )

    def fits(lines):
        return lines.nbytes <= allowed and lines.block_dim <= LARGEST_BLOCK

    while plan.rows > 2 and not fits(plan.stage_lines):
        plan = dataclasses.replace(plan, rows=plan.rows - 2)
    while plan.columns > 1 and not fits(plan.column_lines):
        plan = dataclasses.replace(plan, columns=plan.columns // 2)
    return plan


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
