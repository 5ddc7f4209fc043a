"""Budgets of energy and enstrophy."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._arrays import with_axes
from .._checks import check_field, check_leading_axes
from .._operators import laplacian, projected
from .._scalars import State, vorticity_in
from .._solver import NavierStokes2D, check_solver
from ._fields import mean


class Budget(NamedTuple):
    """The budget of one quadratic quantity. Every entry has the shape ``(...)`` of the states' leading axes.

        rate = injection - dissipation - drag + sum(terms.values()) + residual

    Attributes:
        value: the quantity.
        rate: its time derivative [its unit / time].
        injection: rate of change by the forcing, of either sign.
        dissipation: rate of loss by viscosity, never negative.
        drag: rate of loss by drag, never negative.
        residual: rate of change by advection. It is zero to rounding with Arakawa's Jacobian, and with `Spectral` by
            the 2/3 rule. With ``FiniteDifference("central")`` and ``Spectral(dealiasing="smooth")`` it is an error of
            the discretisation.
        terms: rates of change by the solver's further terms, of either sign, by the name of the term. The beta
            plane and a mean flow change neither quantity.
    """

    value: Float[Array, "..."]
    rate: Float[Array, "..."]
    injection: Float[Array, "..."]
    dissipation: Float[Array, "..."]
    drag: Float[Array, "..."]
    residual: Float[Array, "..."]
    terms: dict[str, Float[Array, "..."]] = {}  # noqa: RUF012


class Budgets(NamedTuple):
    """Both budgets of a state or of a trajectory.

    Attributes:
        energy: of ``0.5 <psi omega>`` [length^2 / time^2].
        enstrophy: of ``0.5 <omega^2>`` [1 / time^2].
    """

    energy: Budget
    enstrophy: Budget


def budgets(
    solver: NavierStokes2D,
    omega: Float[Array, "... ny nx"] | State,
    *,
    forcing: Float[Array, "... ny nx"] | None = None,
    step: int | Array | None = None,
) -> Budgets:
    """Return the budgets of energy and enstrophy, exact for the equations on the grid.

        d/dt 0.5 <psi omega> = <psi f>   + nu <psi Lap(omega)>   - mu <psi omega>,
        d/dt 0.5 <omega^2>   = <omega f> + nu <omega Lap(omega)> - mu <omega^2>

    Each further term of the solver adds what it does, ``<psi L omega>`` and ``<omega L omega>``. With a
    deformation radius the two are total energy and potential enstrophy. The share of `buoyancy` in that of energy is
    what scalars give to the flow, ``sum (bx <u c> + by <v c>)``; `scalar_budgets` has their variance.

    The terms are in the order of `Budget`: injection, dissipation, drag. ``psi`` and ``Lap`` are those of the solver's
    discretisation, with ``Lap(psi) = -omega``. Arakawa's Jacobian adds nothing to either budget
    (doi:10.1016/0021-9991(66)90015-5). If f is the curl of a momentum forcing (`forcing.from_momentum`), the injection
    of energy is its power ``<u fx + v fy>`` with `NavierStokes2D.velocity`. The energy of a rollout changes at these
    rates to the order in `dt` of its integrator. With `Spectral` the budgets are those of the modes that it keeps.

    Args:
        solver: gives viscosity, drag, forcing and operators.
        omega: vorticity ``(..., ny, nx)`` [1 / time]: a state, or states along a trajectory. With scalars a `State`.
        forcing: forcing besides the solver's own, as given to `NavierStokes2D.rollout`: one field for each state
            or for all of them ``(..., ny, nx)`` [1 / time^2], or None.
        step: the number of steps taken before this state, where the solver's forcing is a law that changes in time: see
            `NavierStokes2D.force`. It is one number; map over several states with `jax.vmap`.

    Raises:
        TypeError: a field is not a float32 or float64 array.
        ValueError: a field does not live on the solver's grid, the leading axes of the two do not broadcast, or `step`
            is needed and not given.
    """
    check_solver(solver)
    state = solver._state("omega", omega)
    omega = vorticity_in(state)
    if forcing is not None:  # checked before anything is launched
        forcing = check_field("forcing", forcing, solver.grid)
        check_leading_axes("omega", vorticity_in(state), "forcing", forcing)
    omega = projected(solver.grid, vorticity_in(state), solver.discretisation, solver.backend)
    rate, force = vorticity_in(solver.tendency(state, step=step)), solver.force(omega, step=step)
    if forcing is not None:
        control = with_axes(forcing.astype(omega.dtype), omega.ndim)
        rate, force = rate + control, force + control
    diffusion = laplacian(solver.grid, omega, discretisation=solver.discretisation, backend=solver.backend)
    viscosity, drag = (
        with_axes(jnp.asarray(value, omega.dtype), omega.ndim - 2) for value in (solver.viscosity, solver.drag)
    )

    further = solver.term_rates(state)

    def budget(weight):  # of 0.5 <weight omega>, whose derivative by omega is `weight`
        value = mean(weight * omega) / 2
        change, injection = mean(weight * rate), mean(weight * force)
        dissipation, friction = -viscosity * mean(weight * diffusion), 2 * drag * value
        shares = {name: mean(weight * part) for name, part in further.items()}
        residual = change - (injection - dissipation - friction + sum(shares.values()))
        return Budget(value, change, injection, dissipation, friction, residual, shares)

    return Budgets(energy=budget(solver.streamfunction(omega)), enstrophy=budget(omega))
