"""Layout of lines of complex numbers in registers and in shared memory, and the threads that transform them.

Thread t of the T threads of a line holds the numbers t, t + T, t + 2T, ... In the buffer a line is padded by one
number in 16, which keeps strided accesses off the same memory bank. The threads of a line are successive threads of the
block, or with `interleaved` lines each has the same line as the thread that many places later. `transforms` has the
transforms.
"""

import dataclasses
import math

import numpy as np
import warp as wp

from ..hardware.limits import BANKS

PADDING = 16


def factorise(n: int, largest: int = 16) -> tuple[int, ...]:
    """Return the radices of the passes of a transform of length n, or () where n has a prime factor above 5.

    `largest`: the largest power of two among the radices. A smaller one means more passes, and fewer numbers a thread.
    """
    twos = (n & -n).bit_length() - 1
    rest, odd = n >> twos, []
    for prime in (3, 5):
        while rest % prime == 0:
            rest //= prime
            odd.append(prime)
    if rest != 1:
        return ()
    passes = math.ceil(twos / (largest.bit_length() - 1))
    powers = [2 ** (twos // passes + (p < twos % passes)) for p in range(passes)] if passes else []
    return tuple(powers + odd[::-1])


@dataclasses.dataclass(frozen=True)
class Lines:
    """A shared-memory buffer for `count` lines of `n` complex numbers, and the threads that transform them.

    Every line has `threads` threads, which hold `values` numbers each. The block's first threads have the first line.

    Args:
        n: length of a line.
        count: lines in the buffer.
        groups: lines that the block transforms at the same time.
        real: ``wp.float32`` or ``wp.float64``.
        radix: the largest power of two that a pass may have as its radix.
        serial: for the CPU, where a block has one thread.
        keep_factors: whether a thread keeps its twiddle factors in registers from one transform to the next.
        bundle: lines that lie together.
        skew: complex numbers left free after every bundle.
        interleaved: lines whose threads take turns, a power of two up to 16: neighbours in memory for columns.
    """

    n: int
    count: int
    groups: int
    real: type
    radix: int = 16
    serial: bool = False
    keep_factors: bool = False
    bundle: int = 1
    skew: int = 0
    interleaved: int = 1

    @property
    def values(self) -> int:
        """Complex numbers that a thread holds: a multiple of every radix."""
        return self.n if self.serial else math.lcm(*factorise(self.n, self.radix))

    @property
    def threads(self) -> int:
        """Threads that share a line."""
        return self.n // self.values

    @property
    def block_dim(self) -> int:
        return self.groups * self.threads

    @property
    def padded(self) -> int:
        """Complex numbers from one line to the next: an even number, with room for padding and for two half spectra.

        Two lines of 8 threads share an access, and so lie half of all memory banks apart. Interleaved lines share all
        accesses, and lie their part of the banks apart.
        """
        if self.interleaved > 1:
            at_once = 4 * BANKS // wp.types.type_size_in_bytes(self.real) // 2  # complex numbers of an access
            apart = max(at_once // self.interleaved, 1)
            return apart + at_once * math.ceil((self.n + math.ceil(self.n / PADDING) - apart) / at_once)
        least = max(self.n + math.ceil(self.n / PADDING), 2 * self.half_spectrum)
        return 2 * math.ceil(least / 2) if self.threads != 8 else 16 * math.ceil((least - 8) / 16) + 8

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of a real field in shared memory to the next.

        The threads of a line work on two rows, and lines that share a warp must not meet in a memory bank.
        """
        apart = 1 < self.threads < BANKS and self.n % BANKS == 0
        return self.n + max(self.threads // 2, 4) if apart else self.n

    @property
    def half_spectrum(self) -> int:
        """Room for the first ``n//2 + 1`` numbers of a line; an even number."""
        return (self.n // 2 + 2) // 2 * 2

    @property
    def size(self) -> int:
        """Real numbers in the buffer: the shape of the tile that holds it."""
        return 2 * (self.padded * self.count + (self.count - 1) // self.bundle * self.skew)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(wp.dtype_to_numpy(self.real)).itemsize

    @property
    def passes(self) -> list[tuple[int, int]]:
        """The radix of each pass, and the product of the radices before it."""
        radices = factorise(self.n, self.radix)
        return [(radix, math.prod(radices[:done])) for done, radix in enumerate(radices)]

    def factors(self, radix: int, span: int) -> int:
        """Return the twiddle factors that a thread needs in a pass: 1 if all its butterflies have the same."""
        return 1 if self.threads % span == 0 else self.values // radix

    @property
    def Factors(self):
        """The type of a thread's twiddle factors of all passes: a vector in registers, or their table."""
        if not self.keep_factors:
            return wp.array(dtype=wp.types.vector(length=2, dtype=self.real))
        count = sum(self.factors(radix, span) for radix, span in self.passes[1:])
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
