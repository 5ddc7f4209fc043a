"""What is here, and what is kept: versions, devices and backends; kernels compiled ahead of time; caches."""

import dataclasses
import importlib.metadata
import platform as host
from collections.abc import Sequence

import jax

from . import _ffi, _support
from ._checks import check_count, check_dtype, check_flag, check_grid
from ._grid import Grid
from ._show import show
from ._solver import NavierStokes2D, check_solver


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

    if grid is not None:
        check_grid(grid)
    _support.initialise()
    dtype = check_dtype("dtype", dtype)
    names = ("jax", "jaxlib", "warp-lang", "equinox", "numpy")
    versions = {"warpjaxns": __version__, "python": host.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }
    if jax.default_backend() != "gpu":
        auto, reason = "xla", f"Warp is taken on CUDA, and JAX's default device is {jax.default_backend()}"
    else:
        obstacle = _support.warp_obstacle(grid, dtype, "cuda") if grid else _support.cuda_obstacle()
        auto = "xla" if obstacle else "warp"
        subject = f"grid {grid.shape} in {dtype.name}" if grid else "CUDA device, sizes 2^a 3^b 5^c"
        reason = obstacle or subject
    devices = tuple(f"{device.device_kind}" for device in jax.devices())
    return Info(versions, devices, _support.driver(), auto, reason, _ffi.statistics())


def warmup(solver: NavierStokes2D, *, batch: tuple[int, ...] = (), dtype=None, gradient: bool = True) -> None:
    """Compile a solver's kernels before their first use, by one step on a state at rest.

    Kernels do not depend on the number of steps. Warp keeps them on disk, so this costs time once a machine; XLA's
    own compilation of your program comes on top at its first call.

    Args:
        solver: a `NavierStokes2D`.
        batch: the leading axes of the states to come.
        dtype: float32 or float64; None: JAX's default float type.
        gradient: compile the kernels of reverse mode too.

    Raises:
        TypeError: `solver` is not a `NavierStokes2D`, `batch` not a tuple of integers, `dtype` not one of these, or
            `gradient` not True or False.
        ValueError: `batch` holds a negative number.
    """
    check_solver(solver)
    if not isinstance(batch, Sequence) or isinstance(batch, str | bytes):
        raise TypeError(f"batch={show(batch)}: expected the leading axes of a state, such as (8,)")
    batch = tuple(check_count(f"batch={show(batch)}, axis {axis}", n, least=0) for axis, n in enumerate(batch))
    dtype = check_dtype("dtype", dtype)
    check_flag("gradient", gradient)
    omega = jax.numpy.zeros((*batch, *solver.grid.shape), dtype)

    def energy(omega):
        return jax.numpy.sum(solver.rollout(omega, steps=1) ** 2)

    jax.block_until_ready((jax.grad(energy) if gradient else energy)(omega))


def clear_caches() -> None:
    """Drop captured CUDA graphs.

    Call it when nothing runs. Kernels stay loaded; Warp's cache on disk is untouched. What JAX has compiled, eager
    calls among it, is dropped by `jax.clear_caches`.
    """
    _ffi.clear()
