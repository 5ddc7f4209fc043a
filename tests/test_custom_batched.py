"""`vmap` of a user's kernel: one launch for all members, each with the bits that a launch of its own would give."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import fast_cases
from tolerances import assert_close

from warpjaxns._custom import primitive
from warpjaxns._primitives import kernel as kernel_primitive

ROW, FIELD = wp.array(dtype=wp.float64), wp.array2d(dtype=wp.float64)
VOLUME, BLOCK = wp.array3d(dtype=wp.float64), wp.array4d(dtype=wp.float64)
THIRD = wp.constant(wp.float64(1.0 / 3.0))


def normal(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


@wp.func
def first_in_row(x: FIELD, i: int):
    return x[i, 0]


@wp.kernel(module="unique")
def rows(x: FIELD, weight: ROW, power: int, y: FIELD):
    """Use rows as views, a function that takes an array, an index that changes, and two names for it."""
    i, j = wp.tid()
    row = x[(i + 1) % x.shape[0]]
    value = row[(j + 1) % x.shape[1]] * first_in_row(x, i) * weight[j] * THIRD
    if j == 1:
        y[i, j] = wp.pow(x[i, j], wp.float64(power))
        return
    i += 1
    k = wp.tid()
    y[k, j] = value + x[i - 1, j]


@wp.kernel(module="unique")
def gather(x: ROW, index: wp.array(dtype=int), total: ROW, count: wp.array(dtype=int), y: ROW):
    y[wp.tid()] = x[wp.tid()] * x[index[wp.tid()]]
    wp.atomic_add(total, index[wp.tid()], x[wp.tid()])
    wp.atomic_add(count, index[wp.tid()], 1)


@wp.kernel
def stencil_3d(x: VOLUME, y: VOLUME):
    i, j, tid = wp.tid()
    y[i, j, tid] = x[(i + 1) % x.shape[0], j, tid] * x[i, j, (tid + 1) % x.shape[2]]


@wp.kernel(grid_stride=False)
def stencil_4d(x: BLOCK, rate: ROW, y: BLOCK):
    i, j, k, m = wp.tid()
    y[i, j, k, m] = x[(i + 1) % x.shape[0], j, k, m] * rate[0] + x[i, j, k, (m + 1) % x.shape[3]]


@wp.kernel(module="unique", module_options={"fast_math": True})
def alone(x: ROW, out: ROW):
    for i in range(x.shape[0]):
        out[0] += wp.sin(x[i])


@wp.kernel(module="unique")
def rotate(v: wp.array(dtype=wp.vec2d), m: wp.array(dtype=wp.mat22d), out: wp.array(dtype=wp.vec2d)):
    i = wp.tid()
    out[i] = m[0] * v[i]


def several(**options):
    """Sum the outputs that are differentiated, and no others."""
    f = primitive(gather, num_outputs=3, output_shapes=lambda x, _: [3, 3, x], **options)
    return lambda x, index: jnp.concatenate([f(x, index)[0], f(x, index)[2]])


INDEX = jnp.array([2, 0, 2, 1, 1], jnp.int32)
CASES = {
    "rows": (lambda x, w: primitive(rows)(x, w, 3), (3, 4), (4,)),
    "atomics": (lambda x: several(launch_dims=5)(x, INDEX), (5,)),
    "three axes": (primitive(stencil_3d), (2, 3, 4)),
    "four axes": (primitive(stencil_4d, block_dim=64), (2, 3, 2, 2), (1,)),
    "no threads": (primitive(alone, output_shapes=1), (5,)),
    "vectors": (primitive(rotate), (3, 2), (1, 2, 2)),
}


def pullback(f):
    return lambda *args: jax.vjp(f, *args)[1](jnp.cos(f(*args)))


def launches(monkeypatch, f):
    """Return the result of f() and its number of launches."""
    count, launch = [], wp.launch

    def counted(*args, **kwargs):
        count.append(args)
        return launch(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(wp, "launch", counted)
        return jax.block_until_ready(f()), len(count)


@pytest.mark.parametrize("case", fast_cases(list(CASES), 0, 1, 3, 4))
def test_members_are_those_of_a_loop_to_the_bit(monkeypatch, case):
    f, *shapes = CASES[case]
    args = [normal(seed, (3, *shape)) for seed, shape in enumerate(shapes)]
    shared = [args[0], *(x[0] for x in args[1:])]
    for transform in (lambda f: f, pullback):
        one = transform(f)
        _, single = launches(monkeypatch, lambda: one(*(x[0] for x in args)))  # noqa: B023
        for given, axes in ((args, 0), (shared, (0, *[None] * (len(args) - 1)))):
            result, count = launches(monkeypatch, lambda: jax.vmap(one, axes)(*given))  # noqa: B023
            assert count == single
            for m in range(3):
                member = one(*(x[m] if axes == 0 or i == 0 else x for i, x in enumerate(given)))
                jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[m], b), result, member)  # noqa: B023


def test_a_thousand_members_take_one_launch(monkeypatch):
    f = primitive(stencil_3d)
    x = normal(0, (1024, 2, 1, 3))
    result, count = launches(monkeypatch, lambda: jax.vmap(f)(x))
    assert count == 1
    np.testing.assert_array_equal(result, jnp.roll(x, -1, 1) * jnp.roll(x, -1, 3))
    _, count = launches(monkeypatch, lambda: jax.vmap(pullback(f))(x))
    assert count == 3  # twice f, once its adjoint


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (0, None, 0), (None, 0, 0), (0, 0, None)])
def test_operands_that_some_levels_share(axes):
    # the weight has the levels where `axes` is 0, the field has all
    f, levels = primitive(rows), (2, 3, 2)
    present = [n for n, axis in zip(levels, axes, strict=True) if axis == 0]
    x, weight = normal(0, (*levels, 3, 4)), normal(1, (*present, 4))

    def nested(x, weight):
        batched = lambda x, w: f(x, w, 2)  # noqa: E731
        for axis in reversed(axes):
            batched = jax.vmap(batched, (0, axis))
        return batched(x, weight)

    def flat(x, weight):
        layout = [n if axis == 0 else 1 for n, axis in zip(levels, axes, strict=True)]
        weights = jnp.broadcast_to(weight.reshape(*layout, 4), (*levels, 4)).reshape(-1, 4)
        return jax.vmap(lambda x, w: f(x, w, 2))(x.reshape(-1, 3, 4), weights).reshape(x.shape)

    np.testing.assert_array_equal(nested(x, weight), flat(x, weight))
    for actual, expected in zip(pullback(nested)(x, weight), pullback(flat)(x, weight), strict=True):
        assert_close(actual, expected)


def test_more_threads_than_an_axis_can_count(monkeypatch):
    f = primitive(stencil_3d)
    x = normal(0, (7, 2, 3, 1))  # a shape of its own: what is compiled for it holds the limit
    expected = jnp.stack([f(member) for member in x])
    monkeypatch.setattr(kernel_primitive, "MOST", 3 * 2 + 1)
    result, count = launches(monkeypatch, lambda: jax.vmap(f)(x))
    assert count == math.ceil(7 / 3)
    np.testing.assert_array_equal(result, expected)


def test_no_members_and_empty_ones():
    f = primitive(stencil_3d)
    assert jax.vmap(f)(jnp.zeros((0, 2, 3, 4))).shape == (0, 2, 3, 4)
    assert jax.vmap(f)(jnp.zeros((2, 0, 3, 4))).shape == (2, 0, 3, 4)
    assert jax.vmap(pullback(f))(jnp.zeros((2, 3, 0, 4)))[0].shape == (2, 3, 0, 4)


@wp.func_native("return x * x;", adj_snippet="adj_x += wp::float64(2.0) * x * adj_ret;")
def square(x: wp.float64) -> wp.float64: ...


@wp.func
def through(x: wp.float64):
    return square(x)


@wp.kernel(module="unique")
def native(x: ROW, y: ROW):
    i = wp.tid()
    y[i] = through(x[i])


@wp.kernel(module="unique")
def tiled(x: ROW, y: ROW):
    i = wp.tid()
    values = wp.tile_load(x, shape=1, offset=i)
    wp.tile_store(y, values * values, offset=i)


@pytest.mark.parametrize("kernel", [native, tiled])
def test_kernels_that_no_launch_can_hold_together_are_launched_for_each_member(monkeypatch, kernel):
    f = primitive(kernel)
    x = normal(0, (3, 4))
    result, count = launches(monkeypatch, lambda: jax.vmap(f)(x))
    assert count == 3
    np.testing.assert_array_equal(result, x * x)
    if kernel is native:
        assert_close(jax.grad(lambda x: jnp.sum(jax.vmap(f)(x)))(x), 2 * x)


def test_the_derivative_by_a_row_that_is_taken_out():
    # Warp finds an adjoint behind a view only if it belongs to the array
    f = primitive(rows)
    x, w = 1 + normal(0, (3, 4)) ** 2, normal(1, (4,))

    def expected(x, w):
        moved = jnp.roll(x, (-1, -1), (0, 1)) * x[:, :1] * w[None] / 3 + x
        return moved.at[:, 1].set(x[:, 1] ** 3)

    assert_close(f(x, w, 3), expected(x, w))
    actual = pullback(lambda x, w: f(x, w, 3))(x, w)
    for a, e in zip(actual, pullback(expected)(x, w), strict=True):
        assert_close(a, e)
