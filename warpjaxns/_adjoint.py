"""Adjoint strategies: which intermediate states of a rollout reverse mode keeps."""

import dataclasses
import math
import numbers

from ._checks import check_flag
from ._show import show

LONGEST_CALL = 128  # steps a call of `Direct`: a CUDA graph of several hundred kernels
SHORTEST_CALL = 24  # fewer steps a call would cost more on the host than they save in memory
KEPT = 48  # steps at the end of a rollout whose stages are kept, about
MOST_KEPT = 6 * 2**30  # bytes that they may take, unless they are one segment


@dataclasses.dataclass(frozen=True)
class Direct:
    """Keep what the derivative of every stage needs: 6 fields a step with `FiniteDifference()`, 2.2 with `Spectral()`.

    This is the fastest gradient. Forward mode, and a rollout that is not differentiated, keep nothing.
    """

    def call_length(self, steps: int, between_saves: int, longest: int | None = None) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps.

        `longest`: about the most, where `every` is not given.
        """
        return _divisor_near(between_saves, min(between_saves, longest or LONGEST_CALL))

    def direct(self, segments: int, length: int, step_bytes: float) -> int:
        """Return the number of segments at the end whose stages reverse mode keeps.

        `length`: steps of a segment; `step_bytes`: what the stages of a step take.
        """
        return segments


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """Keep a state every `every` steps, and run each segment between two of them again in reverse mode.

    T steps need memory for ``T / every`` states, and as much as with `Direct` for each step whose stages are in memory
    at the same time. The gradient costs up to one more forward rollout than with `Direct`.

    Args:
        every: steps of a segment; None: near the square root of the number of steps, or near 24 where that is more.
        keep_last: whether the stages of the last segments are kept. The gradient begins there, so these steps need not
            run again. With a given `every` one segment is kept. A rollout takes no more memory for it, since its
            stages are freed before another segment runs. With None about 48 steps are kept, in whole segments, but
            never all of the rollout. It is one segment where more would take over 6 GiB. (Members added by `jax.vmap`
            are not counted.) Several rollouts in one differentiated function each keep these stages until the gradient
            is computed: pass False if that is too much. With `save_every` the kept segments are divided evenly among
            the saves. With a forcing that changes in time, only a last segment that is shorter than the others is kept.

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

    def call_length(self, steps: int, between_saves: int, longest: int | None = None) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps.

        `longest`: about the most, where `every` is not given.
        """
        if self.every is not None:
            return min(self.every, between_saves)
        return _divisor_near(
            between_saves, min(between_saves, longest or between_saves, max(SHORTEST_CALL, math.isqrt(steps)))
        )

    def direct(self, segments: int, length: int, step_bytes: float) -> int:
        """Return the number of segments at the end whose stages reverse mode keeps.

        `length`: steps of a segment; `step_bytes`: what the stages of a step take. It is never all of them: a rollout
        of one segment may be the body of a loop, which would keep the stages of all iterations.
        """
        if not self.keep_last:
            return 0
        wanted = 1
        if self.every is None:
            wanted = max(1, min(round(KEPT / length), int(MOST_KEPT // max(1, length * step_bytes))))
        return min(wanted, segments - 1)


def _divisor_near(n: int, target: int) -> int:
    """Return the divisor of n with the ratio to `target` nearest to 1, within a factor of two, or else `target`."""
    near = [d for d in range(-(-target // 2), 2 * target + 1) if n % d == 0]
    return min(near, key=lambda d: abs(math.log(d / target))) if near else target
