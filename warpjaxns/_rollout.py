"""Trajectories: rollouts cut into segments, each a repetition of the fused primitive.

Fields are ``(batch, ny, nx)``, and forcing is ``(steps or 1, batch or 1, ny, nx)``. The engine of the discretisation
turns them into what steps advance, its states, once before all steps, and states into fields once after them.
`length`: steps of a segment. Reverse mode keeps the state at the start of each segment, and the stages of the last
`direct` segments.
"""

import functools

import jax
import jax.numpy as jnp

from ._discretisation import engine_of

# Eager calls, and their eager derivatives, are compiled once. Under `jit` this has no effect.
_compiled_once = functools.partial(
    jax.jit,
    static_argnames=("steps", "save_every", "length", "direct", "discretisation", "grid", "backend"),
    inline=True,
)


@_compiled_once
def final_state(omega, viscosity, drag, dt, forcing, terms=None, *, discretisation, grid, backend, **segments):
    """Return the field after `steps` steps. `terms`: a `_terms.Terms`, or None."""
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, backend)
    state, forcing = engine.to_state(omega, **how), engine.forcing_to_state(forcing, **how)
    more = engine.term_operands(terms, **how) if terms else ()
    state = _advance(engine, state, viscosity, drag, dt, forcing, more, **segments, **how)
    return engine.to_field(state, **how)


@_compiled_once
def saved_states(
    omega,
    viscosity,
    drag,
    dt,
    forcing,
    terms=None,
    *,
    discretisation,
    grid,
    backend,
    steps,
    save_every,
    direct,
    **segments,
):
    """Return the fields after save_every, 2 save_every, ... steps, along a new first axis.

    The `direct` segments are divided evenly among the saves.
    """
    engine, count = engine_of(discretisation), steps // save_every
    how = engine.static(discretisation, grid, backend)
    start, forcing = engine.to_state(omega, **how), engine.forcing_to_state(forcing, **how)
    more = engine.term_operands(terms, **how) if terms else ()
    segments |= {"steps": save_every, "direct": direct // max(count, 1)}

    def body(state, window):
        of_save = forcing if window is None else window
        state = _advance(engine, state, viscosity, drag, dt, of_save, more, **segments, **how)
        return state, state

    _, saved = jax.lax.scan(body, start, _windows(forcing, count, save_every), length=count)
    return jax.vmap(functools.partial(engine.to_field, **how))(saved)


def _advance(engine, state, viscosity, drag, dt, forcing, terms, *, steps, length, direct, **how):
    """Return the state after `steps` steps."""

    def advance_by(state, forcing, steps, repeats, direct):
        more = {"steps": steps, "repeats": repeats, "direct": direct}
        return engine.advance(state, viscosity, drag, dt, forcing, *terms, **more, **how)

    segments, rest = divmod(steps, length)
    of_rest = min(direct, int(rest > 0))
    direct -= of_rest
    if segments and forcing.shape[0] == 1:
        state = advance_by(state, forcing, length, segments, direct)
    elif segments:

        def body(state, window):  # all segments or none: to treat the last ones apart would copy all forcing
            return advance_by(state, window, length, 1, int(direct == segments)), None

        state, _ = jax.lax.scan(body, state, _windows(forcing, segments, length))
    if rest:
        state = advance_by(state, _window(forcing, segments * length, steps), rest, 1, of_rest)
    return state


def _window(forcing, start: int, stop: int):
    """Return the forcing of steps start ... stop - 1. A steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int):
    """Return per-step forcing cut into segments for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[: count * length], (count, length, *forcing.shape[1:]))
