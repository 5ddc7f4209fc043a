"""One flow with every term of either engine, by dense matrices: nothing in it is batched, scanned or compiled.

Values are a dictionary: `state`, and the parameters of `compositions.Flow`. JAX differentiates it operation by
operation, so there are few.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from oracle import COEFFICIENTS
from spectral_oracle import Oracle, tableau
from test_difference_terms import edges, matrices

from warpjaxns import FiniteDifference, State


def trajectory(grid, discretisation, values, steps):
    """Return the states after 0, 1, ..., `steps` steps."""
    if isinstance(discretisation, FiniteDifference):
        return _by_differences(grid, discretisation.advection, values, steps)
    return _by_modes(grid, discretisation, values, steps)


def _force(values, step, default=0.0):
    """Return the forcing of the vorticity in a step, but for what is linear in it."""
    total, time = values.get("forcing", default), (step + 0.5) * values["dt"]
    if "control" in values:
        total = total + values["control"][step]
    if law := values.get("Sine"):
        total = total + law["amplitude"] * jnp.sin(law["frequency"] * time + law["phase"]) * law["field"]
    if law := values.get("Exponential"):
        total = total + law["amplitude"] * jnp.exp(law["rate"] * time) * law["field"]
    if law := values.get("Piecewise"):
        total = total + law["amplitudes"][min(step, law["amplitudes"].shape[-1] - 1)] * law["field"]
    return total


def _drag(values):
    """Return the drag, less the rate of a linear forcing."""
    return values.get("drag", 0.0) - (values["Linear"]["rate"] if "Linear" in values else 0.0)


# ------------------------------------------------------------------------------------------------ finite differences


def _by_differences(grid, scheme, values, steps):
    given, scalars = values["state"], values.get("scalars", ())
    fields = (given.vorticity, *given.scalars) if scalars else (given,)
    state = [jnp.ravel(field) for field in fields]
    states = [state]
    for step in range(steps):
        sources = [_force(values, step), *(scalar.get("forcing", 0.0) for scalar in scalars)]
        start, sources = state, [jnp.ravel(source) for source in sources]
        for a, b, c in COEFFICIENTS:
            rates = zip(start, state, _rates_by_differences(grid, scheme, state, values), sources, strict=True)
            state = [a * first + b * w + c * values["dt"] * (rate + source) for first, w, rate, source in rates]
        states.append(state)
    states = [[field.reshape(grid.shape) for field in state] for state in states]
    return [State(state[0], tuple(state[1:])) if scalars else state[0] for state in states]


@functools.cache
def _stencils(grid):
    """Return the differences of a field along x and y, and its Laplacian, in one; their flux form; the inverse."""
    with jax.ensure_compile_time_eval():
        along_x, along_y, laplacian, (eigenvalues, vectors) = matrices(grid)
        streams = vectors[:, :-1] @ (vectors[:, :-1].T / -eigenvalues[:-1, None])
        all_in_one = np.concatenate([along_x, along_y, laplacian])
        inverse = vectors[:, :-1], vectors[:, :-1].T, -eigenvalues[:-1]
        return jax.tree.map(jnp.asarray, (all_in_one, np.concatenate([along_x, along_y], axis=1), streams, inverse))


def _rates_by_differences(grid, scheme, state, values):
    """Return the rates of the vorticity and of each scalar, without sources."""
    w, *carried = state
    differences, _, streams, (vectors, transposed, eigenvalues) = _stencils(grid)
    if "deformation_radius" in values:
        number = values["deformation_radius"] ** -2
        psi = jax.lax.dot(vectors, jax.lax.dot(transposed, w) / (eigenvalues + number))
    else:
        psi = jax.lax.dot(streams, w)
    q = w + jnp.ravel(values["topography"]) if "topography" in values else w
    of_psi = psi, *jax.lax.dot(differences, psi).reshape(3, -1)[:2]
    rate, diffused, (q_x, q_y) = _advection(grid, scheme, of_psi, q)
    if q is not w:
        diffused = jax.lax.dot(differences, w).reshape(3, -1)[2]
    _, psi_x, psi_y = of_psi
    u, v = values.get("mean_flow", (0.0, 0.0))
    rate = rate + values["viscosity"] * diffused
    if "drag" in values or "Linear" in values:
        rate = rate - _drag(values) * w
    for name, part in {"beta": psi_x, "hypodrag": -psi}.items():
        rate = rate + values[name] * part if name in values else rate
    if "mean_flow" in values:
        rate = rate - u * q_x - v * q_y
    if "mask" in values:  # the resistance to the flow across each edge between two points
        r = jnp.ravel(values["mask"] / values["permeability"])
        for (difference, mean), uniform in zip(edges(grid), (-v, u), strict=True):
            rate = rate - difference.T @ ((mean @ r) * (difference @ psi + uniform))
    rates = []
    for scalar, c in zip(values.get("scalars", ()), carried, strict=True):
        moved, diffused, (c_x, c_y) = _advection(grid, scheme, of_psi, c)
        gx, gy = scalar.get("mean_gradient", (0.0, 0.0))
        bx, by = scalar.get("buoyancy", (0.0, 0.0))
        rates.append(moved + scalar["diffusivity"] * diffused - gx * psi_y + gy * psi_x - u * c_x - v * c_y)
        rate = rate + by * c_x - bx * c_y
    return [rate, *rates]


def _advection(grid, scheme, of_psi, q):
    """Return the Jacobian of psi and a field, the field's Laplacian, and its differences along x and y."""
    differences, fluxes, _, _ = _stencils(grid)
    psi, psi_x, psi_y = of_psi
    q_x, q_y, diffused = jax.lax.dot(differences, q).reshape(3, -1)
    rate = psi_x * q_y - psi_y * q_x
    if scheme == "arakawa":  # the mean of the advective form and of both fluxes
        along_x, along_y = psi * q_y - q * psi_y, q * psi_x - psi * q_x
        rate = (rate + jax.lax.dot(fluxes, jax.lax.concatenate([along_x, along_y], 0))) / 3
    return rate, diffused, (q_x, q_y)


# ------------------------------------------------------------------------------------------------ Fourier modes


@functools.cache
class Modes:
    """The modes kept of a grid: matrices from points to modes and back, and what derivatives multiply modes by."""

    def __init__(self, grid, dealiasing):
        oracle, points = Oracle(grid, dealiasing), np.prod(grid.shape)
        kept = oracle.kept.ravel()
        forward = np.fft.fft2(np.eye(points).reshape(-1, *grid.shape)).reshape(points, points).T[kept]
        with jax.ensure_compile_time_eval():
            self.forward, self.backward = jnp.asarray(forward.T), jnp.asarray(forward.conj() / points)
        self.dy, self.dx = (np.broadcast_to(d, grid.shape).ravel()[kept] for d in (oracle.dy, oracle.dx))
        self.filter = oracle.filter.ravel()[kept]
        self.squared = -(self.dy**2 + self.dx**2).real
        self.moving = self.squared > 0

    def spectra(self, *fields):
        """Return the modes of fields of points."""
        return jax.lax.dot(jnp.stack(fields).astype(complex), self.forward)

    def fields(self, *spectra):
        """Return the fields of modes."""
        return jnp.real(jax.lax.dot(jnp.stack(spectra), self.backward))

    def over(self, squared):
        """Return 1 / squared, and 0 for the mean."""
        return jnp.where(self.moving, 1 / jnp.where(self.moving, squared, 1), 0)


def _by_modes(grid, discretisation, values, steps):
    modes = Modes(grid, discretisation.dealiasing)
    given, scalars = values["state"], values.get("scalars", ())
    fields = (given.vorticity, *given.scalars) if scalars else (given,)
    state, symbols = modes.spectra(*map(jnp.ravel, fields)), _symbols(modes, values)
    matrix, times = tableau(discretisation.integrator)
    gaps = np.maximum(times[:, None] - times[None, :-1], 0)
    growth = [jnp.exp(values["dt"] * t[..., None, None] * symbols) for t in (times, gaps)]
    states, zero = [state], np.zeros(grid.shape)
    for step in range(steps):
        sources = [_force(values, step, zero), *(scalar.get("forcing", zero) for scalar in scalars)]
        sources = modes.spectra(*(jnp.ravel(source) for source in sources))
        start, slopes = state, []
        for i, row in enumerate(matrix):
            state = growth[0][i] * start
            if slopes:
                weights = values["dt"] * row[:i, None, None] * growth[1][i, :i]
                state = state + jnp.sum(weights * jnp.stack(slopes), axis=0)
            if i < len(row):
                slopes.append(_rates(modes, state, values) + sources)
        states.append(state)
    states = [modes.fields(*state).reshape(-1, *grid.shape) for state in states]
    return [State(state[0], tuple(state[1:])) if scalars else state[0] for state in states]


def _symbols(modes, values):
    """Return what linear terms multiply the modes of the vorticity and of each scalar by."""
    u, v = values.get("mean_flow", (0.0, 0.0))
    carried, k = -u * modes.dx - v * modes.dy, modes.squared
    vorticity = carried - values["viscosity"] * k - _drag(values)
    vorticity += values.get("beta", 0.0) * modes.dx * _green(modes, values)
    vorticity -= values.get("hyperviscosity", 0.0) * k**2 + values.get("hypodrag", 0.0) * modes.over(k)
    return jnp.stack([vorticity, *(carried - scalar["diffusivity"] * k for scalar in values.get("scalars", ()))])


def _green(modes, values):
    """Return what makes a streamfunction of a state."""
    return modes.over(modes.squared + (values["deformation_radius"] ** -2 if "deformation_radius" in values else 0))


def _rates(modes, state, values):
    """Return all else of the right-hand sides: advection in flux form, products with media, and what couples."""
    dx, dy, scalars = modes.dx, modes.dy, values.get("scalars", ())
    psi = _green(modes, values) * state[0]
    of_u, of_v = dy * psi, -dx * psi
    u, v, *c = modes.fields(of_u, of_v, *state[1:])
    U, V = values.get("mean_flow", (0.0, 0.0))
    momentum = [u * u, u * v, v * v]
    if "mask" in values:
        r = (values["mask"] / values["permeability"]).ravel()
        momentum += [r * (u + U), r * (v + V)]
    fluxes = [part * each for each in c for part in (u, v)]
    if "topography" in values:
        (h,) = modes.fields(*modes.spectra(values["topography"].ravel()))
        fluxes = [(u + U) * h, (v + V) * h, *fluxes]
    uu, uv, vv, *products = modes.spectra(*momentum, *fluxes)
    along_x, along_y = dx * uu + dy * uv, dx * uv + dy * vv
    if "mask" in values:
        along_x, along_y, products = along_x + products[0], along_y + products[1], products[2:]
    rate = -modes.filter * (dx * along_y - dy * along_x)
    transported = [-modes.filter * (dx * x + dy * y) for x, y in zip(products[::2], products[1::2], strict=True)]
    if "topography" in values:
        rate += transported.pop(0)
    rates = []
    for scalar, modes_of_c, moved in zip(scalars, state[1:], transported, strict=True):
        gx, gy = scalar.get("mean_gradient", (0.0, 0.0))
        bx, by = scalar.get("buoyancy", (0.0, 0.0))
        rates.append(moved - gx * of_u - gy * of_v)
        rate += dx * (by * modes_of_c) - dy * (bx * modes_of_c)
    return jnp.stack([rate, *rates])
