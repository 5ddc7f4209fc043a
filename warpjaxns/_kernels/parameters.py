"""Parameters of the equation and the forcing, as kernels take them: one number, or one a member."""

import functools
import types
from collections.abc import Callable

import warp as wp

from .hardware.address_table import Place, Table, slice_at
from .hardware.views import row_view, vector_view


@wp.struct
class Parameters:
    """Places of the parameters (one number, or one a member) and of the forcing (`Buffer.slices`)."""

    viscosity: Place
    drag: Place
    dt: Place
    forcing: Place


def parameters(viscosity, drag, dt, forcing) -> Parameters:
    """Return the places of the parameters' buffers. `forcing` is a place, `NO_ARRAY` where there is no forcing."""
    result = Parameters()
    result.viscosity, result.drag, result.dt, result.forcing = viscosity.place, drag.place, dt.place, forcing
    return result


@functools.cache
def parameter_functions(real) -> types.SimpleNamespace:
    """Make the functions that load parameters.

    - ``numbers(table, parameters, member)``: viscosity, drag and dt of a member, a `Numbers`.
    - ``of_member(values, member)``: the number of a member, or the one that all members share.
    """
    vector = vector_view(real)

    @wp.struct
    class Numbers:
        viscosity: real
        drag: real
        dt: real

    @wp.func_native("return values.data[values.shape[0] == 1 ? 0 : member];")
    def of_member(values: wp.array(dtype=real), member: int) -> real: ...

    @wp.func
    def numbers(table: Table, places: Parameters, member: int):
        result = Numbers()
        result.viscosity = of_member(vector(table, places.viscosity), member)
        result.drag = of_member(vector(table, places.drag), member)
        result.dt = of_member(vector(table, places.dt), member)
        return result

    return types.SimpleNamespace(Numbers=Numbers, numbers=numbers, of_member=of_member)


@functools.cache
def forcing_row(dtype, shape: tuple[int, int], upwards: bool = False) -> Callable:
    """``forcing(table, place, step, member, i, j)`` is a `row_view` of the forcing; its place is a `Buffer.slices`.

    A forcing is steady or per step, and per member or shared.
    """
    row = row_view(dtype, shape, upwards)

    @wp.func
    def forcing(table: Table, place: Place, step: int, member: int, i: int, j: int):
        when = slice_at(place, wp.where(place[3] == 1, 0, step))
        return row(table, when, wp.where(place[2] == 1, 0, member), i, j)

    return forcing
