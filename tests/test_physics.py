import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import ORDER, ROLLOUT, assert_close, relative_error

from warpjaxns import Direct, FiniteDifference, Grid, NavierStokes2D, diagnostics, initial

BACKENDS = ["warp", "xla"]
SCHEMES = ["arakawa", "central"]
GRID = Grid((16, 12), (2.0, 3.5))
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def decay(grid, viscosity, drag, dt):
    """Return the factor of a step for Taylor-Green vortices: SSP-RK3 on an eigenfunction of the 5-point Laplacian."""
    rates = [(2 * math.sin(math.pi / n) / h) ** 2 for n, h in zip(grid.shape, grid.spacing, strict=True)]
    z = -(viscosity * sum(rates) + drag) * dt
    return 1 + z + z**2 / 2 + z**3 / 6, sum(rates)


@pytest.mark.covering(1, 2)
@every_backend
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_taylor_green_decays_by_its_factor(backend, scheme, dtype):
    solver = NavierStokes2D(
        GRID, viscosity=0.05, drag=0.2, dt=0.02, discretisation=FiniteDifference(scheme), backend=backend
    )
    omega = initial.taylor_green(GRID, amplitude=0.5, dtype=dtype)
    steps = 40
    states = jax.jit(lambda w: solver.rollout(w, steps=steps, save_every=8))(omega)
    factor, _ = decay(GRID, 0.05, 0.2, 0.02)
    assert factor**steps < 0.6
    for k, state in enumerate(states, 1):
        assert_close(state, factor ** (8 * k) * np.asarray(omega, np.float64), ROLLOUT)
    assert_close(jax.jit(lambda w: solver.step(w))(omega), factor * np.asarray(omega, np.float64), ROLLOUT)


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("adjoint", [None, Direct()], ids=["checkpointed", "direct"])
def test_taylor_green_gradients_in_closed_form(backend, adjoint):
    steps, dt, drag = 24, 0.02, 0.1

    def energy(viscosity, amplitude):
        more = {} if adjoint is None else {"adjoint": adjoint}
        solver = NavierStokes2D(GRID, viscosity=viscosity, dt=dt, drag=drag, backend=backend, **more)
        omega = initial.taylor_green(GRID, amplitude=amplitude)
        return jnp.mean(solver.rollout(omega, steps=steps) ** 2)

    viscosity, amplitude = 0.05, 0.7
    value, (by_viscosity, by_amplitude) = jax.jit(jax.value_and_grad(energy, (0, 1)))(viscosity, amplitude)
    factor, rate = decay(GRID, viscosity, drag, dt)
    z = -(viscosity * rate + drag) * dt
    exact = factor ** (2 * steps) * np.mean(np.asarray(initial.taylor_green(GRID, amplitude=amplitude)) ** 2)
    assert_close(value, exact, ROLLOUT)
    assert_close(by_amplitude, 2 * exact / amplitude, ROLLOUT)
    assert_close(by_viscosity, 2 * steps * exact / factor * (1 + z + z**2 / 2) * -rate * dt, ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 1))
def test_inviscid_drift_falls_like_the_cube_of_dt(backend):
    omega = initial.random_vorticity(GRID, key=jax.random.key(1), max_wavenumber=3)
    drifts = []
    for steps in (40, 80):
        solver = NavierStokes2D(GRID, viscosity=0.0, dt=2.0 / steps, backend=backend)
        last = jax.jit(lambda w, solver=solver, steps=steps: solver.rollout(w, steps=steps))(omega)
        drifts.append(
            [abs(float(f(GRID, last) / f(GRID, omega)) - 1) for f in (diagnostics.energy, diagnostics.enstrophy)]
        )
    for coarse, fine in zip(*drifts, strict=True):
        assert 1e-9 < fine < 1e-3
        assert abs(math.log2(coarse / fine) - 3) < ORDER
    # the state itself has moved: conservation is not stillness
    assert jnp.linalg.norm(last - omega) > 0.1 * jnp.linalg.norm(omega)


@pytest.mark.full
@pytest.mark.covering(1)
@every_backend
@pytest.mark.parametrize("scheme", SCHEMES)
def test_third_order_in_time(backend, scheme):
    omega = initial.random_vorticity(GRID, key=jax.random.key(2), max_wavenumber=3)
    wave = 1 + jnp.sin(2 * math.pi * GRID.mesh()[0] / GRID.extent[1])

    def run(steps):
        solver = NavierStokes2D(
            GRID,
            viscosity=0.01,
            drag=0.1,
            dt=1.0 / steps,
            forcing=wave,
            discretisation=FiniteDifference(scheme),
            backend=backend,
        )
        return jax.jit(lambda w: solver.rollout(w, steps=steps))(omega)

    exact = run(640)
    errors = [float(jnp.linalg.norm(run(steps) - exact)) for steps in (40, 80)]
    assert abs(math.log2(errors[0] / errors[1]) - 3) < ORDER


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 1))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_second_order_in_space(backend, scheme):
    # A steady solution made by hand: the forcing is what the continuous equation asks for.
    ky, kx, nu, mu = 2 * math.pi / 2.0, 2 * math.pi / 3.5, 0.002, 0.3

    def fields(grid):
        x, y = grid.mesh()
        waves = [  # psi = sum of waves, each an eigenfunction of the Laplacian
            (4.0, jnp.cos(kx * x + ky * y), -jnp.sin(kx * x + ky * y), (kx, ky)),
            (2.0, jnp.cos(2 * kx * x), -jnp.sin(2 * kx * x), (2 * kx, 0.0)),
        ]
        psi_x, psi_y, w, w_x, w_y = (jnp.zeros_like(x) for _ in range(5))
        lap_w = jnp.zeros_like(x)
        for a, f, df, (p, q) in waves:
            k2 = p * p + q * q
            psi_x, psi_y = psi_x + a * p * df, psi_y + a * q * df
            w, w_x, w_y = w + a * k2 * f, w_x + a * k2 * p * df, w_y + a * k2 * q * df
            lap_w = lap_w - a * k2 * k2 * f
        advection = psi_x * w_y - psi_y * w_x
        return w, advection, nu * lap_w - mu * w

    errors = []
    for n in (16, 32):
        grid = Grid((n, 3 * n // 2), (2.0, 3.5))
        omega, advection, rest = fields(grid)
        solver = NavierStokes2D(
            grid,
            viscosity=nu,
            drag=mu,
            dt=0.1,
            forcing=-advection,
            discretisation=FiniteDifference(scheme),
            backend=backend,
        )
        rate = jax.jit(lambda w, solver=solver: solver.tendency(w))(omega)
        assert jnp.linalg.norm(advection) > 0.3 * jnp.linalg.norm(rest)
        errors.append(float(jnp.linalg.norm(rate - rest) / jnp.linalg.norm(rest)))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < ORDER


@pytest.mark.full
@every_backend
def test_the_mean_only_drags(backend):
    solver = NavierStokes2D(GRID, viscosity=0.01, drag=0.3, dt=0.05, backend=backend)
    omega = normal(0, GRID.shape) + 2
    z = -0.3 * 0.05
    factor = 1 + z + z**2 / 2 + z**3 / 6
    last = jax.jit(lambda w: solver.rollout(w, steps=5))(omega)
    assert_close(jnp.mean(last), factor**5 * jnp.mean(omega), ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
def test_rounding_of_the_state_does_not_add_up(backend):
    """Weights 1/3 and 2/3 rounded to float32 would add up to 1 + 3e-8. The error would grow with every step."""
    grid = Grid((48, 64), (2.0, 3.5))
    omega = initial.random_vorticity(grid, key=jax.random.key(0), dtype="float32")

    def final(backend, dtype):
        solver = NavierStokes2D(grid, viscosity=1e-3, dt=0.004, backend=backend)
        return np.asarray(jax.jit(lambda w: solver.rollout(w, steps=200))(omega.astype(dtype)), np.float64)

    assert relative_error(final(backend, "float32"), final("xla", "float64")) < 2e-6
