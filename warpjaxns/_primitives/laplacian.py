"""``Lap a``, 5 points: a primitive that is linear and its own transpose."""

from jax.interpreters import ad

from . import reference, warp
from ._define import batch_by_folding, bind, define


def _abstract(a, **_):
    return [(a.shape, a.dtype)]


def _xla(a, *, grid, backend):
    return [reference.laplacian(grid, a)]


laplacian_p = define("laplacian", _abstract, _xla, warp.laplacian)
batch_by_folding(laplacian_p, lambda **_: [0], lambda **_: [0], lambda **_: [True])


# The stencil is symmetric.
ad.deflinear2(laplacian_p, lambda cotangents, _, **params: bind(laplacian_p, *cotangents, **params))


def laplacian(a, *, grid, backend):
    """`a` is ``(batch, ny, nx)``."""
    return bind(laplacian_p, a, grid=grid, backend=backend)[0]
