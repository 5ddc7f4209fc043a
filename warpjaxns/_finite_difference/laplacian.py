"""``Lap a``, 5 points: a primitive that is linear and its own transpose."""

from .._primitives.define import bind
from .._primitives.folding import define_self_adjoint
from . import calls, reference
from .divided import operators as divided


def _xla(a, *, grid, backend):
    return [reference.laplacian(grid, a)]


# The stencil is symmetric.
laplacian_p = define_self_adjoint("laplacian", _xla, calls.laplacian, divided.laplacian)


def laplacian(a, *, grid, backend):
    """Return Lap(a). `a` is ``(batch, ny, nx)``."""
    return bind(laplacian_p, a, grid=grid, backend=backend)[0]
