import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import DOT, assert_close

from warpjaxns import Grid, coarsen, initial

GRID = Grid((24, 30), (3.0, 2.0))
SHAPES = [(12, 10), (9, 15), (8, 30), (24, 11), (7, 4), (24, 30)]  # both parities, divisors or not, one axis alone
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
to = functools.partial(jax.jit, static_argnums=(0, 2))(coarsen)  # as users jit it


def wave(grid, my, mx, phase=0.3):
    """Return one wave on any grid of a box."""
    y, x = grid.y / grid.extent[0], grid.x / grid.extent[1]
    return jnp.asarray(np.cos(2 * np.pi * (my * y[:, None] + mx * x[None, :]) + phase))


@pytest.mark.covering(1)
@every_shape
@pytest.mark.parametrize(
    "modes", [(0, 0), (1, 0), (0, -1), (2, 1), (-3, 1), (3, 4), (-4, 5), (5, -5), (6, 0), (11, 14)]
)
def test_waves_stay_or_go(shape, modes):
    coarse = Grid(shape, GRID.extent)
    kept = all(n == few or 2 * abs(m) < few for m, n, few in zip(modes, GRID.shape, shape, strict=True))
    assert_close(to(GRID, wave(GRID, *modes), shape) + 2, float(kept) * wave(coarse, *modes) + 2)


def test_the_shortest_wave_of_an_axis_that_stays_is_kept():
    grid = Grid((8, 12))
    field = jnp.asarray(np.where(np.arange(8)[:, None] % 2, -1.0, 1.0) * np.ones(12))
    assert_close(to(grid, field, (8, 6)), field[:, :6])
    assert_close(to(grid, field, (6, 12)) + 1, np.ones((6, 12)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_by_way_of_a_grid_between_and_of_batches(dtype, key):
    omega = jax.random.normal(key, (2, 3, *GRID.shape), dtype)
    between, last = (12, 20), (8, 9)
    direct = to(GRID, omega, last)
    assert direct.dtype == dtype
    assert direct.shape == (2, 3, *last)
    assert_close(to(Grid(between, GRID.extent), to(GRID, omega, between), last), direct)
    np.testing.assert_array_equal(to(GRID, omega, GRID.shape), omega)
    assert_close(direct.mean((-2, -1)), omega.mean((-2, -1)))
    assert_close(jax.vmap(lambda w: to(GRID, w, last), in_axes=1, out_axes=1)(omega), direct)


def test_smooth_fields_are_sampled(key):
    """Without short waves to drop, coarsening by a divisor takes every k-th point."""
    grid = Grid((24, 36), GRID.extent)
    omega = initial.random_vorticity(grid, key=key, max_wavenumber=4, smoothness=0)
    assert_close(to(grid, omega, (12, 12)), omega[::2, ::3])
    noise = jax.random.normal(key, grid.shape)
    assert float(jnp.abs(to(grid, noise, (12, 12)) - noise[::2, ::3]).max()) > 0.1


@pytest.mark.covering(1)
@every_shape
def test_the_derivative_is_the_map_and_its_transpose(shape, key):
    keys = jax.random.split(key, 3)
    omega, tangent = (jax.random.normal(k, GRID.shape) for k in keys[:2])
    cotangent = jax.random.normal(keys[2], shape)
    _, along = jax.jvp(lambda w: to(GRID, w, shape), (omega,), (tangent,))
    assert_close(along, to(GRID, tangent, shape))
    (back,) = jax.vjp(lambda w: to(GRID, w, shape), omega)[1](cotangent)
    defect = jnp.vdot(cotangent, along) - jnp.vdot(back, tangent)
    assert abs(float(defect)) < DOT * float(jnp.linalg.norm(cotangent) * jnp.linalg.norm(along))


def test_what_cannot_be_is_named():
    omega = jnp.zeros(GRID.shape)
    with pytest.raises(ValueError, match=r"shape=\(32, 30\).*at most.*\(24, 30\)"):
        coarsen(GRID, omega, (32, 30))
    with pytest.raises(ValueError, match="shape="):
        coarsen(GRID, omega, (12, 3))
    for wrong in (12, (12.0, 10), (12,), None):
        with pytest.raises(TypeError, match="shape="):
            coarsen(GRID, omega, wrong)
    with pytest.raises(ValueError, match="omega has shape"):
        coarsen(GRID, omega.T, (12, 10))
    with pytest.raises(TypeError, match="omega"):
        coarsen(GRID, omega.astype(int), (12, 10))
