"""`vmap` of the fused primitives, around and inside derivatives."""

import functools

import jax
import jax.numpy as jnp
import pytest
from layouts import fast_cases
from oracle import normal
from test_advance import BACKENDS, SMALL, Case, every_backend, loss
from tolerances import ROLLOUT, assert_close, assert_trees_close

IN_AXES = {
    "state": (0, None, None, None, None),
    "viscosity alone": (None, 0, None, None, None),
    "forcing alone": (None, None, None, None, 2),
    "mixed": (1, None, 0, 1, 0),
    "all": (3, 1, 1, 0, 4),
}


def stacked(case, in_axes, size=3):
    """Return operands mapped along `in_axes`, and those of each member."""
    operands = case.operands()
    members = [
        [x * (1 + m / 7) if axis is not None else x for x, axis in zip(operands, in_axes, strict=True)]
        for m in range(size)
    ]
    given = [
        x if axis is None else jnp.stack([member[i] for member in members], axis)
        for i, (x, axis) in enumerate(zip(operands, in_axes, strict=True))
    ]
    return given, members


MAPS = [("warp", axes) for axes in IN_AXES] + [("xla", "mixed"), ("xla", "all")]


@pytest.mark.parametrize("way", fast_cases(MAPS, 3), ids="-".join)
def test_vmap_is_a_loop(way):
    backend, axes = way
    in_axes = IN_AXES[axes]
    case = Case(grid=SMALL, per_member=("dt",), forcing="per step", direct=axes == "all")
    given, members = stacked(case, in_axes)
    f = case.fused(backend)

    def each(*x):  # the gradient of each member, also of what they share
        return jax.value_and_grad(loss(f))(x)

    alone = jax.jit(jax.value_and_grad(loss(case.oracle)))
    standard = [alone(tuple(x)) for x in members]
    standard = jax.tree.map(lambda *y: jnp.stack(y), *standard)
    assert_trees_close(jax.jit(jax.vmap(each, in_axes))(*given), standard, ROLLOUT)

    mapped = jax.vmap(f, in_axes, 2)
    values, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(mapped(*x)))))(tuple(given))
    assert_close(values, jnp.sum(standard[0]), ROLLOUT)
    summed = [
        jnp.sum(g, 0) if axis is None else jnp.moveaxis(g, 0, axis)
        for g, axis in zip(standard[1], in_axes, strict=True)
    ]
    assert_trees_close(gradient, tuple(summed), ROLLOUT)

    tangents = case.like(given, 5)
    ones = jax.jit(lambda x, v: jax.jvp(jax.vmap(f, in_axes), x, v))(tuple(given), tangents)
    oracles = jax.jit(lambda x, v: jax.jvp(jax.vmap(case.oracle, in_axes), x, v))(tuple(given), tangents)
    assert_trees_close(ones, oracles, ROLLOUT)


@pytest.mark.full
@every_backend
def test_nested_vmap(backend):
    case = Case(grid=SMALL, per_member=("forcing",), steps=2)
    omega, nu, mu, dt, forcing = case.operands()
    omega = jnp.stack([omega, 0.5 * omega, -omega], 1)  # the mapped axis in the middle
    nu = jnp.stack([nu * s for s in (1.0, 2.0, 3.0, 4.0)])

    def nested(f):
        by_viscosity = jax.vmap(f, (None, 0, None, None, None), 1)
        both = jax.vmap(by_viscosity, (1, None, None, None, None), 3)

        def total(nu):
            return jnp.sum(jnp.sin(both(omega, nu, mu, dt, forcing)))

        return jax.jit(lambda nu: (both(omega, nu, mu, dt, forcing), jax.grad(total)(nu)))

    actual = nested(case.fused(backend))(nu)
    assert actual[0].shape == (2, 4, 6, 3, 10)
    assert_trees_close(actual, nested(case.oracle)(nu), ROLLOUT)


def two_directions(case):
    """Return the operands of a case, and two directions."""
    x = case.operands()
    return x, tuple(jnp.stack([a, -2 * b]) for a, b in zip(case.like(x, 5), case.like(x, 6), strict=True))


@functools.cache
def mapped_products(scheme, backend):
    """Return second derivatives in two directions."""
    case = Case(grid=SMALL, scheme=scheme, steps=1, batch=1)
    f, (x, directions) = loss(case.fused(backend)), two_directions(case)

    def hvps(v):
        forward_over_reverse = jax.jvp(jax.grad(f), (x,), (v,))[1]
        reverse_over_forward = jax.grad(lambda y: jax.jvp(f, (y,), (v,))[1])(x)
        return forward_over_reverse, reverse_over_forward

    return jax.jit(jax.vmap(hvps))(directions)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_vmap_of_second_derivatives(backend, scheme):
    assert_trees_close(mapped_products(scheme, backend), mapped_products(scheme, "oracle"), ROLLOUT)


@functools.cache
def gradient_of_mapped_tangents(backend):
    """Return the gradient of the sum of squares of mapped tangents."""
    case = Case(grid=SMALL, steps=1, batch=1)
    f, (x, directions) = loss(case.fused(backend)), two_directions(case)

    def total(x):
        return jnp.sum(jax.vmap(lambda v: jax.jvp(f, (x,), (v,))[1])(directions) ** 2)

    return jax.jit(jax.grad(total))(x)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
def test_derivative_of_mapped_tangents(backend):
    assert_trees_close(gradient_of_mapped_tangents(backend), gradient_of_mapped_tangents("oracle"), ROLLOUT)


@pytest.mark.full
@every_backend
def test_jacobians(backend):
    case = Case(grid=SMALL, steps=1, batch=1)
    omega, *rest = case.operands()
    basis = normal(1, (4, *omega.shape))

    def jacobians(f, derivative):
        def along(s):
            return jnp.tensordot(basis, f(omega + jnp.tensordot(s, basis, 1), *rest), [[1, 2, 3], [0, 1, 2]])

        return jax.jit(derivative(along))(jnp.zeros(4))

    standard = jacobians(case.oracle, jax.jacfwd)
    for derivative in (jax.jacfwd, jax.jacrev):
        assert_close(jacobians(case.fused(backend), derivative), standard, ROLLOUT)


@every_backend
def test_vmap_is_one_launch_sequence(backend):
    case = Case(grid=SMALL, steps=1, batch=1)
    omega, *rest = case.operands()
    f = jax.vmap(functools.partial(case.fused(backend)), (0, None, None, None, None))
    text = str(jax.make_jaxpr(f)(jnp.stack([omega] * 5), *rest))
    assert text.count("= advance[") == 1
    assert "f64[5,6,10]" in text
