"""The cases of docs/validation.md in small, and the example that finds an orbit; tolerances from the discretisation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ORDER, relative_error

import warpjaxns as wns

pytest.importorskip("matplotlib")

import newton_krylov
import recurrent_flow
import validation_flows as flows
import validation_turbulence as turbulence


@pytest.mark.parametrize(("name", "tolerance"), [("spectral, two-thirds", 1e-13), ("finite differences", None)])
def test_taylor_and_green(name, tolerance):
    grid, viscosity, time = wns.Grid((24, 16)), 0.05, 0.5
    start = wns.initial.taylor_green(grid, dtype="float64")
    solver = wns.NavierStokes2D(grid, viscosity=viscosity, dt=time / 40, discretisation=flows.ENGINES[name])
    error = relative_error(flows.rollout(solver, start, steps=40), start * math.exp(-2 * viscosity * time))
    if tolerance is None:  # what five points have for the Laplacian of a wave: k^2 (1 - (k dx)^2 / 12)
        expected = viscosity * time * sum(d**2 for d in grid.spacing) / 12
        assert error == pytest.approx(expected, rel=0.05)
    else:
        assert error < tolerance


def test_critical_reynolds_numbers_of_long_waves():
    """They tend to the root of 2, from above, by an amount that falls with the square of the wavenumber."""
    first, second = (flows.critical_reynolds(a) - math.sqrt(2) for a in (0.1, 0.05))
    assert 0 < second < first < 0.02
    assert abs(math.log2(first / second) - 2) < ORDER


def test_a_square_box_is_stable():
    """For any Reynolds number: waves grow only if they are longer than those of the flow (Meshalkin and Sinai 1961)."""
    assert all(flows.kolmogorov_rate(1.0, reynolds)[0] <= 1e-12 for reynolds in (2.0, 10.0, 100.0))
    assert flows.kolmogorov_rate(0.9, 10.0)[0] > 0


@pytest.mark.parametrize(
    ("how", "points", "dt", "tolerance"),
    [(wns.Spectral(), (24, 8), 0.1, 1e-6), (wns.FiniteDifference(), (32, 16), 0.04, 2e-2)],
    ids=["spectral", "finite-difference"],
)
def test_growth_on_kolmogorov_flow(how, points, dt, tolerance):
    """The error is that of the time step, and for finite differences about half the square of the spacing."""
    rate = flows.measured_rate(0.5, how, points, dt, time=10.0, blocks=2)
    for reynolds in (1.5, 4.0):
        expected, _ = flows.kolmogorov_rate(0.5, reynolds)
        assert abs(rate(reynolds) - expected) < tolerance * 0.5
    assert rate(1.5) < 0 < rate(4.0)


def test_the_slope_of_a_spectrum():
    k = np.arange(1.0, 100.0)
    assert turbulence.slope(k, 7 * k**-3.0) == pytest.approx(-3)


def test_decaying_turbulence_loses_energy_as_its_enstrophy_says(monkeypatch):
    """``dE/dt = -2 nu Z``, which holds to the order of the integrator, here by Simpson's rule over short steps."""
    found, states = turbulence.decay(size=32, reynolds=50.0, dt=0.02, times=tuple(0.04 * n for n in range(9)))
    assert states.shape == (9, 32, 32)
    for name in turbulence.BOTH:
        energy, enstrophy = found[name]["energy"], found[name]["enstrophy"]
        weights = np.array([1, 4, 2, 4, 2, 4, 2, 4, 1]) * 0.04 / 3
        assert energy[0] - energy[-1] == pytest.approx(2 / 50 * weights @ enstrophy, rel=2e-3)


@pytest.mark.full
def test_budgets_close():
    for name, row in turbulence.budgets(size=24, steps=20).items():
        assert row["residual"] < (1e-12 if "float64" in name else 1e-5), name
        assert row["integral"] < (1e-5 if "float64" in name else 1e-4), name


@pytest.mark.parametrize("name", turbulence.BOTH)
def test_gradients(name):
    """A horizon of 5 steps; the page has up to 320."""
    grid, how = wns.Grid((16, 16)), turbulence.BOTH[name]
    given = {"key": jax.random.key(2), "peak_wavenumber": 2, "discretisation": how, "dtype": "float64"}
    start = wns.initial.decaying_turbulence(grid, **given)
    solver = wns.NavierStokes2D(grid, viscosity=2e-3, dt=0.03, discretisation=how)
    direction = flows.rollout(solver, jax.random.normal(jax.random.key(3), grid.shape, "float64"), steps=0)
    errors = turbulence.errors(solver, start, direction, 5)
    assert errors["adjoint and tangent"] < 1e-12
    assert errors["differences"] < 1e-9
    assert errors["float32"] < 2e-5


# ------------------------------------------------------------------------------------------------ Newton's method


def test_the_hook_step_is_the_best_within_its_ball():
    rng = np.random.default_rng(0)
    matrix, right = rng.standard_normal((7, 6)), 3.0 * np.eye(7)[0]
    free = np.linalg.lstsq(matrix, right, rcond=None)[0]
    np.testing.assert_allclose(newton_krylov.hook_step(matrix, 3.0, 1e3), free, rtol=1e-12)
    radius = 0.3 * np.linalg.norm(free)
    best = newton_krylov.hook_step(matrix, 3.0, radius)
    assert np.linalg.norm(best) == pytest.approx(radius, rel=1e-9)
    value = np.linalg.norm(matrix @ best - right)
    for _ in range(200):
        other = rng.standard_normal(6)
        assert np.linalg.norm(matrix @ (radius * other / np.linalg.norm(other)) - right) >= value


def test_newton_krylov_solves_equations_with_a_bad_start():
    """Rosenbrock's, as two equations in each pair of unknowns; the radius keeps the first steps short."""

    def mismatch(p):
        x, y = p[::2], p[1::2]
        return np.r_[10 * (y - x**2), 1 - x]

    def linearised(p):
        x = p[::2]
        return lambda d: np.r_[10 * (d[1::2] - 2 * x * d[::2]), -d[::2]]

    start, sizes = np.tile([-1.2, 1.0], 3) * np.linspace(1, 1.5, 6), []
    found = newton_krylov.solve(
        mismatch, linearised, start, scale=1.0, tolerance=1e-12, iterations=60, krylov=6,
        report=lambda _, size, __: sizes.append(size),
    )  # fmt: skip
    assert found.converged
    np.testing.assert_allclose(found.point, 1.0, atol=1e-11)
    assert np.all(np.diff(sizes) < 0)


def test_recurrences_are_found():
    """A flow that is carried along x and repeats itself, with a shift along y in between."""
    x, y = (np.asarray(axis) for axis in wns.Grid((32, 32)).mesh())

    def state(t):
        return np.cos(x - 0.1 * t + 2 * y) * (2 + np.cos(2 * np.pi * t / 3)) + np.sin(x - 0.1 * t)

    states = np.stack([state(0.25 * n) for n in range(40)])
    distance, shift, turns = recurrent_flow.recurrences(states, 0.25, 5.0, size=128)
    assert distance[11, :20].max() < 0.06  # shifts are tried every 2 pi / 128
    np.testing.assert_allclose(shift[11, :20], 0.3, atol=0.03)
    assert set(turns[11, :20]) == {0}
    assert distance[5, :20].min() > 0.3
    orbit = recurrent_flow.guesses(states, 0.25, 2.0, 4.0, 1)[0]
    assert orbit.period == pytest.approx(3.0)


def test_fields_are_moved_and_resampled():
    x, y = wns.Grid((16, 16)).mesh()
    x, y = (jnp.asarray(a, "float64") for a in (x, y))
    field = jnp.sin(3 * x + y) + jnp.cos(2 * y)
    moved = recurrent_flow.moved(field, 0.7, 1)
    np.testing.assert_allclose(moved, jnp.sin(3 * (x + 0.7) + y + np.pi / 2) + jnp.cos(2 * y + np.pi), atol=1e-13)
    finer = recurrent_flow.resampled(np.asarray(field), 24)
    fine_x, fine_y = (np.asarray(a) for a in wns.Grid((24, 24)).mesh())
    np.testing.assert_allclose(finer, np.sin(3 * fine_x + fine_y) + np.cos(2 * fine_y), atol=1e-6)


def test_a_travelling_wave_is_an_orbit():
    """Newton's method finds the laminar flow again, which has every period; the derivative is that of differences."""
    solver = recurrent_flow.solver_of(16, 5.0, 0.1)
    _, y = (np.asarray(axis, "float64") for axis in solver.grid.mesh())
    laminar = -5.0 / 4 * np.cos(4 * y)
    bumps = 0.05 * np.asarray(wns.initial.random_vorticity(solver.grid, key=jax.random.key(0), dtype="float64"))
    guess = recurrent_flow.Orbit(laminar + bumps, 1.0, 0.0, 0, 1.0)
    equation = recurrent_flow.Equation(solver, guess)
    direction = np.random.default_rng(1).standard_normal(equation.start.size)
    ahead, behind = (equation.mismatch(equation.start + h * direction) for h in (1e-5, -1e-5))
    product = equation.linearised(equation.start)(direction)
    assert relative_error(product[:-2], (ahead - behind)[:-2] / 2e-5) < 1e-7
    found = recurrent_flow.newton(solver, guess, iterations=12)
    assert found.residual < 1e-10
    assert relative_error(found.omega, laminar) < 1e-4  # of the integrator, over steps of 0.1
    assert float(recurrent_flow.dissipation(solver, found.omega)) == pytest.approx(1, abs=1e-3)
