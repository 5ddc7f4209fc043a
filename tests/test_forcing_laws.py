"""Laws of forcing against one field a step, their statistics, derivatives and memory."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from tolerances import DOT, RELATIVE, ROLLOUT, assert_close, assert_trees_close

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Spectral,
    adaptive_steps,
    diagnostics,
)
from warpjaxns.forcing import (
    Exponential,
    Law,
    Linear,
    OrnsteinUhlenbeck,
    Piecewise,
    Separable,
    Sine,
    kolmogorov,
    sampled,
)

CHECKPOINTED = Checkpointed()
GRID, DT, STEPS = Grid((9, 12), (2.0, 3.5)), 0.03, 7
ENGINES = [FiniteDifference(), Spectral("rk3")]
every_discretisation = pytest.mark.parametrize("discretisation", ENGINES, ids=str)
mostly_differences = pytest.mark.parametrize("discretisation", fast_cases(ENGINES, 0), ids=str)
every_backend = pytest.mark.parametrize("backend", ["xla", "warp"])
mostly_xla = pytest.mark.parametrize("backend", fast_cases(["xla", "warp"], 0))


def noise(key, amplitude=30.0, correlation_time=0.1, wavenumbers=(1, 2)):
    how = {"amplitude": amplitude, "correlation_time": correlation_time}
    return OrnsteinUhlenbeck(key=key, wavenumbers=wavenumbers, **how)


def solver_of(discretisation=ENGINES[0], backend="xla", adjoint=CHECKPOINTED, **options):
    how = {"discretisation": discretisation, "backend": backend, "adjoint": adjoint, "check_finite": False}
    return NavierStokes2D(GRID, **{"viscosity": 0.01, "drag": 0.2, "dt": DT, **how, **options})


# Each law by its numbers, and the same written out: the field of each step, ``(steps, ny, nx)``.
MIDDLE = (np.arange(STEPS) + 0.5)[:, None, None]
LAWS = {
    "sine": (
        lambda p: Sine(p["field"], p["a"], p["b"], p["c"]),
        lambda p: p["c"] * jnp.sin(p["a"] * p["dt"] * MIDDLE + p["b"]) * p["field"],
    ),
    "exponential": (
        lambda p: Exponential(p["field"], p["a"], p["b"]),
        lambda p: p["b"] * jnp.exp(p["a"] * p["dt"] * MIDDLE) * p["field"],
    ),
    "piecewise": (
        lambda p: Piecewise(p["field"], jnp.stack([p["a"], p["b"], p["c"]]), every=3),
        lambda p: jnp.stack([p["a"]] * 3 + [p["b"]] * 3 + [p["c"]])[:, None, None] * p["field"],
    ),
    "sum": (
        lambda p: p["field"] + Exponential(2 * p["field"], p["b"]) + Sine(p["field"], p["a"]),
        lambda p: p["field"]
        * (1 + 2 * jnp.exp(p["b"] * p["dt"] * MIDDLE) + jnp.sin(p["a"] * p["dt"] * MIDDLE)),
    ),
    "noise": (
        lambda p: noise(jax.random.key(3), p["c"], p["a"]),
        lambda p: written_out(jax.random.key(3), p["c"], p["a"], p["dt"]),
    ),
}  # fmt: skip


def written_out(key, amplitude, correlation_time, dt):
    """Return noise by sums of cosines, one mode and one step after the other."""
    x, y = np.meshgrid(GRID.x, GRID.y)
    waves = [(mx, my) for mx in range(6) for my in range(-4, 5) if mx > 0 or my > 0]
    waves = [(mx, my) for mx, my in waves if 1 <= math.hypot(mx, my * 3.5 / 2.0) <= 2 + 1e-9]
    decay = jnp.exp(-dt / correlation_time)
    state, fields = None, []
    for step in range(STEPS):
        xi = jax.random.normal(jax.random.fold_in(key, step), (len(waves), 2), "float32").astype(amplitude.dtype)
        state = xi if state is None else decay * state + jnp.sqrt(1 - decay**2) * xi
        total = jnp.zeros(GRID.shape, amplitude.dtype)
        for (mx, my), (re, im) in zip(waves, state, strict=True):
            angle = 2 * math.pi * (mx * x / 3.5 + my * y / 2.0)
            wave = re * jnp.asarray(np.cos(angle), re.dtype) - im * jnp.asarray(np.sin(angle), re.dtype)
            total = total + wave
        fields.append(amplitude / math.sqrt(len(waves)) * total)
    return jnp.stack(fields)


def numbers(dtype="float64"):
    values = {"a": 0.7, "b": 1.3, "c": 20.0, "dt": DT}
    field = 20 * normal(5, GRID.shape)
    return {name: jnp.asarray(value, dtype) for name, value in {**values, "field": field}.items()}


def runs(name, discretisation, backend, adjoint, **saves):
    """Return functions of the numbers of a law and of a state: a rollout by the law, and one by a field a step."""
    law, fields = LAWS[name]

    def by(make):
        def run(p, omega):
            solver = solver_of(discretisation, backend, adjoint, dt=p["dt"])
            return solver.rollout(omega, steps=STEPS, forcing=make(p), **saves)

        return run

    def explicit(p):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return fields(p).astype(p["field"].dtype)

    return by(law), by(explicit)


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("name", fast_cases([*LAWS], 3))
@mostly_differences
@pytest.mark.parametrize("dtype", fast_cases(["float64", "float32"], 0))
@pytest.mark.parametrize("adjoint", fast_cases([Checkpointed(2), Direct()], 0), ids=str)
@pytest.mark.parametrize("backend", fast_cases(["xla", "warp"], 1))
@pytest.mark.parametrize("saves", fast_cases([{}, {"save_at": (2, 3, 7)}], 1), ids=["last", "saves"])
def test_a_law_is_one_field_a_step(name, discretisation, dtype, adjoint, backend, saves):
    """Value, tangent and cotangent, for all leaves and the state."""
    omega, p = normal(0, (2, *GRID.shape), dtype), numbers(dtype)
    directions = jax.tree.map(lambda x: 0.1 * x, p), normal(1, omega.shape, dtype)
    by_law, by_field = runs(name, discretisation, backend, adjoint, **saves)

    def derivatives(run):
        def all_of(p, omega):
            value, tangent = jax.jvp(run, (p, omega), directions)
            return value, tangent, jax.vjp(run, p, omega)[1](normal(2, value.shape, dtype))

        return jax.jit(all_of)(p, omega)

    table = {**ROLLOUT, "float32": 3e-5}
    actual, expected = derivatives(by_law), derivatives(by_field)
    assert_close(actual[0], expected[0], {**RELATIVE, "float32": 1e-5})
    assert_trees_close(actual[1:], expected[1:], table)
    still = solver_of(discretisation, backend, adjoint).rollout(omega, steps=STEPS, **saves)
    assert np.linalg.norm(actual[0] - still) > 0.1 * np.linalg.norm(still)


def everything(p):
    law = Sine(p["field"], p["a"], p["b"]) + Exponential(p["field"], p["b"], p["a"]) + Linear(p["a"])
    amplitudes = jnp.stack([p["a"], p["b"]])
    return law + Piecewise(p["field"], amplitudes, every=2) + noise(jax.random.key(1), p["c"], p["a"]) + p["field"]


def loss(discretisation, backend, adjoint):
    weights = normal(3, GRID.shape)

    def value(p, omega):
        solver = solver_of(discretisation, backend, adjoint, dt=p["dt"], forcing=everything(p))
        return vdot(solver.rollout(omega, steps=4) ** 2, weights) * 1e-3

    return value


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("adjoint", [Checkpointed(2), Direct()], ids=str)
@every_discretisation
def test_second_derivatives_in_all_leaves(discretisation, adjoint, backend):
    f = jax.jit(loss(discretisation, backend, adjoint))
    arguments = numbers(), normal(0, GRID.shape)
    check_grads(f, arguments, order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("name", fast_cases([*LAWS], 0))
def test_second_derivatives_are_those_of_a_field_a_step(name):
    omega, p = normal(0, GRID.shape), numbers()
    weights, direction = normal(3, GRID.shape), jax.tree.map(lambda x: 0.1 * x, p)

    def product(run):
        gradient = jax.grad(lambda p: vdot(run(p, omega) ** 2, weights))
        return jax.jit(lambda p: jax.jvp(gradient, (p,), (direction,))[1])(p)

    by_law, by_field = runs(name, ENGINES[0], "xla", Checkpointed(2))
    assert_trees_close(product(by_law), product(by_field), ROLLOUT)


@pytest.mark.full
@mostly_xla
@mostly_differences
def test_dot_products_of_each_leaf(discretisation, backend):
    p, w = numbers(), normal(9, (2, *GRID.shape))

    def run(p):
        solver = solver_of(discretisation, backend, Checkpointed(2), dt=p["dt"], forcing=everything(p))
        return solver.rollout(normal(0, w.shape), steps=5)

    forward, backward = jax.jit(lambda v: jax.jvp(run, (p,), (v,))[1]), jax.jit(lambda w: jax.vjp(run, p)[1](w)[0])(w)
    for name in p:
        v = {other: value if other == name else jnp.zeros_like(value) for other, value in p.items()}
        along = forward(v)
        scale = np.linalg.norm(along) * np.linalg.norm(w)
        assert scale > 1e-3
        assert abs(vdot(along, w) - vdot(v, backward)) <= DOT * scale


@pytest.mark.full
@mostly_xla
@every_discretisation
def test_linear_forcing_is_negative_drag(discretisation, backend):
    omega, rates = normal(0, (2, *GRID.shape)), jnp.asarray([0.3, -0.4])
    solver = solver_of(discretisation, backend, drag=0.5, forcing=Linear(rates))
    other = solver_of(discretisation, backend, drag=0.5 - rates + 0.1)
    run = jax.jit(lambda s, w, law: s.rollout(w, steps=5, forcing=law))
    assert_close(run(solver, omega, Linear(-0.1)), run(other, omega, None))
    assert_close(solver.tendency(omega), solver_of(discretisation, backend, drag=0.5 - rates).tendency(omega))


# ------------------------------------------------------------------------------------------------ noise

samples = jax.jit(sampled, static_argnums=1, static_argnames=("steps", "discretisation", "dtype"))


def test_noise_has_the_variance_and_correlation_time_that_it_states():
    keys, dt, tau = jax.random.split(jax.random.key(0), 400), 0.05, 0.2
    f = np.asarray(samples(noise(keys, 3.0, tau), GRID, steps=9, dt=dt))
    modes, members = 8, 400
    for step in (0, 8):  # stationary from the first step on
        rms = np.mean(f[step] ** 2, axis=(1, 2))
        assert abs(rms.mean() / 9.0 - 1) < 4 / math.sqrt(modes * members)
    for lag in (1, 2, 4, 8):
        products = np.mean(f[0] * f[lag], axis=(1, 2)) / 9.0
        error = products.std() / math.sqrt(members)
        assert error < 0.03
        assert abs(products.mean() - math.exp(-lag * dt / tau)) < 4 * error
    assert abs(f.mean()) < 1e-12  # no mean over the box
    at_a_point = f[0, :, 2, 3]
    assert abs(at_a_point.mean()) < 4 * 3.0 / math.sqrt(members)
    # all modes of the ring have the same share, and no other has any
    power = np.mean(np.abs(np.fft.rfft2(f[0])) ** 2, axis=0)
    waves = np.hypot(np.fft.fftfreq(9, 1 / 9)[:, None] * 3.5 / 2, np.arange(7)[None])
    ring = (waves >= 1) & (waves <= 2)
    assert power[~ring].max() < 1e-20 * power.max()
    assert power[ring].max() / power[ring].min() < 1.5


@pytest.mark.full
def test_noise_does_not_depend_on_what_computes_it():
    key = jax.random.key(2)
    f = samples(noise(key), GRID, steps=6, dt=DT)
    assert_close(samples(noise(key), GRID, steps=6, dt=DT, discretisation=Spectral()), f)
    assert_close(samples(noise(key), GRID, steps=6, dt=DT, dtype="float32"), np.asarray(f, "float32"))
    np.testing.assert_array_equal(samples(noise(key), GRID, steps=2, dt=DT, first_step=4), f[4:])
    fine = Grid((27, 36), GRID.extent)
    assert_close(samples(noise(key), fine, steps=6, dt=DT)[:, ::3, ::3], f)
    assert np.abs(samples(noise(jax.random.key(3)), GRID, steps=6, dt=DT) - f).max() > 1
    with jax.enable_x64(False):
        single = samples(noise(key), GRID, steps=6, dt=DT, dtype="float32")
    assert_close(single, np.asarray(f, "float32"))


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["xla", "warp"], 1))
@mostly_differences
def test_segments_and_saves_see_the_same_noise(discretisation, backend):
    omega, law = normal(0, GRID.shape), noise(jax.random.key(4)) + Sine(normal(5, GRID.shape), 3.0)
    whole = solver_of(discretisation, "xla", Direct()).rollout(omega, steps=6, forcing=law)
    for adjoint in fast(Checkpointed(1), Checkpointed(4), backend=backend):
        solver = solver_of(discretisation, backend, adjoint, forcing=law)
        run = eqx.filter_jit(lambda s, w, **saves: s.rollout(w, steps=6, **saves))
        assert_close(run(solver, omega), whole)
        states = run(solver, omega, save_at=(2, 3, 6), include_initial=True)
        assert states.shape[0] == 4
        assert_close(states[-1], whole)
        _, flag = run(solver, omega, check="flag")
        assert not flag


def fast(*adjoints, backend):
    """Return fewer adjoints for Warp, which compiles for each."""
    return adjoints if backend == "xla" else adjoints[1:]


@pytest.mark.full
@mostly_differences
def test_a_run_in_parts_continues_the_clock(discretisation):
    omega, law = normal(0, GRID.shape), noise(jax.random.key(4)) + Sine(normal(5, GRID.shape), 3.0)
    solver = solver_of(discretisation, forcing=law)
    whole = solver.rollout(omega, steps=6)
    half = solver.rollout(omega, steps=2)
    assert_close(solver.rollout(half, steps=4, first_step=2), whole)
    looped = jax.jit(lambda w: jax.lax.fori_loop(0, 6, lambda n, w: solver.step(w, first_step=n), w))(omega)
    assert_close(looped, whole)
    assert np.linalg.norm(solver.rollout(half, steps=4) - whole) > 1e-3


@pytest.mark.full
def test_members_have_numbers_and_noise_of_their_own():
    keys, frequencies = jax.random.split(jax.random.key(6), 3), jnp.asarray([1.0, 2.0, 3.0])
    omega, times = jnp.zeros((3, *GRID.shape)), jnp.asarray([0.1, 0.2, 0.3])
    fields = normal(7, (3, *GRID.shape))
    solver = solver_of(dt=jnp.asarray([0.01, 0.02, 0.03]))

    def law(key, time, field, frequency):
        amplitudes = jnp.asarray(frequency)[..., None] * jnp.arange(1.0, 4.0)
        return noise(key, correlation_time=time) + Sine(field, frequency) + Piecewise(field, amplitudes)

    with jax.numpy_rank_promotion("allow"):
        batch = law(keys, times, fields, frequencies)
        together = solver.rollout(omega, steps=4, forcing=batch)
        assert together.shape == omega.shape

        @jax.jit
        def one(dt, w, *own):
            return solver_of(dt=dt).rollout(w, steps=4, forcing=law(*own))

        each = solver.dt, omega, keys, times, fields, frequencies
        assert_close(together, jax.vmap(one)(*each))
        for i in range(3):
            assert_close(together[i], one(*(part[i] for part in each)))
        assert sampled(batch, GRID, steps=2, dt=0.1).shape == (2, 3, *GRID.shape)
    shared = solver_of().rollout(omega, steps=3, forcing=noise(keys[0]))
    assert_close(shared[1], shared[0])
    assert np.linalg.norm(shared[0]) > 0.1


# ------------------------------------------------------------------------------------------------ the rest of a solver


@pytest.mark.full
@mostly_differences
def test_budgets_hold_at_a_step(discretisation):
    omega = normal(0, (2, *GRID.shape))
    law = noise(jax.random.key(4)) + Sine(normal(5, GRID.shape), 3.0)
    rates = jnp.asarray([0.3, -0.4])
    solver = solver_of(discretisation, forcing=law + Linear(rates) + normal(6, GRID.shape))
    omega = solver.rollout(omega, steps=0)  # what the discretisation keeps
    there = sampled(law, GRID, steps=5, dt=DT, discretisation=discretisation)[4] + normal(6, GRID.shape)
    force = there[None] + rates[:, None, None] * omega
    assert_close(solver.rollout(solver.force(omega, step=4), steps=0), solver.rollout(force, steps=0))
    explicit = diagnostics.budgets(solver_of(discretisation), omega, forcing=force)
    actual = jax.jit(lambda n: diagnostics.budgets(solver, omega, step=n))(4)
    assert_trees_close(actual._replace(energy=None, enstrophy=None), explicit._replace(energy=None, enstrophy=None))
    for which in ("energy", "enstrophy"):
        a, e = getattr(actual, which), getattr(explicit, which)
        assert_close(a.rate, e.rate)
        assert_close(a.injection, e.injection)
        assert np.abs(a.residual).max() < 1e-12 * np.abs(a.rate).max()
    with pytest.raises(ValueError, match=r"step=None.*OrnsteinUhlenbeck, Sine"):
        diagnostics.budgets(solver, omega)


def test_steps_of_adaptive_length_take_what_has_no_clock():
    omega = normal(0, GRID.shape)
    steady, rate = normal(6, GRID.shape), 0.1
    how = {"until": 0.05, "courant": 0.5}
    by_law = adaptive_steps(solver_of(forcing=steady + Linear(rate)), omega, **how)
    assert_close(by_law.omega, adaptive_steps(solver_of(forcing=steady, drag=0.1), omega, **how).omega, ROLLOUT)
    with pytest.raises(ValueError, match="changes in time"):
        adaptive_steps(solver_of(forcing=Sine(steady, 1.0)), omega, **how)


@pytest.mark.full
def test_a_lyapunov_exponent_follows_the_clock():
    omega, law = normal(0, GRID.shape), Sine(30 * normal(5, GRID.shape), 20.0)
    how = {"key": jax.random.key(0), "steps": 6, "renormalise_every": 2}
    by_law = diagnostics.lyapunov_exponent(solver_of(forcing=law), omega, **how)
    fields = sampled(law, GRID, steps=6, dt=DT)
    assert_close(by_law.omega, diagnostics.lyapunov_exponent(solver_of(), omega, **how, forcing=fields).omega)


def temporaries(function, *arguments):
    """Return the memory of a function beside its arguments and results, in fields. Nothing is run."""
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes / (8 * math.prod(GRID.shape))


def test_a_long_rollout_takes_no_more_memory():
    law, solver = Sine(normal(5, GRID.shape), 3.0), solver_of()

    def size(steps):
        return temporaries(lambda w, law: solver.rollout(w, steps=steps, forcing=law), normal(0, GRID.shape), law)

    assert size(100_000) < 1.1 * size(20_000) < 200


@pytest.mark.full
@every_discretisation
def test_reverse_mode_keeps_no_forces(discretisation):
    """The forces of a segment are made again, for all leaves of laws too."""

    def size(steps, law):
        def total(both):
            return jnp.sum(solver_of(discretisation).rollout(both[0], steps=steps, forcing=both[1]) ** 2)

        return temporaries(lambda both: eqx.filter_grad(total)(both), (normal(0, GRID.shape), law))

    law = Sine(normal(5, GRID.shape), 3.0) + noise(jax.random.key(0))
    few, many = size(1000, law), size(10_000, law)
    assert many < 6 * few  # as the square root
    assert many < 2000  # a fifth of a field a step, with the stages of a segment


def test_wrong_arguments_are_named():
    field, key = normal(5, GRID.shape), jax.random.key(0)
    omega = normal(0, GRID.shape)
    good = {"key": key, "wavenumbers": (1, 2), "amplitude": 1.0, "correlation_time": 1.0}
    for wrong, error in (
        ({"key": 0}, TypeError),
        ({"wavenumbers": 3}, TypeError),
        ({"wavenumbers": (3, 2)}, ValueError),
        ({"wavenumbers": (0, 2)}, ValueError),
        ({"amplitude": -1.0}, ValueError),
        ({"correlation_time": 0.0}, ValueError),
    ):
        with pytest.raises(error, match=next(iter(wrong))):
            OrnsteinUhlenbeck(**(good | wrong))
    for make, name in (
        (lambda: Sine(field, "1"), "frequency"),
        (lambda: Exponential(field, None), "rate"),
        (lambda: Linear("x"), "rate"),
        (lambda: Piecewise(field, np.ones(1), every=1.5), "every"),
    ):
        with pytest.raises(TypeError, match=name):
            make()
    with pytest.raises(ValueError, match="amplitudes"):
        Piecewise(field, 1.0)
    with pytest.raises(ValueError, match="every=0"):
        Piecewise(field, np.ones(1), every=0)
    for law, message in (
        (Sine(field.T, 1.0), "field has shape"),
        (noise(key, wavenumbers=(1, 9)), "wavenumbers=9.0"),
        (noise(key, wavenumbers=(1.1, 1.2)), "holds no mode"),
    ):
        with pytest.raises(ValueError, match=message):
            solver_of(forcing=law)
        with pytest.raises(ValueError, match=message):
            solver_of().rollout(omega, steps=2, forcing=law)
    with pytest.raises(ValueError, match="frequency has shape"):
        solver_of().rollout(omega, steps=2, forcing=Sine(field, jnp.ones(3)))
    with pytest.raises(ValueError, match="key has shape"):
        solver_of().rollout(omega, steps=2, forcing=noise(jax.random.split(key, 3)))
    for wrong, error in ((-1, ValueError), (1.5, TypeError), (jnp.ones(2, int), TypeError)):
        with pytest.raises(error, match="first_step"):
            solver_of().rollout(omega, steps=2, first_step=wrong)
    with pytest.raises(ValueError, match="linear forcing depends on the flow"):
        sampled(Linear(1.0), GRID, steps=2, dt=0.1)
    with pytest.raises(TypeError, match="law="):
        sampled(field, GRID, steps=2, dt=0.1)
    assert isinstance(np.asarray(field) + Linear(1.0), Law)
    assert issubclass(Sine, Separable)
    assert kolmogorov(GRID, 2, 1.0).shape == GRID.shape
