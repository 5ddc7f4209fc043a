"""Functions of fields with batches of no members, and with JAX's strictest rank promotion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal
from tolerances import assert_trees_close

import warpjaxns as wns
from warpjaxns import Grid, NavierStokes2D, closures, diagnostics, forcing, initial

GRID = Grid((8, 10), (3.0, 2.0))
STEADY = forcing.kolmogorov(GRID, 2, 0.3)
SOLVER = NavierStokes2D(GRID, viscosity=0.01, drag=0.1, dt=0.02, forcing=STEADY)
# each maps (..., ny, nx) to arrays with the same leading axes
WITHOUT_PRIMITIVES = {
    "energy_spectrum": lambda w: diagnostics.energy_spectrum(GRID, w)[1],
    "integral_scale": lambda w: diagnostics.integral_scale(GRID, w),
    "enstrophy": lambda w: diagnostics.enstrophy(GRID, w),
    "coarsen": lambda w: wns.coarsen(GRID, w, (6, 7)),
    "from_momentum": lambda w: forcing.from_momentum(GRID, w, STEADY),
    "from_velocity": lambda w: initial.from_velocity(GRID, STEADY, w - jnp.mean(w, (-2, -1), keepdims=True)),
    "vorticity_of": lambda w: wns.vorticity_of(GRID, STEADY, w - jnp.mean(w, (-2, -1), keepdims=True)),
    "velocity_of": lambda w: wns.velocity_of(GRID, w, mean=(1.0, 2.0)),
}
FUNCTIONS = WITHOUT_PRIMITIVES | {
    "streamfunction": lambda w: wns.streamfunction(GRID, w),
    "laplacian": lambda w: wns.laplacian(GRID, w),
    "jacobian": lambda w: wns.jacobian(GRID, w, STEADY),
    "energy": lambda w: diagnostics.energy(GRID, w),
    "palinstrophy": lambda w: diagnostics.palinstrophy(GRID, w),
    "energy_flux": lambda w: diagnostics.energy_flux(GRID, w)[1],
    "enstrophy_flux": lambda w: diagnostics.enstrophy_flux(GRID, w, discretisation=wns.FiniteDifference("central"))[1],
    "reynolds_number": lambda w: diagnostics.reynolds_number(SOLVER, w),
    "budgets": lambda w: diagnostics.budgets(SOLVER, w, forcing=STEADY),
    "cfl": SOLVER.cfl,
    "velocity": SOLVER.velocity,
    "tendency": SOLVER.tendency,
    "smagorinsky": lambda w: closures.smagorinsky(GRID, w, 0.15),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_of_none_is_a_batch(name):
    function = FUNCTIONS[name]
    one = jax.eval_shape(function, jnp.zeros(GRID.shape))
    for lead in ((0,), (3, 0)):
        none = jax.jit(function)(jnp.zeros((*lead, *GRID.shape)))
        assert jax.tree.map(jnp.shape, none) == jax.tree.map(lambda leaf, lead=lead: lead + leaf.shape, one)


@pytest.mark.full
def test_a_batch_of_none_for_each_member_its_parameters():
    none = jnp.zeros(0)
    solver = NavierStokes2D(GRID, viscosity=none, dt=none, drag=none)
    omega = jnp.zeros((0, *GRID.shape))
    assert diagnostics.reynolds_number(solver, omega, length=none).shape == (0,)
    assert solver.diffusion_number().shape == diagnostics.budgets(solver, omega).energy.rate.shape == (0,)
    assert wns.velocity_of(GRID, omega, mean=(none, none))[0].shape == omega.shape
    assert initial.from_spectrum(GRID, none, key=jax.random.key(0)).shape == GRID.shape
    assert forcing.ring_noise(
        GRID, key=jax.random.key(0), steps=0, dt=0.1, energy_rate=1.0, wavenumber=2
    ).shape == (0, *GRID.shape)  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_PRIMITIVES)
def test_ranks_are_promoted_in_so_many_words(name):
    omega = normal(0, (2, 3, *GRID.shape))
    expected = WITHOUT_PRIMITIVES[name](omega)
    with jax.numpy_rank_promotion("raise"):
        assert_trees_close(WITHOUT_PRIMITIVES[name](omega), expected)


@pytest.mark.full
def test_initial_fields_under_strict_rank_promotion():
    key = jax.random.key(0)
    with jax.numpy_rank_promotion("raise"):
        for field in (
            initial.vortex_merger(GRID),
            initial.double_shear_layer(GRID),
            initial.lamb_dipole(GRID, radius=1.0),
            initial.taylor_green(GRID),
            initial.random_vorticity(GRID, key=key, max_wavenumber=2),
            initial.decaying_turbulence(GRID, key=key, peak_wavenumber=2),
            initial.from_spectrum(GRID, np.ones(2), key=key),
            forcing.ring_noise(GRID, key=key, steps=2, dt=0.1, energy_rate=1.0, wavenumber=2)[1],
        ):
            assert np.std(field) > 0


def test_parameters_of_members_under_strict_rank_promotion():
    solver = NavierStokes2D(GRID, viscosity=jnp.asarray([0.01, 0.02, 0.03]), drag=0.1, dt=jnp.ones((2, 3)))
    assert wns.velocity_of(GRID, normal(0, (2, 3, *GRID.shape)), mean=(jnp.ones(3), 0.0))[0].shape[:2] == (2, 3)
    with jax.numpy_rank_promotion("raise"):
        assert solver.diffusion_number().shape == (2, 3)
