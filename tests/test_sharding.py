import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from layouts import fast_cases
from oracle import normal
from tolerances import ROLLOUT, assert_close, assert_trees_close

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Scalar,
    Spectral,
    State,
    streamfunction,
)

GRID = Grid((6, 10), (2.0, 3.5))
MEMBERS = 8
SHARDED, REPLICATED = PartitionSpec("members"), PartitionSpec()
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])
mostly_warp = pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))  # XLA takes seconds to compile these
every_check = pytest.mark.parametrize("check_vma", [True, False], ids=["check_vma", "unchecked"])


def sharded(f, in_specs, out_specs, check_vma):
    mesh = Mesh(np.array(jax.devices()[:4]), ("members",))
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=check_vma)


def test_there_are_several_devices():
    assert len(jax.devices()) >= 4


def rollout(omega, viscosity, drag, dt, forcing, *, backend, adjoint=Checkpointed(), control=None):  # noqa: B008
    solver = NavierStokes2D(
        GRID,
        viscosity=viscosity,
        drag=drag,
        dt=dt,
        forcing=forcing,
        backend=backend,
        adjoint=adjoint,
        check_finite=False,
    )
    return solver.rollout(omega, steps=4, forcing=control)


def operands():
    scalars = [jnp.asarray(x) for x in (0.01, 0.2, 0.05)]
    return (normal(0, (MEMBERS, *GRID.shape)), *scalars, normal(1, GRID.shape))


@pytest.mark.covering(1)
@every_backend
@every_check
def test_a_member_that_blows_up(backend, check_vma):
    """All devices raise, if JAX knows what varies over them. A device that did not would wait for the others."""
    solver = NavierStokes2D(GRID, viscosity=0.01, dt=0.1, backend=backend)
    f = jax.jit(sharded(lambda w: solver.rollout(w, steps=3), SHARDED, SHARDED, check_vma))
    omega = normal(0, (MEMBERS, *GRID.shape))
    assert_close(f(omega), solver.rollout(omega, steps=3), ROLLOUT)
    if not check_vma:
        return
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(f(w) ** 2)))
    assert_close(gradient(omega), jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=3) ** 2))(omega), ROLLOUT)
    with pytest.raises(Exception, match="not finite"):
        jax.block_until_ready(f(omega.at[5, 0, 0].set(jnp.nan)))


@functools.cache
def value_gradient_and_tangent(f):
    """Return value, gradient and tangent with respect to the operands."""
    x = operands()
    weights = normal(2, x[0].shape)

    def loss(*x):
        return jnp.sum(weights * jnp.sin(f(*x)))

    value = jax.jit(f)(*x)
    return value, jax.jit(jax.grad(loss, tuple(range(5))))(*x), jax.jit(lambda: jax.jvp(f, x, x)[1])()


ONE_DEVICE = {  # what is computed once for both ways to check
    (backend, adjoint): functools.partial(rollout, backend=backend, adjoint=adjoint)
    for backend in ("warp", "xla")
    for adjoint in (Direct(), Checkpointed(2), Checkpointed())
}


@pytest.mark.covering(1)
@mostly_warp
@every_check
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(2)], ids=["direct", "checkpointed"])
def test_rollout(backend, check_vma, adjoint):
    x, f = operands(), ONE_DEVICE[backend, adjoint]
    g = sharded(f, (SHARDED, *[REPLICATED] * 4), SHARDED, check_vma)
    assert_trees_close(value_gradient_and_tangent(g), value_gradient_and_tangent(f), ROLLOUT)
    given = jax.device_put(x[0], NamedSharding(Mesh(np.array(jax.devices()[:4]), ("members",)), SHARDED))
    assert len(jax.jit(g)(given, *x[1:]).sharding.device_set) == 4


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@every_check
def test_gradients_inside(backend, check_vma):
    # the gradient of a replicated parameter is summed by hand where JAX does not keep track
    omega, parameters = operands()[0], operands()[1:]

    def gradient(omega, parameters):
        def loss(parameters):
            return jnp.sum(jnp.sin(rollout(omega, *parameters, backend=backend)))

        inside = jax.grad(loss)(parameters)
        return inside if check_vma else jax.lax.psum(inside, "members")

    actual = jax.jit(sharded(gradient, (SHARDED, REPLICATED), REPLICATED, check_vma))(omega, parameters)
    expected = jax.jit(jax.grad(lambda parameters: jnp.sum(jnp.sin(rollout(omega, *parameters, backend=backend)))))(
        parameters
    )
    assert_trees_close(actual, expected, ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["xla", "warp"], 0))
@pytest.mark.parametrize("discretisation", fast_cases([FiniteDifference(), Spectral("rk3")], 0))
def test_two_leading_axes(discretisation, backend):
    how = {"discretisation": discretisation, "backend": backend, "check_finite": False}
    solver, omega = NavierStokes2D(GRID, viscosity=0.01, dt=0.02, **how), normal(0, (MEMBERS, 3, *GRID.shape))

    def gradient(w):
        return jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=1) ** 2))(w)

    for f in (gradient, jax.vmap(jax.vmap(gradient))):
        assert_close(jax.jit(sharded(f, SHARDED, SHARDED, True))(omega), jax.jit(f)(omega), ROLLOUT)


@pytest.mark.parametrize("backend", fast_cases(["xla", "warp"], 0))
@pytest.mark.parametrize("discretisation", fast_cases([FiniteDifference(), Spectral("rk3")], 0))
def test_gradients_of_scalars(discretisation, backend):
    def loss(state, viscosity, diffusivity):
        scalar = Scalar(diffusivity=diffusivity, mean_gradient=(1.7, -3.0))
        how = {"discretisation": discretisation, "backend": backend, "check_finite": False}
        solver = NavierStokes2D(GRID, viscosity=viscosity, dt=0.02, scalars=(scalar,), **how)
        return sum(jnp.sum(jnp.sin(field), axis=(-2, -1)) for field in jax.tree.leaves(solver.rollout(state, steps=1)))

    def gradient(f):
        return jax.jit(jax.grad(lambda *x: jnp.sum(f(*x)), (0, 1, 2)))(*x)

    x = (State(normal(0, (4, *GRID.shape)), (normal(1, (4, *GRID.shape)),)), jnp.asarray(0.01), jnp.asarray(0.02))
    f = sharded(loss, (SHARDED, REPLICATED, REPLICATED), SHARDED, True)
    assert_trees_close(gradient(f), gradient(loss), ROLLOUT)


@functools.cache
def second_derivative(f):
    """Return the second derivative along the operands."""
    x = operands()
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(f(*x))))
    return jax.jit(lambda: jax.jvp(gradient, (x,), (x,))[1])()


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@every_check
def test_second_derivatives(backend, check_vma):
    f = ONE_DEVICE[backend, Checkpointed()]
    g = sharded(f, (SHARDED, *[REPLICATED] * 4), SHARDED, check_vma)
    assert_trees_close(second_derivative(g), second_derivative(f), ROLLOUT)


@pytest.mark.full
@pytest.mark.covering(1)
@mostly_warp
@every_check
def test_only_parameters_vary(backend, check_vma):
    # one state for all, one viscosity and one control for each
    omega, *_, forcing = operands()
    viscosity, control = jnp.linspace(0.01, 0.04, 4), normal(3, (4, 4, 1, *GRID.shape))

    def each(omega, viscosity, control):
        f = functools.partial(rollout, drag=0.2, dt=0.05, forcing=forcing, backend=backend)
        return jax.vmap(lambda nu, c: f(omega, viscosity=nu, control=c))(viscosity, control)

    g = sharded(each, (REPLICATED, SHARDED, SHARDED), SHARDED, check_vma)
    x = omega[:1], viscosity, control

    def both(f):
        gradient = jax.grad(lambda *x: jnp.sum(jnp.sin(f(*x))), (0, 1, 2))
        return jax.jit(lambda *x: (f(*x), gradient(*x)))(*x)

    assert_trees_close(both(g), both(each), ROLLOUT)


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@every_check
def test_gradients_of_fourier_modes(backend, check_vma):
    solver = NavierStokes2D(GRID, viscosity=0.01, dt=0.05, discretisation=Spectral(), backend=backend)

    def gradient(f):
        return jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(f(w)))))

    def f(omega):
        return solver.rollout(omega, steps=3)

    omega = normal(0, (MEMBERS, *GRID.shape))
    expected = gradient(f)(omega)
    assert_close(gradient(sharded(f, SHARDED, SHARDED, check_vma))(omega), expected, ROLLOUT)
    # derivatives inside are those of one device, whose cotangents vary
    assert_close(jax.jit(sharded(gradient(f), SHARDED, SHARDED, check_vma))(omega), expected, ROLLOUT)


@every_backend
def test_operators(backend):
    omega = operands()[0]
    f = functools.partial(streamfunction, GRID, backend=backend)
    assert_close(jax.jit(sharded(f, SHARDED, SHARDED, True))(omega), f(omega))
