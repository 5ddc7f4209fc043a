"""How fast two almost equal flows part."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import check_count, check_field, check_key
from .._solver import NavierStokes2D, check_solver


class Lyapunov(NamedTuple):
    """What `lyapunov_exponent` returns.

    Attributes:
        exponent: the mean of `rates` after the transient [1 / time].
        rates: ``(steps // renormalise_every,)``, the growth rate over each stretch, transient included [1 / time].
        tangent: the direction that grows, at the end: a vorticity ``(ny, nx)`` of unit rms.
        omega: the flow at the end ``(ny, nx)`` [1 / time], to go on from.
    """

    exponent: Float[Array, ""]
    rates: Float[Array, " stretches"]
    tangent: Float[Array, "ny nx"]
    omega: Float[Array, "ny nx"]


def lyapunov_exponent(
    solver: NavierStokes2D,
    omega: Float[Array, "ny nx"],
    *,
    key: Key[Array, ""],
    steps: int,
    renormalise_every: int = 10,
    transient: int = 0,
    forcing: Float[Array, "steps ny nx"] | None = None,
) -> Lyapunov:
    """The leading Lyapunov exponent: the mean exponential rate at which a random small difference grows.

    The linearised solver (`jax.jvp` of `NavierStokes2D.rollout`) carries a tangent along the flow. It is brought back
    to unit size every few steps, and the logarithms of its growth are summed (Benettin et al. 1980,
    doi:10.1007/BF02128236). Positive: the flow is chaotic.

    Args:
        solver: advances the flow; its parameters are single numbers.
        omega: where the flow starts, one field ``(ny, nx)`` [1 / time]; `jax.vmap` serves several. For a property of
            the attractor, start on it.
        key: one key of `jax.random.key`, for the first tangent: white noise.
        steps: time steps in all, a multiple of `renormalise_every`.
        renormalise_every: steps from one renormalisation to the next.
        transient: steps at the start, a multiple of `renormalise_every`, which are not counted: the tangent needs
            them to turn into the direction that grows most.
        forcing: one field a step ``(steps, ny, nx)`` as in `NavierStokes2D.rollout`, or None.

    Raises:
        TypeError: an argument is not of the kind said here.
        ValueError: a shape or number is not as said here.
        RuntimeError: the flow became non-finite (unless the solver's `check_finite` is off).
    """
    check_solver(solver)
    omega = check_field("omega", omega, solver.grid)
    if omega.ndim != 2:
        raise ValueError(f"omega has shape {omega.shape}: expected one field (ny, nx); use jax.vmap over several")
    if jnp.ndim(solver.dt):
        raise ValueError(f"solver.dt has shape {jnp.shape(solver.dt)}: expected one number; use jax.vmap over several")
    check_key("key", key)
    every = check_count("renormalise_every", renormalise_every, least=1)
    transient, steps = check_count("transient", transient, least=0), check_count("steps", steps, least=1)
    if steps % every or transient % every or transient >= steps:
        raise ValueError(
            f"steps={steps}, transient={transient}: expected multiples of renormalise_every={every}, "
            "and fewer transient steps than steps"
        )
    stretches, windows = steps // every, None
    if forcing is not None:
        forcing = check_field("forcing", forcing, solver.grid)
        if forcing.shape != (steps, *solver.grid.shape):
            raise ValueError(f"forcing has shape {forcing.shape}: expected {(steps, *solver.grid.shape)}")
        windows = forcing.reshape(stretches, every, *solver.grid.shape)

    def stretch(carry, window):
        omega, tangent = carry
        omega, tangent = jax.jvp(lambda w: solver.rollout(w, steps=every, forcing=window), (omega,), (tangent,))
        size = _rms(tangent)
        return (omega, tangent / size), jnp.log(size) / (every * jnp.asarray(solver.dt, omega.dtype))

    noise = jax.random.normal(key, omega.shape, omega.dtype)
    (omega, tangent), rates = jax.lax.scan(stretch, (omega, noise / _rms(noise)), windows, length=stretches)
    return Lyapunov(jnp.mean(rates[transient // every :]), rates, tangent, omega)


def _rms(field):
    return jnp.sqrt(jnp.mean(field * field))
