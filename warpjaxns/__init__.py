"""Differentiable two-dimensional Navier-Stokes for JAX, on NVIDIA Warp kernels."""

from . import closures as closures
from . import data as data
from . import diagnostics as diagnostics
from . import forcing as forcing
from . import initial as initial
from . import plotting as plotting
from ._adjoint import Checkpointed as Checkpointed
from ._adjoint import Direct as Direct
from ._coarsen import coarsen as coarsen
from ._custom import primitive as primitive
from ._grid import Grid as Grid
from ._operators import jacobian as jacobian
from ._operators import laplacian as laplacian
from ._operators import streamfunction as streamfunction
from ._runtime import clear_caches as clear_caches
from ._runtime import info as info
from ._runtime import warmup as warmup
from ._solver import NavierStokes2D as NavierStokes2D
from ._velocity import velocity_of as velocity_of
from ._velocity import vorticity_of as vorticity_of
from ._version import VERSION as __version__  # noqa: F401 (`__all__` names what the package offers)
