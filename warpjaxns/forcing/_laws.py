"""Laws: forcings that are functions of time, and need no field a step.

A rollout makes the forces of a few steps at a time, a window. All arrays of a law are then ``(steps, members, ...)``,
either of which is 1 where they do not differ along it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from .._checks import check_count, check_field, check_real
from .._discretisation import Discretisation
from .._grid import Grid
from .._parameters import members, parameter
from .._show import show


class Steps(NamedTuple):
    """Steps of a window.

    Attributes:
        number: of each step, int32 ``(steps, 1)``, 0 for the first one of a run.
        time: the middle of each step, ``(number + 1/2) dt`` [time], ``(steps, members or 1)``.
        dt: length of a step [time], ``(1, members or 1)``.
    """

    number: Array
    time: Array
    dt: Array


class Space(NamedTuple):
    """The states of a solver, in which forces act.

    Attributes:
        grid: where fields live.
        state: a function from fields ``(steps, members, ny, nx)`` to states.
        state_of_spectrum: the same from their coefficients ``(steps, members, ny, nx // 2 + 1)``, those of
            ``jax.numpy.fft.rfft2(fields, norm="ortho")``.
    """

    grid: Grid
    state: Callable[[Array], Array]
    state_of_spectrum: Callable[[Array], Array]


class Law(eqx.Module):
    """A forcing that is a function of time. Laws can be added to each other, and to a steady field.

    A law is a pytree, and its numbers and fields are leaves that can be differentiated. Each is one for all members, or
    has leading axes ``(...)`` like those of a state.

    A law of your own is a subclass with `window`, or one of `Separable` with `strength`. `AXES` names the leaves that
    have axes after those of members, with their number.
    """

    AXES: ClassVar[dict[str, int]] = {}

    def check(self, grid: Grid, discretisation: Discretisation) -> None:
        """Check that the law fits a solver.

        Raises:
            ValueError: it does not.
        """

    @property
    def _names(self):
        """Return the names of the leaves."""
        return [field.name for field in dataclasses.fields(self) if not field.metadata.get("static", False)]

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the leaves, broadcast."""
        shapes = {name: jnp.shape(getattr(self, name)) for name in self._names}
        return jnp.broadcast_shapes(*(shape[: len(shape) - self.AXES.get(name, 0)] for name, shape in shapes.items()))

    def spread(self, omega: Any) -> "Law":
        """Return the law with leaves ``(1, members or 1, ...)`` of the type of a state `omega`, an array or a type."""
        leaves = [self._spread(name, getattr(self, name), omega) for name in self._names]
        return eqx.tree_at(lambda law: [getattr(law, name) for name in self._names], self, leaves)

    def _spread(self, name, value, omega):
        return members(name, value, omega, self.AXES.get(name, 0))[None]

    def prepare(self, space: Space) -> "Law":
        """Return the spread law with all that is done once a rollout, such as the states of its fields."""
        return self

    def start(self, space: Space, first: Array | None, dt: Array) -> Any:
        """Return what goes from one window to the next, before the step of number `first`; None: 0."""
        return ()

    def window(self, carry: Any, steps: Steps, space: Space) -> tuple[Any, Array]:
        """Return what goes to the next window, and the forces of these steps as states ``(steps, members, ...)``."""
        raise NotImplementedError

    def __add__(self, other):
        return Sum((*laws_of(self), *laws_of(other)))

    def __radd__(self, other):
        return Sum((*laws_of(other), *laws_of(self)))

    __array_ufunc__ = None  # NumPy leaves sums to this class


class Sum(Law):
    """A sum of laws and steady fields."""

    laws: tuple


def laws_of(forcing: Any) -> tuple:
    """Return the laws and fields that a forcing is the sum of."""
    if isinstance(forcing, Sum):
        return forcing.laws
    return () if forcing is None else (forcing,)


class Linear(Law):
    """Linear forcing ``f = rate omega``, negative drag.

    It keeps a flow turbulent without a length of its own (Lundgren 2003, CTR Annual Research Briefs, 461-473). It is
    part of the equation in every stage of a step, not constant over it, and costs nothing.

    Args:
        rate: alpha [1 / time], a number or an array ``(...)`` like the leading axes of a state.

    Raises:
        TypeError: `rate` is not real.
    """

    rate: Array

    def __init__(self, rate: Real[Array, "..."] | Any):
        self.rate = parameter("rate", rate, check_real)


class Separable(Law):
    """A steady field times a function of time. A subclass has the leaf `field`, and gives `strength`."""

    AXES: ClassVar[dict[str, int]] = {"field": 2}

    field: eqx.AbstractVar[Array]

    def strength(self, steps: Steps) -> Array:
        """Return the factor of the field in each step, ``(steps, members or 1)``."""
        raise NotImplementedError

    def check(self, grid: Grid, discretisation: Discretisation) -> None:
        """Check that the field lives on the grid.

        Raises:
            TypeError: it is not a float32 or float64 array.
            ValueError: it does not.
        """
        check_field("field", self.field, grid)

    def prepare(self, space: Space) -> "Separable":
        """Return the law with the state of its field."""
        return eqx.tree_at(lambda law: law.field, self, space.state(self.field))

    def window(self, carry, steps: Steps, space: Space):
        """Return nothing to carry, and the forces."""
        factor = self.strength(steps)
        return carry, factor.reshape(*factor.shape, *(1,) * (self.field.ndim - 2)) * self.field


class Sine(Separable):
    """A field that swings: ``f = amplitude sin(frequency t + phase) field``.

    The force is constant over a step, with its value in the middle of the step, so it is of second order in dt.

    Args:
        field: ``(..., ny, nx)`` [1 / time^2].
        frequency: angular frequency [1 / time], a number or an array ``(...)`` like the leading axes of a state.
        phase: likewise [1].
        amplitude: likewise [1].

    Raises:
        TypeError: a number is not real. The solver checks the field.
    """

    field: Array
    frequency: Array
    phase: Array
    amplitude: Array

    def __init__(self, field: Float[Array, "... ny nx"] | Any, frequency, phase=0.0, amplitude=1.0):
        self.field = field
        self.frequency = parameter("frequency", frequency, check_real)
        self.phase = parameter("phase", phase, check_real)
        self.amplitude = parameter("amplitude", amplitude, check_real)

    def strength(self, steps: Steps) -> Array:
        """Return ``amplitude sin(frequency t + phase)``."""
        return self.amplitude * jnp.sin(self.frequency * steps.time + self.phase)


class Exponential(Separable):
    """A field that grows or decays: ``f = amplitude exp(rate t) field``.

    The force is constant over a step, with its value in the middle of the step, so it is of second order in dt.

    Args:
        field: ``(..., ny, nx)`` [1 / time^2].
        rate: [1 / time], negative for decay; a number or an array ``(...)`` like the leading axes of a state.
        amplitude: likewise [1].

    Raises:
        TypeError: a number is not real. The solver checks the field.
    """

    field: Array
    rate: Array
    amplitude: Array

    def __init__(self, field: Float[Array, "... ny nx"] | Any, rate, amplitude=1.0):
        self.field = field
        self.rate = parameter("rate", rate, check_real)
        self.amplitude = parameter("amplitude", amplitude, check_real)

    def strength(self, steps: Steps) -> Array:
        """Return ``amplitude exp(rate t)``."""
        return self.amplitude * jnp.exp(self.rate * steps.time)


class Piecewise(Separable):
    """A field with an amplitude for every few steps: ``f = amplitudes[n // every] field`` in step n, from 0.

    Args:
        field: ``(..., ny, nx)`` [1 / time^2].
        amplitudes: ``(..., pieces)`` [1]. The last one stays after its steps.
        every: steps of a piece, >= 1.

    Raises:
        TypeError: `amplitudes` are not real, or `every` is not an integer. The solver checks the field.
        ValueError: there is no amplitude, or `every` is under 1.
    """

    AXES: ClassVar[dict[str, int]] = {"field": 2, "amplitudes": 1}

    field: Array
    amplitudes: Array
    every: int = eqx.field(static=True)

    def __init__(self, field: Float[Array, "... ny nx"] | Any, amplitudes, every: int = 1):
        self.field = field
        self.amplitudes = parameter("amplitudes", amplitudes, check_real)
        if not self.amplitudes.ndim or not self.amplitudes.shape[-1]:
            raise ValueError(f"amplitudes={show(amplitudes)}: expected (..., pieces), at least one")
        self.every = check_count("every", every, least=1)

    def strength(self, steps: Steps) -> Array:
        """Return the amplitude of each step."""
        piece = jnp.minimum(steps.number[:, 0] // self.every, self.amplitudes.shape[-1] - 1)
        return jnp.moveaxis(self.amplitudes[0][:, piece], -1, 0)
