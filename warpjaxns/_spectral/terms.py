"""Linear terms of the equation besides viscosity and drag: their symbols. Products at points are in `medium`.

A term multiplies a mode by a complex number, of which `SYMBOLS` gives both parts. Time steps get the sum of all symbols
as one operand, for each member, and carry it by the integrating factor. So kernels know no term by name, and JAX takes
cotangents of the symbol to the coefficients. A term of your own is an entry here.

With a finite deformation radius states are the potential vorticity ``q = F psi - Lap psi``, in which ``F = 1 / L_d^2``.
So ``psi = q / (k^2 + F)``, and velocities are those of the vorticity ``k^2 / (k^2 + F) q``. Since ``J(psi, psi) = 0``,
advection of q is that of this vorticity: ``J(psi, q) = J(psi, -Lap psi)``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._terms import Terms, screening
from .modes import Modes, constant


class Wave(NamedTuple):
    """Parts of symbols: arrays that broadcast to ``(batch, columns, rows)``.

    Attributes:
        y: the wavenumber ky.
        x: the wavenumber kx.
        squared: ``k^2``.
        inverse: ``1 / k^2``, and 0 for the mean.
        green: ``1 / (k^2 + F)``, by which a state becomes a streamfunction, and 0 for the mean.
        power: ``k^(2p)``, p being the order of hyperviscosity.
    """

    y: Any
    x: Any
    squared: Any
    inverse: Any
    green: Any
    power: Any


# The real and the imaginary part of each, from a wave and the coefficient. The mean flow has two coefficients.
SYMBOLS = {
    "beta": lambda k, beta: (0, beta * k.x * k.green),  # -beta v
    "mean_flow": lambda k, flow: (0, -(flow[0] * k.x + flow[1] * k.y)),  # -(U dq/dx + V dq/dy)
    "hyperviscosity": lambda k, coefficient: (-coefficient * k.power, 0),  # -nu_h (-Lap)^p q
    "hypodrag": lambda k, coefficient: (-coefficient * k.inverse, 0),  # mu_h Lap^-1 q
}


def screened(modes: Modes, number, like):
    """Return ``k^2 / (k^2 + F)``, by which potential vorticity becomes vorticity, as factors of states."""
    squared = modes.squared
    squared[0, 0] = 1.0  # of the mean, which has no velocity
    squared = constant(squared[..., None], like)
    return squared / (squared + number[:, None, None, None])


def symbols(modes: Modes, terms: Terms) -> dict:
    """Return the symbol of each term that there is, ``(batch or 1, columns, rows, 2)``."""
    (ky, kx), one = modes.wavenumbers, jnp.zeros((1, 1, 1), terms.dtype)

    def factors(values):
        return constant(np.broadcast_to(values, modes.shape), one)

    def column(value):
        return value[:, None, None]

    inverse = factors(modes.inverse)
    green = screened(modes, screening(terms), one[..., None])[..., 0] * inverse
    power = factors(modes.squared**terms.hyperviscosity_order)
    wave = Wave(factors(ky), factors(kx), factors(modes.squared), inverse, green, power)
    parts = {
        name: SYMBOLS[name](wave, jax.tree.map(column, value)) for name, value in terms.given.items() if name in SYMBOLS
    }
    return {name: _pairs(*part) for name, part in parts.items()}


def _pairs(real, imaginary):
    """Return a symbol, given its two parts, one of which may be the number 0."""
    zero = jnp.zeros_like(real + imaginary)
    return jnp.stack([zero + real, zero + imaginary], axis=-1)


def operands(modes: Modes, terms: Terms) -> tuple:
    """Return the operands `screening` and `linear` of time steps: None where there is no linear term."""
    if not terms.linear:
        return None, None
    none = jnp.zeros((1, *modes.shape, 2), terms.dtype)
    return screening(terms), sum(symbols(modes, terms).values(), none)
