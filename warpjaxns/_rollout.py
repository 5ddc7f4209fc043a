"""Trajectories: how they are cut into stretches of the fused primitive, and which states are kept.

States are ``(batch, ny, nx)``, forcing is ``(steps or 1, batch or 1, ny, nx)``; the operands are those of
`_primitives.advance`. `length`: steps of a stretch. Reverse mode keeps the state at the start of each stretch, and the
stages of the last `direct` ones.
"""

import functools

import jax
import jax.numpy as jnp

from ._finite_difference.advance import advance

# Eager calls, and eager derivatives of them, are compiled once; under `jit` nothing is left of this.
_compiled_once = functools.partial(
    jax.jit,
    static_argnames=("steps", "save_every", "length", "direct", "grid", "scheme", "backend"),
    inline=True,
)


@_compiled_once
def final_state(omega, viscosity, drag, dt, forcing, *, steps: int, length: int, direct: int, **how):
    """The state after `steps` steps."""

    def advance_by(omega, forcing, steps, repeats, direct):
        return advance(omega, viscosity, drag, dt, forcing, steps=steps, repeats=repeats, direct=direct, **how)

    stretches, rest = divmod(steps, length)
    of_rest = min(direct, int(rest > 0))
    direct -= of_rest
    if stretches and forcing.shape[0] == 1:
        omega = advance_by(omega, forcing, length, stretches, direct)
    elif stretches:

        def body(state, window):  # all or none: the last window apart from the others would be a copy of all forcing
            return advance_by(state, window, length, 1, int(direct == stretches)), None

        omega, _ = jax.lax.scan(body, omega, _windows(forcing, stretches, length))
    if rest:
        omega = advance_by(omega, _window(forcing, stretches * length, steps), rest, 1, of_rest)
    return omega


@_compiled_once
def saved_states(omega, viscosity, drag, dt, forcing, *, steps: int, save_every: int, direct: int, **how):
    """The states after save_every, 2 save_every, ... steps, stacked in front.

    Of the `direct` stretches before every save there are as many.
    """
    count = steps // save_every
    how |= {"steps": save_every, "direct": direct // max(count, 1)}

    def body(state, window):
        state = final_state(state, viscosity, drag, dt, forcing if window is None else window, **how)
        return state, state

    _, saved = jax.lax.scan(body, omega, _windows(forcing, count, save_every), length=count)
    return saved


def _window(forcing, start: int, stop: int):
    """The forcing of steps start ... stop - 1; a steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int):
    """Per-step forcing cut into stretches for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[: count * length], (count, length, *forcing.shape[1:]))
