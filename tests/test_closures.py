import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from tolerances import DIFFERENCES, RELATIVE, SUMS, assert_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, closures, diagnostics

GRIDS = [Grid((16, 20), (3.0, 2.0)), Grid((15, 12), (0.7, 1.9))]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: str(grid.shape))
every_dtype = pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
static = functools.partial(jax.jit, static_argnums=0, static_argnames="discretisation")
smagorinsky, strain_rate = static(closures.smagorinsky), static(closures.strain_rate)
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)


def cell(grid, my, mx, discretisation):
    """Return the vorticity of ``psi = cos(kx x) cos(ky y)`` on the grid, and |S| by hand."""
    (dy, dx), (height, width) = grid.spacing, grid.extent
    ky, kx = 2 * np.pi * my / height, 2 * np.pi * mx / width
    y, x = grid.y[:, None], grid.x[None, :]
    psi = np.cos(ky * y) * np.cos(kx * x)
    of_y, of_x = (2 * np.sin(ky * dy / 2) / dy) ** 2, (2 * np.sin(kx * dx / 2) / dx) ** 2
    slopes = np.sin(ky * dy) / dy * np.sin(kx * dx) / dx
    if isinstance(discretisation, Spectral):
        of_y, of_x, slopes = ky**2, kx**2, ky * kx
    mixed = slopes * np.sin(ky * y) * np.sin(kx * x)
    return (of_y + of_x) * psi, np.sqrt((2 * mixed) ** 2 + ((of_x - of_y) * psi) ** 2)


def fluxes(grid, eddy, omega):
    """Return div(eddy grad omega), flux by flux."""
    total = 0
    for axis, h in ((-2, grid.spacing[0]), (-1, grid.spacing[1])):
        between = (eddy + np.roll(eddy, -1, axis)) / 2
        flux = between * (np.roll(omega, -1, axis) - omega) / h
        total = total + (flux - np.roll(flux, 1, axis)) / h
    return total


@pytest.mark.covering(1, 2)
@every_grid
@every_dtype
@every_discretisation
@pytest.mark.parametrize("modes", [(1, 2), (3, 1), (0, 2), (2, 0)])
def test_strain_of_cells_and_shears(grid, dtype, discretisation, modes):
    omega, strain = cell(grid, *modes, discretisation)
    actual = strain_rate(grid, jnp.asarray(omega, dtype), discretisation=discretisation)
    assert actual.dtype == dtype
    error = np.abs(np.asarray(actual, np.float64) - strain).max()
    assert error < 10 * RELATIVE[dtype] * max(strain.max(), np.abs(omega).max())


def test_a_shear_strains_as_much_as_it_turns():
    grid = GRIDS[0]
    omega = jnp.asarray(np.sin(2 * np.pi * grid.y / grid.extent[0])[:, None] * np.ones(grid.shape[1]))
    assert_close(strain_rate(grid, omega), jnp.abs(omega))


@pytest.mark.covering(1)
@every_grid
@every_dtype
def test_the_eddy_term_is_the_divergence_of_its_fluxes(grid, dtype, key):
    omega = jax.random.normal(key, (2, *grid.shape), dtype)
    actual = smagorinsky(grid, omega, 0.17)
    strain = np.asarray(strain_rate(grid, omega), np.float64)
    expected = fluxes(grid, 0.17**2 * np.prod(grid.spacing) * strain, np.asarray(omega, np.float64))
    assert actual.dtype == dtype
    assert_close(actual, expected)
    assert np.abs(actual.mean((-2, -1))).max() < 10 * SUMS[dtype] * np.abs(expected).max()
    assert np.all(np.mean(np.asarray(omega) * actual, (-2, -1)) < 0)  # enstrophy goes
    assert_close(jax.vmap(lambda w: smagorinsky(grid, w, 0.17))(omega), actual)
    assert_close(smagorinsky(grid, 3 * omega, 0.17), 9 * actual)


@every_dtype
def test_the_spectral_eddy_term_dissipates_in_every_grid(dtype, key):
    grid, how = GRIDS[1], {"discretisation": Spectral()}
    omega = jax.random.normal(key, (2, *grid.shape), dtype)
    actual = np.asarray(smagorinsky(grid, omega, 0.17, **how), np.float64)
    assert np.abs(actual.mean((-2, -1))).max() < 10 * SUMS[dtype] * np.abs(actual).max()
    # the gradient times the diffusivity, by the exact derivatives of a fine field that is resolved
    eddy = 0.17**2 * np.prod(grid.spacing) * np.asarray(strain_rate(grid, omega, **how), np.float64)
    kept = np.asarray(NavierStokes2D(grid, viscosity=0.0, dt=0.1, **how).rollout(omega, steps=0), np.float64)
    ky, kx = (2 * np.pi * np.fft.fftfreq(n, side / n) for n, side in zip(grid.shape, grid.extent, strict=True))
    symbols = 1j * ky[:, None], 1j * kx[None, :]
    gradient = [np.fft.ifft2(symbol * np.fft.fft2(kept)).real for symbol in symbols]
    lost = sum(np.mean(eddy * part**2, (-2, -1)) for part in gradient)
    assert_close(np.mean(kept * actual, (-2, -1)).astype(dtype), -lost)


@pytest.mark.parametrize(
    "discretisation", [FiniteDifference(), pytest.param(Spectral(), marks=pytest.mark.full)], ids=str
)
def test_derivatives(discretisation, key):
    grid = GRIDS[0]
    omega, direction = (jax.random.normal(k, grid.shape) for k in jax.random.split(key))

    def smagorinsky(*args):
        return closures.smagorinsky(*args, discretisation=discretisation)

    @jax.jit
    def value(step, constant):
        return jnp.sum(smagorinsky(grid, omega + step * direction, constant) * direction)

    h = 1e-5
    by_state, by_constant = jax.grad(value, (0, 1))(0.0, 0.2)
    assert_close(by_state, (value(h, 0.2) - value(-h, 0.2)) / (2 * h), {"float64": DIFFERENCES})
    assert_close(by_constant, 2 * value(0.0, 0.2) / 0.2)
    at_rest = jax.jit(jax.grad(lambda w: jnp.sum(smagorinsky(grid, w, 0.2) * omega)))(jnp.zeros(grid.shape))
    assert_close(at_rest + 1, np.ones(grid.shape))


@pytest.mark.full
def test_as_a_forcing_it_takes_enstrophy_from_a_rollout(key):
    grid = Grid((16, 16))
    solver = NavierStokes2D(grid, viscosity=0.0, dt=0.01)
    omega0 = jax.random.normal(key, grid.shape)

    @jax.jit
    def run(constant):
        def body(omega, _):
            return solver.rollout(omega, steps=1, forcing=closures.smagorinsky(grid, omega, constant)[None]), None

        return jax.lax.scan(body, omega0, length=20)[0]

    assert_close(run(0.0), solver.rollout(omega0, steps=20), {"float64": 1e-11})
    kept = [float(diagnostics.enstrophy(grid, run(c)) / diagnostics.enstrophy(grid, omega0)) for c in (0.0, 0.1, 0.2)]
    assert 0.99 < kept[0] < 1.001
    assert kept[2] < kept[1] < kept[0] - 0.01


def test_what_cannot_be_is_named():
    grid = GRIDS[0]
    with pytest.raises(ValueError, match="omega has shape"):
        closures.smagorinsky(grid, jnp.zeros((4, 4)), 0.1)
    with pytest.raises(TypeError, match="omega"):
        closures.strain_rate(grid, jnp.zeros(grid.shape, int))
    with pytest.raises(TypeError, match="constant"):
        closures.smagorinsky(grid, jnp.zeros(grid.shape), "0.1")
