"""Laws in a rollout: what a forcing is the sum of, and the forces of a window of steps."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, Real

from .._adjoint import LONGEST_CALL, SHORTEST_CALL
from .._checks import check_count, check_dtype, check_field, check_grid, check_positive
from .._discretisation import Discretisation, FiniteDifference, check_discretisation, engine_of
from .._grid import Grid
from .._parameters import members
from .._show import show
from ._laws import Law, Linear, Space, Steps, laws_of

MOST_WINDOW = 2**30  # bytes that the forces of a segment may take, unless it is the shortest


class Parts(NamedTuple):
    """The parts of a forcing: steady fields, rates of linear forcing, and laws that change in time."""

    steady: tuple
    rates: tuple
    moving: tuple


def parts_of(*forcings: Any) -> Parts:
    """Return the parts of a sum of forcings, each a law, a steady field or None."""
    laws = [law for forcing in forcings for law in laws_of(forcing)]
    rates = tuple(law.rate for law in laws if isinstance(law, Linear))
    steady = tuple(law for law in laws if not isinstance(law, Law))
    moving = tuple(law for law in laws if isinstance(law, Law) and not isinstance(law, Linear))
    return Parts(steady, rates, moving)


def check_forcing(forcing: Any, grid: Grid, discretisation: Discretisation) -> Any:
    """Return a steady field as an array, or a law, if it fits a solver.

    Raises:
        TypeError: it is neither.
        ValueError: it does not fit.
    """
    if not isinstance(forcing, Law):
        return check_field("forcing", forcing, grid)
    for law in laws_of(forcing):
        if isinstance(law, Law):
            law.check(grid, discretisation)
        else:
            check_field("forcing", law, grid)
    return forcing


def longest_window(field_bytes: float) -> int:
    """Return the most steps of a segment whose forces are made at once, given the bytes of one."""
    return max(SHORTEST_CALL, min(LONGEST_CALL, int(MOST_WINDOW // max(1, field_bytes))))


def check_step(name: str, value: Any) -> jax.Array | None:
    """Return the number of a step as int32, or None for 0. It may be traced.

    Raises:
        TypeError: it is not one integer.
        ValueError: it is negative.
    """
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.integer):
        return jnp.asarray(value, jnp.int32)
    return jnp.int32(value) if check_count(name, value, least=0) else None


class Drive(eqx.Module):
    """Laws that change in time, of a rollout whose first step has the number `first`; None: 0."""

    laws: tuple
    first: Any

    @classmethod
    def of(cls, moving: tuple, first: Any, omega: Any) -> "Drive | None":
        """Return the drive of laws, spread over the members of a state; None without laws."""
        return cls(tuple(law.spread(omega) for law in moving), first) if moving else None

    def begin(self, engine: Any, dt: jax.Array, how: dict) -> tuple[Callable[[Any, int], tuple[Any, jax.Array]], Any]:
        """Return ``window(clock, count)``, which gives the next clock and the forces of `count` steps, and a clock.

        A clock is the number of the next step, and what each law carries. `dt`: ``(members or 1,)``.
        """
        grid = how["grid"]
        space = Space(
            grid,
            lambda fields: engine.forcing_to_state(check_field("field", fields, grid), **how),
            lambda spectrum: engine.spectrum_to_state(spectrum, **how),
        )
        laws, dt = [law.prepare(space) for law in self.laws], dt[None]

        def window(clock, count):
            first, carries = clock
            number = first + jnp.arange(count, dtype=jnp.int32)[:, None]
            steps = Steps(number, (number.astype(dt.dtype) + 0.5) * dt, dt)
            each = [law.window(carry, steps, space) for law, carry in zip(laws, carries, strict=True)]
            carries, forces = zip(*each, strict=True)
            return (first + count, carries), functools.reduce(jnp.add, forces)

        first = jnp.int32(0) if self.first is None else self.first
        return window, (first, tuple(law.start(space, self.first, dt) for law in laws))


def sampled(
    law: Law,
    grid: Grid,
    *,
    steps: int,
    dt: Real[ArrayLike, "..."],
    first_step: Int[ArrayLike, ""] = 0,
    discretisation: Discretisation = FiniteDifference(),
    dtype: DTypeLike | None = None,
) -> Float[Array, "steps ... ny nx"]:
    """Return the forces of a law as one field a step, to look at or to pass as an array.

    Args:
        law: a law, or a sum of laws and steady fields, without `Linear`.
        grid: where fields live.
        steps: how many, >= 0.
        dt: the solver's step [time], a number or an array ``(...)`` like the leading axes of a state.
        first_step: number of the first of these steps, >= 0; may be traced.
        discretisation: that of the solver. With `Spectral` fields hold the modes that it keeps.
        dtype: float32 or float64; None for JAX's default float type.

    Returns:
        ``(steps, ..., ny, nx)`` [1 / time^2], the `forcing` of `NavierStokes2D.rollout`.

    Raises:
        TypeError: an argument has another type.
        ValueError: a number is out of its range, the law does not fit the grid, or it depends on the flow.
    """
    check_grid(grid)
    check_discretisation(discretisation, grid)
    steps = check_count("steps", steps, least=0)
    check_positive("dt", dt, scalar=False)
    first, dtype = check_step("first_step", first_step), check_dtype("dtype", dtype)
    if not isinstance(law, Law):
        raise TypeError(f"law={show(law)}: expected a law of warpjaxns.forcing, such as Sine(field, frequency=1.0)")
    check_forcing(law, grid, discretisation)
    parts = parts_of(law)
    if parts.rates:
        raise ValueError("law: linear forcing depends on the flow; expected laws that are functions of time only")
    lead = jnp.broadcast_shapes(
        jnp.shape(dt), *(field.shape[:-2] for field in parts.steady), *(law.lead for law in parts.moving)
    )
    omega = jax.ShapeDtypeStruct((*lead, *grid.shape), dtype)
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, "auto")
    total = engine.forcing_to_state(sum_of_fields(parts.steady, omega), **how)
    if drive := Drive.of(parts.moving, first, omega):
        window, clock = drive.begin(engine, members("dt", dt, omega), how)
        total = add(total, window(clock, steps)[1])
    fields = jax.vmap(functools.partial(engine.to_field, **how))(total)
    shape = (steps, math.prod(lead), *grid.shape)
    return jnp.broadcast_to(fields, shape).reshape(steps, *omega.shape)


def sum_of_fields(fields: Sequence, omega: Any) -> jax.Array:
    """Return the sum of steady fields, ``(1, members or 1, ny, nx)``, or a single zero for none."""
    each = [members("forcing", field, omega, 2)[None] for field in fields]
    return functools.reduce(jnp.add, each) if each else jnp.zeros((1, 1, 1, 1), omega.dtype)


def add(total: jax.Array, window: jax.Array) -> jax.Array:
    """Return the sum of two forcings of time steps, where the first may be a single zero for none.

    Where a flow carries scalars, the first has a field for each on its third axis. A second one without acts on the
    vorticity alone.
    """
    if window.ndim < total.ndim:
        more = [(0, total.shape[2] - 1) if axis == 2 else (0, 0) for axis in range(total.ndim)]
        window = jnp.pad(window[:, :, None], more)
    return window if all(n == 1 for n in total.shape) else total + window
