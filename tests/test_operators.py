import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from tolerances import DIFFERENCES, DOT, ORDER, SUMS, assert_close, assert_trees_close

from warpjaxns import FiniteDifference, Grid, jacobian, laplacian, streamfunction
from warpjaxns._discretisation import ADVECTION as SCHEMES
from warpjaxns._finite_difference import reference
from warpjaxns._finite_difference.jacobian import jacobian as jacobian_primitive

BACKENDS = ["warp", "xla"]
DTYPES = ["float32", "float64"]
# every parity, several slabs of rows with and without an overhang, the smallest sizes
GRIDS = [Grid((6, 10), (2.0, 3.5)), Grid((9, 12), (0.7, 1.9)), Grid((10, 15), (5.0, 4.0)), Grid((5, 4))]
GRID = GRIDS[1]
ALL_SCHEMES = [*SCHEMES, "plus_cross", "cross_plus"]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def operators(grid, backend):
    """Return ``name: (function, oracle, number of operands)``."""
    table = {
        "streamfunction": (
            functools.partial(streamfunction, grid, backend=backend),
            functools.partial(reference.poisson, grid),
            1,
        ),
        "laplacian": (
            functools.partial(laplacian, grid, backend=backend),
            functools.partial(reference.laplacian, grid),
            1,
        ),
    }
    for scheme in SCHEMES:
        table[scheme] = (
            functools.partial(jacobian, grid, discretisation=FiniteDifference(scheme), backend=backend),
            functools.partial(reference.jacobian, grid, scheme=scheme),
            2,
        )
    return table


def apply(grid, backend, *operands):
    """Apply all operators as one program, and the oracle."""
    both = {}
    for name, (f, expected, count) in operators(grid, backend).items():
        both[name] = f, expected, operands[:count]
    actual = jax.jit(lambda: {name: f(*x) for name, (f, _, x) in both.items()})()
    return actual, jax.jit(lambda: {name: f(*x) for name, (_, f, x) in both.items()})()


@pytest.mark.covering(1, 2)
@every_backend
@every_dtype
@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
def test_against_the_oracle(grid, dtype, backend):
    assert_trees_close(*apply(grid, backend, *(normal(i, grid.shape, dtype) for i in range(2))))


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
def test_leading_axes(backend):
    a, b = normal(0, (2, 3, *GRID.shape)), normal(1, (2, 3, *GRID.shape))
    assert_trees_close(*apply(GRID, backend, a, b))
    # leading axes broadcast as NumPy's do
    shapes = [((), (3,)), ((3,), ()), ((2, 1), (1, 3)), ((1, 1), (3,)), ((1,), ()), ((2, 3), (1, 3))]
    for left, right in shapes:
        a, b = normal(0, (*left, *GRID.shape)), normal(1, (*right, *GRID.shape))
        expected = reference.jacobian(GRID, *jnp.broadcast_arrays(a, b), "arakawa")
        assert_close(jacobian(GRID, a, b, backend=backend), expected)


@every_backend
def test_no_members_and_a_shared_operand(backend):
    assert jacobian(GRID, normal(0, (0, *GRID.shape)), normal(1, GRID.shape), backend=backend).shape[0] == 0


@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("scheme", ["plus_cross", "cross_plus"])
def test_internal_schemes_and_shared_operands(scheme, backend):
    @jax.jit
    def f(a, b):
        return jacobian_primitive(a, b, grid=GRID, scheme=scheme, backend=backend)

    for m, n in ((1, 1), (3, 3), (1, 3), (3, 1)):
        a, b = normal(m, (m, *GRID.shape)), normal(9 + n, (n, *GRID.shape))
        assert_close(f(a, b), reference.jacobian(GRID, a, b, scheme))
        c = normal(2, (max(m, n), *GRID.shape))
        pullbacks = (jax.vjp(g, a, b)[1](c) for g in (f, lambda a, b: reference.jacobian(GRID, a, b, scheme)))
        assert_trees_close(*pullbacks)


@pytest.mark.covering(1)
@every_backend
@every_dtype
def test_arakawa_conserves(dtype, backend):
    a, b = normal(0, GRID.shape, dtype), normal(1, GRID.shape, dtype)
    j = jacobian(GRID, a, b, backend=backend)
    for weight in (jnp.ones_like(a), a, b):
        assert abs(jnp.sum(weight * j)) < SUMS[dtype] * jnp.sum(jnp.abs(weight * j))
    assert_close(jacobian(GRID, b, a, backend=backend), -j)
    plain = jacobian(GRID, a, b, discretisation=FiniteDifference("central"), backend=backend)
    assert abs(jnp.sum(a * plain)) > 1e3 * SUMS[dtype] * jnp.sum(jnp.abs(a * plain))


@pytest.mark.covering(1)
@every_backend
@every_dtype
def test_the_inverse_is_exact(dtype, backend):
    omega = normal(0, GRID.shape, dtype)
    psi = streamfunction(GRID, omega, backend=backend)
    assert_close(-laplacian(GRID, psi, backend=backend), omega - jnp.mean(omega))
    assert abs(jnp.sum(psi)) < SUMS[dtype] * jnp.sum(jnp.abs(psi))
    assert_close(streamfunction(GRID, omega + 3, backend=backend), psi, {"float32": 1e-5, "float64": 1e-12})


@every_backend
def test_linear_transposes(backend):
    a, b, c = (normal(i, (2, *GRID.shape)) for i in range(3))
    for name, (f, _, count) in operators(GRID, backend).items():
        maps = [f] if count == 1 else [lambda x, f=f: f(x, b), lambda x, f=f: f(b, x)]
        for linear in maps:
            linear = jax.jit(linear)
            (transposed,) = jax.linear_transpose(linear, a)(c)
            error = abs(vdot(linear(a), c) - vdot(a, transposed))
            assert error < DOT * np.linalg.norm(linear(a)) * np.linalg.norm(c), name
            (twice,) = jax.linear_transpose(lambda y, g=linear: jax.linear_transpose(g, a)(y)[0], c)(a)
            assert_close(twice, linear(a))


@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("name", fast_cases(["streamfunction", "laplacian", *SCHEMES], 0))
def test_derivatives_against_differences(name, backend):
    f, _, count = operators(GRIDS[3], backend)[name]
    f = jax.jit(f)
    operands = [normal(i, GRIDS[3].shape) for i in range(count)]
    check_grads(f, operands, order=2, modes=["fwd", "rev"], atol=DIFFERENCES, rtol=DIFFERENCES)

    @jax.jit
    def loss(operands):
        return jnp.sum(jnp.sin(f(*operands)))

    check_grads(loss, (operands,), order=2, modes=["fwd", "rev"], atol=DIFFERENCES, rtol=DIFFERENCES)


AXES = [((0, 0), 0), ((0, None), 1), ((None, 2), 2), ((1, 2), -1)]


@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("name", fast_cases(["streamfunction", *SCHEMES], 0, 2))
def test_vmap_is_a_loop(name, backend):
    f, _, count = operators(GRID, backend)[name]
    for in_axes, out_axes in AXES:
        in_axes = in_axes[:count]
        if in_axes == (None,):
            continue
        members = [normal(i, (3, 2, *GRID.shape)) for i in range(count)]
        given = [x[0] if axis is None else jnp.moveaxis(x, 0, axis) for x, axis in zip(members, in_axes, strict=True)]

        def at(m, members=members, in_axes=in_axes):
            return [x[0 if axis is None else m] for x, axis in zip(members, in_axes, strict=True)]

        def loss(g, *operands):
            return jnp.sum(jnp.sin(g(*operands)))

        mapped = jax.jit(jax.vmap(f, in_axes, out_axes))
        assert_close(mapped(*given), jnp.stack([f(*at(m)) for m in range(3)], out_axes))
        # a gradient for each member, also of what they share; and the gradient of all together
        gradient = jax.grad(functools.partial(loss, f), tuple(range(count)))
        looped = jax.tree.map(lambda *g: jnp.stack(g), *(gradient(*at(m)) for m in range(3)))
        assert_trees_close(jax.jit(jax.vmap(gradient, in_axes))(*given), looped)
        together = jax.jit(jax.grad(functools.partial(loss, mapped), tuple(range(count))))(*given)
        summed = [
            jnp.sum(g, 0) if axis is None else jnp.moveaxis(g, 0, axis) for g, axis in zip(looped, in_axes, strict=True)
        ]
        assert_trees_close(together, tuple(summed))


@every_backend
def test_nested_vmap(backend):
    a, b = normal(0, (2, *GRID.shape, 3)), normal(1, (4, 3, *GRID.shape))
    f = functools.partial(jacobian, GRID, backend=backend)
    inner = jax.vmap(f, (2, 0), 1)
    outer = jax.vmap(jax.vmap(inner, (None, 0)), (0, None), 2)
    actual = jax.jit(outer)(a, b)
    assert actual.shape == (4, GRID.shape[0], 2, 3, GRID.shape[1])
    for i, j, k in itertools.product(range(2), range(4), range(3)):
        assert_close(actual[j, :, i, k], reference.jacobian(GRID, a[i, ..., k], b[j, k], "arakawa"))


@every_backend
def test_second_order_convergence(backend):
    errors = []
    for n in (16, 32):
        grid = Grid((n, 2 * n), (2 * np.pi, 4 * np.pi))
        x, y = grid.mesh()
        a, b = jnp.sin(x + y), jnp.cos(x - 2 * y)
        exact = 3 * jnp.cos(x + y) * jnp.sin(x - 2 * y)
        j = jacobian(grid, a, b, backend=backend)
        errors.append(float(jnp.linalg.norm(j - exact) / jnp.linalg.norm(exact)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < ORDER


def solves(function, *operands):
    """Return how often a function solves for one field, and how often for two at once."""
    text = str(jax.make_jaxpr(function)(*operands))
    return text.count(" poisson["), text.count(" poisson_pair[")


@every_backend
def test_a_state_and_its_tangent_are_solved_together(backend):
    w, v, more = jnp.asarray(normal(0, (3, *GRID.shape)))
    solve = functools.partial(streamfunction, GRID, backend=backend)

    def loss(w):
        return jnp.sum(jnp.sin(solve(jnp.square(w))))

    def along(w):
        return jax.jvp(loss, (w,), (v,))[1]

    assert solves(along, w) == (0, 1)
    assert solves(jax.grad(loss), w) == (2, 0)
    assert solves(lambda w: jax.jvp(jax.grad(loss), (w,), (v,)), w) == (0, 2)
    assert solves(lambda w: jax.vmap(lambda v: jax.jvp(loss, (w,), (v,)))(jnp.stack([v, more])), w) == (2, 0)
    check_grads(loss, (w,), order=2, atol=DIFFERENCES, rtol=DIFFERENCES)
    both = [jax.grad(f)(w) for f in (along, jax.checkpoint(along))]
    expected = jax.jvp(jax.grad(loss), (w,), (v,))[1]
    for product in both:
        assert_close(product, expected)
