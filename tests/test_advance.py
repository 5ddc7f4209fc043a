"""The fused primitives against JAX's own derivatives of the oracle."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.test_util import check_grads
from layouts import always, fast_backends, fast_cases, hand_in
from oracle import directions, normal, vdot
from tolerances import DIFFERENCES, DOT, ROLLOUT, assert_close, assert_trees_close

from warpjaxns import Grid, NavierStokes2D
from warpjaxns._finite_difference import advance as primitives
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.planner import make_plan

SMALL, WIDE = Grid((6, 10), (2.0, 3.5)), Grid((9, 12), (0.7, 1.9))  # of WIDE, one slab overhangs
BACKENDS = ["warp", "xla"]
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, steps, and the operands that members share."""

    grid: Grid = WIDE
    scheme: str = "arakawa"
    dtype: str = "float64"
    steps: int = 3
    direct: int = 0  # repetitions at the end whose stages reverse mode keeps
    batch: int = 2
    per_member: tuple[str, ...] = ()
    forcing: str = "steady"

    def __str__(self):
        parts = self.dtype, self.scheme, self.forcing, f"direct{int(self.direct)}" * (self.direct > 0), *self.per_member
        return f"{self.grid.shape[0]}x{self.grid.shape[1]}-{self.steps}-" + "-".join(filter(None, parts))

    def fused(self, backend):
        """Return the primitive of a backend, or the oracle."""
        if backend == "oracle":
            return self.oracle
        where = {"grid": self.grid, "scheme": self.scheme, "steps": self.steps}
        return functools.partial(primitives.advance, **where, direct=self.direct, backend=backend)

    @property
    def oracle(self):
        return functools.partial(oracle.advance, grid=self.grid, scheme=self.scheme, steps=self.steps)

    def operands(self, seed=0):
        def count(name):
            return self.batch if name in self.per_member else 1

        dx, dy = self.grid.spacing
        omega = normal(seed, (self.batch, *self.grid.shape), self.dtype)
        # a few percent of the stability limit would hide the nonlinear terms: use a good part of it
        scales = {"viscosity": 0.02 * min(dx, dy), "drag": 0.3, "dt": 0.2 * min(dx, dy)}
        values = [jnp.asarray(scale * (1 + np.arange(count(name)) / 3), self.dtype) for name, scale in scales.items()]
        steps = {"none": 1, "steady": 1, "per step": self.steps}[self.forcing]
        shape = (1,) * 4 if self.forcing == "none" else (steps, count("forcing"), *self.grid.shape)
        forcing = (
            jnp.asarray(np.zeros(shape), self.dtype) if self.forcing == "none" else normal(seed + 1, shape, self.dtype)
        )
        return omega, *values, forcing

    def like(self, operands, seed):
        """Return random directions, in the unit of each operand; zero for a missing forcing."""
        return directions(operands, seed, self.dtype)


ALL = ("viscosity", "drag", "dt", "forcing")
CASES = [
    Case(scheme="arakawa", steps=1, forcing="none"),
    Case(scheme="central", per_member=ALL, forcing="per step"),
    Case(scheme="arakawa", per_member=ALL, forcing="per step", direct=True),
    Case(scheme="central", per_member=("viscosity",), direct=True),
    Case(grid=SMALL, scheme="arakawa", per_member=("dt", "forcing"), batch=3),
    Case(grid=SMALL, scheme="central", steps=1, per_member=("drag",), batch=1, direct=True),
    Case(scheme="arakawa", dtype="float32", forcing="per step"),
    Case(scheme="central", dtype="float32", per_member=ALL, direct=True),
]


@functools.cache
def expected(case):
    """Return value, jvp and vjp of the oracle."""
    operands = case.operands()
    return jax.jit(functools.partial(derivatives, case.oracle, case))(operands)


def derivatives(f, case, operands):
    with jax.ensure_compile_time_eval():  # as constants of the program
        tangents = case.like(case.operands(), 10)
    value, tangent = jax.jvp(f, operands, tangents)
    cotangent = normal(20, value.shape, case.dtype)
    return value, tangent, jax.vjp(f, *operands)[1](cotangent)[: 4 if case.forcing == "none" else 5]


def check(case):
    """Compare value and derivatives of Warp's kernels with the oracle's."""
    check_against(expected(case), case.fused("warp"), case)


def check_against(standard, f, case):
    """Compare a function's derivatives, and its value with and without differentiation, which are two programs."""
    x = case.operands()
    assert_close(jax.jit(f)(*x), standard[0])
    assert_trees_close(jax.jit(functools.partial(derivatives, f, case))(x), standard, ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_a_sweep_of_three_kernels_a_stage(scheme, monkeypatch):
    """Test the sweep of a saturated device. The sweeps of all other tests here are fused."""
    grid = WIDE
    assert make_plan(grid.shape, "float64").for_adjoint.fused
    hand_in(monkeypatch, {"SWEEP": {4096: always(tuning.Sweep(4, 512, False))}})
    assert not make_plan(grid.shape, "float64").for_adjoint.fused
    case = Case(grid=grid, scheme=scheme, per_member=ALL, forcing="per step", direct=True)
    cotangent = normal(20, (case.batch, *grid.shape))

    @jax.jit
    def run(x):
        value, pullback = jax.vjp(case.fused("warp"), *x)
        return value, pullback(cotangent)

    value, _, gradient = expected(case)
    assert_trees_close(run(case.operands()), (value, gradient), ROLLOUT)


def check_segments(grid, adjoint, viscosity=0.01):
    """Compare rollouts that repeat a segment, and their derivatives, with XLA."""
    omega = normal(0, (3, *grid.shape))

    def run(backend, function):
        solver = NavierStokes2D(
            grid, viscosity=viscosity, dt=0.01, adjoint=adjoint, backend=backend, check_finite=False
        )
        return jax.jit(function(lambda w: solver.rollout(w, steps=10)))(omega)

    for function in (lambda f: f, lambda f: jax.grad(lambda w: jnp.sum(f(w) ** 3)), lambda f: jax.jacfwd(f)):
        assert_close(run("warp", function), run("xla", function), ROLLOUT)


@pytest.mark.parametrize(("backend", "case"), fast_backends(CASES, {"warp": [2], "xla": [2]}), ids=str)
def test_value_jvp_and_vjp(backend, case):
    check_against(expected(case), case.fused(backend), case)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", CASES[1:3], ids=str)  # whose members share nothing, of either scheme
def test_dot_product(case, backend):
    f, operands = case.fused(backend), case.operands()
    everything = case.like(operands, 30)
    w = normal(40, operands[0].shape)
    forward = jax.jit(lambda v: jax.jvp(f, operands, v)[1])
    backward = jax.jit(lambda w: jax.vjp(f, *operands)[1](w))(w)
    alone = range(4 if case.forcing == "none" else 5)
    for only in [*alone, None]:  # each operand alone, then all at once
        v = tuple(x if only in (None, i) else np.zeros_like(x) for i, x in enumerate(everything))
        along = forward(v)
        scale = np.linalg.norm(along) * np.linalg.norm(w)
        assert abs(vdot(along, w) - vdot(v, backward)) <= DOT * scale
        assert scale > 1e-3


WRT = [(0,), (1,), (2, 3), (4,), (0, 4)]


@pytest.mark.full
@pytest.mark.parametrize(("backend", "wrt"), fast_backends(WRT, {"warp": [2]}), ids=str)
def test_part_of_the_arguments(backend, wrt):
    case = Case(grid=SMALL, per_member=("drag",), forcing="per step")
    operands, w = case.operands(), normal(3, (case.batch, *SMALL.shape))

    def gradient(f):
        return jax.jit(jax.grad(lambda *x: vdot(f(*x), w), wrt))(*operands)

    assert_trees_close(gradient(case.fused(backend)), gradient(case.oracle), ROLLOUT)


def loss(f):
    return lambda x: jnp.sum(jnp.sin(f(*x)))


SECOND = [
    Case(grid=SMALL, per_member=("viscosity", "forcing"), forcing="per step", steps=2),
    Case(grid=SMALL, scheme="central", per_member=("dt",), direct=True, steps=2),
]


@functools.cache
def forward_over_reverse(case):
    """Return second derivatives of the oracle, forward over reverse."""
    x = case.operands()
    return jax.jit(lambda v: jax.jvp(jax.grad(loss(case.oracle)), (x,), (v,))[1])(case.like(x, 50))


@pytest.mark.full
@pytest.mark.parametrize(("backend", "case"), fast_backends(SECOND, {"warp": [0]}), ids=str)
def test_hessian_vector_products(backend, case):
    x = case.operands()
    v, w = case.like(x, 50), case.like(x, 60)
    standard = forward_over_reverse(case)

    def compositions(f):
        f = loss(f)
        over = {
            "forward over reverse": lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1],
            "reverse over forward": lambda v: jax.grad(lambda y: jax.jvp(f, (y,), (v,))[1])(x),
            "reverse over reverse": lambda v: jax.grad(lambda y: vdot(jax.grad(f)(y), v))(x),
        }
        over = {name: jax.jit(hvp) for name, hvp in over.items()}
        return {name: hvp(v) for name, hvp in over.items()}, over["forward over reverse"](w)

    products, along_w = compositions(case.fused(backend))
    for hv in products.values():
        assert_trees_close(hv, standard, ROLLOUT)
        norms = [np.sqrt(vdot(a, a)) for a in (hv, w)]
        assert abs(vdot(hv, w) - vdot(v, along_w)) < DOT * norms[0] * norms[1]


@functools.cache
def hessian(case, backend):
    """Return the Hessian with respect to scales of state, viscosity, drag, dt and forcing, in all mixed blocks."""
    omega, *parameters, forcing = case.operands()

    def value(s):
        scaled = [s[1 + i] * p for i, p in enumerate(parameters)]
        return loss(case.fused(backend))((s[0] * omega, *scaled, s[4] * forcing))

    return jax.jit(jax.hessian(value))(jnp.ones(5))


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", SECOND, ids=str)
def test_hessian(case, backend):
    assert_close(hessian(case, backend), hessian(case, "oracle"), ROLLOUT)


@every_backend
def test_the_tangent_is_linear_in_small_directions(backend):
    case = Case()
    x = case.operands()
    v = case.like(x, 10)
    tangent = jax.jit(lambda v: jax.jvp(case.fused(backend), x, v)[1])
    tiny = jax.tree.map(lambda a: 2.0**-30 * np.asarray(a), v)
    assert_close(2.0**30 * np.asarray(tangent(tiny)), tangent(v))


@pytest.mark.full
@pytest.mark.parametrize(("backend", "case"), [("warp", SECOND[0]), ("xla", SECOND[1])])
def test_against_differences(case, backend):
    f, (omega, nu, mu, dt, forcing) = jax.jit(loss(case.fused(backend))), case.operands()

    def value(omega, s, forcing):
        return f((omega, s[0] * nu, s[1] * mu, s[2] * dt, forcing))

    check_grads(
        jax.jit(value),
        (omega, jnp.ones(3), forcing),
        order=2,
        modes=["fwd", "rev"],
        atol=DIFFERENCES,
        rtol=DIFFERENCES,
    )


@pytest.mark.covering(1)
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 0))
@pytest.mark.parametrize("direct", fast_cases([False, True], 1))
def test_linearize_and_transpose(direct, backend):
    case = Case(direct=direct, per_member=("viscosity",), forcing="per step")
    x = case.operands()
    v, w = case.like(x, 70), normal(80, x[0].shape)

    @jax.jit
    def run(x, v, w):
        out, tangent = jax.linearize(case.fused(backend), *x)
        transposed = jax.linear_transpose(tangent, *x)(w)
        (again,) = jax.linear_transpose(
            lambda w: jax.linear_transpose(tangent, *x)(w), jax.ShapeDtypeStruct(w.shape, w.dtype)
        )(v)
        return out, tangent(*v), transposed, again

    out, along, transposed, again = run(x, v, w)
    standard = jax.jit(lambda x, v, w: (*jax.jvp(case.oracle, x, v), jax.vjp(case.oracle, *x)[1](w)))(x, v, w)
    assert_trees_close((out, along, transposed), standard, ROLLOUT)
    assert_close(again, along, ROLLOUT)


WRAPS = {"plain": lambda f: f, "checkpoint": jax.checkpoint}


@functools.cache
def first_and_second_of_a_scan(backend, wrap="plain"):
    """Return derivatives of a scan over rollouts."""
    case = Case(grid=SMALL, steps=2, direct=wrap == "plain")
    omega, *rest = case.operands()

    def run(omega, rest):
        step = case.fused(backend)
        body = WRAPS[wrap](lambda state, scale: (step(scale * state, *rest), jnp.sum(state**2)))
        last, norms = jax.lax.scan(body, omega, jnp.linspace(1, 0.9, 3))
        return jnp.sum(jnp.sin(last)) + jnp.sum(norms)

    second = jax.jit(lambda *x: jax.jvp(jax.grad(run), x, x)[1])
    return jax.jit(jax.value_and_grad(run, (0, 1)))(omega, rest), second(omega, rest)


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("wrap", WRAPS)
def test_scan_and_checkpoint(wrap, backend):
    assert_trees_close(first_and_second_of_a_scan(backend, wrap), first_and_second_of_a_scan("oracle"), ROLLOUT)
