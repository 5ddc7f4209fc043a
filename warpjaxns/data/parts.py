"""Values that an `Ensemble` is made of: ranges, noise, and a spin-up that ends by itself."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import check_count, check_positive, check_real


@dataclasses.dataclass(frozen=True)
class Range:
    """A parameter that each member draws from the range between `low` and `high`.

    Args:
        low: the smallest value; positive if `log`.
        high: the largest value, greater than `low`.
        log: whether the logarithm is uniform, and not the value.

    Raises:
        TypeError: `low` or `high` is not a real number, or `log` not a bool.
        ValueError: the range is empty, not finite, or reaches zero although `log`.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self):
        for name in ("low", "high"):
            check_real(name, getattr(self, name), static=True)
            object.__setattr__(self, name, float(getattr(self, name)))
        if not isinstance(self.log, bool):
            raise TypeError(f"log={self.log!r}: expected True or False")
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low={self.low}, high={self.high}: expected two finite numbers, the lower one first")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low}: a logarithm is uniform between positive numbers only")

    def at(self, fraction: np.ndarray) -> np.ndarray:
        """Return the values at fractions 0 to 1 of the range, float64."""
        fraction = np.asarray(fraction, np.float64)
        if self.log:
            return self.low * (self.high / self.low) ** fraction
        return self.low + (self.high - self.low) * fraction


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise that is white in time, on a ring of wavenumbers: see `warpjaxns.forcing.ring_noise`.

    Args:
        energy_rate: energy injected per time [length^2/time^3], positive.
        wavenumber: middle of the ring, in multiples of ``2 pi / max(Ly, Lx)``.
        width: width of the ring, in the same multiples.

    Raises:
        TypeError: an argument is not a real number.
        ValueError: an argument is not positive.
    """

    energy_rate: float
    wavenumber: float
    width: float = 2.0

    def __post_init__(self):
        for name in ("energy_rate", "wavenumber", "width"):
            check_positive(name, getattr(self, name), static=True)
            object.__setattr__(self, name, float(getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class Steady:
    """A spin-up until the enstrophy is statistically steady.

    It is once the mean enstrophy over `window` steps differs from that over the `window` steps before by no more than
    `tolerance` of it. Each member ends by itself. A member that has not ended after `limit` steps begins its frames all
    the same, and a warning says how many did.

    Args:
        window: time steps of a mean, a multiple of 8, since eight states make the mean.
        limit: time steps after which the spin-up ends anyway, a multiple of `window` and at least two of them.
        tolerance: relative difference of two means, positive.

    Raises:
        TypeError: an argument has another type.
        ValueError: a number is out of its range.
    """

    window: int
    limit: int
    tolerance: float = 0.05

    def __post_init__(self):
        for name in ("window", "limit"):
            object.__setattr__(self, name, check_count(name, getattr(self, name), least=1))
        check_positive("tolerance", self.tolerance, static=True)
        object.__setattr__(self, "tolerance", float(self.tolerance))
        if self.window % 8:
            raise ValueError(f"window={self.window}: expected a multiple of 8, as the mean is over eight states")
        if self.limit % self.window or self.limit < 2 * self.window:
            raise ValueError(f"limit={self.limit}: expected a multiple of window={self.window}, at least two of it")


def ends(value: float | Range) -> tuple[float, ...]:
    """Return both ends of a range, or a number alone."""
    return (value.low, value.high) if isinstance(value, Range) else (value,)


def values_at(value: float | Range, fractions: np.ndarray) -> np.ndarray:
    """Return the values at fractions 0 to 1 of a range, or a number for each, float32."""
    values = value.at(fractions) if isinstance(value, Range) else np.full(len(fractions), value)
    return values.astype(np.float32)


def number_or_range(name: str, value: Any, check: Callable) -> float | Range:
    """Return a finite number as a float, or a `Range`, whose ends `check` accepts.

    Raises:
        TypeError: it is neither.
        ValueError: it is not finite, or `check` refuses it.
    """
    try:
        for bound in ends(value):
            check(name, bound, static=True)
    except TypeError as error:
        raise TypeError(f"{error}, or a Range(low, high)") from None
    if isinstance(value, Range):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected a finite number, or a Range")
    return float(value)
