"""Versions, devices and backends; compilation of kernels before their first use; caches."""

import dataclasses
import importlib.metadata
import platform as host
from collections.abc import Sequence

import jax

from . import _ffi, _support
from ._checks import check_count, check_dtype, check_flag, check_grid
from ._discretisation import Discretisation, FiniteDifference, check_discretisation, engine_of
from ._grid import Grid
from ._kernels.hardware import groups
from ._scalars import State
from ._show import show
from ._solver import NavierStokes2D, check_solver
from ._version import VERSION


@dataclasses.dataclass(frozen=True, repr=False)
class Info:
    """Versions, devices, and the backend that ``"auto"`` takes here. It shows as a few lines of text."""

    versions: dict[str, str]
    devices: tuple[str, ...]
    driver: str
    auto: str
    auto_reason: str
    cache: dict[str, int]

    def __repr__(self):
        lines = ["versions  " + ", ".join(f"{name} {version}" for name, version in self.versions.items())]
        lines += ["devices   " + ", ".join(self.devices) + f" ({self.driver})"]
        lines += [f"backend   auto = {self.auto}: {self.auto_reason}"]
        lines += ["cache     " + ", ".join(f"{count} {name}" for name, count in self.cache.items())]
        return "\n".join(lines)


def info(grid: Grid | None = None, dtype=None, *, discretisation: Discretisation = FiniteDifference()) -> Info:
    """Return versions, devices, the backend that ``"auto"`` takes on JAX's default device, and the reason.

    Args:
        grid: a grid; None: any that Warp supports.
        dtype: float32 or float64; None: JAX's default float type.
        discretisation: that of the solver.

    Returns:
        An `Info`, to be printed or read field by field.

    Raises:
        TypeError: `grid` is not a `Grid`, `dtype` is neither float32 nor float64, or `discretisation` is none.
    """
    if grid is not None:
        check_grid(grid)
    check_discretisation(discretisation)
    _support.initialise()
    dtype = check_dtype("dtype", dtype)
    names = ("jax", "jaxlib", "warp-lang", "equinox", "numpy")
    versions = {"warpjaxns": VERSION, "python": host.python_version()} | {
        name: importlib.metadata.version(name) for name in names
    }
    if jax.default_backend() != "gpu":
        auto, reason = "xla", f"Warp is taken on CUDA, and JAX's default device is {jax.default_backend()}"
    else:
        obstacle = engine_of(discretisation).obstacle(grid, dtype, "cuda") if grid else _support.cuda_obstacle()
        auto = "xla" if obstacle else "warp"
        subject = f"grid {grid.shape} in {dtype.name}" if grid else "CUDA device, sizes 2^a 3^b 5^c"
        reason = obstacle or subject
    devices = tuple(f"{device.device_kind}" for device in jax.devices())
    return Info(versions, devices, _support.driver(), auto, reason, _ffi.statistics())


def warmup(solver: NavierStokes2D, *, batch: tuple[int, ...] = (), dtype=None, gradient: bool = True) -> None:
    """Compile a solver's kernels before their first use, by one step of a state at rest.

    Kernels do not depend on the number of steps. Warp keeps them on disk, so this takes time once a machine. XLA still
    compiles your program at its first call.

    Args:
        solver: a `NavierStokes2D`.
        batch: the leading axes of the states to come.
        dtype: float32 or float64; None: JAX's default float type.
        gradient: whether to compile the kernels of reverse mode too.

    Raises:
        TypeError: `solver` is not a `NavierStokes2D`, `batch` not a tuple of integers, `dtype` neither float32 nor
            float64, or `gradient` not True or False.
        ValueError: `batch` holds a negative number.
    """
    check_solver(solver)
    if not isinstance(batch, Sequence) or isinstance(batch, str | bytes):
        raise TypeError(f"batch={show(batch)}: expected the leading axes of a state, such as (8,)")
    batch = tuple(check_count(f"batch={show(batch)}, axis {axis}", n, least=0) for axis, n in enumerate(batch))
    dtype = check_dtype("dtype", dtype)
    check_flag("gradient", gradient)
    rest = jax.numpy.zeros((*batch, *solver.grid.shape), dtype)
    state = State(rest, (rest,) * len(solver.scalars)) if solver.scalars else rest

    def energy(state):
        return sum(jax.numpy.sum(field**2) for field in jax.tree.leaves(solver.rollout(state, steps=1)))

    jax.block_until_ready((jax.grad(energy) if gradient else energy)(state))


def clear_caches() -> None:
    """Drop captured CUDA graphs, and begin anew with messages between devices that were given up.

    Call it when nothing runs. Where processes share a grid with ``exchange="peers"``, all of them call it, and wait for
    each other. Kernels stay loaded, and Warp's cache on disk is untouched. `jax.clear_caches` drops the programs that
    JAX has compiled, eager calls included.

    Raises:
        RuntimeError: another of these processes does not call it for 600 s.
    """
    _ffi.clear()
    groups.reset()
