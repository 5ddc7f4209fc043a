"""Spectral time steps and their derivatives against JAX's own derivatives of an independent code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import fast_backends, fast_cases
from oracle import normal, vdot
from spectral_cases import ALL, BACKENDS, LONG, SMALL, WIDE, Case, to_state
from tolerances import DIFFERENCES, DOT, ROLLOUT, assert_close, assert_trees_close

from warpjaxns._primitives.operands import Operands, complete
from warpjaxns._spectral import engine
from warpjaxns._spectral.advance import STEPS
from warpjaxns._spectral.modes import Modes

every_backend = pytest.mark.parametrize("backend", BACKENDS)
SMOOTH = {"grid": WIDE, "dealiasing": "smooth"}
# kernels are those of a grid, a dealiasing and a float type; members of SMALL and LONG also have those of an integrator
CASES = [
    Case(integrator="rk4", per_member=ALL, forcing="per step", direct=1),
    Case(**SMOOTH, dtype="float32", per_member=("viscosity",), repeats=2, direct=1),
    Case(repeats=2, direct=2, per_member=("dt",), batch=3),
    Case(steps=1, forcing="none", dtype="float32"),
    Case(**SMOOTH, integrator="rk4", dtype="float32", per_member=ALL, forcing="per step", direct=1),
    Case(grid=WIDE, integrator="rk4", per_member=ALL, forcing="per step", direct=1),
    Case(grid=WIDE, repeats=3, direct=2, forcing="none"),
    Case(grid=WIDE, steps=1, per_member=("drag",), batch=1),
    Case(**SMOOTH, repeats=3, direct=3, dtype="float32", per_member=("viscosity", "forcing")),
    Case(grid=LONG, dealiasing="smooth", integrator="rk4", forcing="per step", direct=1),
]


def derivatives(f, case, operands):
    """Return value, jvp and vjp."""
    with jax.ensure_compile_time_eval():  # as constants of the program
        tangents = case.like(case.operands(), 10)
    value, tangent = jax.jvp(f, operands, tangents)
    return value, tangent, jax.vjp(f, *operands)[1](normal(20, value.shape, case.dtype))[: case.alone]


@functools.cache
def expected(case):
    return jax.jit(functools.partial(derivatives, case.oracle, case))(case.operands())


def check(case, backend="warp"):
    """Compare value and derivatives, and the value without differentiation, which is another program."""
    f, x = case.fused(backend), case.operands()
    assert_close(jax.jit(f)(*x), expected(case)[0], ROLLOUT)
    assert_trees_close(jax.jit(functools.partial(derivatives, f, case))(x), expected(case), ROLLOUT)


@pytest.mark.parametrize(("backend", "case"), fast_backends(CASES, {"warp": [1]}), ids=str)
def test_value_jvp_and_vjp(backend, case):
    check(case, backend)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", [CASES[0], CASES[5]], ids=str)  # whose members share nothing, on either grid
def test_dot_product(case, backend):
    f, operands = case.fused(backend), case.operands()
    everything, w = case.like(operands, 30), normal(40, operands[0].shape)
    forward = jax.jit(lambda v: jax.jvp(f, operands, v)[1])
    backward = jax.jit(lambda w: jax.vjp(f, *operands)[1](w))(w)
    for only in [*range(case.alone), None]:  # each operand alone, then all at once
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


@pytest.mark.parametrize(("backend", "moving"), fast_backends(["state", "forcing"], {"warp": [1]}))
def test_one_of_forcing_and_its_tangent_is_missing(backend, moving):
    forced = Case(grid=SMALL, forcing="steady")
    omega, *parameters, force = forced.operands()
    v = normal(7, omega.shape if moving == "state" else force.shape)

    def along(f):
        def of(x):
            return f(x, *parameters, force) if moving == "state" else f(omega, *parameters, x)

        return jax.jit(lambda x: jax.jvp(of, (x,), (v,)))(omega if moving == "state" else force)

    assert_trees_close(along(forced.fused(backend)), along(forced.oracle), ROLLOUT)


@pytest.mark.full
@every_backend
def test_small_directions_keep_their_digits(backend):
    case = Case()
    x = case.operands()
    v = case.like(x, 10)
    tangent = jax.jit(lambda v: jax.jvp(case.fused(backend), x, v)[1])
    tiny = jax.tree.map(lambda a: 2.0**-30 * np.asarray(a), v)
    assert_close(2.0**30 * np.asarray(tangent(tiny)), tangent(v))


def loss(f):
    return lambda x: jnp.sum(jnp.sin(f(*x)))


SECOND = [
    Case(grid=SMALL, per_member=("viscosity", "forcing"), forcing="per step"),
    Case(grid=SMALL, dealiasing="smooth", integrator="rk4", per_member=("dt",), direct=1, steps=1),
]


@functools.cache
def forward_over_reverse(case):
    x = case.operands()
    return jax.jit(lambda v: jax.jvp(jax.grad(loss(case.oracle)), (x,), (v,))[1])(case.like(x, 50))


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", SECOND, ids=str)
def test_hessian_vector_products(case, backend):
    """All ways to write them agree with the independent code, and the Hessian is symmetric."""
    x, f = case.operands(), loss(case.fused(backend))
    v, w = case.like(x, 50), case.like(x, 60)
    over = {
        "forward over reverse": lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1],
        "reverse over forward": lambda v: jax.grad(lambda y: jax.jvp(f, (y,), (v,))[1])(x),
        "reverse over reverse": lambda v: jax.grad(lambda y: vdot(jax.grad(f)(y), v))(x),
    }
    products = {name: jax.jit(product) for name, product in over.items()}
    along_w = products["forward over reverse"](w)
    for product in products.values():
        hv = product(v)
        assert_trees_close(hv, forward_over_reverse(case), ROLLOUT)
        norms = [np.sqrt(vdot(a, a)) for a in (hv, w)]
        assert abs(vdot(hv, w) - vdot(v, along_w)) < DOT * norms[0] * norms[1]


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 0))
def test_a_hessian_vector_product(backend):
    case = SECOND[0]
    x, f = case.operands(), loss(case.fused(backend))
    hv = jax.jit(lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1])(case.like(x, 50))
    assert_trees_close(hv, forward_over_reverse(case), ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize(("backend", "case"), [("warp", SECOND[0]), ("xla", SECOND[1])])
def test_against_differences(case, backend):
    f, (omega, nu, mu, dt, forcing) = loss(case.fused(backend)), case.operands()

    def value(omega, s, forcing):
        return f((omega, s[0] * nu, s[1] * mu, s[2] * dt, forcing))

    x, tolerance = (omega, jnp.ones(3), forcing), {"atol": DIFFERENCES, "rtol": DIFFERENCES}
    check_grads(jax.jit(value), x, order=2, modes=["fwd", "rev"], **tolerance)


@pytest.mark.full
@pytest.mark.parametrize(("backend", "direct"), fast_backends([0, 1], {"xla": [1]}))
def test_linearize_and_transpose(backend, direct):
    case = Case(direct=direct, per_member=("viscosity",), forcing="per step")
    x = case.operands()
    v, w = case.like(x, 70), normal(80, x[0].shape)

    @jax.jit
    def run(x, v, w):
        out, tangent = jax.linearize(case.fused(backend), *x)
        transposed = jax.linear_transpose(tangent, *x)(w)
        back = jax.linear_transpose(lambda w: jax.linear_transpose(tangent, *x)(w), w)
        return out, tangent(*v), transposed, back(v)[0]

    out, along, transposed, again = run(x, v, w)
    standard = jax.jit(lambda x, v, w: (*jax.jvp(case.oracle, x, v), jax.vjp(case.oracle, *x)[1](w)))(x, v, w)
    assert_trees_close((out, along, transposed), standard, ROLLOUT)
    assert_close(again, along, ROLLOUT)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint], ids=["plain", "checkpoint"])
def test_scan_and_checkpoint(wrap, backend):
    case = Case(grid=SMALL, direct=int(wrap is not jax.checkpoint))
    omega, *rest = case.operands()

    def gradient(f, wrap, rest):
        body = wrap(lambda state, scale: (f(scale * state, *rest), jnp.sum(state**2)))

        def run(omega):
            last, norms = jax.lax.scan(body, omega, jnp.linspace(1, 0.9, 3))
            return jnp.sum(jnp.sin(last)) + jnp.sum(norms)

        return jax.jit(jax.value_and_grad(run))(omega)

    assert_trees_close(gradient(case.fused(backend), wrap, rest), gradient(case.oracle, lambda f: f, rest), ROLLOUT)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", fast_cases([Case(forcing="per step", per_member=ALL), Case(**SMOOTH)], 0), ids=str)
def test_the_states_that_are_kept(case, backend):
    """They are those after each stage, and the sweep is the same with them and without."""
    omega, *parameters, forcing = case.operands()
    x = complete(Operands(to_state(omega, **case.where), *parameters, to_state(forcing, **case.where)))
    w = to_state(normal(9, omega.shape), **case.where)
    how = {"integrator": case.integrator, "steps": case.steps, "backend": backend, **case.where}
    wrt = Operands(*[True] * 5)

    @jax.jit
    def run(x, w):
        out, kept = STEPS.advance_p.bind(*x, keep=True, direct=1, repeats=1, **how)
        sweeps = [STEPS.adjoint_p.bind(*x, w, *k, keep=bool(k), wrt=wrt, **how) for k in ([], [kept])]
        return out, kept, engine.advance(*x[:4], x[4][:1], **{**how, "steps": 1}, direct=0), *sweeps

    out, kept, one, without, with_kept = run(x, w)
    assert kept.shape == (3 * case.steps, case.batch, *Modes(**case.where).shape, 2)
    assert_close(kept[-1], out)
    assert_close(kept[2], one)
    assert_trees_close(with_kept, without)


@pytest.mark.full
@every_backend
def test_jacobians(backend):
    """Many tangents share a state, and many cotangents."""
    case = Case(grid=SMALL, steps=1, batch=1)
    omega, *rest = case.operands()
    basis = normal(1, (4, *omega.shape))

    def jacobian(f, derivative):
        def along(s):
            return jnp.tensordot(basis, f(omega + jnp.tensordot(s, basis, 1), *rest), [[1, 2, 3], [0, 1, 2]])

        return jax.jit(derivative(along))(jnp.zeros(4))

    standard = jacobian(case.oracle, jax.jacfwd)
    for derivative in (jax.jacfwd, jax.jacrev):
        assert_close(jacobian(case.fused(backend), derivative), standard, ROLLOUT)


IN_AXES = {
    "state": (0, None, None, None, None),
    "viscosity alone": (None, 0, None, None, None),
    "forcing alone": (None, None, None, None, 2),
    "mixed": (1, None, 0, 1, 0),
    "all": (3, 1, 1, 0, 4),
}


MAPS = [("warp", axes) for axes in IN_AXES] + [("xla", "mixed"), ("xla", "all")]


@pytest.mark.full
@pytest.mark.parametrize("way", fast_cases(MAPS, 3), ids="-".join)
def test_vmap_is_a_loop(way):
    (backend, axes), size = way, 3
    in_axes = IN_AXES[axes]
    case = Case(grid=SMALL, per_member=("dt",), forcing="per step", direct=int(axes == "all"))
    operands = list(zip(case.operands(), in_axes, strict=True))
    members = [[np.asarray(x) * (1 + m / 7 * (axis is not None)) for x, axis in operands] for m in range(size)]
    stacks = (np.stack([m[i] for m in members], axis or 0) for i, (_, axis) in enumerate(operands))
    given = [x if axis is None else stack for (x, axis), stack in zip(operands, stacks, strict=True)]
    f = case.fused(backend)
    alone = jax.jit(jax.value_and_grad(loss(case.oracle)))
    standard = jax.tree.map(lambda *y: np.stack(y), *(alone(tuple(x)) for x in members))

    def each(*x):  # the gradient of each member, also of what they share
        return jax.value_and_grad(loss(f))(x)

    assert_trees_close(jax.jit(jax.vmap(each, in_axes))(*given), standard, ROLLOUT)

    mapped = jax.vmap(f, in_axes, 2)
    together = jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(mapped(*x)))))(tuple(given))
    summed = [
        np.sum(g, 0) if axis is None else np.moveaxis(g, 0, axis) for g, axis in zip(standard[1], in_axes, strict=True)
    ]
    assert_trees_close(together, tuple(summed), ROLLOUT)

    x, v = tuple(given), case.like(given, 5)
    pushed, oracles = (jax.jit(lambda x, v, g=g: jax.jvp(jax.vmap(g, in_axes), x, v))(x, v) for g in (f, case.oracle))
    assert_trees_close(pushed, oracles, ROLLOUT)


def test_vmap_is_one_call():
    case = Case(grid=WIDE, steps=1, batch=1)
    omega, *rest = case.operands()
    f = jax.vmap(case.fused("warp"), (0, None, None, None, None))
    text = str(jax.make_jaxpr(f)(jnp.stack([omega] * 5), *rest))
    assert text.count("= spectral_advance[") == 1
