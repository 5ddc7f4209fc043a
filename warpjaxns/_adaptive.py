"""Rollouts to a given time, whose steps follow the Courant number.

A segment is a fixed number of steps with one `dt`. All segments that are allowed are a scan, since reverse mode needs
their number. A condition in it skips those that no member needs.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ._adjoint import Direct
from ._arrays import largest
from ._checks import check_count, check_option, check_positive
from ._discretisation import engine_of
from ._finite import NONE_BAD, Flag, NotFiniteError, NotReachedError, raise_where
from ._parameters import broadcast
from ._scalars import State, vorticity_in
from ._solver import NavierStokes2D, _advice, check_solver
from ._types import align
from .forcing._drive import parts_of
from .obstacles import resistance, spread

SLACK = 1e-3  # by which the last segment may be longer, lest rounding adds one of no length


class AdaptiveSteps(NamedTuple):
    """The result of `adaptive_steps`.

    Attributes:
        omega: the vorticity at `until` ``(..., ny, nx)`` [1/time], or a `State`.
        steps: how many steps each member took, int32 ``(...)``.
        time: the time that each member reached, ``(...)``: `until`, unless there were too few segments or the member is
            not finite.
        dt: the length of the steps of each segment ``(most_segments, ...)``, 0 for those that were not needed.
    """

    omega: Any
    steps: jax.Array
    time: jax.Array
    dt: jax.Array


def adaptive_steps(
    solver: NavierStokes2D,
    omega: jax.Array | State,
    *,
    until,
    courant,
    every: int = 10,
    most_segments: int = 100,
    longest=None,
    check: str | None = None,
) -> AdaptiveSteps | tuple[AdaptiveSteps, Flag]:
    """Advance a vorticity by the time `until`, in steps that follow the Courant number.

    The length of a step changes every `every` steps, to

        dt = 1 / (max(|u| / dx + |v| / dy) / courant + (nu lambda + mu) / 2.51 + max(chi / eta) / limit)

    The second term is that of `NavierStokes2D.diffusion_number` and its limit, with `FiniteDifference` only. The third
    one is there where the solver has an `Obstacle`, which names the limit. The last segment is shorter and ends at
    `until`. The solver's own `dt` is not used. Each member of an ensemble has steps of its own, and waits when it has
    arrived.

    Derivatives of every order, in both modes, are those of what is computed. They pass through the length of the steps
    too, and so reach `until` and `courant`. Reverse mode keeps `most_segments` states, one a segment, and runs each
    segment again, whatever the solver's `adjoint`.

    Args:
        solver: its parameters and forcing are used. A law that changes in time is an error.
        omega: initial vorticity ``(..., ny, nx)``, float32 or float64 [1/time], or a `State`.
        until: time to advance by, > 0 [time], a number or one a member ``(...)``.
        courant: Courant number at the start of each segment, > 0, likewise. Leave room below the limit of
            `NavierStokes2D.cfl`, for a flow that gets faster during a segment.
        every: steps of a segment, >= 1.
        most_segments: the most segments that may be taken, >= 1.
        longest: None, or the longest step that is allowed, > 0 [time], like `until`. Pass it where a force acts on a
            fluid at rest, which has no Courant number.
        check: as for `NavierStokes2D.rollout`. ``"raise"`` also raises if `most_segments` are too few. Where nothing is
            raised, the `time` of the result shows it.

    Returns:
        An `AdaptiveSteps`: the vorticity, and the number of steps, the time and the lengths of steps. With
        ``check="flag"`` the pair of it and a `Flag`.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range, or does not fit the shape of `omega`.
        RuntimeError: a member is not finite, or `most_segments` are too few, where that is to raise.
    """
    check_solver(solver)
    if moving := parts_of(solver.forcing).moving:
        names = ", ".join(type(law).__name__ for law in moving)
        raise ValueError(
            f"solver.forcing changes in time ({names}), by numbers of steps of one length: expected a steady field or "
            "Linear(...); or take NavierStokes2D.rollout"
        )
    omega = solver._state("omega", omega)
    every = check_count("every", every, least=1)
    most_segments = check_count("most_segments", most_segments, least=1)
    if check is not None:
        check_option("check", check, ("raise", "flag"))
    numbers = {"until": until, "courant": courant} | ({} if longest is None else {"longest": longest})
    for name, value in numbers.items():
        check_positive(name, value, scalar=False)
        numbers[name] = _of_members(name, value, vorticity_in(omega))
    numbers["longest"] = numbers.get("longest", numbers["until"])  # no step is longer
    result, first = _advance(solver, omega, numbers, every=every, most_segments=most_segments)
    if check == "flag":
        return result, Flag.of(first)
    if check == "raise" or solver.check_finite:
        bad, late = first < NONE_BAD, result.time < numbers["until"]
        raise_where(bad.reshape(-1), NotFiniteError, "is not finite", _advice(solver.discretisation), solver._what)
        too_few = f"most_segments={most_segments} of every={every} steps are too few: pass more, or a larger courant"
        raise_where(
            (late & ~bad).reshape(-1), NotReachedError, "has not reached the time `until`", too_few, solver._what
        )
    return result


def _of_members(name, value, omega):
    """Return a number, or one a member, as one a member."""
    lead = omega.shape[:-2]
    return broadcast(name, jnp.asarray(value, omega.dtype), lead, lead, omega)


class _Carry(NamedTuple):
    """State of each member from segment to segment: `going` says whether any is not there yet."""

    omega: Any
    time: jax.Array
    steps: jax.Array
    first: jax.Array
    going: jax.Array


@functools.partial(jax.jit, static_argnames=("every", "most_segments"), inline=True)
def _advance(solver, omega, numbers, *, every, most_segments):
    """Return the result, and after how many steps each member was first seen to be not finite."""
    lead, dtype = vorticity_in(omega).shape[:-2], vorticity_in(omega).dtype
    given = solver, omega, numbers, jnp.zeros(lead, dtype)
    leaves, tree = jax.tree.flatten(given)
    solver, omega, numbers, time = jax.tree.unflatten(tree, align(*leaves))  # a scan's state varies from the start
    until = numbers["until"]
    # of each segment, which runs again in reverse mode, all stages are kept at that time
    solver = dataclasses.replace(solver, adjoint=Direct(), check_finite=False)

    def with_dt(dt):
        return eqx.tree_at(lambda s: s.dt, solver, dt)

    unit = with_dt(jnp.ones((), dtype))
    most = engine_of(solver.discretisation).diffusion_limit(solver.discretisation)
    decay = _of_members("viscosity", unit.diffusion_number(), vorticity_in(omega)) / most if most else 0

    if solver.obstacle is not None:
        of_obstacle = largest(resistance(spread(solver.obstacle, vorticity_in(omega), solver.grid)))
        most = engine_of(solver.discretisation).resistance_limit(solver.discretisation)
        decay = decay + jnp.broadcast_to(of_obstacle, (math.prod(lead),)).reshape(lead) / most

    def segment(carry):
        omega, time, steps, first, _ = carry
        moving = (time < until) & (first == NONE_BAD)
        left = until - time
        # steps a unit of time; what would be divided by zero is not
        rate = jnp.maximum(unit.cfl(omega) / numbers["courant"] + decay, 1 / numbers["longest"])
        last = rate * left <= every * (1 + SLACK)
        dt = jnp.where(last, left / every, 1 / jnp.where(last, 1, rate))
        dt = jnp.where(moving, dt, 0)
        later = with_dt(dt).rollout(omega, steps=every)
        omega = jax.tree.map(lambda new, old: jnp.where(moving[..., None, None], new, old), later, omega)
        time = jnp.where(moving, jnp.where(last, until, time + every * dt), time)
        steps = steps + every * moving.astype(jnp.int32)
        first = jnp.minimum(first, jnp.where(_not_finite(omega), steps, NONE_BAD))
        going = _any((time < until) & (first == NONE_BAD))
        return _Carry(omega, time, steps, first, going), dt

    def body(carry, _):
        return jax.lax.cond(carry.going, segment, lambda carry: (carry, jnp.zeros_like(carry.time)), carry)

    first = jnp.where(_not_finite(omega), jnp.int32(0), NONE_BAD)
    start = _Carry(omega, time, jnp.zeros_like(first), first, _any(first == NONE_BAD))
    end, dt = jax.lax.scan(jax.checkpoint(body, prevent_cse=False), start, length=most_segments)
    return AdaptiveSteps(end.omega, end.steps, end.time, dt), end.first


def _not_finite(omega):
    bad = [~jnp.all(jnp.isfinite(field), axis=(-2, -1)) for field in jax.tree.leaves(omega)]
    return functools.reduce(jnp.logical_or, bad)


@jax.custom_batching.custom_vmap
def _any(moving):
    """Return whether any member moves, the members of `jax.vmap` included: a condition stays one number."""
    return jnp.any(moving)


@_any.def_vmap
def _any_of_all(_, __, moving):
    return _any(moving), False
