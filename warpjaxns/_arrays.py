"""What several modules do with arrays: broadcasting in so many words, and roots of what may be zero."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def with_axes(value: ArrayLike, ndim: int) -> jax.Array:
    """`value` with axes of length one in front, `ndim` in all.

    So it broadcasts under ``jax.numpy_rank_promotion("raise")`` too.
    """
    value = jnp.asarray(value)
    return value.reshape((1,) * (ndim - value.ndim) + value.shape)


def square_root(a: jax.Array) -> jax.Array:
    """The square root of what is not negative, up to rounding. Where it vanishes its derivative is taken to be 0."""
    zero = a <= 0  # both branches are finite, so that no NaN enters the derivative
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, a)))
