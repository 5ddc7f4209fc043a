"""Tests of the spectral kernels on CUDA, against XLA. None needs Warp's CPU backend."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal
from test_gpu import field
from tolerances import DOT, GPU, GPU_GRADIENT, relative_error

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, Spectral, _ffi
from warpjaxns._kernels.spectral.planner import make_plan

pytestmark = pytest.mark.gpu
EXACT, SMOOTH = Spectral("rk4", "two-thirds"), Spectral("rk3", "smooth")
# shape, members, discretisation: resident and not, powers of two, threes and fives, odd sizes, and long lines
CASES = [
    ((64, 64), 1, EXACT),
    ((64, 64), 64, SMOOTH),
    ((64, 48), 140, EXACT),
    ((96, 96), 2, SMOOTH),
    ((96, 96), 1, EXACT),
    ((128, 128), 64, EXACT),
    ((128, 128), 140, SMOOTH),
    ((45, 75), 3, SMOOTH),
    ((256, 192), 1, EXACT),
    ((512, 512), 1, SMOOTH),
    ((1024, 128), 1, EXACT),
    ((540, 100), 2, EXACT),
]
ADJOINTS = {"direct": Direct(), "checkpointed": Checkpointed(3)}
DTYPES = ["float32", "float64"]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
STEPS = 10
NAMES = "viscosity", "drag", "dt", "omega", "control"


def make(grid, backend, discretisation=EXACT, adjoint=None, **options):
    spacing = min(grid.spacing)
    given = {"viscosity": 0.02 * spacing, "dt": 0.2 * spacing, "drag": 0.1, "adjoint": adjoint or Direct(), **options}
    return NavierStokes2D(grid, discretisation=discretisation, backend=backend, check_finite=False, **given)


def operands(shape, members, dtype):
    """Return a grid, viscosities, a state and a forcing for every step, in float64 of no more digits than the type."""
    grid = Grid(shape, (2.0, 3.5))
    viscosity = 0.02 * min(grid.spacing) * (1 + np.arange(members) / members)
    omega, control = field(grid, "float64", 0, (members,)), 0.1 * normal(1, (STEPS, members, *shape))
    return grid, *(jnp.asarray(x, dtype).astype("float64") for x in (viscosity, omega, control))


def derivatives(backend, grid, discretisation, viscosity, omega, control):
    """Return a rollout, its derivative, and the gradient of a loss with either adjoint."""

    def rollout(adjoint, viscosity, drag, dt, omega, control):
        solver = make(grid, backend, discretisation, adjoint, viscosity=viscosity, drag=drag, dt=dt)
        return solver.rollout(omega, steps=STEPS, forcing=control)

    spacing, dtype = jnp.asarray(min(grid.spacing), omega.dtype), omega.dtype
    x = viscosity, jnp.asarray(0.1, dtype), 0.2 * spacing, omega, control
    push = functools.partial(rollout, Direct())
    results = {"rollout": push(*x), "jvp": jax.jvp(push, x, x)[1]}
    for name, adjoint in ADJOINTS.items():

        def loss(*x, adjoint=adjoint):
            return jnp.mean(jnp.sin(rollout(adjoint, *x)))

        results[name] = dict(zip(NAMES, jax.grad(loss, range(5))(*x), strict=True))
    return results


def compare(actual, xla, exact, most=1.5):
    """Compare with XLA in float64. The error of float32 fields may be so many times XLA's."""
    for path, value in jax.tree_util.tree_leaves_with_path(actual):
        of_xla, reference = (functools.reduce(lambda t, key: t[key.key], path, tree) for tree in (xla, exact))
        assert value.dtype == of_xla.dtype
        allowed = most * relative_error(of_xla, reference)
        if value.dtype == "float64" or value.size < 1000:  # of single numbers XLA's error may be small by chance
            allowed = max(allowed, (GPU if len(path) == 1 else GPU_GRADIENT)[value.dtype.name])
        error = relative_error(value, reference)
        assert error <= allowed, f"{jax.tree_util.keystr(path)}: {error:.2e} > {allowed:.2e}"


@every_dtype
@pytest.mark.parametrize(("shape", "members", "discretisation"), CASES, ids=str)
def test_rollouts_and_derivatives(shape, members, discretisation, dtype):
    grid, *x = operands(shape, members, dtype)
    runs = {name: jax.jit(functools.partial(derivatives, name, grid, discretisation)) for name in ("warp", "xla")}
    exact, given = runs["xla"](*x), [a.astype(dtype) for a in x]
    compare(runs["warp"](*given), runs["xla"](*given), exact)


@every_dtype
@pytest.mark.parametrize(
    ("shape", "members"), [((64, 96), 1), ((64, 64), 140), ((256, 192), 1), ((45, 75), 3)], ids=str
)
def test_further_linear_terms(shape, members, dtype):
    grid, viscosity, omega, _ = operands(shape, members, "float64")
    weight = normal(5, omega.shape)  # a mean over the box would not depend on the mean flow
    terms = {"beta": 5.0, "mean_flow": (0.4, -0.3), "hyperviscosity": 1e-8, "hypodrag": 0.5, "deformation_radius": 0.3}

    def results(backend, viscosity, omega, terms):
        def rollout(viscosity, omega, terms):
            return make(grid, backend, viscosity=viscosity, **terms).rollout(omega, steps=STEPS)

        x = viscosity, omega, terms
        gradient = jax.grad(lambda *x: jnp.mean(weight.astype(x[1].dtype) * jnp.sin(rollout(*x))), (0, 1, 2))(*x)
        out, tangent = jax.jvp(rollout, x, x)
        return {"rollout": out, "jvp": tangent, "viscosity": gradient[0], "omega": gradient[1], "terms": gradient[2]}

    terms = jax.tree.map(lambda value: jnp.asarray(value, "float64"), terms)
    runs = {name: jax.jit(functools.partial(results, name)) for name in ("warp", "xla")}
    given = jax.tree.map(lambda a: a.astype(dtype), (viscosity, omega, terms))
    exact = runs["xla"](*jax.tree.map(lambda a: a.astype("float64"), given))
    for actual, of_xla, reference in zip(
        *map(jax.tree.leaves, (runs["warp"](*given), runs["xla"](*given), exact)), strict=True
    ):
        allowed = max(1.5 * relative_error(of_xla, reference), GPU_GRADIENT[dtype])
        assert relative_error(actual, reference) <= allowed


def test_what_is_resident_and_what_is_not():
    """The cases above have members that are resident, and grids that are not."""
    plans = [make_plan(shape, "float32", discretisation.dealiasing, n) for shape, n, discretisation in CASES]
    assert {plan.resident is None for plan in plans} == {True, False}
    assert {max(plan.shape) for plan in plans if plan.resident} == {64, 128}


LONG = [((8192, 16), "float32"), ((16, 8192), "float32"), ((4096, 16), "float64"), ((16, 4096), "float64")]


@pytest.mark.parametrize(("shape", "dtype"), LONG, ids=str)
def test_the_longest_lines(shape, dtype):
    """Four columns do not fit a block: the tangent is not fused, and the sweep takes columns in turns."""
    grid = Grid(shape, tuple(0.01 * n for n in shape))
    omega = field(grid, "float64").astype(dtype)

    def results(backend, omega):
        solver = make(grid, backend, dt=2e-4)  # waves as long as the box are fast
        gradient = jax.grad(lambda w: jnp.mean(jnp.sin(solver.rollout(w, steps=3))))(omega)
        return {
            **dict(zip(("step", "jvp"), jax.jvp(solver.step, (omega,), (omega,)), strict=True)),
            "gradient": gradient,
        }

    warp, xla = (jax.jit(functools.partial(results, name)) for name in ("warp", "xla"))
    # rounding grows a thousandfold here; measured were factors up to 3
    compare(warp(omega), xla(omega), xla(omega.astype("float64")), most=4)


@pytest.mark.parametrize(("shape", "members"), [((64, 96), 1), ((64, 64), 70), ((96, 45), 2)], ids=str)
def test_dot_product(shape, members):
    grid, viscosity, omega, control = operands(shape, members, "float64")
    solver = make(grid, "warp", viscosity=viscosity)
    v, w = normal(3, omega.shape), normal(4, omega.shape)

    def rollout(x):
        return solver.rollout(x, steps=STEPS, forcing=control)

    along = jax.jit(lambda v: jax.jvp(rollout, (omega,), (v,))[1])(v)
    back = jax.jit(lambda w: jax.vjp(rollout, omega)[1](w)[0])(w)
    assert abs(jnp.sum(along * w) - jnp.sum(v * back)) < DOT * jnp.linalg.norm(along) * jnp.linalg.norm(w)


@every_dtype
@pytest.mark.parametrize(("shape", "members"), [((256, 128), 2), ((64, 64), 140), ((96, 100), 1)], ids=str)
def test_bits_repeat(shape, members, dtype, monkeypatch):
    """Fresh arrays, fresh graphs, and graphs without programmatic launches give the same bits."""
    grid, *x = operands(shape, members, dtype)
    x = [a.astype(dtype) for a in x]

    def run():
        return jax.tree.leaves(jax.jit(functools.partial(derivatives, "warp", grid, EXACT))(*x))

    first = run()
    again = [run()]
    _ffi.clear()
    again.append(run())
    monkeypatch.setattr(_ffi, "make_programmatic", lambda graph: 0)
    _ffi.clear()
    again.append(run())
    for other in again:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


@every_dtype
def test_long_rollouts_do_not_drift(dtype):
    """Graphs are launched many times, and rounding does not add up: 2000 steps of a flow that hardly decays."""
    grid = Grid((64, 96), (2.0, 3.5))
    omega = field(grid, "float64")
    rollouts = {}
    for name, of in (("warp", dtype), ("xla", dtype), ("exact", "float64")):
        solver = make(grid, "xla" if name == "exact" else name, viscosity=1e-5, dt=1e-3)
        rollouts[name] = jax.jit(lambda w, s=solver: s.rollout(w, steps=2000))(omega.astype(of))
    error, of_xla = (relative_error(rollouts[name], rollouts["exact"]) for name in ("warp", "xla"))
    assert error < (1e-10 if dtype == "float64" else 1.5 * of_xla)
    assert of_xla < 1e-4


@pytest.mark.parametrize("adjoint", ADJOINTS.values(), ids=ADJOINTS)
def test_training_replays_captured_graphs(adjoint):
    grid = Grid((64, 96), (2.0, 3.5))
    solver, base = make(grid, "warp", adjoint=adjoint), field(grid, "float32")

    @jax.jit
    def update(perturbation):
        value, grad = jax.value_and_grad(lambda p: -jnp.mean(jnp.sin(solver.rollout(base + p, steps=40))))(perturbation)
        return perturbation - grad, value

    perturbation, values, launches = jnp.zeros_like(base), [], []
    for _ in range(20):  # fresh arrays each time, old ones dropped, values kept
        perturbation, value = update(perturbation)
        values.append(value)
        launches.append(_ffi.statistics()["launches"])
    assert np.isfinite(values).all()
    assert launches[-1] == launches[0]
    assert values[-1] < values[0]
