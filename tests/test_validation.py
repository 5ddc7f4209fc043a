"""The cases of docs/validation.md in small, with tolerances from their discretisation errors."""

import math

import jax
import numpy as np
import pytest
from tolerances import ORDER, relative_error

import warpjaxns as wns

pytest.importorskip("matplotlib")

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
    assert 0 < second < first < 0.03
    assert abs(math.log2(first / second) - 2) < ORDER


def test_a_square_box_is_stable():
    """For any Reynolds number: waves grow only if they are longer than those of the flow (Meshalkin and Sinai 1961)."""
    assert all(flows.kolmogorov_rate(1.0, reynolds)[0] <= 1e-12 for reynolds in (2.0, 10.0, 100.0))
    assert flows.kolmogorov_rate(0.9, 10.0)[0] > 0


@pytest.mark.full
@pytest.mark.parametrize(
    ("how", "points", "dt", "tolerance"),
    [(wns.Spectral(), (24, 8), 0.1, 1e-6), (wns.FiniteDifference(), (32, 16), 0.02, 2e-2)],
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


@pytest.mark.full
def test_decaying_turbulence_loses_energy_as_its_enstrophy_says():
    """``dE/dt = -2 nu Z``, which holds to the order of the integrator, here by Simpson's rule over short steps."""
    found, states = turbulence.decay(size=32, peak=4, reynolds=50.0, dt=0.02, times=tuple(0.04 * n for n in range(9)))
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


@pytest.mark.full
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
