"""The operators on a divided grid: each is a `shard_map` of a function of a slab.

The arrays of a primitive are those of the whole grid, so all its derivative and batching rules hold as they are. Here is
only how it is computed.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec

from ..._grid import DividedGrid
from .. import reference
from .slab import Slab

FIELD = 1  # the axis of rows


def on_slabs(function: Callable, grid: DividedGrid, rows: Sequence[int | None], rows_out: Sequence[int | None]):
    """Make ``function(*slabs)`` a function of whole arrays. It returns a sequence.

    `rows`, `rows_out`: the axis along which each array is divided, or None for one that all devices have.
    """
    types = (AxisType.Auto,) * grid.devices.devices.ndim
    mesh = Mesh(grid.devices.devices, grid.devices.axis_names, axis_types=types)

    def spec(axis):
        return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, grid.axis)

    specs = {"in_specs": tuple(map(spec, rows)), "out_specs": tuple(map(spec, rows_out))}
    return jax.shard_map(
        lambda *slabs: tuple(function(*slabs)), mesh=mesh, axis_names={grid.axis}, check_vma=False, **specs
    )


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
    """Return the rows of a slab and one row of either neighbour."""

    def sent(row, by):
        return jax.lax.ppermute(row, grid.axis, [(d, (d + by) % grid.parts) for d in range(grid.parts)])

    return jnp.concatenate([sent(field[:, -1:], 1), field, sent(field[:, :1], -1)], axis=1)
