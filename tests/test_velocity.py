"""`vorticity_of` and `velocity_of`, the solver's differences, and mean flows."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases
from oracle import normal
from tolerances import DOT, RELATIVE, assert_close, relative_error

from warpjaxns import Grid, NavierStokes2D, initial, velocity_of, vorticity_of

GRIDS = [Grid((16, 20), (3.0, 2.0)), Grid((15, 21), (0.7, 1.9))]
two_grids = pytest.mark.parametrize("grid", GRIDS, ids=str)
every_dtype = pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))


def wave(grid, my, mx, phase=0.3):
    """Return velocity and vorticity of ``psi = sin(kx x + ky y + phase)``, by hand."""
    y, x = grid.y[:, None], grid.x[None, :]
    ky, kx = 2 * math.pi * my / grid.extent[0], 2 * math.pi * mx / grid.extent[1]
    angle = kx * x + ky * y + phase
    return ky * np.cos(angle), -kx * np.cos(angle), (kx**2 + ky**2) * np.sin(angle)


@pytest.mark.covering(1)
@two_grids
@every_dtype
@pytest.mark.parametrize("modes", [(1, 0), (0, 2), (3, -2), (-7, 9), (7, 1)])
def test_resolved_waves_are_exact(grid, dtype, modes):
    u, v, omega = (jnp.asarray(a, dtype) for a in wave(grid, *modes))
    actual = vorticity_of(grid, u, v)
    assert actual.dtype == dtype
    scale = RELATIVE[dtype] * float(jnp.abs(omega).max())
    assert float(jnp.abs(actual - omega).max()) < 10 * scale
    back = jnp.stack(velocity_of(grid, omega, mean=(0.3, -2)))
    assert back.dtype == dtype
    assert_close(back, jnp.stack([u + jnp.asarray(0.3, dtype), v - jnp.asarray(2, dtype)]))


@pytest.mark.full
def test_taylor_green_vortices_lose_what_is_said():
    for n, lost in ((16, 0.038), (64, 2.4e-3)):
        grid = Grid((n, n))
        solver, omega = NavierStokes2D(grid, viscosity=0.0, dt=1.0), initial.taylor_green(grid, amplitude=1.5)
        x, y = grid.mesh()
        u, v = velocity_of(grid, omega)
        assert_close(u, -1.5 * jnp.cos(x) * jnp.sin(y))
        assert_close(v, 1.5 * jnp.sin(x) * jnp.cos(y))
        assert_close(vorticity_of(grid, u, v), omega)
        discrete = initial.from_velocity(grid, *solver.velocity(omega))
        assert_close(omega - discrete, math.sin(math.pi / n) ** 2 * omega, {"float64": 1e-11})
        assert abs(relative_error(discrete, omega) / lost - 1) < 0.01


@two_grids
def test_they_undo_each_other_for_all_resolved_waves(grid):
    omega = initial.random_vorticity(grid, key=jax.random.key(0), max_wavenumber=5, smoothness=0)
    omega = jnp.stack([omega, 2 * omega[::-1]])
    u, v = velocity_of(grid, omega)
    assert_close(vorticity_of(grid, u, v), omega)
    mean = (jnp.asarray([0.5, 1.0]), 2.0)
    with_mean = velocity_of(grid, omega, mean=mean)
    assert_close(with_mean[0] - u, np.broadcast_to([[[0.5]], [[1.0]]], u.shape))
    assert_close(with_mean[1] - v, np.full(v.shape, 2.0))


@pytest.mark.full
@two_grids
def test_waves_of_two_points_stay_finite_and_small(grid):
    omega = normal(0, grid.shape)
    u, _ = velocity_of(grid, omega)
    solver = NavierStokes2D(grid, viscosity=0.0, dt=1.0)
    assert relative_error(u, solver.velocity(omega)[0]) < 0.5
    alternating = jnp.asarray(np.where(np.arange(grid.shape[0])[:, None] % 2, -1.0, 1.0) * np.ones(grid.shape[1]))
    if grid.shape[0] % 2 == 0:
        assert float(jnp.abs(jnp.stack(velocity_of(grid, alternating))).max()) < 1e-12


def test_transforms():
    grid = GRIDS[0]
    omega = normal(0, (3, *grid.shape))
    together = jnp.stack(velocity_of(grid, omega, mean=(1.0, 2.0)))
    mapped = jax.jit(jax.vmap(lambda w: velocity_of(grid, w, mean=(1.0, 2.0))))(omega)
    assert_close(jnp.stack(mapped), together)
    # -Lap is the curl of the velocity, so that <l, curl(a, b)> = <a, dl/dy> - <b, dl/dx>
    a, b, cotangent = normal(1, grid.shape), normal(2, grid.shape), normal(3, grid.shape)
    value, pull_back = jax.vjp(jax.jit(lambda a, b: vorticity_of(grid, a, b)), a, b)
    back = pull_back(cotangent)
    defect = jnp.vdot(value, cotangent) - jnp.vdot(back[0], a) - jnp.vdot(back[1], b)
    assert abs(float(defect)) < DOT * float(jnp.linalg.norm(value) * jnp.linalg.norm(cotangent))
    slope = jax.grad(lambda mean: jnp.sum(velocity_of(grid, omega, mean=(mean, 0.0))[0]))(1.0)
    assert_close(slope, omega.size)


@pytest.mark.parametrize("function", [vorticity_of, initial.from_velocity])
def test_a_mean_velocity_is_not_dropped(function):
    grid = GRIDS[0]
    u, v, _ = (jnp.asarray(a) for a in wave(grid, 1, 2))
    slow = jnp.stack([v, 1e-9 * jnp.ones_like(v)])  # of a member at rest but for its mean
    for wrong in ((u + 0.3, v), (u, jnp.stack([v, v - 0.01])), (jnp.ones(grid.shape), 0 * v), (0 * u, slow)):
        with pytest.raises(ValueError, match=r"u and v have means of up to .*velocity_of\(\.\.\., mean="):
            function(grid, *wrong)
    moving = u + 0.3
    with pytest.raises(ValueError, match="means"):  # a constant of what is traced
        jax.jit(lambda: function(grid, moving, v))()
    # traced it is trusted, and what rounding makes of none is none
    assert_close(jax.jit(lambda u, v: function(grid, u, v))(u + 0.3, v), function(grid, u, v))
    function(grid, (u + 1e3).astype("float32") - jnp.float32(1e3), v.astype("float32"))
    function(grid, 0 * u, 0 * v)


def test_wrong_arguments_are_named():
    grid = GRIDS[0]
    omega = jnp.zeros((3, *grid.shape))
    for wrong in (1.0, None, (1.0,), (1.0, 2.0, 3.0)):
        with pytest.raises(TypeError, match=r"mean=.*\(U, V\)"):
            velocity_of(grid, omega, mean=wrong)
    with pytest.raises(TypeError, match="mean="):
        velocity_of(grid, omega, mean=("1", 0.0))
    with pytest.raises(ValueError, match=r"mean has a part of shape \(2,\)"):
        velocity_of(grid, omega, mean=(jnp.ones(2), 0.0))
    with pytest.raises(ValueError, match="omega has shape"):
        velocity_of(grid, omega[..., :-1])
    with pytest.raises(ValueError, match="v has shape"):
        vorticity_of(grid, omega, omega[..., :-1])
    with pytest.raises(TypeError, match="u has dtype float64 and v float32"):
        vorticity_of(grid, omega, omega.astype("float32"))
    with pytest.raises(ValueError, match="leading axes must broadcast"):
        vorticity_of(grid, omega, omega[:2])


def test_the_diffusion_number_tells_stable_steps_from_others():
    grid, nu, mu = Grid((8, 12), (1.0, 2.0)), 0.01, 2.0
    shortest = jnp.asarray(np.where(np.add.outer(np.arange(8), np.arange(12)) % 2, -1.0, 1.0))
    largest = 4 * (64 / 1 + 36 / 1)
    dt = 2.51 / (nu * largest + mu)
    grows = []
    for factor in (0.99, 1.01):
        solver = NavierStokes2D(grid, viscosity=nu, drag=mu, dt=factor * dt)
        assert_close(solver.diffusion_number(), 2.51 * factor)
        grows.append(bool(jnp.abs(solver.step(shortest)).max() > 1))
    assert grows == [False, True]
    members = NavierStokes2D(grid, viscosity=jnp.asarray([0.01, 0.03]), drag=jnp.ones((3, 1)), dt=jnp.float32(0.5))
    assert_close(jax.jit(members.diffusion_number)(), np.broadcast_to([2.5, 6.5], (3, 2)))
