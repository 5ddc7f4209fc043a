"""float64 with x64 on only while tracing: rules and lowering use the types of their operands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import fast_cases
from oracle import normal
from tolerances import ROLLOUT, assert_trees_close

import warpjaxns as wns

GRID = wns.Grid((6, 10), (2.0, 3.5))
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])


def everything(backend):
    """Return a function of a field, which works in float64 for any input."""
    solver = wns.NavierStokes2D(GRID, viscosity=0.01, dt=0.05, backend=backend, check_finite=False)

    def f(omega):
        with jax.enable_x64(True):
            omega = omega.astype("float64")
            out = solver.rollout(omega, steps=2)
            u, _ = solver.velocity(omega)
            return out + solver.tendency(omega) + wns.jacobian(GRID, omega, out, backend=backend) + u

    return f


def derivatives(f):
    """Return the value, and derivatives of first and second order, for a float32 field."""

    def loss(omega):
        return jnp.sum(f(omega).astype("float32") ** 2)

    def run(omega):
        return f(omega), jax.jvp(f, (omega,), (omega,))[1], jax.jvp(jax.grad(loss), (omega,), (omega,))

    return run


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_float64_inside_a_program_of_float32(backend):
    omega = normal(0, (2, *GRID.shape), "float32")
    f = everything(backend)
    expected = jax.jit(derivatives(f))(omega), jax.jit(jax.vmap(f))(omega)
    with jax.enable_x64(False):
        actual = jax.jit(derivatives(f))(omega), jax.jit(jax.vmap(f))(omega)
    assert actual[1].dtype == np.float64
    assert_trees_close(actual, expected, ROLLOUT)


@every_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lowered_under_another_setting_than_traced(backend, dtype):
    solver = wns.NavierStokes2D(GRID, viscosity=0.01, dt=0.05, backend=backend, check_finite=False)
    omega, double = normal(0, GRID.shape, dtype), dtype == "float64"
    with jax.enable_x64(double):
        traced = jax.jit(lambda w: solver.rollout(w, steps=2)).trace(omega)
    with jax.enable_x64(not double):
        run = traced.lower().compile()
    with jax.enable_x64(double):
        assert_trees_close(run(omega), solver.rollout(omega, steps=2), ROLLOUT)


ROW = wp.array(dtype=wp.float64)


@wp.kernel(module="unique")
def square(x: ROW, y: ROW):
    i = wp.tid()
    y[i] = x[i] * x[i]


def test_a_users_kernel_in_float64_inside_a_program_of_float32():
    f, x = wns.primitive(square), np.arange(6, dtype="float32").reshape(2, 3)

    def wide(x):
        with jax.enable_x64(True):
            return f(x.astype("float64"))

    gradient = jax.grad(lambda x: jnp.sum(wide(x).astype("float32")))
    with jax.enable_x64(False):
        assert jax.jit(wide)(x[0]).dtype == np.float64
        np.testing.assert_array_equal(jax.jit(jax.vmap(wide))(x), x**2)
        np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x), 2 * x)
