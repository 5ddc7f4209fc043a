"""Energy, enstrophy, palinstrophy and the energy spectrum of a field."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import with_axes
from .._checks import check_field
from .._discretisation import Discretisation, FiniteDifference
from .._grid import Grid
from .._modes import fourier_modes, fundamental_wavenumber, sum_over_shells
from .._operators import laplacian, streamfunction
from .._primitives.linear import rfft2


def energy(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> Float[Array, "..."]:
    """Return the kinetic energy ``0.5 <u^2 + v^2>`` [length^2 / time^2], in its discrete form ``0.5 <psi omega>``.

    With ``Lap(psi) = -omega`` and the 5-point Laplacian this equals ``0.5 <|grad psi|^2>``, where the
    gradient is the one-sided difference whose divergence is that Laplacian. Arakawa's Jacobian conserves
    exactly this form (doi:10.1016/0021-9991(66)90015-5). Centred velocities give the same to second order
    in the spacing. With `Spectral` it is the energy of the velocity itself. The mean of `omega` is ignored: no periodic
    flow has one.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        discretisation: gives the operators.
    """
    omega = check_field("omega", omega, grid)
    return mean(streamfunction(grid, omega, discretisation=discretisation) * omega) / 2


def enstrophy(grid: Grid, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Return the enstrophy ``0.5 <omega^2>`` [1 / time^2], in every discretisation.

    Advection conserves it where it conserves energy: by Arakawa's Jacobian, and with `Spectral` by the 2/3 rule.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
    """
    omega = check_field("omega", omega, grid)
    return mean(omega * omega) / 2


def palinstrophy(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> Float[Array, "..."]:
    """Return the palinstrophy ``0.5 <|grad omega|^2>`` [1 / (length^2 time^2)], as ``-0.5 <omega Lap(omega)>``.

    With finite differences the two are equal for the one-sided gradient whose divergence is the 5-point Laplacian.
    Viscosity alone removes enstrophy at exactly the rate ``2 * viscosity * palinstrophy``.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        discretisation: gives the operators.
    """
    omega = check_field("omega", omega, grid)
    return -mean(omega * laplacian(grid, omega, discretisation=discretisation)) / 2


def energy_spectrum(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> tuple[Float[Array, " shells"], Float[Array, "... shells"]]:
    """Return the isotropic energy spectrum ``E(k)`` [length^3 / time^2] over shells of wavenumber ``k`` [1 / length].

    Shell ``n = 1, 2, ...`` holds the modes with ``n - 1/2 <= |k| / k1 < n + 1/2``, where ``k1`` is
    `fundamental_wavenumber`. A mode carries ``0.5 |omega_k|^2 / lambda_k``, with ``lambda_k`` the eigenvalue of the
    negative Laplacian, so ``sum(E) * k1`` is `energy`. The shells reach into the corners of the grid's
    spectrum: above the Nyquist wavenumber of the coarser axis they are not full circles.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        discretisation: gives the operators.

    Returns:
        ``(wavenumbers, spectrum)``, of shapes ``(shells,)`` and ``(..., shells)``.
    """
    omega = check_field("omega", omega, grid)
    _, eigenvalue, multiplicity = fourier_modes(grid, discretisation=discretisation)
    width = fundamental_wavenumber(grid)
    weight = multiplicity / (2 * eigenvalue * width * math.prod(grid.shape) ** 2)
    omega_hat = rfft2(omega, grid=grid)
    density = (omega_hat.real**2 + omega_hat.imag**2) * with_axes(jnp.asarray(weight, omega.dtype), omega.ndim)
    spectrum = sum_over_shells(grid, density)
    return jnp.asarray(width * np.arange(1, spectrum.shape[-1] + 1), omega.dtype), spectrum


def mean(field: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Return the mean over the box."""
    # Rows first: two short sums round less in float32 than one long sum.
    return jnp.mean(jnp.mean(field, axis=-1), axis=-1)
