"""The numbers that describe a flow: Courant number, integral scale, Reynolds number."""

import math

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._arrays import square_root, with_axes
from .._checks import check_field, check_positive
from .._grid import Grid
from .._solver import NavierStokes2D, check_solver
from ._fields import energy, energy_spectrum


def cfl(solver: NavierStokes2D, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """The Courant number ``max(|u| / dx + |v| / dy) dt``: `NavierStokes2D.cfl`, which says what is stable."""
    check_solver(solver)
    return solver.cfl(omega)


def integral_scale(grid: Grid, omega: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """The integral scale ``2 pi sum(E / k) / sum(E)`` [length]: the wavelength at which the energy sits.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time]. A fluid at rest has no scale: it gives NaN, with a derivative
            of 0.
    """
    wavenumbers, spectrum = energy_spectrum(grid, omega)
    total = jnp.sum(spectrum, axis=-1)
    rest = total == 0
    scale = 2 * math.pi * jnp.sum(spectrum / with_axes(wavenumbers, spectrum.ndim), axis=-1)
    return jnp.where(rest, jnp.nan, scale / jnp.where(rest, 1, total))


def reynolds_number(
    solver: NavierStokes2D, omega: Float[Array, "... ny nx"], *, length: ArrayLike | None = None
) -> Float[Array, "..."]:
    """The Reynolds number ``U L / nu`` with the root-mean-square speed ``U = sqrt(2 energy)``.

    At rest it is 0, and so, by convention, is its derivative: like every norm it has none there.

    Args:
        solver: has the viscosity; without viscosity the number is infinite.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        length: L [length], positive: a number, or an array ``(...)``; None for `integral_scale`.

    Raises:
        TypeError: `length` is not real.
        ValueError: `length` is not positive.
    """
    check_solver(solver)
    omega = check_field("omega", omega, solver.grid)
    speed = square_root(2 * energy(solver.grid, omega))
    if length is None:
        length = integral_scale(solver.grid, omega)
        length = jnp.where(jnp.isnan(length), 1, length)  # any: the speed is zero too
    else:
        check_positive("length", length, scalar=False)
    length, viscosity = jnp.asarray(length, omega.dtype), jnp.asarray(solver.viscosity, omega.dtype)
    ndim = max(speed.ndim, length.ndim, viscosity.ndim)
    return with_axes(speed, ndim) * with_axes(length, ndim) / with_axes(viscosity, ndim)
