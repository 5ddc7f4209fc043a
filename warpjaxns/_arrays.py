"""Array functions that several modules use: explicit broadcasting, and functions with a finite derivative."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def with_axes(value: ArrayLike, ndim: int) -> jax.Array:
    """Return `value` with `ndim` axes, those added in front having length one.

    It then broadcasts under ``jax.numpy_rank_promotion("raise")`` too.
    """
    value = jnp.asarray(value)
    return value.reshape((1,) * (ndim - value.ndim) + value.shape)


def square_root(a: jax.Array) -> jax.Array:
    """Return the square root, with 0 for negative numbers that rounding leaves. Where it is 0, so is its derivative."""
    zero = a <= 0  # both branches are finite, so that no NaN enters the derivative
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, a)))


def largest(field: jax.Array) -> jax.Array:
    """Return the largest value of each field ``(..., ny, nx)``.

    Its derivative is that of the first point that has it. `jnp.max` would look for the value it found among values that
    XLA may compute again and round otherwise, find none, and divide by their number.
    """
    ny, nx = field.shape[-2:]
    flat = field.reshape(*field.shape[:-2], ny * nx)
    there = jnp.argmax(flat, axis=-1, keepdims=True) == jax.lax.broadcasted_iota(int, flat.shape, flat.ndim - 1)
    return jnp.sum(jnp.where(there, flat, 0), axis=-1)
