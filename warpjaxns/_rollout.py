"""Trajectories: rollouts cut into segments, each a repetition of the fused primitive.

Fields are ``(batch, ny, nx)``, and forcing is ``(steps or 1, batch or 1, ny, nx)``. The engine of the discretisation
turns them into what steps advance, its states, once before all steps, and states into fields once after them.
`length`: steps of a segment. Reverse mode keeps the state at the start of each segment, and the stages of the last
`direct` segments.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ._discretisation import engine_of
from ._finite import look, look_at_saves
from ._saves import Run
from .forcing._drive import add


def _compiled_once(*static):
    """Compile eager calls, and their eager derivatives, once. Under `jit` this has no effect."""
    static = (*static, "flag", "discretisation", "grid", "backend")
    return functools.partial(jax.jit, static_argnames=static, inline=True)


@_compiled_once("steps", "length", "direct")
def final_state(
    omega, viscosity, drag, dt, forcing, terms=None, drive=None, *, flag, discretisation, grid, backend, **segments
):
    """Return the field after `steps` steps, and when each member was first seen to be not finite, if `flag`.

    `terms`: a `_terms.Terms`, or None. `drive`: a `forcing._drive.Drive`, laws that are added to `forcing`, or None.
    """
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, backend)
    state, forcing = engine.to_state(omega, **how), engine.forcing_to_state(forcing, **how)
    seen = look(None, omega, 0) if flag else None
    more = engine.term_operands(terms, **how) if terms else ()
    window, clock = drive.begin(engine, dt, how) if drive else (None, None)
    carry = state, seen, clock
    state, seen, _ = _advance(engine, carry, viscosity, drag, dt, forcing, more, window, **segments, **how)
    field = engine.to_field(state, **how)
    return field, look_at_saves(seen, field[None], [segments["steps"]]) if flag else None


@_compiled_once("runs", "initial")
def saved_states(
    omega,
    viscosity,
    drag,
    dt,
    forcing,
    terms=None,
    drive=None,
    *,
    flag,
    discretisation,
    grid,
    backend,
    runs: tuple[Run, ...],
    initial,
):
    """Return the fields at the saves along a new first axis, and when each member was first seen to be not finite.

    `initial`: whether the field before all steps, projected onto what a state keeps, is the first of them.
    """
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, backend)
    state, forcing = engine.to_state(omega, **how), engine.forcing_to_state(forcing, **how)
    more = engine.term_operands(terms, **how) if terms else ()
    seen = look(None, omega, 0) if flag else None
    driven, clock = drive.begin(engine, dt, how) if drive else (None, None)
    saved, start = [state[None]] * initial, 0
    for gap, count, length, direct in runs:

        def body(carry, window, of_run=forcing, steps=gap, length=length, direct=direct):
            of_save = of_run if window is None else window
            segments = {"steps": steps, "length": length, "direct": direct}
            carry = _advance(engine, carry, viscosity, drag, dt, of_save, more, driven, **segments, **how)
            return carry, carry[0]

        windows = _windows(forcing, count, gap, start)
        (state, seen, clock), states = jax.lax.scan(body, (state, seen, clock), windows, length=count)
        saved.append(states)
        start += gap * count
    states = saved[0] if len(saved) == 1 else jnp.concatenate(saved)
    fields = jax.vmap(functools.partial(engine.to_field, **how))(states)
    steps = np.cumsum([0] * initial + [run.gap for run in runs for _ in range(run.saves)])
    return fields, look_at_saves(seen, fields, steps) if flag else None


def _advance(engine, carry, viscosity, drag, dt, forcing, terms, driven, *, steps, length, direct, **how):
    """Return the carry after `steps` steps.

    `carry`: the state; what was seen (`_finite.look`) after each segment, or None where nobody looks; and the clock of
    the laws. `driven`: gives their forces (`Drive.begin`), or None. A segment makes its own, in reverse mode again.
    """

    def advance_by(state, forcing, steps, repeats, direct):
        more = {"steps": steps, "repeats": repeats, "direct": direct}
        return engine.advance(state, viscosity, drag, dt, forcing, *terms, **more, **how)

    def segment(carry, forcing, steps, direct):
        state, seen, clock = carry
        if driven:
            clock, forces = driven(clock, steps)
            forcing = add(forcing, forces)
        state = advance_by(state, forcing, steps, 1, direct)
        return state, seen and look(seen, state, steps), clock

    segments, rest = divmod(steps, length)
    of_rest = min(direct, int(rest > 0))
    direct -= of_rest
    if segments and forcing.shape[0] == 1 and carry[1:] == (None, None):
        carry = advance_by(carry[0], forcing, length, segments, direct), None, None
    elif segments:

        def body(carry, window):  # all segments or none: to treat the last ones apart would copy all forcing
            return segment(carry, forcing if window is None else window, length, int(direct == segments)), None

        if driven and direct < segments:  # else reverse mode would keep the forces of all steps
            body = jax.checkpoint(body, prevent_cse=False)
        carry, _ = jax.lax.scan(body, carry, _windows(forcing, segments, length), length=segments)
    if rest:
        carry = segment(carry, _window(forcing, segments * length, steps), rest, of_rest)
    return carry


def _window(forcing, start: int, stop: int):
    """Return the forcing of steps start ... stop - 1. A steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int, start: int = 0):
    """Return per-step forcing from step `start` on, cut into segments for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[start : start + count * length], (count, length, *forcing.shape[1:]))
