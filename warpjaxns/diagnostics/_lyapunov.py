"""The leading Lyapunov exponent: the rate at which two almost equal flows diverge."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._checks import check_count, check_field, check_key
from .._operators import projected
from .._solver import NavierStokes2D, check_solver
from ..forcing._drive import parts_of


class Lyapunov(NamedTuple):
    """The result of `lyapunov_exponent`.

    Attributes:
        exponent: the mean of `rates` after the transient [1 / time].
        rates: ``(steps // renormalise_every,)``, the growth rate between renormalisations, transient included [1 /
            time].
        tangent: the growing direction at the end: a vorticity ``(ny, nx)`` of unit rms.
        omega: the flow at the end ``(ny, nx)`` [1 / time].
    """

    exponent: Float[Array, ""]
    rates: Float[Array, " intervals"]
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
    """Return the leading Lyapunov exponent: the mean exponential rate at which a random small difference grows.

    The linearised solver (`jax.jvp` of `NavierStokes2D.rollout`) advances a tangent with the flow. Every few steps the
    tangent is scaled to unit size, and the logarithm of its growth is added up (Benettin et al. 1980,
    doi:10.1007/BF02128236). A positive exponent means a chaotic flow.

    Args:
        solver: advances the flow. Its parameters are single numbers.
        omega: initial vorticity, one field ``(ny, nx)`` [1 / time]; `jax.vmap` serves several. For a property of the
            attractor, start on it.
        key: one key of `jax.random.key`, for the first tangent, which is white noise.
        steps: time steps in all, a multiple of `renormalise_every`.
        renormalise_every: steps from one renormalisation to the next.
        transient: steps at the start that are not counted, a multiple of `renormalise_every`. The tangent turns into
            the fastest growing direction meanwhile.
        forcing: one field a step ``(steps, ny, nx)`` as in `NavierStokes2D.rollout`, or None.

    Raises:
        TypeError: an argument has another type.
        ValueError: a shape does not fit, a number is out of its range, or the flow carries scalars.
        RuntimeError: the flow became non-finite (unless the solver's `check_finite` is off).
    """
    check_solver(solver, alone=True)
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
    intervals, windows = steps // every, None
    if forcing is not None:
        forcing = check_field("forcing", forcing, solver.grid)
        if forcing.shape != (steps, *solver.grid.shape):
            raise ValueError(f"forcing has shape {forcing.shape}: expected {(steps, *solver.grid.shape)}")
        windows = forcing.reshape(intervals, every, *solver.grid.shape)

    def interval(carry, inputs):
        (omega, tangent), (window, first) = carry, inputs

        def advance(omega):
            return solver.rollout(omega, steps=every, forcing=window, first_step=0 if first is None else first)

        omega, tangent = jax.jvp(advance, (omega,), (tangent,))
        size = _rms(tangent)
        return (omega, tangent / size), jnp.log(size) / (every * jnp.asarray(solver.dt, omega.dtype))

    # what a discretisation drops at once does not count as decay
    noise = projected(solver.grid, jax.random.normal(key, omega.shape, omega.dtype), solver.discretisation)
    first = every * jnp.arange(intervals) if parts_of(solver.forcing).moving else None
    inputs = windows, first
    (omega, tangent), rates = jax.lax.scan(interval, (omega, noise / _rms(noise)), inputs, length=intervals)
    return Lyapunov(jnp.mean(rates[transient // every :]), rates, tangent, omega)


def _rms(field):
    return jnp.sqrt(jnp.mean(field * field))
