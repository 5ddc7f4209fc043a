"""Parameters of a solver: checked when it is made, and spread over the members of a state."""

import jax
import jax.numpy as jnp

from ._checks import check_field
from ._primitives.folding import merge


def parameter(name, value, check):
    """Return a parameter as an array of a floating type, after its check."""
    check(name, value, scalar=False)
    dtype = jax.dtypes.canonicalize_dtype(getattr(value, "dtype", float))  # NumPy's float64 also where x64 is off
    return jnp.asarray(value, dtype if jnp.issubdtype(dtype, jnp.floating) else float)


def optional(name, value, check):
    """Return the same, or None for None."""
    return None if value is None else parameter(name, value, check)


def members(name, value, omega, axes=0):
    """Return a parameter for the primitives, ``(1,)`` or ``(batch,)``, of the type of omega.

    `axes`: how many axes the parameter has after those of members. They follow in the result.
    """
    value, lead = jnp.asarray(value, omega.dtype), omega.shape[:-2]
    if value.ndim > axes:
        value = broadcast(name, value, (*lead, *value.shape[value.ndim - axes :]), lead, omega)
    return merge(value, 0, value.ndim - axes)


def fields(name, value, omega, grid):
    """Return a field for the primitives, ``(1, ny, nx)`` or ``(batch, ny, nx)``, of the type of omega."""
    value, lead = check_field(name, value, grid).astype(omega.dtype), omega.shape[:-2]  # `eqx.tree_at` checks nothing
    if value.ndim > 2:
        value = broadcast(name, value, (*lead, *grid.shape), lead, omega)
    return merge(value, 0, value.ndim - 2)


def broadcast(name, value, shape, lead, omega):
    """Return a value of a shape that ends with that of a state, or say how it does not fit the state's axes `lead`."""
    try:
        return jnp.broadcast_to(value, shape)
    except ValueError:
        raise ValueError(
            f"{name} has shape {value.shape}, which does not fit a state of shape {omega.shape}: expected a value "
            f"for all members, or one for each of the leading axes {lead}"
        ) from None
