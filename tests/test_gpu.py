"""Tests on CUDA. None needs Warp's CPU backend."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal
from tolerances import DOT, GPU, GPU_GRADIENT, allowed_on_gpu, relative_error

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Obstacle,
    _ffi,
    jacobian,
    laplacian,
    streamfunction,
)
from warpjaxns._kernels.finite_difference.planner import make_plan

pytestmark = pytest.mark.gpu
# powers of two, threes and fives, odd sizes, the smallest, and large ones
SHAPES = [(64, 96), (96, 64), (256, 128), (512, 512), (1000, 500), (45, 75), (4, 6), (2048, 1024)]
DTYPES = ["float32", "float64"]
SMALL = Grid((64, 96), (2.0, 3.5))


def field(grid, dtype, seed=0, members=()):
    """Return smooth noise of unit size: white noise through the inverse Laplacian."""
    noise = normal(seed, (*members, *grid.shape), dtype)
    smooth = streamfunction(grid, noise, backend="xla")
    return smooth / jnp.std(smooth)


def make(grid, backend, **options):
    dt = 0.1 * min(grid.spacing)
    defaults = {"viscosity": 0.01 * min(grid.spacing), "dt": dt, "drag": 0.1, "check_finite": False}
    return NavierStokes2D(grid, backend=backend, **(defaults | options))


def close(actual, expected, table):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert relative_error(a, e) < table[a.dtype.name]


def loss(solver, omega, control=None, steps=6):
    return jnp.mean(jnp.sin(solver.rollout(omega, steps=steps, forcing=control)))


def gradients(solver, omega, control=None, steps=6):
    return jax.value_and_grad(loss, (0, 1))(solver, omega, control, steps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_operators_agree(shape, dtype):
    grid = Grid(shape, (2.0, 3.5))
    a, b = field(grid, dtype, 0, (2,)), field(grid, dtype, 1, (2,))
    for f in (streamfunction, laplacian, functools.partial(jacobian, b=b)):
        actual, expected = (jax.jit(functools.partial(f, grid, backend=name))(a) for name in ("warp", "xla"))
        close(actual, expected, GPU)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[:6], ids=str)
def test_rollouts_and_gradients_agree(shape, dtype):
    grid = Grid(shape, (2.0, 3.5))
    omega = field(grid, dtype, 0, (2,))
    for scheme in ("arakawa", "central") if shape == SHAPES[0] else ("arakawa",):
        solvers = [make(grid, name, discretisation=FiniteDifference(scheme)) for name in ("warp", "xla")]
        close(*(jax.jit(lambda w, s=s: s.rollout(w, steps=6))(omega) for s in solvers), GPU)
        solvers = [jax.tree.map(lambda leaf: leaf.astype(dtype), solver) for solver in solvers]
        close(*(jax.jit(gradients)(s, omega) for s in solvers), GPU_GRADIENT)
        close(*(jax.jit(lambda w, s=s: jax.jvp(s.step, (w,), (w,)))(omega) for s in solvers), GPU)


# of 3, 40, 72, 100 and 324 threads a line, which wait for all of their block
@pytest.mark.parametrize("shape", [(48, 36), (48, 1200), (48, 2160), (40, 3000), (48, 3888)], ids=str)
def test_lines_of_some_threads(shape):
    grid = Grid(shape, (0.1, 3.5))
    omega = field(grid, "float32", 0, (2,))
    solvers = [jax.tree.map(lambda x: x.astype("float32"), make(grid, name)) for name in ("warp", "xla")]
    close(*(jax.jit(gradients)(s, omega) for s in solvers), GPU_GRADIENT)
    close(*(jax.jit(lambda w, s=s: jax.jvp(s.step, (w,), (w,)))(omega) for s in solvers), GPU)


@pytest.mark.parametrize("shape", [(64, 64), (32, 128), (48, 30), (128, 128)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_resident_members(shape, dtype, scheme):
    members, grid = 70, Grid(shape, (2.0, 3.5))
    assert make_plan(shape, dtype, members).resident.blocks == (2 if (shape, dtype) == ((128, 128), "float64") else 1)
    omega, control = field(grid, dtype, 0, (members,)), 0.1 * normal(1, (6, members, *shape), dtype)
    viscosity = (0.01 * min(grid.spacing) * (1 + jnp.arange(members) / members)).astype(dtype)
    both = jax.value_and_grad(loss, (0, 1, 2))
    for adjoint in (Direct(), Checkpointed(3)):
        solvers = [
            make(grid, n, discretisation=FiniteDifference(scheme), viscosity=viscosity, adjoint=adjoint)
            for n in ("warp", "xla")
        ]
        solvers = [jax.tree.map(lambda leaf: leaf.astype(dtype), solver) for solver in solvers]
        close(*(jax.jit(lambda s, w, c: both(s, w, c, 6))(s, omega, control) for s in solvers), GPU_GRADIENT)
    close(*(jax.jit(lambda w, s=s: s.rollout(w, steps=40))(omega) for s in solvers), GPU)
    push = [lambda w, c, s=s: s.rollout(w, steps=6, forcing=c) for s in solvers]
    close(*(jax.jit(lambda w, c, f=f: jax.jvp(f, (w, c), (c[0], c)))(omega, control) for f in push), GPU)


@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(4), Checkpointed()], ids=str)
def test_adjoints_agree_with_a_control(adjoint):
    omega, control = field(SMALL, "float64"), 0.1 * normal(1, (16, *SMALL.shape))

    def run(name, adjoint):
        solver = make(SMALL, name, adjoint=adjoint, forcing=normal(2, SMALL.shape))
        both = jax.grad(loss, (0, 1, 2))
        return jax.jit(lambda s, w, c: both(s, w, c, 16))(solver, omega, control)

    close(run("warp", adjoint), run("xla", Direct()), GPU_GRADIENT)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transforms(dtype):
    omega = field(SMALL, dtype, 0, (3,))
    viscosities = jnp.asarray([0.001, 0.002, 0.003], dtype)

    def of(name):
        def f(w, nu):
            return jnp.mean(jnp.sin(make(SMALL, name, viscosity=nu).rollout(w, steps=3)))

        def product(w, nu):
            return jax.jvp(jax.grad(f, (0, 1)), (w, nu), (w, nu))[1]

        both = jax.vmap(jax.value_and_grad(f, (0, 1)))
        checkpointed = jax.checkpoint(
            lambda w: jax.lax.scan(lambda w, _: (make(SMALL, name).step(w), None), w, None, 4)[0]
        )
        return {
            "vmap of grad": both(omega, viscosities),
            "one parameter for all": jax.grad(lambda nu: jax.vmap(f, (0, None))(omega, nu).sum())(viscosities[0]),
            "hvp": product(omega[0], viscosities[0]),
            "vmap of hvp": jax.vmap(product)(omega, viscosities),
            "checkpoint of scan": jax.grad(lambda w: jnp.mean(jnp.sin(checkpointed(w))))(omega[0]),
            "linear transpose": jax.linear_transpose(
                jax.linearize(lambda w: f(w, viscosities[0]), omega[0])[1], omega[0]
            )(jnp.ones((), dtype)),
        }

    actual, expected = (jax.jit(functools.partial(of, name))() for name in ("warp", "xla"))
    assert actual.keys() == expected.keys()
    for name in actual:
        close(actual[name], expected[name], GPU_GRADIENT)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8192, 8192), "float32"), ((4096, 4096), "float64"), ((64, 32768), "float32"), ((64, 16384), "float64")],
    ids=str,
)
def test_the_longest_lines(shape, dtype):
    grid = Grid(shape, (2.0, 3.5))
    omega = field(grid, dtype) + 0.3 * normal(1, shape, dtype)  # noise, which a step changes by more than rounding
    # all tangents go through memory, and all steps but those of the second
    solvers = [make(grid, name) for name in ("warp", "xla")]
    close(*(jax.jit(lambda w, s=s: jax.jvp(s.step, (w,), (w,)))(omega) for s in solvers), GPU)


def test_dot_product():
    solver, omega = make(SMALL, "warp"), field(SMALL, "float64")
    v, w = normal(3, SMALL.shape), normal(4, SMALL.shape)
    along = jax.jit(lambda v: jax.jvp(lambda x: solver.rollout(x, steps=8), (omega,), (v,))[1])(v)
    back = jax.jit(lambda w: jax.vjp(lambda x: solver.rollout(x, steps=8), omega)[1](w)[0])(w)
    assert abs(jnp.sum(along * w) - jnp.sum(v * back)) < DOT * jnp.linalg.norm(along) * jnp.linalg.norm(w)


@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(5)], ids=str)
def test_gradients_repeat_bit_by_bit(adjoint):
    solver, omega = make(Grid((256, 128)), "warp", adjoint=adjoint), field(Grid((256, 128)), "float32", 0, (2,))
    run = jax.jit(functools.partial(gradients, steps=20))
    first = jax.tree.leaves(run(solver, omega))
    for _ in range(3):
        for a, b in zip(first, jax.tree.leaves(run(solver, omega + 0)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed()], ids=str)
def test_training_replays_captured_graphs(adjoint):
    solver = make(SMALL, "warp", adjoint=adjoint)
    base = field(SMALL, "float32")

    @jax.jit
    def update(perturbation, momentum):
        value, grad = jax.value_and_grad(lambda p: -loss(solver, base + p, steps=40))(perturbation)
        momentum = 0.9 * momentum + grad
        return perturbation - 0.1 * momentum, momentum, value

    state = jnp.zeros_like(base), jnp.zeros_like(base)
    values, launches = [], []
    for _ in range(60):  # fresh arrays each time, old ones dropped, values kept: as in real training
        *state, value = update(*state)
        values.append(value)
        launches.append(_ffi.statistics()["launches"])
    assert np.isfinite(values).all()
    assert launches[-1] == launches[0]
    assert values[-1] < values[0]


def test_peak_memory():
    grid = Grid((256, 256))
    omega, size = field(grid, "float32"), 256 * 256 * 4

    def fields(adjoint, steps):
        solver = make(grid, "warp", adjoint=adjoint)
        compiled = jax.jit(lambda w: jax.grad(loss, 1)(solver, w, None, steps)).lower(omega).compile()
        return compiled.memory_analysis().temp_size_in_bytes / size

    direct, checkpointed = fields(Direct(), 400), fields(Checkpointed(), 400)
    assert 6 * 400 < direct < 6 * 400 + 10 * 64  # what is kept, and one call's share of it once more
    assert 6 * 48 < checkpointed < 6 * 50 + 400 / 25 + 20  # the stages of 50 steps, and a state every 25


def test_auto_is_warp_here():
    text = jax.jit(lambda w: make(SMALL, "auto").step(w)).lower(field(SMALL, "float32")).as_text()
    assert "warp" in text.lower()
    assert "fft" not in text.lower()


@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(4)], ids=str)
def test_dependent_launch_changes_no_bit(adjoint, monkeypatch):
    grid = Grid((192, 96))  # too long for members that one kernel takes through all steps
    solver, omega = make(grid, "warp", adjoint=adjoint), field(grid, "float32", 0, (2,))
    dependencies, results = [], []
    for how in (_ffi.make_programmatic, lambda graph: 0):
        monkeypatch.setattr(_ffi, "make_programmatic", lambda graph, how=how: dependencies.append(how(graph)))
        _ffi.clear()
        results.append(jax.tree.leaves(jax.jit(gradients)(solver, omega)))
    assert dependencies[0] > 10
    assert dependencies[-1] == 0
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_garbage_is_collected_while_a_graph_is_captured(monkeypatch):
    """XLA unloads the modules of dropped programs in the thread that drops them."""
    solver, omega = make(SMALL, "warp"), field(SMALL, "float32")
    expected, run, collected = solver.rollout(omega, steps=3), _ffi._run, []

    def collect(*arguments):
        collected.append(gc.collect())
        run(*arguments)

    monkeypatch.setattr(_ffi, "_run", collect)
    _ffi.clear()
    jax.clear_caches()
    gc.disable()
    try:
        cycle = [jax.jit(lambda x: x * jnp.sin(x)).lower(omega).compile()]
        cycle.append(cycle)
        del cycle
        np.testing.assert_array_equal(solver.rollout(omega, steps=3), expected)
    finally:
        gc.enable()
    assert collected[0] > 0
    assert len(collected) == 1  # the capture did not begin again


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["hypodrag", "radius", "medium"])
@pytest.mark.parametrize(
    ("shape", "members"), [((64, 64), 1), ((128, 128), 4), ((256, 192), 1), ((45, 75), 3), ((512, 512), 8)], ids=str
)
def test_further_terms(shape, members, kind, dtype):
    """Resident members, whole columns and slabs; derivatives by the radius are composed of operators."""
    grid = Grid(shape, (2.0, 3.5))
    omega, weight = field(grid, "float64", members=(members,)), normal(5, (members, *shape))
    numbers = {"beta": 5.0, "mean_flow": (0.4, -0.3), "hypodrag": 0.5, "deformation_radius": 0.3}
    numbers.pop({"radius": "hypodrag"}.get(kind, "deformation_radius"))
    given = {name: jax.tree.map(jnp.asarray, value) for name, value in numbers.items()}
    if kind == "medium":
        given |= {"topography": field(grid, "float64", 1), "mask": jax.nn.sigmoid(field(grid, "float64", 2))}

    def solver_of(backend, numbers):
        terms = dict(numbers)
        if "mask" in terms:
            terms["obstacle"] = Obstacle(terms.pop("mask"), 0.5)
        return make(grid, backend, **terms)

    def results(backend, omega, given, held):
        def rollout(omega, given):
            return solver_of(backend, given | held).rollout(omega, steps=6)

        out, tangent = jax.jvp(rollout, (omega, given), (omega, given))
        gradient = jax.grad(lambda *x: jnp.mean(weight.astype(omega.dtype) * jnp.sin(rollout(*x))), (0, 1))
        return out, tangent, gradient(omega, given)

    held = {name: given.pop(name) for name in ("deformation_radius",) if name in given}
    runs = {name: jax.jit(functools.partial(results, name)) for name in ("warp", "xla")}
    for split in ([given, held], [given | held, {}]) if held else ([given, held],):
        x = jax.tree.map(lambda a: a.astype(dtype), (omega, *split))
        exact = runs["xla"](*jax.tree.map(lambda a: a.astype("float64"), x))
        for actual, of_xla, reference in zip(
            *map(jax.tree.leaves, (runs["warp"](*x), runs["xla"](*x), exact)), strict=True
        ):
            allowed = max(1.5 * relative_error(of_xla, reference), GPU_GRADIENT[dtype])
            if kind == "medium":
                allowed = allowed_on_gpu(dtype, relative_error(of_xla, reference), shape, actual.size, twice=True)
            assert relative_error(actual, reference) <= allowed
