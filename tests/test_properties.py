"""Any bad argument of any public function: a TypeError or ValueError that names it, before anything runs. A good one
works, whatever type it comes in.

More examples, for a release: ``WARPJAXNS_EXAMPLES=500 pytest tests/test_properties.py``.
"""

import decimal
import fractions
import itertools
import math
import os
import re

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import warp as wp
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

import warpjaxns as wns
from warpjaxns import _ffi, experiments
from warpjaxns._primitives.reference import eigenvalues
from warpjaxns._show import show

EXAMPLES = int(os.environ.get("WARPJAXNS_EXAMPLES", "5"))
few = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
many = settings(few, max_examples=20 * EXAMPLES)

GRID = wns.Grid((6, 10), (2.0, 3.5))
OMEGA = np.cos(np.arange(60.0)).reshape(GRID.shape)
KEY = jax.random.key(0)
BEYOND = 10**400  # any floating-point number


@pytest.fixture(autouse=True)
def no_annotations():
    """Users see the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)  # `own_errors` puts it back


# ------------------------------------------------------------------------------------------------ bad values


class Hostile:
    """Cannot be shown, and has no attributes to look at."""

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
        lambda value: not isinstance(value, Traced)
    )
    one_bad = st.tuples(sides, st.just(1.0)) | st.tuples(st.just(1.0), sides)
    others = st.sampled_from([(), (1.0,), (1.0, 1.0, 1.0), 1.0, None, np.zeros((2, 2))])
    return st.one_of(one_bad, others, junk(), not_static(), traced(np.ones(2)))


def not_adjoint():
    return st.one_of(junk(), st.none(), st.sampled_from([wns.Direct, wns.Checkpointed, "direct", 3]), not_static())


def not_batch():
    axes = st.one_of(st.integers(max_value=-1), st.floats(), st.text(), st.builds(Hostile), st.booleans())
    return st.one_of(junk(), st.lists(axes, min_size=1).map(tuple), st.sampled_from([None, 3, 2.5, "ab", np.ones(2)]))


# ------------------------------------------------------------------------------------------------ all functions

FIELD, BACKEND, DTYPE, FLAG = not_field(), not_option("auto", "warp", "xla"), not_dtype(), not_flag()
ADVECTION, KEYS = not_option("arakawa", "central"), not_key()
REAL, POSITIVE = not_one_real(), st.one_of(not_one_real(), not_positive())
LENGTH = st.one_of(POSITIVE, st.just(1e3))
STATIC, STATIC_LENGTH = st.one_of(POSITIVE, not_static()), st.one_of(LENGTH, not_static())
GRIDS, SOLVERS = (GRID, not_grid()), lambda solver: (solver, not_solver())
COUNT, COUNT0 = not_count(1), not_count(0)


def functions():
    """Every function, with the arguments that are tried: a good value of each, and what is bad."""
    solver = wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend="warp")
    omega, ours = (OMEGA, FIELD), (solver, not_solver())
    forces = (np.stack([OMEGA] * 2), st.one_of(FIELD, st.just(np.zeros((3, *GRID.shape)))))
    steps = (2, st.one_of(COUNT0, st.just(3)))
    number, positive, static, backend = (1.0, REAL), (0.1, POSITIVE), (1.0, STATIC), ("warp", BACKEND)
    key, dtype, advection = (KEY, KEYS), ("float64", DTYPE), ("arakawa", ADVECTION)
    parameter = st.one_of(not_real(), not_non_negative(), st.just(np.asarray([0.1, -0.1])))
    step = st.one_of(not_real(), not_positive(), st.just(np.asarray([0.1, 0.0])))
    spectrum = st.one_of(
        not_real().filter(lambda value: not callable(value) and not isinstance(value, list)),
        not_non_negative(),
        st.sampled_from([np.ones((2, 2)), np.ones(99), [-1.0], ["a"], 1.0]),
    )
    def there(value):
        return value is not None

    one_field = st.one_of(FIELD, st.just(np.zeros((2, *GRID.shape))))
    initial, forcing, diagnostics, closures = wns.initial, wns.forcing, wns.diagnostics, wns.closures
    on_grid = {"grid": GRIDS, "omega": omega}
    of_solver = {"solver": ours, "omega": omega}
    return {
        "Grid": (wns.Grid, {"shape": ((6, 10), not_shape()), "extent": ((2.0, 3.5), not_extent())}),
        "NavierStokes2D": (
            wns.NavierStokes2D,
            {
                "grid": GRIDS,
                "viscosity": (0.1, st.one_of(parameter, st.just(1e32))),
                "dt": (0.01, st.one_of(step, st.just(1e32))),
                "drag": (0.1, st.one_of(parameter, st.just(1e32))),
                "forcing": (OMEGA, FIELD),
                "advection": advection,
                "adjoint": (wns.Direct(), not_adjoint()),
                "backend": ("xla", BACKEND),
                "check_finite": (False, FLAG),
            },
        ),
        "Checkpointed": (wns.Checkpointed, {"every": (2, st.one_of(not_one_real(), st.floats(), st.integers(max_value=0), not_static())), "keep_last": (True, FLAG)}),
        "rollout": (
            solver.rollout,
            {"omega0": omega, "steps": steps, "save_every": (2, st.one_of(COUNT.filter(there), st.just(3))), "forcing": forces},
        ),
        "step": (solver.step, {"omega": omega}),
        "tendency": (solver.tendency, {"omega": omega}),
        "solver.streamfunction": (solver.streamfunction, {"omega": omega}),
        "velocity": (solver.velocity, {"omega": omega}),
        "solver.cfl": (solver.cfl, {"omega": omega}),
        "streamfunction": (wns.streamfunction, {**on_grid, "backend": backend}),
        "laplacian": (wns.laplacian, {"grid": GRIDS, "a": omega, "backend": backend}),
        "jacobian": (
            wns.jacobian,
            {"grid": GRIDS, "a": omega, "b": omega, "scheme": ("central", ADVECTION), "backend": backend},
        ),
        "coarsen": (wns.coarsen, {**on_grid, "shape": ((4, 6), st.one_of(not_shape(), st.just((8, 8))))}),
        "info": (wns.info, {"grid": (GRID, not_grid().filter(there)), "dtype": dtype}),
        "warmup": (wns.warmup, {"solver": ours, "batch": ((1,), not_batch()), "dtype": dtype, "gradient": (True, FLAG)}),
        "taylor_green": (
            initial.taylor_green,
            {"grid": GRIDS, "wavenumber": (1, st.one_of(COUNT, st.just(9))), "amplitude": number, "dtype": dtype},
        ),
        "vortex_merger": (
            initial.vortex_merger,
            {"grid": GRIDS, "separation": (0.5, LENGTH), "radius": (0.2, LENGTH), "amplitude": number, "dtype": dtype},
        ),
        "double_shear_layer": (
            initial.double_shear_layer,
            {"grid": GRIDS, "thickness": (0.1, LENGTH), "perturbation": number, "speed": number, "dtype": dtype},
        ),
        "lamb_dipole": (
            initial.lamb_dipole,
            {"grid": GRIDS, "radius": (0.5, STATIC_LENGTH), "speed": number, "dtype": dtype},
        ),
        "from_velocity": (initial.from_velocity, {"grid": GRIDS, "u": omega, "v": omega}),
        "decaying_turbulence": (
            initial.decaying_turbulence,
            {
                "grid": GRIDS,
                "key": key,
                "peak_wavenumber": (1.0, STATIC_LENGTH),
                "shape": (3, STATIC),
                "energy": positive,
                "dtype": dtype,
            },
        ),
        "random_vorticity": (
            initial.random_vorticity,
            {
                "grid": GRIDS,
                "key": key,
                "max_wavenumber": (1.0, st.one_of(STATIC_LENGTH, st.just(0.5))),
                "smoothness": (1, st.one_of(REAL, not_static(), not_non_negative())),
                "dtype": dtype,
            },
        ),
        "from_spectrum": (
            initial.from_spectrum,
            {"grid": GRIDS, "spectrum": (np.ones(2), spectrum), "key": key, "dtype": dtype},
        ),
        "kolmogorov": (
            forcing.kolmogorov,
            {"grid": GRIDS, "wavenumber": (1, st.one_of(COUNT, st.just(9))), "amplitude": number, "dtype": dtype},
        ),
        "from_momentum": (forcing.from_momentum, {"grid": GRIDS, "fx": omega, "fy": omega}),
        "ring_noise": (
            forcing.ring_noise,
            {
                "grid": GRIDS,
                "key": key,
                "steps": (2, COUNT0),
                "dt": positive,
                "energy_rate": positive,
                "wavenumber": (1.0, STATIC_LENGTH),
                "width": static,
                "dtype": dtype,
            },
        ),
        "smagorinsky": (closures.smagorinsky, {**on_grid, "constant": number}),
        "strain_rate": (closures.strain_rate, on_grid),
        "fundamental_wavenumber": (diagnostics.fundamental_wavenumber, {"grid": GRIDS}),
        "fourier_modes": (diagnostics.fourier_modes, {"grid": GRIDS}),
        **{
            name: (getattr(diagnostics, name), on_grid)
            for name in ("energy", "enstrophy", "palinstrophy", "energy_spectrum", "integral_scale")
        },
        **{
            name: (getattr(diagnostics, name), {**on_grid, "advection": advection})
            for name in ("energy_flux", "enstrophy_flux")
        },
        "budgets": (diagnostics.budgets, {**of_solver, "forcing": omega}),
        "cfl": (diagnostics.cfl, of_solver),
        "reynolds_number": (
            diagnostics.reynolds_number,
            {**of_solver, "length": (1.0, st.one_of(not_real(), not_positive()))},
        ),
        "lyapunov_exponent": (
            diagnostics.lyapunov_exponent,
            {
                "solver": ours,
                "omega": (OMEGA, one_field),
                "key": key,
                "steps": (2, st.one_of(COUNT, st.just(3))),
                "renormalise_every": (2, st.one_of(COUNT, st.just(3))),
                "transient": (0, st.one_of(COUNT0, st.just(3))),
                "forcing": forces,
            },
        ),
        "developed_turbulence": (
            experiments.developed_turbulence,
            {"solver": ours, "key": key, "spin_up": (1, COUNT0), "dtype": dtype},
        ),
        "gain": (
            experiments.gain,
            {"solver": ours, "base": omega, "perturbation": omega, "steps": (1, COUNT0)},
        ),
        "random_perturbation": (
            experiments.random_perturbation,
            {"base": (OMEGA, st.one_of(junk(), st.none())), "norm": (0.1, POSITIVE), "key": key},
        ),
        "optimal_perturbation": (
            experiments.optimal_perturbation,
            {
                "solver": ours,
                "base": (OMEGA, st.one_of(one_field, st.just(np.zeros(GRID.shape)))),
                "perturbation": (OMEGA, st.one_of(one_field, st.just(np.zeros(GRID.shape)))),
                "steps": (1, COUNT),
                "radius": (0.1, STATIC),
                "learning_rate": (0.1, STATIC),
                "iterations": (1, COUNT),
            },
        ),
    }


FUNCTIONS = functions()
ARGUMENTS = [(name, argument) for name, (_, arguments) in FUNCTIONS.items() for argument in arguments]


def call(name, argument, value):
    function, arguments = FUNCTIONS[name]
    given = {other: good for other, (good, _) in arguments.items()}
    if isinstance(value, Traced):
        return jax.eval_shape(lambda x: function(**given | {argument: x}), value.value)
    return function(**given | {argument: value})


def check_named(argument, run):
    """`run` raises an error whose message, not a long one, is about the argument, and starts nothing."""
    before = _ffi.statistics()
    try:
        result = run()
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        raise AssertionError(f"taken for a good {argument}: {result}")
    assert re.search(rf"\b{argument}'?(=| is | has | was | holds | of |$)", message), message
    assert len(message) < 500
    assert _ffi.statistics() == before


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
@few
@given(data=st.data())
def test_a_bad_argument_is_named(name, argument, data):
    value = data.draw(FUNCTIONS[name][1][argument][1])
    check_named(argument, lambda: call(name, argument, value))


# ------------------------------------------------------------------------------------------------ primitives


@wp.kernel(module="unique")
def scale(x: wp.array(dtype=wp.float32), factor: float, y: wp.array(dtype=wp.float32)):
    i = wp.tid()
    y[i] = factor * x[i]


X = np.ones(3, np.float32)
SHAPES = st.one_of(
    st.builds(Hostile), st.sampled_from(["ab", 2.5, (2.5,), {"z": 3}, (3, 3), [(3,), (3,)], ("a",), object(), -1, (-3,)])
)
MAKING = {
    "kernel": st.one_of(junk(), st.none()),
    "num_outputs": st.one_of(junk(), st.none(), st.integers(max_value=0), st.integers(min_value=4), st.floats()),
    "output_shapes": SHAPES,
    "launch_dims": SHAPES,
    "block_dim": st.one_of(junk(), st.none(), st.integers(max_value=0), st.integers(min_value=1025), st.floats()),
}
CALLING = {
    "x": st.one_of(junk(), st.sampled_from([1.0, None, X[None], OMEGA, X.astype(int)]), traced(OMEGA)),
    "factor": st.one_of(junk(), st.sampled_from([None, X, 1j, jnp.ones(())]), traced(np.float32(1))),
}


@pytest.mark.parametrize("argument", MAKING)
@few
@given(data=st.data())
def test_a_bad_argument_of_a_primitive_is_named(argument, data):
    value = data.draw(MAKING[argument])
    check_named(argument, lambda: wns.primitive(**{"kernel": scale} | {argument: value})(X, 2.0))


@pytest.mark.parametrize("argument", CALLING)
@few
@given(data=st.data())
def test_a_bad_parameter_of_a_kernel_is_named(argument, data):
    function, value = wns.primitive(scale), data.draw(CALLING[argument])
    good = {"x": X, "factor": 2.0}
    if isinstance(value, Traced):
        check_named(argument, lambda: jax.eval_shape(lambda v: function(**good | {argument: v}), value.value))
    else:
        check_named(argument, lambda: function(**good | {argument: value}))


# ------------------------------------------------------------------------------------------------ good values

NUMBERS = [float, np.float32, np.float64, np.asarray, jnp.asarray, fractions.Fraction]
COUNTS = [int, np.int64, np.int8, np.uint32]
FIELDS = [np.asarray, jnp.asarray, lambda field: field.tolist(), lambda field: field.astype("float32")]


def in_other_types(value):
    """`value` in any type in which it is as good."""
    if isinstance(value, float):
        return st.sampled_from(NUMBERS).map(lambda kind: kind(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return st.sampled_from(COUNTS).map(lambda kind: kind(value))
    if isinstance(value, str):
        return st.sampled_from([str, np.str_]).map(lambda kind: kind(value))
    if isinstance(value, tuple):
        kinds = [np.float32, np.float64, fractions.Fraction] if isinstance(value[0], float) else COUNTS
        pairs = st.sampled_from([tuple, list, np.asarray])
        return pairs.flatmap(lambda pair: st.sampled_from(kinds).map(lambda kind: pair([*map(kind, value)])))
    return st.just(value)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "optimal_perturbation"])
@few
@given(data=st.data())
def test_good_arguments_of_any_type(name, data):
    """Traced, not run: what comes out is for other tests."""
    function, arguments = FUNCTIONS[name]
    given = {argument: data.draw(in_other_types(good)) for argument, (good, _) in arguments.items()}
    jax.eval_shape(lambda: (function(**given), None)[1])
