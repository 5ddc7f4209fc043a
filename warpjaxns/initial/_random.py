"""Random vorticity with a given spectrum."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Key, Real

from .._arrays import square_root
from .._checks import check_dtype, check_grid, check_key, check_non_negative, check_positive
from .._discretisation import Discretisation, FiniteDifference
from .._grid import Grid
from .._modes import (
    between,
    check_resolved,
    fourier_modes,
    from_modes,
    fundamental_wavenumber,
    random_phases,
    shell_of_modes,
)
from .._primitives.linear import rfft2
from .._show import show


def decaying_turbulence(
    grid: Grid,
    *,
    key: Key[Array, ""],
    peak_wavenumber: float | int = 12,
    shape: float | int = 3,
    energy: Real[ArrayLike, ""] = 0.5,
    discretisation: Discretisation = FiniteDifference(),
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return vorticity [1 / time] with a prescribed energy spectrum and random phases.

    The spectrum of San and Staples (2012, doi:10.1016/j.compfluid.2012.04.006),

        E(k) = a_s / (2 k_p) (k / k_p)^(2s + 1) exp(-(s + 1/2) (k / k_p)^2),
        a_s = (2s + 1)^(s + 1) / (2^s s!),

    peaks at ``k_p`` and integrates to 1/2. Here it is scaled to `energy`. The modulus of every mode is fixed by its
    share of the energy, in the sense of `diagnostics.energy`. Only the phases are random, so the total is `energy` for
    every key, to rounding.

    Args:
        grid: the box.
        key: one key of `jax.random.key`.
        peak_wavenumber: ``k_p`` in multiples of ``2 pi / max(Ly, Lx)``, at most what both axes resolve.
        shape: ``s``, positive. A larger one makes the peak narrower.
        energy: total energy [length^2 / time^2], positive; may be traced.
        discretisation: gives the modes that exist, and the energy of each.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `key` is not a new-style key, a number is not real, `dtype` is not a float type in use, or
            `discretisation` is none.
        ValueError: a number is not positive, `peak_wavenumber` is not resolved, or `key` holds several keys.
    """
    check_grid(grid)
    check_key("key", key)
    check_positive("peak_wavenumber", peak_wavenumber, static=True)
    check_resolved("peak_wavenumber", peak_wavenumber, grid, discretisation)
    check_positive("shape", shape, static=True)
    check_positive("energy", energy)
    dtype = check_dtype("dtype", dtype)

    wavenumber, eigenvalue, multiplicity = fourier_modes(grid, discretisation=discretisation)
    # The number of modes on a circle of radius k is proportional to k, so one mode's share is E(k) / k. Constant
    # factors cancel in the normalisation. The logarithm keeps the spectrum of a low peak from underflowing everywhere.
    s, k_p = float(shape), float(peak_wavenumber)
    logarithm = 2 * s * np.log(wavenumber) - (s + 0.5) * (wavenumber / k_p) ** 2
    share = np.where(multiplicity > 0, np.exp(logarithm - logarithm.max()), 0)
    share /= np.sum(multiplicity * share)
    modulus = np.sqrt(2 * eigenvalue * share) * math.prod(grid.shape)

    return from_modes(grid, random_phases(grid, key=key, dtype=dtype), modulus) * jnp.sqrt(jnp.asarray(energy, dtype))


def random_vorticity(
    grid: Grid,
    *,
    key: Key[Array, ""],
    max_wavenumber: float | int = 4,
    smoothness: float | int = 1,
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return smooth random vorticity [1 / time]: an isotropic, band-limited Gaussian field of unit rms.

    It is white noise, filtered by ``|k|^-smoothness`` for ``0 < |k| <= max_wavenumber`` and by zero elsewhere, and then
    divided by its own rms. So every sample has ``<omega^2> = 1``.

    Args:
        grid: the box.
        key: one key of `jax.random.key`.
        max_wavenumber: end of the band in multiples of ``2 pi / max(Ly, Lx)``, at least 1 and at most what
            the coarser axis resolves.
        smoothness: zero or positive; 0 is white noise within the band.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `key` is not a new-style key, a number is not real, or `dtype` is not a float type in use.
        ValueError: `max_wavenumber` is out of its range, `smoothness` is negative, or `key` holds several
            keys.
    """
    check_grid(grid)
    check_key("key", key)
    check_positive("max_wavenumber", max_wavenumber, static=True)
    if float(max_wavenumber) < 1:
        raise ValueError(f"max_wavenumber={max_wavenumber}: the band is empty, expected at least 1")
    check_resolved("max_wavenumber", max_wavenumber, grid)
    check_non_negative("smoothness", smoothness, static=True)
    dtype = check_dtype("dtype", dtype)

    wavenumber, _, _ = fourier_modes(grid)
    response = np.where(between(wavenumber, 0, float(max_wavenumber)), wavenumber ** -float(smoothness), 0)
    noise = jax.random.normal(key, grid.shape, dtype)
    omega = from_modes(grid, rfft2(noise, grid=grid), response)
    return omega / jnp.sqrt(jnp.mean(omega * omega))


def from_spectrum(
    grid: Grid,
    spectrum: Float[ArrayLike, " shells"] | Callable[[np.ndarray], Float[ArrayLike, " shells"]],
    *,
    key: Key[Array, ""],
    discretisation: Discretisation = FiniteDifference(),
    dtype: DTypeLike | None = None,
) -> Float[Array, "ny nx"]:
    """Return vorticity [1 / time] with a given energy spectrum ``E(k)`` and random phases.

    It is the inverse of `diagnostics.energy_spectrum`, which returns `spectrum` to rounding for every key. All modes of
    a shell have the same share of its energy, and only their phases are random. The energy of shells of which the
    discretisation keeps no mode is lost.

    Args:
        grid: the box.
        spectrum: E [length^3 / time^2] in the first shells; it is zero in the others. An array ``(shells,)`` in the
            order of `diagnostics.energy_spectrum`, which may be traced, or a function of the wavenumbers of all shells
            ``(shells,)`` [1 / length] that returns one. The field is proportional to the root of E. Where E is zero,
            the derivative, which would be infinite, is taken to be 0.
        key: one key of `jax.random.key`.
        discretisation: gives the modes that exist, and the energy of each.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: `key` is not a new-style key, `spectrum` is not real, `dtype` is not a float type in use, or
            `discretisation` is none.
        ValueError: `spectrum` is negative or not finite, is not one axis of at most as many shells as the grid has,
            or `key` holds several keys.
    """
    check_grid(grid)
    check_key("key", key)
    dtype = check_dtype("dtype", dtype)
    _, eigenvalue, multiplicity = fourier_modes(grid, discretisation=discretisation)
    shell, width = shell_of_modes(grid), fundamental_wavenumber(grid)
    modes = np.bincount(shell.ravel(), multiplicity.ravel())
    if callable(spectrum):
        spectrum = spectrum(width * np.arange(1, modes.size + 1))
    try:
        values = spectrum if hasattr(spectrum, "dtype") else jnp.asarray(spectrum)
    except Exception as error:  # whatever it raises when it is looked at
        raise TypeError(f"spectrum={show(spectrum)}: expected an array of real numbers, or a function") from error
    check_non_negative("spectrum", values, scalar=False)
    values = jnp.asarray(values)
    if values.ndim != 1 or values.size > modes.size:
        raise ValueError(f"spectrum has shape {values.shape}: expected one axis of at most {modes.size} shells")

    density = jnp.zeros(modes.size, dtype).at[: values.size].set(values.astype(dtype))
    of_mode = np.where(multiplicity > 0, width / np.maximum(modes, 1)[shell], 0)
    unit = np.sqrt(2 * eigenvalue * of_mode) * math.prod(grid.shape)
    modulus = jnp.asarray(unit, dtype) * square_root(density)[shell]
    return from_modes(grid, random_phases(grid, key=key, dtype=dtype), modulus)
