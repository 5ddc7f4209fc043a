"""Ensembles as values: every number in the file of a training set follows from an `Ensemble`."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, cast

import jax
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
from .._scalars import stepping
from .drawing import drawing, drawn_by, uniform
from .functions import check_function, checksum, name_of
from .parts import Noise, Range, Steady, ends, number_or_range, values_at
from .scalars import Scalar, check_scalars, drawn_numbers, numbers_of

INITIAL = ("decaying_turbulence", "random_vorticity")
DRAWN = ("viscosity", "drag", "forcing_amplitude")  # parameters that may differ between members
WAVENUMBERS = ("forcing_wavenumber", "initial_wavenumber")  # these too
# arguments of a solver that the ensemble itself gives
TAKEN = ("grid", "dt", "forcing", "scalars", "discretisation", "adjoint", "backend", "check_finite")
FUNCTIONS = ("initial", "forcing", "terms", "medium")  # arguments that may be functions of a user
PRECISIONS = ("float32", "float64")


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Flows that start from random fields, each with parameters of its own.

    Member m draws its initial field and its parameters from ``fold_in(key(seed), m)``. So neither depends on the number
    of members or on batches. Its frames are the states after `spin_up` steps, and every `save_every` steps from there.

    Args:
        shape: points ``(ny, nx)`` of the computation.
        count: members, at least 1.
        steps: time steps from the first frame to the last, a multiple of `save_every`. Or give `end_time`.
        end_time: time of the last frame [time], from which `steps` follows, rounded up to a multiple of `save_every`.
        save_every: time steps from one frame to the next; a member has ``steps / save_every + 1`` frames.
        dt: length of a step [time].
        viscosity: nu >= 0 [length^2/time], a number or a `Range`.
        drag: mu >= 0 [1/time], a number or a `Range`.
        forcing_amplitude: amplitude of Kolmogorov forcing [length/time^2], a number or a `Range`; see
            `warpjaxns.forcing.kolmogorov`.
        forcing_wavenumber: its wavenumber in multiples of ``2 pi / Ly``, or a `Range` to draw a whole number from.
        forcing: a function ``(grid, key) -> (ny, nx)`` of `jax.numpy`, a steady forcing [1/time^2] of each member. It
            is added to Kolmogorov's. It may also return a law of `warpjaxns.forcing`, such as noise with this key,
            whose clock starts with the spin-up, at its `limit` of steps for a `Steady` one.
        terms: a function ``key -> dict`` of `jax.numpy`: arguments of `NavierStokes2D` for each member, one number
            each. They take the place of arguments here, and the file records them.
        medium: a function ``(grid, key) -> dict`` of `jax.numpy`: `obstacle`, `topography` and `mean_flow` of each
            member, as for `NavierStokes2D`. The file holds none of them but the function's name.
        noise: a `Noise` that forces each member, or None.
        scalars: a tuple of `Scalar`, which all members carry. Their fields are in the file beside the vorticity.
        extent: sides ``(Ly, Lx)`` of the box [length].
        initial: ``"decaying_turbulence"`` or ``"random_vorticity"``, of `warpjaxns.initial`; or a function
            ``(grid, key) -> (ny, nx)`` of `jax.numpy`.
        initial_wavenumber: in multiples of ``2 pi / max(Ly, Lx)``. For ``"decaying_turbulence"`` the peak of the
            spectrum; None: 12, or less to have 16 points a wave. For ``"random_vorticity"`` the largest wavenumber;
            None: 4. Or a `Range` that each member draws from.
        shared_initial: whether all members start from the field of member 0.
        spin_up: time steps before the first frame; or a `Steady`, which ends them once the enstrophy is steady.
        seed: seed of all random numbers, 0 to 2^32 - 1. Another seed makes another ensemble, such as a validation set.
        batch_size: members that are advanced together. They do not influence each other, but the last bits of a
            result may depend on the batch size.
        coarsen: factor by which frames are coarser than the computation; see `warpjaxns.coarsen`.
        compression: level of gzip, 0 to 9. Turbulence hardly compresses better above 1.
        discretisation: as in `NavierStokes2D`. Initial fields and forcing are in its sense too.
        precision: ``"float32"`` or ``"float64"``, the type of the computation. Frames are float32, as The Well
            requires.
        backend: as in `NavierStokes2D`.

    Functions must be at the top of a module, or be named as ``"module:function"``, so that the file can say which they
    are. A run cannot be resumed once their source has changed.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range.
    """

    shape: tuple[int, int]
    _: dataclasses.KW_ONLY
    count: int
    steps: int | None = None
    end_time: float | None = None
    save_every: int
    dt: float
    viscosity: float | Range
    drag: float | Range = 0.0
    forcing_amplitude: float | Range = 0.0
    forcing_wavenumber: int | Range = 4
    forcing: Callable | str | None = None
    terms: Callable | str | None = None
    medium: Callable | str | None = None
    noise: Noise | None = None
    scalars: tuple[Scalar, ...] = ()
    extent: tuple[float, float] = (2 * math.pi, 2 * math.pi)
    initial: Callable | str = "decaying_turbulence"
    initial_wavenumber: float | Range | None = None
    shared_initial: bool = False
    spin_up: int | Steady = 0
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
        check_positive("dt", self.dt, static=True)
        self._set(dt=float(self.dt))
        self._set_steps()
        least = {"count": 1, "steps": 1, "save_every": 1, "batch_size": 1, "coarsen": 1, "seed": 0, "compression": 0}
        least |= {} if isinstance(self.spin_up, Steady) else {"spin_up": 0}
        least |= {} if isinstance(self.forcing_wavenumber, Range) else {"forcing_wavenumber": 1}
        most = {"seed": 2**32 - 1, "compression": 9}
        for name, bound in least.items():
            number = check_count(name, getattr(self, name), least=bound, most=most.get(name, LARGEST_COUNT))
            self._set(**{name: number})
        if cast(int, self.steps) % self.save_every:
            raise ValueError(f"steps={self.steps} is not a multiple of save_every={self.save_every}")
        for name in DRAWN:
            check = check_real if name == "forcing_amplitude" else check_non_negative
            self._set(**{name: number_or_range(name, getattr(self, name), check)})
        check_option("precision", self.precision, PRECISIONS)
        self._set(scalars=check_scalars(self.scalars))
        check_backend(self.backend, stepping(self.discretisation, self.scalars), grid, np.dtype(self.precision))
        if self.initial_wavenumber is not None:
            self._set(initial_wavenumber=number_or_range("initial_wavenumber", self.initial_wavenumber, check_positive))
            resolved = highest_wavenumber(grid, self.discretisation)
            for wavenumber in ends(self.initial_wavenumber):
                if not 1 <= wavenumber <= resolved * (1 + MARGIN):
                    raise ValueError(
                        f"initial_wavenumber={wavenumber}: this grid resolves 1 to {resolved:.4g}, in "
                        "multiples of 2 pi / max(extent)"
                    )
        for name, kind in {"noise": Noise}.items():
            if not isinstance(getattr(self, name), kind | None):
                raise TypeError(f"{name}={getattr(self, name)!r}: expected a warpjaxns.data.{kind.__name__}, or None")
        if not isinstance(self.shared_initial, bool):
            raise TypeError(f"shared_initial={self.shared_initial!r}: expected True or False")
        for name in FUNCTIONS:
            if getattr(self, name) is not None and not (name == "initial" and self.initial in INITIAL):
                if name == "initial" and isinstance(self.initial, str) and ":" not in self.initial:
                    check_option("initial", self.initial, (*INITIAL, "module:function"))
                self._set(**{name: check_function(name, getattr(self, name))})
        if any(n % self.coarsen or n // self.coarsen < 4 for n in self.shape):
            raise ValueError(
                f"coarsen={self.coarsen}: expected a divisor of both sizes of shape={self.shape} that leaves at least "
                f"4 points"
            )
        resolved = most_waves_of_sine(grid, self.discretisation)
        for wavenumber in ends(self.forcing_wavenumber):
            if wavenumber < 1 or wavenumber != int(wavenumber):
                raise ValueError(f"forcing_wavenumber={wavenumber}: expected whole numbers, at least 1")
            if self.forced and wavenumber > resolved:
                raise ValueError(
                    f"forcing_wavenumber={wavenumber:.0f}: {self.shape[0]} points along y resolve up to {resolved}"
                )

    def _set_steps(self):
        if (self.steps is None) == (self.end_time is None):
            raise ValueError(f"steps={self.steps}, end_time={self.end_time}: expected one of them")
        if self.end_time is not None:
            check_positive("end_time", self.end_time, static=True)
            every = check_count("save_every", self.save_every, least=1)
            frames = float(self.end_time) / (every * self.dt) * (1 - 1e-9)
            if frames * every > LARGEST_COUNT - every:
                raise ValueError(f"end_time={self.end_time}: expected at most {LARGEST_COUNT} steps of dt={self.dt:g}")
            frames = math.ceil(frames)
            self._set(steps=frames * every, end_time=None)

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
        return cast(int, self.steps) // self.save_every + 1

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

        They are float32 in both precisions, so that the file holds the exact values of the computation. Numbers of
        scalars, what `terms` draws, and wavenumbers that vary come with them.
        """
        drawn = zip(DRAWN, uniform(self.seed, members, 1), strict=True)
        values = {name: values_at(getattr(self, name), fractions) for name, fractions in drawn}
        values |= drawn_numbers(self.scalars, self.seed, members)
        for name in WAVENUMBERS:
            if self.varying(name):
                values[name] = self.wavenumbers(name, members)
        return values | self._terms(members)

    def wavenumbers(self, name: str, members: list[int]) -> np.ndarray:
        """Return `forcing_wavenumber` or `initial_wavenumber` of members, float32; whole numbers for the former."""
        value = getattr(self, name)
        if not isinstance(value, Range):
            return np.full(len(members), value, np.float32)
        drawn = uniform(self.seed, members, 3)[WAVENUMBERS.index(name)]
        if name == "forcing_wavenumber":  # each whole number is as likely
            return np.minimum(np.floor(value.low + drawn * (value.high - value.low + 1)), value.high).astype(np.float32)
        return value.at(drawn).astype(np.float32)

    def _terms(self, members):
        """Return what `terms` draws for members, float32."""
        if self.terms is None:
            return {}
        with drawing(), jax.enable_x64(False):  # a draw in float64 is another one
            drawn = drawn_by(self.seed, np.asarray(members, np.uint32), self.terms, 4)
        for name, values in drawn.items():
            if name in TAKEN or np.ndim(values) != 1:
                raise ValueError(f"terms: {name} is no argument of NavierStokes2D that takes one number a member")
        return {name: np.asarray(values, np.float32) for name, values in drawn.items()}

    @property
    def forced(self) -> bool:
        """True if there is forcing."""
        return self.forcing_amplitude != 0

    def given(self, name: str) -> Any:
        """Return the number or the range of a parameter, or None where a function draws it."""
        return numbers_of(self.scalars).get(name, getattr(self, name, None))

    def varying(self, name: str) -> bool:
        """True if members differ in a parameter."""
        return isinstance(self.given(name), Range) or name in self._terms([0])

    @property
    def functions(self) -> dict[str, str]:
        """Checksums of the source of all functions of a user, by their names ``module:function``."""
        given = [getattr(self, name) for name in FUNCTIONS]
        given += [value for scalar in self.scalars for value in (scalar.initial, scalar.forcing)]
        found = [value for value in given if callable(value)]
        return {name_of(function): checksum(function) for function in found}

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
        values |= {name: name_of(getattr(self, name)) for name in FUNCTIONS if callable(getattr(self, name))}
        values |= {"scalars": [scalar.as_dict() for scalar in self.scalars]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
