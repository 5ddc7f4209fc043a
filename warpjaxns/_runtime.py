"""What can run here: which backend serves which grid, versions and devices."""

import dataclasses
import functools
import importlib.metadata
import platform as host

import jax
import numpy as np
import warp as wp

from . import _ffi
from ._grid import Grid
from ._kernels.lines import factorise
from ._kernels.plan import CPU_MEMORY, make_plan, unsupported


def warp_obstacle(grid: Grid, dtype, platform: str) -> str | None:
    """Why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
    _initialise()
    for n in grid.shape:
        if not factorise(n):
            return f"size {n} has a prime factor above 5; use sizes of the form 2^a 3^b 5^c"
    if platform == "cpu":
        return unsupported(make_plan(grid.shape, np.dtype(dtype).name).on(cpu=True), CPU_MEMORY)
    if platform == "cuda":
        limit = shared_memory()
        return cuda_obstacle() or unsupported(make_plan(grid.shape, np.dtype(dtype).name, 1, limit), limit)
    return f"Warp knows no platform {platform!r}"


@functools.cache
def cuda_obstacle() -> str | None:
    """Why Warp finds no CUDA device, or None."""
    _initialise()
    if wp.get_cuda_device_count() > 0:
        return None
    if not any(device.platform == "gpu" for device in jax.devices()):
        return "there is no CUDA device"
    toolkit = ".".join(map(str, wp.get_cuda_toolkit_version() or ()))
    return (
        f"Warp {wp.__version__} is built for CUDA {toolkit} and {_driver()}; update the NVIDIA driver (the wheels on "
        "PyPI need R580 or later)"
    )


@functools.cache
def shared_memory() -> int | None:
    """Bytes of shared memory that a block may use on every CUDA device here; None where there is none."""
    _initialise()
    return min((device.max_shared_memory_per_block for device in wp.get_cuda_devices()), default=None)


def _driver() -> str:
    version = wp.get_cuda_driver_version()
    return f"the driver supports CUDA {'.'.join(map(str, version))}" if version else "found no driver"


@functools.cache
def _initialise() -> None:
    if wp.config.log_level == wp.LOG_INFO:  # leave it alone where the user chose
        wp.config.log_level = wp.LOG_WARNING
    wp.init()


@dataclasses.dataclass(frozen=True)
class Info:
    """Versions, devices, and what ``backend="auto"`` means here. Printable."""

    versions: dict[str, str]
    devices: tuple[str, ...]
    driver: str
    auto: str
    auto_reason: str
    cache: dict[str, int]

    def __str__(self):
        lines = ["versions  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        lines += ["devices   " + ", ".join(self.devices) + f" ({self.driver})"]
        lines += [f"backend   auto = {self.auto}: {self.auto_reason}"]
        lines += ["cache     " + ", ".join(f"{count} {name}" for name, count in self.cache.items())]
        return "\n".join(lines)


def info(grid: Grid | None = None, dtype=None) -> Info:
    """Versions, devices, and which backend ``"auto"`` takes on JAX's default device, and why.

    Args:
        grid: the grid in question; None: any that Warp supports.
        dtype: float32 or float64; None: JAX's default float type.

    Returns:
        An `Info`; print it, or read its fields.

    Raises:
        TypeError: `grid` is not a `Grid`, or `dtype` not one of these.
    """
    from . import __version__  # the package imports this module first
    from ._checks import check_dtype, check_grid

    if grid is not None:
        check_grid(grid)
    _initialise()
    dtype = check_dtype("dtype", dtype)
    names = ("jax", "jaxlib", "warp-lang", "equinox", "numpy")
    versions = {"warpjaxns": __version__, "python": host.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }
    if jax.default_backend() != "gpu":
        auto, reason = "xla", f"Warp is taken on CUDA, and JAX's default device is {jax.default_backend()}"
    else:
        obstacle = warp_obstacle(grid, dtype, "cuda") if grid else cuda_obstacle()
        auto = "xla" if obstacle else "warp"
        subject = f"grid {grid.shape} in {dtype.name}" if grid else "CUDA device, sizes 2^a 3^b 5^c"
        reason = obstacle or subject
    devices = tuple(f"{device.device_kind}" for device in jax.devices())
    return Info(versions, devices, _driver(), auto, reason, _ffi.statistics())


def warmup(solver, *, batch: tuple[int, ...] = (), dtype=None, gradient: bool = True) -> None:
    """Compile a solver's kernels before their first use, by one step on a state at rest.

    Kernels do not depend on the number of steps. Warp keeps them on disk, so this costs time once a machine; XLA's
    own compilation of your program comes on top at its first call.

    Args:
        solver: a `NavierStokes2D`.
        batch: the leading axes of the states to come.
        dtype: float32 or float64; None: JAX's default float type.
        gradient: compile the kernels of reverse mode too.

    Raises:
        TypeError: `solver` is not a `NavierStokes2D`, or `dtype` not one of these.
    """
    from ._checks import check_dtype
    from ._solver import check_solver

    check_solver(solver)
    dtype = check_dtype("dtype", dtype)
    omega = jax.numpy.zeros((*batch, *solver.grid.shape), dtype)

    def energy(omega):
        return jax.numpy.sum(solver.rollout(omega, steps=1) ** 2)

    jax.block_until_ready((jax.grad(energy) if gradient else energy)(omega))


def clear_caches() -> None:
    """Drop captured CUDA graphs and the compiled programs of eager calls.

    Call it when nothing runs. Kernels stay loaded; Warp's cache on disk is untouched.
    """
    _ffi.clear()
    for cache in _eager_caches:
        cache.cache_clear()


_eager_caches = []


def register_cache(cache):
    """Let `clear_caches` empty a `functools.cache` too."""
    _eager_caches.append(cache)
    return cache
