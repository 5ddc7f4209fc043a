"""The right-hand side of a flow that carries scalars, in plain `jax.numpy`.

    dc/dt = J(psi, c) + kappa Lap c - G . u - (U, V) . grad c + f_c

J and Lap are those of the vorticity, and derivatives are centred differences. States are ``(batch, 1 + scalars, ny,
nx)``, the vorticity first. A coupling is ``(batch or 1, scalars, 5)``: the diffusivity, the mean gradient (gx, gy) and
the buoyancy (bx, by) of each scalar.
"""

import jax.numpy as jnp

from ..._primitives.operands import Operands
from .. import algebra
from .. import terms as further
from ..kept import Kept
from ..reference import centred, jacobian, laplacian


def rate_of(seen, x: Operands, force, *, grid, scheme, **how):
    """Return the right-hand side at a state and the streamfunction of its vorticity."""
    state, psi = seen
    flow = algebra.rate_of(Kept(state[:, 0], psi), x, force[:, 0], grid=grid, scheme=scheme, **how)
    flow = flow + buoyancy(x.coupling, state[:, 1:], grid=grid)
    return jnp.concatenate([flow[:, None], _of_scalars(state[:, 1:], psi, x, grid, scheme) + force[:, 1:]], axis=1)


def _of_scalars(scalars, psi, x, grid, scheme):
    diffusivity, gx, gy, _, _ = _numbers(x.coupling)
    psi = psi[:, None]
    u, v = centred(grid, psi, -2), -centred(grid, psi, -1)
    rate = jacobian(grid, psi, scalars, scheme) + diffusivity * laplacian(grid, scalars) - (gx * u + gy * v)
    return rate if further.none(x.linear) else rate + further.carried(x.linear, scalars, grid=grid)


def buoyancy(coupling, scalars, *, grid):
    """Return the curl of ``sum c (bx, by)``, ``(batch, ny, nx)``."""
    *_, bx, by = _numbers(coupling)
    along_x, along_y = (jnp.sum(b * scalars, axis=1) for b in (bx, by))
    return centred(grid, along_y, -1) - centred(grid, along_x, -2)


def _numbers(coupling):
    return jnp.moveaxis(coupling, -1, 0)[..., None, None]
