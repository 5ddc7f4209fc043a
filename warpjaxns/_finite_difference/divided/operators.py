"""The operators on a divided grid: each is a `shard_map` of a function of a slab.

The arrays of a primitive are those of the whole grid, so all its derivative and batching rules hold as they are. This
file says only how it is computed.
"""

import jax
import jax.numpy as jnp

from ..._grid import DividedGrid
from ..._primitives.divided import FIELD, on_slabs
from .. import reference
from .slab import Slab


def poisson(omega, *, grid, **_):
    """Solve ``-Lap(psi) = omega``."""
    slab = Slab(grid)
    return on_slabs(lambda w: [slab.trim(slab.surround(w)[1])], grid, [FIELD], [FIELD])(omega)


def laplacian(a, *, grid, **_):
    """Apply the Laplacian."""
    slab = Slab(grid)

    def function(a):
        return [slab.trim(reference.laplacian(slab.grid, rows_around(grid, a)))]

    return on_slabs(function, grid, [FIELD], [FIELD])(a)


def jacobian(a, b, *, grid, scheme, **_):
    """Apply the Jacobian."""
    slab = Slab(grid)

    def function(a, b):
        return [slab.trim(reference.jacobian(slab.grid, rows_around(grid, a), rows_around(grid, b), scheme))]

    return on_slabs(function, grid, [FIELD] * 2, [FIELD])(a, b)


def rows_around(grid: DividedGrid, field):
    """Return the rows of a slab, the one north of them and the one south of them."""

    def sent(row, by):
        return jax.lax.ppermute(row, grid.axis, [(d, (d + by) % grid.parts) for d in range(grid.parts)])

    return jnp.concatenate([field, sent(field[:, :1], -1), sent(field[:, -1:], 1)], axis=1)
