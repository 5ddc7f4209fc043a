"""Budgets, fluxes, scales and Lyapunov exponents of `warpjaxns.diagnostics`."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import ORDER, RELATIVE, ROLLOUT, SUMS, assert_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, diagnostics, forcing, initial
from warpjaxns._operators import jacobian, streamfunction

GRID = Grid((18, 14), (3.0, 2.0))
OTHER = Grid((15, 21), (0.7, 1.9))
two_grids = pytest.mark.parametrize("grid", [GRID, OTHER], ids=str)
that_conserve = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
that_do_not = pytest.mark.parametrize(
    "discretisation", [FiniteDifference("central"), Spectral(dealiasing="smooth")], ids=str
)


def make_solver(grid=GRID, discretisation=FiniteDifference(), **options):
    steady = forcing.kolmogorov(grid, 2, 0.3, discretisation=discretisation)
    good = {"viscosity": 0.01, "drag": 0.1, "dt": 0.02, "forcing": steady, "discretisation": discretisation}
    return NavierStokes2D(grid, **{**good, **options})


def kept(solver, omega):
    """Return what a discretisation keeps of a field."""
    return jax.jit(lambda w: solver.rollout(w, steps=0))(omega)


@pytest.mark.covering(1, 2)
@two_grids
@that_conserve
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_budgets_close_for_the_semi_discrete_equations(grid, discretisation, dtype):
    solver, given = make_solver(grid, discretisation), normal(0, (2, *grid.shape), dtype)
    control = normal(1, grid.shape, dtype)
    parts = jax.jit(lambda w: diagnostics.budgets(solver, w, forcing=control))(given)
    omega, how = kept(solver, given), {"discretisation": discretisation}
    quantities = functools.partial(diagnostics.energy, grid, **how), functools.partial(diagnostics.enstrophy, grid)

    @jax.jit
    def run(omega):
        along = solver.tendency(omega) + control[None]
        lone = omega - jnp.mean(omega, (-2, -1), keepdims=True)
        dissipated = diagnostics.enstrophy(grid, lone), diagnostics.palinstrophy(grid, omega, **how)
        return [jax.jvp(quantity, (omega,), (along,)) for quantity in quantities], dissipated

    with_rates, dissipated = jax.tree.map(np.asarray, run(omega))
    parts = jax.tree.map(np.asarray, parts)
    for budget, (value, rate) in zip(parts, with_rates, strict=True):
        # the rate is the derivative of the quantity along the tendency
        assert_close(budget.value, value)
        scale = np.abs(budget.injection) + budget.dissipation + budget.drag
        assert np.all(np.abs(budget.rate - rate) < 10 * RELATIVE[dtype] * scale)
        assert np.all(np.abs(budget.residual) < 10 * RELATIVE[dtype] * scale)
        assert_close(budget.injection - budget.dissipation - budget.drag + budget.residual, budget.rate)
        assert all(part.shape == (2,) and part.dtype == dtype for part in jax.tree.leaves(budget))
    # the parts are what they are called
    for budget, value in zip(parts, dissipated, strict=True):
        assert_close(budget.dissipation, 2 * 0.01 * value)
        assert_close(budget.drag, 0.2 * budget.value)
    force = np.asarray(solver.forcing).astype(dtype) + np.asarray(control)
    assert_close(parts.enstrophy.injection, np.mean(np.asarray(omega) * force, (-2, -1)))


@pytest.mark.full
@that_do_not
def test_the_residual_shows_a_scheme_that_does_not_conserve(discretisation):
    solver = make_solver(discretisation=discretisation)
    omega = kept(solver, normal(0, GRID.shape))
    found = diagnostics.budgets(solver, omega)
    for budget in found:
        assert abs(budget.residual) > 1e-4 * budget.dissipation
    psi = streamfunction(GRID, omega, discretisation=discretisation)
    if isinstance(discretisation, FiniteDifference):
        advection = jacobian(GRID, psi, omega, discretisation=discretisation)
    else:  # which takes it in another form, of other aliases
        still = dataclasses.replace(solver, viscosity=0 * solver.viscosity, drag=0 * solver.drag, forcing=None)
        advection = still.tendency(omega)
    assert_close(found.energy.residual, jnp.mean(psi * advection), {"float64": 1e-9})
    assert_close(found.enstrophy.residual, jnp.mean(omega * advection), {"float64": 1e-9})


def test_budgets_without_forcing_and_with_parameters_for_each_member():
    viscosity = jnp.asarray([0.01, 0.03])
    solver = NavierStokes2D(GRID, viscosity=viscosity, drag=0.0, dt=0.01)
    omega = normal(0, (4, 2, *GRID.shape))
    together = jax.jit(diagnostics.budgets)(solver, omega)
    assert np.all(np.asarray(together.energy.injection) == 0)
    for member in range(2):
        alone = NavierStokes2D(GRID, viscosity=viscosity[member], dt=0.01)
        expected = jax.jit(diagnostics.budgets)(alone, omega[2, member])
        assert_close(together.energy.dissipation[2, member], expected.energy.dissipation)
        assert_close(together.enstrophy.rate[2, member], expected.enstrophy.rate)


@pytest.mark.full
def test_budgets_close_over_a_trajectory_to_third_order():
    start, total = 4 * initial.random_vorticity(GRID, key=jax.random.key(1), max_wavenumber=3), 0.8

    def error(steps):
        solver = make_solver(dt=total / steps)

        @jax.jit
        def run(omega):
            states = solver.rollout(omega, steps=steps, save_every=1)
            return diagnostics.budgets(solver, jnp.concatenate([omega[None], states]))

        out = []
        for budget in run(start):
            rate = np.asarray(budget.injection - budget.dissipation - budget.drag)
            simpson = total / steps / 3 * (rate[0] + 4 * rate[1::2].sum() + 2 * rate[2:-1:2].sum() + rate[-1])
            change = float(budget.value[-1] - budget.value[0])
            assert abs(change) > 0.05 * budget.value[0]
            out.append(abs(change - simpson) / abs(change))
        return out

    for coarse, fine in zip(error(24), error(48), strict=True):
        assert 1e-9 < fine < 1e-4
        assert abs(math.log2(coarse / fine) - 3) < ORDER


@pytest.mark.full
def test_budgets_of_a_rollout_with_a_field_a_step():
    # Over one step from rest, with no advection, the work of the noise is what the energy gains.
    grid, dt = Grid((16, 16)), 0.05
    solver = NavierStokes2D(grid, viscosity=0.0, dt=dt)
    f = forcing.ring_noise(grid, key=jax.random.key(0), steps=1, dt=dt, energy_rate=0.4, wavenumber=1, width=0.5)
    states = jnp.stack([jnp.zeros(grid.shape), solver.rollout(jnp.zeros(grid.shape), steps=1, forcing=f)])
    energy = jax.jit(diagnostics.budgets)(solver, states, forcing=f).energy
    assert_close(jnp.mean(energy.injection), 0.4)  # which grows linearly within the step
    assert_close((energy.value[1] - energy.value[0]) / dt, 0.4)


@pytest.mark.covering(1, 2)
@two_grids
@that_conserve
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fluxes_are_what_the_large_scales_lose(grid, discretisation, dtype):
    how = {"discretisation": discretisation}
    omega = kept(make_solver(grid, **how), normal(3, (2, *grid.shape), dtype))
    psi = streamfunction(grid, omega, **how)
    advection = np.asarray(jacobian(grid, psi, omega, **how), float)
    weights = {diagnostics.energy_flux: np.asarray(psi, float), diagnostics.enstrophy_flux: np.asarray(omega, float)}
    ky, kx = (2 * np.pi * np.fft.fftfreq(n, side / n) for n, side in zip(grid.shape, grid.extent, strict=True))
    magnitude = np.hypot(ky[:, None], kx[None, :])
    for flux, weight in weights.items():
        wavenumbers, through = jax.jit(functools.partial(flux, grid, **how))(omega)
        assert through.dtype == wavenumbers.dtype == dtype
        assert through.shape == (2, wavenumbers.size)
        scale = np.abs(through).max()
        for place in (0, 2, 5):
            edge = (place + 1.5) * diagnostics.fundamental_wavenumber(grid)
            np.testing.assert_allclose(wavenumbers[place], edge, rtol=RELATIVE[dtype])
            large = np.fft.ifft2(np.fft.fft2(weight) * (magnitude < edge * (1 - 1e-9))).real
            lost = -np.mean(large * advection, axis=(-2, -1))
            np.testing.assert_allclose(through[:, place], lost, atol=10 * RELATIVE[dtype] * scale)
        assert np.abs(through[:, -1]).max() < 100 * SUMS[dtype] * scale  # nothing leaves the grid
        _, central = jax.jit(functools.partial(flux, grid, discretisation=FiniteDifference("central")))(omega)
        assert np.abs(central[:, -1]).max() > 1e-3 * scale


@pytest.mark.full
def test_turbulence_sends_energy_to_large_scales_and_enstrophy_to_small_ones():
    grid = Grid((32, 32))
    omega = initial.from_spectrum(grid, np.array([0, 0, 0, 0, 0.3, 0.3]), key=jax.random.key(4))
    solver = NavierStokes2D(grid, viscosity=5e-3, dt=0.02)
    omega = jax.jit(lambda w: solver.rollout(w, steps=60))(omega)
    energy, enstrophy = (flux(grid, omega)[1] for flux in (diagnostics.energy_flux, diagnostics.enstrophy_flux))
    assert energy[2] < 0 < enstrophy[7]


@pytest.mark.full
@two_grids
def test_scales_of_one_wave(grid):
    # One wave along the longest side: its wavelength is the integral scale.
    side, axis = max(grid.extent), int(np.argmax(grid.extent))
    along = grid.mesh()[1 - axis]
    omega = 3 * jnp.cos(2 * math.pi * 2 * along / side)
    solver = NavierStokes2D(grid, viscosity=0.02, dt=0.1)
    assert_close(diagnostics.integral_scale(grid, omega), side / 2)
    speed = math.sqrt(2 * float(diagnostics.energy(grid, omega)))
    assert_close(diagnostics.reynolds_number(solver, omega), speed * side / 2 / 0.02)
    lengths = diagnostics.reynolds_number(solver, jnp.stack([omega, omega]), length=jnp.asarray([0.1, 0.2]))
    assert_close(lengths, speed * np.array([0.1, 0.2]) / 0.02)
    assert_close(diagnostics.cfl(solver, omega), solver.cfl(omega))
    for wrong in (0.0, -1):
        with pytest.raises(ValueError, match=f"length={wrong}"):
            diagnostics.reynolds_number(solver, omega, length=wrong)


@pytest.mark.full
def test_lyapunov_exponent_of_a_fluid_at_rest():
    # Its slowest mode, the mean that white noise holds, decays by the drag alone: by the factor of SSP-RK3 a step.
    drag, dt = 0.05, 0.02
    solver = NavierStokes2D(GRID, viscosity=0.3, drag=drag, dt=dt)
    z = -drag * dt

    @jax.jit
    @jax.vmap
    def run(key):
        omega = jnp.zeros(GRID.shape)
        return diagnostics.lyapunov_exponent(solver, omega, key=key, steps=1200, renormalise_every=20, transient=1000)

    found = run(jax.random.split(jax.random.key(0)))
    assert_close(found.exponent, np.full(2, math.log(1 + z + z**2 / 2 + z**3 / 6) / dt), ROLLOUT)
    assert found.rates.shape == (2, 60)
    assert np.all(found.rates[:, 0] < 2 * found.exponent)  # the transient, in which faster ones decay
    assert found.rates[0, 0] != found.rates[1, 0]


def test_lyapunov_exponent_is_the_rate_at_which_flows_part():
    # Benettin's way, with two rollouts and a small distance instead of a tangent, along a chaotic Kolmogorov flow.
    grid, steps, every, dt, size = Grid((16, 16)), 300, 10, 0.05, 1e-6
    force = forcing.kolmogorov(grid, 2, 0.5)
    solver = NavierStokes2D(grid, viscosity=0.01, drag=0.02, dt=dt, forcing=force)
    advance = jax.jit(lambda w: solver.rollout(w, steps=every))
    one = initial.random_vorticity(grid, key=jax.random.key(0))
    for _ in range(100):
        one = advance(one)

    # A force that is given in part as one field a step.
    halved = NavierStokes2D(grid, viscosity=0.01, drag=0.02, dt=dt, forcing=force / 2)
    control = jnp.broadcast_to(force / 2, (steps, *grid.shape))
    options = {"steps": steps, "renormalise_every": every, "forcing": control}
    key = jax.random.key(1)
    found = jax.jit(lambda w: diagnostics.lyapunov_exponent(halved, w, key=key, **options))(one)

    noise = jax.random.normal(key, grid.shape)
    other, rates = one + size * noise / jnp.sqrt(jnp.mean(noise**2)), []
    for _ in range(steps // every):
        one, other = advance(one), advance(other)
        apart = jnp.sqrt(jnp.mean((other - one) ** 2))
        rates.append(float(jnp.log(apart / size)) / (every * dt))
        other = one + (other - one) * (size / apart)
    np.testing.assert_allclose(found.rates, rates, atol=1e-4)
    assert_close(found.exponent, np.mean(found.rates))
    assert_close(found.omega, one, {"float64": 1e-9})
    assert_close(jnp.sqrt(jnp.mean(found.tangent**2)), 1.0)
    assert found.exponent > 0.02


def test_wrong_arguments_are_named(key):
    solver, omega = make_solver(), normal(0, GRID.shape)
    for function in (diagnostics.budgets, diagnostics.reynolds_number, diagnostics.cfl):
        with pytest.raises(ValueError, match="omega has shape"):
            function(solver, omega.T)
    for function in (diagnostics.energy_flux, diagnostics.enstrophy_flux):
        with pytest.raises(TypeError, match="omega has dtype"):
            function(GRID, omega.astype(int))
        with pytest.raises(TypeError, match="discretisation='central'"):
            function(GRID, omega, discretisation="central")
    with pytest.raises(ValueError, match="forcing has shape"):
        diagnostics.budgets(solver, omega, forcing=omega.T)
    for wrong, error, name in (
        ({"steps": 15}, ValueError, "renormalise_every=10"),
        ({"transient": 5}, ValueError, "transient=5"),
        ({"transient": 20}, ValueError, "transient=20"),
        ({"steps": 0}, ValueError, "steps=0"),
        ({"key": 0}, TypeError, "key"),
        ({"forcing": jnp.zeros((3, *GRID.shape))}, ValueError, "forcing has shape"),
    ):
        with pytest.raises(error, match=name):
            diagnostics.lyapunov_exponent(solver, omega, **({"key": key, "steps": 20} | wrong))
    with pytest.raises(ValueError, match="omega has shape"):
        diagnostics.lyapunov_exponent(solver, omega[None], key=key, steps=20)
    with pytest.raises(ValueError, match=r"solver.dt has shape \(2,\)"):
        diagnostics.lyapunov_exponent(make_solver(dt=jnp.ones(2)), omega, key=key, steps=20)


def test_budgets_under_vmap_and_grad():
    solver, omega = make_solver(), normal(0, (2, *GRID.shape))
    together = jax.jit(lambda w: diagnostics.budgets(solver, w))(omega)
    mapped = jax.jit(jax.vmap(lambda w: diagnostics.budgets(solver, w)))(omega)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # residuals are nothing but rounding
    gradient = jax.jit(jax.grad(lambda w: diagnostics.budgets(solver, w).enstrophy.injection))(omega[0])
    assert_close(gradient, solver.forcing / math.prod(GRID.shape))


@pytest.mark.full
def test_backends_agree(key):
    grid = Grid((16, 12), (2.0, 3.5))
    omega = normal(0, grid.shape)

    def measure(backend):
        solver = make_solver(grid, backend=backend)
        exponent = diagnostics.lyapunov_exponent(solver, omega, key=key, steps=4, renormalise_every=2)
        return diagnostics.budgets(solver, omega).enstrophy[:-1], exponent

    one, other = (jax.jit(measure, static_argnums=0)(backend) for backend in ("xla", "warp"))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert_close(a, b, ROLLOUT)


@pytest.mark.parametrize("length", fast_cases([None, 1.5, "array"], 1))
def test_a_flow_that_begins_at_rest(length):
    solver, omega = make_solver(), normal(0, GRID.shape)
    length = jnp.asarray([1.0, 2.0, 3.0]) if length == "array" else length
    trajectory = jnp.stack([jnp.zeros_like(omega), omega, jnp.full_like(omega, math.nan)])

    def measure(w):
        return diagnostics.reynolds_number(solver, w, length=length)

    eager = measure(trajectory)
    np.testing.assert_allclose(eager, jax.jit(measure)(trajectory), rtol=1e-12)
    assert eager[0] == 0
    assert eager[1] > 1
    assert np.isnan(eager[2])  # what is not finite is not at rest
    slope = jax.jit(jax.grad(lambda w: measure(w)[:2].sum()))(trajectory)
    assert jnp.all(slope[0] == 0)
    assert float(jnp.abs(slope[1]).max()) > 0.1


@pytest.mark.full
def test_scales_and_spectra_at_rest_have_finite_derivatives():
    rest = jnp.zeros((2, *GRID.shape)).at[1].set(normal(0, GRID.shape))
    assert np.isnan(diagnostics.integral_scale(GRID, rest)[0])
    slope = jax.grad(lambda w: diagnostics.integral_scale(GRID, w)[1])(rest)
    assert jnp.all(slope[0] == 0)
    assert float(jnp.abs(slope[1]).max()) > 0
    solver = NavierStokes2D(GRID, viscosity=0.01, dt=0.1)
    for measure in (
        solver.cfl,
        lambda w: diagnostics.budgets(solver, w).energy.rate,
        lambda w: diagnostics.energy_flux(GRID, w)[1],
        lambda w: initial.from_spectrum(GRID, jnp.sum(w, (-2, -1)), key=jax.random.key(0)),
    ):
        slope = jax.jit(jax.grad(lambda w, measure=measure: jnp.sum(measure(w) ** 2)))(jnp.abs(rest))
        assert jnp.all(jnp.isfinite(slope))
