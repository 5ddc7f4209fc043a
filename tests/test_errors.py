"""Errors for bad input: each has the right type, and names the argument, the value and what would work."""

import functools
import itertools
import re
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warpjaxns import (
    Checkpointed,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Scalar,
    Spectral,
    diagnostics,
    experiments,
    forcing,
    initial,
    jacobian,
    laplacian,
    streamfunction,
)

GRID = Grid((6, 10), (2.0, 3.5))
GOOD = {"viscosity": 0.01, "dt": 0.05}
OMEGA = np.zeros(GRID.shape)
KEY = jax.random.key(0)
nan, inf = float("nan"), float("inf")


def contains(error, *parts):
    text = str(error.value)
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


@pytest.mark.parametrize(
    ("arguments", "kind", "parts"),
    [
        (((3, 10),), ValueError, ("shape", "(3, 10)", "at least 4")),
        (((0, 10),), ValueError, ("shape", "(0, 10)", "at least 4")),
        (((6.0, 10),), TypeError, ("shape", "(6.0, 10)", "integers")),
        (((True, 10),), TypeError, ("shape", "True", "integers")),
        ((16,), TypeError, ("shape", "16", "(ny, nx)")),
        (((6, 10, 8),), TypeError, ("shape", "(6, 10, 8)", "two")),
        (((6, 10), (0.0, 1.0)), ValueError, ("extent", "(0.0, 1.0)", "positive")),
        (((6, 10), (1.0, -1.0)), ValueError, ("extent", "(1.0, -1.0)", "positive")),
        (((6, 10), (nan, 1.0)), ValueError, ("extent", "nan", "finite")),
        (((6, 10), (inf, 1.0)), ValueError, ("extent", "inf", "finite")),
        (((6, 10), 1.0), TypeError, ("extent", "1.0", "(Ly, Lx)")),
        (((6, 10), (1j, 1.0)), TypeError, ("extent", "1j", "real")),
        (((6, 10), (1e23, 1.0)), ValueError, ("extent=(1e+23, 1.0)", "1e+19", "unit of length")),
        (((6, 10), (1.0, 1e-18)), ValueError, ("extent", "1e-18", "apart", "unit of length")),
        (((6, 10), (10**400, 1.0)), ValueError, ("extent", "unit of length")),
        (((10**400, 10),), ValueError, ("shape", "apart")),
        (((6, 10), {1.0, 2.0}), TypeError, ("extent", "two real numbers")),
        ((b"ab",), TypeError, ("shape", "b'ab'", "two integers")),
        ((itertools.count(),), TypeError, ("shape", "count", "two integers")),
    ],
)
def test_grid(arguments, kind, parts):
    with pytest.raises(kind) as error:
        Grid(*arguments)
    contains(error, *parts)


@pytest.mark.parametrize(
    ("changes", "kind", "parts"),
    [
        ({"dt": 0.0}, ValueError, ("dt=0.0", "positive")),
        ({"dt": -1e-3}, ValueError, ("dt=-0.001", "positive")),
        ({"dt": nan}, ValueError, ("dt=nan", "finite")),
        ({"dt": jnp.asarray(0.0)}, ValueError, ("dt=0.0", "positive")),
        ({"dt": "fast"}, TypeError, ("dt", "fast", "real number")),
        ({"dt": np.array([0.1, 0.0])}, ValueError, ("dt", "positive")),
        ({"viscosity": np.array([-0.1, 0.1])}, ValueError, ("viscosity", "zero or")),
        ({"dt": 1j}, TypeError, ("dt", "1j", "real")),
        ({"viscosity": -1.0}, ValueError, ("viscosity=-1.0", "zero or a positive")),
        ({"viscosity": inf}, ValueError, ("viscosity=inf", "finite")),
        ({"viscosity": np.array([1, -2])}, ValueError, ("viscosity", "-2", "zero or a positive")),
        ({"viscosity": np.array([1j])}, TypeError, ("viscosity", "1.j", "real numbers")),
        ({"drag": -0.1}, ValueError, ("drag=-0.1", "zero or a positive")),
        ({"drag": None}, TypeError, ("drag", "None", "real number")),
        ({"forcing": np.zeros((10, 6))}, ValueError, ("forcing", "(10, 6)", "(..., 6, 10)")),
        ({"forcing": np.zeros(GRID.shape, int)}, TypeError, ("forcing", "int64", "float32 or float64")),
        ({"forcing": "wind"}, TypeError, ("forcing", "str", "float32 or float64")),
        ({"discretisation": "spectral"}, TypeError, ("discretisation", "spectral", "FiniteDifference", "Spectral")),
        ({"discretisation": FiniteDifference}, TypeError, ("discretisation", "FiniteDifference", "Spectral")),
        ({"discretisation": None}, TypeError, ("discretisation", "None", "FiniteDifference")),
        ({"backend": "cuda"}, ValueError, ("backend", "cuda", "auto", "warp", "xla")),
        ({"adjoint": "direct"}, TypeError, ("adjoint", "direct", "Direct()", "Checkpointed")),
        ({"check_finite": 1}, TypeError, ("check_finite", "1", "True or False")),
        ({"viscosity": np.longdouble(1)}, TypeError, ("viscosity", "longdouble", "real number")),
        ({"viscosity": np.ma.masked_array([1.0, 2.0], [True, False])}, TypeError, ("viscosity", "masked", "real")),
        ({"viscosity": 10**400}, ValueError, ("viscosity", "range")),
        ({"viscosity": 1e39}, ValueError, ("viscosity=1e+39", "float32")),
        ({"viscosity": 1e32}, ValueError, ("viscosity=1e+32", "dt=0.05", "float32", "2.51")),
        ({"drag": np.asarray([0.0, 1e32])}, ValueError, ("drag", "1.e+32", "float32")),
        ({"dt": 1e-50}, ValueError, ("dt=1e-50", "float32")),
        ({"dt": jax.ShapeDtypeStruct((), "float32")}, TypeError, ("dt", "ShapeDtypeStruct", "real number")),
        ({"forcing": jax.ShapeDtypeStruct(GRID.shape, "float32")}, TypeError, ("forcing", "ShapeDtypeStruct")),
        ({"forcing": np.ma.masked_array(OMEGA, OMEGA == 0)}, TypeError, ("forcing", "MaskedArray", "filled()")),
        ({"backend": np.asarray(["xla", "warp"])}, ValueError, ("backend", "auto", "warp", "xla")),
    ],
    ids=lambda value: "-".join(map(str, value))[:30] if isinstance(value, dict) else "",
)
def test_solver(changes, kind, parts):
    with pytest.raises(kind) as error:
        NavierStokes2D(GRID, **(GOOD | changes))
    contains(error, *parts)


def test_solver_wants_a_grid():
    with pytest.raises(TypeError) as error:
        NavierStokes2D((6, 10), **GOOD)
    contains(error, "grid", "(6, 10)", "Grid(")


def functions():
    solver = NavierStokes2D(GRID, **GOOD, backend="xla")
    return {
        "omega0": lambda w: solver.rollout(w, steps=2),
        "omega": solver.tendency,
        "step": solver.step,
        "cfl": solver.cfl,
        "velocity": solver.velocity,
        "streamfunction": lambda w: streamfunction(GRID, w),
        "a": lambda w: laplacian(GRID, w),
        "b": lambda w: jacobian(GRID, OMEGA, w),
    }


BAD_FIELDS = [
    (np.zeros(10), ValueError, ("(10,)", "(..., 6, 10)")),
    (np.zeros(()), ValueError, ("()", "(..., 6, 10)")),
    (np.zeros((10, 6)), ValueError, ("(10, 6)", "(..., 6, 10)")),
    (np.zeros((6, 10, 1)), ValueError, ("(6, 10, 1)", "(..., 6, 10)")),
    (np.zeros(GRID.shape, complex), TypeError, ("complex128", "float32 or float64")),
    (np.zeros(GRID.shape, "int32"), TypeError, ("int32", "float32 or float64")),
    (np.zeros(GRID.shape, bool), TypeError, ("bool", "float32 or float64")),
    (np.zeros(GRID.shape, "float16"), TypeError, ("float16", "float32 or float64")),
    (jnp.zeros(GRID.shape, jnp.bfloat16), TypeError, ("bfloat16", "float32 or float64")),
    ("a field", TypeError, ("str", "float32 or float64")),
    (None, TypeError, ("float32 or float64",)),
]
ARGUMENT = {"step": "omega", "cfl": "omega", "velocity": "omega", "streamfunction": "omega"}


@pytest.mark.parametrize("function", list(functions()))
def test_fields(function):
    f = functions()[function]
    for value, kind, parts in BAD_FIELDS:
        with pytest.raises(kind) as error:
            f(value)
        contains(error, ARGUMENT.get(function, function), *parts)
        if kind is TypeError and hasattr(value, "dtype"):  # the same when traced
            with pytest.raises(kind):
                jax.jit(f)(value)


def test_float64_while_x64_is_off():
    f = functions()
    with jax.enable_x64(False):
        for name in ("omega0", "omega", "a"):
            with pytest.raises(TypeError) as error:
                f[name](OMEGA)
            contains(error, name, "float64", "jax_enable_x64", "float32")
        with pytest.raises(TypeError) as error:
            NavierStokes2D(GRID, **GOOD, forcing=OMEGA)
        contains(error, "forcing", "float64", "jax_enable_x64")
        assert f["omega0"](OMEGA.astype("float32")).dtype == jnp.float32


def test_a_float64_array_from_where_x64_was_on():
    omega = jnp.asarray(OMEGA)
    assert omega.dtype == jnp.float64
    with jax.enable_x64(False):
        for name, f in functions().items():
            with pytest.raises(TypeError) as error:
                f(omega)
            contains(error, ARGUMENT.get(name, name), "float64", "jax_enable_x64", "float32")


@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_leaves_that_were_replaced(backend):
    """`eqx.tree_at` replaces leaves without a check."""
    solver, omega = NavierStokes2D(GRID, **GOOD, backend=backend), np.ones(GRID.shape)

    def with_leaf(name, value):
        return eqx.tree_at(lambda s: getattr(s, name), solver, value, is_leaf=lambda x: x is None)

    for shape in [(10, 6), (30, 2), (12, 10), (), (2, 6, 10)]:
        forced = with_leaf("forcing", jnp.ones(shape))
        for f in (forced.step, forced.tendency, functools.partial(forced.rollout, steps=1, forcing=OMEGA[None])):
            with pytest.raises(ValueError, match=re.escape(f"forcing has shape {shape}")):
                f(omega)
    with pytest.raises(TypeError) as error:
        with_leaf("forcing", jnp.ones(GRID.shape, int)).step(omega)
    contains(error, "forcing", "int64", "float32 or float64")
    number = with_leaf("dt", 0.02)
    expected = NavierStokes2D(GRID, viscosity=0.01, dt=0.02, backend=backend)
    np.testing.assert_array_equal(number.step(omega), expected.step(omega))
    np.testing.assert_array_equal(number.cfl(omega), expected.cfl(omega))


@pytest.mark.parametrize(
    ("arguments", "kind", "parts"),
    [
        ({"steps": -1}, ValueError, ("steps=-1", "at least 0")),
        ({"steps": 2.0}, TypeError, ("steps=2.0", "integer")),
        ({"steps": True}, TypeError, ("steps=True", "integer")),
        ({"steps": "4"}, TypeError, ("steps='4'", "integer")),
        ({"steps": 10, "save_every": 3}, ValueError, ("steps=10", "save_every=3", "multiple")),
        ({"steps": 10, "save_every": 0}, ValueError, ("save_every=0", "at least 1")),
        ({"steps": 10, "save_every": -5}, ValueError, ("save_every=-5", "at least 1")),
        ({"steps": 10, "save_every": 2.5}, TypeError, ("save_every=2.5", "integer")),
        ({"steps": 4, "forcing": OMEGA}, ValueError, ("forcing", "(6, 10)", "one field a step", "(4, ..., 6, 10)")),
        ({"steps": 4, "forcing": np.zeros((3, 6, 10))}, ValueError, ("forcing", "(3, 6, 10)", "(4, ..., 6, 10)")),
        ({"steps": 4, "forcing": np.zeros((4, 10, 6))}, ValueError, ("forcing", "(4, 10, 6)", "(..., 6, 10)")),
        ({"steps": 4, "forcing": np.zeros((4, 5, 6, 10))}, ValueError, ("forcing", "(4, 5, 6, 10)", "leading")),
        ({"steps": 4, "forcing": np.zeros((4, 6, 10), int)}, TypeError, ("forcing", "int64", "float32 or float64")),
    ],
)
def test_rollout(arguments, kind, parts):
    solver = NavierStokes2D(GRID, **GOOD)
    with pytest.raises(kind) as error:
        solver.rollout(OMEGA, **arguments)
    contains(error, *parts)


class Unshown:
    def __repr__(self):
        raise RuntimeError("not to be shown")


@pytest.mark.parametrize("name", ["viscosity", "dt", "drag", "forcing", "discretisation", "adjoint", "backend", "grid"])
def test_a_value_whose_repr_raises(name):
    with pytest.raises((TypeError, ValueError)) as error:
        NavierStokes2D(**({"grid": GRID} | GOOD | {name: Unshown()}))
    contains(error, name, "Unshown")


def test_a_value_with_a_long_repr():
    with pytest.raises(ValueError, match="backend") as error:
        NavierStokes2D(GRID, **GOOD, backend="x" * 10_000)
    assert len(str(error.value)) < 250


def test_a_donated_field():
    omega = jnp.ones(GRID.shape)
    omega.delete()
    with pytest.raises(ValueError, match="omega was deleted"):
        NavierStokes2D(GRID, **GOOD).step(omega)


def test_numbers_of_any_type_are_taken():
    for kind in (float, np.float16, np.float64, np.asarray, jnp.asarray, Fraction):
        solver = NavierStokes2D(GRID, viscosity=kind(0.5), dt=kind(0.25), drag=kind(1), backend=np.str_("xla"))
        assert (float(solver.viscosity), float(solver.dt), float(solver.drag)) == (0.5, 0.25, 1.0)


def test_concrete_values_of_jax_under_jit():
    lengths = {"separation": jnp.asarray(0.5), "radius": jnp.asarray(0.25)}
    assert jax.eval_shape(lambda: initial.vortex_merger(GRID, **lengths)).shape == GRID.shape


def test_traced_steps():
    solver = NavierStokes2D(GRID, **GOOD)
    with pytest.raises(TypeError) as error:
        jax.jit(lambda n: solver.rollout(OMEGA, steps=n))(3)
    contains(error, "steps", "known when tracing", "static")


@pytest.mark.parametrize(
    "make",
    [
        initial.taylor_green,
        initial.vortex_merger,
        initial.double_shear_layer,
        initial.lamb_dipole,
        lambda grid: initial.decaying_turbulence(grid, key=KEY),
        lambda grid: initial.random_vorticity(grid, key=KEY),
        lambda grid: initial.from_spectrum(grid, [1.0], key=KEY),
        lambda grid: initial.from_velocity(grid, OMEGA, OMEGA),
        lambda grid: forcing.kolmogorov(grid, 1, 1.0),
        lambda grid: forcing.ring_noise(grid, key=KEY, steps=1, dt=0.1, energy_rate=1.0, wavenumber=2),
        lambda grid: streamfunction(grid, OMEGA),
        lambda grid: diagnostics.energy_spectrum(grid, OMEGA),
    ],
)
def test_a_shape_is_not_a_grid(make):
    with pytest.raises(TypeError) as error:
        make(GRID.shape)
    contains(error, "grid=(6, 10)", "Grid((512, 512))")


@pytest.mark.parametrize("measure", [diagnostics.budgets, diagnostics.cfl, diagnostics.reynolds_number])
def test_a_grid_is_not_a_solver(measure):
    with pytest.raises(TypeError) as error:
        measure(GRID, OMEGA)
    contains(error, "solver=Grid", "NavierStokes2D")


@pytest.mark.parametrize(
    "function",
    [
        lambda solver: diagnostics.lyapunov_exponent(solver, OMEGA, key=KEY, steps=2, renormalise_every=2),
        lambda solver: experiments.developed_turbulence(solver, key=KEY, spin_up=1),
        lambda solver: experiments.gain(solver, OMEGA, OMEGA, steps=1),
    ],
)
def test_scalars_where_the_vorticity_advances_alone(function):
    solver = NavierStokes2D(GRID, **GOOD, discretisation=Spectral(), scalars=Scalar(diffusivity=0.1))
    with pytest.raises(ValueError, match="solver has scalars") as error:
        function(solver)
    contains(error, "Scalar", "expected one without")


@pytest.mark.parametrize("name", ["viscosity", "drag", "dt"])
def test_parameters_that_do_not_fit_the_state(name):
    solver = NavierStokes2D(GRID, **(GOOD | {name: np.full(3, 0.1)}))
    assert solver.step(np.zeros((3, *GRID.shape))).shape == (3, *GRID.shape)
    for shape in ((), (2,), (3, 2)):
        with pytest.raises(ValueError, match="leading axes") as error:
            solver.step(np.zeros((*shape, *GRID.shape)))
        contains(error, name, "(3,)", str((*shape, *GRID.shape)))


def test_jacobian():
    with pytest.raises(TypeError) as error:
        jacobian(GRID, OMEGA, OMEGA.astype("float32"))
    contains(error, "a has dtype float64", "b float32", "cast")
    with pytest.raises(ValueError, match="broadcast") as error:
        jacobian(GRID, np.zeros((2, 6, 10)), np.zeros((3, 6, 10)))
    contains(error, "(2, 6, 10)", "(3, 6, 10)")
    with pytest.raises(TypeError, match="discretisation") as error:
        jacobian(GRID, OMEGA, OMEGA, discretisation="central")
    contains(error, "central", "FiniteDifference(...)", "Spectral(...)")


@pytest.mark.parametrize(
    ("kind", "options", "parts"),
    [
        (FiniteDifference, {"advection": "upwind"}, ("advection", "upwind", "arakawa", "central")),
        (FiniteDifference, {"advection": "plus_cross"}, ("advection", "plus_cross", "arakawa")),
        (FiniteDifference, {"advection": None}, ("advection", "None", "arakawa")),
        (FiniteDifference, {"advection": np.asarray(["arakawa"])}, ("advection", "arakawa", "central")),
        (Spectral, {"integrator": "rk2"}, ("integrator", "rk2", "rk4", "rk3")),
        (Spectral, {"dealiasing": 1.5}, ("dealiasing", "1.5", "two-thirds", "smooth")),
    ],
)
def test_options_of_discretisations(kind, options, parts):
    with pytest.raises(ValueError, match=parts[0]) as error:
        kind(**options)
    contains(error, *parts)


@pytest.mark.parametrize("shape", [(14, 10), (10, 22), (7, 8)])
def test_sizes_that_warp_cannot_do(shape):
    grid = Grid(shape)
    size = next(n for n in shape if n in (14, 22, 7))
    with pytest.raises(ValueError, match='backend="warp"') as error:
        NavierStokes2D(grid, **GOOD, backend="warp")
    contains(error, str(size), "2^a 3^b 5^c", 'backend="xla"')
    for f in (streamfunction, laplacian):
        with pytest.raises(ValueError, match='backend="warp"') as error:
            f(grid, np.zeros(shape), backend="warp")
        contains(error, str(size), "2^a 3^b 5^c", 'backend="xla"')
    assert NavierStokes2D(grid, **GOOD).step(np.zeros(shape)).shape == shape  # "auto" falls back


def test_checkpointed():
    for value, kind in ((0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(kind) as error:
            Checkpointed(value)
        contains(error, f"every={value}", "positive integer or None")
    with pytest.raises(TypeError) as error:
        Checkpointed(keep_last="yes")
    contains(error, "keep_last='yes'", "True or False")
    assert Checkpointed(np.int64(4)) == Checkpointed(4)


def test_nothing_is_launched_before_an_error():
    from warpjaxns import _ffi

    solver = NavierStokes2D(GRID, **GOOD, backend="warp")
    before = _ffi.statistics()
    for arguments in ({"steps": -1}, {"steps": 3, "save_every": 2}, {"steps": 2, "forcing": OMEGA}):
        with pytest.raises(ValueError, match=r"steps|forcing"):
            solver.rollout(OMEGA, **arguments)
    assert _ffi.statistics() == before
