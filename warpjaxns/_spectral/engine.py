"""Fourier modes behind `Spectral`: the functions of `_discretisation.Engine`.

Fields are ``(batch, ny, nx)``. Operators act on the modes that a state keeps, and drop all others.
"""

import math

import jax.numpy as jnp
import numpy as np

from .._coefficients import LOW_STORAGE
from .._grid import Grid
from .._primitives.operands import Operands, complete
from .._terms import Terms
from . import algebra, medium
from . import terms as further
from .advance import advance
from .modes import Modes, as_state, constant, forward, inverse, kept, times
from .modes import to_field as field_of
from .modes import to_state as state_of
from .obstacle import warp_obstacle as obstacle

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

# Products of the largest velocity, the time step and the inverse spacing up to which a scheme is stable without
# viscosity: its limit on the imaginary axis, over the largest wavenumber kept times the spacing.
IMAGINARY_LIMIT = {"rk3": 1.73, "rk4": 3.34}
# The same on the negative real axis, for products of time step and resistance
REAL_LIMIT = {"rk3": 2.51, "rk4": 4.65}
HIGHEST = {"two-thirds": 2 / 3 * np.pi, "smooth": np.pi}


def static(discretisation, grid: Grid, backend: str) -> dict:
    """Return the parameters of the primitives."""
    return {
        "grid": grid,
        "integrator": discretisation.integrator,
        "dealiasing": discretisation.dealiasing,
        "backend": backend,
    }


def to_state(field, *, grid, dealiasing, **_):
    """Return the state of a field ``(batch, ny, nx)``: its coefficients (`modes`)."""
    return state_of(Modes(grid, dealiasing), field)


def to_field(state, *, grid, dealiasing, **_):
    """Return the field of a state."""
    return field_of(Modes(grid, dealiasing), state)


def forcing_to_state(forcing, *, grid, **how):
    """Return the forcing ``(steps or 1, batch or 1, ny, nx)`` as states, or a single zero for a single zero."""
    if forcing.shape[-1] == 1:
        return forcing[..., None]
    return to_state(forcing, grid=grid, **how)


def spectrum_to_state(spectrum, *, grid, dealiasing, **_):
    """Return the states with the coefficients of ``rfft2(fields, norm="ortho")``."""
    return as_state(kept(Modes(grid, dealiasing), spectrum))


def term_operands(terms: Terms, *, grid, dealiasing, **_):
    """Return the operands of time steps that stand for further terms, given coefficients of states' type."""
    modes = Modes(grid, dealiasing)
    return *further.operands(modes, terms), medium.operand(modes, terms)


def term_forcing(terms: Terms, *, grid, dealiasing, **_):
    """Return what obstacles and topography make of a mean flow, ``(batch or 1, ny, nx)``, or None."""
    modes = Modes(grid, dealiasing)
    state = medium.forcing(modes, terms)
    return None if state is None else field_of(modes, state)


def tendency(omega, viscosity, drag, force, terms=None, *, integrator, **how):
    """Return ``J(psi, w) + nu Lap w - mu w + f`` and the further terms."""
    state, force = to_state(omega, **how), forcing_to_state(force[None], **how)[0]
    more = term_operands(terms, **how) if terms else ()
    given = complete(Operands(state, viscosity, drag, None, None, *more))
    return to_field(algebra.tendency(given, force, **how), **how)


def term_rates(omega, terms: Terms, *, grid, dealiasing, **_):
    """Return what each further term adds to the right-hand side, by name."""
    modes = Modes(grid, dealiasing)
    state = state_of(modes, omega)
    linear = {name: times(symbol, state) for name, symbol in further.symbols(modes, terms).items()}
    return {name: field_of(modes, rate) for name, rate in (linear | medium.rates(modes, terms, state)).items()}


def relative_vorticity(field, terms: Terms, *, grid, dealiasing, **_):
    """Return the vorticity ``-Lap psi`` of a potential vorticity."""
    modes = Modes(grid, dealiasing)
    state = state_of(modes, field)
    return field_of(modes, further.screened(modes, further.screening(terms), state) * state)


def check_terms(grid: Grid, terms: Terms) -> None:
    """Check that symbols are float32 numbers.

    Raises:
        ValueError: the order of hyperviscosity is too high.
    """
    order = terms.hyperviscosity_order
    squared = float(Modes(grid, "smooth").squared.max())
    if terms.hyperviscosity is not None and order * math.log10(squared) > 37:
        raise ValueError(
            f"hyperviscosity_order={order}: k^{2 * order} of the shortest wave of this grid is beyond float32; "
            f"expected at most {int(37 / math.log10(squared))}"
        )


def _multiply(field, *symbols, grid, dealiasing, **_):
    """Return the fields with the coefficients of `field` times each symbol, an array of factors of modes."""
    modes = Modes(grid, dealiasing)
    coefficients = forward(modes, field)
    return inverse(modes, jnp.stack([coefficients * constant(factors, coefficients) for factors in symbols]))


def streamfunction(omega, *, grid, dealiasing, **_):
    """Return ``F^-1 k^-2 F omega``, with zero mean."""
    return _multiply(omega, Modes(grid, dealiasing).inverse, grid=grid, dealiasing=dealiasing)[0]


def laplacian(field, *, grid, dealiasing, **_):
    """Return ``F^-1 (-k^2) F field``."""
    return _multiply(field, -Modes(grid, dealiasing).squared, grid=grid, dealiasing=dealiasing)[0]


def derivatives(field, *, grid, dealiasing, **_):
    """Return the derivatives along y and x."""
    ky, kx = Modes(grid, dealiasing).wavenumbers
    along_y, along_x = _multiply(field, 1j * ky, 1j * kx, grid=grid, dealiasing=dealiasing)
    return along_y, along_x


def second_derivatives(field, *, grid, dealiasing, **_):
    """Return the second derivatives along y, along x, and along both."""
    ky, kx = Modes(grid, dealiasing).wavenumbers
    along_y, along_x, along_both = _multiply(field, -(ky**2), -(kx**2), -ky * kx, grid=grid, dealiasing=dealiasing)
    return along_y, along_x, along_both


def diffusion(coefficient, field, **how):
    """Return ``div(coefficient grad field)``, the derivatives of the products taken at points."""
    fluxes = [coefficient * part for part in derivatives(field, **how)]
    return derivatives(fluxes[0], **how)[0] + derivatives(fluxes[1], **how)[1]


def derivative_factor(wavenumber, spacing):
    """Return the wavenumber, with which the derivative of ``sin(k x)`` is ``k cos(k x)``."""
    return wavenumber


def jacobian(a, b, *, grid, dealiasing, **_):
    """Return ``J(a, b) = a_x b_y - a_y b_x``, dealiased."""
    how = {"grid": grid, "dealiasing": dealiasing}
    (a_y, a_x), (b_y, b_x) = (derivatives(field, **how) for field in (a, b))
    return _multiply(a_x * b_y - a_y * b_x, Modes(grid, dealiasing).filter, **how)[0]


def eigenvalues(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of the negative Laplacian along y and along x, ``k^2``, float64, FFT order."""
    (ny, nx), (height, width) = grid.shape, grid.extent
    return (2 * np.pi * ny / height * np.fft.fftfreq(ny)) ** 2, (2 * np.pi * nx / width * np.fft.rfftfreq(nx)) ** 2


def highest_waves(discretisation, grid: Grid) -> tuple[float, float]:
    """Return the most waves a side, along y and along x, of the modes that a state keeps."""
    ky, kx = Modes(grid, discretisation.dealiasing).highest
    return float(ky), float(kx)


def kept_fields(discretisation, grid: Grid) -> float:
    """Return the fields of a step that reverse mode keeps: the state of each stage."""
    columns, rows = Modes(grid, discretisation.dealiasing).shape
    return 2 * columns * rows / (grid.shape[0] * grid.shape[1]) * len(LOW_STORAGE[discretisation.integrator])


def cfl_limit(discretisation) -> float:
    """Return the Courant number up to which a step is stable where viscosity is small."""
    return IMAGINARY_LIMIT[discretisation.integrator] / HIGHEST[discretisation.dealiasing]


def resistance_limit(discretisation) -> float:
    """Return the limit of the integrator on the negative real axis."""
    return REAL_LIMIT[discretisation.integrator]


def diffusion_limit(discretisation) -> None:
    """Return None: linear terms are exact for any step."""


def check_reach(grid: Grid, viscosity, drag, dt, name="viscosity") -> None:
    """Accept all parameters: no step multiplies a wave by more than 1."""
