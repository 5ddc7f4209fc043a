"""The example that finds a recurrent flow, and Newton's method with Krylov spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import relative_error

import warpjaxns as wns

pytest.importorskip("matplotlib")

import newton_krylov
import recurrent_flow


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


DRIFT = np.pi / 12  # a shift of pi / 4 in the period of 3, which is one of those that are tried


def test_recurrences_are_found():
    """A flow that is carried along x and repeats itself, with a shift along y in between."""
    x, y = (np.asarray(axis) for axis in wns.Grid((32, 32)).mesh())

    def state(t):
        return np.cos(x - DRIFT * t + y) * (2 + np.cos(2 * np.pi * t / 3)) + np.sin(x - DRIFT * t)

    states = np.stack([state(0.25 * n) for n in range(40)])
    distance, shift, turns = recurrent_flow.recurrences(states, 0.25, 5.0)
    assert distance[11, :20].max() < 1e-6
    np.testing.assert_allclose(shift[11, :20], np.pi / 4, atol=1e-12)
    assert set(turns[11, :20]) == {0}
    assert distance[5, :20].mean() > 0.3
    orbit = recurrent_flow.guesses(states, 0.25, 2.0, 3.5, 1)[0]
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


@pytest.mark.full
def test_derivatives_of_the_equation_are_those_of_differences():
    solver = recurrent_flow.solver_of(16, 5.0, 0.1)
    omega = np.asarray(wns.initial.random_vorticity(solver.grid, key=jax.random.key(0), dtype="float64"))
    equation = recurrent_flow.Equation(solver, recurrent_flow.Orbit(omega, 1.0, 0.3, 1, 1.0))
    direction = np.random.default_rng(1).standard_normal(equation.start.size)
    ahead, behind = (equation.mismatch(equation.start + h * direction) for h in (1e-5, -1e-5))
    product = equation.linearised(equation.start)(direction)
    assert relative_error(product[:-2], (ahead - behind)[:-2] / 2e-5) < 1e-7


@pytest.mark.full
def test_the_published_orbit_is_found(tmp_path):
    """P1 of Chandler and Kerswell (2013) has the period 5.3807."""
    measured = recurrent_flow.main(["--fine", "48", "--output", str(tmp_path)])
    orbit = measured["orbit"]
    assert orbit.residual < 1e-10
    assert orbit.period == pytest.approx(5.3807, abs=5e-4)  # of modes that 48 points leave out
    assert abs(orbit.shift) < 2e-3
    assert abs(measured["multipliers"][0]) > 1.5  # unstable
    assert (tmp_path / "recurrent_flow.png").stat().st_size > 10_000
