"""Primitives on a divided grid: each is a `shard_map` of a function of a slab.

The arrays of a primitive are those of the whole grid. So its derivative and batching rules hold as they are, and only
its lowering knows of devices.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.interpreters import mlir
from jax.sharding import AbstractMesh, PartitionSpec

from .._grid import DividedGrid


class Axes(NamedTuple):
    """The axes of an array along which its members and its rows lie. Rows: None for an array without rows."""

    members: int
    rows: int | None


FIELD = Axes(0, 1)


def on_slabs(function: Callable, grid: DividedGrid, axes: Sequence[Axes], axes_out: Sequence[Axes]) -> Callable:
    """Make ``function(*slabs)`` a function of whole arrays. It returns a sequence.

    All other axes of the mesh divide the members, if they divide their number. Otherwise they compute the same. XLA
    could do so by itself, but would gather the members for each message.
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


def lowering(function: Callable, name: str) -> Callable:
    """Make the lowering rule of a primitive on a divided grid. Its `function` is made by `on_slabs`."""

    def rule(ctx, *operands, **params):
        def compute(*operands):
            with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):  # `function` brings the mesh of its grid
                return function(*operands, **params)

        if getattr(ctx.module_context.axis_context, "manual_axes", ()):
            raise ValueError(
                f"'{name}' on a divided grid inside a shard_map: it makes one of its own; call it outside, under "
                "jax.jit, with members sharded by their array"
            )
        return mlir.lower_fun(compute, multiple_results=True)(ctx, *operands)

    return rule
