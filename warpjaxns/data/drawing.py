"""Random numbers of the members of an ensemble, which follow from its seed and the member alone."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def drawing():
    """Make random numbers in this context follow from their key alone, for any ``jax_threefry_partitionable``.

    The context must surround a compiled function, not be inside it: JAX reads the flag when it lowers the function.
    """
    return jax.threefry_partitionable(True)


def member_key(seed: int, member: int | jax.Array) -> jax.Array:
    """Return the key of a member, ``fold_in(key(seed), m)`` of Threefry, whose numbers do not depend on batching.

    It is made of its words, and so depends neither on ``jax_default_prng_impl`` nor on ``jax_random_seed_offset``.
    """
    key = jax.random.wrap_key_data(jnp.asarray(np.array([0, seed], np.uint32)), impl="threefry2x32")
    return jax.random.fold_in(key, member)


def uniform(seed: int, members: list[int], stream: int, count: int = 3) -> np.ndarray:
    """Return numbers from 0 to 1, `count` for each member, ``(count, members)``. The first do not depend on `count`."""
    with drawing():
        return np.asarray(_uniform(seed, np.asarray(members, np.uint32), stream, count))


@functools.partial(jax.jit, static_argnames=("seed", "stream", "count"))
def _uniform(seed, members, stream, count):
    def draw(member):
        keys = jax.random.split(jax.random.fold_in(member_key(seed, member), stream), count)
        return jax.vmap(lambda key: jax.random.uniform(key, dtype="float32"))(keys)

    return jax.vmap(draw, out_axes=1)(members)


@functools.partial(jax.jit, static_argnames=("seed", "function", "stream"))
def drawn_by(seed: int, members: jax.Array, function: Callable, stream: int):
    """Return what a function of a user makes of the key of each member. To be called in `drawing`."""
    return jax.vmap(lambda member: function(jax.random.fold_in(member_key(seed, member), stream)))(members)
