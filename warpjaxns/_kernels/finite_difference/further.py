"""Linear terms besides viscosity and drag, at one point: their coefficients, values and transposes.

The coefficients of a member are one vector (`_finite_difference.terms`): beta, U, V, and mu_h. With a deformation
radius the last is missing, since hypodrag is no stencil then. So their number says what the Poisson equation is.
"""

import functools
import types

import warp as wp

from ..hardware.address_table import Place, Table
from ..hardware.views import row_view
from ..parameters import Parameters, parameter_functions
from .stencils import stencils

ALL = 4


def is_screened(count: int) -> bool:
    """Return whether so many coefficients mean that there is a deformation radius."""
    return 0 < count < ALL


def has_hypodrag(count: int) -> bool:
    """Return whether the mean of the streamfunction matters."""
    return count == ALL


@functools.cache
def further_terms(real, count: int) -> types.SimpleNamespace:
    """Make the functions of `tendency.terms` for equations with `count` coefficients more.

    ``bare(numbers, metric)`` is a vector of the coefficients as stencils take them, without c dt.
    """
    kit, given = stencils(real), parameter_functions(real)
    Metric, scaled, of_member = kit.Metric, kit.scaled, given.of_member
    plain_numbers, Vector = given.numbers, wp.types.vector(length=count, dtype=real)
    row = row_view(real, (1, count))

    @wp.struct
    class Numbers:
        viscosity: real
        drag: real
        dt: real
        more: Vector

    @wp.struct
    class Terms:
        """`tendency.Terms`, and the vector of further terms."""

        metric: Metric
        drag: real
        h: real
        more: Vector

    @wp.func
    def numbers(table: Table, places: Parameters, member: int):
        plain = plain_numbers(table, places, member)
        result = Numbers()
        result.viscosity = plain.viscosity
        result.drag = plain.drag
        result.dt = plain.dt
        values = row(table, places.linear, wp.where(places.linear[2] == 1, 0, member), 0, 0)
        for i in range(count):
            result.more[i] = values[i]
        return result

    @wp.func
    def per_length(values: Vector, metric: Metric):
        """Divide by twice the spacing, which centred differences leave out."""
        along_x = real(0.5) * wp.sqrt(metric[0])
        values[0] = values[0] * along_x
        values[1] = values[1] * along_x
        values[2] = values[2] * (real(0.5) * wp.sqrt(metric[1]))
        return values

    @wp.func
    def bare(given: Numbers, metric: Metric):
        return per_length(given.more, metric)

    @wp.func
    def weighted(given: Numbers, c: real, metric: Metric):
        result = Terms()
        h = c * given.dt
        result.metric = scaled(metric, h * given.viscosity, h)
        result.drag = h * given.drag
        result.h = h
        result.more = h * per_length(given.more, metric)
        return result

    @wp.func
    def tangent(given: Numbers, direction: Numbers, c: real, metric: Metric):
        h = c * given.dt
        result = Terms()
        result.h = c * direction.dt
        result.drag = result.h * given.drag + h * direction.drag
        result.metric = scaled(metric, result.h * given.viscosity + h * direction.viscosity, result.h)
        result.more = per_length(result.h * given.more + h * direction.more, metric)
        return result

    return types.SimpleNamespace(
        Numbers=Numbers,
        Terms=Terms,
        Vector=Vector,
        numbers=numbers,
        weighted=weighted,
        tangent=tangent,
        bare=bare,
        per_length=per_length,
        of_member=of_member,
    )


@functools.cache
def further_values(real, count: int) -> types.SimpleNamespace:
    """Make the functions of a point. `more`: the vector of `further_terms`, with any factor.

    - ``value(psi, w, more)``: the sum of all terms, ``beta d(psi)/dx - U dw/dx - V dw/dy - mu_h psi``.
    - ``to_psi(l, more)`` and ``to_state(l, more)``: its transposes. Centred differences are antisymmetric.
    - ``each(psi, w)``: all terms without their coefficients, nor the spacing of differences.
    """
    Patch, Vector, hypodrag = stencils(real).Patch, further_terms(real, count).Vector, has_hypodrag(count)

    @wp.func
    def each(psi: Patch, w: Patch):
        result = Vector()
        result[0] = psi[5] - psi[3]
        result[1] = w[3] - w[5]
        result[2] = w[7] - w[1]
        if hypodrag:
            result[3] = -psi[4]
        return result

    @wp.func
    def value(psi: Patch, w: Patch, more: Vector):
        return wp.dot(each(psi, w), more)

    @wp.func
    def to_psi(l: Patch, more: Vector):
        result = more[0] * (l[3] - l[5])
        if hypodrag:
            result -= more[3] * l[4]
        return result

    @wp.func
    def to_state(l: Patch, more: Vector):
        return more[1] * (l[5] - l[3]) + more[2] * (l[1] - l[7])

    return types.SimpleNamespace(each=each, value=value, to_psi=to_psi, to_state=to_state)


@functools.cache
def Weights(real):
    """Make the struct of the metric and the places of the parameters."""
    Metric = stencils(real).Metric

    @wp.struct
    class Weights:
        metric: Metric
        parameters: Parameters

    return Weights


def weights(real, metric, parameters: Parameters):
    """Return a `Weights`."""
    result = Weights(real)()
    result.metric, result.parameters = metric, parameters
    return result


@functools.cache
def member_modes(Mode, half: int):
    """``modes(table, place, member)`` is the array of a member's modes, or of those that all members share.

    Members may be counted through several fields, one after the other.
    """
    row = row_view(Mode, (1, half))

    @wp.func
    def modes(table: Table, place: Place, member: int):
        return row(table, place, member % place[2], 0, 0)

    return modes
