"""Shares of a stage of the backward sweep in the cotangents of the parameters and of the forcing."""

import functools

import warp as wp

from ..hardware.address_table import Place, Table, kernel, slice_at
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.views import member_view, vector_view
from ..parameters import Parameters, forcing_row
from .further import further_values
from .medium import medium_values, member_of
from .operators import ROW_BLOCK
from .plan import Plan
from .stencils import stencils
from .tendency import parameter_shares, tendency, terms


@functools.cache
def parameter_sums(plan: Plan, scheme: str, forced: bool) -> wp.Kernel:
    """Make the kernel for a stage's share of the cotangents of viscosity, drag and dt, one partial sum a row.

    It adds to the totals, or overwrites them if `fresh`.
    """
    (ny, nx), real = plan.shape, plan.real
    by_point, kit, by_term, gradient = (
        tendency(real, scheme),
        stencils(real),
        terms(real, plan.terms),
        parameter_shares(real, scheme, plan.terms),
    )
    Metric, neighbourhood, advection, numbers = kit.Metric, kit.neighbourhood, by_point.advection, by_term.numbers
    Sums, add, add_rest, shares = gradient.Sums, gradient.add, gradient.add_rest, gradient.shares
    field, vector, forcing = member_view(real, (ny, nx)), vector_view(real), forcing_row(real, (ny, nx))
    further = plan.terms > 0
    if further:
        bare, value = by_term.bare, further_values(real, plan.terms).value
    medium, of_medium = plan.medium, medium_values(real, scheme).value

    @kernel(launch_bounds=ROW_BLOCK)
    def parameter_sums(
        table: Table,
        fresh: int,
        # coefficients
        c: real,
        metric: Metric,
        # in
        parameters: Parameters,
        step: int,
        state_at: Place,
        psi_at: Place,
        cotangent_at: Place,
        # in and out
        totals_at: Place,
    ):
        totals = vector(table, totals_at)
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        state = field(table, state_at, member)
        psi = field(table, psi_at, member)
        cotangent = field(table, cotangent_at, member)
        given = numbers(table, parameters, member)
        if further:
            more = bare(given, metric)
        if medium:
            shared = member_of(parameters.medium, member)
            resistance = field(table, slice_at(parameters.medium, 0), shared)
            topography = field(table, slice_at(parameters.medium, 1), shared)
        synchronise_dependent_launch()
        sums = Sums()
        force_i = forcing(table, parameters.forcing, step, member, i, 0)
        for j in range(thread, nx, wp.block_dim()):
            w = neighbourhood(state, i, j)
            l = cotangent[i, j]
            sums = add(sums, l, w, metric)
            sums = add_rest(sums, l * advection(neighbourhood(psi, i, j), w, metric))
            if further:
                sums = add_rest(sums, l * value(neighbourhood(psi, i, j), w, more))
            if medium:
                p = neighbourhood(psi, i, j)
                r = neighbourhood(resistance, i, j)
                h = neighbourhood(topography, i, j)
                sums = add_rest(sums, l * of_medium(p, r, h, metric, real(1.0)))
            if forced:
                sums = add_rest(sums, l * force_i[j])
        sums_0 = wp.tile_sum(wp.tile(sums[0]))
        sums_1 = wp.tile_sum(wp.tile(sums[1]))
        sums_2 = wp.tile_sum(wp.tile(sums[2]))
        if thread == 0:
            at = 3 * (member * ny + i)
            share = shares(Sums(sums_0[0], sums_1[0], sums_2[0]), given, c)
            if fresh == 0:
                share += Sums(totals[at], totals[at + 1], totals[at + 2])
            totals[at] = share[0]
            totals[at + 1] = share[1]
            totals[at + 2] = share[2]

    return parameter_sums


@functools.cache
def further_sums(plan: Plan) -> wp.Kernel:
    """Make the kernel for a stage's share of the cotangents of further coefficients, one partial sum of each a row.

    It is ``c dt <l, term>`` for each `further` term. It adds to the totals, or overwrites them if `fresh`.
    """
    (ny, nx), real, count = plan.shape, plan.real, plan.terms
    kit, by_term, each = stencils(real), terms(real, count), further_values(real, count).each
    Metric, neighbourhood, of_member, per_length = kit.Metric, kit.neighbourhood, by_term.of_member, by_term.per_length
    field, vector, Vector = member_view(real, (ny, nx)), vector_view(real), by_term.Vector

    @kernel(launch_bounds=ROW_BLOCK)
    def further_sums(
        table: Table,
        fresh: int,
        # coefficients
        c: real,
        metric: Metric,
        # in
        dt_at: Place,
        state_at: Place,
        psi_at: Place,
        cotangent_at: Place,
        # in and out
        totals_at: Place,
    ):
        totals = vector(table, totals_at)
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        state = field(table, state_at, member)
        psi = field(table, psi_at, member)
        cotangent = field(table, cotangent_at, member)
        h = c * of_member(vector(table, dt_at), member)
        synchronise_dependent_launch()
        sums = Vector()
        for j in range(thread, nx, wp.block_dim()):
            values = each(neighbourhood(psi, i, j), neighbourhood(state, i, j))
            sums += cotangent[i, j] * values
        total = wp.tile_sum(wp.tile(sums, preserve_type=True))
        if thread == 0:
            share = h * per_length(total[0], metric)
            for k in range(count):
                at = count * (member * ny + i) + k
                if fresh == 0:
                    share[k] = share[k] + totals[at]
                totals[at] = share[k]

    return further_sums


@functools.cache
def forcing_sum(plan: Plan) -> wp.Kernel:
    """Make the kernel for a stage's share ``c dt l`` of the forcing's cotangent.

    It adds to the totals, or overwrites them if `fresh`.
    """
    (ny, nx), real = plan.shape, plan.real
    of_member, field, vector = terms(real).of_member, member_view(real, (ny, nx)), vector_view(real)

    @kernel(launch_bounds=ROW_BLOCK)
    def forcing_sum(
        table: Table,
        fresh: int,
        # coefficients
        c: real,
        # in
        dt_at: Place,
        cotangent_at: Place,
        # in and out
        totals_at: Place,
    ):
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        cotangent = field(table, cotangent_at, member)
        totals = field(table, totals_at, member)
        h = c * of_member(vector(table, dt_at), member)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            share = h * cotangent[i, j]
            if fresh == 0:
                share += totals[i, j]
            totals[i, j] = share

    return forcing_sum
