"""Time steps in plain `jax.numpy`, differentiated by JAX alone: the standard for all implementations.

The scan goes over stages, so that XLA compiles a single one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from warpjaxns._finite_difference import reference

# (a, b, c) of w_s = a w_0 + b w_(s-1) + c dt R(w_(s-1)): SSP-RK3, written out once more
COEFFICIENTS = np.array([(0, 1, 1), (3 / 4, 1 / 4, 1 / 4), (1 / 3, 2 / 3, 2 / 3)])


def tendency(grid, scheme, omega, viscosity, drag, force):
    """Return R. `omega` (batch, ny, nx); `viscosity` and `drag` (batch,) or (1,); `force` broadcasts against omega."""
    advection = reference.jacobian(grid, reference.poisson(grid, omega), omega, scheme)
    diffusion = viscosity[:, None, None] * reference.laplacian(grid, omega)
    return advection + diffusion - drag[:, None, None] * omega + jnp.broadcast_to(force, omega.shape)


@functools.partial(jax.jit, static_argnames=("grid", "scheme", "steps"))
def advance(omega, viscosity, drag, dt, forcing, *, grid, scheme, steps):
    """Return the state after `steps` steps. Operands are those of `warpjaxns._finite_difference.advance`."""

    def stage(carry, s):
        start, state = carry
        a, b, c = jnp.asarray(COEFFICIENTS, omega.dtype)[s % 3]
        start = jnp.where(s % 3 == 0, state, start)
        force = forcing[s // 3 if forcing.shape[0] > 1 else 0]
        rate = tendency(grid, scheme, state, viscosity, drag, force)
        return (start, a * start + b * state + c * dt[:, None, None] * rate), None

    return jax.lax.scan(stage, (omega, omega), jnp.arange(3 * steps))[0][1]


def normal(seed, shape, dtype="float64"):
    """Return white noise."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def vdot(a, b):
    """Return the inner product of two pytrees, by NumPy where JAX does not trace: it has nothing to compile."""
    xp = jnp if any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((a, b))) else np
    products = jax.tree.map(lambda x, y: xp.sum(xp.multiply(x, y)), a, b)
    return sum(jax.tree.leaves(products))


def directions(operands, seed, dtype):
    """Return random directions, in the unit of each operand; zero for a missing forcing."""
    largest = (np.max(np.abs(x)) if x.ndim < 4 or x.size > 1 else 0 for x in map(np.asarray, operands))
    return tuple(
        jnp.asarray(scale * np.asarray(normal(seed + i, x.shape)), dtype)
        for i, (scale, x) in enumerate(zip(largest, operands, strict=True))
    )
