import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import DIFFERENCES, ORDER, ROLLOUT, SUMS, assert_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, diagnostics, forcing, initial
from warpjaxns._operators import streamfunction

GRIDS = [Grid((18, 14), (3.0, 2.0)), Grid((15, 21), (0.7, 1.9))]
two_grids = pytest.mark.parametrize("grid", GRIDS, ids=str)
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
every_dtype = pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
noise = jax.jit(
    forcing.ring_noise, static_argnums=0, static_argnames=("steps", "wavenumber", "width", "discretisation", "dtype")
)


@pytest.mark.covering(1, 2)
@two_grids
@every_dtype
@every_discretisation
def test_kolmogorov_is_the_discrete_curl_of_its_force(grid, dtype, discretisation):
    how = {"discretisation": discretisation}
    x, y = grid.mesh()
    force = 1.3 * jnp.sin(2 * math.pi * 3 * y / grid.extent[0])
    f = forcing.kolmogorov(grid, 3, 1.3, **how, dtype=dtype)
    assert f.dtype == dtype
    assert_close(f, forcing.from_momentum(grid, force, jnp.zeros_like(x), **how))
    highest = (grid.shape[0] - 1) // (3 if isinstance(discretisation, Spectral) else 2)
    assert jnp.linalg.norm(forcing.kolmogorov(grid, highest, 1.0, **how)) > 1
    with pytest.raises(ValueError, match=f"wavenumber={highest + 1}: .* allows 1 to {highest}"):
        forcing.kolmogorov(grid, highest + 1, 1.0, **how)


@pytest.mark.full
@every_discretisation
def test_the_laminar_kolmogorov_flow_is_steady(discretisation):
    grid, n, amplitude, nu, mu = GRIDS[0], 2, 0.4, 0.05, 0.3
    f = forcing.kolmogorov(grid, n, amplitude, discretisation=discretisation)
    k, dy = 2 * math.pi * n / grid.extent[0], grid.spacing[0]
    s, eigenvalue = math.sin(k * dy) / dy, (2 * math.sin(k * dy / 2) / dy) ** 2
    if isinstance(discretisation, Spectral):
        s, eigenvalue = k, k**2
    omega = f / (nu * eigenvalue + mu)
    # where linear terms are a factor, the steady balance holds to the order in dt
    solver = NavierStokes2D(grid, viscosity=nu, drag=mu, dt=0.02, forcing=f, discretisation=discretisation)
    assert_close(jax.jit(lambda w: solver.rollout(w, steps=20))(omega), omega, ROLLOUT)
    u, v = solver.velocity(omega)
    speed = amplitude * s**2 / (eigenvalue * (nu * eigenvalue + mu))
    assert_close(u, speed * jnp.sin(k * grid.mesh()[1]))
    assert jnp.abs(v).max() < 1e-14
    # turned into the force it comes from: a positive force drives a positive velocity
    assert float(jnp.mean(u * jnp.sin(k * grid.mesh()[1]))) > 0


@pytest.mark.covering(1)
@two_grids
@every_discretisation
def test_a_force_injects_its_power(grid, discretisation):
    fx, fy, omega = (normal(seed, grid.shape) for seed in range(3))
    f = forcing.from_momentum(grid, fx, fy, discretisation=discretisation)
    solver = NavierStokes2D(grid, viscosity=0.01, dt=0.1, forcing=f, discretisation=discretisation)
    u, v = solver.velocity(omega)
    power = jnp.mean(u * fx + v * fy)
    assert abs(power) > 1e-4
    assert_close(diagnostics.budgets(solver, omega).energy.injection, power)
    assert abs(float(jnp.mean(f))) < 1e-12


def test_a_gradient_is_no_forcing():
    # of centred differences, so the discrete curl vanishes too
    grid = GRIDS[0]
    p = normal(0, grid.shape)
    fx = (jnp.roll(p, -1, 1) - jnp.roll(p, 1, 1)) / (2 * grid.spacing[1])
    fy = (jnp.roll(p, -1, 0) - jnp.roll(p, 1, 0)) / (2 * grid.spacing[0])
    scale = jnp.abs(forcing.from_momentum(grid, fx, -fy)).max()
    assert jnp.abs(forcing.from_momentum(grid, fx + 1, fy - 2)).max() < 1e-13 * scale


def injected(grid, f, dt, **how):
    """Return the energy that a step gives to a fluid at rest, per time: dt / 2 <f S f>."""
    return dt * diagnostics.energy(grid, f, **how)


@pytest.mark.covering(1, 2)
@two_grids
@every_dtype
@every_discretisation
def test_noise_injects_exactly_its_rate(grid, dtype, discretisation):
    how = {"discretisation": discretisation}
    for seed, (dt, rate, width) in enumerate([(0.01, 0.7, 2), (0.3, 0.02, 1.1)]):
        ring = {"wavenumber": 3, "width": width, "dtype": dtype, **how}
        f = noise(grid, key=jax.random.key(seed), steps=5, dt=dt, energy_rate=rate, **ring)
        assert (f.shape, f.dtype) == ((5, *grid.shape), dtype)
        assert_close(injected(grid, f, dt, **how), np.full(5, rate))
        assert jnp.abs(jnp.mean(f, axis=(1, 2))).max() < SUMS[dtype] * jnp.abs(f).max()
        assert not jnp.allclose(f[0], f[1])


@pytest.mark.full
def test_a_step_from_rest_gains_the_energy_asked_for():
    # All modes of the lowest ring of a square grid share an eigenvalue, so that advection vanishes.
    grid, dt, rate = Grid((16, 16), (3.0, 3.0)), 0.05, 0.4
    f = noise(grid, key=jax.random.key(1), steps=1, dt=dt, energy_rate=rate, wavenumber=1, width=0.5)
    solver = NavierStokes2D(grid, viscosity=0.0, dt=dt)
    omega = solver.rollout(jnp.zeros(grid.shape), steps=1, forcing=f)
    assert_close(diagnostics.energy(grid, omega), rate * dt)


def test_noise_fills_its_ring_and_nothing_else():
    grid = Grid((20, 30), (2.0, 3.0))
    f = noise(grid, key=jax.random.key(0), steps=2, dt=0.1, energy_rate=1.0, wavenumber=4, width=2)
    power = np.abs(np.fft.fft2(f)) ** 2
    ky, kx = np.fft.fftfreq(20, 1 / 20)[:, None] * 1.5, np.fft.fftfreq(30, 1 / 30)[None, :]
    ring = np.abs(np.hypot(ky, kx) - 4) <= 1
    assert power[:, ~ring].max() < 1e-20 * power.max()
    eigenvalue = (2 * np.sin(np.pi * ky / 1.5 / 20) / 0.1) ** 2 + (2 * np.sin(np.pi * kx / 30) / 0.1) ** 2
    share = power / np.where(eigenvalue > 0, eigenvalue, 1)
    assert_close(share[:, ring], np.full((2, ring.sum()), share.max()))  # of the energy, the same for each mode


@pytest.mark.full
def test_noise_drives_a_moving_flow_at_its_rate():
    # The mean over members and time of the gain of energy, within four standard errors; viscosity does not act.
    grid, dt, rate, steps, members = Grid((16, 20), (3.0, 3.5)), 0.01, 0.5, 50, 400
    solver = NavierStokes2D(grid, viscosity=0.0, dt=dt)
    start = initial.random_vorticity(grid, key=jax.random.key(5), max_wavenumber=3)

    @jax.jit
    @jax.vmap
    def gain(key):
        f = forcing.ring_noise(grid, key=key, steps=steps, dt=dt, energy_rate=rate, wavenumber=3)
        last = solver.rollout(start, steps=steps, forcing=f)
        return (diagnostics.energy(grid, last) - diagnostics.energy(grid, start)) / (steps * dt)

    gains = np.asarray(gain(jax.random.split(jax.random.key(6), members)))
    error = gains.std() / math.sqrt(members)
    assert error < 0.02 * rate  # else the next line says nothing
    assert abs(gains.mean() - rate) < 4 * error


def test_noise_is_white_in_time_and_its_start_does_not_depend_on_its_length():
    grid = GRIDS[0]
    f, key = {}, jax.random.key(2)
    for steps in (3, 300):
        f[steps] = noise(grid, key=key, steps=steps, dt=0.1, energy_rate=1.0, wavenumber=3)
    np.testing.assert_array_equal(f[3], f[300][:3])
    psi = streamfunction(grid, f[300])
    work = jnp.einsum("aij,bij->ab", psi, f[300]) / jnp.sum(psi[0] * f[300][0])
    others = np.asarray(work)[~np.eye(300, dtype=bool)]
    modes = 22  # in this ring, so that a correlation is of the size 1 / sqrt(modes)
    assert others.std() < 1.5 / math.sqrt(modes)
    assert abs(others.mean()) < 0.01
    with jax.enable_x64(False):
        single = noise(grid, key=key, steps=2, dt=0.1, energy_rate=1.0, wavenumber=3)
        assert single.dtype == "float32"
    assert noise(grid, key=key, steps=0, dt=0.1, energy_rate=1.0, wavenumber=3).shape == (0, *grid.shape)


def test_forcings_can_be_differentiated_and_mapped():
    grid, key, dt = GRIDS[0], jax.random.key(3), 0.1

    def energy_rate(rate):
        return injected(grid, noise(grid, key=key, steps=1, dt=dt, energy_rate=rate, wavenumber=3)[0], dt)

    assert_close(jax.grad(energy_rate)(0.3), 1.0)
    f = jax.vmap(lambda a: forcing.kolmogorov(grid, 2, a))(jnp.asarray([1.0, -2.0]))
    assert_close(f[1], -2 * f[0])
    keys = jax.random.split(key, 3)
    members = jax.vmap(
        lambda one: noise(grid, key=one, steps=4, dt=dt, energy_rate=0.1, wavenumber=3), out_axes=1
    )(keys)  # fmt: skip
    assert members.shape == (4, 3, *grid.shape)
    solver = NavierStokes2D(grid, viscosity=0.01, dt=dt)
    together = solver.rollout(jnp.zeros((3, *grid.shape)), steps=4, forcing=members)
    assert_close(together[1], solver.rollout(jnp.zeros(grid.shape), steps=4, forcing=members[:, 1]))


def test_wrong_arguments_are_named():
    grid, key = GRIDS[0], jax.random.key(0)
    field = jnp.zeros(grid.shape)
    good = {"key": key, "steps": 2, "dt": 0.1, "energy_rate": 1.0, "wavenumber": 3}
    for wrong, error in (
        ({"key": 0}, TypeError),
        ({"steps": -1}, ValueError),
        ({"steps": 1.5}, TypeError),
        ({"dt": 0.0}, ValueError),
        ({"energy_rate": -1.0}, ValueError),
        ({"wavenumber": 9.1}, ValueError),
        ({"width": 0.0}, ValueError),
        ({"width": 0.01, "wavenumber": 2.2}, ValueError),
        ({"dtype": "int32"}, TypeError),
    ):
        with pytest.raises(error, match=next(iter(wrong))):
            forcing.ring_noise(grid, **(good | wrong))
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"wavenumber={wrong}"):
            forcing.kolmogorov(grid, wrong, 1.0)
    with pytest.raises(TypeError, match="wavenumber"):
        forcing.kolmogorov(grid, 1.5, 1.0)
    with pytest.raises(TypeError, match="amplitude"):
        forcing.kolmogorov(grid, 1, "1")
    with pytest.raises(ValueError, match="fy has shape"):
        forcing.from_momentum(grid, field, field.T)
    with pytest.raises(TypeError, match="fx has dtype float64 and fy float32"):
        forcing.from_momentum(grid, field, field.astype("float32"))


def test_a_feedback_of_ones_own():
    # The scan of the module's documentation, with a feedback that is a drag: each step holds it constant.
    grid, dt = GRIDS[0], 0.05
    solver = NavierStokes2D(grid, viscosity=0.0, dt=dt)
    start = initial.taylor_green(grid)

    def body(omega, _):
        return solver.rollout(omega, steps=1, forcing=-0.5 * omega[None]), None

    @jax.jit
    def run(omega):
        return jax.lax.scan(body, omega, length=6)[0]

    assert_close(run(start), (1 - 0.5 * dt) ** 6 * start, ROLLOUT)
    gradient = jax.jit(jax.grad(lambda a: jnp.mean(run(a * start) ** 2)))(2.0)
    a = (1 - 0.5 * dt) ** 12 * jnp.mean(start**2)
    assert abs(gradient / (4 * a) - 1) < DIFFERENCES


@pytest.mark.full
def test_a_forcing_sampled_at_mid_step_is_second_order_and_at_its_start_first():
    grid, total, rate = GRIDS[0], 2.0, 3.0
    shape, start = forcing.kolmogorov(grid, 2, 2.0), initial.random_vorticity(grid, key=jax.random.key(0))

    def last(steps, place):
        solver, dt = NavierStokes2D(grid, viscosity=0.01, dt=total / steps), total / steps
        strength = jnp.asarray(np.sin(rate * dt * (np.arange(steps) + place)))
        return jax.jit(lambda w: solver.rollout(w, steps=steps, forcing=strength[:, None, None] * shape[None]))(start)

    exact, fine = (4 * last(640, 0.5) - last(320, 0.5)) / 3, {}  # Richardson's extrapolation
    for place, order in ((0.5, 2), (0.0, 1)):
        coarse, fine[place] = (float(jnp.linalg.norm(last(steps, place) - exact)) for steps in (80, 160))
        assert abs(math.log2(coarse / fine[place]) - order) < ORDER
    assert fine[0.5] < 0.01 * fine[0.0] < 2e-4 * float(jnp.linalg.norm(exact))
