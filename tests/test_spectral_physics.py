"""The spectral discretisation against exact solutions, and its orders of convergence."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from spectral_cases import BACKENDS, DEALIASINGS, DTYPES, INTEGRATORS
from tolerances import ORDER, ROLLOUT, assert_close, relative_error

from warpjaxns import Grid, NavierStokes2D, Spectral, forcing, initial

GRID = Grid((12, 9), (0.7, 1.9))
BOTH = [Spectral(dealiasing=dealiasing) for dealiasing in DEALIASINGS]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_dealiasing = pytest.mark.parametrize("discretisation", fast_cases(BOTH, 0), ids=str)


def decay_rate(grid, viscosity, drag, wavenumber=1):
    """Return the decay rate of Taylor-Green vortices."""
    return viscosity * sum((2 * math.pi * wavenumber / side) ** 2 for side in grid.extent) + drag


@pytest.mark.covering(1, 2)
@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("dealiasing", DEALIASINGS)
def test_taylor_green_decays_exactly(backend, dtype, integrator, dealiasing):
    """Linear terms are exact for any step, and advection vanishes."""
    omega = initial.taylor_green(GRID, amplitude=0.5, dtype=dtype)
    for dt, steps in ((1e-3, 40), (0.3, 10)):
        viscosity, drag = 0.02 / dt / steps, 0.2
        how = {"discretisation": Spectral(integrator, dealiasing), "backend": backend}
        solver = NavierStokes2D(GRID, viscosity=viscosity, drag=drag, dt=dt, **how)
        states = jax.jit(lambda w, s=solver, n=steps: s.rollout(w, steps=n, save_every=n // 2))(omega)
        rate = decay_rate(GRID, np.asarray(solver.viscosity, dtype), np.asarray(solver.drag, dtype))
        assert rate * dt * steps > 1
        for k, state in enumerate(states, 1):
            factor = math.exp(-rate * np.asarray(dt, dtype) * (k * (steps // 2)))
            assert_close(state, factor * np.asarray(omega, "float64"), ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 0))
def test_taylor_green_gradients_in_closed_form(backend):
    steps, drag, viscosity, amplitude, dt = 10, 0.1, 0.02, 0.7, 0.1

    def energy(viscosity, drag, dt, amplitude):
        how = {"discretisation": Spectral(), "backend": backend}
        solver = NavierStokes2D(GRID, viscosity=viscosity, dt=dt, drag=drag, **how)
        return jnp.mean(solver.rollout(initial.taylor_green(GRID, amplitude=amplitude), steps=steps) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(energy, (0, 1, 2, 3)))(viscosity, drag, dt, amplitude)
    rate, time = decay_rate(GRID, viscosity, drag), steps * dt
    exact = math.exp(-2 * rate * time) * np.mean(np.asarray(initial.taylor_green(GRID, amplitude=amplitude)) ** 2)
    assert_close(value, exact, ROLLOUT)
    by_rate = -2 * time * exact
    expected = by_rate * decay_rate(GRID, 1, 0), by_rate, -2 * rate * steps * exact, 2 * exact / amplitude
    for actual, derivative in zip(gradient, expected, strict=True):
        assert_close(actual, derivative, ROLLOUT)


def flow(n):
    """Return a grid of about n points a side, and a flow of few waves that is no solution of the linear equation."""
    grid = Grid((n, 3 * n // 2), (2.0, 3.0))
    x, y = grid.mesh()
    k = math.pi
    return grid, 4 * jnp.exp(jnp.sin(k * y)) * jnp.cos(2 / 3 * k * x) + 2 * jnp.sin(2 * k * y) + jnp.cos(4 / 3 * k * x)


@pytest.mark.full
@pytest.mark.parametrize(("integrator", "order"), [("rk3", 3), ("rk4", 4)])
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
@every_dealiasing
def test_order_in_dt(discretisation, backend, integrator, order):
    grid, omega = flow(12)
    control = forcing.kolmogorov(grid, 2, 3.0, discretisation=discretisation)

    def run(steps, integrator):
        how = {"discretisation": Spectral(integrator, discretisation.dealiasing), "backend": backend}
        solver = NavierStokes2D(grid, viscosity=2e-3, drag=0.3, dt=0.6 / steps, forcing=control, **how)
        return np.asarray(jax.jit(lambda w: solver.rollout(w, steps=steps))(omega))

    exact = run(960, "rk4")
    coarse, fine = (relative_error(run(steps, integrator), exact) for steps in (60, 120))
    assert 1e-9 < fine < 1e-3
    assert abs(math.log2(coarse / fine) - order) < ORDER
    assert relative_error(omega, exact) > 0.5


@pytest.mark.full
@every_dealiasing
def test_exponential_convergence(discretisation):
    """The error falls faster than any power of n: each time by a higher one."""

    def run(n):
        grid, omega = flow(n)
        how = {"discretisation": discretisation, "backend": "xla"}
        solver = NavierStokes2D(grid, viscosity=0.02, dt=0.01, **how)
        return np.asarray(jax.jit(lambda w: solver.rollout(w, steps=40))(omega))[:: n // 8, :: n // 8]

    exact, sizes = run(128), [16, 24, 32, 48, 64]
    errors = [relative_error(run(n), exact) for n in sizes]
    powers = [math.log(errors[i] / errors[i + 1]) / math.log(sizes[i + 1] / sizes[i]) for i in range(len(sizes) - 1)]
    assert powers[0] > 2
    assert all(later > earlier for earlier, later in itertools.pairwise(powers))
    assert errors[-1] < 1e-6


def growth(grid, speed, waves, viscosity, drag):
    """Return the growth rate and the vorticity of the fastest growing wave that is as long as the box.

    It grows on ``u = speed sin(n y)``. Its modes ``exp(i (k x + m y))`` obey
    ``dw/dt = -i k U (w - n^2 psi) - (nu (k^2 + m^2) + mu) w``.
    """
    height, width = grid.extent
    k, n, modes = 2 * math.pi / width, 2 * math.pi * waves / height, np.arange(-8, 9)
    m = modes * n
    sine = (np.eye(m.size, k=-1) - np.eye(m.size, k=1)) / 2j
    squared = k**2 + m**2
    matrix = -1j * k * speed * sine * (1 - n**2 / squared) - np.diag(viscosity * squared + drag)
    rates, vectors = np.linalg.eig(matrix)
    fastest = np.argmax(rates.real)
    x, y = (np.asarray(axis) for axis in grid.mesh())
    wave = sum(c * np.exp(1j * (k * x + l * y)) for c, l in zip(vectors[:, fastest], m, strict=True))
    return rates[fastest], wave.real


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
@pytest.mark.parametrize("dtype", fast_cases(DTYPES, 1))
@every_dealiasing
def test_growth_on_kolmogorov_flow(discretisation, dtype, backend):
    """The tangent of a steady flow that is unstable to long waves grows as linear theory says."""
    grid, waves, viscosity, drag, speed = Grid((48, 16), (1.0, 2.0)), 2, 0.01, 0.05, 1.0
    rate, wave = growth(grid, speed, waves, viscosity, drag)
    assert rate.real > 0.1
    assert abs(rate.imag) < 1e-9
    k = 2 * math.pi * waves / grid.extent[0]
    _, y = grid.mesh()
    base = jnp.broadcast_to(-speed * k * jnp.cos(k * y), grid.shape).astype(dtype)
    force = forcing.kolmogorov(
        grid, waves, speed * (viscosity * k**2 + drag), dtype=dtype, discretisation=discretisation
    )
    how = {"discretisation": discretisation, "backend": backend, "forcing": force}
    solver = NavierStokes2D(grid, viscosity=viscosity, drag=drag, dt=2e-3, **how)
    steps, direction = 200, jnp.asarray(wave, dtype)
    last, grown = jax.jit(lambda w, dw: jax.jvp(lambda w: solver.rollout(w, steps=steps), (w,), (dw,)))(base, direction)
    assert_close(last, base, {"float32": 1e-5, "float64": 1e-9})
    factor = math.exp(rate.real * steps * 2e-3)
    assert_close(grown, factor * wave, {"float32": 2e-5, "float64": 1e-8})
