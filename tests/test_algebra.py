"""The derivative of the time steps composed of operators, called as the rules of the primitives call it."""

import functools

import jax
import jax.numpy as jnp
import pytest
from layouts import fast_cases
from oracle import normal
from test_advance import ALL, SMALL, Case
from tolerances import ROLLOUT, assert_close

from warpjaxns._finite_difference import algebra
from warpjaxns._primitives.operands import Operands, complete


def completed(operands):
    return complete(Operands(*operands))


def tangent(case, operands, along):
    f = functools.partial(algebra.tangent, grid=SMALL, scheme=case.scheme, steps=case.steps, keep=False, backend="xla")
    return jax.jit(lambda x, v: f(*completed(x), *completed(v))[0])(operands, along)


def expected(case, operands, along):
    """Return JAX's jvp, with operands and tangents of equal shapes."""
    shapes = [jnp.broadcast_shapes(x.shape, v.shape) for x, v in zip(operands, along, strict=True)]
    x, v = (tuple(map(jnp.broadcast_to, values, shapes)) for values in (operands, along))
    return jax.jit(lambda x, v: jax.jvp(case.oracle, x, v)[1])(x, v)


def directions(case, seed=5):
    return case.like(case.operands(), seed)


STEADY, PER_STEP, NONE = ({"forcing": forcing} for forcing in ("steady", "per step", "none"))
PAIRS = {  # which operands are per member, and which tangents
    "tangents of each member": ((), ALL, STEADY, STEADY),
    "operands of each member": (ALL, (), STEADY, STEADY),
    "mixed": (("viscosity", "forcing"), ("drag", "dt"), STEADY, STEADY),
    "tangents of each step": (("dt",), ("forcing",), STEADY, PER_STEP),
    "operands of each step": ((), ALL, PER_STEP, STEADY),
    "a forcing without tangent": ((), ("viscosity",), PER_STEP, NONE),
    "a tangent without forcing": (("drag",), ("forcing",), NONE, PER_STEP),
}


@pytest.mark.covering(1)
@pytest.mark.parametrize("name", fast_cases(list(PAIRS), 2, 5))
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_shared_operands_and_tangents(scheme, name):
    of_operands, of_tangents, forcing, dforcing = PAIRS[name]
    case = Case(grid=SMALL, scheme=scheme, steps=2, per_member=of_operands, batch=3, **forcing)
    other = Case(grid=SMALL, scheme=scheme, steps=2, per_member=of_tangents, batch=3, **dforcing)
    operands, along = case.operands(), directions(other)
    assert any(x.shape != v.shape for x, v in zip(operands, along, strict=True))
    actual = tangent(case, operands, along)
    assert_close(actual, expected(case, operands, along), ROLLOUT)
    assert jnp.linalg.norm(actual - tangent(case, operands, (along[0], *map(jnp.zeros_like, along[1:])))) > 1e-3


def test_the_state_does_not_drown_its_tangent():
    """State and tangent share a Poisson solve, and a tangent of 1e-12 of the state keeps its digits."""
    case = Case(grid=SMALL, steps=2)
    x, v = case.operands(), directions(case)
    tiny = jax.tree.map(lambda a: 2.0**-40 * a, v)
    assert_close(2.0**40 * tangent(case, x, tiny), tangent(case, x, v))


def test_one_solve_a_stage():
    case = Case(grid=SMALL, steps=2, forcing="per step")
    x = case.operands()
    options = {"grid": SMALL, "scheme": "arakawa", "steps": 2, "keep": False, "backend": "xla"}
    operands = *completed(x), *completed(directions(case))
    text = str(jax.make_jaxpr(lambda *x: algebra.tangent(*x, **options))(*operands))
    assert text.count("= poisson[") == 3
    assert text.count("f64[4,6,10] = poisson[") == 3


@pytest.mark.full
def test_its_own_derivative():
    """Forward and backward through it, with respect to operands that are shared and tangents that are not."""
    case, other = Case(grid=SMALL, steps=1), Case(grid=SMALL, steps=1, per_member=ALL)
    x, v = case.operands(), directions(other)
    weight = normal(9, x[0].shape)

    def gradient(f):
        return jax.jit(jax.grad(lambda x, v: jnp.sum(weight * f(case, x, v)), (0, 1)))(x, v)

    for a, e in zip(*(jax.tree.leaves(gradient(f)) for f in (tangent, expected)), strict=True):
        assert a.shape == e.shape
        assert_close(a, e, ROLLOUT)
