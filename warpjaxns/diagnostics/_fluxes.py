"""Fluxes of energy and enstrophy from large scales to small ones."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import with_axes
from .._checks import check_field
from .._discretisation import Discretisation, FiniteDifference, check_discretisation
from .._grid import Grid
from .._modes import fourier_modes, fundamental_wavenumber, sum_over_shells
from .._operators import jacobian, projected, streamfunction
from .._primitives.linear import rfft2


def energy_flux(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> tuple[Float[Array, " shells"], Float[Array, "... shells"]]:
    """Return the flux of energy [length^2 / time^3] by advection through each wavenumber, towards larger ones.

        Pi(K) = -<psi_K J(psi, omega)>,

    where ``psi_K`` has the modes of psi up to K. It is the rate at which advection removes energy from these modes. In
    the inverse cascade of two-dimensional turbulence it is negative (Boffetta and Ecke 2012,
    doi:10.1146/annurev-fluid-120710-101240).

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        discretisation: gives the operators. Where advection conserves, the flux through the last wavenumber is zero to
            rounding: by Arakawa's Jacobian, and with `Spectral` by the 2/3 rule.

    Returns:
        ``(wavenumbers, flux)``, of shapes ``(shells,)`` and ``(..., shells)``. The shells are those of
        `energy_spectrum`. The flux goes through their outer edges, ``K = (n + 1/2) k1``.
    """
    psi, omega, advection = _terms(grid, omega, discretisation)
    return _flux(grid, psi, advection)


def enstrophy_flux(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> tuple[Float[Array, " shells"], Float[Array, "... shells"]]:
    """Return the flux of enstrophy [1 / time^3] by advection through each wavenumber, ``-<omega_K J(psi, omega)>``.

    It is positive in the direct cascade. Arguments, results and source are those of `energy_flux`.
    """
    _, omega, advection = _terms(grid, omega, discretisation)
    return _flux(grid, omega, advection)


def _terms(grid, omega, discretisation):
    """Return psi, omega and ``J(psi, omega)``."""
    omega = check_field("omega", omega, grid)
    check_discretisation(discretisation, grid)
    omega = projected(grid, omega, discretisation)
    psi = streamfunction(grid, omega, discretisation=discretisation)
    return psi, omega, jacobian(grid, psi, omega, discretisation=discretisation)


def _flux(grid, weight, advection):
    """Return minus ``<weight_K advection>`` for every K, as a running sum over shells."""
    _, _, multiplicity = fourier_modes(grid)
    share = jnp.asarray(multiplicity / math.prod(grid.shape) ** 2, weight.dtype)
    a, b = rfft2(weight, grid=grid), rfft2(advection, grid=grid)
    gain = sum_over_shells(grid, (a.real * b.real + a.imag * b.imag) * with_axes(share, a.ndim))
    edges = fundamental_wavenumber(grid) * (np.arange(1, gain.shape[-1] + 1) + 0.5)
    return jnp.asarray(edges, weight.dtype), -jnp.cumsum(gain, axis=-1)
