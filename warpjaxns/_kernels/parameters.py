"""Parameters of the equation and the forcing, as kernels take them: one number, or one a member."""

import functools
import types
from collections.abc import Callable

import warp as wp

from .hardware.address_table import NO_ARRAY, Place, Table, slice_at
from .hardware.views import row_view, vector_view


@wp.struct
class Parameters:
    """Places of the parameters (one number, or one a member), of the forcing (`Buffer.slices`), and of further terms.

    The latter are F of the deformation radius, the symbol or the coefficients of all linear terms besides viscosity and
    drag, and the medium.
    """

    viscosity: Place
    drag: Place
    dt: Place
    forcing: Place
    screening: Place
    linear: Place
    medium: Place


def parameters(viscosity, drag, dt, forcing, screening=None, linear=None, medium=NO_ARRAY) -> Parameters:
    """Return the places of the parameters' buffers. `forcing` and `medium` are places, `NO_ARRAY` where there is none.

    `screening`, `linear`: buffers, or None where there are no further terms.
    """
    result = Parameters()
    result.viscosity, result.drag, result.dt, result.forcing = viscosity.place, drag.place, dt.place, forcing
    result.screening, result.linear = (NO_ARRAY if x is None else x.place for x in (screening, linear))
    result.medium = medium
    return result


@functools.cache
def parameter_functions(real) -> types.SimpleNamespace:
    """Make the functions that load parameters.

    - ``numbers(table, parameters, member)``: viscosity, drag and dt of a member, a `Numbers`. ``all_numbers``: F too.
    - ``of_member(values, member)``: the number of a member, or the one that all members share.
    """
    vector = vector_view(real)

    @wp.struct
    class Numbers:
        viscosity: real
        drag: real
        dt: real
        screening: real

    @wp.func_native("return values.data[values.shape[0] == 1 ? 0 : member];")
    def of_member(values: wp.array(dtype=real), member: int) -> real: ...

    @wp.func
    def numbers(table: Table, places: Parameters, member: int):
        result = Numbers()
        result.viscosity = of_member(vector(table, places.viscosity), member)
        result.drag = of_member(vector(table, places.drag), member)
        result.dt = of_member(vector(table, places.dt), member)
        return result

    @wp.func
    def all_numbers(table: Table, places: Parameters, member: int):
        result = numbers(table, places, member)
        result.screening = of_member(vector(table, places.screening), member)
        return result

    return types.SimpleNamespace(Numbers=Numbers, numbers=numbers, all_numbers=all_numbers, of_member=of_member)


@functools.cache
def linear_row(dtype, shape: tuple[int, int]) -> Callable:
    """``linear(table, place, member, i, j)`` is a `row_view` of a member's symbol, or of the one that all share."""
    row = row_view(dtype, shape, upwards=True)

    @wp.func
    def linear(table: Table, place: Place, member: int, i: int, j: int):
        return row(table, place, wp.where(place[2] == 1, 0, member), i, j)

    return linear


@wp.func
def of_step(place: Place, step: int):
    """Return the place of a step's forcing, given that of all (`Buffer.slices`), which is steady or per step."""
    return slice_at(place, wp.where(place[3] == 1, 0, step))


@functools.cache
def forcing_row(dtype, shape: tuple[int, int], upwards: bool = False) -> Callable:
    """``forcing(table, place, step, member, i, j)`` is a `row_view` of the forcing; its place is a `Buffer.slices`.

    A forcing is steady or per step, and per member or shared.
    """
    row = row_view(dtype, shape, upwards)

    @wp.func
    def forcing(table: Table, place: Place, step: int, member: int, i: int, j: int):
        return row(table, of_step(place, step), wp.where(place[2] == 1, 0, member), i, j)

    return forcing
