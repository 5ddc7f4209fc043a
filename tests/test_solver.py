import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracle
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import ROLLOUT, assert_close, assert_trees_close

from warpjaxns import Checkpointed, Direct, FiniteDifference, Grid, NavierStokes2D
from warpjaxns._finite_difference import reference

GRID = Grid((6, 10), (2.0, 3.5))
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])


def make(backend="xla", **changes):
    options = {"viscosity": 0.01, "dt": 0.05, "drag": 0.2, "forcing": normal(9, GRID.shape)} | changes
    return NavierStokes2D(GRID, backend=backend, **options)


def standard(omega, steps, viscosity=0.01, dt=0.05, drag=0.2, forcing=None, scheme="arakawa"):
    """Return the oracle's rollout of a batch."""
    forcing = normal(9, GRID.shape)[None, None] if forcing is None else forcing
    column = [jnp.atleast_1d(jnp.asarray(x, omega.dtype)) for x in (viscosity, drag, dt)]
    return oracle.advance(omega, *column, forcing, grid=GRID, scheme=scheme, steps=steps)


@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_rollout_and_saved_states(backend, scheme):
    how = {"backend": backend, "discretisation": FiniteDifference(scheme)}
    solver, omega = make(**how, adjoint=Checkpointed(4)), normal(0, (2, *GRID.shape))
    control = 0.3 * normal(1, (12, *GRID.shape))
    total = control[:, None] + solver.forcing[None, None]
    expected = {k: standard(omega, k, forcing=total, scheme=scheme) for k in (0, 1, 3, 6, 9, 12)}

    @jax.jit
    def run(omega):
        last = solver.rollout(omega, steps=12, forcing=control)  # three calls
        rest = solver.rollout(omega, steps=9, forcing=control[:9])  # two, and one step more
        saved = solver.rollout(omega, steps=12, save_every=3, forcing=control)
        return last, rest, saved, solver.rollout(omega, steps=12, save_every=6, forcing=control)

    last, rest, saved, pairs = run(omega)
    assert_close(last, expected[12], ROLLOUT)
    assert_close(rest, expected[9], ROLLOUT)
    assert_close(saved, jnp.stack([expected[k] for k in (3, 6, 9, 12)]), ROLLOUT)
    assert_close(pairs, jnp.stack([expected[6], expected[12]]), ROLLOUT)
    assert (solver.rollout(omega, steps=0) == omega).all()
    assert solver.rollout(omega, steps=0, save_every=2).shape == (0, *omega.shape)
    assert_close(make(**how).step(omega), standard(omega, 1, scheme=scheme), ROLLOUT)


@pytest.mark.full
@every_backend
def test_leading_axes(backend):
    viscosity, forcing = 0.01 * jnp.arange(1.0, 4), normal(2, (2, 1, *GRID.shape))
    control = normal(3, (4, 1, 3, *GRID.shape))
    solver = make(backend, viscosity=viscosity, dt=jnp.asarray(0.05), forcing=forcing)
    omega = normal(0, (2, 3, *GRID.shape))
    actual = jax.jit(lambda w: solver.rollout(w, steps=4, save_every=2, forcing=control))(omega)
    assert actual.shape == (2, 2, 3, *GRID.shape)
    for i in range(2):
        for j in range(3):
            force = forcing[i][None] + control[:, :, j]
            expected = standard(omega[i, j][None], 4, viscosity=viscosity[j], forcing=force)
            assert_close(actual[-1, i, j], expected[0], ROLLOUT)
    assert solver.cfl(omega).shape == (2, 3)
    rate = solver.tendency(omega)
    solo = make(backend, viscosity=viscosity[1], forcing=forcing[0, 0])
    assert_close(rate[0, 1], solo.tendency(omega[0, 1]))


@pytest.mark.full
def test_a_control_for_the_last_of_two_leading_axes():
    # with as many members as steps, the steps pass for members without an error
    control, omega = normal(3, (4, 3, *GRID.shape)), normal(0, (4, 3, *GRID.shape))
    whole = jnp.broadcast_to(control[:, None], (4, 4, 3, *GRID.shape))
    actual, expected = (make().rollout(omega, steps=4, forcing=f) for f in (control, whole))
    assert_close(actual, expected, ROLLOUT)


def test_a_number_of_any_type_becomes_a_differentiable_leaf():
    for one in (1, 1.0, np.float32(1), np.int64(1), jnp.asarray(1.0)):
        assert jnp.issubdtype(make(drag=one).drag.dtype, jnp.floating)


@every_backend
def test_what_follows_from_a_state(backend):
    solver, omega = make(backend), normal(0, (2, *GRID.shape))
    psi = reference.poisson(GRID, omega)
    rate = oracle.tendency(GRID, "arakawa", omega, jnp.array([0.01]), jnp.array([0.2]), solver.forcing)
    assert_close(solver.tendency(omega), rate)
    assert_close(solver.streamfunction(omega), psi)
    dy, dx = GRID.spacing
    u = (jnp.roll(psi, -1, 1) - jnp.roll(psi, 1, 1)) / (2 * dy)
    v = -(jnp.roll(psi, -1, 2) - jnp.roll(psi, 1, 2)) / (2 * dx)
    assert_trees_close(solver.velocity(omega), (u, v))
    assert_close(solver.cfl(omega), 0.05 * jnp.max(jnp.abs(u) / dx + jnp.abs(v) / dy, axis=(1, 2)))


ADJOINTS = [Direct(), Checkpointed(), *map(Checkpointed, (1, 7, 1000)), Checkpointed(7, keep_last=False)]


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_all_adjoints_give_the_same_gradient(backend):
    omega, control = normal(0, (2, *GRID.shape)), 0.1 * normal(1, (20, *GRID.shape))

    def gradient(adjoint, save_every=None):
        solver = make(backend, adjoint=adjoint)

        def loss(omega, solver, control):
            out = solver.rollout(omega, steps=20, save_every=save_every, forcing=control)
            return jnp.sum(jnp.sin(out))

        grads = jax.jit(jax.grad(loss, (0, 1, 2)))(omega, solver, control)
        return jax.tree.leaves(grads)

    def oracle_loss(omega, viscosity, dt, drag, forcing, control):
        column = [x[None] for x in (viscosity, drag, dt)]
        total = control[:, None] + forcing[None, None]
        out = oracle.advance(omega, *column, total, grid=GRID, scheme="arakawa", steps=20)
        return jnp.sum(jnp.sin(out))

    solver = make()
    given = omega, solver.viscosity, solver.dt, solver.drag, solver.forcing, control
    expected = jax.jit(jax.grad(oracle_loss, tuple(range(6))))(*given)
    for adjoint in ADJOINTS:
        assert_trees_close(gradient(adjoint), list(expected), ROLLOUT)
    saved = [gradient(adjoint, save_every=5) for adjoint in (Direct(), Checkpointed(2))]
    assert_trees_close(*saved, ROLLOUT)


@pytest.mark.full
@every_backend
def test_vmap_over_parameters(backend):
    omega = normal(0, GRID.shape)
    viscosities = jnp.array([0.01, 0.02, 0.05])

    def loss(viscosity):
        return jnp.sum(jnp.sin(make(backend, viscosity=viscosity).rollout(omega, steps=3)))

    values, grads = jax.jit(jax.vmap(jax.value_and_grad(loss)))(viscosities)
    alone = jax.jit(jax.value_and_grad(loss))
    for i, viscosity in enumerate(viscosities):
        assert_trees_close((values[i], grads[i]), alone(viscosity), ROLLOUT)
    assert abs(grads[0] - grads[2]) > 1e-3
    solvers = eqx.filter_vmap(lambda nu: make(backend, viscosity=nu))(viscosities)
    in_axes = jax.tree.map(lambda leaf: 0, solvers)
    states = jax.vmap(lambda s, w: s.step(w), (in_axes, None))(solvers, omega)
    assert_close(states[1], make(backend, viscosity=0.02).step(omega))


class Closure(eqx.Module):
    """A model with a solver inside."""

    solver: NavierStokes2D
    gain: jax.Array

    def __call__(self, omega):
        return self.gain * self.solver.rollout(omega, steps=2)


@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_equinox(backend):
    omega, solver = normal(0, GRID.shape), make(backend)
    expected = solver.step(omega)
    assert len(jax.tree.leaves(solver)) == 4
    assert_close(eqx.filter_jit(solver.step)(omega), expected)
    assert_close(eqx.filter_jit(lambda s, w: s.step(w))(solver, omega), expected)
    assert_close(jax.jit(lambda s, w: s.step(w))(solver, omega), expected)
    arrays, static = eqx.partition(solver, eqx.is_inexact_array)
    assert_close(jax.jit(lambda a, w: eqx.combine(a, static).step(w))(arrays, omega), expected)
    changed = eqx.tree_at(lambda s: s.viscosity, solver, jnp.asarray(0.03))
    assert_close(changed.step(omega), make(backend, viscosity=0.03).step(omega))
    assert jnp.linalg.norm(changed.step(omega) - expected) > 1e-4

    model = Closure(solver, jnp.asarray(0.5))
    grads = eqx.filter_jit(eqx.filter_grad(lambda m: jnp.sum(m(omega) ** 2)))(model)
    assert jax.tree.structure(grads) == jax.tree.structure(model)
    assert_close(grads.gain, 4 * jnp.sum(model(omega) ** 2), ROLLOUT)


@pytest.mark.full
def test_optax_finds_a_viscosity():
    omega, steps = normal(0, (2, *GRID.shape)), 4
    target = jax.jit(lambda w: make(viscosity=0.03).rollout(w, steps=steps))(omega)
    solver = make("warp", viscosity=0.01, check_finite=False)
    trained = jax.tree.map(lambda _: False, solver)
    trained = eqx.tree_at(lambda s: s.viscosity, trained, True)
    part, rest = eqx.partition(solver, trained)
    optimiser = optax.adam(2e-3)

    @eqx.filter_jit
    def update(part, state):
        def loss(part):
            return jnp.mean((eqx.combine(part, rest).rollout(omega, steps=steps) - target) ** 2)

        value, grads = eqx.filter_value_and_grad(loss)(part)
        updates, state = optimiser.update(grads, state, part)
        return eqx.apply_updates(part, updates), state, value

    state, losses = optimiser.init(part), []
    with jax.numpy_dtype_promotion("standard"):  # which Optax relies on
        for _ in range(60):
            part, state, value = update(part, state)
            losses.append(float(value))
    assert min(losses) < 1e-2 * losses[0]
    assert abs(float(part.viscosity) - 0.03) < 2e-3


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_parameters_are_cast_to_the_type_of_the_state(backend):
    solver = make(backend)
    assert solver.viscosity.dtype == solver.forcing.dtype == jnp.float64
    omega = normal(0, GRID.shape, "float32")
    out, grad = jax.jit(jax.value_and_grad(lambda s: jnp.sum(jnp.sin(s.rollout(omega, steps=4)))))(solver)
    assert out.dtype == jnp.float32
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grad)} == {"float64"}
    last = solver.rollout(omega, steps=4)
    assert last.dtype == jnp.float32
    assert_close(last, solver.rollout(omega.astype("float64"), steps=4), ROLLOUT)


def test_array_parameters_under_jit():
    dt = jnp.asarray(0.05)
    assert jnp.all(jnp.isfinite(jax.jit(lambda w: make(dt=dt).step(w))(normal(0, GRID.shape))))


@every_backend
def test_a_rollout_that_blows_up_says_so(backend):
    omega = 1e3 * normal(0, GRID.shape)

    def rollout(check):
        solver = make(backend, check_finite=check)
        return jax.jit(lambda w: solver.rollout(w, steps=40))

    run = {check: rollout(check) for check in (True, False)}
    assert not jnp.all(jnp.isfinite(run[False](omega)))
    assert jnp.all(jnp.isfinite(run[True](1e-3 * omega)))
    with pytest.raises(Exception, match=r"not finite.*cfl.*check_finite=False"):
        jax.block_until_ready(run[True](omega))
    with pytest.raises(Exception, match="not finite"):
        jax.block_until_ready(make(backend).step(omega.at[0, 0].set(jnp.nan)))


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(), Checkpointed(2)], ids=str)
def test_no_members_and_no_steps(backend, adjoint):
    solver, omega = make(backend, adjoint=adjoint), normal(0, (3, *GRID.shape))
    control = jnp.zeros((4, 3, *GRID.shape))
    for members in (3, 0):
        w, f = omega[:members], control[:, :members]
        assert solver.rollout(w, steps=4, forcing=f).shape == w.shape
        assert solver.rollout(w, steps=4, save_every=2).shape == (2, *w.shape)
        assert jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=4)))(w).shape == w.shape
        for forcing in (None, f[:0], f[:0, 0] if members else f[:0]):
            np.testing.assert_array_equal(solver.rollout(w, steps=0, forcing=forcing), w)
            assert solver.rollout(w, steps=0, save_every=2, forcing=forcing).shape == (0, *w.shape)


@pytest.mark.parametrize("every", [None, 7])
def test_call_length(every):
    for steps in (1, 5, 80, 97, 100, 1000, 10000):
        length = Checkpointed(every).call_length(steps, steps)
        assert 1 <= length <= steps
        assert every is None or length == min(every, steps)
        if every is None:  # within a factor of two of the square root, or of the shortest call
            near = max(24, steps**0.5)
            assert min(steps, near / 2) <= length <= 2 * near


@pytest.mark.parametrize(
    ("adjoint", "steps", "state_bytes", "kept"),
    [
        (Checkpointed(), 24, 2**20, 0),  # it may be the body of a loop
        (Checkpointed(), 50, 2**20, 25),  # never all
        (Checkpointed(), 80, 2**20, 40),
        (Checkpointed(), 100, 2**20, 50),
        (Checkpointed(), 100, 2**24, 50),
        (Checkpointed(), 100, 2**26, 25),  # as little as there can be: 50 would be 19 GiB
        (Checkpointed(), 100, 2**32, 25),
        (Checkpointed(), 10000, 2**20, 100),
        (Checkpointed(10), 100, 2**20, 10),
        (Checkpointed(10, keep_last=False), 100, 2**20, 0),
        (Checkpointed(keep_last=False), 100, 2**20, 0),
        (Direct(), 100, 2**32, 100),
    ],
    ids=str,
)
def test_how_many_steps_keep_their_stages(adjoint, steps, state_bytes, kept):
    length = adjoint.call_length(steps, steps)
    assert length * adjoint.direct(-(-steps // length), length, 6 * state_bytes) == kept


def test_segments_divide_the_steps():
    assert 10000 % Checkpointed().call_length(10000, 10000) == 0
    assert 100 % Checkpointed().call_length(1000, 100) == 0


def test_bound_methods_go_through_jit():
    solver, omega = make(), normal(0, GRID.shape)
    assert_close(jax.jit(solver.step)(omega), solver.step(omega))
    rollout = jax.jit(solver.rollout, static_argnames=("steps", "save_every"))
    assert_close(rollout(omega, steps=4, save_every=2), solver.rollout(omega, steps=4, save_every=2))
    assert_close(jax.jit(solver.velocity)(omega)[0], solver.velocity(omega)[0])


def test_bound_methods_are_pytrees():
    solver, omega = make(), normal(0, GRID.shape)
    traces = []

    @eqx.filter_jit
    def call(method, omega):
        traces.append(method)
        return method(omega)

    thicker = eqx.tree_at(lambda s: s.viscosity, solver, 2 * solver.viscosity)
    results = [call(s.step, omega) for s in (solver, thicker)]
    assert len(traces) == 1  # the viscosity is an argument, not a constant
    assert_close(results[1], thicker.step(omega))
    assert not jnp.allclose(results[0], results[1])
    assert solver.step.__name__ == "step"
    assert solver.step.__doc__ == NavierStokes2D.step.__doc__
    names = ["omega0", "steps", "save_every", "save_at", "include_initial", "forcing", "first_step", "check"]
    assert list(inspect.signature(solver.rollout).parameters) == names
