"""Fields of forcing: Kolmogorov forcing, the curl of any force, and noise that is white in time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Key, Real

from .._checks import check_count, check_dtype, check_grid, check_key, check_positive, check_real
from .._discretisation import Discretisation, FiniteDifference, check_discretisation, engine_of
from .._grid import Grid
from .._modes import between, check_resolved, fourier_modes, from_modes, most_waves_of_sine, random_phases
from .._operators import curl


def kolmogorov(
    grid: Grid,
    wavenumber: int,
    amplitude: Real[ArrayLike, ""],
    *,
    discretisation: Discretisation = FiniteDifference(),
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return Kolmogorov forcing: the force ``fx = amplitude sin(k y)``, ``k = 2 pi wavenumber / Ly``, as a curl.

        f = -d(fx)/dy = -amplitude s cos(k y)

    This is the exact curl of the sampled force in the derivatives of `from_momentum`. With `Spectral` s is k, and with
    `FiniteDifference` it is ``sin(k dy) / dy``, near k on a fine grid. The laminar flow ``omega = f / (nu lambda +
    mu)`` is then steady on the grid, with `Spectral` to the order of its integrator in dt. Its eigenvalue lambda is
    ``k^2``, or ``(2 sin(k dy / 2) / dy)^2``. Its velocity is ``u = amplitude s^2 / (lambda (nu lambda + mu)) sin(k
    y)``. It is unstable if the box is longer along x than a wave is along y, and viscosity is small (Meshalkin and
    Sinai 1961, doi:10.1016/0021-8928(62)90149-1; Chandler and Kerswell 2013, doi:10.1017/jfm.2013.122).

    Args:
        grid: the box.
        wavenumber: waves along y, from 1 to what the discretisation keeps, under ``ny / 2``, at which all samples of
            the sine are 0.
        amplitude: amplitude of the force [length / time^2]; may be traced.
        discretisation: that of the solver.
        dtype: float32 or float64; None for JAX's default float type.

    Returns:
        f ``(ny, nx)`` [1 / time^2].

    Raises:
        TypeError: `wavenumber` is not an integer, `amplitude` is not real, `dtype` is not a float type in use, or
            `discretisation` is none.
        ValueError: `wavenumber` is out of its range.
    """
    check_grid(grid)
    check_discretisation(discretisation)
    engine = engine_of(discretisation)
    waves, highest = check_count("wavenumber", wavenumber, least=1), most_waves_of_sine(grid, discretisation)
    if waves > highest:
        raise ValueError(
            f"wavenumber={wavenumber}: a grid of shape {grid.shape} with {discretisation} allows 1 to {highest}"
        )
    check_real("amplitude", amplitude)
    dtype = check_dtype("dtype", dtype)

    k, dy = 2 * math.pi * waves / grid.extent[0], grid.spacing[0]
    unit = -engine.derivative_factor(k, dy) * np.cos(k * grid.y)
    return jnp.asarray(np.broadcast_to(unit[:, None], grid.shape), dtype) * jnp.asarray(amplitude, dtype)


def from_momentum(
    grid: Grid,
    fx: Float[Array, "... ny nx"],
    fy: Float[Array, "... ny nx"],
    *,
    discretisation: Discretisation = FiniteDifference(),
) -> Float[Array, "... ny nx"]:
    """Return the vorticity forcing ``f = d(fy)/dx - d(fx)/dy`` of a force per mass, by the solver's derivatives.

    `NavierStokes2D.velocity` has the same ones, by `FiniteDifference` centred differences. So f injects energy at
    exactly the power of the force: ``<psi f> = <u fx + v fy>`` on the grid. A gradient and a mean force have no curl.
    Pressure balances the first, and a mean pressure gradient the second, since the mean of the solver's flow stays
    zero.

    Args:
        grid: the box.
        fx: force per mass along x ``(..., ny, nx)`` [length / time^2].
        fy: the same along y, of the same dtype; leading axes broadcast.
        discretisation: that of the solver.

    Returns:
        f ``(..., ny, nx)`` [1 / time^2], of zero mean.

    Raises:
        TypeError: a part is not a float32 or float64 array, their dtypes differ, or `discretisation` is none.
        ValueError: a part does not live on `grid`, or their leading axes do not broadcast.
    """
    return curl(grid, fx, fy, names=("fx", "fy"), discretisation=discretisation)


def ring_noise(
    grid: Grid,
    *,
    key: Key[Array, ""],
    steps: int,
    dt: Real[ArrayLike, ""],
    energy_rate: Real[ArrayLike, ""],
    wavenumber: float | int,
    width: float | int = 2,
    discretisation: Discretisation = FiniteDifference(),
    dtype: DTypeLike | None = None,
) -> Float[Array, "steps ny nx"]:
    """Return noise, white in time, on a ring of wavenumbers. It injects energy at a given rate into any flow.

    Every field has all modes with ``|k| / k1`` within ``width / 2`` of `wavenumber`. Their phases are random, and each
    mode has the same share of the rate. The field f of a step is independent of the flow before it, so ``<psi f>`` is
    zero on average, and a step adds ``dt^2 / 2 <f S f>`` to the energy, with ``S = (-Lap)^-1`` of the discretisation.
    The moduli are such that

        dt / 2 <f S f> = energy_rate,

    to rounding, for every key and step. Enstrophy is injected at the rate ``dt / 2 <f^2>``, which is `energy_rate`
    times the mean eigenvalue of the ring. See Boffetta and Ecke (2012, doi:10.1146/annurev-fluid-120710-101240).

    Args:
        grid: the box.
        key: one key of `jax.random.key`. The first fields do not depend on `steps`. A run in several parts needs a key
            a part, ``jax.random.fold_in(key, part)``.
        steps: number of fields, zero or more.
        dt: the solver's step [time], positive; may be traced. The noise is proportional to ``1 / sqrt(dt)``.
        energy_rate: energy injected per time [length^2 / time^3], positive; may be traced.
        wavenumber: middle of the ring, in multiples of ``2 pi / max(Ly, Lx)``, at most what both axes resolve.
        width: width of the ring, in the same multiples, positive.
        discretisation: that of the solver.
        dtype: float32 or float64; None for JAX's default float type.

    Returns:
        ``(steps, ny, nx)`` [1 / time^2], the `forcing` of `NavierStokes2D.rollout`. Under `vmap` over keys take
        ``out_axes=1``, as the rollout wants steps in front of members.

    Raises:
        TypeError: `key` is not a new-style key, a number has another type, `dtype` is not a float type in use, or
            `discretisation` is none.
        ValueError: a number is out of its range, `key` holds several keys, or the ring holds no mode.
    """
    check_grid(grid)
    check_key("key", key)
    steps = check_count("steps", steps, least=0)
    check_positive("dt", dt)
    check_positive("energy_rate", energy_rate)
    check_positive("wavenumber", wavenumber, static=True)
    check_resolved("wavenumber", wavenumber, grid, discretisation)
    check_positive("width", width, static=True)
    dtype = check_dtype("dtype", dtype)

    magnitude, eigenvalue, multiplicity = fourier_modes(grid, discretisation=discretisation)
    middle, half = float(wavenumber), float(width) / 2
    modes = np.where(between(magnitude, middle - half, middle + half), multiplicity, 0)
    if not modes.any():
        raise ValueError(f"wavenumber={wavenumber}, width={width}: the ring holds no mode; widen it")
    modulus = np.sqrt(2 * eigenvalue * (modes > 0) / modes.sum()) * math.prod(grid.shape)

    def field(step):
        phase = random_phases(grid, key=jax.random.fold_in(key, step), dtype=dtype)
        return from_modes(grid, phase, modulus)

    strength = jnp.sqrt(jnp.asarray(energy_rate, dtype) / jnp.asarray(dt, dtype))
    return strength * jax.vmap(field)(jnp.arange(steps))
