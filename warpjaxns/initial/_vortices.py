"""Vorticity of known vortices and layers."""

import math

import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Real

from .._checks import check_count, check_dtype, check_grid, check_positive, check_real
from .._discretisation import Discretisation, FiniteDifference
from .._grid import Grid
from .._modes import MARGIN
from .._operators import curl
from .._velocity import check_velocity


def taylor_green(
    grid: Grid,
    *,
    wavenumber: int = 1,
    amplitude: Real[ArrayLike, ""] = 1.0,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return the vorticity [1 / time] of Taylor-Green vortices, whose exact decay on the grid is known.

        omega = amplitude (kx^2 + ky^2) / max(kx, ky) cos(kx x) cos(ky y),
        kx = 2 pi wavenumber / Lx,   ky = 2 pi wavenumber / Ly,

    which is ``2 k amplitude cos(k x) cos(k y)`` in a square box. It is an eigenfunction of the negative
    Laplacian. The eigenvalue is ``kx^2 + ky^2`` with `Spectral`, and with `FiniteDifference`

        lambda = (2 sin(kx dx / 2) / dx)^2 + (2 sin(ky dy / 2) / dy)^2,

    so ``psi = omega / lambda``, and ``J(psi, omega)`` vanishes in every discretisation. Without forcing the state
    only decays. The factor is ``exp(-(viscosity lambda + drag) t)`` in continuous time and with `Spectral`, and ``1 +
    z + z^2 / 2 + z^3 / 6`` with ``z = -(viscosity lambda + drag) dt`` in one step of SSP-RK3. After Taylor and Green
    (1937, doi:10.1098/rspa.1937.0036).

    Args:
        grid: the box.
        wavenumber: waves along each side, from 1 to ``min(ny, nx) // 2``.
        amplitude: largest speed [length / time]; may be traced.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `wavenumber` is not an integer, `amplitude` is not real, or `dtype` is not a float type in
            use.
        ValueError: `wavenumber` is not positive, or more than the grid resolves.
    """
    check_grid(grid)
    waves, highest = check_count("wavenumber", wavenumber, least=1), min(grid.shape) // 2
    if waves > highest:
        raise ValueError(f"wavenumber={wavenumber}: a grid of shape {grid.shape} allows 1 to {highest}")
    check_real("amplitude", amplitude)
    dtype = check_dtype("dtype", dtype)

    ky, kx = (2 * math.pi * waves / side for side in grid.extent)
    unit = (kx**2 + ky**2) / max(kx, ky) * np.cos(ky * grid.y)[:, None] * np.cos(kx * grid.x)[None, :]
    return jnp.asarray(unit, dtype) * jnp.asarray(amplitude, dtype)


def vortex_merger(
    grid: Grid,
    *,
    separation: Real[ArrayLike, ""] | None = None,
    radius: Real[ArrayLike, ""] | None = None,
    amplitude: Real[ArrayLike, ""] = 1.0,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return the vorticity [1 / time] of two like Gaussian vortices side by side, and of their periodic images.

        omega = amplitude sum_i exp(-|r - r_i|^2 / radius^2) - mean,   r_i = (Lx / 2 +- separation / 2, Ly / 2)

    The vortices turn about each other and merge. They merge at once if `radius` is over about 0.22 of `separation`, and
    else when viscosity has made them that wide (Meunier et al. 2002, doi:10.1063/1.1489683).

    Args:
        grid: the box.
        separation: distance of the centres [length], positive and at most ``Lx / 2``; may be traced. None for a quarter
            of the shorter side.
        radius: radius of a vortex [length], positive and at most a quarter of the shorter side; may be traced. None for
            0.09 of that side.
        amplitude: vorticity of one vortex at its centre [1 / time]; may be traced.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: a number is not real, or `dtype` is not a float type in use.
        ValueError: `separation` or `radius` is out of its range.
    """
    check_grid(grid)
    (height, width), side = grid.extent, min(grid.extent)
    separation = side / 4 if separation is None else separation
    radius = 0.09 * side if radius is None else radius
    _check_length("separation", separation, width / 2)
    _check_length("radius", radius, side / 4)
    check_real("amplitude", amplitude)
    dtype = check_dtype("dtype", dtype)
    half, radius = jnp.asarray(separation, dtype) / 2, jnp.asarray(radius, dtype)

    x, y = _from_images(grid.x - width / 2, width, dtype), _from_images(grid.y - height / 2, height, dtype)

    def profile(distance):
        return jnp.sum(jnp.exp(-((distance / radius) ** 2)), axis=0)

    omega = profile(y)[:, None] * (profile(x - half) + profile(x + half))[None, :]
    return jnp.asarray(amplitude, dtype) * (omega - jnp.mean(omega))


def double_shear_layer(
    grid: Grid,
    *,
    thickness: Real[ArrayLike, ""] | None = None,
    perturbation: Real[ArrayLike, ""] = 0.05,
    speed: Real[ArrayLike, ""] = 1.0,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return the vorticity [1 / time] of a jet between two shear layers, which roll up into vortices.

    It is the curl of the velocity of Bell, Colella and Glaz (1989, doi:10.1016/0021-9991(89)90151-4),

        u = speed tanh((y - Ly / 4) / thickness)       for y <= Ly / 2,
        u = speed tanh((3 Ly / 4 - y) / thickness)     for y > Ly / 2,
        v = perturbation speed sin(2 pi x / Lx),

    with a sum over periodic images instead of the two cases. The sum smooths the kinks of u, and changes it by about
    ``4 exp(-Ly / (2 thickness))`` of `speed`.

    Args:
        grid: the box. Layers thinner than a few ``dy`` give spurious vortices.
        thickness: thickness of a layer [length], positive and at most ``Ly / 8``; may be traced. None for ``Ly / 30``.
        perturbation: amplitude of v relative to `speed`; may be traced.
        speed: speed of the jet, half the jump across a layer [length / time]; may be traced.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: a number is not real, or `dtype` is not a float type in use.
        ValueError: `thickness` is out of its range.
    """
    check_grid(grid)
    height, width = grid.extent
    thickness = height / 30 if thickness is None else thickness
    _check_length("thickness", thickness, height / 8)
    check_real("perturbation", perturbation)
    check_real("speed", speed)
    dtype = check_dtype("dtype", dtype)
    thickness = jnp.asarray(thickness, dtype)

    def shear(centre):  # du/dy of one layer over the speed
        distance = _from_images(grid.y - centre, height, dtype)
        return jnp.sum(1 - jnp.tanh(distance / thickness) ** 2, axis=0) / thickness

    layers = shear(3 * height / 4) - shear(height / 4)
    k = 2 * math.pi / width
    wave = jnp.asarray(perturbation, dtype) * jnp.asarray(k * np.cos(k * grid.x), dtype)
    omega = layers[:, None] + wave[None, :]
    return jnp.asarray(speed, dtype) * (omega - jnp.mean(omega))


def lamb_dipole(
    grid: Grid,
    *,
    radius: float | int | None = None,
    speed: Real[ArrayLike, ""] = 1.0,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return the vorticity [1 / time] of the Lamb-Chaplygin dipole in the middle of the box, which travels along +x.

        omega = -2 speed k J1(k r) / J0(k radius) sin(theta)   for r < radius,   0 outside,

    with ``k radius = 3.8317...``, the first zero of the Bessel function J1 (Meleshko and van Heijst 1994,
    doi:10.1017/S0022112094004428). In an unbounded inviscid fluid it moves at `speed` and keeps its shape. Its periodic
    images slow it down, in a square box by about the fraction ``pi radius^2 / (Lx Ly)``.

    Args:
        grid: the box.
        radius: radius of the circle that holds all vorticity [length], positive and at most half the shorter side; None
            for an eighth of it.
        speed: speed of travel [length / time]; may be traced. With a negative one the dipole travels along -x.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: a number is not real, `radius` is traced, or `dtype` is not a float type in use.
        ValueError: `radius` is out of its range.
    """
    from scipy import special

    check_grid(grid)
    (height, width), side = grid.extent, min(grid.extent)
    radius = side / 8 if radius is None else radius
    _check_length("radius", radius, side / 2, static=True)
    check_real("speed", speed)
    dtype = check_dtype("dtype", dtype)

    x, y = grid.x[None, :] - width / 2, grid.y[:, None] - height / 2
    distance = np.hypot(x, y)
    zero = special.jn_zeros(1, 1)[0]
    k = zero / float(radius)
    sine = y / np.maximum(distance, np.finfo(float).tiny)
    unit = np.where(distance < float(radius), -2 * k / special.j0(zero) * special.j1(k * distance) * sine, 0)
    return jnp.asarray(unit - unit.mean(), dtype) * jnp.asarray(speed, dtype)


def from_velocity(
    grid: Grid,
    u: Float[Array, "... ny nx"],
    v: Float[Array, "... ny nx"],
    *,
    discretisation: Discretisation = FiniteDifference(),
) -> Float[Array, "... ny nx"]:
    """Return the vorticity ``dv/dx - du/dy`` [1 / time] of a velocity, by the solver's derivatives. Its mean is zero.

    Use it where these matter, as in ``<psi from_velocity(a, b)> = <u a + v b>`` for the flow
    ``(u, v)`` of psi. For a velocity from elsewhere (a formula, data, another code) use `warpjaxns.vorticity_of`,
    which is exact for the waves that the grid resolves.

    With `FiniteDifference` the derivatives are centred differences, and `NavierStokes2D.velocity` returns ``(u, v)`` to
    second order in the spacing. It returns the fraction
    ``(sin^2(kx dx) / dx^2 + sin^2(ky dy) / dy^2) / lambda`` of a divergence-free wave, lambda being its eigenvalue
    under the negative 5-point Laplacian. Taylor-Green vortices of one wave in a square box lose ``sin^2(pi / N)``: 3.8
    % on 16 x 16 points, and 0.24 % on 64 x 64. The divergence of a velocity is lost, and a mean velocity is refused.

    Args:
        grid: the box.
        u: velocity along x ``(..., ny, nx)`` [length / time].
        v: velocity along y, of the same dtype; leading axes broadcast.
        discretisation: that of the solver.

    Raises:
        TypeError: a part is not a float32 or float64 array, their dtypes differ, or `discretisation` is none.
        ValueError: a part does not live on `grid`, their leading axes do not broadcast, or the velocity has a mean of
            more than 1e-5 of its largest value. (The mean of a traced velocity is lost.)
    """
    return curl(grid, *check_velocity(grid, u, v), names=("u", "v"), discretisation=discretisation)


def _from_images(distance, side, dtype):
    """Return the distances ``(7, n)`` from a point and its nearest images. Farther images are below rounding."""
    return jnp.asarray(distance + side * np.arange(-3, 4)[:, None], dtype)


def _check_length(name, value, longest, *, static=False):
    check_positive(name, value, static=static)
    if not isinstance(value, jax.core.Tracer) and float(value) > longest * (1 + MARGIN):
        raise ValueError(f"{name}={value}: expected at most {longest:.4g}, the images are too near")
