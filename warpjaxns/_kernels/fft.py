"""Fast Fourier transforms of lines of complex numbers that a group of threads holds in registers.

Thread t of a group of T holds the numbers t, t + T, t + 2T, ... of its line, before a transform as after it. This is
a Stockham FFT: each pass multiplies by twiddle factors and applies small DFTs to what a thread holds; between passes
the group trades numbers through a buffer in shared memory. The same text (`codelets`) runs on the CPU, where the
group is one thread that holds the whole line.

A line is padded by one number in 16 in the buffer, which keeps strided accesses off the same memory bank.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import warp as wp

from .accesses import NUMBER
from .codelets import COMPLEX, END, MACROS, PASS, PUBLISH, TOUCH, TRANSFORM, TWIDDLES

PADDING = 16
BANKS = 32  # of shared memory


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


def roots_of_unity(n: int, dtype) -> np.ndarray:
    """``exp(-2 pi i m / n)``, m = 0..n-1, as real and imaginary parts: shape (n, 2), rounded once."""
    pi = np.arctan2(np.longdouble(0), np.longdouble(-1))
    angle = -2 * pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(dtype)


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
        bundle, skew: after every `bundle` lines as many numbers as `skew` are left free.
    """

    n: int
    count: int
    groups: int
    real: type
    radix: int = 16
    serial: bool = False
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

    @functools.cached_property
    def start(self) -> Callable:
        """``start(line)``: the same as a function."""
        return _start(self)

    @functools.cached_property
    def forward(self) -> Callable:
        """``forward(values, lines, roots, line, t)``: the transform of a line, by all its threads t together.

        The line's place in the buffer is overwritten; what is there may still be in use when this is called.
        """
        return _transform(self, 1)

    @functools.cached_property
    def inverse(self) -> Callable:
        """As `forward`, for the inverse transform without its factor 1/n."""
        return _transform(self, -1)

    @functools.cached_property
    def touch(self) -> Callable:
        """``touch(roots, t)`` has the twiddle factors of a thread loaded into the first-level cache."""
        return _touch(self)

    @functools.cached_property
    def publish(self) -> Callable:
        """``publish(values, lines, line, t)`` writes a line to its place, for its own threads to `get`.

        Threads of other lines must be behind a `barrier`.
        """
        return _publish(self)

    @functools.cached_property
    def get(self) -> Callable:
        """``get(lines, line, i)`` is the i-th number of a published line as a 2-vector."""
        return _get(self)

    @functools.cached_property
    def put(self) -> Callable:
        """``put(lines, line, i, x, y)`` writes the i-th number of a line."""
        return _put(self)

    @functools.cached_property
    def here(self) -> Callable:
        """``here(e)``: a thread's e-th number of a line, counted from its first."""
        return _points(self)[1]

    @functools.cached_property
    def west(self) -> Callable:
        """``west(e, t)``: the one before that, around the line."""
        return _points(self)[0]

    @functools.cached_property
    def east(self) -> Callable:
        """``east(e, t)``: the one after it."""
        return _points(self)[2]

    @functools.cached_property
    def barrier(self) -> Callable:
        """``barrier()``: the threads of a line wait for each other; all threads of a block have to take part."""
        return _line_barrier(self)

    @property
    def alone(self) -> bool:
        """Whether the threads of a line can go ahead without those of other lines of a block."""
        return "__syncthreads" not in self._barrier

    def turns(self, lines: int) -> int:
        """So many lines, or as many more as all groups take at a time, where all take part in a block's barriers."""
        return -(-lines // self.groups) * self.groups

    @property
    def _barrier(self) -> str:
        """What makes the threads of a line wait for each other: as few threads as can be."""
        threads = self.threads
        if threads <= 32 and 32 % threads == 0:
            members = f"{(1 << threads) - 1:#x}u << (threadIdx.x & {32 - threads})"
            return f"__syncwarp({members});" if threads < 32 else "__syncwarp();"
        if threads % 32 == 0 and 1 < self.groups < 16:
            number = f'"r"(1 + threadIdx.x / {threads})'
            return f'asm volatile("bar.sync %0, {threads};" :: {number} : "memory");'
        return "__syncthreads();"

    @property
    def _numbers(self) -> dict[str, int]:
        """What the native text needs to know."""
        return {name: getattr(self, name) for name in ("n", "threads", "values", "place")}


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __syncthreads();
#endif
""")
def barrier(): ...


def complex_type(real):
    """The 2-vector that stands for a complex number."""
    return wp.vec2d if real is wp.float64 else wp.vec2f


def c_name(real) -> str:
    return "double" if real is wp.float64 else "float"


def _native(lines: Lines, body: str) -> str:
    macros = MACROS.format(real=c_name(lines.real), padding=PADDING, barrier=lines._barrier)
    return macros + COMPLEX + body + END


@functools.cache
def _transform(lines: Lines, sign: int) -> Callable:
    span, passes, twiddles = 1, "", ""
    for radix in factorise(lines.n, lines.radix):
        dft = "F::dft(u, RADIX, SIGN);"
        if span > 1:
            twiddles += TWIDDLES.format(radix=radix, span=span)
            if radix & (radix - 1):
                dft = f"F::twiddle(u, w{span}[q], RADIX); {dft}"
            else:
                dft = f"F::twiddled_dft(u, w{span}[q], RADIX, SIGN);"
        passes += PASS.format(radix=radix, span=span, dft=dft)
        span *= radix
    body = TRANSFORM.format(**lines._numbers, sign=sign, passes=passes, twiddles=twiddles)
    Values, Tile, Complex = lines.Values, lines.Tile, complex_type(lines.real)

    @wp.func_native(_native(lines, body))
    def transform(values: Values, lines: Tile, roots: wp.array(dtype=Complex), line: int, t: int) -> Values: ...

    return transform


@functools.cache
def _touch(lines: Lines) -> Callable:
    span, body, Complex = 1, "", complex_type(lines.real)
    for radix in factorise(lines.n, lines.radix):
        if span > 1:
            body += TOUCH.format(radix=radix, span=span, **lines._numbers)
        span *= radix

    @wp.func_native(_native(lines, body))
    def touch(roots: wp.array(dtype=Complex), t: int): ...

    return touch


@functools.cache
def _points(lines: Lines) -> tuple[Callable, Callable, Callable]:
    n, held, threads = lines.n, lines.values, lines.threads

    @wp.func
    def west(e: int, t: int):
        j = threads * e - 1
        if e == 0 and t == 0:
            j = n - 1
        return j

    @wp.func
    def here(e: int):
        return threads * e

    @wp.func
    def east(e: int, t: int):
        j = threads * e + 1
        if e == held - 1 and t == threads - 1:
            j = -t
        return j

    return west, here, east


@functools.cache
def _line_barrier(lines: Lines) -> Callable:
    @wp.func_native(_native(lines, "\n  BARRIER\n"))
    def barrier(): ...

    return barrier


@functools.cache
def _start(lines: Lines) -> Callable:
    @wp.func_native(f"return {lines.place};")
    def start(line: int) -> int: ...

    return start


@functools.cache
def _publish(lines: Lines) -> Callable:
    Values, Tile = lines.Values, lines.Tile

    @wp.func_native(_native(lines, PUBLISH.format(**lines._numbers)))
    def publish(values: Values, lines: Tile, line: int, t: int): ...

    return publish


@functools.cache
def _get(lines: Lines) -> Callable:
    Complex, Tile = complex_type(lines.real), lines.Tile
    name = c_name(lines.real)
    at = f"{lines.place} + i"

    @wp.func_native(
        f"{NUMBER.format(real=name)} const Number a = ((const Number*)lines.data.ptr)[{at}]; return {{a.x, a.y}};"
    )
    def get(lines: Tile, line: int, i: int) -> Complex: ...

    return get


@functools.cache
def _put(lines: Lines) -> Callable:
    Tile, real, number = lines.Tile, lines.real, NUMBER.format(real=c_name(lines.real))

    @wp.func_native(f"{number} Number p; p.x = x; p.y = y; ((Number*)lines.data.ptr)[{lines.place} + i] = p;")
    def put(lines: Tile, line: int, i: int, x: real, y: real): ...

    return put
