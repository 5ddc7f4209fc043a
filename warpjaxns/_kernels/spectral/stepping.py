"""A stage of a time step at one mode, its tangent and its adjoint (`_coefficients.LOW_STORAGE`).

    d' = a d + dt N,    w_1 = e (w + b d'),    d_1 = e d',    e = exp(c dt L),

where N is advection and forcing, L the linear terms and c the stage's duration.
"""

import functools
import types

import warp as wp

from ..hardware.numbers import c_name, complex_type
from ..hardware.views import complex_access
from ..parameters import parameter_functions
from .symbols import symbols

# Warp's CPU back end has no `expm1`. The errors of exp and log cancel in this form (Higham 2002, section 1.14.1).
_EXPM1 = """
#if defined(__CUDA_ARCH__)
  return expm1{suffix}(x);
#else
  const auto e = wp::exp(x);
  return e == 1 ? x : e - 1 == -1 ? e - 1 : (e - 1) * x / wp::log(e);
#endif
"""
# Both follow from one reduction of the argument.
_COSINE_AND_SINE = """
#if defined(__CUDA_ARCH__)
  {real} cosine, sine;
  sincos{suffix}(x, &sine, &cosine);
  return {{cosine, sine}};
#else
  return {{wp::cos(x), wp::sin(x)}};
#endif
"""


@functools.cache
def stepping(real, extra: bool = False) -> types.SimpleNamespace:
    """Make the functions of a stage. `Stage` holds a, b and c.

    L is real where the equation has viscosity and drag only, and complex with `extra` terms.

    - ``rate(numbers, mode, terms, at)``: L. It is linear in the numbers and in ``terms[at]``, that of further terms.
    - ``advance(w, d, n, stage, numbers, L)``: w_1 and d_1.
    - ``tangent(dw, dd, n, dn, w1, d1, stage, numbers, dnumbers, L, dL)``: their derivatives, in which e changes by
      ``c (dt dL + ddt L)`` of itself.
    - ``begin_adjoint(l, m, stage, numbers, L)``: given the cotangents l of w_1 and m of d_1, those of ``w + b d'`` and
      of d', ``p = e* l`` and ``q = b p + e* m``.
    - ``end_adjoint(p, q, moved, stage, numbers)``: the cotangents of w and d, ``p + 2 dt G(w, q)`` and ``a q``; `moved`
      is G(w, q).
    - ``exponent_share(l, m, w, w1, stage, numbers, L)``: the cotangent ``l w_1* + m d_1*`` of the exponent, in which
      ``d_1 = (w_1 - e w) / b``. Of a real exponent it is the real part.
    - ``real_part(share)``: the real part of an exponent share.
    - ``shares(sum_of_squares, sum, stage, numbers)``: the shares of a stage in the cotangents of viscosity, drag and
      dt. They follow from the sums over modes of ``k^2`` times exponent shares, and of these shares alone.
    """
    Complex, Three = complex_type(real), wp.types.vector(length=3, dtype=real)
    of_mode, Numbers = symbols(real), parameter_functions(real).Numbers
    Mode, linear, (get_complex, _) = of_mode.Mode, of_mode.linear, complex_access(real)
    Row, Rate = wp.array(dtype=Complex), Complex if extra else real

    @wp.struct
    class Stage:
        a: real
        b: real
        duration: real

    @wp.func_native(_EXPM1.format(suffix="" if real is wp.float64 else "f"))
    def expm1(x: real) -> real: ...

    if extra:

        @wp.func_native(_COSINE_AND_SINE.format(real=c_name(real), suffix="" if real is wp.float64 else "f"))
        def cosine_and_sine(x: real) -> Complex: ...

        @wp.func
        def rate(given: Numbers, m: Mode, terms: Row, at: int):
            further = get_complex(terms, at)
            return Complex(linear(given, m) + further[0], further[1])

        @wp.func
        def gain_of(stage: Stage, given: Numbers, L: Rate):
            """Return ``e - 1`` as below."""
            exponent = stage.duration * given.dt * L
            growth = expm1(exponent[0])
            turn = cosine_and_sine(real(0.5) * exponent[1])
            factor = real(2.0) * (real(1.0) + growth) * turn[1]
            return Complex(growth - factor * turn[1], factor * turn[0])

        @wp.func
        def times(a: Rate, value: Complex):
            return Complex(a[0] * value[0] - a[1] * value[1], a[0] * value[1] + a[1] * value[0])

        @wp.func
        def conjugate(a: Rate):
            return Complex(a[0], -a[1])

        @wp.func
        def of_symbol(l: Complex, w: Complex):
            return Complex(wp.dot(l, w), l[1] * w[0] - l[0] * w[1])

        @wp.func
        def real_part(share: Rate):
            return share[0]

    else:

        @wp.func
        def rate(given: Numbers, m: Mode, terms: Row, at: int):
            return linear(given, m)

        @wp.func
        def gain_of(stage: Stage, given: Numbers, L: Rate):
            """Return ``e - 1``. Rounded to its type, e would be wrong by the same amount in every step."""
            return expm1(stage.duration * given.dt * L)

        @wp.func
        def times(a: Rate, value: Complex):
            return a * value

        @wp.func
        def conjugate(a: Rate):
            return a

        @wp.func
        def of_symbol(l: Complex, w: Complex):
            return wp.dot(l, w)

        @wp.func
        def real_part(share: Rate):
            return share

    @wp.func
    def carry(gain: Rate, value: Complex):
        return value + times(gain, value)

    @wp.func
    def advance(w: Complex, d: Complex, n: Complex, stage: Stage, given: Numbers, L: Rate):
        increment = stage.a * d + given.dt * n
        gain = gain_of(stage, given, L)
        return carry(gain, w + stage.b * increment), carry(gain, increment)

    @wp.func
    def tangent(
        dw: Complex,
        dd: Complex,
        n: Complex,
        dn: Complex,
        w1: Complex,
        d1: Complex,
        stage: Stage,
        given: Numbers,
        direction: Numbers,
        L: Rate,
        dL: Rate,
    ):
        increment = stage.a * dd + given.dt * dn + direction.dt * n
        gain = gain_of(stage, given, L)
        change = stage.duration * (given.dt * dL + direction.dt * L)
        return carry(gain, dw + stage.b * increment) + times(change, w1), carry(gain, increment) + times(change, d1)

    @wp.func
    def begin_adjoint(l: Complex, m: Complex, stage: Stage, given: Numbers, L: Rate):
        gain = conjugate(gain_of(stage, given, L))
        p = carry(gain, l)
        return p, stage.b * p + carry(gain, m)

    @wp.func
    def end_adjoint(p: Complex, q: Complex, moved: Complex, stage: Stage, given: Numbers):
        return p + real(2.0) * given.dt * moved, stage.a * q

    @wp.func
    def exponent_share(l: Complex, m: Complex, w: Complex, w1: Complex, stage: Stage, given: Numbers, L: Rate):
        d1 = (w1 - carry(gain_of(stage, given, L), w)) / stage.b
        return of_symbol(l, w1) + of_symbol(m, d1)

    @wp.func
    def shares(squares: real, total: real, stage: Stage, given: Numbers):
        h = stage.duration * given.dt
        by_dt = -stage.duration * (given.viscosity * squares + given.drag * total)
        return Three(-h * squares, -h * total, by_dt)

    return types.SimpleNamespace(
        Stage=Stage,
        Three=Three,
        rate=rate,
        advance=advance,
        tangent=tangent,
        begin_adjoint=begin_adjoint,
        end_adjoint=end_adjoint,
        exponent_share=exponent_share,
        real_part=real_part,
        shares=shares,
    )
