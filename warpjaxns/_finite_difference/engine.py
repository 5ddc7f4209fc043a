"""The finite differences behind `FiniteDifference`: the functions of `_discretisation.Engine`."""

import math

from .. import _coefficients
from .._checks import check_reach
from .._grid import DividedGrid
from .._primitives.linear import irfft2
from .._show import show
from .._support import warp_obstacle
from . import algebra
from .advance import advance
from .jacobian import jacobian as jacobian_primitive
from .kept import Kept
from .laplacian import laplacian as laplacian_primitive
from .poisson import poisson
from .reference import shift

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
    "second_derivatives",
    "spectrum_to_state",
    "static",
    "streamfunction",
    "tendency",
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
    """Refuse all terms besides viscosity and drag.

    Raises:
        ValueError: there is one.
    """
    for name, value in terms.given.items():
        raise ValueError(
            f"{name}={show(value, str)}: finite differences have viscosity and drag only; "
            "use discretisation=wns.Spectral()"
        )


def term_operands(terms, **_):
    """Return no operands: there are no such terms."""
    return ()


def term_rates(field, terms, **_):
    """Return no rates: there are no such terms."""
    return {}


def relative_vorticity(field, terms, **_):
    """Return the field: a state is a vorticity."""
    return field


def tendency(field, viscosity, drag, force, terms=None, *, grid, scheme, backend, **_):
    """Return ``J(psi, w) + nu Lap(w) - mu w + f``."""
    psi = streamfunction(field, grid=grid, backend=backend)
    return algebra.tendency(field, psi, viscosity, drag, force, grid=grid, scheme=scheme)


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
    dy, dx = grid.spacing
    along_y = (shift(field, 1, 0) - shift(field, -1, 0)) / (2 * dy)
    along_x = (shift(field, 0, 1) - shift(field, 0, -1)) / (2 * dx)
    return along_y, along_x


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


def diffusion_limit(discretisation):
    """Return the limit of SSP-RK3 on the negative real axis."""
    return 2.51
