"""Hypothesis strategies for arguments that a function must refuse, one for each kind of argument."""

import decimal
import fractions
import itertools
import math

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis.extra import numpy as hnp

import warpjaxns as wns

GRID = wns.Grid((6, 10), (2.0, 3.5))
OMEGA = np.cos(np.arange(60.0)).reshape(GRID.shape)
KEY = jax.random.key(0)
BEYOND = 10**400  # any floating-point number


class Hostile:
    """An object that raises when it is shown or its attributes are read."""

    def __repr__(self):
        raise RuntimeError("shown")

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __array__(self, *args, **kwargs):
        raise RuntimeError("an array")

    def __iter__(self):
        raise RuntimeError("a sequence")

    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = None


class Traced:
    """A value that the function gets as a tracer."""

    def __init__(self, value):
        self.value = value


def deleted(shape):
    array = jnp.zeros(shape)
    array.delete()
    return array


def traced(*values):
    return st.sampled_from(values).map(Traced)


def junk():
    return st.one_of(
        st.builds(Hostile),
        st.builds(object),
        st.sampled_from([{}, {1: 2}, "", "ab", "x" * 500, b"ab", ..., len, int, {1.0, 2.0}, NotImplemented]),
        st.builds(lambda: itertools.repeat(1)),
        st.text(max_size=4).filter(lambda text: text not in ("f", "d", "e", "g")),
        st.sampled_from([["a", "b"], "now", ("auto",)]).map(np.asarray),
        st.sampled_from([[None], [[1], [2, 3]]]).map(lambda value: np.asarray(value, object)),
        st.just(np.datetime64("2000-01-01")),
    )


def not_real():
    return st.one_of(
        junk(),
        st.booleans(),
        st.complex_numbers(),
        st.sampled_from([np.longdouble(1), np.True_, np.complex64(1), decimal.Decimal(1), [], [1.0]]),
        st.just(jax.ShapeDtypeStruct((), jnp.float64)),
        st.builds(lambda: np.ma.masked_array([1.0, 2.0], [True, False])),
        st.builds(deleted, st.just(())),
        st.just(KEY),
        traced(np.True_, np.complex64(1)),
    )


def not_one_real():
    arrays = st.sampled_from([np.ones(1), np.ones((2, 3)), jnp.ones(2), np.ones(0)])
    return st.one_of(not_real(), arrays, traced(np.ones(2)))


def not_positive():
    floats = st.one_of(st.floats(max_value=1e-39), st.floats(min_value=3.5e38), st.just(math.nan))
    return st.one_of(floats, floats.map(np.float64), floats.map(jnp.asarray), st.integers(max_value=0), beyond())


def not_non_negative():
    floats = st.one_of(st.floats(max_value=-1e-300), st.floats(min_value=3.5e38), st.just(math.nan))
    return st.one_of(floats, floats.map(np.float64), st.integers(max_value=-1), beyond())


def beyond():
    return st.sampled_from([BEYOND, fractions.Fraction(BEYOND), 10**5000])


def not_static():
    return traced(np.float64(1), np.int64(1), np.float32(1))


def not_count(least):
    return st.one_of(
        not_one_real(),
        st.integers(max_value=least - 1),
        st.integers(min_value=2**31),
        st.floats(),
        st.sampled_from([np.float32(2), np.asarray(2), fractions.Fraction(2), None]),
        not_static(),
    )


def not_field():
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, max_side=10).filter(lambda shape: shape[-2:] != GRID.shape)
    dtypes = [bool, "int8", "int64", "uint32", "float16", "complex64", "complex128", "U1", object, "M8[s]", "i4,f4"]
    arrays = st.sampled_from(dtypes).map(lambda dtype: np.zeros(GRID.shape, dtype))
    return st.one_of(
        junk(),
        shapes.map(np.zeros),
        shapes.map(jnp.zeros),
        shapes.map(np.zeros).map(Traced),
        arrays,
        traced(np.zeros(GRID.shape, int), np.zeros(GRID.shape, complex)),
        st.just(jnp.zeros(GRID.shape, jnp.bfloat16)),
        st.just(np.zeros(GRID.shape, np.longdouble)),
        st.just(jax.ShapeDtypeStruct(GRID.shape, jnp.float64)),
        st.builds(lambda: np.ma.masked_array(OMEGA, OMEGA > 0)),
        st.builds(deleted, st.just(GRID.shape)),
        st.just(jax.random.split(KEY, GRID.shape)),
        st.sampled_from([0.0, 1, [[1.0], [1.0, 2.0]], GRID]),
    )


def not_option(*options):
    return st.one_of(junk(), st.text(), st.none(), st.integers(), not_static()).filter(
        lambda value: not (isinstance(value, str) and value in options)
    )


def not_dtype():
    others = st.sampled_from(["float16", "int32", "x", "f4,f4", np.int64, complex, bool, 7, [("a", float)], object])
    # what has a `dtype`, and strings that name one, NumPy takes for a dtype
    return st.one_of(others, st.builds(Hostile), st.builds(object))


def not_flag():
    return st.one_of(junk(), st.integers(), st.none(), st.just(np.True_), not_static())


def not_grid():
    return st.one_of(junk(), st.none(), st.sampled_from([(6, 10), 6, OMEGA, wns.Grid]), not_static())


def not_solver():
    return st.one_of(junk(), st.none(), st.sampled_from([GRID, wns.NavierStokes2D]), not_static())


def not_key():
    raw = jax.random.key_data(KEY)
    others = st.sampled_from([0, None, raw, jax.random.split(KEY), 1.5, jax.eval_shape(lambda: KEY)])
    return st.one_of(junk(), others, traced(raw, jax.random.split(KEY)))


def not_shape():
    sizes = st.one_of(st.integers(max_value=3), st.floats(), junk(), st.booleans(), st.integers(min_value=10**20))
    one_bad = st.tuples(sizes, st.just(6)) | st.tuples(st.just(6), sizes) | st.tuples(sizes, sizes).map(list)
    others = st.sampled_from([(), (6,), (6, 6, 6), 6, None, np.zeros((2, 2)), np.asarray([6.0, 6.0])])
    return st.one_of(one_bad, others, junk(), not_static(), traced(np.asarray([6, 6])))


def not_extent():
    sides = st.one_of(not_positive(), not_one_real(), st.sampled_from([1e23, 1e-20, 1e300, 1e-300])).filter(
        lambda value: not isinstance(value, Traced | np.longdouble)
    )
    one_bad = st.tuples(sides, st.just(1.0)) | st.tuples(st.just(1.0), sides)
    others = st.sampled_from([(), (1.0,), (1.0, 1.0, 1.0), 1.0, None, np.zeros((2, 2))])
    return st.one_of(one_bad, others, junk(), not_static(), traced(np.ones(2)))


def not_mean():
    part = not_real().filter(lambda value: not isinstance(value, Traced))
    others = st.sampled_from([(1.0,), (np.ones(3), 1.0), None, 1.0, np.ones(3), [1.0, 2.0, 3.0]])
    return st.one_of(junk(), st.tuples(part, st.just(1.0)), others, traced(np.ones(3), np.ones(())))


def not_adjoint():
    return st.one_of(junk(), st.none(), st.sampled_from([wns.Direct, wns.Checkpointed, "direct", 3]), not_static())


def not_discretisation():
    others = st.sampled_from([wns.FiniteDifference, wns.Spectral, "spectral", "arakawa", wns.Direct()])
    return st.one_of(junk(), st.none(), others, not_static())


def not_batch():
    axes = st.one_of(st.integers(max_value=-1), st.floats(), st.text(), st.builds(Hostile), st.booleans())
    return st.one_of(junk(), st.lists(axes, min_size=1).map(tuple), st.sampled_from([None, 3, 2.5, "ab", np.ones(2)]))


def not_pair():
    """Return a strategy for what is no pair of real numbers or arrays."""
    part = not_real().filter(lambda value: not isinstance(value, Traced))
    one_bad = st.tuples(part, st.just(1.0)) | st.tuples(st.just(1.0), part)
    others = st.sampled_from([(1.0,), (1.0, 1.0, 1.0), 1.0, None, np.ones(3), {1.0, 2.0}, {1.0: 2.0, 3.0: 4.0}])
    return st.one_of(junk(), one_bad, others, traced(np.ones(3), np.ones(())))


def not_mask():
    """Return a strategy for what is no field of numbers from 0 to 1."""
    outside = st.sampled_from([1.5, -0.1, math.nan, math.inf]).map(lambda value: np.where(OMEGA > 0, 0.5, value))
    return st.one_of(not_real(), outside, st.sampled_from([np.ones(10), 0.5, None]), traced(np.ones(10)))


def not_obstacle():
    """Return a strategy for what is no obstacle on `GRID`, and no tuple of them."""
    elsewhere = wns.Obstacle(np.ones((10, 6)), 1.0)
    others = st.sampled_from([elsewhere, (elsewhere,), wns.Obstacle, OMEGA, (None,), 0.5])
    return st.one_of(junk(), others, not_static())


def not_scalars(bad_field):
    """Return a strategy for what are no scalars on `GRID`."""
    field = bad_field.filter(lambda value: not isinstance(value, Traced))
    forced = field.map(lambda forcing: (wns.Scalar(diffusivity=0.1, forcing=forcing),))
    others = st.sampled_from([None, wns.Scalar, (wns.Scalar,), (OMEGA,), 0.1, (0.1,), [None]])
    return st.one_of(junk(), forced, others, not_static())


def not_state(bad_field):
    """Return a strategy for what is no state with one scalar on `GRID`."""
    field = bad_field.filter(lambda value: not isinstance(value, Traced))
    single = OMEGA.astype("float32")
    others = [
        OMEGA,
        None,
        wns.State,
        (OMEGA, (OMEGA,)),
        *(wns.State(OMEGA, each) for each in ((), (OMEGA,) * 2, OMEGA)),
    ]
    others += [wns.State(OMEGA, (single,)), wns.State(np.stack([OMEGA] * 2), (np.stack([OMEGA] * 3),))]
    return st.one_of(
        bad_field,
        field.map(lambda bad: wns.State(bad, (OMEGA,))),
        field.map(lambda bad: wns.State(OMEGA, (bad,))),
        st.sampled_from(others),
    )
