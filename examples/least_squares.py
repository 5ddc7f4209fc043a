"""L-BFGS and Gauss-Newton for ``cost(v) = |residual(v)|^2 / 2``, where a residual takes a simulation.

`assimilate_initial_vorticity.py` uses them. Both count evaluations of the residual (forward), of its derivative in a
direction (tangent), and of the transpose of that (adjoint). Each takes about as long as the simulation.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

Vector = Float[Array, "..."]  # of any shape


@dataclasses.dataclass(frozen=True)
class Minimum:
    """The result of a minimisation.

    Attributes:
        v: the minimum found.
        costs: ``(iterations + 1,)``, cost before each iteration, and at the end.
        gradient_norms: ``(iterations + 1,)``, norm of the gradient of the cost.
        evaluations: ``(iterations + 1,)``, evaluations so far: forward, tangent and adjoint together.
    """

    v: Vector
    costs: np.ndarray
    gradient_norms: np.ndarray
    evaluations: np.ndarray


def quasi_newton(
    residual: Callable[[Vector], Vector], v: Vector, *, tolerance: float, iterations: int = 200
) -> Minimum:
    """Minimise by L-BFGS, with a line search that uses gradients.

    Source: Nocedal and Wright 2006, doi:10.1007/978-0-387-40065-5.

    Args:
        residual: of unit variance, any shape.
        v: the first guess.
        tolerance: the norm of the gradient to stop at, relative to the first.
        iterations: most iterations.
    """
    optimiser = optax.lbfgs(memory_size=20)

    def cost(v):
        return jnp.sum(residual(v) ** 2) / 2

    value_and_gradient = optax.value_and_grad_from_state(cost)  # the line search has computed them already

    @jax.jit
    def iterate(v, state):
        value, gradient = value_and_gradient(v, state=state)
        update, state = optimiser.update(gradient, state, v, value=value, grad=gradient, value_fn=cost)
        search = cast(Any, state)[-1]
        return (
            optax.apply_updates(v, update),
            state,
            search.value,
            jnp.linalg.norm(search.grad),
            search.info.num_linesearch_steps,
        )

    value, gradient = jax.jit(jax.value_and_grad(cost))(v)
    history = [(float(value), float(jnp.linalg.norm(gradient)), 2)]
    state = optax.tree_utils.tree_set(optimiser.init(v), value=value, grad=gradient)
    state = jax.tree.map(lambda a: jnp.asarray(a, a.dtype), state)  # no weak types: one compilation
    while len(history) <= iterations and history[-1][1] > tolerance * history[0][1]:
        v, state, value, norm, searches = iterate(v, state)
        history.append((float(value), float(norm), history[-1][2] + 2 * int(searches)))
    return Minimum(v, *map(np.array, zip(*history, strict=True)))


def gauss_newton(residual: Callable[[Vector], Vector], v: Vector, *, tolerance: float, iterations: int = 30) -> Minimum:
    """Minimise by Gauss-Newton: each iteration solves ``J^T J step = -J^T residual``, J the derivative of the residual.

    `jax.linearize` gives products with J, and `jax.linear_transpose` products with its transpose. Conjugate gradients
    need both. Their tolerance becomes smaller as the gradient does (Eisenstat and Walker 1996, doi:10.1137/0917003). A
    step that does not lower the cost is halved.

    Args:
        residual: of unit variance, any shape.
        v: the first guess.
        tolerance: the norm of the gradient to stop at, relative to the first.
        iterations: most iterations.
    """

    @jax.jit
    def linearise(v, before, enough):
        values, push = jax.linearize(residual, v)
        pull = jax.linear_transpose(push, v)
        (gradient,) = pull(values)
        norm = jnp.linalg.norm(gradient)
        inexact = jnp.maximum(jnp.minimum(0.3, (norm / before) ** 2) * norm, enough / 2)
        target = jnp.where(norm > enough, inexact, jnp.inf)  # at the end no step is needed
        step, products = conjugate_gradient(lambda d: pull(push(d))[0], -gradient, target)
        return jnp.sum(values**2) / 2, norm, step, products

    @jax.jit
    def cost(v):
        return jnp.sum(residual(v) ** 2) / 2

    norm = enough = jnp.zeros((), v.dtype)
    history, spent, lowered = [], 0, True
    while True:
        value, norm, step, products = linearise(v, norm, enough)
        spent += 2  # forward, and adjoint for the gradient
        history.append((float(value), float(norm), spent))
        enough = jnp.asarray(tolerance * history[0][1], v.dtype)
        if norm <= enough or len(history) > iterations or not lowered:
            return Minimum(v, *map(np.array, zip(*history, strict=True)))
        spent += 2 * int(products)
        for _ in range(10):
            spent += 1
            if lowered := bool(cost(v + step) < value):
                v = v + step
                break
            step = step / 2


def conjugate_gradient(
    product: Callable[[Vector], Vector], b: Vector, target: Float[Array, ""], limit: int = 20
) -> tuple[Vector, Array]:
    """Solve ``product(x) = b``, symmetric and positive definite, until ``|b - product(x)| <= target``.

    Returns:
        x, and the number of products, at most `limit` (Hestenes and Stiefel 1952, doi:10.6028/jres.049.044).
    """

    def unfinished(carry):
        _, _, _, square, count = carry
        return (square > target**2) & (count < limit)

    def improve(carry):
        x, remainder, direction, square, count = carry
        image = product(direction)
        length = square / jnp.vdot(direction, image)
        x, remainder = x + length * direction, remainder - length * image
        following = jnp.vdot(remainder, remainder)
        return x, remainder, remainder + following / square * direction, following, count + 1

    start = (jnp.zeros_like(b), b, b, jnp.vdot(b, b), jnp.asarray(0))
    x, _, _, _, count = jax.lax.while_loop(unfinished, improve, start)
    return x, count
