"""Scalars that a flow carries: budgets of their variance, fluxes, and how far they are mixed."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import square_root, with_axes
from .._checks import check_field, check_positive
from .._discretisation import Discretisation, Spectral
from .._grid import Grid
from .._modes import fourier_modes
from .._operators import laplacian, projected
from .._primitives.linear import rfft2
from .._scalars import Scalar, State, check_state
from .._show import show
from .._solver import NavierStokes2D, check_solver
from ._fields import mean


class ScalarBudget(NamedTuple):
    """The budget of ``0.5 <c'^2>`` of a scalar, with ``c' = c - <c>``. Every entry has the shape ``(...)``.

        rate = production + injection - dissipation + residual

    Attributes:
        value: half the variance [unit of c, squared].
        rate: its time derivative [its unit / time].
        production: rate of change by stirring of the mean gradient, ``-G . <u c>``, of either sign.
        injection: rate of change by the scalar's forcing, ``<c' f>``, of either sign.
        dissipation: rate of loss by diffusion, ``kappa <|grad c|^2>``, never negative.
        residual: rate of change by advection. It is zero to rounding with Arakawa's Jacobian and by the 2/3 rule. With
            ``FiniteDifference("central")`` and ``Spectral(dealiasing="smooth")`` it is an error of the discretisation.
    """

    value: Float[Array, "..."]
    rate: Float[Array, "..."]
    production: Float[Array, "..."]
    injection: Float[Array, "..."]
    dissipation: Float[Array, "..."]
    residual: Float[Array, "..."]


def scalar_budgets(solver: NavierStokes2D, state: State) -> tuple[ScalarBudget, ...]:
    """Return the variance budget of each scalar, exact for the equations on the grid.

        d/dt 0.5 <c'^2> = -G . <u c> + <c' f> - kappa <|grad c|^2>

    Args:
        solver: carries the scalars.
        state: a `State`, or the states of a trajectory.

    Raises:
        TypeError: `state` is no `State` of float32 or float64 arrays, or the solver carries no scalar.
        ValueError: a field does not live on the solver's grid, or the state has another number of scalars.
    """
    state = _checked(solver, state)
    rates, fluxes = solver.tendency(state).scalars, scalar_fluxes(solver, state)
    how = {"discretisation": solver.discretisation, "backend": solver.backend}

    def number(value, like):
        return with_axes(jnp.asarray(value, like.dtype), like.ndim - 2)

    def budget(i, scalar: Scalar):
        c, rate = (_deviation(projected(solver.grid, part[i], **how)) for part in (state.scalars, rates))
        value, change = mean(c * c) / 2, mean(c * rate)
        production = injection = jnp.zeros_like(value)
        if scalar.mean_gradient is not None:
            (gx, gy), (uc, vc) = scalar.mean_gradient, fluxes[i]
            production = -(number(gx, c) * uc + number(gy, c) * vc)
        if scalar.forcing is not None:
            source = check_field(f"scalars[{i}].forcing", scalar.forcing, solver.grid).astype(c.dtype)
            injection = mean(c * with_axes(source, c.ndim))
        dissipation = -number(scalar.diffusivity, c) * mean(c * laplacian(solver.grid, c, **how))
        return ScalarBudget(
            value, change, production, injection, dissipation, change - (production + injection - dissipation)
        )

    return tuple(budget(i, scalar) for i, scalar in enumerate(solver.scalars))


def scalar_fluxes(solver: NavierStokes2D, state: State) -> tuple[tuple[Float[Array, "..."], Float[Array, "..."]], ...]:
    """Return the flux ``(<u c>, <v c>)`` of each scalar [unit of c length / time], a mean over the box.

    Divided by minus the mean gradient it is an eddy diffusivity. The mean flow carries no part of it.

    Args:
        solver: carries the scalars.
        state: a `State`, or the states of a trajectory.

    Raises:
        TypeError, ValueError: as for `scalar_budgets`.
    """
    state = _checked(solver, state)
    how = solver.grid, solver.discretisation, solver.backend
    u, v = solver.velocity(state)
    scalars = [projected(how[0], c, *how[1:]) for c in state.scalars]
    return tuple((mean(u * c), mean(v * c)) for c in scalars)


def gradient_norm(
    grid: Grid, c: Float[Array, "... ny nx"], *, discretisation: Discretisation = Spectral()
) -> Float[Array, "..."]:
    """Return the root-mean-square gradient of a field, ``<|grad c|^2>^(1/2)`` [unit of c / length].

    Stirring makes it grow, until diffusion stops it: the scalar's dissipation is kappa times its square.

    Args:
        grid: the box.
        c: the field ``(..., ny, nx)``.
        discretisation: gives the Laplacian, and the modes that are kept.
    """
    return _norm(grid, c, 1, discretisation)


def mix_norm(
    grid: Grid, c: Float[Array, "... ny nx"], *, order: float = 0.5, discretisation: Discretisation = Spectral()
) -> Float[Array, "..."]:
    """Return the mix-norm of a field, that of ``H^-s``, in which fine structure counts less than coarse.

        |c|_s = (sum over k != 0 of k^(-2 s) |c_k|^2)^(1/2)    [unit of c length^s]

    It goes to zero as a scalar is mixed, with and without diffusion, where the variance needs diffusion. The order
    1/2 is that of Mathew, Mezic and Petzold (2005, doi:10.1016/j.physd.2005.07.017), up to equivalence; of 1 and others
    see Thiffeault (2012, doi:10.1088/0951-7715/25/2/R1). Coefficients are those of the Fourier series, so order 0 would
    be the standard deviation.

    Args:
        grid: the box.
        c: the field ``(..., ny, nx)``. Its mean does not count.
        order: s > 0, static.
        discretisation: gives the Laplacian, and the modes that are kept.

    Raises:
        TypeError: `c` is not a float32 or float64 array, or `order` not a real number.
        ValueError: `c` does not live on `grid`, or `order` is not positive.
    """
    check_positive("order", order, static=True)
    return _norm(grid, c, -float(order), discretisation)


def _norm(grid, c, power, discretisation):
    """Return the root of the sum of ``k^(2 power) |c_k|^2``."""
    c = check_field("c", c, grid)
    _, eigenvalue, multiplicity = fourier_modes(grid, discretisation=discretisation)
    weight = eigenvalue**power * multiplicity / math.prod(grid.shape) ** 2
    spectrum = rfft2(c, grid=grid)
    density = (spectrum.real**2 + spectrum.imag**2) * with_axes(jnp.asarray(weight, c.dtype), c.ndim)
    return square_root(jnp.sum(density, axis=(-2, -1)))


def _checked(solver, state):
    """Return the state, after a check of both."""
    check_solver(solver)
    if not solver.scalars:
        raise TypeError(f"solver={show(solver)}: expected one that carries scalars: NavierStokes2D(scalars=...)")
    return check_state("state", state, solver.grid, len(solver.scalars))


def _deviation(c):
    return c - mean(c)[..., None, None]
