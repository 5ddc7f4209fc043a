"""The operators on a divided grid: each is a `shard_map` of a function of a slab.

The arrays of a primitive are those of the whole grid, so all its derivative and batching rules hold as they are. Here is
only how it is computed.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ..._grid import DividedGrid
from .. import reference
from .slab import Slab

class Axes(NamedTuple):
    """The axes of an array along which its members and its rows lie. Rows: None for an array without rows."""

    members: int
    rows: int | None


FIELD = Axes(0, 1)


def on_slabs(function: Callable, grid: DividedGrid, axes: Sequence[Axes], axes_out: Sequence[Axes]) -> Callable:
    """Make ``function(*slabs)`` a function of whole arrays. It returns a sequence.

    Axes of the mesh that do not divide rows divide the members, if they divide their number. They would compute the same
    otherwise. XLA could be told so as well, but would gather the members for each message.
    """
    others = tuple(name for name in grid.devices.axis_names if name != grid.axis)
    shares = math.prod(grid.devices.shape[name] for name in others)

    def spec(axes, divided):
        names: list = [None] * (1 + max(axes.members, axes.rows or 0))
        if divided and others:
            names[axes.members] = others
        if axes.rows is not None:
            names[axes.rows] = grid.axis
        return PartitionSpec(*names)

    def call(*arrays):
        members = [x.shape[each.members] for x, each in zip(arrays, axes, strict=True)]
        batch = max(members)
        specs = tuple(spec(each, n == batch and batch % shares == 0) for n, each in zip(members, axes, strict=True))
        specs_out = tuple(spec(each, batch % shares == 0) for each in axes_out)
        run = jax.shard_map(
            lambda *slabs: tuple(function(*slabs)),
            mesh=grid.devices,
            in_specs=specs,
            out_specs=specs_out,
            check_vma=False,
        )
        return run(*arrays)

    return call


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
