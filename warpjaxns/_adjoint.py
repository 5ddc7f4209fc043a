"""How reverse mode gets the intermediate states of a rollout."""

import dataclasses
import math

LONGEST_CALL = 128  # steps a call of `Direct`: a CUDA graph of several hundred kernels
SHORTEST_CALL = 16  # fewer steps a call would cost more on the host than they save in memory


@dataclasses.dataclass(frozen=True)
class Direct:
    """Keep the state and streamfunction before every Runge-Kutta stage: 6 fields a step.

    The fastest gradient. A rollout that is not differentiated keeps nothing; forward mode keeps what reverse mode
    would, so prefer `Checkpointed` there.
    """

    def call_length(self, steps: int, between_saves: int) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps."""
        return _divisor_near(between_saves, min(between_saves, LONGEST_CALL))


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    """Keep a state every `every` steps and run each stretch again when its gradient is due.

    Over T steps this needs memory for ``T / every`` states, and for the stages of one stretch: ``6 every`` fields.
    It costs one more forward rollout than `Direct`.

    Args:
        every: steps from one kept state to the next; None: near the square root of the number of steps, or near 16
            where that is more.

    Raises:
        TypeError: `every` is not an integer or None.
        ValueError: `every` is under 1.
    """

    every: int | None = None

    def __post_init__(self):
        if self.every is None:
            return
        if not isinstance(self.every, int) or isinstance(self.every, bool):
            raise TypeError(f"every={self.every!r}: expected a positive integer or None")
        if self.every < 1:
            raise ValueError(f"every={self.every}: expected a positive integer or None")

    def call_length(self, steps: int, between_saves: int) -> int:
        """Steps taken in one call, of a rollout of `steps` steps that stops every `between_saves` steps."""
        if self.every is not None:
            return min(self.every, between_saves)
        return _divisor_near(between_saves, min(between_saves, max(SHORTEST_CALL, math.isqrt(steps))))


def _divisor_near(n: int, target: int) -> int:
    """The divisor of n that is nearest to target (as a ratio) within a factor of two, or target itself."""
    near = [d for d in range(-(-target // 2), 2 * target + 1) if n % d == 0]
    return min(near, key=lambda d: abs(math.log(d / target))) if near else target
