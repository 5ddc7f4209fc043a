"""Trajectories: how they are cut into stretches of the fused primitive, and which states are kept."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Advance a state (batch, ny, nx) by a number of steps under a forcing (steps or 1, batch or 1, ny, nx), several times.
Advance = Callable[[jax.Array, jax.Array, int, int], jax.Array]


def final_state(advance: Advance, omega, forcing, steps: int, length: int):
    """The state after `steps` steps, taken `length` at a time.

    Reverse mode keeps the state at the start of each stretch of that length.
    """
    stretches, rest = divmod(steps, length)
    if stretches and forcing.shape[0] == 1:
        omega = advance(omega, forcing, length, stretches)
    elif stretches:

        def body(state, window):
            return advance(state, window, length, 1), None

        omega, _ = jax.lax.scan(body, omega, _windows(forcing, stretches, length))
    if rest:
        omega = advance(omega, _window(forcing, stretches * length, steps), rest, 1)
    return omega


def saved_states(advance: Advance, omega, forcing, steps: int, length: int, save_every: int):
    """The states after save_every, 2 save_every, ... steps, stacked in front."""

    def body(state, window):
        window = forcing if window is None else window
        state = final_state(advance, state, window, save_every, length)
        return state, state

    windows = _windows(forcing, steps // save_every, save_every)
    _, saved = jax.lax.scan(body, omega, windows, length=steps // save_every)
    return saved


def _window(forcing, start: int, stop: int):
    """The forcing of steps start ... stop - 1; a steady one serves all steps."""
    return forcing if forcing.shape[0] == 1 else forcing[start:stop]


def _windows(forcing, count: int, length: int):
    """Per-step forcing cut into stretches for a scan, or None where it is steady."""
    if forcing.shape[0] == 1:
        return None
    return jnp.reshape(forcing[: count * length], (count, length, *forcing.shape[1:]))
