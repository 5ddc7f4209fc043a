"""`diagnostics.resolution`: shares of single waves, which are known, and what it says of computed flows."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from tolerances import RELATIVE, assert_close, relative_error

import warpjaxns as wns
from warpjaxns.diagnostics import resolution
from warpjaxns.diagnostics._resolution import warn_if_not_resolved

GRID = wns.Grid((48, 36), (3.0, 2.0))
FINITE = wns.FiniteDifference()
SPECTRAL = wns.Spectral()  # keeps 15 waves along y and 11 along x
SMOOTH = wns.Spectral(dealiasing="smooth")  # 23 and 17
ALL, NAMES = [FINITE, SPECTRAL, SMOOTH], ["finite", "spectral", "smooth"]
EVERY = pytest.mark.parametrize("discretisation", ALL, ids=NAMES)


compiled_resolution = jax.jit(resolution)


def solver(discretisation=FINITE, **how):
    return wns.NavierStokes2D(GRID, **{"viscosity": 1e-2, "dt": 1e-3, "discretisation": discretisation, **how})


def wave(my, mx, dtype="float64", amplitude=1.0):
    phase = 2 * np.pi * (my * np.arange(48)[:, None] / 48 + mx * np.arange(36)[None, :] / 36)
    return jnp.asarray(amplitude * np.cos(phase + 0.3), dtype)


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("discretisation", "longest", "shortest"),
    [
        (FINITE, [(3, 2), (-3, 1), (0, 2)], [(4, 0), (0, 3), (-4, 3), (23, 1)]),
        (SPECTRAL, [(10, 7), (-10, 0), (3, 7)], [(11, 0), (0, 8), (-11, 8)]),
        (SMOOTH, [(15, 11), (-15, 0)], [(16, 0), (0, 12), (-16, 1)]),
    ],
    ids=["finite", "spectral", "smooth"],
)
def test_the_tail_is_the_share_of_short_waves(discretisation, longest, shortest, dtype):
    for long in longest:
        for short in shortest:
            omega = 3 * np.asarray(wave(*long, dtype)) + 0.5 * np.asarray(wave(*short, dtype)) + 7
            found = compiled_resolution(solver(discretisation), jnp.asarray(omega, dtype))
            assert found.tail.dtype == dtype
            assert_close(found.tail, 0.25 / 9.25)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_error_of_finite_differences_is_that_of_the_phase(dtype):
    phase = (2 * np.pi * 5 / 48) ** 2 + (2 * np.pi * 4 / 36) ** 2
    for amplitude in (1.0, 1e-25, 1e25):  # whose squares are no float32
        omega = wave(5, -4, dtype, amplitude)
        assert_close(compiled_resolution(solver(), omega).error, phase / (1 + phase))


@pytest.mark.parametrize("discretisation", fast_cases(ALL, 1), ids=NAMES)
def test_the_error_of_spectra_follows_from_the_tail(discretisation, key):
    found = resolution(solver(discretisation), jax.random.normal(key, GRID.shape))
    x = 2 * float(found.tail) ** 0.75
    exact = relative_error(found.error, x / (1 + x)) < RELATIVE["float64"]
    assert exact == isinstance(discretisation, wns.Spectral)


@pytest.mark.parametrize("discretisation", fast_cases(ALL, 1), ids=NAMES)
def test_the_grid_reynolds_number_has_the_largest_cell(discretisation):
    omega = wns.initial.taylor_green(GRID, wavenumber=1, dtype="float64")
    with_members = solver(discretisation, viscosity=jnp.array([1e-2, 2e-2]))
    members = jnp.asarray(np.stack([omega, 3 * np.asarray(omega)]))
    u, v = jax.jit(lambda w: with_members.velocity(w))(members)
    dy, dx = GRID.spacing
    cells = [max(np.abs(a).max() * dx, np.abs(b).max() * dy) for a, b in zip(u, v, strict=True)]
    found = compiled_resolution(with_members, members)
    assert_close(found.grid_reynolds, np.array(cells) / [1e-2, 2e-2])
    assert np.isposinf(compiled_resolution(solver(discretisation, viscosity=0.0), omega).grid_reynolds)


@pytest.mark.parametrize("discretisation", fast_cases(ALL, 0), ids=NAMES)
def test_a_fluid_at_rest_is_resolved(discretisation):
    rest = jnp.zeros(GRID.shape)
    for viscosity in (0.0, 1e-2):
        still = solver(discretisation, viscosity=viscosity)
        assert [float(value) for value in compiled_resolution(still, rest)] == [0, 0, 0]
        gradient = jax.jit(jax.grad(lambda w, s=still: resolution(s, w).error))(rest)
        assert np.isfinite(gradient).all()


@pytest.mark.full
@pytest.mark.parametrize("discretisation", fast_cases(ALL, 1), ids=NAMES)
def test_members_jit_vmap_and_derivatives(discretisation, key):
    omega = jax.random.normal(key, (2, 3, *GRID.shape))
    of = solver(discretisation)
    each = np.array([[compiled_resolution(of, w) for w in row] for row in omega]).transpose(2, 0, 1)
    mapped = jax.jit(jax.vmap(functools.partial(resolution, of)))
    for found in (resolution(of, omega), compiled_resolution(of, omega), mapped(omega)):
        for value, expected in zip(found, each, strict=True):
            assert_close(value, expected)
    w, direction = omega[0, 0], omega[1, 0]
    for part in ("error", "tail"):  # by central differences

        @jax.jit
        def run(w, v, part=part):
            def f(w):
                return getattr(resolution(of, w), part)

            ends = [f(w + e * v) for e in (1e-5, -1e-5)]
            return jax.jvp(f, (w,), (v,))[1], jnp.vdot(jax.grad(f)(w), v), *ends

        rate, slope, up, down = run(w, direction)
        assert abs(rate - (up - down) / 2e-5) < 1e-8
        assert_close(slope, rate, {"float64": 1e-10})


@pytest.mark.full
@pytest.mark.parametrize("spectral", [False, True], ids=["finite", "spectral"])
def test_it_tells_computed_flows_apart(spectral):
    """Compare shear layers with one on more points: the estimate is the error, about."""
    discretisation = SPECTRAL if spectral else FINITE
    ends, found = {}, {}
    for n in (144, 48, 24):
        grid = wns.Grid((n, n // 3 * 2), (3.0, 2.0))
        start = wns.initial.double_shear_layer(grid, thickness=0.1, perturbation=0.1, dtype="float64")
        flow = wns.NavierStokes2D(grid, viscosity=2e-3, dt=0.5 / n, discretisation=discretisation)
        ends[n] = np.asarray(flow.rollout(start, steps=4 * n))
        found[n] = float(compiled_resolution(flow, ends[n]).error)
    assert found[24] > 0.1
    assert found[48] < found[24] / 2
    for n in (24, 48):
        error = relative_error(ends[n], ends[144][:: 144 // n, :: 144 // n])
        assert error / 4 < found[n] < 4 * error


def test_the_warning_says_what_helps():
    for discretisation, help in ((FINITE, "Spectral()"), (SPECTRAL, "viscosity would help")):
        with pytest.warns(
            RuntimeWarning, match="the flow is not resolved: .* 48 x 36 .* about 37 % at the end"
        ) as caught:
            warn_if_not_resolved(np.array([0.02, 0.37]), solver(discretisation), "at the end")
        assert str(caught[0].message).endswith(help)
    with warnings.catch_warnings(record=True) as caught:
        warn_if_not_resolved(np.array([0.02, 0.1]), solver(), "at the end")
    assert not caught
