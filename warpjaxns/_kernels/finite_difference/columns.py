"""Layout of columns of numbers along y in the registers of threads. `recursions` has the functions."""

import dataclasses
import functools

import warp as wp

from ..hardware.limits import WARP


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of `n` points that a block solves, and their threads: successive threads have successive columns.

    Args:
        n: points of a column.
        count: columns of a block, a power of two up to 32.
        wanted: the most points that a thread is to hold. It holds a divisor of n.
        real: ``wp.float32`` or ``wp.float64``.
        serial: for the CPU, where a block has one thread.
        room: the least size of the tile, which others may use where a warp has all threads of a column.
    """

    n: int
    count: int
    wanted: int
    real: type
    serial: bool = False
    room: int = 0

    @functools.cached_property
    def values(self) -> int:
        """Consecutive points that a thread holds."""
        if self.serial:
            return self.n
        return max(d for d in range(1, min(self.wanted, self.n) + 1) if self.n % d == 0)

    @property
    def threads(self) -> int:
        """Threads that share a column."""
        return self.n // self.values

    @property
    def block_dim(self) -> int:
        return self.count * self.threads

    @property
    def counted_threads(self) -> int:
        """Threads that a block counts for, as in `Lines`."""
        return self.block_dim

    @property
    def lanes(self) -> int:
        """Threads of a column in the same warp, which exchange registers."""
        return min(self.threads & -self.threads, WARP // self.count)

    @property
    def lane_groups(self) -> int:
        """Parts of a column, of `lanes` threads each, which exchange through shared memory."""
        return self.threads // self.lanes

    @property
    def size(self) -> int:
        """Real numbers in the tile through which lane groups exchange, one part for either recursion."""
        return max(self.room, 4 * self.lane_groups * self.count)

    @property
    def nbytes(self) -> int:
        return self.size * wp.types.type_size_in_bytes(self.real)

    @property
    def wide(self) -> type:
        """The type of running sums: float64 where one thread adds up a column, so that rounding does not grow."""
        return wp.float64 if self.serial else self.real

    @property
    def Values(self):
        """The vector type in which a thread holds its points: real and imaginary parts in turn."""
        return wp.types.vector(length=2 * self.values, dtype=self.real)

    @property
    def Mode(self):
        """The vector type of a wavenumber's constants (`_coefficients.column_modes`)."""
        return wp.types.vector(length=5, dtype=self.real)

    @property
    def Tile(self):
        return wp.tile(dtype=self.real, shape=(self.size,))

    @property
    def Powers(self):
        """The vector type that `powers` of `recursions` returns."""
        return wp.types.vector(length=self.lanes.bit_length() + 4, dtype=self.real)
