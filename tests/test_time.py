"""Which states come back, what is said of those that are not finite, and steps that follow the Courant number."""

import dataclasses
import re
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from layouts import fast_cases
from oracle import normal
from tolerances import DIFFERENCES, DOT, RELATIVE, ROLLOUT, assert_close, assert_trees_close

import warpjaxns as wns
from warpjaxns import Checkpointed, Direct, FiniteDifference, Grid, NavierStokes2D, Spectral, _finite

GRID = Grid((6, 10), (2.0, 3.5))
each = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral("rk3")], ids=["fd", "modes"])
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


CASES = ["fd warp", "modes xla", "fd xla", "modes warp"]


def of_case(case):
    discretisation, backend = case.split()
    return Spectral("rk3") if discretisation == "modes" else FiniteDifference(), backend


def make(discretisation=FiniteDifference(), backend="xla", **changes):
    options = {"viscosity": 0.01, "dt": 0.05, "drag": 0.2, "forcing": normal(9, GRID.shape)} | changes
    return NavierStokes2D(GRID, discretisation=discretisation, backend=backend, **options)


# ------------------------------------------------------------------------------------------------ saves


@pytest.mark.covering(1, 2)
@each
@every_backend
@every_dtype
@pytest.mark.parametrize("flagged", [False, True])
def test_states_at_any_steps(discretisation, backend, dtype, flagged):
    solver, omega = make(discretisation, backend), normal(0, (2, *GRID.shape), dtype)
    control = 0.3 * normal(1, (9, *GRID.shape), dtype)
    at = (1, 2, 4, 6, 9)

    @jax.jit
    def run(omega):
        def rollout(**options):
            out = solver.rollout(omega, check="flag" if flagged else None, **options)
            return out[0] if flagged else out

        every = rollout(steps=9, save_every=1, include_initial=True, forcing=control)
        steady = rollout(steps=9, save_every=1)
        some = rollout(save_at=at, forcing=control), rollout(steps=9, save_at=(0, *at), forcing=control)
        return every, steady, some, rollout(steps=9, save_at=at[:-1], include_initial=True)

    every, steady, (some, with_initial), early = run(omega)
    kept = solver.rollout(omega, steps=0)
    assert every.shape == (10, 2, *GRID.shape)
    assert every.dtype == dtype
    assert_close(every[0], kept)
    assert_close(every[1], solver.rollout(omega, steps=1, forcing=control[:1]), ROLLOUT)
    assert_close(every[9], solver.rollout(omega, steps=9, forcing=control), ROLLOUT)
    assert_close(some, every[jnp.asarray(at)], ROLLOUT)
    assert_close(with_initial[1:], some, ROLLOUT)
    assert_close(with_initial[0], kept)
    assert_close(early[1:], steady[jnp.asarray(at[:-1]) - 1], ROLLOUT)


@pytest.mark.full
@pytest.mark.covering(1, 2)
@each
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
@pytest.mark.parametrize("adjoint", fast_cases([Direct(), Checkpointed(), Checkpointed(2)], 0, 2), ids=str)
def test_derivatives_of_states_at_any_steps(discretisation, backend, adjoint):
    solver, omega = make(discretisation, backend, adjoint=adjoint), normal(0, GRID.shape)
    at, plain = (2, 4, 5, 8), make(discretisation, "xla")

    def loss(rollout, solver):
        def of(solver, omega):
            return jnp.sum(jnp.sin(rollout(solver, omega)))

        along = jax.tree.map(lambda x: 0.1 * jnp.ones_like(x), (solver, omega))
        return jax.tree.leaves((jax.grad(of, (0, 1))(solver, omega), jax.jvp(of, (solver, omega), along)[1]))

    @jax.jit
    def derivatives():
        actual = loss(lambda s, w: s.rollout(w, save_at=at, include_initial=True), solver)
        flagged = loss(lambda s, w: s.rollout(w, save_at=at, include_initial=True, check="flag")[0], solver)
        rows = jnp.asarray((0, *at))
        return (
            actual,
            flagged,
            loss(lambda s, w: s.rollout(w, steps=8, save_every=1, include_initial=True)[rows], plain),
        )

    actual, flagged, every = derivatives()
    assert_trees_close(actual, every, ROLLOUT)
    assert_trees_close(flagged, every, ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES)
def test_second_derivatives_of_states_at_any_steps(case):
    solver, plain = make(*of_case(case), adjoint=Checkpointed(2)), make(of_case(case)[0])
    omega, along = normal(0, GRID.shape), normal(1, GRID.shape)

    def product(rollout):
        def loss(omega):
            return jnp.sum(jnp.sin(rollout(omega)))

        return jax.jit(lambda w: jax.jvp(jax.grad(loss), (w,), (along,))[1])(omega)

    actual = product(lambda w: solver.rollout(w, save_at=(1, 2, 5), include_initial=True, check="flag")[0])
    rows = jnp.asarray((0, 1, 2, 5))
    expected = product(lambda w: plain.rollout(w, steps=5, save_every=1, include_initial=True)[rows])
    assert_close(actual, expected, ROLLOUT)


def test_saves_at_the_start_only():
    solver, omega = make(), normal(0, (2, *GRID.shape))
    assert_close(solver.rollout(omega, save_at=(0,)), omega[None])
    assert_close(solver.rollout(omega, steps=0, save_every=3, include_initial=True), omega[None])
    saved, flag = solver.rollout(omega, steps=0, save_every=3, check="flag")
    assert saved.shape == (0, *omega.shape)
    assert not flag


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"save_at": (4, 2)}, ValueError, r"save_at=\(4, 2\): expected increasing"),
        ({"save_at": (2, 2)}, ValueError, "increasing"),
        ({"save_at": ()}, ValueError, "at least one"),
        ({"save_at": (-1, 2)}, ValueError, "save_at=-1: expected at least 0"),
        ({"save_at": (1, 2.0)}, TypeError, "save_at=2.0: expected an integer"),
        ({"save_at": 3}, TypeError, "save_at=3: expected a tuple"),
        ({"save_at": (1, 5), "steps": 4}, ValueError, "beyond steps=4"),
        ({"save_at": (1, 5), "save_every": 1}, ValueError, "save_every=1: expected one of them"),
        ({"steps": 4, "include_initial": True}, ValueError, r"save_every=k or save_at"),
        ({"steps": 4, "include_initial": 1}, TypeError, "include_initial=1"),
        ({"steps": 4, "check": "off"}, ValueError, "check='off': expected one of 'raise', 'flag'"),
        ({}, TypeError, "steps=None: expected an integer"),
    ],
    ids=str,
)
def test_saves_that_do_not_fit(options, kind, message):
    with pytest.raises(kind, match=message):
        make().rollout(normal(0, GRID.shape), **options)


def test_the_last_segments_keep_their_stages():
    from warpjaxns._saves import cut

    runs = cut(Checkpointed(10), 100, ((10, 3), (35, 2)), 1.0)
    assert [run.direct for run in runs] == [0, 0]  # one segment, which the two saves of the run cannot share
    assert [run.direct for run in cut(Checkpointed(10), 100, ((10, 3), (70, 1)), 1.0)] == [0, 1]
    assert [run.direct for run in cut(Direct(), 300, ((10, 3), (270, 1)), 1.0)] == [1, 2]


# ------------------------------------------------------------------------------------------------ a flag


STEPS, BAD = 40, 2


def growing(solver, dtype="float64"):
    """Return states of which the member `BAD` blows up after some steps, and after how many."""
    omega = normal(0, (4, *GRID.shape), dtype).at[BAD].multiply(1e5 if dtype == "float64" else 1e4)
    states = solver.rollout(omega, steps=STEPS, save_every=1, include_initial=True)
    finite = np.isfinite(states).all((2, 3))
    assert finite[0].all()
    assert finite[:, [0, 1, 3]].all()
    assert not finite[-1, BAD]
    return omega, int(np.argmin(finite[:, BAD]))


@pytest.mark.covering(1, 2)
@each
@every_backend
@every_dtype
@pytest.mark.parametrize("every", [1, 7])
def test_a_flag_names_the_first_bad_step_and_member(discretisation, backend, dtype, every):
    solver = make(discretisation, backend, adjoint=Checkpointed(every), check_finite=False)
    omega, first = growing(solver, dtype)
    assert 1 < first < STEPS - 7
    out, flag = jax.jit(lambda w: solver.rollout(w, steps=STEPS, check="flag"))(omega)
    expected = -(-first // every) * every
    np.testing.assert_array_equal(flag.step, [-1, -1, expected, -1])
    np.testing.assert_array_equal(flag.bad, [False, False, True, False])
    assert flag.step.dtype == jnp.int32
    assert flag
    assert flag.first() == (expected, BAD)
    with pytest.raises(RuntimeError, match=f"of member {BAD} was not finite after {expected} steps"):
        flag.throw()
    assert_close(out[:BAD], solver.rollout(omega[:BAD], steps=STEPS), ROLLOUT)
    saved, flag = jax.jit(lambda w: solver.rollout(w, save_at=(1, first, STEPS), check="flag"))(omega)
    assert flag.first() == (first, BAD)
    assert saved.shape == (3, *omega.shape)


@pytest.mark.full
def test_a_flag_of_good_and_of_bad_initial_states():
    solver, omega = make(), normal(0, (2, 3, *GRID.shape))
    _, flag = solver.rollout(omega, steps=3, check="flag")
    assert not flag
    assert flag.step.shape == (2, 3)
    assert flag.first() == (-1, -1)
    flag.throw()
    _, flag = solver.rollout(omega.at[1, 0, 2, 3].set(jnp.nan), steps=3, check="flag")
    assert flag.first() == (0, 3)
    assert solver.rollout(omega[:0], steps=3, check="flag")[1].first() == (-1, -1)
    with pytest.raises(RuntimeError, match="the vorticity was not finite after 0 steps"):
        solver.rollout(omega[0, 0] + jnp.inf, steps=3, check="flag")[1].throw()


def test_check_goes_before_check_finite():
    bad = jnp.full(GRID.shape, jnp.nan)
    assert make().rollout(bad, steps=1, check="flag")[1]
    with pytest.raises(RuntimeError, match="not finite"):
        make(check_finite=False).rollout(bad, steps=1, check="raise")
    make(check_finite=False).rollout(bad, steps=1)


@pytest.mark.full
@pytest.mark.parametrize("discretisation", fast_cases([FiniteDifference(), Spectral("rk3")], 0), ids=str)
def test_a_flag_goes_through_transformations(discretisation):
    solver = make(discretisation, adjoint=Checkpointed(5))
    omega, _ = growing(dataclasses.replace(solver, check_finite=False))

    def run(omega):
        return solver.rollout(omega, steps=STEPS, check="flag")

    def loss(omega):
        out, flag = run(omega)
        return jnp.sum(jnp.where(flag.bad[..., None, None], 0, out) ** 2), flag

    program = jax.jit(lambda w: (run(w)[1], jax.vmap(run)(w)[1], jax.value_and_grad(loss, has_aux=True)(w)[0][1]))
    assert "callback" not in str(jax.make_jaxpr(program)(omega))
    expected, *others = program(omega)
    assert expected.first()[1] == BAD
    for flag in others:
        np.testing.assert_array_equal(flag.step, expected.step)

    def twice(omega, _):
        return run(omega)

    _, flags = jax.jit(lambda w: jax.lax.scan(twice, w, length=2))(omega)
    np.testing.assert_array_equal(flags.step, [expected.step, np.where(expected.bad, 0, -1)])
    gradient = jax.grad(lambda w: loss(w)[0])(omega)
    assert jnp.all(jnp.isfinite(gradient[jnp.asarray([0, 1, 3])]))


@pytest.mark.full
@pytest.mark.parametrize("case", fast_cases(CASES, 1))
def test_a_flag_of_members_over_devices(case):
    discretisation, backend = of_case(case)
    solver = make(discretisation, backend, adjoint=Checkpointed(5), check_finite=False)
    omega, _ = growing(solver)
    mesh = jax.make_mesh((4,), ("members",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("members")
    placed = jax.device_put(omega, NamedSharding(mesh, spec))

    def run(omega):
        return solver.rollout(omega, steps=STEPS, check="flag")

    expected = run(omega)[1]
    program = jax.jit(run).lower(placed).compile()
    assert re.findall(r" (all-\w+|collective-\w+)(?:-start)?\(", program.as_text()) == []
    for flag in (program(placed)[1], jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec))(omega)[1]):
        np.testing.assert_array_equal(flag.step, expected.step)


def test_a_field_may_overflow_where_its_coefficients_do_not():
    fields = jnp.ones((3, 2, *GRID.shape)).at[1, 1, 0, 0].set(jnp.inf)
    seen = _finite.look(None, fields[0], 0)
    np.testing.assert_array_equal(_finite.look_at_saves(seen, fields, [2, 4, 6]), [_finite.NONE_BAD, 4])


@pytest.mark.full
def test_a_program_with_a_flag_can_be_exported():
    solver = make(backend="xla")
    (members,) = jax.export.symbolic_shape("members")
    state = jax.ShapeDtypeStruct((members, *GRID.shape), jnp.float64)
    exported = jax.export.export(jax.jit(lambda w: solver.rollout(w, steps=3, check="flag")[1].step))(state)
    np.testing.assert_array_equal(exported.call(normal(0, (3, *GRID.shape)).at[1].set(jnp.nan)), [-1, 0, -1])


# ------------------------------------------------------------------------------------------------ adaptive steps


UNTIL, EVERY, MOST = 1.0, 3, 20


def swirls(members=2, dtype="float64"):
    """Return states of which each member is faster than the one before."""
    omega = normal(0, (members, *GRID.shape), dtype)
    return omega * jnp.arange(8, 8 + 6 * members, 6, dtype=dtype)[:, None, None]


def adaptive(solver, omega, **options):
    given = {"until": UNTIL, "courant": 0.5, "every": EVERY, "most_segments": MOST}
    return wns.adaptive_steps(solver, omega, **given | options)


@pytest.mark.covering(1, 2)
@each
@every_backend
@every_dtype
def test_adaptive_steps_are_rollouts_with_the_steps_that_they_report(discretisation, backend, dtype):
    solver, omega = make(discretisation, backend, viscosity=jnp.asarray([0.01, 0.02])), swirls(dtype=dtype)
    result = jax.jit(lambda w: adaptive(solver, w))(omega)
    assert result.omega.dtype == result.time.dtype == result.dt.dtype == dtype
    assert result.steps.dtype == jnp.int32
    np.testing.assert_array_equal(result.time, jnp.asarray([UNTIL, UNTIL], dtype))
    assert result.dt.shape == (MOST, 2)
    taken = np.sum(np.asarray(result.dt) > 0, axis=0)
    np.testing.assert_array_equal(result.steps, EVERY * taken)
    assert 3 < taken[0] < taken[1] < MOST
    np.testing.assert_allclose(EVERY * result.dt.sum(0), UNTIL, rtol=RELATIVE[dtype])

    @jax.jit
    def step(omega, dt):
        """Return the shares of the limits on dt, and the state a segment later."""
        with_dt = eqx.tree_at(lambda s: s.dt, solver, jnp.where(dt > 0, dt, 1))
        later = jnp.where((dt > 0)[:, None, None], with_dt.rollout(omega, steps=EVERY), omega)
        return with_dt.cfl(omega) / 0.5, with_dt.diffusion_number().astype(dtype) / 2.51, later

    by_hand = solver.rollout(omega, steps=0)
    for segment in range(taken.max()):
        courant, diffusion, later = map(np.asarray, step(by_hand, result.dt[segment]))
        share = courant + diffusion if discretisation == FiniteDifference() else courant
        follows = segment < taken - 1
        np.testing.assert_allclose(share[follows], 1, rtol=ROLLOUT[dtype])
        assert np.all(share[segment == taken - 1] < 1.01)  # the last one is shorter
        by_hand = later
    assert_close(result.omega, by_hand, ROLLOUT)


@pytest.mark.full
def test_adaptive_steps_converge():
    solver = make(Spectral(), dt=UNTIL / 400)
    omega = swirls()
    exact = solver.rollout(omega, steps=400)
    coarse, fine = (adaptive(solver, omega, courant=c, most_segments=99).omega for c in (0.4, 0.2))
    errors = [float(jnp.linalg.norm(w - exact)) for w in (coarse, fine)]
    assert errors[0] > 10 * errors[1]  # of fourth order
    assert errors[1] < 1e-3 * float(jnp.linalg.norm(exact))


def check_same(actual, expected):
    """Check that two results have the same steps, and states that agree to rounding."""
    np.testing.assert_array_equal(actual.steps, expected.steps)
    fields = [(result.omega, result.time, result.dt) for result in (actual, expected)]
    assert_trees_close(*fields, ROLLOUT)


def derivatives_of(solver, omega):
    """Return a loss of all that can be differentiated, its operands, and a direction."""

    def loss(operands):
        omega, until, courant, viscosity, force = operands
        changed = eqx.tree_at(lambda s: (s.viscosity, s.forcing), solver, (viscosity, force))
        result = adaptive(changed, omega, until=until, courant=courant)
        return jnp.sum(jnp.sin(result.omega)) + jnp.sum(result.dt**2)

    operands = omega, jnp.asarray(UNTIL), jnp.asarray(0.5), solver.viscosity, solver.forcing
    directions = normal(5, omega.shape), *map(jnp.asarray, (0.1, 0.05, 0.02)), 0.3 * normal(6, GRID.shape)
    return loss, operands, directions


@pytest.mark.parametrize("case", fast_cases(CASES, 0))
def test_derivatives_of_adaptive_steps(case):
    loss, x, v = derivatives_of(make(*of_case(case), check_finite=False), swirls())
    forward = jax.jit(lambda x: jax.jvp(loss, (x,), (v,))[1])
    value = jax.jit(loss)
    gradient = jax.jit(jax.grad(loss))(x)
    step = 1e-6

    def at(sign):
        return jax.tree.map(lambda a, b: a + sign * step * b, x, v)

    expected = (value(at(1)) - value(at(-1))) / (2 * step)
    parts = [float(jnp.vdot(g, d)) for g, d in zip(gradient, v, strict=True)]
    assert all(abs(part) > 1e-6 for part in parts), parts
    size = sum(map(abs, parts))
    assert abs(forward(x) - expected) < DIFFERENCES * size
    assert abs(sum(parts) - forward(x)) < DOT * size


@pytest.mark.full
@each
@every_backend
def test_second_derivatives_of_adaptive_steps(discretisation, backend):
    loss, x, v = derivatives_of(make(discretisation, backend, check_finite=False), swirls())
    gradient = jax.jit(jax.grad(loss))
    product = jax.jit(lambda x: jax.jvp(jax.grad(loss), (x,), (v,))[1])(x)
    step = 1e-6
    ahead, behind = (gradient(jax.tree.map(lambda a, b, h=h: a + h * b, x, v)) for h in (step, -step))
    expected = jax.tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind)
    for a, e in zip(product, expected, strict=True):
        assert np.linalg.norm(a - e) < 10 * DIFFERENCES * np.linalg.norm(e)
    twice = jax.jit(jax.grad(lambda x: jax.jvp(loss, (x,), (v,))[1]))(x)
    assert_trees_close(twice, product, ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("case", fast_cases(CASES, 3))
def test_adaptive_steps_of_members(case):
    """Members do not depend on each other, and no segment is taken that none needs."""
    solver, omega = make(*of_case(case), check_finite=False), swirls(3)
    batch = jax.jit(lambda w: adaptive(solver, w, until=jnp.asarray([0.5, 1.0, 1.0])))(omega)
    mapped = jax.jit(jax.vmap(lambda w, t: adaptive(solver, w, until=t)))
    untils = jnp.asarray([0.5, 1.0, 1.0])
    others = mapped(omega, untils)
    check_same(others._replace(dt=others.dt.T), batch)
    alone = adaptive(solver, omega[0], until=0.5)
    assert_close(alone.omega, batch.omega[0], ROLLOUT)
    assert alone.steps == batch.steps[0]
    assert "conditional(" in mapped.lower(omega, untils).compile().as_text()


def test_a_segment_that_nobody_needs_costs_nothing():
    """The steps of a rollout are counted by what they cost, in a program that could take a thousand times as many."""
    calls = []
    solver, omega = make(check_finite=False), swirls(1)[0]

    class Counting(NavierStokes2D):
        def rollout(self, omega, **options):
            jax.debug.callback(lambda _: calls.append(1), omega[0, 0])
            return NavierStokes2D.rollout(self, omega, **options)

    counting = Counting(**{field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)})
    result = jax.block_until_ready(adaptive(counting, omega, most_segments=1000))
    deadline = time.perf_counter() + 10
    while len(calls) * EVERY < result.steps and time.perf_counter() < deadline:
        time.sleep(1e-3)
    assert len(calls) * EVERY == result.steps


@pytest.mark.full
def test_memory_of_a_gradient_of_adaptive_steps():
    solver, omega = make(check_finite=False), swirls()

    def temporaries(most):
        gradient = jax.jit(jax.grad(lambda w: jnp.sum(adaptive(solver, w, most_segments=most).omega ** 2)))
        return gradient.lower(omega).compile().memory_analysis().temp_size_in_bytes

    a_segment = (temporaries(300) - temporaries(100)) / 200
    assert omega.nbytes < a_segment < 1.3 * omega.nbytes  # a state, and some numbers


@pytest.mark.full
def test_a_fluid_at_rest_and_the_longest_step():
    solver, rest = make(Spectral(), forcing=None), jnp.zeros(GRID.shape)

    @jax.jit
    def run(omega):
        def loss(omega):
            result = adaptive(solver, omega)
            return jnp.sum(result.omega**2), result.steps

        exact = adaptive(solver, omega, longest=UNTIL / (4 * EVERY))  # rounding adds no segment
        forced = adaptive(make(Spectral()), omega, longest=0.02)
        return jax.value_and_grad(loss, has_aux=True)(omega), exact.steps, forced.dt

    ((_, steps), gradient), of_longest, dt = run(rest)
    assert steps == EVERY
    assert not jnp.any(gradient)
    assert of_longest == 4 * EVERY
    assert jnp.max(dt) == 0.02


@pytest.mark.full
def test_too_few_segments():
    solver, omega = make(), swirls()
    message = r"member 1 has not reached the time `until`.*most_segments=6 of every=3 steps are too few"
    with pytest.raises(RuntimeError, match=message):
        adaptive(solver, omega, most_segments=6)
    with pytest.raises(RuntimeError, match="has not reached"):
        jax.block_until_ready(jax.jit(lambda w: adaptive(solver, w, most_segments=6))(omega))
    result, flag = adaptive(solver, omega, most_segments=6, check="flag")
    assert not flag
    assert result.time[0] == UNTIL
    assert 0 < result.time[1] < UNTIL


@pytest.mark.full
def test_members_that_are_not_finite_do_not_stop_the_others():
    solver, omega = make(), swirls(3)
    good, _ = adaptive(solver, omega, check="flag")
    result, flag = adaptive(solver, omega.at[1, 0, 0].set(jnp.inf), check="flag")
    np.testing.assert_array_equal(flag.step, [-1, 0, -1])
    np.testing.assert_array_equal(result.time, [UNTIL, 0, UNTIL])
    assert_close(result.omega[::2], good.omega[::2])
    with pytest.raises(RuntimeError, match="member 1 is not finite"):
        adaptive(solver, omega.at[1, 0, 0].set(jnp.inf))
    unstable, flag = adaptive(solver, omega, courant=40.0, until=100.0, check="flag")
    assert flag.first()[0] > 0
    assert jnp.all(jnp.isfinite(unstable.time))


@pytest.mark.full
@pytest.mark.parametrize("case", fast_cases(CASES, 0))
def test_adaptive_steps_of_members_over_devices(case):
    discretisation, backend = of_case(case)
    solver, omega = make(discretisation, backend, check_finite=False), swirls(4)
    mesh = jax.make_mesh((4,), ("members",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("members")
    placed = jax.device_put(omega, NamedSharding(mesh, spec))

    def run(omega):
        return adaptive(solver, omega)

    expected = jax.jit(run)(omega)
    check_same(jax.jit(run)(placed), expected)
    out_specs = wns._adaptive.AdaptiveSteps(spec, spec, spec, PartitionSpec(None, "members"))
    check_same(jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=out_specs))(omega), expected)
