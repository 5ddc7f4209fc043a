"""Cases of `validation.py` on turbulent flows: decay, budgets, and gradients over longer and longer horizons."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from validation_flows import relative, rollout

import warpjaxns as wns

BOTH = {"finite differences": wns.FiniteDifference(), "spectral": wns.Spectral()}


# ------------------------------------------------------------------------------------------------ decay


def decay(size=256, peak=12, reynolds=1000.0, dt=8e-3, times=(0, 2, 4, 6, 8, 10)) -> tuple[dict, np.ndarray]:
    """Return energy, enstrophy and spectra of San and Staples' decaying turbulence, and the states of one run.

    The initial spectrum is theirs (2012, doi:10.1016/j.compfluid.2012.04.006) with the peak at 12 waves, in float32.
    """
    grid, key = wns.Grid((size, size)), jax.random.key(0)
    every = round((times[1] - times[0]) / dt)
    steps = every * (len(times) - 1)
    found = {"size": size, "reynolds": reynolds, "times": list(times), "dt": dt}
    shown = np.zeros(0)
    for name, how in BOTH.items():
        given = {"key": key, "peak_wavenumber": peak, "discretisation": how, "dtype": "float32"}
        start = wns.initial.decaying_turbulence(grid, **given)
        solver = wns.NavierStokes2D(grid, viscosity=1 / reynolds, dt=dt, discretisation=how)
        run = jax.jit(lambda w, s=solver: s.rollout(w, steps=steps, save_every=every, include_initial=True))
        states = run(start)
        wavenumbers, spectra = wns.diagnostics.energy_spectrum(grid, states, discretisation=how)
        found[name] = {
            "energy": np.asarray(wns.diagnostics.energy(grid, states, discretisation=how)).tolist(),
            "enstrophy": np.asarray(wns.diagnostics.enstrophy(grid, states)).tolist(),
            "spectra": np.asarray(spectra).tolist(),
            "slopes": [slope(np.asarray(wavenumbers), np.asarray(e)) for e in spectra],
            "error estimate": float(wns.diagnostics.resolution(solver, states[-1]).error),
        }
        found["wavenumbers"] = np.asarray(wavenumbers).tolist()
        shown = np.asarray(states)
    return found, shown


def slope(wavenumbers, spectrum, band=(20, 60)) -> float:
    """Return the exponent of a power law that fits a spectrum between two wavenumbers, by least squares of logs."""
    inside = (wavenumbers >= band[0]) & (wavenumbers <= band[1]) & (spectrum > 0)
    if np.count_nonzero(inside) < 2:
        return math.nan
    return float(np.polyfit(np.log(wavenumbers[inside]), np.log(spectrum[inside]), 1)[0])


# ------------------------------------------------------------------------------------------------ budgets


def budgets(size=64, steps=200, dt=8e-3) -> dict:
    """Return by how much the budgets fail to close, for a driven and damped flow of either engine.

    `residual` is what advection adds to the rate, relative to the largest other term, at its worst along the run.
    `integral` is the change of the quantity over the run less the integral of its rate by Simpson's rule, relative to
    the dissipation over the run.
    """
    grid, found = wns.Grid((size, size)), {}
    for name, how in BOTH.items():
        for dtype in ("float32", "float64"):
            force = wns.forcing.kolmogorov(grid, 4, 0.5, discretisation=how, dtype=dtype)
            given = {"viscosity": 5e-3, "drag": 0.1, "forcing": force, "discretisation": how}
            solver = wns.NavierStokes2D(grid, dt=dt, **given)
            start = wns.initial.decaying_turbulence(
                grid, key=jax.random.key(1), peak_wavenumber=4, discretisation=how, dtype=dtype
            )
            run = jax.jit(lambda w, s=solver: s.rollout(w, steps=steps, save_every=1, include_initial=True))
            both = jax.jit(lambda w, s=solver: wns.diagnostics.budgets(s, w))(run(start))
            for quantity, budget in zip(("energy", "enstrophy"), both, strict=True):
                value, rate, loss = (np.asarray(x, "float64") for x in (budget.value, budget.rate, budget.dissipation))
                weights = np.ones(steps + 1)
                weights[1:-1] = np.where(np.arange(1, steps) % 2, 4, 2)
                spent = dt / 3 * np.dot(weights, loss)
                gap = value[-1] - value[0] - dt / 3 * np.dot(weights, rate)
                terms = np.stack([np.abs(np.asarray(x)) for x in (budget.injection, budget.dissipation, budget.drag)])
                found[f"{name}, {dtype}, {quantity}"] = {
                    "residual": float(np.max(np.abs(np.asarray(budget.residual)) / terms.max(0))),
                    "integral": float(abs(gap) / spent),
                }
    return found


# ------------------------------------------------------------------------------------------------ gradients


@functools.partial(jax.jit, static_argnames="steps")
def derivatives(solver, omega, direction, *, steps):
    """Return the gradient of half the mean squared change over a rollout, and its derivative in a direction by jvp."""

    def loss(w):
        return 0.5 * jnp.mean((solver.rollout(w, steps=steps) - omega) ** 2)

    return jax.grad(loss)(omega), jax.jvp(loss, (omega,), (direction,))[1]


def gradients(size=64, horizons=(5, 10, 20, 40, 80, 160, 320), dt=8e-3) -> dict:
    """Return errors of gradients by engine and horizon.

    `adjoint and tangent`: of <gradient, direction> against the jvp, float64. `differences`: of the jvp against central
    differences of fourth order, float64, at the best of four widths. `float32`: of the gradient against float64's.
    """
    grid, found = wns.Grid((size, size)), {"steps": list(horizons), "dt": dt}
    noise = jax.random.normal(jax.random.key(3), grid.shape, "float64")
    for name, how in BOTH.items():
        given = {"key": jax.random.key(2), "peak_wavenumber": 6, "discretisation": how, "dtype": "float64"}
        start = wns.initial.decaying_turbulence(grid, **given)
        smooth = rollout(wns.NavierStokes2D(grid, viscosity=0.1, dt=0.02, discretisation=how), noise, steps=10)
        direction = smooth * (jnp.linalg.norm(start) / jnp.linalg.norm(smooth))
        solver = wns.NavierStokes2D(grid, viscosity=2e-3, dt=dt, discretisation=how)
        rows = [errors(solver, start, direction, steps) for steps in horizons]
        found[name] = {key: [row[key] for row in rows] for key in rows[0]}
    return found


def errors(solver, start, direction, steps: int) -> dict[str, float]:
    """Return the errors of `gradients` for one horizon."""
    gradient, tangent = derivatives(solver, start, direction, steps=steps)
    single, _ = derivatives(solver, start.astype("float32"), direction.astype("float32"), steps=steps)

    def loss(width):
        return 0.5 * float(jnp.mean((rollout(solver, start + width * direction, steps=steps) - start) ** 2))

    widths = (1e-2, 3e-3, 1e-3, 3e-4)
    slopes = [(8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h) for h in widths]
    return {
        "adjoint and tangent": float(abs(jnp.vdot(gradient, direction) / tangent - 1)),
        "differences": min(abs(s / float(tangent) - 1) for s in slopes),
        "float32": relative(single.astype("float64"), gradient),
    }
