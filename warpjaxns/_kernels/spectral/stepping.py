"""A stage of a time step at one mode, its tangent and its adjoint (`_coefficients.LOW_STORAGE`).

    d' = a d + dt N,    w_1 = e (w + b d'),    d_1 = e d',    e = exp(c dt L),

where N is advection and forcing, L the linear terms and c the stage's duration.
"""

import functools
import types

import warp as wp

from ..hardware.numbers import complex_type
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


@functools.cache
def stepping(real) -> types.SimpleNamespace:
    """Make the functions of a stage. `Stage` holds a, b and c.

    - ``advance(w, d, n, stage, numbers, mode)``: w_1 and d_1.
    - ``tangent(dw, dd, n, dn, w1, d1, stage, numbers, dnumbers, mode)``: their derivatives, in which e changes by
      ``c (dt dL + ddt L)`` of itself.
    - ``begin_adjoint(l, m, stage, numbers, mode)``: given the cotangents l of w_1 and m of d_1, those of ``w + b d'``
      and of d', ``p = e l`` and ``q = b p + e m``.
    - ``end_adjoint(p, q, moved, stage, numbers)``: the cotangents of w and d, ``p + 2 dt G(w, q)`` and ``a q``; `moved`
      is G(w, q).
    - ``exponent_share(l, m, w, w1, stage, numbers, mode)``: the cotangent ``l w_1 + m d_1`` of the exponent, in which
      ``d_1 = (w_1 - e w) / b``.
    - ``shares(sum_of_squares, sum, rest, stage, numbers)``: the shares of a stage in the cotangents of viscosity, drag
      and dt. They follow from the sums over modes of ``k^2`` times exponent shares, of these shares alone, and of ``w
      G(w, q) + q f``.
    """
    Complex, Three = complex_type(real), wp.types.vector(length=3, dtype=real)
    of_mode, Numbers = symbols(real), parameter_functions(real).Numbers
    Mode, linear = of_mode.Mode, of_mode.linear

    @wp.struct
    class Stage:
        a: real
        b: real
        duration: real

    @wp.func_native(_EXPM1.format(suffix="" if real is wp.float64 else "f"))
    def expm1(x: real) -> real: ...

    @wp.func
    def gain_of(stage: Stage, given: Numbers, m: Mode):
        """Return ``e - 1``. Rounded to its type, e would be wrong by the same amount in every step."""
        return expm1(stage.duration * given.dt * linear(given, m))

    @wp.func
    def carry(gain: real, value: Complex):
        return value + gain * value

    @wp.func
    def advance(w: Complex, d: Complex, n: Complex, stage: Stage, given: Numbers, m: Mode):
        increment = stage.a * d + given.dt * n
        gain = gain_of(stage, given, m)
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
        m: Mode,
    ):
        increment = stage.a * dd + given.dt * dn + direction.dt * n
        gain = gain_of(stage, given, m)
        change = stage.duration * (given.dt * linear(direction, m) + direction.dt * linear(given, m))
        return carry(gain, dw + stage.b * increment) + change * w1, carry(gain, increment) + change * d1

    @wp.func
    def begin_adjoint(l: Complex, m: Complex, stage: Stage, given: Numbers, mode: Mode):
        gain = gain_of(stage, given, mode)
        p = carry(gain, l)
        return p, stage.b * p + carry(gain, m)

    @wp.func
    def end_adjoint(p: Complex, q: Complex, moved: Complex, stage: Stage, given: Numbers):
        return p + real(2.0) * given.dt * moved, stage.a * q

    @wp.func
    def exponent_share(l: Complex, m: Complex, w: Complex, w1: Complex, stage: Stage, given: Numbers, mode: Mode):
        d1 = (w1 - carry(gain_of(stage, given, mode), w)) / stage.b
        return wp.dot(l, w1) + wp.dot(m, d1)

    @wp.func
    def shares(squares: real, total: real, rest: real, stage: Stage, given: Numbers):
        h = stage.duration * given.dt
        by_dt = rest - stage.duration * (given.viscosity * squares + given.drag * total)
        return Three(-h * squares, -h * total, by_dt)

    return types.SimpleNamespace(
        Stage=Stage,
        Three=Three,
        advance=advance,
        tangent=tangent,
        begin_adjoint=begin_adjoint,
        end_adjoint=end_adjoint,
        exponent_share=exponent_share,
        shares=shares,
    )
