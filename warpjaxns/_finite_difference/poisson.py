"""``psi = (-Lap)^-1 omega``: a primitive that is linear and its own transpose."""

from .._primitives.define import bind
from .._primitives.folding import define_self_adjoint
from . import calls, reference
from .divided import operators as divided


def _xla(omega, *, grid, backend):
    return [reference.poisson(grid, omega)]


# S is symmetric: its eigenvectors are the Fourier modes, its eigenvalues are real and even in the wavenumber.
poisson_p = define_self_adjoint("poisson", _xla, calls.poisson, divided.poisson)


def poisson(omega, *, grid, backend):
    """Return psi. `omega` is ``(batch, ny, nx)``."""
    return bind(poisson_p, omega, grid=grid, backend=backend)[0]
