"""Scalars that the flows of an `Ensemble` carry, as values."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from .._checks import check_non_negative, check_real
from .._show import show
from .._terms import NAMES, check_pair
from .drawing import uniform
from .functions import check_function, name_of
from .parts import Range, number_or_range, values_at

NUMBERS = ("diffusivity", "mean_gradient_x", "mean_gradient_y", "buoyancy_x", "buoyancy_y")
FUNCTIONS = ("initial", "forcing")  # arguments that are functions of a user
STREAM = 7  # of the random numbers that `NUMBERS` are drawn from
RESERVED = {  # names of other fields, coordinates and parameters of a file
    *("vorticity", "velocity", "time", "member", "component", "x", "y"),
    *("viscosity", "drag", "forcing_amplitude", "forcing_wavenumber", "initial_wavenumber", *NAMES),
}


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A scalar that all flows of an ensemble carry: a `warpjaxns.Scalar` with a name, whose numbers may be ranges.

    Args:
        name: the name of its field in the file, such as ``"salt"``.
        diffusivity: kappa >= 0 [length^2/time], a number or a `Range`.
        mean_gradient: (gx, gy) [unit of the scalar / length], each a number or a `Range`; or None.
        buoyancy: (bx, by) [length / (time^2 unit of the scalar)], likewise.
        initial: a function ``(grid, key) -> (ny, nx)`` of `jax.numpy`, the scalar of each member at the start; None:
            zero.
        forcing: such a function, the steady source of each member [unit of the scalar / time]; or None.

    The file records the numbers as parameters: ``salt_diffusivity``, ``salt_mean_gradient_x`` and so on.

    Raises:
        TypeError: an argument has another type.
        ValueError: a number is out of its range, the name is none or taken, or a function cannot be found by its name.
    """

    name: str
    _: dataclasses.KW_ONLY
    diffusivity: float | Range
    mean_gradient: tuple[float | Range, float | Range] | None = None
    buoyancy: tuple[float | Range, float | Range] | None = None
    initial: Callable | str | None = None
    forcing: Callable | str | None = None

    def __post_init__(self):
        if not (isinstance(self.name, str) and self.name.isidentifier()) or self.name in RESERVED:
            raise ValueError(f"name={show(self.name)}: expected a name of letters that no other field has, as 'salt'")
        object.__setattr__(self, "diffusivity", number_or_range("diffusivity", self.diffusivity, check_non_negative))
        for name in ("mean_gradient", "buoyancy"):
            if (value := getattr(self, name)) is not None:
                parts = tuple(number_or_range(name, part, check_real) for part in check_pair(name, value))
                object.__setattr__(self, name, parts)
        for name in FUNCTIONS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_function(name, value))

    @property
    def numbers(self) -> dict[str, float | Range | None]:
        """Numbers and ranges in the order of `NUMBERS`, None for those that it has not, by their names in a file."""
        none = None, None
        values = self.diffusivity, *(self.mean_gradient or none), *(self.buoyancy or none)
        return {f"{self.name}_{number}": value for number, value in zip(NUMBERS, values, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return all arguments that are given, as numbers, strings, lists and dicts, for JSON."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        values |= {name: name_of(getattr(self, name)) for name in FUNCTIONS if name in values}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def check_scalars(value: Any) -> tuple[Scalar, ...]:
    """Return the scalars of an ensemble as a tuple.

    Raises:
        TypeError: one is no `Scalar`.
        ValueError: two have one name, or the name of one is that of another's number.
    """
    scalars = tuple(value) if isinstance(value, tuple | list) else (value,)
    if not all(isinstance(scalar, Scalar) for scalar in scalars):
        raise TypeError(f"scalars={show(value)}: expected a tuple of warpjaxns.data.Scalar(name, diffusivity=...)")
    names = [scalar.name for scalar in scalars]
    if len({*names, *numbers_of(scalars)}) < len(names) + len(numbers_of(scalars)):
        raise ValueError(f"scalars have the names {', '.join(names)}: expected a name of its own for each")
    return scalars


def numbers_of(scalars: tuple[Scalar, ...]) -> dict[str, float | Range]:
    """Return all numbers and ranges that scalars have, by their names in a file."""
    given = [item for scalar in scalars for item in scalar.numbers.items()]
    return {name: value for name, value in given if value is not None}


def drawn_numbers(scalars: tuple[Scalar, ...], seed: int, members: list[int]) -> dict[str, np.ndarray]:
    """Return these numbers of members, float32 ``(len(members),)``. Further scalars do not change those before them."""
    if not scalars:
        return {}
    names = [name for scalar in scalars for name in scalar.numbers]
    fractions = dict(zip(names, uniform(seed, members, STREAM, len(names)), strict=True))
    return {name: values_at(value, fractions[name]) for name, value in numbers_of(scalars).items()}
