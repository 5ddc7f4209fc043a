"""Trajectories: how they are cut into stretches of the fused primitive, and which states are kept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Advance a state (batch, ny, nx) by a number of steps under a forcing (steps or 1, batch or 1, ny, nx), several times;
# reverse mode keeps the stages of the last few.
Advance = Callable[[jax.Array, jax.Array, int, int, int], jax.Array]


def final_state(advance: Advance, omega, forcing, steps: int, length: int, direct: int):
    """The state after `steps` steps, taken `length` at a time.

    Reverse mode keeps the state at the start of each stretch of that length, and the stages of the last
    `direct`.
    """
    stretches, rest = divmod(steps, length)
    of_rest = min(direct, int(rest > 0))
    direct -= of_rest
    if stretches and forcing.shape[0] == 1:
        omega = advance(omega, forcing, length, stretches, direct)
    elif stretches:

        def body(state, window):  # all or none: the last window apart from the others would be a copy of all forcing
            return advance(state, window, length, 1, int(direct == stretches)), None

        omega, _ = jax.lax.scan(body, omega, _windows(forcing, stretches, length))
    if rest:
        omega = advance(omega, _window(forcing, stretches * length, steps), rest, 1, of_rest)
    return omega


def saved_states(advance: Advance, omega, forcing, steps: int, length: int, direct: int, save_every: int):
    """The states after save_every, 2 save_every, ... steps, stacked in front.

    Reverse mode keeps the stages of `direct` stretches in all, or of fewer: as many before every save.
    """
    count = steps // save_every
    of_each = direct // max(count, 1)

    def body(state, window):
        window = forcing if window is None else window
        state = final_state(advance, state, window, save_every, length, of_each)
        return state, state

    windows = _windows(forcing, count, save_every)
    _, saved = jax.lax.scan(body, omega, windows, length=count)
    return saved


def _window(forcing, start: int, stop: int):
    """The forcing of steps start ... stop - 1; a steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int):
    """Per-step forcing cut into stretches for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[: count * length], (count, length, *forcing.shape[1:]))
