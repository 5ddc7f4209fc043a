"""Courant number, integral scale and Reynolds number."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._arrays import square_root, with_axes
from .._checks import check_field, check_positive
from .._discretisation import Discretisation, FiniteDifference
from .._grid import Grid
from .._scalars import State, vorticity_in
from .._solver import NavierStokes2D, check_solver
from ._fields import energy, energy_spectrum


def cfl(solver: NavierStokes2D, omega: Float[Array, "... ny nx"] | State) -> Float[Array, "..."]:
    """Return the Courant number ``max(|u| / dx + |v| / dy) dt``. `NavierStokes2D.cfl` gives its limit."""
    check_solver(solver)
    return solver.cfl(omega)


def integral_scale(
    grid: Grid, omega: Float[Array, "... ny nx"], *, discretisation: Discretisation = FiniteDifference()
) -> Float[Array, "..."]:
    """Return the integral scale ``2 pi sum(E / k) / sum(E)`` [length], a mean wavelength of the energy.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time]. A fluid at rest has no scale: the result is NaN, and its
            derivative is 0.
        discretisation: gives the operators.
    """
    wavenumbers, spectrum = energy_spectrum(grid, omega, discretisation=discretisation)
    total = jnp.sum(spectrum, axis=-1)
    rest = total == 0
    scale = 2 * math.pi * jnp.sum(spectrum / with_axes(wavenumbers, spectrum.ndim), axis=-1)
    return jnp.where(rest, jnp.nan, scale / jnp.where(rest, 1, total))


def reynolds_number(
    solver: NavierStokes2D, omega: Float[Array, "... ny nx"] | State, *, length: ArrayLike | None = None
) -> Float[Array, "..."]:
    """Return the Reynolds number ``U L / nu`` with the root-mean-square speed ``U = sqrt(2 energy)``.

    For a fluid at rest the number is 0. Its derivative, which does not exist there, is taken to be 0.

    Args:
        solver: gives the operators and the viscosity. Without viscosity the number is infinite.
        omega: vorticity ``(..., ny, nx)`` [1 / time], or a `State`.
        length: L [length], positive: a number, or an array ``(...)``; None for `integral_scale`.

    Raises:
        TypeError: `length` is not real.
        ValueError: `length` is not positive.
    """
    check_solver(solver)
    omega = check_field("omega", vorticity_in(omega), solver.grid)
    operators = {"discretisation": solver.discretisation}
    speed = square_root(2 * energy(solver.grid, omega, **operators))
    if length is None:
        length = integral_scale(solver.grid, omega, **operators)
        length = jnp.where(jnp.isnan(length), 1, length)  # any: the speed is zero too
    else:
        check_positive("length", length, scalar=False)
    length, viscosity = jnp.asarray(length, omega.dtype), jnp.asarray(solver.viscosity, omega.dtype)
    ndim = max(speed.ndim, length.ndim, viscosity.ndim)
    return with_axes(speed, ndim) * with_axes(length, ndim) / with_axes(viscosity, ndim)
