import jax
import jax.numpy as jnp
import pytest
from layouts import fast_cases

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D

GRID = Grid((16, 12), (2.0, 3.5))
FIELD = 16 * 12 * 8


def make(adjoint, backend):
    return NavierStokes2D(GRID, viscosity=1e-3, dt=1e-3, adjoint=adjoint, backend=backend, check_finite=False)


def temporaries(function):
    """Return the memory of a function of a state beside its argument and result, in fields. Nothing is run."""
    compiled = jax.jit(function).lower(jnp.zeros(GRID.shape)).compile()
    return compiled.memory_analysis().temp_size_in_bytes / FIELD


def reverse_mode_memory(adjoint, steps, backend, rollouts=1):
    """Return the temporaries of a gradient through `rollouts` rollouts of `steps` steps each."""
    solver = make(adjoint, backend)

    def loss(omega):
        for _ in range(rollouts):
            omega = solver.rollout(omega, steps=steps)
        return jnp.sum(omega**2)

    return temporaries(jax.grad(loss))


@pytest.mark.full
@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_checkpointed_grows_like_the_square_root(backend):
    fields = [reverse_mode_memory(Checkpointed(), steps, backend) for steps in (80, 1000, 10000, 40000)]
    # the states kept, and the stages of one segment or of 48 steps: T/k + 6k fields, 700 for T = 10,000 and k = 100
    assert fields[1] < fields[0] + 150
    assert 2 * 0.9 < fields[3] / fields[2] < 2 * 1.1
    assert 600 < fields[2] < 800
    if backend == "warp":
        assert fields[0] < 80 * 72 / 20  # a twentieth of what Warp's tape keeps of Warp's example


@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_the_last_segment_costs_no_memory(backend):
    """Stages of the last segment are freed before others are needed. Several rollouts each keep their own."""

    def fields(keep_last, rollouts):
        return reverse_mode_memory(Checkpointed(10, keep_last), 100, backend, rollouts)

    assert fields(True, 1) <= fields(False, 1) + 1
    assert fields(True, 4) > fields(False, 4) + 170


@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed()], ids=str)
def test_forward_mode_keeps_nothing(adjoint):
    solver = make(adjoint, "warp")
    assert temporaries(lambda w: jax.jvp(lambda w: solver.rollout(w, steps=400), (w,), (w,))) < 12


@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_direct_grows_with_the_steps(backend):
    few, more, many = (reverse_mode_memory(Direct(), steps, backend) for steps in (500, 1000, 2000))
    assert 5.99 < (more - few) / 500 < 6.2  # state and streamfunction of three stages a step
    assert more < 6 * 1000 + 130  # a few calls are written out
    assert many < 6 * 2000 + 9 * 130  # a scan: and the results of one call


@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_a_rollout_keeps_nothing(backend):
    solver = NavierStokes2D(GRID, viscosity=1e-3, dt=1e-3, backend=backend, adjoint=Direct())

    def size(steps):
        return temporaries(lambda w: solver.rollout(w, steps=steps))

    assert size(1024) < size(64) + 4
