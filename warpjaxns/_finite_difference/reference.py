"""The numerics in plain `jax.numpy`: the oracle of every test and the ``"xla"`` backend.

All functions take fields ``(..., ny, nx)``, with y on axis -2 and x on axis -1. Grid constants are computed in
float64 and rounded once to the field's type.
"""

from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._coefficients import eigenvalues
from .._grid import Grid

Field: TypeAlias = Float[Array, "... ny nx"]


def denominator(grid: Grid) -> np.ndarray:
    """Return the eigenvalues of minus `laplacian` on the modes of `rfft2`, float64, and infinity for the mean."""
    along_y, along_x = eigenvalues(grid.shape, grid.spacing)
    values = along_y[:, None] + along_x[None, : grid.shape[1] // 2 + 1]
    values[0, 0] = np.inf
    return values


def poisson(grid: Grid, omega: Field, screening=None) -> Field:
    """Return ``psi = (F - Lap)^-1 omega`` with zero mean: the exact inverse of `laplacian`, up to sign and the mean.

    `screening`: F, a number for each entry of the first axis or for all; None: zero.
    """
    spectrum = jnp.fft.rfft2(omega)
    if screening is None:
        green = jnp.asarray(np.expand_dims(1 / denominator(grid), tuple(range(omega.ndim - 2))), spectrum.dtype)
    else:
        values = jnp.asarray(denominator(grid)[None], omega.dtype) + screening[:, None, None]
        green = (1 / values).astype(spectrum.dtype)
    return jnp.fft.irfft2(spectrum * green, s=grid.shape)


def shift(a: Field, north: int, east: int) -> Field:
    """Return the field whose value at ``(i, j)`` is ``a[i + north, j + east]``."""
    if north:
        a = jnp.roll(a, -north, axis=-2)
    return jnp.roll(a, -east, axis=-1) if east else a


def laplacian(grid: Grid, a: Field) -> Field:
    """Return the 5-point Laplacian, of second order."""
    dy, dx = grid.spacing
    along_y = shift(a, 1, 0) - 2 * a + shift(a, -1, 0)
    along_x = shift(a, 0, 1) - 2 * a + shift(a, 0, -1)
    return along_y * jnp.asarray(1 / dy**2, a.dtype) + along_x * jnp.asarray(1 / dx**2, a.dtype)


def centred(grid: Grid, a: Field, axis: int) -> Field:
    """Return the centred difference along y (axis -2) or along x (axis -1). It is antisymmetric."""
    difference = jnp.roll(a, -1, axis) - jnp.roll(a, 1, axis)
    return difference * jnp.asarray(1 / (2 * grid.spacing[axis]), a.dtype)


def _plus_plus(a, b):
    """Return J++: centred differences of a_x b_y - a_y b_x."""
    return (shift(a, 0, 1) - shift(a, 0, -1)) * (shift(b, 1, 0) - shift(b, -1, 0)) - (
        shift(a, 1, 0) - shift(a, -1, 0)
    ) * (shift(b, 0, 1) - shift(b, 0, -1))


def _plus_cross(a, b):
    """Return J+x: the flux form, with a at the edges' midpoints and b at the corners."""
    ne, nw, se, sw = shift(b, 1, 1), shift(b, 1, -1), shift(b, -1, 1), shift(b, -1, -1)
    return (
        shift(a, 0, 1) * (ne - se)
        - shift(a, 0, -1) * (nw - sw)
        - shift(a, 1, 0) * (ne - nw)
        + shift(a, -1, 0) * (se - sw)
    )


def _cross_plus(a, b):
    """Return Jx+: J+x with the roles of a and b exchanged, up to sign."""
    return -_plus_cross(b, a)


_STENCILS = {
    "arakawa": lambda a, b: (_plus_plus(a, b) + _plus_cross(a, b) + _cross_plus(a, b)) / 3,
    "central": _plus_plus,
    "plus_cross": _plus_cross,
    "cross_plus": _cross_plus,
}


def jacobian(grid: Grid, a: Field, b: Field, scheme: str) -> Field:
    """Return ``J(a, b) = a_x b_y - a_y b_x``, to second order."""
    dy, dx = grid.spacing
    return _STENCILS[scheme](a, b) * jnp.asarray(1 / (4 * dx * dy), a.dtype)
