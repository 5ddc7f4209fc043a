"""Finite differences on a 3 x 3 neighbourhood, as Warp functions for one float type.

The neighbourhood of a point is a 9-vector, row by row from the north-west (larger y, smaller x):

    0 1 2      NW N NE
    3 4 5   =  W  C  E
    6 7 8      SW S SE

`metric` is ``(1/dx^2, 1/dy^2, 1/(4 dx dy))`` (`_coefficients.metric`).
"""

import functools
import types
from collections.abc import Callable

import warp as wp

from ..hardware.views import tile_access, value_at


@functools.cache
def stencils(real) -> types.SimpleNamespace:
    """Make the Warp functions of this file for a float type."""
    Patch = wp.types.vector(length=9, dtype=real)
    Strip = wp.types.vector(length=12, dtype=real)
    Metric = wp.types.vector(length=3, dtype=real)
    at, third = value_at(real), real(1 / 3)

    @wp.struct
    class Rows:
        """Four rows, from the south. A thread computes points of the middle two."""

        below: wp.array(dtype=real)
        here: wp.array(dtype=real)
        above: wp.array(dtype=real)
        beyond: wp.array(dtype=real)

    @wp.func
    def neighbourhood(field: wp.array2d(dtype=real), i: int, j: int):
        ny, nx = field.shape[0], field.shape[1]
        n = wp.where(i == ny - 1, 0, i + 1)
        s = wp.where(i == 0, ny - 1, i - 1)
        e = wp.where(j == nx - 1, 0, j + 1)
        w = wp.where(j == 0, nx - 1, j - 1)
        return Patch(
            field[n, w],
            field[n, j],
            field[n, e],
            field[i, w],
            field[i, j],
            field[i, e],
            field[s, w],
            field[s, j],
            field[s, e],
        )

    @wp.func
    def strip(rows: Rows, west: int, j: int, east: int):
        """Return the neighbourhoods of a point and of the one north of it: four rows, from the north."""
        return Strip(
            at(rows.beyond, west),
            at(rows.beyond, j),
            at(rows.beyond, east),
            at(rows.above, west),
            at(rows.above, j),
            at(rows.above, east),
            at(rows.here, west),
            at(rows.here, j),
            at(rows.here, east),
            at(rows.below, west),
            at(rows.below, j),
            at(rows.below, east),
        )

    @wp.func
    def south(a: Strip):
        return Patch(a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11])

    @wp.func
    def north(a: Strip):
        return Patch(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8])

    @wp.func
    def laplacian(a: Patch, metric: Metric):
        two = real(2.0)
        return (a[3] - two * a[4] + a[5]) * metric[0] + (a[7] - two * a[4] + a[1]) * metric[1]

    @wp.func
    def plus_plus(a: Patch, b: Patch):
        return (a[5] - a[3]) * (b[1] - b[7]) - (a[1] - a[7]) * (b[5] - b[3])

    @wp.func
    def plus_cross(a: Patch, b: Patch):
        return a[5] * (b[2] - b[8]) - a[3] * (b[0] - b[6]) - a[1] * (b[2] - b[0]) + a[7] * (b[8] - b[6])

    @wp.func
    def central(a: Patch, b: Patch, metric: Metric):
        return plus_plus(a, b) * metric[2]

    @wp.func
    def central_first(a: Patch, b: Patch, metric: Metric):
        return -plus_cross(b, a) * metric[2]

    @wp.func
    def central_second(a: Patch, b: Patch, metric: Metric):
        return plus_cross(a, b) * metric[2]

    @wp.func
    def half_arakawa(a: Patch, b: Patch):
        """Return `plus_cross` and half of `plus_plus`: 3 J(a, b) is this for (a, b) minus this for (b, a)."""
        total = (a[5] - a[3]) * (b[1] - b[7])
        total += a[5] * (b[2] - b[8])
        total -= a[3] * (b[0] - b[6])
        total -= a[1] * (b[2] - b[0])
        total += a[7] * (b[8] - b[6])
        return total

    @wp.func
    def arakawa(a: Patch, b: Patch, metric: Metric):
        return (half_arakawa(a, b) - half_arakawa(b, a)) * (third * metric[2])

    jacobian = {
        "arakawa": arakawa,
        "central": central,
        "plus_cross": central_second,
        "cross_plus": central_first,
    }

    @wp.func
    def scaled(metric: Metric, diffusion: real, advection: real):
        """Return the metric that multiplies `laplacian` by `diffusion`, and `jacobian` by `advection`."""
        return Metric(diffusion * metric[0], diffusion * metric[1], advection * metric[2])

    return types.SimpleNamespace(
        Patch=Patch,
        Strip=Strip,
        Rows=Rows,
        at=at,
        Metric=Metric,
        neighbourhood=neighbourhood,
        strip=strip,
        south=south,
        north=north,
        laplacian=laplacian,
        jacobian=jacobian,
        scaled=scaled,
    )


@functools.cache
def tile_strip(real, size: int) -> Callable:
    """``strip(tile, below, here, above, beyond, west, j, east)`` is the `strip` of `stencils`, from a tile.

    `below` to `beyond` are the indices at which the four rows start. `size`: that of the tile.
    """
    Strip, Tile, value = stencils(real).Strip, wp.tile(dtype=real, shape=(size,)), tile_access(real, size)[0]

    @wp.func
    def strip(tile: Tile, below: int, here: int, above: int, beyond: int, west: int, j: int, east: int):
        return Strip(
            value(tile, beyond + west),
            value(tile, beyond + j),
            value(tile, beyond + east),
            value(tile, above + west),
            value(tile, above + j),
            value(tile, above + east),
            value(tile, here + west),
            value(tile, here + j),
            value(tile, here + east),
            value(tile, below + west),
            value(tile, below + j),
            value(tile, below + east),
        )

    return strip
