"""Batches of no members, and rollouts of no steps: values and derivatives have the usual shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Spectral,
    jacobian,
    laplacian,
    streamfunction,
)

GRID = Grid((6, 10))
EMPTY = jnp.zeros((0, *GRID.shape))


@pytest.fixture(params=["warp", "xla"])
def backend(request):
    return request.param


@pytest.fixture(params=[FiniteDifference(), Spectral()], ids=["finite", "spectral"])
def solver(request, backend):
    return NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend=backend, discretisation=request.param)


@pytest.mark.covering(2, 2)
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(), Checkpointed(2)], ids=str)
@pytest.mark.parametrize("lead", [(), (2,), (0,)], ids=str)
@pytest.mark.parametrize("save_every", [None, 1, 3])
def test_no_steps(backend, adjoint, lead, save_every):
    solver = NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend=backend, adjoint=adjoint)
    omega, control = jnp.ones((*lead, *GRID.shape)), jnp.zeros((0, *lead, *GRID.shape))

    def rollout(omega, control):
        return solver.rollout(omega, steps=0, save_every=save_every, forcing=control)

    out = rollout(omega, control)
    assert out.shape == (omega.shape if save_every is None else (0, *omega.shape))
    _, tangent = jax.jvp(rollout, (omega, control), (omega, control))
    assert tangent.shape == out.shape
    gradient, by_control = jax.grad(lambda *x: jnp.sum(rollout(*x)), (0, 1))(omega, control)
    np.testing.assert_array_equal(gradient, np.full(omega.shape, float(save_every is None)))
    assert by_control.shape == control.shape


@pytest.mark.covering(1)
@pytest.mark.parametrize("save_every", [None, 1])
def test_no_members_in_a_vmap(solver, save_every):
    """Map over states with no members, with parameters that all share."""

    def loss(omega):
        return jnp.sum(solver.rollout(omega, steps=2, save_every=save_every) ** 2)

    omegas = jnp.stack([EMPTY] * 3)
    shape = omegas.shape if save_every is None else (3, 2, *EMPTY.shape)
    assert jax.jit(jax.vmap(lambda w: solver.rollout(w, steps=2, save_every=save_every)))(omegas).shape == shape
    assert jax.jit(jax.vmap(jax.grad(loss)))(omegas).shape == omegas.shape


def test_operators_of_no_members(solver):
    how = {"backend": solver.backend, "discretisation": solver.discretisation}
    field = jnp.ones(GRID.shape)

    @jax.jit
    def run(empty):
        alike = [f(GRID, empty, **how) for f in (streamfunction, laplacian)]
        alike += [jacobian(GRID, empty, field[None], **how), solver.tendency(empty)]
        mapped = jax.vmap(lambda a: jacobian(GRID, a, field, **how))(jnp.stack([empty] * 2))
        return alike, mapped, solver.cfl(empty)

    alike, mapped, cfl = run(EMPTY)
    assert [out.shape for out in alike] == [EMPTY.shape] * 4
    assert mapped.shape == (2, *EMPTY.shape)
    assert cfl.shape == (0,)
