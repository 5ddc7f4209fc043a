"""Types of JAX: those of Warp's arrays, and over which axes of a mesh values vary."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import numpy as np
import warp as wp
from jax.sharding import NamedSharding, PartitionSpec


def dtype_in_jax(dtype: type) -> np.dtype:
    """Return the JAX dtype of Warp's `dtype`: that of its components, if it has any."""
    return np.dtype(wp.dtype_to_jax(getattr(dtype, "_wp_scalar_type_", dtype)))


def shape_in_jax(shape: Sequence[int], dtype: type) -> tuple[int, ...]:
    """Return the JAX shape of a Warp array: the components of a vector or matrix come last."""
    return (*shape, *getattr(dtype, "_shape_", ()))


# Under `shard_map(..., check_vma=True)` a type says over which mesh axes its values vary.


def varying(*avals: Any) -> frozenset:
    """Return the mesh axes over which any of these types varies."""
    axes: frozenset = frozenset()
    for aval in avals:
        manual = getattr(aval, "manual_axis_type", None)  # JAX 0.11 and later
        axes |= (getattr(aval, "vma", None) if manual is None else manual.varying) or frozenset()
    return axes


def abstract_result(shape: Sequence[int], dtype: Any, *operands: Any) -> jax.core.ShapedArray:
    """Return the type of a result that depends on operands of these types: it varies where one of them does."""
    axes = varying(*operands)
    if not axes:
        return jax.core.ShapedArray(tuple(shape), np.dtype(dtype))
    mesh = jax.sharding.get_abstract_mesh()
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * len(shape)))
    aval = jax.core.ShapedArray(tuple(shape), np.dtype(dtype), sharding=sharding)
    if hasattr(aval, "manual_axis_type"):
        return aval.update(manual_axis_type=jax.sharding.ManualAxisType(varying=axes))
    return aval.update(vma=axes)


def align(*operands: jax.Array) -> list[jax.Array]:
    """Make all operands vary over the same mesh axes.

    Done before a primitive is bound, it makes JAX sum the cotangent of a replicated operand over the mesh.
    """
    axes = varying(*map(jax.typeof, operands))
    missing = [tuple(sorted(axes - varying(jax.typeof(x)))) for x in operands]
    return [jax.lax.pcast(x, m, to="varying") if m else x for x, m in zip(operands, missing, strict=True)]
