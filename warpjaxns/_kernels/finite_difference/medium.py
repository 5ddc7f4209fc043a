"""The medium of a flow at one point: the resistance r of obstacles and the topography h.

It adds ``div(r grad psi) + J(psi, h)`` to the right-hand side. The first is a 5-point stencil in flux form, which is
symmetric, with the mean of r between two points. The medium is two fields, ``(2, batch or 1, ny, nx)``.
"""

import functools
import types
from collections.abc import Callable

import warp as wp

from ..._coefficients import FIRST
from ..hardware.address_table import Place, Table, kernel, slice_at
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.views import member_view, row_view, vector_view
from ..parameters import parameter_functions
from .operators import ROW_BLOCK
from .plan import Plan
from .stencils import stencils
from .tendency import tendency


@functools.cache
def medium_values(real, scheme: str) -> types.SimpleNamespace:
    """Make the functions of a point. `metric`: that of the grid.

    - ``value(psi, r, h, metric, c)`` is ``c (div(r grad psi) + J(psi, h))``.
    - ``to_psi(l, r, h, metric)`` is its transpose about psi, with c = 1.
    - ``to_resistance(l, psi, metric)``: that about r.
    """
    kit = stencils(real)
    Patch, Metric, jacobian, first = kit.Patch, kit.Metric, kit.jacobian[scheme], kit.jacobian[FIRST[scheme]]
    half = real(0.5)

    @wp.func
    def resisted(r: Patch, psi: Patch, metric: Metric):
        along_x = (r[4] + r[5]) * (psi[5] - psi[4]) + (r[4] + r[3]) * (psi[3] - psi[4])
        along_y = (r[4] + r[1]) * (psi[1] - psi[4]) + (r[4] + r[7]) * (psi[7] - psi[4])
        return half * (along_x * metric[0] + along_y * metric[1])

    @wp.func
    def value(psi: Patch, r: Patch, h: Patch, metric: Metric, c: real):
        return c * (resisted(r, psi, metric) + jacobian(psi, h, metric))

    @wp.func
    def to_psi(l: Patch, r: Patch, h: Patch, metric: Metric):
        return resisted(r, l, metric) + first(h, l, metric)

    @wp.func
    def to_resistance(l: Patch, psi: Patch, metric: Metric):
        along_x = (l[5] - l[4]) * (psi[5] - psi[4]) + (l[3] - l[4]) * (psi[3] - psi[4])
        along_y = (l[1] - l[4]) * (psi[1] - psi[4]) + (l[7] - l[4]) * (psi[7] - psi[4])
        return -half * (along_x * metric[0] + along_y * metric[1])

    return types.SimpleNamespace(value=value, to_psi=to_psi, to_resistance=to_resistance)


@functools.cache
def medium_strip(real, shape: tuple[int, int]) -> Callable:
    """``strip(table, medium, field, member, i, west, j, east)``: the `strip` of r or h, field 0 or 1, from row i on."""
    (ny, _), kit, row = shape, stencils(real), row_view(real, shape)
    Rows, strip = kit.Rows, kit.strip

    @wp.func
    def medium_strip(table: Table, medium: Place, field: int, member: int, i: int, west: int, j: int, east: int):
        place = slice_at(medium, field)
        shared = member_of(medium, member)
        rows = Rows()
        rows.below = row(table, place, shared, wp.where(i == 0, ny - 1, i - 1), 0)
        rows.here = row(table, place, shared, i, 0)
        rows.above = row(table, place, shared, (i + 1) % ny, 0)
        rows.beyond = row(table, place, shared, (i + 2) % ny, 0)
        return strip(rows, west, j, east)

    return medium_strip


@wp.func
def member_of(place: Place, member: int):
    """Return the number of a member's medium, or 0 where all members share it."""
    return wp.where(place[2] == 1, 0, member)


@functools.cache
def medium_sum(plan: Plan, scheme: str) -> wp.Kernel:
    """Make the kernel for a stage's share of the medium's cotangent, ``c dt`` times that of a point.

    It adds to the totals ``(2, batch, ny, nx)``, or overwrites them if `fresh`.
    """
    (ny, nx), real = plan.shape, plan.real
    kit, to_resistance = stencils(real), medium_values(real, scheme).to_resistance
    to_topography = tendency(real, scheme).carried
    Metric, neighbourhood, of_member = kit.Metric, kit.neighbourhood, parameter_functions(real).of_member
    field, vector = member_view(real, (ny, nx)), vector_view(real)

    @kernel(launch_bounds=ROW_BLOCK)
    def medium_sum(
        table: Table,
        fresh: int,
        # coefficients
        c: real,
        metric: Metric,
        # in
        dt_at: Place,
        psi_at: Place,
        cotangent_at: Place,
        # in and out
        totals_at: Place,
    ):
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        psi = field(table, psi_at, member)
        cotangent = field(table, cotangent_at, member)
        of_resistance = field(table, slice_at(totals_at, 0), member)
        of_topography = field(table, slice_at(totals_at, 1), member)
        h = c * of_member(vector(table, dt_at), member)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            l = neighbourhood(cotangent, i, j)
            p = neighbourhood(psi, i, j)
            by_r = h * to_resistance(l, p, metric)
            by_h = h * to_topography(l, p, metric)
            if fresh == 0:
                by_r += of_resistance[i, j]
                by_h += of_topography[i, j]
            of_resistance[i, j] = by_r
            of_topography[i, j] = by_h

    return medium_sum
