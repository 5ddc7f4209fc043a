"""The force of a flow on bodies."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import check_field
from .._parameters import members
from .._primitives.folding import merge
from .._scalars import State, vorticity_in
from .._solver import NavierStokes2D, check_solver
from ..obstacles import Obstacle, check_obstacles, resistance, spread


def body_force(
    solver: NavierStokes2D, omega: Float[Array, "... ny nx"] | State, *, body: Obstacle | None = None
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Return the force of the fluid on a body along x and along y: drag and lift, where the mean flow is along x.

        F = integral of chi (u + U) / eta

    over the box, per density of the fluid and per length of the body [length^3 / time^2]. It is the momentum that the
    penalisation takes from the flow (Angot et al. 1999, doi:10.1007/s002110050401). The drag coefficient of a cylinder
    of diameter d is ``2 Fx / (U^2 d)``. The force can be differentiated with respect to the state and to all leaves of
    the solver.

    Args:
        solver: gives the velocity, the mean flow and the bodies.
        omega: vorticity ``(..., ny, nx)`` [1 / time], or a `State`.
        body: the obstacle whose force is wanted, one of the solver's. None: all those that do not restore.

    Raises:
        TypeError: an argument has another type.
        ValueError: `omega` does not live on the solver's grid, or there is no body.
    """
    check_solver(solver)
    omega = check_field("omega", vorticity_in(omega), solver.grid)
    bodies = check_obstacles(body, solver.grid, "body") if body is not None else solver.obstacle or ()
    if body is None:
        bodies = tuple(one for one in bodies if not one.restores)
    if not bodies:
        raise ValueError("solver has no body: expected NavierStokes2D(..., obstacle=warpjaxns.Obstacle(...))")
    dy, dx = solver.grid.spacing
    bodies = spread(bodies, omega, solver.grid)
    every, whole = resistance(bodies), resistance(bodies, whole=True)
    mean_flow = solver.mean_flow or (jnp.zeros((), omega.dtype),) * 2
    forces = []
    for part, uniform in zip(solver.velocity(omega), mean_flow, strict=True):
        uniform = members("mean_flow", uniform, omega)[:, None, None]
        density = every * merge(part, 0, part.ndim - 2) + whole * uniform
        forces.append(dy * dx * jnp.sum(jnp.sum(density, axis=-1), axis=-1).reshape(omega.shape[:-2]))
    return forces[0], forces[1]
