"""The finite differences behind `FiniteDifference`: the functions of `_discretisation.Engine`."""

import math

from .. import _coefficients
from .._checks import check_reach
from .._grid import DividedGrid
from .._primitives.linear import irfft2
from .._primitives.operands import Operands, complete
from .._support import warp_obstacle
from .._terms import screening
from . import algebra, medium
from . import terms as further
from .advance import advance
from .jacobian import jacobian as jacobian_primitive
from .kept import Kept
from .laplacian import laplacian as laplacian_primitive
from .poisson import poisson
from .reference import centred, shift

__all__ = [
    "advance",
    "cfl_limit",
    "check_reach",
    "check_terms",
    "derivative_factor",
    "derivatives",
    "diffusion",
    "diffusion_limit",
    "eigenvalues",
    "forcing_to_state",
    "highest_waves",
    "jacobian",
    "kept_fields",
    "laplacian",
    "obstacle",
    "relative_vorticity",
    "resistance_limit",
    "second_derivatives",
    "spectrum_to_state",
    "static",
    "streamfunction",
    "tendency",
    "term_forcing",
    "term_operands",
    "term_rates",
    "to_field",
    "to_state",
]

obstacle = warp_obstacle


def static(discretisation, grid, backend):
    """Return the static parameters of the primitives."""
    return {"grid": grid, "scheme": discretisation.advection, "backend": backend}


def to_state(field, **_):
    """Return the state: the field itself."""
    return field


def forcing_to_state(forcing, **_):
    """Return the forcing of time steps: the fields themselves."""
    return forcing


def spectrum_to_state(spectrum, *, grid, **_):
    """Return the states with the coefficients of ``rfft2(fields, norm="ortho")``: the fields."""
    return irfft2(spectrum, grid.shape, norm="ortho", grid=grid)


def to_field(state, **_):
    """Return the field of a state: itself."""
    return state


def check_terms(grid, terms):
    """Refuse what is no stencil, and all terms on a divided grid.

    Raises:
        ValueError: there is such a term.
    """
    further.check(grid, terms)


def term_operands(terms, **_):
    """Return the operands of time steps that stand for linear terms, given coefficients of states' type."""
    return *further.operands(terms), medium.operand(terms)


def term_forcing(terms, *, grid, **_):
    """Return what obstacles and topography make of a mean flow, ``(batch or 1, ny, nx)``, or None."""
    return medium.forcing(terms, grid=grid)


def term_rates(field, terms, *, grid, scheme, backend, **_):
    """Return what each further term adds to the right-hand side, by name."""
    psi = _streamfunction(field, terms, grid, backend)
    linear = further.rates(field, psi, terms, grid=grid)
    return linear | medium.rates(psi, terms, grid=grid, scheme=scheme)


def relative_vorticity(field, terms, *, grid, **_):
    """Return the vorticity ``-Lap psi`` of a potential vorticity."""
    return further.relative_vorticity(field, terms, grid=grid)


def tendency(field, viscosity, drag, force, terms=None, *, grid, scheme, backend, **_):
    """Return ``J(psi, w) + nu Lap(w) - mu w + f`` and the further terms."""
    psi = _streamfunction(field, terms, grid, backend)
    more = term_operands(terms) if terms else ()
    x = complete(Operands(field, viscosity, drag, None, None, *more))
    return algebra.tendency(field, psi, viscosity, drag, force, x.linear, x.medium, grid=grid, scheme=scheme)


def _streamfunction(field, terms, grid, backend):
    """Return psi, with a deformation radius that of a potential vorticity."""
    number = None if terms is None or terms.deformation_radius is None else screening(terms)
    return poisson(field, number, grid=grid, backend=backend)


def streamfunction(field, *, grid, backend, **_):
    """Return psi, by the exact inverse of the 5-point Laplacian."""
    return poisson(field, grid=grid, backend=backend)


def laplacian(field, *, grid, backend, **_):
    """Return the 5-point Laplacian."""
    return laplacian_primitive(field, grid=grid, backend=backend)


def jacobian(a, b, **how):
    """Return J(a, b) by Arakawa's scheme or by centred differences."""
    return jacobian_primitive(a, b, **how)


def derivatives(field, *, grid, **_):
    """Return centred differences along y and along x."""
    return centred(grid, field, -2), centred(grid, field, -1)


def second_derivatives(field, *, grid, **_):
    """Return three-point differences along y and along x, and centred ones along both."""
    dy, dx = grid.spacing
    along_y = (shift(field, 1, 0) - 2 * field + shift(field, -1, 0)) / dy**2
    along_x = (shift(field, 0, 1) - 2 * field + shift(field, 0, -1)) / dx**2
    corners = shift(field, 1, 1) - shift(field, 1, -1) - shift(field, -1, 1) + shift(field, -1, -1)
    return along_y, along_x, corners / (4 * dx * dy)


def diffusion(coefficient, field, **how):
    """Return ``div(coefficient grad field)`` in flux form, with the coefficient's mean between two points."""
    # The product rule of the 5-point Laplacian: half of this is the sum of (a_i + a_j) / 2 (b_j - b_i) / h^2 over the
    # neighbours j of i, which is the flux form.
    product = laplacian(coefficient * field, **how)
    return (product + coefficient * laplacian(field, **how) - field * laplacian(coefficient, **how)) / 2


def derivative_factor(wavenumber, spacing):
    """Return s, with which the derivative of ``sin(k x)`` is ``s cos(k x)``."""
    return math.sin(wavenumber * spacing) / spacing


def eigenvalues(grid):
    """Return those of the negative 5-point Laplacian along y and x."""
    along_y, along_x = _coefficients.eigenvalues(grid.shape, grid.spacing)
    return along_y, along_x[: grid.shape[1] // 2 + 1]


def highest_waves(discretisation, grid):
    """Return half a wave a point: all modes are kept."""
    ny, nx = grid.shape
    return ny / 2, nx / 2


def kept_fields(discretisation, grid):
    """Return 6, state and streamfunction of three stages, or the share of a device in them."""
    return _coefficients.STAGES * len(Kept._fields) / (grid.parts if isinstance(grid, DividedGrid) else 1)


def cfl_limit(discretisation):
    """Return the limit of SSP-RK3 with centred differences, sqrt(3) without viscosity."""
    return 1.7


def resistance_limit(discretisation):
    """Return the limit of SSP-RK3 on the negative real axis."""
    return 2.51


def diffusion_limit(discretisation):
    """Return the limit of SSP-RK3 on the negative real axis."""
    return 2.51
