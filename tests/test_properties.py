"""Any bad argument of any public function raises a TypeError or ValueError that names it, before anything runs.

A good argument works in any of its types.

The fast tier draws 5 bad values for each of more than 250 arguments. A release draws over 10,000 in all:
``WARPJAXNS_EXAMPLES=50 pytest tests/test_properties.py tests/test_command_line.py``.
"""

import fractions
import inspect
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
from bad_arguments import (
    GRID,
    OMEGA,
    Hostile,
    Traced,
    junk,
    not_count,
    not_field,
    not_key,
    traced,
)
from hypothesis import HealthCheck, given, settings
from public_functions import ARGUMENTS, FUNCTIONS

import warpjaxns as wns
from warpjaxns import _ffi
from warpjaxns._show import show

EXAMPLES = int(os.environ.get("WARPJAXNS_EXAMPLES", "5"))
few = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
many = settings(few, max_examples=20 * EXAMPLES)


@pytest.fixture(autouse=True)
def no_annotations():
    """Turn annotations off: users see the package's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)  # `own_errors` puts it back


def call(name, argument, value):
    function, arguments = FUNCTIONS[name]
    given = {other: good for other, (good, _) in arguments.items()}
    if isinstance(value, Traced):
        return jax.eval_shape(lambda x: function(**given | {argument: x}), value.value)
    return function(**given | {argument: value})


def check_named(argument, run):
    """Check that `run` raises an error with a short message about the argument, and starts nothing."""
    before = _ffi.statistics()
    try:
        result = run()
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        raise AssertionError(f"taken for a good {argument}: {result}")
    assert re.search(rf"\b{argument}(\.\w+|\[\d\])*'?(=| is | has | have | was | holds | of | and | \(|$)", message), (
        message
    )
    assert len(message) < 500
    assert _ffi.statistics() == before


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
@few
@given(data=st.data())
def test_a_bad_argument_is_named(name, argument, data):
    value = data.draw(FUNCTIONS[name][1][argument][1])
    check_named(argument, lambda: call(name, argument, value))


ELSEWHERE = ("benchmarks", "data", "plotting")  # what they refuse, their own tests show
RESULTS = (
    "AdaptiveSteps",
    "Budget",
    "Budgets",
    "Lyapunov",
    "OptimalPerturbation",
    "Resolution",
    "ScalarBudget",
    "State",
)
BASES = ("Law", "Separable", "Space", "Steps", "Sum")  # of laws of a user's own, which nobody else makes
WITHOUT_ARGUMENTS = ("Direct", "Flag", "clear_caches", "primitive")  # users of primitives follow below


def test_no_public_function_is_left_out():
    there = {getattr(function, "func", function) for function, _ in FUNCTIONS.values()}
    for module in (wns, *(getattr(wns, name) for name in wns.__all__ if inspect.ismodule(getattr(wns, name)))):
        if module.__name__.rpartition(".")[2] in ELSEWHERE:
            continue
        public = {name: getattr(module, name) for name in module.__all__}
        missing = {name for name, value in public.items() if callable(value) and value not in there}
        assert missing <= {*RESULTS, *BASES, *WITHOUT_ARGUMENTS}, module


# ------------------------------------------------------------------------------------------------ primitives


@wp.kernel(module="unique")
def scale(x: wp.array(dtype=wp.float32), factor: float, y: wp.array(dtype=wp.float32)):
    i = wp.tid()
    y[i] = factor * x[i]


X = np.ones(3, np.float32)
SHAPES = st.one_of(
    st.builds(Hostile),
    st.sampled_from(["ab", 2.5, (2.5,), {"z": 3}, (3, 3), [(3,), (3,)], ("a",), object(), -1, (-3,)]),
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
    """Return a strategy for `value` in all types in which it is as good."""
    if isinstance(value, float):
        return st.sampled_from(NUMBERS).map(lambda kind: kind(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return st.sampled_from(COUNTS).map(lambda kind: kind(value))
    if isinstance(value, str):
        return st.sampled_from([str, np.str_]).map(lambda kind: kind(value))
    if isinstance(value, tuple) and value and isinstance(value[0], int | float):
        kinds = [np.float32, np.float64, fractions.Fraction] if isinstance(value[0], float) else COUNTS
        return st.sampled_from([tuple, list]).flatmap(
            lambda pair: st.sampled_from(kinds).map(lambda kind: pair([*map(kind, value)]))
        )
    return st.just(value)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "optimal_perturbation"])
@few
@given(data=st.data())
def test_good_arguments_of_any_type(name, data):
    """Trace, but do not run: other tests check the results."""
    function, arguments = FUNCTIONS[name]
    given = {argument: data.draw(in_other_types(good)) for argument, (good, _) in arguments.items()}
    jax.eval_shape(lambda: (function(**given), None)[1])


def taken(make, names):
    """Return the result of `make`, or None where an error names one of `names`."""
    try:
        return make()
    except ValueError as error:
        message = str(error)
    assert re.search(names, message), message
    return None


def test_any_extent_that_is_taken_has_float32_operators():
    smallest, largest = float(np.finfo("float32").tiny), float(np.finfo("float32").max)

    @many
    @given(extent=st.tuples(*[st.floats(-50, 50).map(lambda power: 10.0**power)] * 2), size=st.integers(4, 10**6))
    def check(extent, size):
        grid = taken(lambda: wns.Grid((size, 4), extent), "extent=")
        if grid is not None:
            constants = [*(8 / h**2 for h in grid.spacing), *((2 * math.pi / side) ** 2 for side in extent)]
            constants.append(1 / (4 * math.prod(grid.spacing)))
            assert all(smallest < number < largest for c in constants for number in (c, 1 / c))

    check()


@pytest.mark.parametrize("backend", [pytest.param("warp", marks=pytest.mark.full), "xla"])
def test_any_parameters_that_are_taken_give_a_finite_step(backend):
    """A step that is taken is finite, though perhaps unstable. (The flow is so slow that advection does not matter.)"""
    omega, powers = 1e-30 * OMEGA.astype("float32"), st.floats(-50, 50)

    @many
    @given(viscosity=powers, drag=powers, dt=st.floats(-50, 0))
    def check(**powers):
        parameters = {name: 10.0**power for name, power in powers.items()}
        solver = taken(
            lambda: wns.NavierStokes2D(GRID, **parameters, backend=backend, check_finite=False), "dt|drag|visc"
        )
        assert solver is None or np.all(np.isfinite(solver.step(omega)))

    check()


@many
@given(value=st.one_of(junk(), not_field(), not_key(), not_count(1), st.text(), st.lists(st.text())))
def test_any_value_can_be_shown(value):
    text = show(value)
    assert 0 < len(text) <= 120
    assert len(text.splitlines()) == 1
