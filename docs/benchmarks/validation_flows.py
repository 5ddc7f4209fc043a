"""Cases of `validation.py` with a known answer: Taylor and Green's vortices, orders, and Kolmogorov's flow.

Each case returns what goes into the JSON file. `kolmogorov_rate` is an eigenvalue problem in NumPy that shares nothing
with the package.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

import warpjaxns as wns

ENGINES = {
    "finite differences": wns.FiniteDifference(),
    "spectral, two-thirds": wns.Spectral(),
    "spectral, smooth": wns.Spectral(dealiasing="smooth"),
}


def relative(actual, expected) -> float:
    """Return the relative error in the L2 norm."""
    return float(jnp.linalg.norm(actual - expected) / jnp.linalg.norm(expected))


@functools.partial(jax.jit, static_argnames="steps")
def rollout(solver, omega, *, steps):
    """Return the state after some steps."""
    return solver.rollout(omega, steps=steps)


def order(errors, sizes) -> float:
    """Return the order of convergence by the last two errors."""
    return math.log(errors[-2] / errors[-1]) / math.log(sizes[-1] / sizes[-2])


# ------------------------------------------------------------------------------------------------ Taylor and Green


def taylor_green(sizes=(16, 32, 64, 128), viscosity=0.05, time=1.0) -> dict:
    """Return errors of the decaying vortices ``2 cos x cos y exp(-2 nu t)``, by engine and points a side."""
    errors = {name: [] for name in ENGINES}
    for size in sizes:
        grid = wns.Grid((size, size))
        start = wns.initial.taylor_green(grid, dtype="float64")
        steps = max(20, size**2 // 80)  # a tenth of the diffusive limit of finite differences
        for name, how in ENGINES.items():
            solver = wns.NavierStokes2D(grid, viscosity=viscosity, dt=time / steps, discretisation=how)
            exact = start * math.exp(-2 * viscosity * time)
            errors[name].append(relative(rollout(solver, start, steps=steps), exact))
    return {"sizes": list(sizes), "errors": errors, "order": order(errors["finite differences"], sizes)}


# ------------------------------------------------------------------------------------------------ orders


def smooth_flow(size: int) -> tuple[wns.Grid, jax.Array]:
    """Return a grid and a flow of few waves, on which advection is not zero."""
    grid = wns.Grid((size, 3 * size // 2), (2.0, 3.0))
    x, y = (jnp.asarray(axis, "float64") for axis in grid.mesh())
    k = math.pi
    waves = 2 * jnp.sin(2 * k * y) + jnp.cos(4 / 3 * k * x)
    return grid, 4 * jnp.exp(jnp.sin(k * y)) * jnp.cos(2 / 3 * k * x) + waves


def in_space(sizes=(16, 32, 64), reference=128, steps=160) -> dict:
    """Return errors at t = 0.4 by points a side, against the spectral solution on a finer grid."""

    def run(size, how):
        grid, omega = smooth_flow(size)
        solver = wns.NavierStokes2D(grid, viscosity=0.02, dt=0.4 / steps, discretisation=how)
        return rollout(solver, omega, steps=steps)[:: size // 8, :: size // 8]

    exact = run(reference, ENGINES["spectral, two-thirds"])
    errors = {name: [relative(run(size, how), exact) for size in sizes] for name, how in ENGINES.items()}
    return {"sizes": list(sizes), "errors": errors, "order": order(errors["finite differences"], sizes)}


INTEGRATORS = {
    "finite differences, SSP-RK3": wns.FiniteDifference(),
    "spectral, rk3": wns.Spectral("rk3"),
    "spectral, rk4": wns.Spectral("rk4"),
}


def in_time(counts=(40, 80, 160), reference=1280) -> dict:
    """Return errors at t = 0.4 by the number of steps, against many steps on the same grid, and the orders."""
    grid, omega = smooth_flow(16)
    errors = {}
    for name, how in INTEGRATORS.items():
        force = wns.forcing.kolmogorov(grid, 2, 3.0, discretisation=how, dtype="float64")

        def run(steps, how=how, force=force):
            given = {"viscosity": 2e-3, "drag": 0.3, "forcing": force, "discretisation": how}
            return rollout(wns.NavierStokes2D(grid, dt=0.4 / steps, **given), omega, steps=steps)

        exact = run(reference, wns.Spectral("rk4") if isinstance(how, wns.Spectral) else how)
        errors[name] = [relative(run(steps), exact) for steps in counts]
    return {"steps": list(counts), "errors": errors, "order": {n: order(e, counts) for n, e in errors.items()}}


# ------------------------------------------------------------------------------------------------ Kolmogorov's flow


def kolmogorov_rate(length: float, reynolds: float, modes: int = 12) -> tuple[float, np.ndarray]:
    """Return the largest growth rate on ``u = sin y`` of waves of wavenumber `length` along x, and its mode.

    The modes ``w_m exp(i (alpha x + m y))`` of a perturbation obey

        dw_m/dt = -(alpha / 2) (g_(m-1) - g_(m+1)) - (alpha^2 + m^2) w_m / Re,   g_m = w_m (1 - 1 / (alpha^2 + m^2)),

    here for m from -modes to modes (Meshalkin and Sinai 1961, doi:10.1016/0021-8928(62)90149-1).
    """
    m = np.arange(-modes, modes + 1)
    squared = length**2 + m**2
    sine = (np.eye(m.size, k=-1) - np.eye(m.size, k=1)) / 2
    matrix = -length * sine * (1 - 1 / squared) - np.diag(squared / reynolds)
    rates, vectors = np.linalg.eig(matrix)
    fastest = np.argmax(rates.real)
    return float(rates[fastest].real), vectors[:, fastest]


def critical_reynolds(length: float) -> float:
    """Return the Reynolds number at which `kolmogorov_rate` is zero."""
    return brentq(lambda r: kolmogorov_rate(length, r)[0], 1.2, 40.0, xtol=1e-13, rtol=1e-13)


def measured_rate(length: float, how, points=(32, 16), dt=0.05, time=20.0, blocks=3):
    """Return a function of the Reynolds number: the growth rate of the package's tangent on its own steady flow.

    The box is one wave along y and one of wavenumber `length` along x. The tangent starts from the mode of
    `kolmogorov_rate`, and the last of some blocks of time counts.
    """
    grid = wns.Grid(points, (2 * math.pi, 2 * math.pi / length))
    x, y = (np.asarray(axis, "float64") for axis in grid.mesh())
    steps = round(time / dt)
    dy = grid.spacing[0]
    spectral = isinstance(how, wns.Spectral)
    eigenvalue = 1.0 if spectral else (2 * math.sin(dy / 2) / dy) ** 2
    slope = 1.0 if spectral else math.sin(dy) / dy

    @jax.jit
    def grow(reynolds, tangent):
        # the amplitude of the force is such that the velocity of the discrete flow is sin y
        amplitude = eigenvalue**2 / slope**2 / reynolds
        force = wns.forcing.kolmogorov(grid, 1, amplitude, discretisation=how, dtype="float64")
        base = force * (reynolds / eigenvalue)
        given = {"viscosity": 1 / reynolds, "dt": dt, "forcing": force, "discretisation": how, "check_finite": False}
        solver = wns.NavierStokes2D(grid, **given)

        def block(tangent, _):
            grown = jax.jvp(lambda w: solver.rollout(w, steps=steps), (base,), (tangent,))[1]
            size = jnp.linalg.norm(grown)
            return grown / size, jnp.log(size / jnp.linalg.norm(tangent)) / time

        return jax.lax.scan(block, tangent, None, length=blocks)[1][-1]

    def rate(reynolds: float) -> float:
        _, mode = kolmogorov_rate(length, reynolds)
        m = np.arange(-(mode.size // 2), mode.size // 2 + 1)
        keep = np.abs(m) < points[0] / 3
        wave = sum(c * np.exp(1j * (length * x + l * y)) for c, l in zip(mode[keep], m[keep], strict=True))
        return float(grow(jnp.asarray(reynolds), jnp.asarray(wave.real)))

    return rate


MEASURED = {
    "spectral": {"how": wns.Spectral(), "points": (32, 8), "dt": 0.1},
    "finite differences, 32": {"how": wns.FiniteDifference(), "points": (32, 32), "dt": 0.02, "time": 10.0},
    "finite differences, 64": {
        "how": wns.FiniteDifference(),
        "points": (64, 64),
        "dt": 0.006,
        "time": 6.0,
        "blocks": 2,
    },
}


def kolmogorov(lengths=(0.1, 0.25, 0.5, 0.75, 0.9), reynolds=(2.0, 3.0, 5.0, 10.0)) -> dict:
    """Return critical Reynolds numbers and growth rates, by NumPy and measured with the package."""
    critical, rates = [], []
    for length in lengths:
        exact = critical_reynolds(length)
        row = {"length": length, "numpy": exact}
        for name, given in MEASURED.items():
            if name.endswith("64") and length != 0.5:
                continue
            rate = measured_rate(length, **given)
            row[name] = brentq(rate, 0.98 * exact, 1.03 * exact, xtol=1e-8 if name == "spectral" else 1e-5)
            if name == "spectral":
                at = [r for r in reynolds if r < 40]
                rates += [
                    {"length": length, "reynolds": r, "numpy": kolmogorov_rate(length, r)[0], "measured": rate(r)}
                    for r in at
                ]
        critical.append(row)
        print(row, flush=True)
    return {"critical": critical, "rates": rates, "long_waves": critical_reynolds(0.005)}
