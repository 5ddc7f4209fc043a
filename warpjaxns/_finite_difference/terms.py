"""Linear terms of the equation besides viscosity and drag, as differences of a state and of its streamfunction.

Time steps get the coefficients of all terms as one operand `linear`, ``(batch or 1, 1, 4)`` in the order of `TERMS`.
With a deformation radius it is ``(batch or 1, 1, 3)``, since hypodrag is no stencil then. So its last axis says
whether the Poisson equation is that of `screening`.

A term of your own is an entry of `TERMS`. Its transpose and the cotangent of its coefficient follow (`algebra`).
"""

import functools

import jax.numpy as jnp

from .._grid import DividedGrid
from .._primitives.linear import irfft2, rfft2
from .._show import show
from .._terms import Terms, screening
from .reference import centred, denominator

# Each term without its coefficient, from a state w, its streamfunction psi, and centred differences along y and along x
TERMS = {
    "beta": lambda w, psi, along_y, along_x: along_x(psi),  # -beta v, since v = -d(psi)/dx
    "U": lambda w, psi, along_y, along_x: -along_x(w),
    "V": lambda w, psi, along_y, along_x: -along_y(w),
    "hypodrag": lambda w, psi, along_y, along_x: -psi,  # mu_h Lap^-1 w without a deformation radius
}


SCREENED = len(TERMS) - 1  # coefficients with a deformation radius


def none(linear) -> bool:
    """Return whether an operand means that there are no further terms."""
    return linear.shape[-1] == 1


def screened(linear) -> bool:
    """Return whether there is a deformation radius."""
    return linear.shape[-1] == SCREENED


def operands(terms: Terms) -> tuple:
    """Return the operands `screening` and `linear` of time steps: None where there is no linear term."""
    if not terms.linear:
        return None, None
    u, v = (None, None) if terms.mean_flow is None else terms.mean_flow
    given = [terms.beta, u, v, *([terms.hypodrag] if terms.deformation_radius is None else [])]
    numbers = jnp.broadcast_arrays(*(jnp.zeros(1, terms.dtype) if each is None else each for each in given))
    return screening(terms), jnp.stack(numbers, axis=-1)[:, None]


def each(linear, w, psi, *, grid) -> list:
    """Return the terms without their coefficients, as many as there are."""
    differences = [functools.partial(centred, grid, axis=axis) for axis in (-2, -1)]
    return [term(w, psi, *differences) for term, _ in zip(TERMS.values(), range(linear.shape[-1]), strict=False)]


def total(linear, w, psi, *, grid):
    """Return the sum of all terms."""
    parts = each(linear, w, psi, grid=grid)
    return sum(linear[:, 0, i, None, None] * part for i, part in enumerate(parts))


def carried(linear, scalars, *, grid):
    """Return what the mean flow makes of scalars ``(batch, scalars, ny, nx)``."""
    along_y, along_x = (functools.partial(centred, grid, axis=axis) for axis in (-2, -1))
    places = {name: place for place, name in enumerate(TERMS)}
    moved = {name: TERMS[name](scalars, None, along_y, along_x) for name in ("U", "V")}
    return sum(linear[:, 0, places[name]].reshape(-1, 1, 1, 1) * part for name, part in moved.items())


def rates(w, psi, terms: Terms, *, grid) -> dict:
    """Return what each term that there is adds to the right-hand side, by the name of its argument."""
    if not terms.linear:
        return {}
    _, linear = operands(terms)
    parts = [linear[:, 0, i, None, None] * part for i, part in enumerate(each(linear, w, psi, grid=grid))]
    beta, flow, *hypodrag = parts[0], parts[1] + parts[2], *parts[3:]
    made = {"beta": beta, "mean_flow": flow, **({"hypodrag": hypodrag[0]} if hypodrag else {})}
    return {name: rate for name, rate in made.items() if name in terms.given}


def relative_vorticity(field, terms: Terms, *, grid):
    """Return the vorticity ``-Lap psi`` of a potential vorticity."""
    number = screening(terms)[:, None, None]
    factors, spectrum = 1 / (1 + number * jnp.asarray(1 / denominator(grid)[None], field.dtype)), rfft2(field)
    return irfft2(spectrum * factors.astype(spectrum.dtype), grid.shape)


def check(grid, terms: Terms) -> None:
    """Refuse what is no stencil.

    Raises:
        ValueError: there is such a term, or the grid is divided.
    """
    given = terms.given

    def refuse(names, why):
        values = ", ".join(f"{name}={show(given[name], str)}" for name in names)
        raise ValueError(f"{values}: {why}; use discretisation=wns.Spectral()")

    if "hyperviscosity" in given:
        refuse(["hyperviscosity"], "finite differences have it of order 1 only, which is viscosity")
    if "hypodrag" in given and "deformation_radius" in given:
        refuse(["hypodrag", "deformation_radius"], "finite differences solve one elliptic equation a stage, not two")
    if given and isinstance(grid, DividedGrid):
        refuse(given, "on a divided grid finite differences have viscosity and drag only; use a Grid that is not, or")
