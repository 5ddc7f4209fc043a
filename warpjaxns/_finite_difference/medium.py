"""The medium of a flow, obstacles and topography, by which velocities are multiplied.

With the resistance r and the topography h it adds

    -curl(r u) + J(psi, h) = div(r grad psi) + J(psi, h)

to the right-hand side. The first is a 5-point stencil in flux form, with the mean of r between two points. It is
symmetric, and takes energy out: ``<psi, div(r grad psi)> <= 0``. The second is that of advection, ``J(psi, w + h)``.
"""

import jax
import jax.numpy as jnp

from .._terms import Terms
from ..obstacles import resistance
from .jacobian import jacobian
from .reference import centred


def none(medium) -> bool:
    """Return whether an operand means that there is no medium."""
    return medium.shape[-1] == 1


def resisted(r, psi, *, grid):
    """Return ``div(r grad psi)``, bilinear."""
    return sum(_along(r, psi, axis) * jnp.asarray(1 / grid.spacing[axis] ** 2, psi.dtype) for axis in (-2, -1))


def _along(r, psi, axis):
    flux = (r + jnp.roll(r, -1, axis)) * (jnp.roll(psi, -1, axis) - psi) / 2
    return flux - jnp.roll(flux, 1, axis)


def cotangent(medium, psi, l, of_topography, *, grid):
    """Return the cotangent of a medium, given that of the topography and the cotangent l of the right-hand side."""
    r = jnp.broadcast_to(medium[..., 0], psi.shape)
    (of_resistance,) = jax.linear_transpose(lambda r: resisted(r, psi, grid=grid), r)(l)
    return jnp.stack([of_resistance, of_topography], axis=-1)


# ------------------------------------------------------------------------------------------------ terms of a solver


def operand(terms: Terms):
    """Return the operand `medium` of time steps, or None."""
    parts = [] if terms.obstacle is None else [resistance(terms.obstacle)]
    parts += [] if terms.topography is None else [terms.topography]
    if not parts:
        return None
    r = jnp.zeros_like(parts[0]) if terms.obstacle is None else parts[0]
    h = jnp.zeros_like(parts[0]) if terms.topography is None else parts[-1]
    return jnp.stack(jnp.broadcast_arrays(r, h), axis=-1)


def _of_mean_flow(terms: Terms, *, grid) -> dict:
    """Return what each term adds whatever the state is: ``-curl(r (U, V))`` and ``-U dh/dx - V dh/dy``."""
    if terms.mean_flow is None:
        return {}
    u, v = (part[:, None, None] for part in terms.mean_flow)
    steady = {}
    if terms.topography is not None:
        h = terms.topography
        steady["topography"] = -u * centred(grid, h, -1) - v * centred(grid, h, -2)
    if terms.obstacle is not None:
        r = resistance(terms.obstacle, whole=True)
        steady["obstacle"] = u * centred(grid, r, -2) - v * centred(grid, r, -1)
    return steady


def forcing(terms: Terms, *, grid):
    """Return what all of them add whatever the state is, ``(batch or 1, ny, nx)``, or None."""
    parts = list(_of_mean_flow(terms, grid=grid).values())
    return sum(parts[1:], parts[0]) if parts else None


def rates(psi, terms: Terms, *, grid, scheme) -> dict:
    """Return what each term adds to the right-hand side, by name."""
    made = {}
    if terms.topography is not None:
        h = jnp.broadcast_to(terms.topography, psi.shape)
        made["topography"] = jacobian(psi, h, grid=grid, scheme=scheme, backend="xla")
    if terms.obstacle is not None:
        made["obstacle"] = resisted(resistance(terms.obstacle), psi, grid=grid)
    steady = _of_mean_flow(terms, grid=grid)
    return {name: rate + steady[name] if name in steady else rate for name, rate in made.items()}
