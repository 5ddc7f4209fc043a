"""Support: the grids, types and platforms that the spectral kernels can run."""

import numpy as np

from .._grid import Grid
from .._kernels.fft.lines import smooth
from .._kernels.hardware.limits import CPU_MEMORY
from .._kernels.spectral.planner import make_plan, unsupported
from .._support import cuda_obstacle, initialise, shared_memory


def warp_obstacle(grid: Grid, dtype, platform: str) -> str | None:
    """Return why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
    initialise()
    for n in grid.shape:
        if not smooth(n):
            return f"size {n} has a prime factor above 5; use sizes of the form 2^a 3^b 5^c"

    def plan(limit=None):
        return make_plan(grid.shape, np.dtype(dtype).name, "two-thirds", 1, limit)

    if platform == "cpu":
        return unsupported(plan().on(cpu=True), CPU_MEMORY)
    if platform == "cuda":
        return cuda_obstacle() or unsupported(plan(shared_memory()), shared_memory())
    return f"Warp knows no platform {platform!r}"
