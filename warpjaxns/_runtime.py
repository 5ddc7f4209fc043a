"""Which backend can run where."""

import functools

import jax
import numpy as np
import warp as wp

from ._grid import Grid
from ._kernels.plan import Plan, unsupported


def warp_obstacle(grid: Grid, dtype, platform: str) -> str | None:
    """Why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
    plan = Plan(grid.shape, np.dtype(dtype).name)
    if platform == "cpu":
        return unsupported(plan, None)
    if platform == "cuda":
        return cuda_obstacle() or unsupported(plan, shared_memory())
    return f"Warp knows no platform {platform!r}"


@functools.cache
def cuda_obstacle() -> str | None:
    """Why Warp finds no CUDA device, or None."""
    _init()
    if wp.get_cuda_device_count() > 0:
        return None
    if not any(device.platform == "gpu" for device in jax.devices()):
        return "there is no CUDA device"
    driver = wp.get_cuda_driver_version()
    found = f"the driver supports CUDA {driver[0]}.{driver[1]}" if driver else "no driver was found"
    return (
        f"Warp {wp.__version__} is built for CUDA {'.'.join(map(str, wp.get_cuda_toolkit_version()))} and "
        f"{found}; update the NVIDIA driver (R580 or later for the wheels on PyPI), or build Warp for your CUDA"
    )


@functools.cache
def shared_memory() -> int | None:
    """Bytes of shared memory that a block may use on every CUDA device here."""
    return min(device.max_shared_memory_per_block for device in wp.get_cuda_devices())


@functools.cache
def _init() -> None:
    if wp.config.log_level == wp.LOG_INFO:  # leave it alone where the user chose
        wp.config.log_level = wp.LOG_WARNING
    wp.init()
