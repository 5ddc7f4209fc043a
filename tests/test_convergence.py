"""Orders of convergence of each term of the equation, in space and in time, for each engine and integrator.

Terms are members of one ensemble: each member has advection and one term, so that a program serves all of them.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ORDER, RELATIVE, relative_error

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, forcing

EXTENT = (2.0, 3.0)
SHORT = ("advection", "viscosity", "drag", "forcing")  # what both engines have
TERMS = (*SHORT, "beta", "mean_flow", "hyperviscosity", "hypodrag", "deformation_radius")
VALUES = {"viscosity": 0.02, "drag": 0.8, "beta": 9.0, "hyperviscosity": 2e-4, "hypodrag": 8.0}
FLOW, RADIUS, FORCE = (1.5, -0.8), 0.3, 6.0
NONE = 1e9  # a deformation radius that does nothing
INTEGRATORS = {
    "ssp-rk3": (FiniteDifference(), 3, SHORT),
    "rk3": (Spectral("rk3"), 3, TERMS),
    "rk4": (Spectral("rk4"), 4, TERMS),
}


def solver_of(grid, how, names, dt, beta_everywhere=False):
    """Return a solver whose members have one of the terms each."""

    def only(name, value, otherwise=0.0):
        return jnp.asarray([value if name == own else otherwise for own in names])

    given = {name: only(name, VALUES[name]) for name in ("viscosity", "drag")}
    wave = forcing.kolmogorov(grid, 1, FORCE, discretisation=how, dtype="float64")
    given["forcing"] = only("forcing", 1.0)[:, None, None] * wave[None]
    if isinstance(how, Spectral):
        given |= {name: only(name, VALUES[name]) for name in ("beta", "hyperviscosity", "hypodrag")}
        if beta_everywhere:
            given["beta"] = jnp.full(len(names), VALUES["beta"])
        given["mean_flow"] = tuple(only("mean_flow", part) for part in FLOW)
        given["deformation_radius"] = only("deformation_radius", RADIUS, NONE)
    return NavierStokes2D(grid, dt=dt, discretisation=how, backend="xla", **given)


@functools.cache
def orders(integrator):
    """Return the order in dt and the error of each term, on a flow that is far from steady."""
    how, _, names = INTEGRATORS[integrator]
    grid, k = Grid((12, 16), EXTENT), math.pi
    x, y = (np.asarray(axis, "float64") for axis in grid.mesh())
    one = 3 * np.cos(k * y) * np.cos(2 / 3 * k * x) + 2 * np.sin(2 * k * y + 2 / 3 * k * x) + np.cos(4 / 3 * k * x)
    omega = jnp.asarray(np.broadcast_to(one, (len(names), *one.shape)))

    def run(steps):
        solver = solver_of(grid, how, names, 0.8 / steps)
        return np.asarray(jax.jit(lambda w: solver.rollout(w, steps=steps))(omega))

    exact, coarse, fine = run(256), run(16), run(32)
    assert all(relative_error(exact[i], exact[0]) > 1e-2 for i in range(1, len(names)))  # each term matters
    errors = [[relative_error(a, e) for a, e in zip(states, exact, strict=True)] for states in (coarse, fine)]
    return {name: (math.log2(c / f), f) for name, c, f in zip(names, *errors, strict=True)}


@pytest.mark.parametrize(("integrator", "term"), [(i, t) for i, (_, _, names) in INTEGRATORS.items() for t in names])
def test_order_in_time(integrator, term):
    """The reference has an eighth of the step, so its own error is below a hundredth of the smaller one."""
    expected = INTEGRATORS[integrator][1]
    measured, error = orders(integrator)[term]
    assert error > 1e-9  # no rounding
    assert abs(measured - expected) < expected * ORDER


def wave(grid):
    """Return ``exp(i k . x)`` and its wavenumber (ky, kx), of a single wave, on which advection is zero."""
    x, y = (np.asarray(axis, "float64") for axis in grid.mesh())
    ky, kx = 2 * math.pi / grid.extent[0], -4 * math.pi / grid.extent[1]
    return np.exp(1j * (ky * y + kx * x)), (ky, kx)


def rates(grid, how, names, **given):
    """Return the tendency of one wave, of each term."""
    omega = jnp.asarray(np.broadcast_to(wave(grid)[0].real, (len(names), *grid.shape)))
    solver = solver_of(grid, how, names, 0.01, **given)
    return np.asarray(jax.jit(lambda w: solver.tendency(w))(omega))


@pytest.mark.parametrize("dealiasing", ["two-thirds", "smooth"])
def test_spectral_terms_are_exact(dealiasing):
    grid = Grid((12, 16), EXTENT)
    field, (ky, kx) = wave(grid)
    squared = ky**2 + kx**2
    beta = 1j * VALUES["beta"] * kx  # of -beta v = beta d(psi)/dx, times psi / omega
    symbols = {
        "advection": 0,
        "viscosity": -VALUES["viscosity"] * squared,
        "drag": -VALUES["drag"],
        "forcing": 0,
        "beta": 0,
        "mean_flow": -1j * (FLOW[0] * kx + FLOW[1] * ky),
        "hyperviscosity": -VALUES["hyperviscosity"] * squared**2,
        "hypodrag": -VALUES["hypodrag"] / squared,
        "deformation_radius": 0,
    }
    _, y = (np.asarray(axis, "float64") for axis in grid.mesh())
    measured = rates(grid, Spectral(dealiasing=dealiasing), TERMS, beta_everywhere=True)
    for name, rate in zip(TERMS, measured, strict=True):
        screened = squared + (RADIUS**-2 if name == "deformation_radius" else 0)
        expected = ((symbols[name] + beta / screened) * field).real
        if name == "forcing":
            expected -= FORCE * math.pi * np.cos(math.pi * y)
        assert relative_error(rate, expected) < RELATIVE["float64"], name


def test_order_in_space_of_finite_differences():
    """Second for viscosity and forcing; drag has no derivative; a single wave is not advected on any grid."""
    errors = {name: [] for name in SHORT}
    for size in (24, 48):
        grid = Grid((size, size), EXTENT)
        field, (ky, kx) = wave(grid)
        _, y = (np.asarray(axis, "float64") for axis in grid.mesh())
        expected = {
            "advection": 0 * y,
            "viscosity": -VALUES["viscosity"] * (ky**2 + kx**2) * field.real,
            "drag": -VALUES["drag"] * field.real,
            "forcing": -FORCE * math.pi * np.cos(math.pi * y),
        }
        for name, rate in zip(SHORT, rates(grid, FiniteDifference(), SHORT), strict=True):
            errors[name].append(np.linalg.norm(rate - expected[name]) / size)
    assert max(errors["advection"]) < 1e-12
    assert max(errors["drag"]) < 1e-12
    for name in ("viscosity", "forcing"):
        assert abs(math.log2(errors[name][0] / errors[name][1]) - 2) < ORDER


def test_spectral_advection_converges_exponentially():
    """The tendency of a flow with infinitely many waves, by a higher power of the spacing than any scheme has."""

    def rate(size):
        grid = Grid((size, size), EXTENT)
        x, y = (np.asarray(axis, "float64") for axis in grid.mesh())
        omega = jnp.asarray(np.exp(np.sin(math.pi * y)) * np.cos(2 / 3 * math.pi * x) + np.sin(4 / 3 * math.pi * x))
        solver = NavierStokes2D(grid, viscosity=0.0, dt=0.01, discretisation=Spectral(), backend="xla")
        return np.asarray(jax.jit(lambda w: solver.tendency(w))(omega))[:: size // 8, :: size // 8]

    exact, sizes = rate(64), (16, 24, 32)
    errors = [relative_error(rate(size), exact) for size in sizes]
    powers = [math.log(errors[i] / errors[i + 1]) / math.log(sizes[i + 1] / sizes[i]) for i in range(2)]
    assert min(powers) > 12
