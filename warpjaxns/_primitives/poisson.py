"""``psi = (-Lap)^-1 omega``: a primitive that is linear and its own transpose."""

from jax.interpreters import ad

from . import reference, warp
from ._define import batch_by_folding, bind, define


def _abstract(omega, **_):
    return [(omega.shape, omega.dtype)]


def _xla(omega, *, grid, backend):
    return [reference.poisson(grid, omega)]


poisson_p = define("poisson", _abstract, _xla, warp.poisson)
batch_by_folding(poisson_p, lambda **_: [0], lambda **_: [0], lambda **_: [True])


# S is symmetric: its eigenvectors are the Fourier modes, its eigenvalues are real and even in the wavenumber.
ad.deflinear2(poisson_p, lambda cotangents, _, **params: bind(poisson_p, *cotangents, **params))


def poisson(omega, *, grid, backend):
    """`omega` is ``(batch, ny, nx)``."""
    return bind(poisson_p, omega, grid=grid, backend=backend)[0]
