"""Functions that a user would give an `Ensemble`."""

import jax
import jax.numpy as jnp

import warpjaxns as wns


def two_waves(grid, key):
    """Return ``cos(x + phase)`` in multiples of the box, where the phase is random."""
    phase = jax.random.uniform(key, maxval=2 * jnp.pi)
    return jnp.cos(2 * jnp.pi * grid.x[None] / grid.extent[1] + phase) * jnp.ones((grid.shape[0], 1))


def push(grid, key):
    """Return one wave along y, of random strength."""
    strength = jax.random.uniform(key, minval=0.5, maxval=1.5)
    return strength * jnp.cos(2 * jnp.pi * grid.y[:, None] / grid.extent[0]) * jnp.ones((1, grid.shape[1]))


def turbulence_with_spectral_modes(grid, key):
    """Return the package's own field of two waves a side."""
    return wns.initial.random_vorticity(grid, key=key, max_wavenumber=2, dtype="float32")


def correlated(key):
    """Return a drag, and a viscosity that is a tenth of it."""
    drag = jax.random.uniform(key, minval=0.1, maxval=1.0)
    return {"drag": drag, "viscosity": drag / 10}


def wrong_shape(grid, key):
    """Return the transpose of a field."""
    return jnp.zeros(grid.shape[::-1])


def wrong_name(key):
    """Return what the ensemble itself sets."""
    return {"dt": jax.random.uniform(key)}


def still(grid, key):
    """Return a fluid at rest."""
    return jnp.zeros(grid.shape)


def planet(key):
    """Return a beta plane with screening."""
    return {"beta": jax.random.uniform(key, minval=1.0, maxval=5.0), "deformation_radius": 0.5, "hyperviscosity": 1e-6}


def reef(grid, key):
    """Return a body at a random place in a stream, over a hill."""
    height, width = grid.extent
    y, x = jax.random.uniform(key, (2,), minval=0.3, maxval=0.7)
    body = wns.obstacles.cylinder(grid, centre=(y * height, x * width), radius=0.1 * height, permeability=0.1)
    return {
        "obstacle": body,
        "topography": jnp.cos(2 * jnp.pi * grid.y / height)[:, None] * jnp.ones(grid.shape),
        "mean_flow": (0.5, 0.0),
    }


def shore(grid, key):
    """Return what is no medium."""
    return {"viscosity": 0.1}


def gusts(grid, key):
    """Return noise with a memory, a swinging wave of random frequency, and a steady push."""
    first, second = jax.random.split(key)
    noise = wns.forcing.OrnsteinUhlenbeck(key=first, wavenumbers=(1, 2), amplitude=3.0, correlation_time=0.2)
    return noise + wns.forcing.Sine(push(grid, key), jax.random.uniform(second, maxval=9.0)) + push(grid, key)


def layers(grid, key):
    """Return a scalar of two waves along y, of random strength."""
    return jax.random.uniform(key) * jnp.cos(4 * jnp.pi * grid.y[:, None] / grid.extent[0]) * jnp.ones(grid.shape)


def stove(grid, key):
    """Return a source of one wave along x, of random strength."""
    return jax.random.uniform(key) * jnp.sin(2 * jnp.pi * grid.x[None] / grid.extent[1]) * jnp.ones(grid.shape)
