"""Support: the grids, types and platforms that the spectral kernels can run."""

from .._grid import Grid


def warp_obstacle(grid: Grid, dtype, platform: str) -> str | None:
    """Return why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
    return "the spectral discretisation has no kernels yet"
