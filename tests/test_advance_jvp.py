"""State and tangent together, as one primitive or, in reverse mode, as two."""

import jax
import jax.numpy as jnp
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import DOT, relative_error

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D

GRID = Grid((6, 10), (2.0, 3.5))
STEPS = 50  # two segments of Checkpointed()
BACKENDS = pytest.mark.parametrize("backend", ["warp", "xla"])
ADJOINTS = pytest.mark.parametrize("adjoint", [Direct(), Checkpointed()], ids=str)


def make(backend="xla", adjoint=None, viscosity=0.01):
    options = {"viscosity": viscosity, "dt": 0.01, "check_finite": False, "backend": backend}
    return NavierStokes2D(GRID, adjoint=adjoint or Checkpointed(), **options)


def primitives(function, *arguments):
    """Return the names of the fused primitives in the jaxpr of a function."""
    text = str(jax.make_jaxpr(function)(*arguments))
    return {name for name in ("advance", "advance_jvp", "tangent", "adjoint") if f"{name}[" in text}


@ADJOINTS
def test_forward_mode_computes_the_state_once(adjoint):
    solver, omega = make(adjoint=adjoint), normal(0, GRID.shape)

    def push(w, dw):
        return jax.jvp(lambda w: solver.rollout(w, steps=STEPS), (w,), (dw,))

    assert primitives(push, omega, omega) == {"advance_jvp"}
    out, dout = jax.jit(push)(omega, normal(1, GRID.shape))
    assert relative_error(out, solver.rollout(omega, steps=STEPS)) < 1e-13
    finite = [solver.rollout(omega + h * normal(1, GRID.shape), steps=STEPS) for h in (1e-6, -1e-6)]
    assert relative_error(dout, (finite[0] - finite[1]) / 2e-6) < 1e-7


@pytest.mark.covering(1)
@ADJOINTS
@pytest.mark.parametrize("around", [lambda f: f, jax.jit, jax.checkpoint], ids=["plain", "jit", "checkpoint"])
def test_reverse_mode_falls_apart(adjoint, around):
    solver, omega = make(adjoint=adjoint), normal(0, GRID.shape)
    grad = jax.grad(around(lambda w: jnp.sum(solver.rollout(w, steps=STEPS) ** 2)))
    assert primitives(grad, omega) == {"advance", "adjoint"}


@pytest.mark.full
@pytest.mark.covering(1, 2)
@BACKENDS
@ADJOINTS
@pytest.mark.parametrize("policy", fast_cases([None, "everything_saveable", "nothing_saveable"], 1, 2))
def test_gradients_in_a_checkpoint(backend, adjoint, policy):
    omega = normal(0, GRID.shape)

    def loss(w, nu):
        step = make(backend, adjoint, nu)
        return jnp.sum(jnp.sin(step.rollout(jnp.cos(step.rollout(w, steps=3)), steps=2)))

    policy = policy and getattr(jax.checkpoint_policies, policy)
    plain = jax.jit(jax.grad(loss, (0, 1)))(omega, 0.01)
    again = jax.jit(jax.grad(jax.checkpoint(loss, policy=policy), (0, 1)))(omega, 0.01)
    for a, b in zip(plain, again, strict=True):
        assert relative_error(a, b) < 1e-12


@pytest.mark.full
@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_linearised_once_and_used_twice(backend):
    solver, omega = make(backend), normal(0, GRID.shape)
    out, linear = jax.linearize(lambda w: solver.rollout(w, steps=3), omega)
    assert relative_error(out, solver.rollout(omega, steps=3)) < 1e-13
    transpose = jax.linear_transpose(linear, omega)
    v, c = normal(1, GRID.shape), normal(2, GRID.shape)
    pushed, (pulled,) = linear(v), transpose(c)
    assert abs(jnp.sum(pushed * c) - jnp.sum(v * pulled)) < DOT * jnp.linalg.norm(pushed) * jnp.linalg.norm(c)


@BACKENDS
def test_many_tangents_at_one_state(backend):
    solver, omega, tangents = make(backend), normal(0, GRID.shape), normal(1, (3, *GRID.shape))

    def push(dw):
        return jax.jvp(solver.step, (omega,), (dw,))

    out, douts = jax.jit(jax.vmap(push, out_axes=(None, 0)))(tangents)
    assert relative_error(out, solver.step(omega)) < 1e-13
    for dw, dout in zip(tangents, douts, strict=True):
        assert relative_error(dout, push(dw)[1]) < 1e-12


@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_derivatives_of_a_derivative(backend):
    """Reverse over forward and forward over forward, against forward over reverse."""
    solver, omega, v = make(backend), normal(0, GRID.shape), normal(1, GRID.shape)

    def loss(w):
        return jnp.sum(jnp.sin(solver.rollout(w, steps=2)))

    def slope(w):
        return jax.jvp(loss, (w,), (v,))[1]

    product = jax.jit(lambda w: jax.jvp(jax.grad(loss), (w,), (v,))[1])(omega)
    assert relative_error(jax.jit(jax.grad(slope))(omega), product) < 1e-11
    curvature = jax.jit(lambda w: jax.jvp(slope, (w,), (v,))[1])(omega)
    assert abs(curvature - jnp.sum(product * v)) < 1e-11 * jnp.linalg.norm(product) * jnp.linalg.norm(v)
