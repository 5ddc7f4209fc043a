"""Obstacles: bodies in the flow, and layers that restore the inflow, by volume penalisation.

A body is a mask chi, 1 inside and 0 outside. There the fluid is slowed down within the time eta, its permeability
(Angot, Bruneau and Fabrie 1999, doi:10.1007/s002110050401):

    d(omega)/dt = ... - curl(chi (u + U) / eta)

U is the solver's mean flow. The error of the velocity falls like the root of eta. Masks are fields of numbers, so a
flow can be differentiated with respect to them, and so to the place and the shape of a body.

```python
grid = wns.Grid((96, 192), (8.0, 16.0))
body = wns.obstacles.cylinder(grid, centre=(4.0, 4.0), radius=0.5, permeability=0.02)
layer = wns.obstacles.fringe(grid, start=14.0, length=2.0, permeability=0.2)
solver = wns.NavierStokes2D(
    grid, viscosity=0.01, dt=0.02, mean_flow=(1.0, 0.0), obstacle=(body, layer), discretisation=wns.Spectral()
)
```
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from ._checks import check_dtype, check_flag, check_grid, check_positive, check_real
from ._grid import Grid
from ._parameters import fields, members, parameter
from ._show import show
from ._terms import check_pair

__all__ = ["cylinder", "displacement", "fringe", "from_signed_distance"]


def __dir__():
    return __all__


class Obstacle(eqx.Module):
    """A porous body, or a layer that restores the inflow: its mask chi and its permeability eta.

        d(omega)/dt = ... - curl(chi (u + U) / eta),     or with `restores`     ... - curl(chi u / eta)

    Here u is the velocity of the vorticity, and U the solver's mean flow. A body stops the whole flow. A layer that
    restores stops what differs from the mean flow, such as a wake that would come in again on the other side. Both
    leaves can be differentiated and may differ from member to member.

    Steps are explicit in this term: ``dt max(chi) / eta`` must stay below 4.6 with ``Spectral()``, and below 2.5 with
    ``Spectral("rk3")`` and ``FiniteDifference()``.

    Args:
        mask: chi ``(..., ny, nx)``, from 0 to 1.
        permeability: eta > 0 [time], a number or an array ``(...)``: the time within which the fluid stops.
        restores: whether it acts on the velocity without the mean flow.

    Raises:
        TypeError: an argument has another type.
        ValueError: the mask leaves the range from 0 to 1, or has fewer than two axes; the permeability is not positive.
    """

    mask: Array
    permeability: Array
    restores: bool = eqx.field(static=True)

    def __init__(self, mask: ArrayLike, permeability: ArrayLike, *, restores: bool = False):
        self.mask = parameter("mask", mask, _check_mask)
        self.permeability = parameter("permeability", permeability, check_positive)
        check_flag("restores", restores)
        self.restores = restores


def _check_mask(name, value, *, scalar):
    check_real(name, value, scalar=scalar)
    if np.ndim(value) < 2:
        raise ValueError(f"{name} has shape {np.shape(value)}: expected a field (..., ny, nx)")
    if isinstance(value, jax.core.Tracer):
        return
    least, most = (float(each(np.asarray(value), initial=0)) for each in (np.min, np.max))
    if not 0 <= least <= most <= 1:
        raise ValueError(f"{name} has values from {least:.3g} to {most:.3g}: expected values from 0 to 1")


def from_signed_distance(
    grid: Grid,
    distance: Callable[[Array, Array], Array] | Float[Array, "... ny nx"],
    *,
    permeability: ArrayLike,
    width: ArrayLike | None = None,
    restores: bool = False,
    dtype: DTypeLike | None = None,
) -> Obstacle:
    """Return the obstacle whose surface is where a distance d is 0, with d < 0 inside.

        chi = 1/2 - 1/2 tanh(2 d / width)

    It can be differentiated with respect to all that the distance depends on.

    Args:
        grid: the box.
        distance: d [length], an array ``(..., ny, nx)``, or a function of the coordinates y and x of all points, each
            ``(ny, nx)``, that returns one. A body that crosses an edge of the box needs a distance that is periodic.
        permeability: eta > 0 [time], as in `Obstacle`.
        width: length over which chi falls from 0.88 to 0.12, > 0 [length]; may be traced. None: two spacings of the
            coarser axis. Under one spacing derivatives with respect to the shape are those of a staircase.
        restores: as in `Obstacle`.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: an argument has another type.
        ValueError: the distance is no field on the grid; a length or the permeability is not positive.
    """
    check_grid(grid)
    dtype = check_dtype("dtype", dtype)
    if width is None:
        width = 2 * max(grid.spacing)
    check_positive("width", width)
    if callable(distance):
        y, x = np.meshgrid(grid.y, grid.x, indexing="ij")
        distance = distance(jnp.asarray(y, dtype), jnp.asarray(x, dtype))
    check_real("distance", distance, scalar=False)
    if np.shape(distance)[-2:] != grid.shape:
        raise ValueError(f"distance has shape {np.shape(distance)}: expected (..., ny, nx) = (..., *{grid.shape})")
    scaled = jnp.asarray(distance, dtype) * (2 / jnp.asarray(width, dtype))
    return Obstacle((1 - jnp.tanh(scaled)) / 2, permeability, restores=restores)


def cylinder(
    grid: Grid,
    *,
    centre: tuple[ArrayLike, ArrayLike],
    radius: ArrayLike,
    permeability: ArrayLike,
    width: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Obstacle:
    """Return a circular cylinder. It may cross the edges of the box.

    Args:
        grid: the box.
        centre: (y, x) [length]; may be traced.
        radius: > 0 [length]; may be traced.
        permeability: eta > 0 [time], as in `Obstacle`.
        width: of the surface, as in `from_signed_distance`.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: an argument has another type.
        ValueError: a length or the permeability is not positive.
    """
    check_grid(grid)
    check_positive("radius", radius)
    middle = check_pair("centre", centre)
    for value in middle:
        check_real("centre", value)

    def distance(y, x):
        along_y, along_x = (
            _nearest(points - jnp.asarray(at, points.dtype), side)
            for points, at, side in zip((y, x), middle, grid.extent, strict=True)
        )
        squared = along_y**2 + along_x**2
        away = squared > 0  # at the centre the distance has no derivative, and the mask is flat
        return jnp.where(away, jnp.sqrt(jnp.where(away, squared, 1)), 0) - jnp.asarray(radius, y.dtype)

    return from_signed_distance(grid, distance, permeability=permeability, width=width, dtype=dtype)


def fringe(
    grid: Grid,
    *,
    start: ArrayLike,
    length: ArrayLike,
    permeability: ArrayLike,
    width: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> Obstacle:
    """Return a layer across the box, along x from `start` on, in which the flow returns to the solver's mean flow.

    So a wake that leaves the periodic box on one side does not come in on the other (Nordström, Nordin and Henningson
    1999, doi:10.1137/S1064827596310251).

    Args:
        grid: the box.
        start: where the layer begins along x [length]; may be traced. The layer may cross the edge of the box.
        length: of the layer along x, > 0 [length]; may be traced.
        permeability: eta > 0 [time], as in `Obstacle`. A wake that crosses the layer with the velocity U falls to
            about ``exp(-length / (U eta))``.
        width: over which the layer begins and ends, as in `from_signed_distance`. None: a quarter of the length, so
            that it reflects little.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: an argument has another type.
        ValueError: a length or the permeability is not positive.
    """
    check_grid(grid)
    check_real("start", start)
    check_positive("length", length)

    def distance(y, x):
        first, half = jnp.asarray(start, x.dtype), jnp.asarray(length, x.dtype) / 2
        return jnp.abs(_nearest(x - (first + half), grid.extent[1])) - half + 0 * y

    if width is None:
        width = length / 4
    return from_signed_distance(grid, distance, permeability=permeability, width=width, restores=True, dtype=dtype)


def displacement(*, permeability: ArrayLike, viscosity: ArrayLike, width: ArrayLike) -> Array:
    """Return how far outside of its surface a body seems to begin [length]; negative, if it seems smaller than it is.

        l = w / 4 (digamma(a) + digamma(1 + a) + 2 gamma),     a = w / (4 sqrt(nu eta))

    Outside of a flat body in slow flow, where ``nu u'' = chi u / eta``, the velocity grows as if from a wall at this
    distance from where the mask is 1/2 (compare Hester, Vasil and Burns 2021, doi:10.1016/j.jcp.2020.110043). So take
    it from the radius of a body. With ``w = 2.66 sqrt(nu eta)`` it is 0.

    Args:
        permeability: eta > 0 [time], a number or an array; may be traced, as the others.
        viscosity: nu > 0 [length^2/time].
        width: w > 0 [length], of the surface, as in `from_signed_distance`.

    Raises:
        TypeError: an argument is not real.
        ValueError: an argument is not positive.
    """
    values = {"permeability": permeability, "viscosity": viscosity, "width": width}
    numbers = [parameter(name, value, check_positive) for name, value in values.items()]
    widest = max((number.dtype for number in numbers), key=lambda dtype: dtype.itemsize)
    eta, nu, w = (number.astype(widest) for number in numbers)
    a = w / (4 * jnp.sqrt(nu * eta))
    return w / 4 * (digamma(a) + digamma(1 + a) + 2 * np.euler_gamma)


def _nearest(difference, side):
    """Return a difference of coordinates to the nearest periodic image."""
    return difference - side * jnp.round(difference / side)


def check_obstacles(value: Any, grid: Grid, name: str = "obstacle") -> tuple[Obstacle, ...]:
    """Return one obstacle or several as a tuple. `name`: that of the argument.

    Raises:
        TypeError: `value` is neither.
        ValueError: a mask does not live on the grid.
    """
    several = tuple(value) if isinstance(value, tuple | list) else (value,)
    for one in several:
        if not isinstance(one, Obstacle):
            raise TypeError(f"{name}={show(value)}: expected a warpjaxns.Obstacle, or a tuple of them")
        if one.mask.shape[-2:] != grid.shape:
            raise ValueError(f"{name}.mask has shape {one.mask.shape}: expected (..., ny, nx) = (..., *{grid.shape})")
    return several


def check_resistance(obstacles: tuple[Obstacle, ...], dt: Any, limit: float) -> None:
    """Check that explicit steps are stable: ``dt max(chi) / eta`` below `limit`. Traced values are not checked.

    Raises:
        ValueError: they are not.
    """
    for one in obstacles:
        if any(isinstance(value, jax.core.Tracer) for value in (one.mask, one.permeability, dt)):
            continue
        most, longest = (float(np.max(np.asarray(value, float), initial=0)) for value in (one.mask, dt))
        least = float(np.min(np.asarray(one.permeability, float), initial=math.inf))
        if longest * most > limit * least:
            raise ValueError(
                f"obstacle.permeability={least:.3g} with dt={longest:.3g}: a step would not be stable; expected a "
                f"permeability of at least {most / limit:.3g} dt = {longest * most / limit:.3g}, or a shorter dt"
            )


def spread(obstacles: tuple[Obstacle, ...], omega: Array, grid: Grid) -> tuple[Obstacle, ...]:
    """Return obstacles with explicit members, of the type of omega: masks ``(batch or 1, ny, nx)``."""

    def of_members(one):
        leaves = (
            fields("obstacle.mask", one.mask, omega, grid),
            members("obstacle.permeability", one.permeability, omega),
        )
        return eqx.tree_at(lambda one: (one.mask, one.permeability), one, leaves)

    return tuple(map(of_members, obstacles))


def resistance(obstacles: tuple[Obstacle, ...], *, whole: bool = False) -> Array:
    """Return ``sum(chi / eta)`` [1/time], ``(batch or 1, ny, nx)``, of obstacles with explicit members.

    `whole`: only of those that act on the whole flow, the mean flow included.
    """
    zero = jnp.zeros_like(obstacles[0].mask)
    parts = (one.mask / one.permeability[:, None, None] for one in obstacles if not (whole and one.restores))
    return sum(parts, zero)
