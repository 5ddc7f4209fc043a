"""Differentiable two-dimensional Navier-Stokes for JAX, on NVIDIA Warp kernels.

A name is imported when it is first used, so that ``warpjaxns --help`` waits for neither JAX nor Warp.
"""

import importlib
from typing import TYPE_CHECKING

from ._requirements import check_versions
from ._version import VERSION as __version__

if TYPE_CHECKING:
    from . import benchmarks, closures, data, diagnostics, experiments, forcing, initial, metrics, obstacles, plotting
    from ._adaptive import adaptive_steps
    from ._adjoint import Checkpointed, Direct
    from ._coarsen import coarsen
    from ._custom import primitive
    from ._discretisation import FiniteDifference, Spectral
    from ._finite import Flag
    from ._grid import Grid
    from ._operators import jacobian, laplacian, streamfunction
    from ._runtime import clear_caches, info, warmup
    from ._scalars import Scalar, State
    from ._solver import NavierStokes2D
    from ._velocity import velocity_of, vorticity_of
    from .obstacles import Obstacle

__all__ = [
    "Checkpointed",
    "Direct",
    "FiniteDifference",
    "Flag",
    "Grid",
    "NavierStokes2D",
    "Obstacle",
    "Scalar",
    "Spectral",
    "State",
    "__version__",
    "adaptive_steps",
    "benchmarks",
    "clear_caches",
    "closures",
    "coarsen",
    "data",
    "diagnostics",
    "experiments",
    "forcing",
    "info",
    "initial",
    "jacobian",
    "laplacian",
    "metrics",
    "obstacles",
    "plotting",
    "primitive",
    "streamfunction",
    "velocity_of",
    "vorticity_of",
    "warmup",
]

check_versions()

# The modules of the names that are no modules themselves
_HOMES = {
    "Checkpointed": "_adjoint",
    "Direct": "_adjoint",
    "FiniteDifference": "_discretisation",
    "Flag": "_finite",
    "Grid": "_grid",
    "NavierStokes2D": "_solver",
    "Obstacle": "obstacles",
    "Scalar": "_scalars",
    "Spectral": "_discretisation",
    "State": "_scalars",
    "adaptive_steps": "_adaptive",
    "clear_caches": "_runtime",
    "coarsen": "_coarsen",
    "info": "_runtime",
    "jacobian": "_operators",
    "laplacian": "_operators",
    "primitive": "_custom",
    "streamfunction": "_operators",
    "velocity_of": "_velocity",
    "vorticity_of": "_velocity",
    "warmup": "_runtime",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES.get(name, name)}", __name__)
    value = getattr(module, name) if name in _HOMES else module
    globals()[name] = value
    return value


def __dir__():
    return __all__
