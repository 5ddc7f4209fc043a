"""Both discretisations behind one solver: what holds for each of them, whatever its numerics."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal
from tolerances import DIFFERENCES, RELATIVE, ROLLOUT, assert_close, assert_trees_close

import warpjaxns as wns
from warpjaxns import Checkpointed, Direct, FiniteDifference, Grid, NavierStokes2D, Spectral, initial
from warpjaxns._commands.options import DISCRETISATIONS
from warpjaxns._discretisation import NAMES, Engine, engine_of, from_dict, to_dict

GRID = Grid((12, 16), (2.0, 3.5))
ALL = [FiniteDifference(), Spectral(), Spectral("rk3", "smooth")]
each = pytest.mark.parametrize("discretisation", ALL, ids=str)
# the finite differences have tests of their own, and the other options of Spectral run through the same code
DEAR = [pytest.param(one, marks=[] if one == Spectral() else pytest.mark.full) for one in ALL]
one_of_each = pytest.mark.parametrize("discretisation", DEAR, ids=str)
spectral = pytest.mark.parametrize("discretisation", ALL[1:], ids=str)
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def make(discretisation, **changes):
    options = {"viscosity": 0.01, "dt": 0.03, "drag": 0.2, "forcing": normal(9, GRID.shape), "backend": "xla"}
    return NavierStokes2D(GRID, discretisation=discretisation, **options | changes)


@each
def test_an_engine_has_all_that_is_asked(discretisation):
    asked = {name for name in {*vars(Engine), *Engine.__annotations__} if not name.startswith("_")}
    engine = engine_of(discretisation)
    assert len(asked) > 10
    assert [name for name in asked if not callable(getattr(engine, name, None))] == []


def test_discretisations_are_values():
    assert FiniteDifference() == FiniteDifference(advection="arakawa") != FiniteDifference("central")
    assert {Spectral(): 1}[Spectral("rk4", "two-thirds")] == 1
    for discretisation in (*ALL, FiniteDifference("central"), FiniteDifference(np.str_("central"))):
        assert from_dict(to_dict(discretisation)) == discretisation
        assert all(type(value) is str for value in to_dict(discretisation).values())
        with pytest.raises(dataclasses.FrozenInstanceError):
            discretisation.order = 2


def test_the_command_line_knows_all_options():
    assert list(DISCRETISATIONS) == list(NAMES)
    for name, options in DISCRETISATIONS.items():
        fields = dataclasses.fields(NAMES[name])
        assert {field.name: field.default for field in fields} == {key: values[0] for key, values in options.items()}
        for option, values in options.items():
            for value in values:
                NAMES[name](**{option: value})
            with pytest.raises(ValueError, match=", ".join(map(repr, values))):
                NAMES[name](**{option: "none"})


@pytest.mark.full
@pytest.mark.covering(1, 2)
@one_of_each
@every_dtype
@pytest.mark.parametrize("adjoint", [Checkpointed(4), Direct()], ids=["checkpointed", "direct"])
@every_backend
def test_a_rollout_is_its_steps(discretisation, dtype, adjoint, backend):
    solver, omega = make(discretisation, adjoint=adjoint, backend=backend), normal(0, (2, *GRID.shape), dtype)
    control = 0.3 * normal(1, (11, *GRID.shape), dtype)

    @jax.jit
    def run(omega):
        last = solver.rollout(omega, steps=11, forcing=control)  # whole segments, and some steps more
        saved = solver.rollout(omega, steps=10, save_every=5, forcing=control[:10])
        steady = solver.rollout(omega, steps=11)
        return last, saved, steady, jax.vmap(lambda w: solver.rollout(w, steps=11))(omega)

    def by_steps(omega, forced):
        def step(omega, force):
            return (solver.rollout(omega, steps=1, forcing=force[None]) if forced else solver.step(omega),) * 2

        return jax.lax.scan(step, omega, control)[1]

    last, saved, steady, mapped = run(omega)
    forced, unforced = (jax.jit(functools.partial(by_steps, forced=forced))(omega) for forced in (True, False))
    assert last.dtype == dtype
    assert_close(last, forced[10], ROLLOUT)
    assert_close(saved, forced[4:10:5], ROLLOUT)
    assert_close(steady, unforced[10], ROLLOUT)
    assert_close(mapped, steady, ROLLOUT)


@each
def test_no_steps_give_what_a_state_keeps(discretisation):
    solver, omega = make(discretisation), normal(0, (3, *GRID.shape))
    kept = solver.rollout(omega, steps=0)
    assert_close(solver.rollout(kept, steps=0), kept)
    assert_close(solver.step(omega), solver.step(kept))
    assert solver.rollout(omega, steps=0, save_every=2).shape == (0, *omega.shape)
    most = [GRID.shape[0] / 2, GRID.shape[1] / 2]
    if isinstance(discretisation, Spectral):
        most = [(n - 1) // (3 if discretisation.dealiasing == "two-thirds" else 2) for n in GRID.shape]
    ky, kx = (np.abs(np.fft.fftfreq(n, 1 / n)) for n in GRID.shape)
    inside = (ky <= most[0])[:, None] & (kx <= most[1])
    assert_close(kept, np.fft.ifft2(inside * np.fft.fft2(omega)).real)


@pytest.mark.full
@pytest.mark.covering(1)
@spectral
@every_dtype
def test_linear_decay_is_exact_for_any_step(discretisation, dtype):
    nu, mu, dt, steps = 0.3, 0.2, 0.7, 5
    omega = initial.taylor_green(GRID, dtype=dtype)
    solver = make(discretisation, viscosity=nu, drag=mu, dt=dt, forcing=None)
    rate = nu * sum((2 * math.pi / side) ** 2 for side in GRID.extent) + mu
    assert solver.diffusion_number() > 2.51  # more than finite differences could take
    assert_close(solver.rollout(omega, steps=steps), math.exp(-rate * steps * dt) * omega, ROLLOUT)


@one_of_each
def test_the_tendency_is_the_rate_of_a_short_step(discretisation):
    solver, omega = make(discretisation, dt=1e-5), make(discretisation).rollout(normal(0, GRID.shape), steps=0)

    @jax.jit
    def run(omega):
        psi, velocity = solver.streamfunction(omega), solver.velocity(omega)
        laplacian = wns.laplacian(GRID, psi, discretisation=discretisation)
        return solver.step(omega), solver.tendency(omega), laplacian, velocity, solver.cfl(omega)

    after, tendency, laplacian, (u, v), cfl = jax.tree.map(np.asarray, run(omega))
    omega, (dy, dx) = np.asarray(omega), GRID.spacing
    assert_close((after - omega) / 1e-5, tendency, {"float64": 1e-3})
    assert_close(-laplacian, omega - np.mean(omega))
    assert_close(cfl, np.max(np.abs(u) / dx + np.abs(v) / dy) * np.asarray(solver.dt))


@pytest.mark.full
@one_of_each
@pytest.mark.parametrize("backend", ["xla", pytest.param("warp", marks=pytest.mark.full)])
def test_derivatives_by_every_leaf(discretisation, backend):
    solver, omega = make(discretisation, adjoint=Checkpointed(3), backend=backend), normal(0, GRID.shape)
    weight = normal(2, GRID.shape)

    @jax.jit
    def loss(solver, omega):
        return jnp.vdot(solver.rollout(omega, steps=7), weight)

    direction = jax.tree.map(lambda leaf: 0.3 * jnp.ones_like(leaf), solver), normal(4, GRID.shape)
    at = solver, omega
    gradient = jax.jit(jax.grad(loss, (0, 1)))(*at)
    slope = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    assert_close(jax.jvp(loss, at, direction)[1], slope, ROLLOUT)
    h = 1e-5
    ends = (loss(*jax.tree.map(lambda x, d, s=s: x + s * h * d, at, direction)) for s in (1, -1))
    difference = (next(ends) - next(ends)) / (2 * h)
    assert_close(slope, difference, {"float64": DIFFERENCES})
    direct = dataclasses.replace(solver, adjoint=Direct())
    assert_trees_close(
        jax.tree.leaves(jax.jit(jax.grad(loss, (0, 1)))(direct, omega)), jax.tree.leaves(gradient), ROLLOUT
    )


@pytest.mark.full
@one_of_each
def test_one_parameter_a_member(discretisation):
    omega, nu = normal(0, (2, *GRID.shape)), jnp.asarray([0.01, 0.05])
    together = make(discretisation, viscosity=nu).rollout(omega, steps=3)
    for member in range(2):
        alone = make(discretisation, viscosity=nu[member]).rollout(omega[member], steps=3)
        assert_close(together[member], alone, ROLLOUT)


@each
def test_a_state_that_is_not_finite_hears_of_the_limits(discretisation):
    solver = make(discretisation, viscosity=0.0, drag=0.0, dt=50.0)
    with pytest.raises(RuntimeError, match="not finite") as error:
        solver.rollout(100 * normal(0, GRID.shape), steps=40)
    limits = {"arakawa": "1.7, and solver.diffusion_number() below 2.51"}
    expected = limits.get(
        getattr(discretisation, "advection", None), f"{engine_of(discretisation).cfl_limit(discretisation):.3g}"
    )
    assert f"solver.cfl(omega) must stay below about {expected}" in str(error.value)
    assert ("diffusion_number" in str(error.value)) == isinstance(discretisation, FiniteDifference)


@pytest.mark.full
@one_of_each
def test_turbulence_and_its_perturbations(discretisation):
    pytest.importorskip("optax")
    from warpjaxns import experiments

    solver = make(discretisation, forcing=None, drag=0.0, viscosity=1e-3, dt=0.02)
    flow = experiments.developed_turbulence(solver, key=jax.random.key(0), spin_up=3)
    noise = experiments.random_perturbation(flow, norm=0.05, key=jax.random.key(1))
    found = experiments.optimal_perturbation(solver, flow, noise, steps=5, radius=0.1, learning_rate=0.1, iterations=4)
    assert found.losses[-1] < found.losses[0] < 0
    lost = found.perturbation - solver.rollout(found.perturbation, steps=0)
    assert jnp.linalg.norm(lost) < RELATIVE["float64"] * jnp.linalg.norm(found.perturbation)


@pytest.mark.full
@one_of_each
def test_the_first_rate_of_a_lyapunov_exponent_is_not_a_loss_of_modes(discretisation):
    solver = make(discretisation, viscosity=0.0, drag=0.1, forcing=None)
    rest = jnp.zeros(GRID.shape)
    found = wns.diagnostics.lyapunov_exponent(solver, rest, key=jax.random.key(0), steps=20)
    assert_close(found.rates, np.full(2, -0.1), {"float64": 1e-4})
