"""Memory does not grow: neither Warp's callables and kernels nor the process."""

import gc
import resource
import sys

import jax
import jax.numpy as jnp
import pytest
from oracle import normal
from warp._src import context
from warp._src.jax import ffi as warp_ffi

from warpjaxns import Grid, NavierStokes2D, _ffi

GRID = Grid((4, 6), (2.0, 3.5))


def kept():
    return {
        "callables": len(warp_ffi._FFI_CALLABLE_REGISTRY),
        "kernels": len(warp_ffi._FFI_KERNEL_REGISTRY),
        "callbacks": len(warp_ffi._FFI_CALLBACK_REGISTRY),
        "descriptors": sum(len(c.call_descriptors) for c in warp_ffi._FFI_CALLABLE_REGISTRY.values()),
        "modules": len(context.user_modules),
        **{name: n for name, n in _ffi.statistics().items() if name != "launches"},
    }


def megabytes():
    """Return resident memory now, or its maximum if the system does not tell."""
    gc.collect()
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except FileNotFoundError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def programs(steps=2):
    """Return new functions, traced anew, of a rollout, its gradient and its tangent under vmap."""
    solver = NavierStokes2D(GRID, viscosity=1e-2, dt=1e-2, backend="warp", check_finite=False)

    def loss(w, solver):
        return jnp.sum(solver.rollout(w, steps=steps) ** 2)

    def derivatives(w, solver):
        return jax.grad(loss, (0, 1))(w, solver), jax.jvp(lambda w: loss(w, solver), (w,), (w,))

    mapped = jax.vmap(lambda w: solver.rollout(w, steps=steps))
    return lambda w: (derivatives(w, solver), mapped(jnp.stack([w, w])))


@pytest.mark.full
def test_retracing():
    omega = normal(0, GRID.shape)
    jax.block_until_ready(jax.jit(programs())(omega))
    for _ in range(10):
        jax.jit(programs()).lower(omega)
    before, size = kept(), megabytes()
    for _ in range(70):
        jax.jit(programs()).lower(omega)
    assert kept() == before
    assert megabytes() < size + 20


@pytest.mark.full
def test_calls():
    omega = normal(0, GRID.shape)
    solver = NavierStokes2D(GRID, viscosity=1e-2, dt=1e-2, backend="warp", check_finite=False)
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=1) ** 2)))
    step = jax.jit(lambda w: solver.step(w))
    for _ in range(200):
        omega = omega - 1e-6 * gradient(step(omega))
    jax.block_until_ready(omega)
    before, size, launches = kept(), megabytes(), _ffi.statistics()["launches"]
    for _ in range(1000):  # two calls of Warp each
        omega = omega - 1e-6 * gradient(step(omega))
    jax.block_until_ready(omega)
    assert _ffi.statistics()["launches"] >= launches + 2000
    assert kept() == before
    assert megabytes() < size + 4
    assert jnp.all(jnp.isfinite(omega))


@pytest.mark.full
def test_eager_calls():
    omega = normal(0, GRID.shape)
    solver = NavierStokes2D(GRID, viscosity=1e-2, dt=1e-2, backend="warp", check_finite=False)

    def loop(n):
        for _ in range(n):
            solver.streamfunction(omega)
            solver.rollout(omega, steps=1)
            jax.vjp(lambda w: solver.rollout(w, steps=1), omega)[1](omega)

    loop(3)
    before, size = kept(), megabytes()
    loop(50)
    assert kept() == before
    assert megabytes() < size + 20
