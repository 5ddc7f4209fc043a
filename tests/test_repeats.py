"""Repetitions within one foreign call: programs of `_ffi`, and `advance_p` of a rollout."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import fast_backends, fast_cases
from oracle import normal, vdot
from test_advance import ALL, SMALL, Case, check_against, every_backend, expected, loss
from tolerances import DOT, ROLLOUT, assert_close, assert_trees_close

from warpjaxns import Checkpointed, Direct, FiniteDifference, NavierStokes2D, Spectral, _ffi
from warpjaxns._kernels.hardware import address_table, views
from warpjaxns._kernels.hardware.address_table import Place, Table
from warpjaxns._kernels.hardware.intrinsics import synchronise_dependent_launch
from warpjaxns._primitives.operands import Operands

# ------------------------------------------------------------------------------------------------ programs

LINE = views.vector_view(wp.float64)


@address_table.kernel(launch_bounds=1)
def affine(table: Table, a_at: Place, x_at: Place, y_at: Place):
    i, _ = wp.tid()
    synchronise_dependent_launch()
    LINE(table, y_at)[i] = LINE(table, a_at)[i] * LINE(table, x_at)[i] + wp.float64(1.0)


def call(a, x, **options):
    """Compute ``y = a x + 1``. Among all arrays a has the number 0, x 1 and y 2."""

    def launch(a, x, y):
        address_table.launch(affine, y.table, y.shape[0], [a, x, y], 1)

    return _ffi.call(launch, a, x, key="affine", outputs=[(wp.float64, x.shape)], graph=True, **options)[0]


def repeated(a, x, repeats, into=lambda a, x, y: (a, y)):
    for _ in range(repeats):
        y = a * x + 1
        a, x = into(a, x, y)
    return y


def test_kernels_are_loaded_without_a_launch():
    arrays = [wp.array(values, dtype=wp.float64, device="cpu") for values in ([2.0], [3.0], [0.0])]
    table = wp.array([array.ptr for array in arrays], dtype=wp.uint64, device="cpu")
    buffers = address_table.buffers(table, arrays)
    for result in (0.0, 7.0):
        with address_table.loading() if result == 0.0 else contextlib.nullcontext():
            address_table.launch(affine, table, 1, buffers, 1)
        assert arrays[2].numpy() == [result]


FEEDS = {
    "x": ((1, 2), lambda a, x, y: (a, y)),
    "a": ((0, 2), lambda a, x, y: (y, x)),
    "x becomes a": ((1, 0), lambda a, x, y: (a, a)),
    "nothing": ((0, 0), lambda a, x, y: (a, x)),
}


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_a_program_repeated(repeats, name, transform):
    feed, into = FEEDS[name]
    a, x = jnp.linspace(0.5, 2, 6), jnp.linspace(-1, 3, 6)
    before = np.array(a), np.array(x)
    for _ in range(2):  # what one call wrote over its addresses must not reach the next
        actual = transform(functools.partial(call, repeats=repeats, feed=feed))(a, x)
        assert_close(actual, repeated(a, x, repeats, into))
    np.testing.assert_array_equal((a, x), before)  # inputs are read only


def test_repeats_are_launches_of_one_call():
    a, x = jnp.full(3, 0.5), jnp.ones(3)
    launches = _ffi.statistics()["launches"]
    jax.block_until_ready(call(a, x, repeats=4, feed=(1, 2)))
    assert _ffi.statistics()["launches"] - launches == 4
    once = functools.partial(call, a)
    assert_close(call(a, x, repeats=3, feed=(1, 2)), once(once(once(x))))


def test_other_repeats_are_other_programs():
    a, x = jnp.full(3, 2.0), jnp.ones(3)
    both = jax.jit(lambda x: [call(a, x, repeats=n, feed=(1, 2)) for n in (2, 3)])(x)
    np.testing.assert_array_equal(both, [np.full(3, 7.0), np.full(3, 15.0)])


def test_repeated_programs_in_a_scan():
    a, x = jnp.linspace(0.1, 0.9, 4), jnp.linspace(-1, 1, 4)
    body = functools.partial(call, repeats=3, feed=(1, 2))
    out, _ = jax.jit(lambda x: jax.lax.scan(lambda x, _: (body(a, x), None), x, length=4))(x)
    assert_close(out, repeated(a, x, 12))


# ------------------------------------------------------------------------------------------------ advance

REPEATS = 3
CASES = [
    Case(grid=SMALL, steps=2),
    Case(grid=SMALL, steps=2, per_member=ALL, direct=1),
    Case(grid=SMALL, steps=2, per_member=("viscosity",), direct=REPEATS),
    Case(grid=SMALL, steps=1, per_member=("viscosity", "dt"), forcing="none"),
    Case(grid=SMALL, steps=2, scheme="central", per_member=("drag",), batch=3, dtype="float32", direct=2),
]


def both(case, backend, repeats=REPEATS):
    """Return `repeats` segments by one call, and one long segment by the oracle."""
    return functools.partial(case.fused(backend), repeats=repeats), long(case, repeats).oracle


def long(case, repeats=REPEATS):
    """Return the same case with all its steps in one segment."""
    return dataclasses.replace(case, steps=case.steps * repeats)


@pytest.mark.parametrize(
    ("backend", "case"),
    [pytest.param("warp", case, marks=[pytest.mark.full] * (i != 1)) for i, case in enumerate(CASES)]
    + [pytest.param("xla", CASES[1], marks=pytest.mark.full)],
    ids=str,
)
def test_value_jvp_and_vjp(backend, case):
    check_against(expected(long(case)), both(case, backend)[0], case)


@every_backend
def test_repeats_are_steps(backend):
    """Compare one call of 3 times 2 steps with 2 calls of 3 steps, to rounding, and eager with compiled calls."""
    case = CASES[0]
    x = case.operands()
    f, _ = both(case, backend)
    segment = dataclasses.replace(case, steps=3).fused(backend)
    assert_close(f(*x), segment(segment(*x), *x[1:]))
    np.testing.assert_array_equal(f(*x), jax.jit(f)(*x))


@pytest.mark.full
@every_backend
def test_dot_product(backend):
    case = CASES[1]
    (f, _), x = both(case, backend), case.operands()
    v, w = case.like(x, 30), normal(40, x[0].shape)
    along, back = jax.jit(lambda v, w: (jax.jvp(f, x, v)[1], jax.vjp(f, *x)[1](w)))(v, w)
    assert abs(vdot(along, w) - vdot(v, back)) <= DOT * jnp.linalg.norm(along) * jnp.linalg.norm(w)


@pytest.mark.full
@pytest.mark.parametrize("wrt", fast_cases([(1,), (0, 4)], 1), ids=str)
def test_part_of_the_arguments(wrt):
    case = CASES[1]
    w = normal(3, (case.batch, *SMALL.shape))
    gradients = [jax.jit(jax.grad(lambda *x, g=g: vdot(g(*x), w), wrt))(*case.operands()) for g in both(case, "warp")]
    assert_trees_close(*gradients, ROLLOUT)


STATE, PARAMETERS = (1, None, None, None, None), (None, 0, None, 1, 2)


@pytest.mark.full
@pytest.mark.parametrize(("backend", "in_axes"), fast_backends([STATE, PARAMETERS], {"warp": [1]}), ids=str)
def test_vmap_and_its_derivatives(backend, in_axes):
    case = CASES[0]
    scale = jnp.linspace(1, 1.5, 3)
    x = [
        a if axis is None else jnp.moveaxis(scale[(...,) + (None,) * a.ndim] * a[None], 0, axis)
        for a, axis in zip(case.operands(), in_axes, strict=True)
    ]

    def all_of(f):
        def each(*x):
            return jax.value_and_grad(loss(f))(x)

        def total(x):
            return jnp.sum(jnp.sin(jax.vmap(f, in_axes)(*x)))

        return jax.jit(lambda *x: (jax.vmap(f, in_axes)(*x), jax.vmap(each, in_axes)(*x), jax.grad(total)(x)))(*x)

    assert_trees_close(*map(all_of, both(case, backend)), ROLLOUT)


@pytest.mark.full
def test_second_derivatives():
    case = dataclasses.replace(CASES[0], steps=1)
    x = case.operands()
    v = case.like(x, 50)

    def forward_over_reverse(f):
        return jax.jvp(jax.grad(loss(f)), (x,), (v,))[1]

    def reverse_over_forward(f):
        return jax.grad(lambda y: jax.jvp(loss(f), (y,), (v,))[1])(x)

    f, expected = both(case, "warp", 2)
    products = jax.jit(lambda: (forward_over_reverse(f), reverse_over_forward(f)))()
    standard = jax.jit(lambda: forward_over_reverse(expected))()
    for product in products:
        assert_trees_close(product, standard, ROLLOUT)


# ------------------------------------------------------------------------------------------------ what is not computed


def equations(jaxpr, name):
    """Return the equations of a primitive, in a program and in its loops."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == name:
            yield equation
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                yield from equations(value.jaxpr, name)


def wanted(f, *x):
    """Return the operands of which the adjoints in a program make cotangents."""
    return {equation.params["wrt"] for equation in equations(jax.make_jaxpr(f)(*x).jaxpr, "adjoint")}


@pytest.mark.covering(1)
@pytest.mark.parametrize("argument", [0, 1, 4])
@pytest.mark.parametrize("repeats", [1, REPEATS])
def test_only_cotangents_that_are_asked_for(repeats, argument):
    case = CASES[0]
    f, _ = both(case, "warp", repeats)
    gradient = jax.grad(lambda *x: jnp.sum(jnp.sin(f(*x))), argument)
    assert wanted(gradient, *case.operands()) == {Operands(*(i in (0, argument) for i in range(len(Operands._fields))))}


@pytest.mark.parametrize(
    ("adjoint", "options", "kept"),
    [
        (Direct(), {}, [True]),
        (Checkpointed(), {"steps": 50}, [False, True]),
        (Checkpointed(4), {}, [False, True]),
        (Checkpointed(5), {}, [False, True]),  # the rest
        (Checkpointed(4, keep_last=False), {}, [False]),
        (Checkpointed(12), {}, [False]),  # one segment: it may be the body of a loop
        (Checkpointed(2), {"save_every": 4}, [False]),
        (Checkpointed(4), {"forcing": jnp.ones((12, *SMALL.shape))}, [False]),
    ],
    ids=str,
)
def test_whose_stages_are_kept(adjoint, options, kept):
    """The adjoint runs those steps anew whose stages are not kept, and only those."""
    solver = NavierStokes2D(SMALL, viscosity=1e-2, dt=1e-2, adjoint=adjoint, backend="warp", check_finite=False)

    def energy(omega):
        return jnp.sum(solver.rollout(omega, **{"steps": 12, **options}) ** 2)

    program = jax.make_jaxpr(jax.grad(energy))(jnp.ones(SMALL.shape)).jaxpr
    for name in ("advance", "adjoint"):
        found = [equation.params["keep"] for equation in equations(program, name)]
        assert (found if name == "advance" else found[::-1]) == kept


@pytest.mark.covering(1)
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(), Checkpointed(3)], ids=str)
@pytest.mark.parametrize("save_every", [None, 6])
def test_a_gradient_by_the_state_is_nothing_else(adjoint, save_every):
    solver = NavierStokes2D(SMALL, viscosity=1e-2, dt=1e-2, adjoint=adjoint, backend="warp", check_finite=False)

    def energy(omega):
        return jnp.sum(solver.rollout(omega, steps=12, save_every=save_every) ** 2)

    assert wanted(jax.grad(energy), jnp.ones(SMALL.shape)) == {Operands(True, *[False] * (len(Operands._fields) - 1))}


@pytest.mark.parametrize("repeats", [1, REPEATS])
def test_a_tangent_of_the_state_carries_none_of_the_forcing(repeats):
    case = CASES[0]
    (f, _), (omega, *rest) = both(case, "warp", repeats), case.operands()
    program = jax.make_jaxpr(lambda v: jax.jvp(lambda w: f(w, *rest), (omega,), (v,))[1])(omega)
    (equation,) = equations(program.jaxpr, "advance_jvp")
    assert equation.invars[4].aval.shape == (1, 1, *SMALL.shape)
    assert equation.invars[len(Operands._fields) + 4].aval.shape == (1,) * 4


def test_a_rollout_is_one_call():
    solver = NavierStokes2D(SMALL, viscosity=1e-2, dt=1e-2, adjoint=Checkpointed(4), check_finite=False)
    text = str(jax.make_jaxpr(lambda w: solver.rollout(w, steps=40))(jnp.ones(SMALL.shape)))
    assert text.count("= advance[") == 1
    assert "repeats=10" in text
    assert "scan[" not in text


@pytest.mark.full
@pytest.mark.parametrize(
    ("discretisation", "calls"),
    [(FiniteDifference(), 6), pytest.param(Spectral(), 25, marks=pytest.mark.full)],
    ids=["fd", "modes"],
)
def test_foreign_calls_of_a_hessian_product(discretisation, calls):
    how = {"discretisation": discretisation, "backend": "warp", "check_finite": False}
    solver = NavierStokes2D(SMALL, viscosity=1e-2, dt=1e-2, **how)

    def launches(steps):
        gradient = jax.grad(lambda w: jnp.sum(jnp.sin(solver.rollout(w, steps=steps))))
        product = jax.jit(lambda w: jax.jvp(gradient, (w,), (w,))[1]).lower(omega).compile()
        before = _ffi.statistics()["launches"]
        jax.block_until_ready(product(omega))
        return _ffi.statistics()["launches"] - before

    omega = normal(0, SMALL.shape)
    assert launches(4) - launches(2) == 2 * calls
