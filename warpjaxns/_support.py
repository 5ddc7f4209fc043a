"""Support: the grids, types and platforms that each backend can run."""

import contextlib
import functools
import os
import tempfile

import jax
import numpy as np
import warp as wp

from ._grid import DividedGrid, Grid
from ._kernels.fft.lines import smooth
from ._kernels.finite_difference.planner import make_divided_plan, make_plan, unsupported
from ._kernels.hardware.groups import Group
from ._kernels.hardware.limits import CPU_MEMORY
from ._processes import Processes

STDERR = 2  # the file descriptor
NO_DRIVER = b"Could not find or load the NVIDIA CUDA driver"


def warp_obstacle(grid: Grid, dtype, platform: str) -> str | None:
    """Return why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
    initialise()
    make = make_plan
    if isinstance(grid, DividedGrid):
        if grid.rows % 2 or grid.rows < 4:
            return f"each device has {grid.rows} rows; use an even number of them, at least 4"
        grid, make = grid.of_rows(grid.rows), make_divided_plan
    for n in grid.shape:
        if not smooth(n):
            return f"size {n} has a prime factor above 5; use sizes of the form 2^a 3^b 5^c"
    if platform == "cpu":
        return unsupported(make(grid.shape, np.dtype(dtype).name).on(cpu=True), CPU_MEMORY)
    if platform == "cuda":
        limit = shared_memory()
        return cuda_obstacle() or unsupported(make(grid.shape, np.dtype(dtype).name, 1, limit), limit)
    return f"Warp knows no platform {platform!r}"


def peers_obstacle(grid: DividedGrid) -> str | None:
    """Return why kernels cannot exchange the messages of a divided grid, or None."""
    devices = grid.devices.devices.flat
    if any(device.platform != "gpu" for device in devices) or cuda_obstacle():
        return cuda_obstacle() or "its devices are no CUDA devices"
    return next(filter(None, (group.obstacle() for group in device_groups(grid) if group.own)), None)


def device_groups(grid: DividedGrid) -> list[Group]:
    """Return the groups of CUDA devices that share a grid, each in the order of its slabs."""
    axis, here = grid.devices.axis_names.index(grid.axis), jax.process_index()
    groups = []
    for devices in np.moveaxis(grid.devices.devices, axis, -1).reshape(-1, grid.parts):
        owners = tuple(device.process_index for device in devices)
        names = (f"cuda:{device.local_hardware_id}" if device.process_index == here else None for device in devices)
        processes = Processes(owners) if set(owners) != {here} else None
        groups.append(Group(tuple(device.id for device in devices), tuple(names), processes))
    return groups


@functools.cache
def cuda_obstacle() -> str | None:
    """Return why Warp finds no CUDA device, or None."""
    initialise()
    if wp.get_cuda_device_count() > 0:
        return None
    if not any(device.platform == "gpu" for device in jax.devices()):
        return "there is no CUDA device"
    toolkit = ".".join(map(str, wp.get_cuda_toolkit_version() or ()))
    return (
        f"Warp {wp.__version__} is built for CUDA {toolkit} and {driver()}; update the NVIDIA driver (the wheels on "
        "PyPI need R580 or later)"
    )


@functools.cache
def shared_memory() -> int | None:
    """Return the bytes of shared memory that a block may use on every CUDA device here, or None without a device."""
    initialise()
    return min((device.max_shared_memory_per_block for device in wp.get_cuda_devices()), default=None)


def driver() -> str:
    """Return which CUDA version the driver supports, in words."""
    version = wp.get_cuda_driver_version()
    return f"the driver supports CUDA {'.'.join(map(str, version))}" if version else "found no driver"


@functools.cache
def initialise() -> None:
    """Start Warp, without its greeting."""
    if wp.config.log_level == wp.LOG_INFO:  # leave it alone where the user chose
        wp.config.log_level = wp.LOG_WARNING
    with _without_warning_of_driver():
        wp.init()


@contextlib.contextmanager
def _without_warning_of_driver():
    """Drop Warp's line on standard error that there is no CUDA driver. `cuda_obstacle` says so where it matters.

    Warp prints it from C, past `sys.stderr` and its own log level. All else that is printed meanwhile is passed on.
    """
    try:
        kept = os.dup(STDERR)
    except OSError:  # the process has no standard error
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            file.seek(0)
            for line in file:
                if NO_DRIVER not in line:
                    os.write(STDERR, line)
