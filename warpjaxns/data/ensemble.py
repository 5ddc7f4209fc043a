"""Ensembles as values: every number in the file of a training set follows from an `Ensemble`."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import (
    LARGEST_COUNT,
    check_count,
    check_non_negative,
    check_option,
    check_positive,
    check_real,
)
from .._discretisation import Discretisation, FiniteDifference, check_backend, engine_of, to_dict
from .._grid import Grid
from .._modes import MARGIN, highest_wavenumber, most_waves_of_sine

INITIAL = ("decaying_turbulence", "random_vorticity")
DRAWN = ("viscosity", "drag", "forcing_amplitude")  # parameters that may differ between members
PRECISIONS = ("float32", "float64")


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
class Ensemble:
    """Flows that start from random fields, each with parameters of its own.

    Member m draws its initial field and its parameters from ``fold_in(key(seed), m)``. So neither depends on the number
    of members or on batches. Its frames are the states after `spin_up` steps, and every `save_every` steps from there.

    Args:
        shape: points ``(ny, nx)`` of the computation.
        count: members, at least 1.
        steps: time steps from the first frame to the last, a multiple of `save_every`.
        save_every: time steps from one frame to the next; a member has ``steps / save_every + 1`` frames.
        dt: length of a step [time].
        viscosity: nu >= 0 [length^2/time], a number or a `Range`.
        drag: mu >= 0 [1/time], a number or a `Range`.
        forcing_amplitude: amplitude of Kolmogorov forcing [length/time^2], a number or a `Range`; see
            `warpjaxns.forcing.kolmogorov`.
        forcing_wavenumber: its wavenumber in multiples of ``2 pi / Ly``.
        extent: sides ``(Ly, Lx)`` of the box [length].
        initial: ``"decaying_turbulence"`` or ``"random_vorticity"``, of `warpjaxns.initial`.
        initial_wavenumber: in multiples of ``2 pi / max(Ly, Lx)``. For ``"decaying_turbulence"`` the peak of the
            spectrum; None: 12, or less to have 16 points a wave. For ``"random_vorticity"`` the largest wavenumber;
            None: 4.
        shared_initial: whether all members start from the field of member 0.
        spin_up: time steps before the first frame.
        seed: seed of all random numbers, 0 to 2^32 - 1. Another seed makes another ensemble, such as a validation set.
        batch_size: members that are advanced together. They do not influence each other, but the last bits of a
            result may depend on the batch size.
        coarsen: factor by which frames are coarser than the computation; see `warpjaxns.coarsen`.
        compression: level of gzip, 0 to 9. Turbulence hardly compresses better above 1.
        discretisation: as in `NavierStokes2D`. Initial fields and forcing are in its sense too.
        precision: ``"float32"`` or ``"float64"``, the type of the computation. Frames are float32, as The Well
            requires.
        backend: as in `NavierStokes2D`.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range.
    """

    shape: tuple[int, int]
    _: dataclasses.KW_ONLY
    count: int
    steps: int
    save_every: int
    dt: float
    viscosity: float | Range
    drag: float | Range = 0.0
    forcing_amplitude: float | Range = 0.0
    forcing_wavenumber: int = 4
    extent: tuple[float, float] = (2 * math.pi, 2 * math.pi)
    initial: str = "decaying_turbulence"
    initial_wavenumber: float | None = None
    shared_initial: bool = False
    spin_up: int = 0
    seed: int = 0
    batch_size: int = 16
    coarsen: int = 1
    compression: int = 1
    discretisation: Discretisation = FiniteDifference()
    precision: str = "float32"
    backend: str = "auto"

    def __post_init__(self):
        grid = Grid(self.shape, self.extent)  # checks both
        self._set(shape=grid.shape, extent=grid.extent)
        least = {"count": 1, "steps": 1, "save_every": 1, "batch_size": 1, "coarsen": 1, "forcing_wavenumber": 1}
        least |= {"spin_up": 0, "seed": 0, "compression": 0}
        most = {"seed": 2**32 - 1, "compression": 9}
        for name, bound in least.items():
            number = check_count(name, getattr(self, name), least=bound, most=most.get(name, LARGEST_COUNT))
            self._set(**{name: number})
        if self.steps % self.save_every:
            raise ValueError(f"steps={self.steps} is not a multiple of save_every={self.save_every}")
        check_positive("dt", self.dt, static=True)
        self._set(dt=float(self.dt))
        for name in DRAWN:
            check = check_real if name == "forcing_amplitude" else check_non_negative
            self._set(**{name: _number_or_range(name, getattr(self, name), check)})
        check_option("precision", self.precision, PRECISIONS)
        check_backend(self.backend, self.discretisation, grid, np.dtype(self.precision))
        if self.initial_wavenumber is not None:
            check_positive("initial_wavenumber", self.initial_wavenumber, static=True)
            self._set(initial_wavenumber=float(self.initial_wavenumber))
            resolved = highest_wavenumber(grid, self.discretisation)
            if not 1 <= self.initial_wavenumber <= resolved * (1 + MARGIN):
                raise ValueError(
                    f"initial_wavenumber={self.initial_wavenumber}: this grid resolves 1 to {resolved:.4g}, in "
                    "multiples of 2 pi / max(extent)"
                )
        if not isinstance(self.shared_initial, bool):
            raise TypeError(f"shared_initial={self.shared_initial!r}: expected True or False")
        check_option("initial", self.initial, INITIAL)
        if any(n % self.coarsen or n // self.coarsen < 4 for n in self.shape):
            raise ValueError(
                f"coarsen={self.coarsen}: expected a divisor of both sizes of shape={self.shape} that leaves at least "
                f"4 points"
            )
        resolved = most_waves_of_sine(grid, self.discretisation)
        if self.forced and self.forcing_wavenumber > resolved:
            raise ValueError(
                f"forcing_wavenumber={self.forcing_wavenumber}: {self.shape[0]} points along y resolve up to {resolved}"
            )

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def grid(self) -> Grid:
        """The grid of the computation."""
        return Grid(self.shape, self.extent)

    @property
    def saved_grid(self) -> Grid:
        """The grid of the frames, coarser by `coarsen`."""
        ny, nx = self.shape
        return Grid((ny // self.coarsen, nx // self.coarsen), self.extent)

    @property
    def frames(self) -> int:
        """Frames of a member."""
        return self.steps // self.save_every + 1

    @property
    def batches(self) -> int:
        """Number of batches. The last one may hold fewer members."""
        return -(-self.count // self.batch_size)

    @property
    def times(self) -> np.ndarray:
        """Times of the frames from the first one, ``(frames,)`` float64 [time]."""
        return np.arange(self.frames) * (self.save_every * self.dt)

    def members(self, batch: int) -> list[int]:
        """Return the numbers of the members of a batch."""
        first = batch * self.batch_size
        return list(range(first, min(first + self.batch_size, self.count)))

    def parameters(self, members: list[int]) -> dict[str, np.ndarray]:
        """Return `viscosity`, `drag` and `forcing_amplitude` of members, each float32 ``(len(members),)``.

        They are float32 in both precisions, so that the file holds the exact values of the computation.
        """
        with drawing():
            drawn = np.asarray(_uniform(self.seed, np.asarray(members, np.uint32)))
        values = {}
        for name, fractions in zip(DRAWN, drawn, strict=True):
            value = getattr(self, name)
            value = value.at(fractions) if isinstance(value, Range) else np.full(len(members), value)
            values[name] = value.astype(np.float32)
        return values

    @property
    def forced(self) -> bool:
        """True if there is forcing."""
        return self.forcing_amplitude != 0

    def varying(self, name: str) -> bool:
        """True if members differ in a parameter."""
        return isinstance(getattr(self, name), Range)

    @property
    def largest_viscosity(self) -> float:
        """Largest viscosity [length^2/time] that is stable with these steps, infinite where all are.

        It is the limit of `NavierStokes2D.diffusion_number`.
        """
        engine = engine_of(self.discretisation)
        limit = engine.diffusion_limit(self.discretisation)
        shortest = sum(float(values.max()) for values in engine.eigenvalues(self.grid))
        return math.inf if limit is None else limit / (shortest * self.dt)

    def as_dict(self) -> dict[str, Any]:
        """Return all arguments as numbers, strings, lists and dicts, for JSON."""
        values = dataclasses.asdict(self) | {"discretisation": to_dict(self.discretisation)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def drawing():
    """Make random numbers in this context follow from their key alone, for any ``jax_threefry_partitionable``.

    The context must surround a compiled function, not be inside it: JAX reads the flag when it lowers the function.
    """
    return jax.threefry_partitionable(True)


def member_key(seed: int, member: int | jax.Array) -> jax.Array:
    """Return the key of a member, ``fold_in(key(seed), m)`` of Threefry, whose numbers do not depend on batching.

    It is made of its words, and so depends neither on ``jax_default_prng_impl`` nor on ``jax_random_seed_offset``.
    """
    key = jax.random.wrap_key_data(jnp.asarray(np.array([0, seed], np.uint32)), impl="threefry2x32")
    return jax.random.fold_in(key, member)


@functools.partial(jax.jit, static_argnames="seed")
def _uniform(seed, members):
    """Draw a number from 0 to 1 for each parameter and member, ``(parameters, members)``."""

    def draw(member):
        keys = jax.random.split(jax.random.fold_in(member_key(seed, member), 1), len(DRAWN))
        return jax.vmap(lambda key: jax.random.uniform(key, dtype="float32"))(keys)

    return jax.vmap(draw, out_axes=1)(members)


def _number_or_range(name: str, value: Any, check: Callable):
    try:
        for bound in (value.low, value.high) if isinstance(value, Range) else (value,):
            check(name, bound, static=True)
    except TypeError as error:
        raise TypeError(f"{error}, or a Range(low, high)") from None
    if isinstance(value, Range):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected a finite number, or a Range")
    return float(value)
