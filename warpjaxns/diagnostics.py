"""What a vorticity field holds: energy, enstrophy, palinstrophy and the energy spectrum.

All are means over the box, keep leading axes, ``(..., ny, nx) -> (...)``, return the field's dtype, and can
be differentiated, jitted and vmapped. Each raises TypeError where `omega` is not a float32 or float64 array,
and ValueError where its last two axes are not ``grid.shape``.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._checks import check_field
from ._grid import Grid
from ._operators import laplacian, streamfunction
from ._primitives.reference import eigenvalues


def energy(grid: Grid, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Kinetic energy ``0.5 <u^2 + v^2>`` [length^2 / time^2], in its discrete form ``0.5 <psi omega>``.

    With ``Lap(psi) = -omega`` and the 5-point Laplacian this equals ``0.5 <|grad psi|^2>``, where the
    gradient is the one-sided difference whose divergence is that Laplacian. Arakawa's Jacobian conserves
    exactly this form (doi:10.1016/0021-9991(66)90015-5); centred velocities give the same to second order
    in the spacing. The mean of `omega` does not count: no periodic flow has one.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
    """
    omega = check_field("omega", omega, grid)
    return _mean(streamfunction(grid, omega) * omega) / 2


def enstrophy(grid: Grid, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Enstrophy ``0.5 <omega^2>`` [1 / time^2], which Arakawa's Jacobian conserves too.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
    """
    omega = check_field("omega", omega, grid)
    return _mean(omega * omega) / 2


def palinstrophy(grid: Grid, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Palinstrophy ``0.5 <|grad omega|^2>`` [1 / (length^2 time^2)], as ``-0.5 <omega Lap(omega)>``.

    The two are equal for the one-sided gradient whose divergence is the 5-point Laplacian, so that
    viscosity alone removes enstrophy at exactly the rate ``2 * viscosity * palinstrophy``.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
    """
    omega = check_field("omega", omega, grid)
    return -_mean(omega * laplacian(grid, omega)) / 2


def energy_spectrum(
    grid: Grid, omega: Float[Array, "... ny nx"]
) -> tuple[Float[Array, " shells"], Float[Array, "... shells"]]:
    """Isotropic energy spectrum ``E(k)`` [length^3 / time^2] over shells of wavenumber ``k`` [1 / length].

    Shell ``n = 1, 2, ...`` holds the modes with ``n - 1/2 <= |k| / k1 < n + 1/2``, where ``k1`` is
    `fundamental_wavenumber`; it is centred on ``k = n k1`` and ``k1`` wide. A mode carries
    ``0.5 |omega_k|^2 / lambda_k``, with ``lambda_k`` the eigenvalue of the negative 5-point Laplacian, so
    that ``sum(E) * k1`` is `energy`. The shells reach into the corners of the grid's spectrum: above the
    Nyquist wavenumber of the coarser axis they are not full circles.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].

    Returns:
        ``(wavenumbers, spectrum)``, of shapes ``(shells,)`` and ``(..., shells)``.
    """
    omega = check_field("omega", omega, grid)
    wavenumber, eigenvalue, multiplicity = fourier_modes(grid)
    shell = np.floor(wavenumber + 0.5).astype(int).ravel() - 1
    width = fundamental_wavenumber(grid)
    weight = multiplicity / (2 * eigenvalue * width * math.prod(grid.shape) ** 2)

    omega_hat = jnp.fft.rfft2(omega)
    density = (omega_hat.real**2 + omega_hat.imag**2) * jnp.asarray(weight, omega.dtype)
    batch, shells = omega.shape[:-2], shell.max() + 1
    spectrum = jnp.zeros((*batch, shells), omega.dtype).at[..., shell].add(density.reshape(*batch, -1))
    return jnp.asarray(width * np.arange(1, shells + 1), omega.dtype), spectrum


def fundamental_wavenumber(grid: Grid) -> float:
    """The lowest wavenumber of the box, ``k1 = 2 pi / max(Ly, Lx)`` [1 / length]: 1 in the default box."""
    return 2 * math.pi / max(grid.extent)


def fourier_modes(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Properties of the modes of ``rfft2``, each float64 of shape ``(ny, nx // 2 + 1)``.

    Returns:
        ``(wavenumber, eigenvalue, multiplicity)``: the magnitude of the wavenumber in multiples of
        `fundamental_wavenumber`, the eigenvalue of the negative 5-point Laplacian [1 / length^2], and how
        many modes of the full transform the entry stands for. The mean has multiplicity 0, as it carries
        no energy, and wavenumber and eigenvalue 1, so that one may divide by them.
    """
    (ny, nx), longest = grid.shape, max(grid.extent)
    along_y, along_x = np.fft.fftfreq(ny, 1 / ny), np.fft.rfftfreq(nx, 1 / nx)
    wavenumber = np.hypot(along_y[:, None] * (longest / grid.extent[0]), along_x[None, :] * (longest / grid.extent[1]))
    eigenvalue_y, eigenvalue_x = eigenvalues(grid)
    eigenvalue = eigenvalue_y[:, None] + eigenvalue_x[None, : along_x.size]
    # rfft2 omits the conjugate of every mode, except where kx is 0 or, for even nx, the Nyquist wavenumber.
    self_conjugate = 2 * along_x % nx == 0
    multiplicity = np.broadcast_to(np.where(self_conjugate, 1.0, 2.0), wavenumber.shape).copy()
    wavenumber[0, 0], eigenvalue[0, 0], multiplicity[0, 0] = 1, 1, 0
    return wavenumber, eigenvalue, multiplicity


def _mean(field):
    # Rows first: two short sums round less in float32 than one long sum.
    return jnp.mean(jnp.mean(field, axis=-1), axis=-1)
