"""How work is cut into blocks: the one place with tuning constants."""

import dataclasses
import functools

import warp as wp

from .fft import Lines, factorise

REALS = {"float32": wp.float32, "float64": wp.float64}

# Rows of the grid a block advances, by points in a row: more rows share halo transforms, fewer fit more blocks.
_ROWS = ((128, 8), (1024, 4), (1 << 30, 2))
# Columns a block solves, by points in a column.
_COLUMNS = ((64, 8), (2048, 4), (1 << 30, 2))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled."""

    shape: tuple[int, int]
    dtype: str

    @property
    def real(self):
        return REALS[self.dtype]

    @property
    def half(self) -> int:
        """Wavenumbers kept of a real row."""
        return self.shape[1] // 2 + 1

    @property
    def rows(self) -> int:
        """Rows of the grid in the band of one block; even, since two real rows make one complex line."""
        return min(_lookup(_ROWS, self.shape[1]), self.shape[0] // 2 * 2)

    @property
    def bands(self) -> int:
        return -(-self.shape[0] // self.rows)

    @property
    def columns(self) -> int:
        columns = _lookup(_COLUMNS, self.shape[0])
        return columns // 2 if self.dtype == "float64" and self.shape[0] >= 2048 else columns

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """psi of a band and of one row on either side, two rows a line; behind them the band's new vorticity."""
        pairs = self.rows // 2
        return Lines(self.shape[1], 2 * pairs + 1, pairs + 1, self.real)

    @functools.cached_property
    def band_lines(self) -> Lines:
        """The rows of a band, two a line."""
        pairs = self.rows // 2
        return Lines(self.shape[1], pairs, pairs, self.real)

    @functools.cached_property
    def tangent_lines(self) -> Lines:
        """(psi, its tangent) of the rows of a narrower band and its two neighbours; behind them the new states."""
        rows = self.rows // 2
        return Lines(self.shape[1], 2 * rows + 2, rows + 2, self.real)

    @functools.cached_property
    def column_lines(self) -> Lines:
        return Lines(self.shape[0], self.columns, self.columns, self.real)

    def blocks(self, batch: int, wavenumbers: int) -> int:
        """Blocks of the column kernel."""
        return batch * -(-wavenumbers // self.columns)


def _lookup(table, n: int) -> int:
    return next(value for limit, value in table if n <= limit)


def unsupported(plan: Plan, shared_memory: int | None) -> str | None:
    """Why the fused kernels cannot run this plan, or None. `shared_memory`: bytes a block may use, None: no limit."""
    for n in plan.shape:
        if not factorise(n):
            return f"size {n} has a prime factor above 5; use sizes of the form 2^a 3^b 5^c"
    buffers = (plan.stage_lines, plan.column_lines, plan.tangent_lines)
    if any(lines.block_dim > 1024 for lines in buffers):
        return f"shape {plan.shape} needs more than 1024 threads a block"
    need = max(lines.nbytes for lines in buffers)
    if shared_memory is not None and need > shared_memory:
        return (
            f"shape {plan.shape} in {plan.dtype} needs {need // 1024} KiB of shared memory a block, "
            f"the device has {shared_memory // 1024}; use a smaller grid or float32"
        )
    return None
