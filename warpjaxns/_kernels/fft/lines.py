"""Layout of lines of complex numbers in registers and in shared memory, and the threads that transform them.

Thread t of the T threads of a line holds the numbers t, t + T, t + 2T, ... In the buffer a line is padded by one
number in 16 or less, which keeps strided accesses off the same memory bank. The threads of a line are successive
threads of the block. Those of `interleaved` lines take turns: successive threads have successive lines. `transforms`
has the transforms.
"""

import dataclasses
import functools
import itertools
import math

import numpy as np
import warp as wp

from ..hardware.limits import BANKS, WARP

PADDING = 16
MOST_VALUES = 24  # complex numbers that a thread holds, of a line or a column
# Instructions of a DFT, about: the radices there are, and what each costs
ARITHMETIC = {2: 4, 3: 14, 4: 16, 5: 40, 6: 44, 8: 52, 10: 100, 12: 112, 16: 168, 20: 240}
EXCHANGE, ADDRESS, BARRIER = 5, 3, 40  # for a number in shared memory, for an irregular address, before each pass


def smooth(n: int) -> bool:
    """Return whether n has no prime factor above 5."""
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


@functools.cache
def factorise(n: int, wanted: int = 16, narrow: bool = False) -> tuple[int, tuple[int, ...]]:
    """Return how many numbers of a line of n a thread holds, and the radices of its passes.

    `wanted`: a power of two, about which number is wanted. `narrow`: whether lines must not wait for each other, if
    that is possible: the threads of a line are then a divisor or a multiple of a warp.

    The first and the last radix divide the numbers that a thread holds, since it holds them t, t + threads, ... before
    and after the transform. In the passes between, some threads may have more to do than others.
    """
    if n & (n - 1) == 0:
        twos = n.bit_length() - 1
        passes = max(1, math.ceil(twos / (wanted.bit_length() - 1)))
        radices = tuple(2 ** (twos // passes + (p < twos % passes)) for p in range(passes))
        return max(radices), radices
    candidates = _candidates(n, narrow) or _candidates(n, False)
    return min(candidates, key=lambda c: _cost(n, *c) * max(1, (c[0] / wanted) ** 2, 0.75 * wanted / c[0]))


@functools.cache
def _candidates(n: int, narrow: bool) -> list[tuple[int, tuple[int, ...]]]:
    """Return what `factorise` chooses from."""
    found = []
    for values in range(2, min(n, MOST_VALUES) + 1):
        threads = n // values
        alone = threads % WARP == 0 or WARP % threads == 0
        if n % values == 0 and (alone or not narrow):
            ends = [radix for radix in ARITHMETIC if values % radix == 0]
            found += [(values, (values,))] if n == values in ends else []
            for first, last in itertools.product(ends, ends):
                if n % (first * last) == 0:
                    found += [(values, (first, *between, last)) for between in _products(n // (first * last))]
    return found


@functools.cache
def _products(n: int, least: int = 2) -> list[tuple[int, ...]]:
    """Return all ascending radices, from `least` on, whose product is n."""
    if n == 1:
        return [()]
    return [(r, *rest) for r in ARITHMETIC if r >= least and n % r == 0 for rest in _products(n // r, r)]


def _cost(n: int, values: int, radices: tuple[int, ...]) -> float:
    """Return about how many instructions a number takes."""
    threads, span, total = n // values, 1, 0
    for radix in radices:
        each, made = ARITHMETIC[radix], span * radix
        if span > 1:
            each += EXCHANGE * radix + (8 * (radix - 1) if radix & (radix - 1) else 2 * radix)
            total += BARRIER
        if made < n and made & (made - 1):
            each += ADDRESS * radix
        total += math.ceil(n // radix / threads) * each
        span = made
    return total / values


@dataclasses.dataclass(frozen=True)
class Lines:
    """A shared-memory buffer for `count` lines of `n` complex numbers, and the threads that transform them.

    Every line has `threads` threads, which hold `values` numbers each. The block's first threads have the first line.

    Args:
        n: length of a line.
        count: lines in the buffer.
        groups: lines that the block transforms at the same time.
        real: ``wp.float32`` or ``wp.float64``.
        radix: about the number of values that a thread is to hold, and the largest power of two among the radices.
        narrow: whether lines must not wait for each other (`factorise`).
        serial: for the CPU, where a block has one thread.
        keep_factors: whether a thread keeps its twiddle factors in registers from one transform to the next.
        precise: whether threads read w^4 beside a twiddle factor w, which halves rounding errors.
        bundle: lines that lie together.
        skew: complex numbers left free after every bundle.
        interleaved: lines whose threads take turns, as columns do that are neighbours in memory.
        room: the least size of the buffer, which other lines may use in turn.
        one_row: whether a line is one real row of 2n points, not two of n (`real_rows`).
    """

    n: int
    count: int
    groups: int
    real: type
    radix: int = 16
    serial: bool = False
    keep_factors: bool = False
    precise: bool = False
    bundle: int = 1
    skew: int = 0
    interleaved: int = 1
    narrow: bool = False
    room: int = 0
    one_row: bool = False

    @property
    def values(self) -> int:
        """Complex numbers that a thread holds."""
        return self.n if self.serial else factorise(self.n, self.radix, self.narrow)[0]

    @property
    def threads(self) -> int:
        """Threads that share a line."""
        return self.n // self.values

    @property
    def block_dim(self) -> int:
        return self.groups * self.threads

    @property
    def padding(self) -> int:
        """Complex numbers after which one is left free.

        Interleaved lines need it after the numbers of a first pass, since few threads of a line share an access.
        """
        first = self.passes[0][0]
        return first if self.interleaved > 1 and first in (4, 8) else PADDING

    @property
    def counted_threads(self) -> int:
        """Threads that a block counts for, when a multiprocessor's registers are divided among blocks.

        Registers are given to full warps. Threads that hold more numbers than `radix` need more of them. (Numbers of
        threads in `tuning` were measured for powers of two, as they are.)
        """
        if self.n & (self.n - 1) == 0:
            return self.block_dim
        return math.ceil(WARP * math.ceil(self.block_dim / WARP) * max(1, self.values / self.radix))

    @property
    def padded(self) -> int:
        """Complex numbers from one line to the next: an even number, with room for padding and for two half spectra.

        Threads of two lines may share an access, and its numbers should lie in different memory banks. Interleaved
        lines share all accesses, and lie their part of the banks apart.
        """
        least = max(self.n + math.ceil(self.n / self.padding), self.rows * self.half_spectrum)
        if self.interleaved > 1:
            at_once = 4 * BANKS // wp.types.type_size_in_bytes(self.real) // 2  # complex numbers of an access
            least = self.n + math.ceil(self.n / self.padding)
            return least + (max(at_once // self.interleaved, 1) - least) % at_once
        apart = self.threads > 4 and self.threads % 2 == 0 and self.threads % (BANKS // 2) > 0
        return least + (self.threads - least) % (BANKS // 2) if apart else 2 * math.ceil(least / 2)

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of a real field in shared memory to the next.

        The threads of a line work on two rows, and lines that share a warp must not meet in a memory bank.
        """
        shared = self.threads % BANKS
        apart = self.threads > 1 and shared and self.n % BANKS == 0
        return self.n + 4 * max(math.ceil(shared / 8), 1) if apart else self.n

    @property
    def rows(self) -> int:
        """Real rows of a line."""
        return 1 if self.one_row else 2

    @property
    def points(self) -> int:
        """Points of a real row, and roots of unity in the table."""
        return 2 * self.n // self.rows

    @property
    def half_spectrum(self) -> int:
        """Room for the wavenumbers that are kept of a real row; an even number."""
        return (self.points // 2 + 2) // 2 * 2

    @property
    def size(self) -> int:
        """Real numbers in the buffer: the shape of the tile that holds it."""
        return max(self.room, 2 * (self.padded * self.count + (self.count - 1) // self.bundle * self.skew))

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(wp.dtype_to_numpy(self.real)).itemsize

    @property
    def passes(self) -> list[tuple[int, int]]:
        """The radix of each pass, and the product of the radices before it."""
        radices = factorise(self.n, self.radix, self.narrow)[1]
        return [(radix, math.prod(radices[:done])) for done, radix in enumerate(radices)]

    def factors(self, radix: int, span: int) -> int:
        """Return the twiddle factors that a thread needs in a pass: 1 if all its butterflies have the same."""
        return 1 if self.threads % span == 0 else self.butterflies(radix)

    def powers(self, radix: int) -> int:
        """Return how many powers of a twiddle factor a thread loads: w, and w^4 if it matters."""
        return 2 if self.precise and radix > 4 else 1

    def butterflies(self, radix: int) -> int:
        """Return the most butterflies of a thread in a pass."""
        return -(-self.n // radix // self.threads)

    def even(self, radix: int) -> bool:
        """Return whether all threads have the same number of butterflies in a pass."""
        return self.values % radix == 0

    @property
    def Factors(self):
        """The type of a thread's twiddle factors of all passes: a vector in registers, or their table."""
        if not self.keep_factors:
            return wp.array(dtype=wp.types.vector(length=2, dtype=self.real))
        count = sum(self.powers(radix) * self.factors(radix, span) for radix, span in self.passes[1:])
        return wp.types.vector(length=2 * max(count, 1), dtype=self.real)

    @property
    def Values(self):
        """The vector type in which a thread holds its numbers: real and imaginary parts in turn."""
        return wp.types.vector(length=2 * self.values, dtype=self.real)

    @property
    def Tile(self):
        return wp.tile(dtype=self.real, shape=(self.size,))

    @property
    def offset(self) -> str:
        """Native code for the complex numbers before a line in the buffer."""
        apart = f" + (int)((unsigned)line / {self.bundle}) * {self.skew}" if self.skew else ""
        return f"line * {self.padded}{apart}"

    @property
    def alone(self) -> bool:
        """True where the threads of a line do not wait for those of other lines."""
        return "__syncthreads" not in self.barrier

    def rounded_up(self, lines: int) -> int:
        """Return the number of lines rounded up to a multiple of `groups`, for loops in which all threads take part."""
        return -(-lines // self.groups) * self.groups

    @property
    def barrier(self) -> str:
        """Native code of the barrier of a line's threads. It waits for as few other threads as CUDA allows."""
        threads = self.threads * self.interleaved
        if threads <= 32 and 32 % threads == 0:
            members = f"{(1 << threads) - 1:#x}u << (threadIdx.x & {32 - threads})"
            return f"__syncwarp({members});" if threads < 32 else "__syncwarp();"
        if threads % 32 == 0 and 1 < self.groups // self.interleaved < 16:
            number = f'"r"(1 + threadIdx.x / {threads})'
            return f'asm volatile("bar.sync %0, {threads};" :: {number} : "memory");'
        return "__syncthreads();"
