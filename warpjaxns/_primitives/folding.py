"""Batching of primitives: `vmap` folds its axis into the batch axis that all operands have.

Operands have one explicit batch axis of length 1 or B. Fields that set B (states, cotangents) have length B. Parameters
of length 1 are shared by all members. Kernels read them without a copy. Since axes are folded, ranks never change,
however `vmap`s are nested.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching

from .define import batch_axes, bind, define, in_x64_of_operands, register_linear
from .linear import apply


def batch_by_folding(p: Primitive, axes: Callable, out_axes: Callable, full: Callable) -> Callable:
    """Register and return the batching rule, which folds the mapped axis into the batch axis.

    `axes(**params)` and `out_axes(**params)` give the batch axis of each operand and result. `full(**params)` gives for
    each operand whether it must have the full batch axis (True) or may stay shared (False).
    """

    def rule(operands, dims, **params):
        size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
        layout = list(zip(operands, dims, axes(**params), full(**params), strict=True))
        # length of the batch axis before this vmap: that of the operands which set it
        lengths = (_without(x.shape, d)[axis] for x, d, axis, _ in layout)
        inner = next((n for n in lengths if n != 1), 1)  # it may be 0
        folded = [fold(x, d, axis, size, inner, is_full) for x, d, axis, is_full in layout]
        results = bind(p, *folded, **params)
        axes_out = tuple(out_axes(**params))
        unfolded = [
            y.reshape(*y.shape[:axis], size, inner, *y.shape[axis + 1 :])
            for y, axis in zip(results, axes_out, strict=True)
        ]
        return unfolded, axes_out

    batching.primitive_batchers[p] = in_x64_of_operands(rule)
    batch_axes[p] = lambda **params: [[(axis,) for axis in each(**params)] for each in (axes, out_axes)]
    return rule


def define_self_adjoint(name: str, xla: Callable, warp: Callable, divided: Callable) -> Primitive:
    """Define a primitive from one field ``(batch, ny, nx)`` to another, linear and its own transpose."""
    p = define(name, lambda field, **_: [(field.shape, field.dtype)], xla, warp, divided=divided)
    batch_by_folding(p, axes=lambda **_: [0], out_axes=lambda **_: [0], full=lambda **_: [True])
    register_linear(p, lambda cotangents, _, **params: bind(p, *cotangents, **params))
    return p


def _without(shape: Sequence, dim: int | None) -> tuple:
    return tuple(shape) if dim is None else (*shape[:dim], *shape[dim + 1 :])


def fold(x, dim: int | None, axis: int, size, inner, is_full: bool):
    """Merge the mapped axis `dim` (None: not mapped) into the batch axis `axis`. Its length is 1 or size * inner."""
    if dim is None:
        if x.shape[axis] == 1 and not is_full:
            return x
        x = jnp.expand_dims(x, axis)
    else:
        x = jnp.moveaxis(x, dim, axis)
    head, tail = x.shape[:axis], x.shape[axis + 2 :]
    return merge(jnp.broadcast_to(x, (*head, size, inner, *tail)), axis, 2)


@dataclasses.dataclass(frozen=True)
class Merge:
    """The identity of arrays whose leading axes of these sizes, before `ndim` others, become one.

    On a device it sees that device's part. Where an inner axis is divided, the parts are not contiguous in the merged
    axis, and XLA would gather them on every device.
    """

    sizes: tuple[int, ...]
    ndim: int

    def __call__(self, x):
        self.check(x.shape[: x.ndim - self.ndim][-len(self.sizes) :])
        return x

    def check(self, here: Sequence[int]) -> None:
        """Raise ValueError if parts with the leading axes `here` do not follow each other in the merged axis."""
        for i, (n, m) in enumerate(zip(here, self.sizes, strict=False)):
            if n != m and math.prod(here[:i]) > 1:
                raise ValueError(
                    f"leading axes {self.sizes} become one, and that of length {m} is sharded: shard the outermost one "
                    "only. `jax.vmap` with `in_axes` and `out_axes` can map over the sharded axis first"
                )


def merge(x, axis: int, count: int):
    """Return x with `count` axes from `axis` on as one. Of these axes, only the outermost one may be sharded."""
    sizes, ndim = x.shape[axis : axis + count], x.ndim - axis - count
    if sum(n != 1 for n in sizes) > 1:
        same = Merge(sizes, ndim)
        same.check(_part(x)[axis : axis + count])
        x = apply(same, x, ndim)
    return x.reshape(*x.shape[:axis], math.prod(sizes), *x.shape[axis + count :])


def _part(x) -> tuple:
    """Return the shape of a device's part of x, as far as its type says: on meshes with explicit axes.

    `Sharding.shard_shape` has no answer inside `jax.shard_map`.
    """
    sharding = jax.typeof(x).sharding
    names = [(entry,) if isinstance(entry, str) else entry or () for entry in sharding.spec]
    ways = (math.prod(sharding.mesh.shape[name] for name in each) for each in names)
    return tuple(n if m == 1 else n // m for n, m in zip(x.shape, ways, strict=True))


def sum_to(cotangent, shape: Sequence[Any]):
    """Sum a per-member cotangent over the batch axes along which its operand was shared."""
    axes = tuple(i for i, (n, m) in enumerate(zip(cotangent.shape, shape, strict=True)) if n != m)
    return jnp.sum(cotangent, axis=axes, keepdims=True) if axes else cotangent
