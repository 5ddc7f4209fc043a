"""Low-resolution versions of fields."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import check_count


def coarsen(field: Float[Array, "... ny nx"], factor: int) -> Float[Array, "... coarse_ny coarse_nx"]:
    """A periodic field on a grid coarser by `factor`, by a sharp cut-off of its Fourier series.

    Wavenumbers that the coarse grid resolves, ``|k| < n / 2`` along each axis, keep their amplitude; all others,
    Nyquist's included, are removed. This is the filter of large-eddy simulation in spectral space (Pope 2000,
    doi:10.1017/CBO9780511840531, section 13.2): it commutes with derivatives, keeps the mean, and coarsening twice
    is coarsening once. The points of the coarse grid are every `factor`-th point of the fine one, starting at 0, where
    means over blocks of points would move the grid by half a block.

    Args:
        field: ``(..., ny, nx)``, float32 or float64.
        factor: a common divisor of ny and nx; 1 leaves the field as it is.

    Returns:
        ``(..., ny / factor, nx / factor)``, of the same dtype.

    Raises:
        TypeError: `factor` is not an integer.
        ValueError: `factor` is under 1 or does not divide both sizes.
    """
    factor = check_count("factor", factor, least=1)
    ny, nx = field.shape[-2:]
    if ny % factor or nx % factor:
        raise ValueError(f"factor={factor} does not divide both sizes of a field of shape {field.shape}")
    if factor == 1:
        return field
    coarse_ny, coarse_nx = ny // factor, nx // factor
    above, right = (coarse_ny - 1) // 2, (coarse_nx - 1) // 2  # the largest wavenumbers kept
    modes = jnp.fft.rfft2(field)
    zeros = jnp.zeros((*field.shape[:-2], coarse_ny - 2 * above - 1, right + 1), modes.dtype)
    rows = (modes[..., : above + 1, : right + 1], zeros, modes[..., ny - above :, : right + 1])
    kept = jnp.concatenate(rows, axis=-2)
    return jnp.fft.irfft2(_pad(kept, coarse_nx // 2 + 1), s=(coarse_ny, coarse_nx)) / factor**2


def _pad(modes, columns):
    missing = columns - modes.shape[-1]
    return jnp.pad(modes, [(0, 0)] * (modes.ndim - 1) + [(0, missing)])
