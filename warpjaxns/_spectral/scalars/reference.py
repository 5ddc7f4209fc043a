"""The right-hand side of a flow that carries scalars, in plain `jax.numpy`.

With ``z = v + i u``, the velocity of the state, and ``kappa = ky + i kx``,

    J(psi, c) = -div(u c, v c) = Re F^-1 [-i P conj(kappa) F[z c]]

Here real and imaginary parts are taken apart, as in `_spectral.reference`. So a right-hand side is one call for the
inverse transforms of v, u and all scalars, and one for the forward ones of ``z^2`` and all ``z c``.

States are ``(batch, 1 + scalars, columns, rows, 2)``, the vorticity first. A coupling is ``(batch or 1, scalars, 4)``:
the mean gradient (gx, gy) and the buoyancy (bx, by) of each scalar.
"""

from typing import NamedTuple

import jax.numpy as jnp

from ..._primitives.operands import Operands, has_medium
from .. import terms as further
from ..medium import resist
from ..modes import Modes, as_complex, as_state, constant, forward, inverse, times
from ..reference import stretching


class Coupling(NamedTuple):
    """Mean gradients and buoyancies, ``(batch or 1, scalars, 1, 1)``."""

    gx: jnp.ndarray
    gy: jnp.ndarray
    bx: jnp.ndarray
    by: jnp.ndarray

    @classmethod
    def of(cls, coupling, dtype):
        """Return the parts of a coupling, of a complex type."""
        return cls(*jnp.moveaxis(coupling, -1, 0)[..., None, None].astype(dtype))


def velocity(modes: Modes, vorticity):
    """Return the coefficients of u and v, given those of the vorticity ``(batch, 1, columns, rows)``."""
    ky, kx = (constant(k, vorticity) for k in modes.wavenumbers)
    psi = constant(modes.inverse, vorticity) * vorticity
    return 1j * ky * psi, -1j * kx * psi


def buoyancy(modes: Modes, coupling, scalars):
    """Return the curl of ``sum c (bx, by)``, coefficients ``(batch, 1, columns, rows)``."""
    (ky, kx), by_c = (constant(k, scalars) for k in modes.wavenumbers), Coupling.of(coupling, scalars.dtype)
    along_y, along_x = (jnp.sum(b * scalars, axis=1, keepdims=True) for b in (by_c.by, by_c.bx))
    return 1j * (kx * along_y - ky * along_x)


def nonlinear(modes: Modes, x: Operands):
    """Return the rate of all modes but for what `linear_rate` multiplies, without forcing."""
    state, relative = as_complex(x.omega), further.screened(modes, x.screening, x.omega[:, 0]) * x.omega[:, 0]
    vorticity, scalars = as_complex(relative)[:, None], state[:, 1:]
    ky, kx = (constant(k, state) for k in modes.wavenumbers)
    of_u, of_v = velocity(modes, vorticity)
    fields = inverse(modes, jnp.concatenate([of_u, of_v, scalars], axis=1))
    u, v, *each = jnp.split(fields, fields.shape[1], axis=1)  # broadcasting would make the transpose a slow sum
    fluxes = [velocity * c for velocity in (u, v) for c in each]
    products = forward(modes, jnp.concatenate([v * v - u * u, 2 * u * v, *fluxes], axis=1))
    real, imaginary, fluxes = products[:, :1], products[:, 1:2], products[:, 2:]
    along_x, along_y = jnp.split(fluxes, 2, axis=1)
    shear, stretch = stretching(modes, products)
    filtered, g = constant(modes.filter, state), Coupling.of(x.coupling, state.dtype)
    of_vorticity = shear * real - stretch * imaginary + buoyancy(modes, x.coupling, scalars)
    if has_medium(x):
        of_vorticity += as_complex(resist(modes, x.medium, relative))[:, None]
    of_scalars = -1j * filtered * (kx * along_x + ky * along_y)
    across = [g.gx[:, i : i + 1] * of_u + g.gy[:, i : i + 1] * of_v for i in range(len(each))]
    return as_state(jnp.concatenate([of_vorticity, of_scalars - jnp.concatenate(across, axis=1)], axis=1))


def linear_rate(modes: Modes, x: Operands):
    """Return the symbol of all linear terms that do not couple, ``(batch or 1, 1 + scalars, columns, rows, 2)``.

    Viscosity and drag act on the vorticity. All others are in `Operands.linear`.
    """

    def column(value):
        return value[:, None, None, None, None]

    rate = -column(x.viscosity) * constant(modes.squared[..., None], x.omega) - column(x.drag)
    of_first = jnp.arange(x.omega.shape[1]).reshape(1, -1, 1, 1, 1) == 0
    rate = jnp.where(of_first, rate, jnp.zeros_like(rate))
    return x.linear + jnp.concatenate([rate, jnp.zeros_like(rate)], axis=-1)


def tendency(modes: Modes, x: Operands, force):
    """Return the right-hand side."""
    return nonlinear(modes, x) + times(linear_rate(modes, x), x.omega) + force
