"""Trajectories: rollouts cut into segments, each a repetition of the fused primitive.

States are ``(batch, ny, nx)``, and forcing is ``(steps or 1, batch or 1, ny, nx)``. The operands are those of
`_finite_difference.advance`. `length`: steps of a segment. Reverse mode keeps the state at the start of each segment,
and the stages of the last `direct` segments.
"""

import functools

import jax
import jax.numpy as jnp

from ._finite_difference.advance import advance

# Eager calls, and their eager derivatives, are compiled once. Under `jit` this has no effect.
_compiled_once = functools.partial(
    jax.jit,
    static_argnames=("steps", "save_every", "length", "direct", "grid", "scheme", "backend"),
    inline=True,
)


@_compiled_once
def final_state(omega, viscosity, drag, dt, forcing, *, steps: int, length: int, direct: int, **how):
    """Return the state after `steps` steps."""

    def advance_by(omega, forcing, steps, repeats, direct):
        return advance(omega, viscosity, drag, dt, forcing, steps=steps, repeats=repeats, direct=direct, **how)

    segments, rest = divmod(steps, length)
    of_rest = min(direct, int(rest > 0))
    direct -= of_rest
    if segments and forcing.shape[0] == 1:
        omega = advance_by(omega, forcing, length, segments, direct)
    elif segments:

        def body(state, window):  # all segments or none: to treat the last ones apart would copy all forcing
            return advance_by(state, window, length, 1, int(direct == segments)), None

        omega, _ = jax.lax.scan(body, omega, _windows(forcing, segments, length))
    if rest:
        omega = advance_by(omega, _window(forcing, segments * length, steps), rest, 1, of_rest)
    return omega


@_compiled_once
def saved_states(omega, viscosity, drag, dt, forcing, *, steps: int, save_every: int, direct: int, **how):
    """Return the states after save_every, 2 save_every, ... steps, along a new first axis.

    The `direct` segments are divided evenly among the saves.
    """
    count = steps // save_every
    how |= {"steps": save_every, "direct": direct // max(count, 1)}

    def body(state, window):
        state = final_state(state, viscosity, drag, dt, forcing if window is None else window, **how)
        return state, state

    _, saved = jax.lax.scan(body, omega, _windows(forcing, count, save_every), length=count)
    return saved


def _window(forcing, start: int, stop: int):
    """Return the forcing of steps start ... stop - 1. A steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int):
    """Return per-step forcing cut into segments for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[: count * length], (count, length, *forcing.shape[1:]))
