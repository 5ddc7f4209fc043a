"""Fourier modes of the grid: wavenumbers, eigenvalues, shells, and fields made of modes."""

import dataclasses
import math
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Key

from ._checks import check_grid
from ._discretisation import Discretisation, FiniteDifference, check_discretisation, engine_of
from ._grid import DividedGrid, Grid
from ._primitives.linear import apply, irfft2, rfft2

MARGIN = 1e-9  # relative, above the rounding of a wavenumber, which depends on the unit of length


def fundamental_wavenumber(grid: Grid) -> float:
    """Return the lowest wavenumber of the box, ``k1 = 2 pi / max(Ly, Lx)`` [1 / length]: 1 in the default box.

    Raises:
        TypeError: `grid` is not a `Grid`.
    """
    check_grid(grid)
    return 2 * math.pi / max(grid.extent)


def fourier_modes(
    grid: Grid, *, discretisation: Discretisation = FiniteDifference()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return properties of the modes of ``rfft2``, each float64 of shape ``(ny, nx // 2 + 1)``.

    Args:
        grid: the box.
        discretisation: gives the Laplacian.

    Returns:
        ``(wavenumber, eigenvalue, multiplicity)``: the magnitude of the wavenumber in multiples of
        `fundamental_wavenumber`, the eigenvalue of the negative Laplacian [1 / length^2], and the number of modes of
        the full transform that the entry represents. It is 0 for modes that the discretisation does not keep, and for
        the mean, which carries no energy. The mean's wavenumber and eigenvalue are set to 1, so that one may divide by
        them. The rounding of wavenumbers depends on the unit of length: compare them with a margin.

    Raises:
        TypeError: `grid` is not a `Grid`, or `discretisation` none.
    """
    check_grid(grid)
    check_discretisation(discretisation)
    (ny, nx), longest = grid.shape, max(grid.extent)
    along_y, along_x = np.fft.fftfreq(ny, 1 / ny), np.fft.rfftfreq(nx, 1 / nx)
    wavenumber = np.hypot(along_y[:, None] * (longest / grid.extent[0]), along_x[None, :] * (longest / grid.extent[1]))
    engine = engine_of(discretisation)
    eigenvalue = np.add.outer(*engine.eigenvalues(grid))
    # rfft2 omits the conjugate of every mode, except where kx is 0 or, for even nx, the Nyquist wavenumber.
    self_conjugate = 2 * along_x % nx == 0
    most_y, most_x = engine.highest_waves(discretisation, grid)
    kept = (np.abs(along_y) <= most_y)[:, None] & (along_x <= most_x)
    multiplicity = np.where(kept, np.where(self_conjugate, 1.0, 2.0), 0.0)
    wavenumber[0, 0], eigenvalue[0, 0], multiplicity[0, 0] = 1, 1, 0
    return wavenumber, eigenvalue, multiplicity


def shell_of_modes(grid: Grid) -> Int[np.ndarray, "ny modes"]:
    """Return the shell of every mode of ``rfft2``: 0 for ``1/2 <= |k| / k1 < 3/2``, and so on.

    The mean belongs to no shell. Here it has that of the first, and its multiplicity is 0.
    """
    wavenumber, _, _ = fourier_modes(grid)
    return np.floor(wavenumber * (1 + MARGIN) + 0.5).astype(int) - 1


def between(wavenumber: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Return which wavenumbers are from `lowest` to `highest`, both included, with a margin for rounding."""
    return (wavenumber * (1 + MARGIN) >= lowest) & (wavenumber <= highest * (1 + MARGIN))


def sum_over_shells(grid: Grid, density: Float[Array, "... ny modes"]) -> Float[Array, "... shells"]:
    """Return the sums over every shell of `density`, one value for each mode of ``rfft2``."""
    return apply(SumOverShells(grid), density)


@dataclasses.dataclass(frozen=True)
class SumOverShells:
    """The map `sum_over_shells`."""

    grid: Grid

    rows = False  # on a divided grid: sums over each slab

    def __call__(self, density):
        return self._sums(density, shell_of_modes(self.grid))

    def on_slab(self, density):
        """Sum over the rows of a slab."""
        rows = density.shape[-2]
        shells = jnp.asarray(shell_of_modes(self.grid))
        here = jax.lax.axis_index(cast(DividedGrid, self.grid).axis) * rows
        return self._sums(density, jax.lax.dynamic_slice_in_dim(shells, here, rows))

    def _sums(self, density, shells):
        batch, count = density.shape[:-2], shell_of_modes(self.grid).max() + 1
        sums = jnp.zeros((*batch, count), density.dtype)
        return sums.at[..., shells.ravel()].add(density.reshape(*batch, shells.size))


def random_phases(grid: Grid, *, key: Key[Array, ""], dtype: np.dtype) -> Complex[Array, "ny modes"]:
    """Return random phases of a real field: complex numbers of modulus 1 for every mode of ``rfft2``."""
    # The transform of real noise has Hermitian phases for any shape; `sign` of a complex number is its phase.
    return jnp.sign(rfft2(jax.random.normal(key, grid.shape, dtype), grid=grid))


def from_modes(
    grid: Grid, phase: Complex[Array, "ny modes"], modulus: Float[np.ndarray | Array, "ny modes"]
) -> Float[Array, "ny nx"]:
    """Return the real field with the modes ``phase * modulus``, without its mean."""
    spectrum = (phase * jnp.asarray(modulus, phase.dtype)).at[0, 0].set(0)
    return irfft2(spectrum, grid.shape, grid=grid)


def highest_wavenumber(grid: Grid, discretisation: Discretisation) -> float:
    """Return the highest wavenumber that both axes resolve, in multiples of `fundamental_wavenumber`."""
    waves = engine_of(discretisation).highest_waves(discretisation, grid)
    return max(grid.extent) * min(m / side for m, side in zip(waves, grid.extent, strict=True))


def most_waves_of_sine(grid: Grid, discretisation: Discretisation) -> int:
    """Return the most waves along y of a sine that the discretisation keeps. A sine of two points a wave is zero."""
    ny = grid.shape[0]
    return min((ny - 1) // 2, int(engine_of(discretisation).highest_waves(discretisation, grid)[0]))


def check_resolved(name: str, value: float, grid: Grid, discretisation: Discretisation = FiniteDifference()) -> None:
    """Check that both axes resolve the wavenumber `value`, in multiples of `fundamental_wavenumber`.

    Raises:
        TypeError: `discretisation` is none.
        ValueError: it is not.
    """
    check_discretisation(discretisation)
    highest = highest_wavenumber(grid, discretisation)
    if float(value) > highest * (1 + MARGIN):  # `float` also takes a JAX value, which `jit` would compare later
        raise ValueError(
            f"{name}={value}: a grid of shape {grid.shape} and extent {grid.extent} with {discretisation} "
            f"resolves up to {highest:.4g}, in multiples of 2 pi / max(extent); lower it or refine the grid"
        )
