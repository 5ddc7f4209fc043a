"""The examples that recover parameters and initial states from readings, each at a tiny setting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import DIFFERENCES, DOT, ROLLOUT, assert_close

from warpjaxns import Direct, Grid, NavierStokes2D

pytest.importorskip("matplotlib")
pytest.importorskip("optax")

import assimilate_initial_vorticity as assimilation
import least_squares
import recover_viscosity

GRID = Grid((18, 25), (1.5, 2.5))

pytestmark = pytest.mark.full  # what examples do is tested elsewhere too
both = pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Let JAX promote types, as Optax needs."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@both
def test_viscosity_and_forcing_are_recovered(tmp_path, capsys, discretisation):
    options = ["--quick", "--size", "24", "--discretisation", discretisation]
    result = recover_viscosity.main([*options, "--output", str(tmp_path / "new" / "folder")])
    assert_close(result.path[0], np.array(recover_viscosity.START), {"float64": 1e-12})
    assert np.all(np.abs(result.error) < (0.15, 0.04)), result.error
    assert np.all(np.abs(np.log(result.estimate / result.truth)) < 3.5 * result.deviation)
    assert np.all(result.deviation < 0.1)
    assert abs(result.correlation) < 1
    assert np.all(np.abs(result.remaining) < 0.2)
    assert result.misfits[-1] == pytest.approx(1, abs=4 * np.sqrt(2 / 300))  # of 300 readings, noise and nothing else
    assert result.misfits[0] > 5
    assert (tmp_path / "new" / "folder" / "recover_viscosity.png").stat().st_size > 10_000
    assert "standard deviations" in capsys.readouterr().out


def test_the_uncertainty_is_that_of_least_squares(key):
    matrix, truth = jax.random.normal(key, (40, 2)) * 20, jnp.array([0.3, -0.2])
    noise = jax.random.normal(jax.random.key(1), (40,))
    residual = lambda p: matrix @ (p - truth) + noise  # noqa: E731
    covariance, step = recover_viscosity.gauss_newton(residual, truth)
    expected, *_ = np.linalg.lstsq(matrix, -noise)
    assert_close(covariance, np.linalg.inv(matrix.T @ matrix))
    assert_close(step, expected)
    path, misfits = recover_viscosity.fit(residual, jnp.zeros(2), iterations=200)
    assert path.shape == (201, 2)
    assert_close(path[-1], truth + expected, {"float64": 1e-4})
    assert_close(misfits, jnp.mean(jax.vmap(residual)(path) ** 2, axis=1))


@both
def test_the_analysis_beats_the_background(tmp_path, capsys, discretisation):
    options = ["--quick", "--size", "20", "--steps", "20", "--discretisation", discretisation]
    result = assimilation.main([*options, "--output", str(tmp_path / "new")])
    background = result.errors["background"]
    assert background[0] == pytest.approx(assimilation.BACKGROUND_ERROR, rel=0.3)
    assert background.shape == result.times.shape
    for name in ("L-BFGS", "Gauss-Newton"):
        found, errors = result.minima[name], result.errors[name]
        assert np.all(errors < 0.75 * background)  # within the window, and in the forecast beyond it
        assert found.gradient_norms[-1] <= 2e-3 * found.gradient_norms[0]
        assert np.all(np.diff(found.costs) < 0)
        # Twice the cost of the minimum has the distribution of chi2, with one degree of freedom a reading.
        assert 2 * found.costs[-1] == pytest.approx(result.readings, abs=5 * np.sqrt(2 * result.readings))
    newton, quasi = result.minima["Gauss-Newton"], result.minima["L-BFGS"]
    assert len(newton.costs) < len(quasi.costs) / 2
    assert newton.costs[-1] == pytest.approx(quasi.costs[-1], rel=0.02)
    assert (tmp_path / "new" / "assimilate_initial_vorticity.png").stat().st_size > 10_000
    assert "errors at the end of the forecast" in capsys.readouterr().out


def test_steps_that_the_readings_do_not_divide_are_refused(capsys):
    with pytest.raises(SystemExit):
        assimilation.main(["--steps", "30"])
    assert "expected a multiple of the 20 readings" in capsys.readouterr().err


def test_interpolation_is_bilinear_and_periodic(key):
    omega, (dy, dx) = jax.random.normal(key, GRID.shape), GRID.spacing
    rows, columns = np.array([0, 3, 17, 17]), np.array([0, 24, 5, 24])
    on_points = jnp.stack([rows * dy, columns * dx], axis=-1)
    assert_close(assimilation.interpolate(GRID, omega, on_points), omega[rows, columns])
    corners = sum(jnp.roll(omega, (-j, -i), (0, 1)) for j in (0, 1) for i in (0, 1))[rows, columns]
    between = on_points + jnp.array([dy, dx]) / 2
    assert_close(assimilation.interpolate(GRID, omega, between), corners / 4)
    elsewhere = between + jnp.array([-2, 3]) * jnp.array(GRID.extent)
    assert_close(assimilation.interpolate(GRID, omega, elsewhere), corners / 4)


def test_interpolation_differentiates_by_field_and_positions(key):
    omega = jax.random.normal(key, GRID.shape)
    places = jax.random.uniform(key, (5, 2)) * jnp.array(GRID.extent)
    see = jax.jit(lambda omega, places: assimilation.interpolate(GRID, omega, places))
    of_field, of_places = jax.jit(jax.jacrev(see, (0, 1)))(omega, places)
    for axis in (0, 1):
        shift = jnp.zeros((5, 2)).at[:, axis].set(1e-6)
        ends = [see(omega, places + sign * shift) for sign in (1, -1)]
        differences = (ends[0] - ends[1]) / 2e-6
        assert_close(jnp.diagonal(of_places[..., axis]), differences, {"float64": DIFFERENCES})
    assert_close(jnp.sum(of_field * omega, axis=(1, 2)), see(omega, places))  # linear
    assert_close(jnp.sum(of_field, axis=(1, 2)), jnp.ones(5))


def test_sensors_move(key):
    sensors = assimilation.Sensors.scattered(GRID, 7, key)
    assert_close(sensors.positions(2.0) - sensors.positions(1.0), sensors.drift)  # once round the circle
    velocity = jax.jacfwd(sensors.positions)(0.5)
    assert_close(jnp.linalg.norm(velocity - sensors.drift, axis=1), jnp.full(7, 2 * np.pi * sensors.radius))


def test_the_background_covariance_is_gaussian(key):
    deviation, length = 1.7, 0.16
    spread = assimilation.smooth_spread(GRID, deviation=deviation, length=length)
    a, b = jax.random.normal(key, (2, *GRID.shape))
    assert abs(jnp.vdot(spread(a), b) - jnp.vdot(a, spread(b))) < DOT * jnp.linalg.norm(spread(a)) * jnp.linalg.norm(b)

    at_a_point = spread(spread(jnp.zeros(GRID.shape).at[4, 20].set(1)))
    y, x = np.meshgrid(GRID.y - GRID.y[4], GRID.x - GRID.x[20], indexing="ij")
    images = [(j * GRID.extent[0], i * GRID.extent[1]) for j in (-1, 0, 1) for i in (-1, 0, 1)]
    square = sum(np.exp(-((y + j) ** 2 + (x + i) ** 2) / (2 * length**2)) for j, i in images)
    without_mean = square - square.mean()
    assert_close(at_a_point, deviation**2 * without_mean / without_mean[4, 20], {"float64": 1e-4})
    assert at_a_point[4, 20] == pytest.approx(deviation**2, rel=1e-12)


def linear(key):
    matrix, b = jax.random.normal(key, (30, 12)), jax.random.normal(jax.random.key(1), (30,))
    return lambda v: matrix @ v.ravel() - b, np.linalg.lstsq(matrix, b)[0].reshape(3, 4)


@pytest.mark.parametrize("method", ["quasi_newton", "gauss_newton"])
def test_linear_least_squares(method, key):
    minimise = getattr(least_squares, method)
    residual, expected = linear(key)
    found = minimise(residual, jnp.zeros((3, 4)), tolerance=1e-11)
    assert_close(found.v, expected, ROLLOUT)
    assert found.gradient_norms[-1] <= 1e-11 * found.gradient_norms[0]
    assert found.costs[-1] == pytest.approx(float(jnp.sum(residual(expected) ** 2)) / 2, rel=1e-12)


@pytest.mark.parametrize("method", ["quasi_newton", "gauss_newton"])
def test_a_curved_valley_and_the_count_of_evaluations(method):
    minimise = getattr(least_squares, method)
    forward = []

    def rosenbrock(v):
        jax.debug.callback(lambda: forward.append(1))
        return jnp.stack([10 * (v[1] - v[0] ** 2), 1 - v[0]])

    found = minimise(rosenbrock, jnp.array([-1.2, 1.0]), tolerance=1e-9)
    jax.effects_barrier()
    assert_close(found.v, np.ones(2), {"float64": 1e-8})
    assert np.all(np.diff(found.costs) < 0)
    if method == "quasi_newton":
        assert found.evaluations[-1] == 2 * len(forward)  # each with its adjoint
    else:
        assert len(forward) < found.evaluations[-1] <= len(forward) + len(found.costs) * (1 + 2 * 2)


def test_gauss_newton_ends_where_no_step_lowers_the_cost():
    found = least_squares.gauss_newton(lambda v: jnp.sqrt(1 + v**2), jnp.array([1e-9]), tolerance=0.0)
    assert len(found.costs) == 2
    assert found.v == 1e-9


def test_gauss_newton_finds_a_stationary_point_of_the_flow(key):
    grid = Grid((8, 10))
    of_truth, of_noise, of_sensors = jax.random.split(key, 3)
    solver = NavierStokes2D(grid, viscosity=0.02, dt=0.1, adjoint=Direct())
    spread = assimilation.smooth_spread(grid, deviation=1.0, length=1.0)
    positions = assimilation.Sensors.scattered(grid, 30, of_sensors).positions(0.3)
    see = lambda v: assimilation.interpolate(grid, solver.rollout(spread(v), steps=4), positions)  # noqa: E731
    observed = see(jax.random.normal(of_truth, grid.shape)) + 0.1 * jax.random.normal(of_noise, (30,))
    residual = lambda v: jnp.concatenate([v.ravel(), (see(v) - observed) / 0.1])  # noqa: E731

    found = least_squares.gauss_newton(residual, jnp.zeros(grid.shape), tolerance=1e-9)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(residual(v) ** 2) / 2))
    assert jnp.linalg.norm(gradient(found.v)) < 1e-8 * jnp.linalg.norm(gradient(jnp.zeros(grid.shape)))
    assert found.costs[-1] < 0.1 * found.costs[0]


def test_conjugate_gradients_solve(key):
    half = jax.random.normal(key, (8, 8))
    matrix, b = half @ half.T + jnp.eye(8), jax.random.normal(jax.random.key(1), (8,))
    x, count = jax.jit(lambda b: least_squares.conjugate_gradient(lambda d: matrix @ d, b, 1e-12, limit=50))(b)
    assert_close(x, np.linalg.solve(matrix, b), ROLLOUT)
    assert 8 <= count < 20
    _, few = least_squares.conjugate_gradient(lambda d: matrix @ d, b, 1e-12, limit=3)
    assert few == 3
