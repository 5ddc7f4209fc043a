"""Calls outside `jit`, and JAX's tools for debugging them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import fast_cases
from oracle import normal
from tolerances import ROLLOUT, assert_close

import warpjaxns as wns

GRID = wns.Grid((6, 10), (2.0, 3.4))
OLD = jax.__version_info__ < (0, 11)
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])


def make(backend, **options):
    return wns.NavierStokes2D(GRID, viscosity=0.01, dt=0.01, backend=backend, **options)


def gradient(solver, omega, steps):
    return jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=steps) ** 2))(omega)


CALLS = {
    "rollout": lambda solver, w: solver.rollout(w, steps=60),
    "trajectory": lambda solver, w: solver.rollout(w, steps=6, save_every=2),
    "forcing for every step": lambda solver, w: solver.rollout(w, steps=60, forcing=jnp.zeros((60, *GRID.shape))),
    "gradient": lambda solver, w: gradient(solver, w, 4),
    "gradient by checkpoints": lambda solver, w: gradient(solver, w, 60),
    "tangent": lambda solver, w: jax.jvp(lambda w: solver.rollout(w, steps=60), (w,), (w,)),
    "under vmap": lambda solver, w: jax.vmap(lambda w: solver.rollout(w, steps=6, save_every=3))(jnp.stack([w, w])),
    "operators": lambda solver, w: (solver.tendency(w), solver.velocity(w), solver.cfl(w)),
}


@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("name", fast_cases([*CALLS], 0, 3, 4, 5, 7))
def test_compiled_once(name, backend, compiled):
    if OLD and name == "gradient by checkpoints":
        pytest.skip("JAX 0.10 compiles the transpose of an eager scan each time")
    omega, another = normal(0, GRID.shape), normal(1, GRID.shape)
    assert compiled(lambda: CALLS[name](make(backend), omega))
    assert not compiled(lambda: CALLS[name](make(backend), another))


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_without_jit(backend):
    omega, solver = normal(0, GRID.shape), make(backend)
    expected = {name: call(solver, omega) for name, call in CALLS.items() if "gradient by" not in name}
    with jax.disable_jit():
        for name, result in expected.items():
            for a, b in zip(jax.tree.leaves(CALLS[name](solver, omega)), jax.tree.leaves(result), strict=True):
                assert_close(a, b, ROLLOUT)


def test_a_kernel_without_jit():
    vector = wp.array(dtype=wp.float32)

    @wp.kernel(module="unique")
    def square(x: vector, y: vector):
        i = wp.tid()
        y[i] = x[i] * x[i]

    x = jnp.arange(4, dtype=jnp.float32)
    with jax.disable_jit():
        np.testing.assert_array_equal(wns.primitive(square)(x), x * x)


@every_backend
def test_debug_nans(backend):
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match=r"nan.* advance"):
        make(backend).rollout(1e200 * normal(0, GRID.shape), steps=9)


@every_backend
def test_methods_of_one_solver_are_equal(backend, compiled):
    solver, omega = make(backend), normal(0, GRID.shape)
    assert solver.step == solver.step
    assert solver.step != solver.rollout
    assert solver.step != make(backend).step
    first = jax.jit(solver.step)
    first(omega)
    assert not compiled(lambda: jax.jit(solver.step)(omega))
