"""Numerics at one mode: the symbols of the velocity and of advection, linear terms, and the stages of a time step.

``kappa = ky + i kx``. A column kernel transforms the columns of kx and -kx together, and the latter conjugated. Let
``M(k)`` be the coefficients of a field. Its image under a symbol s has ``s(k) M(k)`` at kx and ``conj(s(-k)) M(k)`` at
-kx, in the same order of ky. Of what comes back, Q at kx and R at -kx, the real part of the field with the symbol T has
the coefficients ``(T(k) Q + conj(T(-k)) R) / 2``.

| operator | symbol | at kx | at -kx |
|---|---|---|---|
| C, the velocity v + iu | ``-1 / conj(kappa)`` | ``-kappa / k^2`` | ``conj(kappa) / k^2`` |
| D, advection of a product | ``i/2 conj(kappa)^2`` | ``i/2 conj(kappa)^2`` | ``-i/2 kappa^2`` |
| D*, the strain | ``-i/2 kappa^2`` | ``-i/2 kappa^2`` | ``i/2 conj(kappa)^2`` |
| advection of a scalar, from z c | ``-i conj(kappa)`` | ``-i conj(kappa)`` | ``-i kappa`` |
| its adjoint, a gradient | ``i kappa`` | ``i kappa`` | ``i conj(kappa)`` |
| C*, from a strained product | ``-1 / kappa`` | ``-conj(kappa) / k^2`` | ``kappa / k^2`` |
| E, from the product with a medium | ``conj(kappa)`` | ``conj(kappa)`` | ``-kappa`` |
| E*, what it lifts to points | ``kappa`` | ``kappa`` | ``-conj(kappa)`` |

Viscosity and drag are known here by their symbols, all other linear terms as one array (`_spectral.terms`). With a
deformation radius ``1 / (k^2 + F)`` takes the place of ``1 / k^2`` (`inverse`).
"""

import functools
import types

import warp as wp

from ..hardware.numbers import complex_type
from ..parameters import parameter_functions


@functools.cache
def symbols(real) -> types.SimpleNamespace:
    """Make the functions of a mode.

    - ``mode(y, x, scale)``: the `Mode` of y and x waves a side; `scale`, a `Scale`, holds the wavenumbers of one wave.
    - ``velocity(mode, a)``, ``strain(mode, a)``, ``lift(mode, a)``: numbers at kx and -kx, to be transformed back.
    - ``advection(mode, q, r)``, ``pullback(mode, q, r)``, ``curl(mode, q, r)``: coefficients, from what came back from
      there.
    - ``carried(mode, q, r)``: coefficients of ``-div(u c, v c)``, from what came back of z c.
    - ``gradient(mode, a)``: numbers of ``da/dy + i da/dx`` at kx and -kx.
    - ``parts(mode, q, r)``: coefficients of the real and the imaginary part of what came back.
    - ``turned(factor, a)``: ``i factor a``.
    - ``linear(numbers, mode)``: the symbol of viscosity and drag. It is linear in the numbers, a `Numbers`.
    - ``inverse(mode, screening)``: ``1 / (k^2 + F)``, and 0 for the mean.
    """
    Complex, Numbers = complex_type(real), parameter_functions(real).Numbers

    @wp.struct
    class Scale:
        """Wavenumbers of one wave a side, along y and x, and ``1 / sqrt(ny nx)``."""

        y: real
        x: real
        gain: real

    @wp.struct
    class Mode:
        """Wavenumbers ky and kx, ``1 / k^2`` (0 for the mean), ``k^2``, and the factors of transforms each way.

        ``back`` multiplies coefficients before they are transformed to fields, and ``to`` what comes back.
        """

        y: real
        x: real
        inverse: real
        squared: real
        back: real
        to: real

    @wp.func
    def mode(y: int, x: int, scale: Scale):
        result = Mode()
        result.y = scale.y * real(y)
        result.x = scale.x * real(x)
        result.squared = result.y * result.y + result.x * result.x
        result.inverse = real(0.0)
        if x != 0 or y != 0:
            result.inverse = real(1.0) / result.squared
        result.back = scale.gain
        result.to = scale.gain
        if x != 0:  # the root of the two modes that a coefficient stands for
            result.back = scale.gain * real(0.70710678118654752440)
            result.to = scale.gain * real(1.41421356237309504880)
        return result

    @wp.func
    def velocity(m: Mode, a: Complex):
        s = m.back * m.inverse * a
        yx, xy = m.y * s[0], m.x * s[1]
        yy, xx = m.y * s[1], m.x * s[0]
        return Complex(xy - yx, -(yy + xx)), Complex(yx + xy, yy - xx)

    @wp.func
    def strain(m: Mode, a: Complex):
        s = m.back * a
        stretch = real(0.5) * (m.y * m.y - m.x * m.x)  # kappa^2 / 2 = stretch + i shear
        shear = m.y * m.x
        p, q = shear * s[0], stretch * s[1]
        u, v = shear * s[1], stretch * s[0]
        return Complex(p + q, u - v), Complex(p - q, u + v)

    @wp.func
    def advection(m: Mode, q: Complex, r: Complex):
        stretch = real(0.25) * m.to * (m.y * m.y - m.x * m.x)
        shear = real(0.5) * m.to * m.y * m.x
        total, rest = q + r, q - r
        return Complex(shear * total[0] - stretch * rest[1], shear * total[1] + stretch * rest[0])

    @wp.func
    def pullback(m: Mode, q: Complex, r: Complex):
        half = real(0.5) * m.to * m.inverse
        y, x = half * m.y, half * m.x
        total, rest = q + r, q - r
        return Complex(-(y * rest[0] + x * total[1]), x * total[0] - y * rest[1])

    @wp.func
    def carried(m: Mode, q: Complex, r: Complex):
        half = real(0.5) * m.to
        y, x = half * m.y, half * m.x
        total, rest = q + r, q - r
        return Complex(y * total[1] - x * rest[0], -(y * total[0] + x * rest[1]))

    @wp.func
    def curl(m: Mode, q: Complex, r: Complex):
        half = real(0.5) * m.to
        y, x = half * m.y, half * m.x
        total, rest = q + r, q - r
        return Complex(y * rest[0] + x * total[1], y * rest[1] - x * total[0])

    @wp.func
    def lift(m: Mode, a: Complex):
        s = m.back * a
        yx, xy = m.y * s[0], m.x * s[1]
        yy, xx = m.y * s[1], m.x * s[0]
        return Complex(yx - xy, yy + xx), Complex(-(yx + xy), xx - yy)

    @wp.func
    def turned(factor: real, a: Complex):
        return Complex(-factor * a[1], factor * a[0])

    @wp.func
    def gradient(m: Mode, a: Complex):
        along_x, along_y = m.back * m.x * a, turned(m.back * m.y, a)
        return along_y - along_x, along_y + along_x

    @wp.func
    def parts(m: Mode, q: Complex, r: Complex):
        half = real(0.5) * m.to
        return half * (q + r), turned(-half, q - r)

    @wp.func
    def linear(given: Numbers, m: Mode):
        return -(given.viscosity * m.squared + given.drag)

    @wp.func
    def inverse(m: Mode, screening: real):
        result = real(0.0)
        if m.squared > real(0.0):
            result = real(1.0) / (m.squared + screening)
        return result

    return types.SimpleNamespace(
        Scale=Scale,
        Mode=Mode,
        mode=mode,
        velocity=velocity,
        strain=strain,
        advection=advection,
        pullback=pullback,
        carried=carried,
        curl=curl,
        lift=lift,
        turned=turned,
        gradient=gradient,
        parts=parts,
        linear=linear,
        inverse=inverse,
    )
