"""Metrics against NumPy in float64, their derivatives, and how they behave at their edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from tolerances import DIFFERENCES, RELATIVE, assert_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, diagnostics, initial, metrics

GRID = Grid((24, 20), (3.0, 2.0))
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
every_dtype = pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
OF_FIELDS = [metrics.nrmse, metrics.correlation, metrics.spectral_error, metrics.separation]
of_fields = pytest.mark.parametrize("metric", OF_FIELDS, ids=lambda metric: metric.__name__)


def flows(key, dtype="float64", *batch):
    a, b = jax.random.normal(key, (2, *batch, *GRID.shape), dtype)
    return a, 0.7 * a + 0.4 * b + jnp.asarray(0.1, dtype)


def rms(field):
    return np.sqrt(np.mean(np.square(field), (-2, -1)))


@every_dtype
def test_errors_and_correlations_are_those_of_numpy(dtype, key):
    ours, theirs = flows(key, dtype, 3)
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    expected = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(a, b, strict=True)]
    for metric, values in {
        metrics.nrmse: rms(a - b) / rms(b),
        metrics.correlation: np.array(expected),
        metrics.separation: rms(a - b) / np.hypot(rms(a), rms(b)),
    }.items():
        found = metric(GRID, ours, theirs)
        assert found.dtype == dtype
        assert_close(found, values)


@every_dtype
@every_discretisation
def test_the_spectral_error_is_that_of_numpy(dtype, discretisation, key):
    ours, theirs = flows(key, dtype, 2)
    (ny, nx), (height, width) = GRID.shape, GRID.extent
    waves_y, waves_x = np.fft.fftfreq(ny, 1 / ny)[:, None], np.fft.fftfreq(nx, 1 / nx)[None]
    ky, kx = 2 * np.pi * waves_y / height, 2 * np.pi * waves_x / width
    if isinstance(discretisation, Spectral):
        eigenvalue, kept, most = ky**2 + kx**2, (3 * abs(waves_y) < ny) & (3 * abs(waves_x) < nx), (7, 6)
    else:
        eigenvalue = sum((2 - 2 * np.cos(k * h)) / h**2 for k, h in zip((ky, kx), GRID.spacing, strict=True))
        kept, most = np.ones(GRID.shape, bool), (12, 10)
    shell = np.floor(np.hypot(ky, kx) * height / (2 * np.pi) + 0.5 + 1e-9)  # some are just between two
    shells = np.arange(1, min(most[0], int(most[1] * height / width)) + 1)

    def spectrum(field):
        density = np.abs(np.fft.fft2(np.asarray(field, np.float64))) ** 2 / np.where(eigenvalue > 0, eigenvalue, 1)
        return np.stack([np.sum(density * (kept & (shell == n)), (-2, -1)) for n in shells], -1)

    expected = np.sqrt(np.mean(np.log10(spectrum(ours) / spectrum(theirs)) ** 2, -1))
    assert_close(metrics.spectral_error(GRID, ours, theirs, discretisation=discretisation), expected)


@pytest.mark.parametrize("discretisation", fast_cases([FiniteDifference(), Spectral()], 1), ids=str)
def test_rollouts_are_compared_frame_by_frame(discretisation, key):
    omega = initial.decaying_turbulence(GRID, key=key, peak_wavenumber=6.0, discretisation=discretisation)
    starts = jnp.stack([omega, 1.1 * omega])
    slow, fast = (NavierStokes2D(GRID, viscosity=nu, dt=0.01, discretisation=discretisation) for nu in (0.01, 0.02))
    movies = [solver.rollout(starts, steps=6, save_every=2) for solver in (slow, fast)]
    found = metrics.nrmse(GRID, *movies)
    assert found.shape == (3, 2)
    assert (np.diff(np.asarray(found), axis=0) > 0).all()
    single = metrics.nrmse(GRID, movies[0][1, 0], movies[1][1, 0])
    assert_close(found[1, 0], single)


@pytest.mark.covering(1)
@of_fields
def test_equal_fields(metric, key):
    omega, _ = flows(key)
    value, gradient = jax.jit(jax.value_and_grad(lambda w: metric(GRID, w, omega)))(omega)
    assert abs(value - float(metric is metrics.correlation)) < RELATIVE["float64"]
    assert np.isfinite(gradient).all()  # of a norm at zero


@pytest.mark.full
@of_fields
def test_transformations(metric, key):
    ours, theirs = flows(key, "float64", 3)
    every = metric(GRID, ours, theirs)
    assert_close(jax.jit(jax.vmap(lambda a, b: metric(GRID, a, b)))(ours, theirs), every)
    assert_close(jax.jit(jax.vmap(lambda a: metric(GRID, a, theirs[1])))(ours), metric(GRID, ours, theirs[1]))
    assert_close(metric(GRID, ours[1], theirs[None]), metric(GRID, ours[None, None, 1], theirs[None]))
    direction = jax.random.normal(jax.random.key(1), GRID.shape)

    @jax.jit
    def along(step):
        return metric(GRID, ours[0] + step * direction, theirs[0])

    gradient = jax.jit(jax.grad(lambda a: metric(GRID, a, theirs[0])))(ours[0])
    difference = (along(1e-5) - along(-1e-5)) / 2e-5
    slope = np.vdot(gradient, direction)
    assert abs(slope - difference) < DIFFERENCES * abs(difference)
    assert_close(jax.jvp(along, (0.0,), (1.0,))[1], slope)


def test_a_flow_at_rest_correlates_with_nothing(key):
    omega, _ = flows(key)
    value, gradient = jax.value_and_grad(lambda w: metrics.correlation(GRID, w, omega))(0 * omega + 2.0)
    assert value == 0
    assert np.isfinite(gradient).all()


@every_dtype
def test_correlation_times(dtype):
    times = np.array([0.5, 1.0, 2.0, 4.0])
    curves = np.array(
        [[1, 0.9, 0.8, 0.4], [1, 0.7, 1, 0.1], [1, 1, 1, 0.9], [0.2, 1, 1, 1], [1, 0.9, np.nan, 1]], dtype
    )
    found = jax.jit(metrics.correlation_time)(times, curves.T, threshold=0.6)
    assert found.dtype == dtype
    assert_close(found, [3.0, 2 + 0.8 / 0.9, 4.0, 0.5, 1 + 1 / 3])
    assert_close(jax.vmap(lambda c: metrics.correlation_time(times, c, threshold=0.6))(curves), found)
    gradient = jax.grad(lambda c: metrics.correlation_time(times, c, threshold=0.6))(jnp.asarray(curves[0]))
    assert_close(gradient, [0.0, 0.0, 2.0 * 0.2 / 0.4**2, 2.0 * 0.2 / 0.4**2])
    flat = jax.grad(lambda c: metrics.correlation_time(times, c))(jnp.ones(4, dtype))
    assert_close(flat + 1, np.ones(4))


@every_dtype
def test_divergence_rates(dtype):
    times = np.linspace(0.0, 2.0, 9)
    noise = np.cos(7.0 * np.arange(9))
    pure = 1e-4 * np.exp(3 * times)
    mixed = np.where(times <= 1.5, 1e-3 * np.exp(2.5 * times + 0.1 * noise), 0.9)
    mixed[8] = 0.05  # small again, later
    found = metrics.divergence_rate(times, np.stack([pure, mixed], 1).astype(dtype))
    assert found.dtype == dtype
    assert_close(found, [3.0, np.polyfit(times[:7], np.log(mixed[:7]), 1)[0]], {"float32": 1e-5, "float64": 1e-12})
    zero = np.concatenate([[0.0], pure[1:]]).astype(dtype)
    assert_close(metrics.divergence_rate(times, zero), 3.0, {"float32": 1e-5, "float64": 1e-12})
    gradient = jax.jit(jax.grad(lambda s: metrics.divergence_rate(times, s)))(jnp.asarray(zero))
    assert np.isfinite(gradient).all()
    assert np.isnan(metrics.divergence_rate(times, np.full(9, 0.5, dtype)))
    assert np.isnan(metrics.divergence_rate(times, np.r_[0.05, np.full(8, 0.5)].astype(dtype)))


@pytest.mark.full
def test_the_rate_at_which_flows_part_is_the_lyapunov_exponent(key):
    grid = Grid((32, 24), (2 * np.pi, 5.0))
    solver = NavierStokes2D(grid, viscosity=1e-3, dt=0.02)
    omega = solver.rollout(initial.decaying_turbulence(grid, key=key, peak_wavenumber=4.0), steps=200)
    found = diagnostics.lyapunov_exponent(solver, omega, key=key, steps=400, transient=200)
    # the same interval, from the tangent as it is there
    start = diagnostics.lyapunov_exponent(solver, omega, key=key, steps=200)
    pair = jnp.stack([start.omega, start.omega + 1e-7 * start.tangent])
    movie = solver.rollout(pair, steps=200, save_every=10)
    apart = metrics.separation(grid, movie[:, 0], movie[:, 1])
    # not `separation`: the flow decays
    rate = metrics.divergence_rate(0.2 * np.arange(1, 21), apart * rms(movie[:, 0]))
    assert rate == pytest.approx(float(found.exponent), rel=0.1)


@of_fields
def test_what_does_not_fit_is_refused(metric, key):
    omega, _ = flows(key)
    with pytest.raises(TypeError, match=r"(reference|other) has dtype float32: expected that of omega"):
        metric(GRID, omega, omega.astype("float32"))
    with pytest.raises(ValueError, match=r"(reference|other) has shape"):
        metric(GRID, omega, omega.T)
    with pytest.raises(ValueError, match="leading axes must broadcast"):
        metric(GRID, jnp.stack([omega] * 2), jnp.stack([omega] * 3))


@pytest.mark.parametrize("metric", [metrics.correlation_time, metrics.divergence_rate])
def test_values_over_time_that_do_not_fit_are_refused(metric):
    with pytest.raises(ValueError, match=r"has shape \(3, 2\), times \(2,\)"):
        metric(np.ones(2), np.ones((3, 2)))
    with pytest.raises(ValueError, match="at least one time"):
        metric(np.ones(0), np.ones((0, 2)))
    with pytest.raises(TypeError, match="has dtype int64"):
        metric(np.ones(2), np.ones(2, int))
    with pytest.raises(TypeError, match="expected one real number"):
        metric(np.ones(2), np.ones(2), **{"threshold" if metric is metrics.correlation_time else "most": "high"})
