"""Vorticity fields to start from. All have zero mean, up to rounding.

Wavenumbers are in multiples of the lowest one of the box, ``k1 = 2 pi / max(Ly, Lx)``
(`diagnostics.fundamental_wavenumber`): in the default box of side 2 pi they are the physical ones.

The fields can be jitted with the grid and the numbers static, and vmapped over keys. A key gives the same
field every time, though not the same one in float32 and float64.
"""

import math
import numbers

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Key, Real

from ._checks import check_dtype, check_key, check_non_negative, check_positive, check_real
from ._grid import Grid
from .diagnostics import fourier_modes


def decaying_turbulence(
    grid: Grid,
    *,
    key: Key[Array, ""],
    peak_wavenumber: float | int = 12,
    shape: float | int = 3,
    energy: Real[ArrayLike, ""] = 0.5,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Vorticity [1 / time] with a prescribed energy spectrum and random phases.

    The spectrum of San and Staples (2012, doi:10.1016/j.compfluid.2012.04.006),

        E(k) = a_s / (2 k_p) (k / k_p)^(2s + 1) exp(-(s + 1/2) (k / k_p)^2),
        a_s = (2s + 1)^(s + 1) / (2^s s!),

    peaks at ``k_p`` and integrates to 1/2. Here it is scaled to `energy`: every mode has the modulus that
    gives it its share in the sense of `diagnostics.energy`, and only the phases are random, so that the
    total is `energy` for every key, to rounding.

    Args:
        grid: the box.
        key: one key of `jax.random.key`.
        peak_wavenumber: ``k_p`` in multiples of ``2 pi / max(Ly, Lx)``, at most what the coarser axis
            resolves.
        shape: ``s``, positive; the larger, the narrower the peak.
        energy: total energy [length^2 / time^2], positive; may be traced.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `key` is not a new-style key, a number is not real, or `dtype` is not a float type in use.
        ValueError: a number is not positive, `peak_wavenumber` is not resolved, or `key` holds several keys.
    """
    check_key("key", key)
    check_positive("peak_wavenumber", peak_wavenumber, static=True)
    _check_resolved("peak_wavenumber", peak_wavenumber, grid)
    check_positive("shape", shape, static=True)
    check_positive("energy", energy)
    dtype = check_dtype("dtype", dtype)

    wavenumber, eigenvalue, multiplicity = fourier_modes(grid)
    # A circle of radius k holds modes in proportion to k, so that one mode's share is E(k) / k. The constant
    # factors cancel in the normalisation; the logarithm keeps a low peak from underflowing everywhere.
    s, k_p = float(shape), float(peak_wavenumber)
    logarithm = 2 * s * np.log(wavenumber) - (s + 0.5) * (wavenumber / k_p) ** 2
    share = np.exp(logarithm - logarithm.max())
    share /= np.sum(multiplicity * share)
    modulus = np.sqrt(2 * eigenvalue * share) * math.prod(grid.shape)

    # The transform of real noise has Hermitian phases for any shape; `sign` of a complex number is its phase.
    noise = jax.random.normal(key, grid.shape, dtype)
    phase = jnp.sign(jnp.fft.rfft2(noise))
    return _from_modes(grid, phase, modulus) * jnp.sqrt(jnp.asarray(energy, dtype))


def taylor_green(
    grid: Grid,
    *,
    wavenumber: int = 1,
    amplitude: Real[ArrayLike, ""] = 1.0,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Vorticity [1 / time] of Taylor-Green vortices, whose exact decay on the grid is known.

        omega = amplitude (kx^2 + ky^2) / max(kx, ky) cos(kx x) cos(ky y),
        kx = 2 pi wavenumber / Lx,   ky = 2 pi wavenumber / Ly,

    which is ``2 k amplitude cos(k x) cos(k y)`` in a square box. It is an eigenfunction of the negative
    5-point Laplacian with the eigenvalue

        lambda = (2 sin(kx dx / 2) / dx)^2 + (2 sin(ky dy / 2) / dy)^2,

    so that ``psi = omega / lambda``, ``J(psi, omega)`` vanishes in both advection schemes, and without
    forcing the state only decays: by ``exp(-(viscosity lambda + drag) t)`` in continuous time, by
    ``1 + z + z^2 / 2 + z^3 / 6`` with ``z = -(viscosity lambda + drag) dt`` in one step of SSP-RK3. After
    Taylor and Green (1937, doi:10.1098/rspa.1937.0036).

    Args:
        grid: the box.
        wavenumber: waves along each side, from 1 to ``min(ny, nx) // 2``.
        amplitude: highest speed [length / time]; may be traced.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `wavenumber` is not an integer, `amplitude` is not real, or `dtype` is not a float type in
            use.
        ValueError: `wavenumber` is not positive, or more than the grid resolves.
    """
    if not isinstance(wavenumber, numbers.Integral) or isinstance(wavenumber, bool):
        raise TypeError(f"wavenumber={wavenumber!r}: expected an integer, the waves along each side")
    highest = min(grid.shape) // 2
    if not 1 <= wavenumber <= highest:
        raise ValueError(f"wavenumber={wavenumber}: a grid of shape {grid.shape} allows 1 to {highest}")
    check_real("amplitude", amplitude)
    dtype = check_dtype("dtype", dtype)

    ky, kx = (2 * math.pi * int(wavenumber) / side for side in grid.extent)
    unit = (kx**2 + ky**2) / max(kx, ky) * np.cos(ky * grid.y)[:, None] * np.cos(kx * grid.x)[None, :]
    return jnp.asarray(unit, dtype) * jnp.asarray(amplitude, dtype)


def random_vorticity(
    grid: Grid,
    *,
    key: Key[Array, ""],
    max_wavenumber: float | int = 4,
    smoothness: float | int = 1,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Smooth random vorticity [1 / time]: an isotropic, band-limited Gaussian field of unit rms.

    White noise filtered by ``|k|^-smoothness`` for ``0 < |k| <= max_wavenumber`` and by zero elsewhere,
    then divided by its own rms, so that every sample has ``<omega^2> = 1``.

    Args:
        grid: the box.
        key: one key of `jax.random.key`.
        max_wavenumber: end of the band in multiples of ``2 pi / max(Ly, Lx)``, at least 1 and at most what
            the coarser axis resolves.
        smoothness: zero or positive; 0 is noise white within the band.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `key` is not a new-style key, a number is not real, or `dtype` is not a float type in use.
        ValueError: `max_wavenumber` is out of its range, `smoothness` is negative, or `key` holds several
            keys.
    """
    check_key("key", key)
    check_positive("max_wavenumber", max_wavenumber, static=True)
    if max_wavenumber < 1:
        raise ValueError(f"max_wavenumber={max_wavenumber}: the band is empty, expected at least 1")
    _check_resolved("max_wavenumber", max_wavenumber, grid)
    check_non_negative("smoothness", smoothness, static=True)
    dtype = check_dtype("dtype", dtype)

    wavenumber, _, _ = fourier_modes(grid)
    response = np.where(wavenumber <= float(max_wavenumber), wavenumber ** -float(smoothness), 0)
    noise = jax.random.normal(key, grid.shape, dtype)
    omega = _from_modes(grid, jnp.fft.rfft2(noise), response)
    return omega / jnp.sqrt(jnp.mean(omega * omega))


def _from_modes(grid, phase, modulus):
    """The real field of ``phase * modulus``, without its mean."""
    modulus[0, 0] = 0
    return jnp.fft.irfft2(phase * jnp.asarray(modulus, phase.dtype), s=grid.shape)


def _check_resolved(name, value, grid):
    # Half a wave a point along the coarser axis; the margin forgives the rounding of this quotient alone.
    highest = max(grid.extent) / max(grid.spacing) / 2
    if value > highest * (1 + 1e-9):
        raise ValueError(
            f"{name}={value}: a grid of shape {grid.shape} and extent {grid.extent} resolves up to "
            f"{highest:.4g}, in multiples of 2 pi / max(extent); lower it or refine the grid"
        )
