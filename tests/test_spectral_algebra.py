"""The bilinear forms of spectral advection: B(a, b), G(b, l) and their identities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from spectral_cases import BACKENDS, SMALL, every_kernel, to_field, to_state
from spectral_oracle import Oracle
from tolerances import DIFFERENCES, DOT, RELATIVE, SUMS, assert_close, assert_trees_close

from warpjaxns._spectral import engine
from warpjaxns._spectral.transport import advection, pullback, transport

every_backend = pytest.mark.parametrize("backend", BACKENDS)
FORMS = {"B": transport, "G": pullback}


def state(seed, where, members=2, dtype="float64"):
    return to_state(normal(seed, (members, *where["grid"].shape), dtype), **where)


def twice(fields, oracle):
    """Return the spectra of ``2 B`` of two fields, by derivatives taken one by one."""
    a, b = map(oracle.spectrum, fields)
    return oracle.advection(a + b) - oracle.advection(a) - oracle.advection(b)


@every_backend
@every_kernel
def test_against_derivatives_one_by_one(grid, dealiasing, dtype, backend):
    where, oracle = {"grid": grid, "dealiasing": dealiasing}, Oracle(grid, dealiasing)
    a, b, l = (state(seed, where, dtype=dtype) for seed in range(3))
    run = jax.jit(lambda: [f(*x, backend=backend, **where) for f, x in ((advection, (a,)), *by_two.values())])
    by_two = {"B": (transport, (a, b)), "G": (pullback, (b, l))}
    fields = [np.asarray(to_field(x, **where), float) for x in (a, b, l)]
    square, product, pulled = (to_field(x, **where) for x in run())
    assert_close(square, oracle.field(oracle.advection(oracle.spectrum(fields[0]))))
    assert_close(product, oracle.field(twice(fields[:2], oracle)) / 2)
    assert_close(pulled, transposed(oracle, fields[1], fields[2], grid))


def transposed(oracle, b, l, grid):
    """Return ``G(b, l)``: by its definition, a sum over all fields of unit size at a point."""
    points = np.eye(grid.shape[0] * grid.shape[1]).reshape(-1, *grid.shape)
    columns = [oracle.field(twice((points, member[None]), oracle)) / 2 for member in b]
    return np.stack([np.sum(c * of_l, axis=(1, 2)).reshape(grid.shape) for c, of_l in zip(columns, l, strict=True)])


def identities(a, b, l, m, **how):
    """Return pairs that are equal."""

    def dot(x, y):
        return jnp.vdot(x, y)

    B, G = (functools.partial(f, **how) for f in (transport, pullback))
    moved = dot(l, B(a, b)), dot(m, G(b, l))
    return [
        (B(a, b), B(b, a)),
        (B(a, a), advection(a, **how)),
        (moved[0], dot(a, G(b, l))),
        (moved[0], dot(b, G(a, l))),
        (moved[1], dot(l, B(b, m))),
        (moved[1], dot(b, G(m, l))),
    ]


@pytest.mark.covering(1)
@every_backend
@every_kernel
def test_identities(grid, dealiasing, dtype, backend):
    """B is symmetric, and G is its transpose. They hold for both ways of dealiasing."""
    how = {"grid": grid, "dealiasing": dealiasing}
    x = [state(seed, how, dtype=dtype) for seed in range(4)]
    for left, right in jax.jit(functools.partial(identities, backend=backend, **how))(*x):
        assert_close(left, right, {"float32": 1e-5, "float64": 1e-12})


@every_backend
@every_kernel
def test_conservation(grid, dealiasing, dtype, backend):
    """Advection conserves mean, energy and enstrophy under the 2/3 rule. With the smooth filter it does not."""
    how = {"grid": grid, "dealiasing": dealiasing}
    omega = state(0, how, dtype=dtype)

    @jax.jit
    def run(omega):
        field, rate = (to_field(x, **how) for x in (omega, advection(omega, backend=backend, **how)))
        return rate, field, engine.streamfunction(field, **how)

    rate, field, psi = map(np.asarray, run(omega))
    for weight in (np.ones_like(field), field, psi):
        share = abs(np.sum(weight * rate)) / np.sum(np.abs(weight * rate))
        if dealiasing == "two-thirds":
            assert share < SUMS[dtype]
        elif weight is field:
            assert share > 1e3 * SUMS[dtype]


@every_backend
@every_kernel
def test_the_mean_over_x_stays_real(grid, dealiasing, dtype, backend):
    """The coefficients of kx = 0 stay conjugate to each other, so that states are those of real fields."""
    how = {"grid": grid, "dealiasing": dealiasing}
    a, b = state(0, how, dtype=dtype), state(1, how, dtype=dtype)
    for out in jax.jit(lambda a, b: [form(a, b, backend=backend, **how) for form in FORMS.values()])(a, b):
        assert_close(to_state(to_field(out, **how), **how), out)


@every_backend
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", fast_cases([(1, 1), (1, 3), (3, 1), (3, 3)], 1, 2), ids=str)
def test_shared_operands_and_transposes(sizes, form, backend):
    """Members may share an operand, whose cotangent is then a sum. Transposed twice, a form is itself again."""
    how = {"grid": SMALL, "dealiasing": "two-thirds"}
    f = functools.partial(FORMS[form], backend=backend, **how)
    a, b = (state(seed, how, members) for seed, members in enumerate(sizes))
    c = state(2, how, max(sizes))
    whole = [jnp.asarray(np.broadcast_to(x, c.shape)) for x in (a, b)]

    @jax.jit
    def run(a, b, whole):
        transposes = jax.vjp(f, a, b)[1](c), jax.vjp(f, *whole)[1](c)
        maps = (lambda x: f(x, b), a), (lambda x: f(a, x), b)
        again = [jax.linear_transpose(jax.linear_transpose(g, x), c)((x,))[0] for g, x in maps]
        return f(a, b), f(*whole), transposes, again

    out, expected, (ours, of_whole), again = run(a, b, whole)
    assert_close(out, expected)
    shared = (x.shape[0] == 1 for x in (a, b))
    sums = [np.sum(g, 0, keepdims=True) if one else np.asarray(g) for g, one in zip(of_whole, shared, strict=True)]
    assert_trees_close(ours, tuple(sums), RELATIVE)
    for x in again:
        assert_close(x, out)
    for x, cotangent in zip((a, b), ours, strict=True):
        scale = np.linalg.norm(out) * np.linalg.norm(c)
        assert abs(vdot(out, c) - vdot(x, cotangent)) < DOT * scale


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("form", FORMS)
def test_derivatives_against_differences(form, backend):
    """Directions are those of fields: only conjugate coefficients of kx = 0 are states."""
    how = {"grid": SMALL, "dealiasing": "smooth"}

    def loss(*fields):
        a, b = (to_state(x, **how) for x in fields)
        product, square = FORMS[form](a, b, backend=backend, **how), advection(a, backend=backend, **how)
        return jnp.sum(jnp.sin(to_field(product + square, **how)))

    fields = [normal(seed, (1, *SMALL.shape)) for seed in range(2)]
    check_grads(jax.jit(loss), fields, order=2, modes=["fwd", "rev"], atol=DIFFERENCES, rtol=DIFFERENCES)


@pytest.mark.covering(1, 2)
@every_backend
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_axes", [(0, 0), (0, None), (None, 2), (1, 4)], ids=str)
def test_vmap_is_a_loop(in_axes, form, backend):
    how = {"grid": SMALL, "dealiasing": "two-thirds"}
    f = functools.partial(FORMS[form], backend=backend, **how)
    members = [np.stack([(1 + m) * np.asarray(state(seed, how)) for m in range(3)]) for seed in range(2)]
    given = [x[0] if axis is None else np.moveaxis(x, 0, axis) for x, axis in zip(members, in_axes, strict=True)]

    def gradient(a, b):
        return jax.value_and_grad(lambda x: jnp.sum(jnp.sin(f(*x))))((a, b))

    mapped = jax.jit(jax.vmap(gradient, in_axes))(*given)
    alone = jax.jit(gradient)
    looped = [alone(*(x[0 if axis is None else m] for x, axis in zip(members, in_axes, strict=True))) for m in range(3)]
    assert_trees_close(mapped, jax.tree.map(lambda *y: np.stack(y), *looped))
