"""How reverse mode gets the intermediate states of a rollout."""

import dataclasses
import math
import numbers

from ._checks import check_flag
from ._show import show

LONGEST_CALL = 128  # steps a call of `Direct`: a CUDA graph of several hundred kernels
SHORTEST_CALL = 24  # fewer steps a call would cost more on the host than they save in memory
KEPT = 48  # steps at the end whose stages are kept, about,
MOST_KEPT = 6 * 2**30  # and bytes that they may take, beyond one stretch
STAGES = 6  # fields of a step: the state and the streamfunction of three stages


@dataclasses.dataclass(frozen=True)
class Direct:
    """Keep the state and streamfunction before every Runge-Kutta stage: 6 fields a step.

    The fastest gradient. A rollout that is not differentiated keeps nothing, and neither does forward mode.
    """

    def call_length(self, steps: int, between_saves: int) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps."""
        return _divisor_near(between_saves, min(between_saves, LONGEST_CALL))

    def direct(self, stretches: int, length: int, state_bytes: int) -> int:
        """Of how many stretches, the last of so many of that length, reverse mode keeps the stages."""
        return stretches


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """Keep a state every `every` steps and run each stretch again when its gradient is due.

    Over T steps this needs memory for ``T / every`` states, and for the stages of as many steps as have them at the
    same time, 6 fields a step. It costs up to one more forward rollout than `Direct`.

    Args:
        every: steps from one kept state to the next; None: near the square root of the number of steps, or near 24
            where that is more.
        keep_last: whether the stages of the last stretches are kept: a gradient begins there, and these steps then need
            not run again. With your `every` it is one stretch, for which a rollout takes no more memory, since it has
            put its stages away before it runs another one. With None it is as many as make about 48 steps, but
            never all, and one where more would take over 6 GiB (of the members that the rollout knows of: `jax.vmap`
            hides them). Where rollouts follow each other in one differentiated function, each keeps these stages until
            the gradient is there: say False if that is too much. With `save_every` they are shared out among the saves,
            as far as they go round. With a forcing for every step only a stretch at the end that is shorter than the
            others is kept.

    Raises:
        TypeError: `every` is not an integer or None, or `keep_last` is not True or False.
        ValueError: `every` is under 1.
    """

    every: int | None = None
    keep_last: bool = True

    def __post_init__(self):
        check_flag("keep_last", self.keep_last)
        if self.every is None:
            return
        if not isinstance(self.every, numbers.Integral) or isinstance(self.every, bool):
            raise TypeError(f"every={show(self.every)}: expected a positive integer or None")
        if self.every < 1:
            raise ValueError(f"every={show(self.every)}: expected a positive integer or None")
        object.__setattr__(self, "every", int(self.every))

    def call_length(self, steps: int, between_saves: int) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps."""
        if self.every is not None:
            return min(self.every, between_saves)
        return _divisor_near(between_saves, min(between_saves, max(SHORTEST_CALL, math.isqrt(steps))))

    def direct(self, stretches: int, length: int, state_bytes: int) -> int:
        """Of how many stretches, the last of so many of that length, reverse mode keeps the stages. (Not of all: a
        single one may be a turn of a loop, which would keep those of all its turns.)"""
        if not self.keep_last:
            return 0
        wanted = 1
        if self.every is None:
            wanted = max(1, min(round(KEPT / length), MOST_KEPT // max(1, STAGES * length * state_bytes)))
        return min(wanted, stretches - 1)


def _divisor_near(n: int, target: int) -> int:
    """The divisor of n that is nearest to target (as a ratio) within a factor of two, or target itself."""
    near = [d for d in range(-(-target // 2), 2 * target + 1) if n % d == 0]
    return min(near, key=lambda d: abs(math.log(d / target))) if near else target
