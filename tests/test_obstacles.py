"""Bodies and layers: masks, their derivatives, the force on a body."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import normal, vdot
from tolerances import DIFFERENCES, RELATIVE, assert_close

from warpjaxns import Grid, NavierStokes2D, Obstacle, Spectral, adaptive_steps, diagnostics, obstacles

GRID = Grid((24, 40), (2.0, 3.5))


def solver_of(obstacle, grid=GRID, **options):
    good = {"viscosity": 1e-2, "dt": 0.01, "mean_flow": (1.0, 0.0), "discretisation": Spectral(), "backend": "xla"}
    return NavierStokes2D(grid, obstacle=obstacle, **{**good, **options})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cylinder_has_its_area_and_place(dtype):
    grid = Grid((96, 140), (2.0, 3.5))
    body = obstacles.cylinder(grid, centre=(1.9, 3.4), radius=0.4, permeability=0.1, dtype=dtype)  # over both edges
    assert body.mask.dtype == dtype
    mask, (dy, dx) = np.asarray(body.mask, "float64"), grid.spacing
    assert 0 <= mask.min() < 1e-3
    assert 1 - 1e-3 < mask.max() <= 1
    assert abs(mask.sum() * dy * dx / (math.pi * 0.4**2) - 1) < 0.01
    for at, axis, points, side in ((1.9, 1, grid.y, 2.0), (3.4, 0, grid.x, 3.5)):
        turning = np.sum(mask.sum(axis) * np.exp(2j * np.pi * points / side))
        assert abs(np.angle(turning * np.exp(-2j * np.pi * at / side))) < 1e-6


def test_a_sharper_surface_is_nearer_to_a_step():
    def distance(y, x):
        return jnp.abs(x - 1.0) - 0.5

    masks = [
        obstacles.from_signed_distance(GRID, distance, permeability=1.0, width=width).mask for width in (0.3, 0.003)
    ]
    inside = np.broadcast_to(np.abs(GRID.x - 1.0) < 0.5, GRID.shape)
    assert_close(masks[1], inside.astype("float64"), {"float64": 1e-3})
    # from 0.88 to 0.12 over the width
    ends = np.interp([1.5 - 0.15, 1.5 + 0.15], GRID.x, masks[0][0])
    np.testing.assert_allclose(ends, [0.88, 0.12], atol=0.02)
    y, x = np.meshgrid(GRID.y, GRID.x, indexing="ij")
    given = obstacles.from_signed_distance(GRID, distance(y, x), permeability=1.0, width=0.3)
    np.testing.assert_array_equal(given.mask, masks[0])


@pytest.mark.parametrize(("width", "depth"), [(0.25, 0.05), (0.1, 0.05)], ids=["larger", "smaller"])
def test_where_a_body_seems_to_begin(width, depth):
    """By a fine solution of ``nu u'' = chi u / eta``, u rising with slope 1 far outside."""
    x = np.linspace(-3.0, 3.0, 20001)
    h, resistance = x[1] - x[0], 1 / (1 + np.exp(4 * x / width)) / depth**2
    ratio = 0.0  # of u at a point to u at the next one, from inside where u is 0
    for value in resistance[1:-1]:
        ratio = 1 / (2 + h * h * value - ratio)
    place = x[-1] - h / (1 - ratio)  # u / u', with u' = (u_n - u_(n-1)) / h
    found = obstacles.displacement(permeability=depth**2 / 0.01, viscosity=0.01, width=width)
    assert abs(float(found) - place) < 1e-4 * width
    assert (float(found) > 0) == (width > 2.66 * depth)


@pytest.mark.full
def test_a_fringe_restores_the_mean_flow():
    """It is a band that crosses the edge; it stops a wake, and the mean flow itself makes nothing in it."""
    layer = obstacles.fringe(GRID, start=3.2, length=0.8, permeability=0.05, width=0.1)
    assert layer.restores
    inside = (GRID.x > 3.3) | (GRID.x < 0.4)
    mask = np.asarray(layer.mask)
    assert np.all(mask[:, inside] > 0.9)
    assert np.all(mask[:, (GRID.x > 0.6) & (GRID.x < 3.1)] < 0.05)
    solver = solver_of(layer)
    assert float(jnp.max(jnp.abs(solver.tendency(jnp.zeros(GRID.shape))))) == 0
    omega = jnp.asarray(np.where(np.abs(GRID.x - 2.6) < 0.3, 1.0, 0.0) * np.sin(np.pi * GRID.y)[:, None])
    with_layer, without = (jax.jit(lambda w, s=s: s.rollout(w, steps=160))(omega) for s in (solver, solver_of(())))
    behind = (GRID.x > 0.6) & (GRID.x < 0.9)  # where the wave has come to by 1.6, through the layer
    through = [float(jnp.linalg.norm(w[:, behind])) for w in (with_layer, without)]
    assert through[0] < 0.1 * through[1]


def test_the_force_is_the_momentum_that_the_flow_loses():
    """It has a formula, and with a body that fills the box it is the drag of the mean flow."""
    body = obstacles.cylinder(GRID, centre=(1.0, 1.2), radius=0.4, permeability=0.1)
    layer = obstacles.fringe(GRID, start=2.5, length=0.5, permeability=0.1)
    omega, flow = normal(0, (3, *GRID.shape)), (1.0, -0.4)
    solver = solver_of((body, layer), mean_flow=flow)
    both = solver_of((body, layer), mean_flow=(0.0, 0.0))

    @jax.jit
    def measure(omega):
        forces = diagnostics.body_force(solver, omega), diagnostics.body_force(solver, omega, body=layer)
        return solver.velocity(omega), *forces, diagnostics.budgets(both, omega).energy.terms["obstacle"]

    (u, v), of_body, of_layer, share = measure(omega)
    dy, dx = GRID.spacing
    mask = np.asarray(body.mask) / 0.1 * dy * dx
    expected = [np.sum(mask * (np.asarray(part) + mean), (-2, -1)) for part, mean in zip((u, v), flow, strict=True)]
    for found, force in zip(of_body, expected, strict=True):
        assert_close(found, force)
    assert_close(of_layer[1], np.sum(np.asarray(layer.mask) / 0.1 * dy * dx * np.asarray(v), (-2, -1)))
    # the power of the forces on the flow is the energy that the obstacles take
    density = (np.asarray(body.mask) + np.asarray(layer.mask)) / 0.1 * (np.asarray(u) ** 2 + np.asarray(v) ** 2)
    assert_close(share, -np.mean(density, (-2, -1)))


@pytest.mark.full
def test_derivatives_by_place_and_shape_are_those_of_finite_differences():
    """Through the flow, of the force on a body whose surface is an ellipse with a bump."""
    omega = 0.1 * normal(1, GRID.shape)
    start = {"centre": jnp.asarray([1.1, 1.3]), "axes": jnp.asarray([0.5, 0.4]), "bump": jnp.asarray(0.1)}
    start["width"] = jnp.asarray(0.3)

    @jax.jit
    def drag(shape):
        def distance(y, x):
            along_y, along_x = y - shape["centre"][0], x - shape["centre"][1]
            radius = jnp.sqrt((along_y / shape["axes"][0]) ** 2 + (along_x / shape["axes"][1]) ** 2 + 1e-3)
            return (radius - 1 - shape["bump"] * jnp.cos(3 * jnp.arctan2(along_y, along_x + 1e-3))) * 0.4

        body = obstacles.from_signed_distance(GRID, distance, permeability=0.05, width=shape["width"])
        solver = solver_of(body)
        return diagnostics.body_force(solver, solver.rollout(omega, steps=10))[0]

    gradient = jax.jit(jax.grad(drag))(start)
    for name, value in start.items():
        for i in range(value.size):
            step = 1e-5 * np.eye(value.size)[i].reshape(value.shape)
            there, back = (drag(start | {name: value + sign * step}) for sign in (1, -1))
            numeric, exact = float(there - back) / 2e-5, float(jnp.ravel(gradient[name])[i])
            assert abs(exact) > 1e-3
            assert abs(numeric - exact) < DIFFERENCES * abs(exact)


def test_derivatives_by_the_place_of_a_cylinder():
    """They are finite at its centre, and those with respect to shifts are those of the field."""

    def mask(centre, radius):
        return obstacles.cylinder(GRID, centre=centre, radius=radius, permeability=1.0, width=0.1).mask

    centre = (GRID.y[12], GRID.x[20])  # a point of the grid
    of_place, of_radius = jax.jacfwd(mask, (0, 1))(centre, 0.5)
    for derivative, axis, h in zip((*of_place, of_radius), (0, 1, None), (1e-6,) * 3, strict=True):
        moved = [
            mask(tuple(c + sign * h * (i == axis) for i, c in enumerate(centre)), 0.5 + sign * h * (axis is None))
            for sign in (1, -1)
        ]
        assert_close(derivative, (moved[0] - moved[1]) / (2 * h), {"float64": DIFFERENCES})


@pytest.mark.full
def test_adaptive_steps_follow_the_permeability():
    body = obstacles.cylinder(GRID, centre=(1.0, 1.2), radius=0.4, permeability=1e-3)
    solver, omega = solver_of(body, dt=1e-3), normal(2, GRID.shape)
    limit = 4.65 * 1e-3 / float(body.mask.max())
    result = adaptive_steps(solver, omega, until=0.05, courant=0.8, every=5, most_segments=8)
    taken = np.asarray(result.dt)[np.asarray(result.dt) > 0]
    assert np.all(taken <= limit)
    assert taken.max() > 0.5 * limit
    assert bool(jnp.all(jnp.isfinite(result.omega)))


@pytest.mark.parametrize("integrator", ["rk3", "rk4"])
def test_the_limit_of_stability(integrator):
    """Under the limit that the check names a flow comes to rest, and over it the same flow grows."""

    def grown(factor):
        solver = solver_of(None, discretisation=Spectral(integrator), mean_flow=None, viscosity=0.0, check_finite=False)
        least = {"rk3": 2.51, "rk4": 4.65}[integrator]
        body = Obstacle(jnp.ones(GRID.shape), solver.dt / (factor * least))
        solver = eqx.tree_at(lambda s: s.obstacle, solver, (body,), is_leaf=lambda x: x is None)
        omega = 1e-9 * normal(3, GRID.shape)
        omega = omega - jnp.mean(omega)
        return float(jnp.linalg.norm(solver.rollout(omega, steps=60)) / jnp.linalg.norm(omega))

    assert grown(0.99) < 1 < grown(1.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Obstacle(jnp.ones(5), 1.0), r"mask has shape \(5,\)"),
        (lambda: Obstacle(2 * jnp.ones(GRID.shape), 1.0), "mask has values from 0 to 2"),
        (lambda: Obstacle("round", 1.0), "mask='round'"),
        (lambda: Obstacle(jnp.ones(GRID.shape), 0.0), r"permeability=0\.0.*positive"),
        (lambda: Obstacle(jnp.ones(GRID.shape), 1.0, restores=1), "restores=1.*True or False"),
        (lambda: solver_of("wall"), "obstacle='wall'.*warpjaxns.Obstacle"),
        (lambda: solver_of(Obstacle(jnp.ones((8, 8)), 1.0)), r"obstacle.mask has shape \(8, 8\)"),
        (lambda: solver_of(Obstacle(jnp.ones(GRID.shape), 1e-3)), r"permeability=0\.001.*at least 0\.215 dt"),
        (lambda: solver_of(None, topography=jnp.ones((8, 8))), r"topography has shape \(8, 8\)"),
        (lambda: solver_of(None, topography="hill"), "topography is of type str"),
        (lambda: obstacles.cylinder(GRID, centre=1.0, radius=1.0, permeability=1.0), r"centre=1\.0.*pair"),
        (lambda: obstacles.cylinder(GRID, centre=(1.0, 1.0), radius=-1.0, permeability=1.0), r"radius=-1\.0"),
        (lambda: obstacles.fringe(GRID, start=1.0, length=0.0, permeability=1.0), r"length=0\.0"),
        (lambda: obstacles.from_signed_distance(GRID, jnp.ones(3), permeability=1.0), r"distance has shape \(3,\)"),
        (lambda: obstacles.from_signed_distance(GRID, lambda y, x: y, permeability=1.0, width=0.0), r"width=0\.0"),
        (lambda: diagnostics.body_force(solver_of(None), jnp.ones(GRID.shape)), "no body"),
    ],
)
def test_errors(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.full
def test_a_mask_under_jit_and_vmap():
    """Members have cylinders of their own."""
    places = jnp.asarray([0.8, 1.4])

    @functools.partial(jax.vmap, in_axes=(0, None))
    def run(place, omega):
        body = obstacles.cylinder(GRID, centre=(1.0, place), radius=0.4, permeability=0.05)
        return solver_of(body, check_finite=False).rollout(omega, steps=3)

    omega = normal(4, GRID.shape)
    for place, found in zip(places, jax.jit(run)(places, omega), strict=True):
        body = obstacles.cylinder(GRID, centre=(1.0, place), radius=0.4, permeability=0.05)
        assert_close(found, solver_of(body).rollout(omega, steps=3), RELATIVE)
    assert abs(float(vdot(found, omega))) > 0
