"""Fast Fourier transforms of lines held in shared memory.

A block of threads transforms `count` lines of `n` complex numbers in place with a Stockham FFT: each pass reads its
butterflies into registers, synchronises, multiplies by twiddle factors, applies a small DFT and writes them back in
the order of the next pass. This is the package's only native code. The same text runs on the CPU, where a
"block" is one thread and the barriers vanish.

A line is padded by one number in 16, which keeps strided accesses off the same memory bank.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import warp as wp

PADDING = 16
IN_FLIGHT = 4  # loads from global memory that a thread starts before it waits for the first

_COMPLEX = r"""
  struct F {
    struct ALIGNED Z { real x, y; };
    static CUDA_CALLABLE Z z(real x, real y) { Z a; a.x = x; a.y = y; return a; }
    static CUDA_CALLABLE Z add(Z a, Z b) { return z(a.x + b.x, a.y + b.y); }
    static CUDA_CALLABLE Z sub(Z a, Z b) { return z(a.x - b.x, a.y - b.y); }
    static CUDA_CALLABLE Z mul(Z a, Z b) { return z(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
    static CUDA_CALLABLE Z scale(real s, Z a) { return z(s * a.x, s * a.y); }
    // a exp(-i s angle), given the angle's cosine and sine; s = 1 forward, -1 inverse
    static CUDA_CALLABLE Z turn(Z a, real c, real sine, real s) { return mul(a, z(c, -s * sine)); }
    static CUDA_CALLABLE Z quarter(Z a, real s) { return z(s * a.y, -s * a.x); }
    static CUDA_CALLABLE int pad(int i) { return i + (int)((unsigned)i / PADDING); }
    // pad(i + shift) - pad(i), known when compiling where the low digits of i and shift cannot carry
    static CUDA_CALLABLE int padded(int i, int shift, bool carries) {
      return carries ? pad(i + shift) - pad(i) : pad(shift);
    }

    static CUDA_CALLABLE void dft2(Z& a, Z& b) { Z t = a; a = add(t, b); b = sub(t, b); }
    static CUDA_CALLABLE void dft3(Z* v, real s) {
      const real sine = real(0.86602540378443864676);
      Z sum = add(v[1], v[2]), mean = sub(v[0], scale(real(0.5), sum));
      Z difference = quarter(scale(sine, sub(v[1], v[2])), s);
      v[0] = add(v[0], sum); v[1] = add(mean, difference); v[2] = sub(mean, difference);
    }
    static CUDA_CALLABLE void dft4(Z& a, Z& b, Z& c, Z& d, real s) {
      Z p = add(a, c), q = sub(a, c), r = add(b, d), t = quarter(sub(b, d), s);
      a = add(p, r); c = sub(p, r); b = add(q, t); d = sub(q, t);
    }
    static CUDA_CALLABLE void dft5(Z* v, real s) {
      const real c1 = real(0.30901699437494742410), c2 = real(-0.80901699437494742410);
      const real s1 = real(0.95105651629515357212), s2 = real(0.58778525229247312917);
      Z p = add(v[1], v[4]), q = add(v[2], v[3]), r = sub(v[1], v[4]), t = sub(v[2], v[3]), a = v[0];
      Z even1 = add(a, add(scale(c1, p), scale(c2, q))), even2 = add(a, add(scale(c2, p), scale(c1, q)));
      Z odd1 = quarter(add(scale(s1, r), scale(s2, t)), s), odd2 = quarter(sub(scale(s2, r), scale(s1, t)), s);
      v[0] = add(a, add(p, q));
      v[1] = add(even1, odd1); v[4] = sub(even1, odd1); v[2] = add(even2, odd2); v[3] = sub(even2, odd2);
    }
    static CUDA_CALLABLE void dft8(Z* v, real s) {
      const real h = real(0.70710678118654752440);
      dft4(v[0], v[2], v[4], v[6], s); dft4(v[1], v[3], v[5], v[7], s);
      Z b1 = turn(v[3], h, h, s), b2 = quarter(v[5], s), b3 = turn(v[7], -h, h, s);
      Z a0 = v[0], a1 = v[2], a2 = v[4], a3 = v[6], b0 = v[1];
      v[0] = add(a0, b0); v[4] = sub(a0, b0); v[1] = add(a1, b1); v[5] = sub(a1, b1);
      v[2] = add(a2, b2); v[6] = sub(a2, b2); v[3] = add(a3, b3); v[7] = sub(a3, b3);
    }
    static CUDA_CALLABLE void dft16(Z* v, real s) {   // 4 x 4: columns, twiddles, rows, transpose
      const real c = real(0.92387953251128675613), d = real(0.38268343236508977173);
      const real h = real(0.70710678118654752440);
      for (int n = 0; n < 4; ++n) dft4(v[n], v[n + 4], v[n + 8], v[n + 12], s);
      v[5] = turn(v[5], c, d, s); v[6] = turn(v[6], h, h, s); v[7] = turn(v[7], d, c, s);
      v[9] = turn(v[9], h, h, s); v[10] = quarter(v[10], s); v[11] = turn(v[11], -h, h, s);
      v[13] = turn(v[13], d, c, s); v[14] = turn(v[14], -h, h, s); v[15] = turn(v[15], -c, -d, s);
      for (int k = 0; k < 4; ++k) dft4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3], s);
      for (int a = 0; a < 4; ++a)
        for (int b = a + 1; b < 4; ++b) { Z t = v[4 * a + b]; v[4 * a + b] = v[4 * b + a]; v[4 * b + a] = t; }
    }
    static CUDA_CALLABLE void dft(Z* v, int radix, real s) {
      if (radix == 2) dft2(v[0], v[1]);
      else if (radix == 3) dft3(v, s);
      else if (radix == 4) dft4(v[0], v[1], v[2], v[3], s);
      else if (radix == 5) dft5(v, s);
      else if (radix == 8) dft8(v, s);
      else if (radix == 16) dft16(v, s);
    }
    // v[r] *= w^r. Powers by halving, so that rounding grows with log(r) only.
    static CUDA_CALLABLE void twiddle(Z* v, Z w, int radix) {
      Z power[16];
      power[1] = w;
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
      for (int r = 1; r < radix; ++r) {
        if (r > 1) power[r] = mul(power[r / 2], power[r - r / 2]);
        v[r] = mul(v[r], power[r]);
      }
    }
  };
"""

# One pass over one line. SPAN: length of the transforms already done; the butterfly j takes every (N / RADIX)-th
# number from the j-th and leaves its results SPAN apart.
_PASS = r"""
    {
      constexpr int BUTTERFLIES = N / RADIX, TURNS = (BUTTERFLIES + THREADS - 1) / THREADS;
      Z v[TURNS][RADIX];
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
      for (int turn = 0; turn < TURNS; ++turn) {
        const int j = t + turn * THREADS;
        if (active && (BUTTERFLIES % THREADS == 0 || j < BUTTERFLIES))
          for (int r = 0; r < RADIX; ++r)
            v[turn][r] = line[F::pad(j) + F::padded(j, r * BUTTERFLIES, BUTTERFLIES % PADDING != 0)];
      }
      BARRIER
#if defined(__CUDA_ARCH__)
#pragma unroll
#endif
      for (int turn = 0; turn < TURNS; ++turn) {
        const int j = t + turn * THREADS;
        if (active && (BUTTERFLIES % THREADS == 0 || j < BUTTERFLIES)) {
          if (SPAN > 1) {
            Z w = roots[((unsigned)j % SPAN) * (BUTTERFLIES / SPAN)];
            w.y *= SIGN;
            F::twiddle(v[turn], w, RADIX);
          }
          F::dft(v[turn], RADIX, SIGN);
          const int to = (int)((unsigned)j / SPAN) * (SPAN * RADIX) + (int)((unsigned)j % SPAN);
          constexpr bool CARRIES = SPAN % PADDING != 0 && ((SPAN & (SPAN - 1)) != 0 || (RADIX & (RADIX - 1)) != 0);
          for (int r = 0; r < RADIX; ++r) line[F::pad(to) + F::padded(to, r * SPAN, CARRIES)] = v[turn][r];
        }
      }
      BARRIER
    }
"""

_LINES = r"""
#if defined(__CUDA_ARCH__)
  constexpr int THREADS = {threads}, GROUPS = {groups};
#else
  constexpr int THREADS = 1, GROUPS = 1;
#endif
  constexpr int N = {n};
  const real SIGN = real({sign});
  const int t = (unsigned)thread % THREADS;
  typedef typename F::Z Z;
  const Z* roots = (const Z*)table.data;
  for (int first_of_round = 0; first_of_round < count; first_of_round += GROUPS) {{
    const int at = first_of_round + (int)((unsigned)thread / THREADS);
    const bool active = at < count && thread < THREADS * GROUPS;
    Z* line = (Z*)lines.data.ptr + (first + at) * {stride};
{passes}
  }}
"""

_MACROS = """
typedef {real} real;
#define PADDING {padding}
#if defined(__CUDA_ARCH__)
#define BARRIER __syncthreads();
#define ALIGNED alignas(2 * sizeof(real))
#else
#define BARRIER
#define ALIGNED
#endif
"""
_END = "\n#undef PADDING\n#undef BARRIER\n#undef ALIGNED\n"


def factorise(n: int) -> tuple[int, ...]:
    """The radices of the passes of a transform of length n, or () where n has a prime factor above 5."""
    twos = (n & -n).bit_length() - 1
    rest, odd = n >> twos, []
    for prime in (3, 5):
        while rest % prime == 0:
            rest //= prime
            odd.append(prime)
    if rest != 1:
        return ()
    passes = math.ceil(twos / (4 if twos >= 10 else 3))
    powers = [2 ** (twos // passes + (p < twos % passes)) for p in range(passes)] if passes else []
    return tuple(powers + odd[::-1])


def threads_per_line(n: int) -> int:
    """Threads that share one line on CUDA: as many as butterflies of the largest radix."""
    return n // max(factorise(n))


def roots_of_unity(n: int, dtype) -> np.ndarray:
    """``exp(-2 pi i m / n)``, m = 0..n-1, as real and imaginary parts: shape (n, 2), rounded once."""
    pi = np.arctan2(np.longdouble(0), np.longdouble(-1))
    angle = -2 * pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Lines:
    """A shared-memory buffer for `count` lines of `n` complex numbers, and what a kernel may do with it.

    `groups` lines are transformed at a time, by `groups * threads_per_line(n)` threads on CUDA. A block has at least
    `threads`: what else it does may need more than its transforms.
    """

    n: int
    count: int
    groups: int
    real: type  # wp.float32 or wp.float64
    threads: int = 1

    @property
    def stride(self) -> int:
        """Complex numbers from one line to the next."""
        return self.n + math.ceil(self.n / PADDING)

    @property
    def size(self) -> int:
        """Real numbers in the buffer: the shape of the tile that holds it."""
        return 2 * self.stride * self.count

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(wp.dtype_to_numpy(self.real)).itemsize

    @property
    def block_dim(self) -> int:
        return max(self.threads, self.groups * threads_per_line(self.n))

    @functools.cached_property
    def forward(self) -> Callable:
        """``forward(lines, table, thread, first, count)``: transform `count` lines from `first` on, in place."""
        return _transform(self, 1)

    @functools.cached_property
    def inverse(self) -> Callable:
        """As `forward`, for the inverse transform without its factor 1/n."""
        return _transform(self, -1)

    @functools.cached_property
    def get(self) -> Callable:
        """``get(lines, line, i)`` is the i-th number of a line as a 2-vector."""
        return _accessors(self)[0]

    @functools.cached_property
    def put(self) -> Callable:
        """``put(lines, line, i, value)`` stores a number; a barrier must follow before anyone reads it."""
        return _accessors(self)[1]


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __syncthreads();
#endif
""")
def barrier(): ...


def complex_type(real):
    """The 2-vector that stands for a complex number."""
    return wp.vec2d if real is wp.float64 else wp.vec2f


def _native(real) -> tuple[str, str]:
    return _MACROS.format(real="double" if real is wp.float64 else "float", padding=PADDING), _END


@functools.cache
def _transform(lines: Lines, sign: int) -> Callable:
    begin, end = _native(lines.real)
    span, passes = 1, ""
    for radix in factorise(lines.n):
        head = f"    {{ constexpr int RADIX = {radix}, SPAN = {span};"
        passes += head + _PASS + "    }\n"
        span *= radix
    body = _LINES.format(
        threads=threads_per_line(lines.n),
        groups=lines.groups,
        n=lines.n,
        sign=sign,
        stride=lines.stride,
        passes=passes,
    )

    @wp.func_native(begin + _COMPLEX + body + end)
    def transform(
        lines: wp.tile(dtype=lines.real, shape=(lines.size,)),
        table: wp.array(dtype=complex_type(lines.real)),
        thread: int,
        first: int,
        count: int,
    ): ...

    return transform


@functools.cache
def _accessors(lines: Lines) -> tuple[Callable, Callable]:
    at = f"2 * (line * {lines.stride} + i + (int)((unsigned)i / {PADDING}))"
    number = complex_type(lines.real)
    tile = wp.tile(dtype=lines.real, shape=(lines.size,))

    @wp.func_native(f"const auto* p = lines.data.ptr + {at}; return wp::vec_t<2, {_c_name(lines.real)}>(p[0], p[1]);")
    def get(lines: tile, line: int, i: int) -> number: ...

    @wp.func_native(f"auto* p = lines.data.ptr + {at}; p[0] = value[0]; p[1] = value[1];")
    def put(lines: tile, line: int, i: int, value: number): ...

    return get, put


def _c_name(real) -> str:
    return "double" if real is wp.float64 else "float"
