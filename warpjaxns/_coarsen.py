"""Fields on a coarser grid, by a sharp spectral filter."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from ._arrays import with_axes
from ._checks import check_field
from ._grid import DividedGrid, Grid
from ._primitives.linear import irfft2, rfft2

Field: TypeAlias = Float[Array, "... ny nx"]
CoarseField: TypeAlias = Float[Array, "... coarse_ny coarse_nx"]


def coarsen(grid: Grid, omega: Field, shape: tuple[int, int]) -> CoarseField:
    """Return `omega` on a coarser grid of the same box, ``Grid(shape, grid.extent)``, by a sharp spectral filter.

    The filter keeps the waves ``exp(2 pi i (my y / Ly + mx x / Lx))`` that the coarse grid resolves,
    ``|my| < shape[0] / 2`` and ``|mx| < shape[1] / 2``, and drops the others. This is the usual filtered reference of a
    large-eddy simulation (Pope 2000, Turbulent Flows, section 13.2, doi:10.1017/CBO9780511840531). Unlike every second
    point of a field, the result is not aliased. The mean is kept. Coarsening in two steps gives the same field. An axis
    whose size does not change is not filtered.

    Args:
        grid: where `omega` lives.
        omega: vorticity or any other field ``(..., ny, nx)``, float32 or float64.
        shape: points of the coarser grid, each at least 4 and at most that of `grid`. They need not divide it.

    Returns:
        The field ``(..., *shape)``, of omega's dtype and unit. The map is linear: it can be differentiated, jitted
        with `grid` and `shape` static, and vmapped.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, or `shape` not two integers.
        ValueError: `omega` does not live on `grid`, or `shape` is finer than it or has a size under 4.
    """
    omega = check_field("omega", omega, grid)
    coarse = Grid(shape, grid.extent)
    if any(few > many for few, many in zip(coarse.shape, grid.shape, strict=True)):
        raise ValueError(f"shape={coarse.shape}: expected at most the points of the grid, {grid.shape}")
    if coarse.shape == grid.shape:
        return omega
    (ny, nx), (coarse_ny, coarse_nx) = grid.shape, coarse.shape
    along_y, kept_y = _waves(np.fft.fftfreq(coarse_ny, 1 / coarse_ny), coarse_ny, ny)
    along_x, kept_x = _waves(np.fft.rfftfreq(coarse_nx, 1 / coarse_nx), coarse_nx, nx)
    scale = kept_y[:, None] * kept_x * (coarse_ny * coarse_nx / (ny * nx))

    spectrum = rfft2(omega, grid=grid)[..., along_y, :][..., along_x]
    if isinstance(grid, DividedGrid):  # the coarse field is on every device
        members = [PartitionSpec.UNCONSTRAINED] * (spectrum.ndim - 2)
        whole = NamedSharding(grid.devices, PartitionSpec(*members, None, None))
        spectrum = jax.lax.with_sharding_constraint(spectrum, whole)
    scale = with_axes(jnp.asarray(scale, spectrum.dtype), spectrum.ndim)
    return irfft2(spectrum * scale, coarse.shape)


def _waves(number, few, many):
    """Return the indices of the coarse axis' waves in the spectrum of the fine one, and which of them are kept."""
    # A wave of two points has no phase on the coarse grid, which resolves its cosine but not its sine.
    return np.rint(number).astype(int) % many, (2 * np.abs(number) < few) | (few == many)
