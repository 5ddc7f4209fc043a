"""How lines of complex numbers lie in registers and in shared memory, and which threads transform them.

Thread t of a group of T holds the numbers t, t + T, t + 2T, ... of its line. In the buffer a line is padded by one
number in 16, which keeps strided accesses off the same memory bank. `fft` has the transforms.
"""

import dataclasses
import math

import numpy as np
import warp as wp

from ..hardware.limits import BANKS

PADDING = 16


def factorise(n: int, largest: int = 16) -> tuple[int, ...]:
    """The radices of the passes of a transform of length n, or () where n has a prime factor above 5.

    `largest`: the largest power of two among them; less means more passes, and fewer numbers a thread.
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

    Every line has `threads` threads, which hold `values` numbers each: the block's threads, one line after the other.

    Args:
        n: length of a line.
        count: lines in the buffer.
        groups: lines whose threads are there at the same time.
        real: ``wp.float32`` or ``wp.float64``.
        radix: the largest power of two that a pass may have as its radix.
        serial: for the CPU, where a block has one thread.
        keep: whether a thread keeps its twiddle factors from one transform to the next, and does not load them anew.
        bundle, skew: after every `bundle` lines as many numbers as `skew` are left free.
    """

    n: int
    count: int
    groups: int
    real: type
    radix: int = 16
    serial: bool = False
    keep: bool = False
    bundle: int = 1
    skew: int = 0

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
        """Complex numbers of a line with its padding, and at least two half spectra; an even number. Two lines of 8
        threads, which share an access, lie half of all memory banks apart."""
        least = max(self.n + math.ceil(self.n / PADDING), 2 * self.half_spectrum)
        return 2 * math.ceil(least / 2) if self.threads != 8 else 16 * math.ceil((least - 8) / 16) + 8

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of real numbers in shared memory to the next, where the threads of a line work on two
        rows. Lines that share a warp must not meet in a memory bank."""
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
        """The radix of each pass, and what the radices before it make together."""
        radices = factorise(self.n, self.radix)
        return [(radix, math.prod(radices[:done])) for done, radix in enumerate(radices)]

    def factors(self, radix: int, span: int) -> int:
        """How many twiddle factors a thread needs in such a pass: one, if all its butterflies have the same."""
        return 1 if self.threads % span == 0 else self.values // radix

    @property
    def Factors(self):
        """Where a thread finds the twiddle factors of all passes: the vector in which it keeps them, or their table."""
        if not self.keep:
            return wp.array(dtype=wp.types.vector(length=2, dtype=self.real))
        count = sum(self.factors(radix, span) for radix, span in self.passes[1:])
        return wp.types.vector(length=2 * max(count, 1), dtype=self.real)

    @property
    def Values(self):
        """The vector in which a thread holds its numbers: real and imaginary parts in turn."""
        return wp.types.vector(length=2 * self.values, dtype=self.real)

    @property
    def Tile(self):
        return wp.tile(dtype=self.real, shape=(self.size,))

    @property
    def place(self) -> str:
        """Where a line starts in the buffer, in complex numbers, as native text."""
        apart = f" + (int)((unsigned)line / {self.bundle}) * {self.skew}" if self.skew else ""
        return f"line * {self.padded}{apart}"

    @property
    def alone(self) -> bool:
        """Whether the threads of a line can go ahead without those of other lines of a block."""
        return "__syncthreads" not in self.barrier

    def turns(self, lines: int) -> int:
        """So many lines, or as many more as all groups take at a time, where all take part in a block's barriers."""
        return -(-lines // self.groups) * self.groups

    @property
    def barrier(self) -> str:
        """What makes the threads of a line wait for each other, as native text: as few threads as can be."""
        threads = self.threads
        if threads <= 32 and 32 % threads == 0:
            members = f"{(1 << threads) - 1:#x}u << (threadIdx.x & {32 - threads})"
            return f"__syncwarp({members});" if threads < 32 else "__syncwarp();"
        if threads % 32 == 0 and 1 < self.groups < 16:
            number = f'"r"(1 + threadIdx.x / {threads})'
            return f'asm volatile("bar.sync %0, {threads};" :: {number} : "memory");'
        return "__syncthreads();"
