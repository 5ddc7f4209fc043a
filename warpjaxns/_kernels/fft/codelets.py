"""Native code of the transforms: complex numbers, small DFTs, one pass.

CUDA and the CPU use the same text. `transforms` fills in the fields in braces.
"""

COMPLEX = r"""
  struct F {
    struct ALIGNED Z { real x, y; };
    static CUDA_CALLABLE Z z(real x, real y) { Z a; a.x = x; a.y = y; return a; }
#if defined(__CUDA_ARCH__)
    static CUDA_CALLABLE Z z(real2 a) { return z(a.x, a.y); }
#endif
    static CUDA_CALLABLE Z add(Z a, Z b) { return z(a.x + b.x, a.y + b.y); }
    static CUDA_CALLABLE Z sub(Z a, Z b) { return z(a.x - b.x, a.y - b.y); }
    static CUDA_CALLABLE Z mul(Z a, Z b) { return z(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x); }
    static CUDA_CALLABLE Z scale(real s, Z a) { return z(s * a.x, s * a.y); }
    // a exp(-i s angle), given the angle's cosine and sine; s = 1 forward, -1 inverse
    static CUDA_CALLABLE Z rotate(Z a, real c, real sine, real s) { return mul(a, z(c, -s * sine)); }
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
      Z b1 = rotate(v[3], h, h, s), b2 = quarter(v[5], s), b3 = rotate(v[7], -h, h, s);
      Z a0 = v[0], a1 = v[2], a2 = v[4], a3 = v[6], b0 = v[1];
      v[0] = add(a0, b0); v[4] = sub(a0, b0); v[1] = add(a1, b1); v[5] = sub(a1, b1);
      v[2] = add(a2, b2); v[6] = sub(a2, b2); v[3] = add(a3, b3); v[7] = sub(a3, b3);
    }
    static CUDA_CALLABLE void dft16(Z* v, real s) {   // 4 x 4: columns, twiddles, rows, transpose
      const real c = real(0.92387953251128675613), d = real(0.38268343236508977173);
      const real h = real(0.70710678118654752440);
      for (int n = 0; n < 4; ++n) dft4(v[n], v[n + 4], v[n + 8], v[n + 12], s);
      v[5] = rotate(v[5], c, d, s); v[6] = rotate(v[6], h, h, s); v[7] = rotate(v[7], d, c, s);
      v[9] = rotate(v[9], h, h, s); v[10] = quarter(v[10], s); v[11] = rotate(v[11], -h, h, s);
      v[13] = rotate(v[13], d, c, s); v[14] = rotate(v[14], -h, h, s); v[15] = rotate(v[15], -c, -d, s);
      for (int k = 0; k < 4; ++k) dft4(v[4 * k], v[4 * k + 1], v[4 * k + 2], v[4 * k + 3], s);
      for (int a = 0; a < 4; ++a)
        for (int b = a + 1; b < 4; ++b) { Z t = v[4 * a + b]; v[4 * a + b] = v[4 * b + a]; v[4 * b + a] = t; }
    }
    static CUDA_CALLABLE void prime_or_power(Z* v, int radix, real s) {
      if (radix == 2) dft2(v[0], v[1]);
      else if (radix == 3) dft3(v, s);
      else if (radix == 4) dft4(v[0], v[1], v[2], v[3], s);
      else if (radix == 5) dft5(v, s);
      else if (radix == 8) dft8(v, s);
      else if (radix == 16) dft16(v, s);
    }
    // Good and Thomas: where the radix is 3 or 5 times 2 or 4, rows and columns need no twiddle factors between them
    static CUDA_CALLABLE void dft(Z* v, int radix, real s) {
      const int odd = radix % 3 == 0 ? 3 : 5, even = radix / odd, even2 = even * even;
      if (even < 2 || radix % odd) { prime_or_power(v, radix, s); return; }
      Z u[20], w[5];
UNROLL
      for (int a = 0; a < even; ++a) {
UNROLL
        for (int b = 0; b < odd; ++b) w[b] = v[(odd * a + even * b) % radix];
        prime_or_power(w, odd, s);
UNROLL
        for (int b = 0; b < odd; ++b) u[odd * a + b] = w[b];
      }
UNROLL
      for (int b = 0; b < odd; ++b) {
UNROLL
        for (int a = 0; a < even; ++a) w[a] = u[odd * a + b];
        prime_or_power(w, even, s);
UNROLL
        for (int a = 0; a < even; ++a) v[(odd * odd * a + (odd == 3 ? even2 : even2 * even2) * b) % radix] = w[a];
      }
    }
    // The DFT of v[r] w^r for a power of two: halves are transformed and joined, as E + f O and E - f O, by six fused
    // multiplications and additions; E - f O = 2 E - (E + f O). It needs 8 factors f for a radix of 16, not 15.
    static CUDA_CALLABLE void join(Z& e, Z& o, Z f) {
      Z sum = z(e.x + f.x * o.x - f.y * o.y, e.y + f.x * o.y + f.y * o.x);
      o = z(TWICE_LESS(e.x, sum.x), TWICE_LESS(e.y, sum.y));
      e = sum;
    }
    static CUDA_CALLABLE void twiddled_dft(Z* v, const Z* w, int powers, int radix, real s) {
      const real h = real(0.70710678118654752440);
      const real cosine[4] = {1, real(0.92387953251128675613), h, real(0.38268343236508977173)};
      Z u[16], power[5];   // u: v in the order of reversed bits; power: w^1, w^2, w^4, w^8
      power[0] = w[0];
UNROLL
      for (int r = 0; r < radix; ++r) {
        int reversed = 0;
UNROLL
        for (int bit = 1; bit < radix; bit *= 2) reversed = 2 * reversed + (r / bit) % 2;
        u[reversed] = v[r];
      }
UNROLL
      for (int level = 1; (2 << level) <= radix; ++level)
        power[level] = level == 2 && powers == 2 ? w[1] : mul(power[level - 1], power[level - 1]);
      int level = 0;
UNROLL
      for (int half = radix / 2; half >= 1; half /= 2) ++level;
UNROLL
      for (int half = 1; half < radix; half *= 2) {
        --level;
UNROLL
        for (int k = 0; k < half; ++k) {   // f = w^(radix / 2 half) exp(-i s pi k / half)
          const int m = 8 * k / half;
          Z f = m % 4 == 0 ? power[level] : rotate(power[level], cosine[m % 4], cosine[4 - m % 4], s);
          if (m >= 4) f = quarter(f, s);
UNROLL
          for (int b = 0; b < radix; b += 2 * half) join(u[b + k], u[b + k + half], f);
        }
      }
UNROLL
      for (int r = 0; r < radix; ++r) v[r] = u[r];
    }
    // v[r] *= w^r, powers by halving or with w^4
    static CUDA_CALLABLE void twiddle(Z* v, const Z* w, int powers, int radix) {
      Z power[20];
      power[1] = w[0];
      if (powers == 2) power[4] = w[1];
UNROLL
      for (int r = 1; r < radix; ++r) {
        const int part = powers == 1 || r < 4 ? r / 2 : r % 4 ? r % 4 : 4;
        if (r > 1 && (r != 4 || powers == 1)) power[r] = mul(power[part], power[r - part]);
        v[r] = mul(v[r], power[r]);
      }
    }
  };
"""

# One pass. SPAN is the length of the transforms already done. Butterfly j takes every (N / RADIX)-th number, from the
# j-th on, and the next pass wants its results SPAN apart. A thread has COUNT butterflies. After the last pass their
# results are where the caller wants them.
PASS = r"""
    {{
      constexpr int RADIX = {radix}, SPAN = {span}, COUNT = {count};
      constexpr bool LAST = SPAN * RADIX == N;
      if (!LAST) {{ BARRIER }}
UNROLL
      for (int q = 0; q < COUNT; ++q) {{
        {present}
        Z u[RADIX];
        for (int r = 0; r < RADIX; ++r) u[r] = v[q + r * COUNT];
        {dft}
        if (LAST) {{
          for (int r = 0; r < RADIX; ++r) v[q + r * COUNT] = u[r];
        }} else {{
          const int j = t + q * THREADS;
          const int to = (int)((unsigned)j / SPAN) * (SPAN * RADIX) + (int)((unsigned)j % SPAN);
          constexpr bool ODD = (RADIX & (RADIX - 1)) != 0 && SPAN * RADIX % PADDING != 0;
          constexpr bool CARRIES = SPAN % PADDING != 0 && ((SPAN & (SPAN - 1)) != 0 || ODD);
          Z* out = line_start + F::pad(to);
          for (int r = 0; r < RADIX; ++r) out[F::padded(to, r * SPAN, CARRIES)] = u[r];
        }}
      }}
      if (!LAST) {{
        BARRIER
        const Z* in = line_start + F::pad(t);
{read}
      }}
    }}
"""
# A pass may have butterflies that the threads cannot share evenly. Then the last ones are missing.
PRESENT = "if (t + q * THREADS >= N / RADIX) continue;"
# Reads numbers t, t + THREADS, ... Where the next pass is even, these are those of a thread's butterflies.
READ = r"""        constexpr bool CARRIES = THREADS % PADDING != 0 && PADDING % THREADS != 0;
UNROLL
        for (int e = 0; e < VALUES; ++e) v[e] = in[F::padded(t, e * THREADS, CARRIES)];"""
READ_BUTTERFLIES = r"""        constexpr int NEXT = {radix}, OF_NEXT = {count};
        constexpr bool CARRIES = THREADS % PADDING != 0 || N / NEXT % PADDING != 0;
UNROLL
        for (int q = 0; q < OF_NEXT; ++q) {{
          if (t + q * THREADS >= N / NEXT) continue;
UNROLL
          for (int r = 0; r < NEXT; ++r) {{
            v[q + r * OF_NEXT] = in[F::padded(t, q * THREADS + r * (N / NEXT), CARRIES)];
          }}
        }}"""

# Loads the twiddle factors that a thread needs in a pass: w, and w^4 where lines are precise.
FACTORS = r"""
  for (int q = 0; q < {count}; ++q)
    for (int power = 0; power < {powers}; ++power)
      ((typename F::Z*)&result)[{first} + {powers} * q + power] = LOAD(roots.data, {root});
"""
# Takes them for a transform, from a thread's registers or from the table. They serve all butterflies of a thread if
# these have the same.
TWIDDLES = r"""
    Z w{span}[{butterflies}][{powers}];
UNROLL
    for (int q = 0; q < {butterflies}; ++q) {{
      const unsigned own = {count} == 1 ? 0 : q;
UNROLL
      for (int power = 0; power < {powers}; ++power) {{
        w{span}[q][power] = {source};
        w{span}[q][power].y *= SIGN;
      }}
    }}
"""
KEPT, LOADED = "((const Z*)&kept)[{first} + {powers} * own + power]", "LOAD(factors.data, {root})"
# The index in the table of the factors of butterfly `q`, to the power 1 or 4.
ROOT = "(unsigned)(t + {q} * {threads}) % {span} * {stride} * (1 + 3 * power)"

TRANSFORM = r"""
  constexpr int N = {n}, THREADS = {threads}, VALUES = {values};
  const real SIGN = real({sign});
  typedef typename F::Z Z;
  auto result = values;
{take}
  const auto kept = factors;
  Z* line_start = (Z*)lines.data.ptr + {offset};
{twiddles}
{passes}{give}
  return result;
"""

IN_PLACE = "  Z* v = (Z*)&result;"
# An uneven pass may need more registers than a thread has numbers.
TAKE = """  Z v[{most}];
  for (int e = 0; e < VALUES; ++e) v[e] = ((Z*)&result)[e];"""
GIVE = "\n  for (int e = 0; e < VALUES; ++e) ((Z*)&result)[e] = v[e];"

# Published numbers have no padding between them, so that neighbours are a fixed distance apart.
PUBLISH = r"""
  constexpr int THREADS = {threads}, VALUES = {values};
  typedef typename F::Z Z;
  auto copy = values;
  const Z* v = (const Z*)&copy;
  Z* out = (Z*)lines.data.ptr + {offset} + t;
  BARRIER
UNROLL
  for (int e = 0; e < VALUES; ++e) out[THREADS * e] = v[e];
  BARRIER
"""

MACROS = """
typedef {real} real;
#define PADDING {padding}
#if defined(__CUDA_ARCH__)
#define BARRIER {barrier}
#define ALIGNED alignas(2 * sizeof(real))
#define UNROLL _Pragma("unroll")
#define TWICE_LESS(a, b) fma(real(2), a, -(b))
#define LOAD(p, i) F::z(__ldg((const real2*)(p) + (i)))
typedef {real}2 real2;
#else
#define BARRIER
#define ALIGNED
#define UNROLL
#define TWICE_LESS(a, b) (2 * (a) - (b))
#define LOAD(p, i) ((const typename F::Z*)(p))[i]
#endif
"""
END = "\n" + "".join(f"#undef {name}\n" for name in ("PADDING", "BARRIER", "ALIGNED", "UNROLL", "TWICE_LESS", "LOAD"))
