"""How work is cut into blocks: the one place with tuning constants."""

import dataclasses
import functools

import warp as wp

from .fft import Lines, threads_per_line

REALS = {"float32": wp.float32, "float64": wp.float64}

# Tuning, measured on an H200. Few points leave multiprocessors idle, so blocks are cut small and given more threads
# than their transforms need; many points want the fewest instructions a point.
FEW_POINTS = 2**19
MANY_POINTS = 2**21
SHORT_LINE = 128
TANGENT_THREADS = 512  # more would leave a thread too few registers
SHARED_MEMORY = 176 * 1024  # bytes a block may use, where the device has more


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled, and how work is cut up.

    `rows`: grid rows of a block; even, since two real rows make one complex line. `columns`: spectrum columns of a
    block. `threads`: the fewest threads of a block of the row and of the column kernels.
    """

    shape: tuple[int, int]
    dtype: str
    rows: int
    columns: int
    threads: tuple[int, int] = (256, 256)

    @property
    def real(self):
        return REALS[self.dtype]

    @property
    def half(self) -> int:
        """Wavenumbers kept of a real row."""
        return self.shape[1] // 2 + 1

    @property
    def bands(self) -> int:
        return -(-self.shape[0] // self.rows)

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """psi of a band and of one row on either side, two rows a line; behind them the band's new vorticity."""
        pairs = self.rows // 2
        return Lines(self.shape[1], 2 * pairs + 1, pairs + 1, self.real, self.threads[0])

    @functools.cached_property
    def band_lines(self) -> Lines:
        """The rows of a band, two a line."""
        pairs = self.rows // 2
        return Lines(self.shape[1], pairs, pairs, self.real, self.threads[0])

    @property
    def tangent_rows(self) -> int:
        """Rows of a block that carries a tangent along; fewer, because it keeps two streamfunctions."""
        return 4 if self.rows >= 8 else 2

    @functools.cached_property
    def tangent_lines(self) -> Lines:
        """psi and its tangent as in `stage_lines`, and behind both the new rows of both."""
        pairs = self.tangent_rows // 2
        groups = max(1, min(2 * (pairs + 1), TANGENT_THREADS // threads_per_line(self.shape[1])))
        return Lines(self.shape[1], 4 * pairs + 2, groups, self.real, self.threads[0])

    @functools.cached_property
    def column_lines(self) -> Lines:
        return Lines(self.shape[0], self.columns, self.columns, self.real, self.threads[1])


def make_plan(shape: tuple[int, int], dtype: str, batch: int = 1, shared_memory: int | None = None) -> Plan:
    """The plan for a grid shape, float type and number of members, on a device with so many bytes of shared memory a
    block (None: no limit)."""
    allowed = min(SHARED_MEMORY, shared_memory or SHARED_MEMORY)
    ny, nx = shape
    points = batch * ny * nx
    few, many = points <= FEW_POINTS, points > MANY_POINTS
    plan = Plan(
        shape,
        dtype,
        rows=min(8 if nx <= SHORT_LINE else 2 if few else 4, ny // 2 * 2),
        columns=8 if ny <= SHORT_LINE else 2 if few else 4,
        threads=(1 if many or nx <= SHORT_LINE else 256, 1 if many else 256 if few else 512),
    )
    while plan.rows > 2 and (plan.stage_lines.nbytes > allowed or plan.stage_lines.block_dim > 1024):
        plan = dataclasses.replace(plan, rows=plan.rows - 2)
    while plan.columns > 1 and (plan.column_lines.nbytes > allowed or plan.column_lines.block_dim > 1024):
        plan = dataclasses.replace(plan, columns=plan.columns // 2)
    return plan


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Why a device with so many bytes of shared memory a block (None: no limit) cannot run a plan, or None."""
    buffers = plan.stage_lines, plan.column_lines
    if any(lines.block_dim > 1024 for lines in buffers):
        return f"shape {plan.shape} needs more than 1024 threads a block"
    need = max(lines.nbytes for lines in buffers)
    if shared_memory is not None and need > shared_memory:
        return (
            f"shape {plan.shape} in {plan.dtype} needs {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use a smaller grid or float32"
        )
    return None
