"""Stages and the sweep, point by point, where psi goes through memory (`Plan.through_memory`).

Where rows are too long for two lines of psi in a block, the kernels of `poisson` transform them, from memory to memory.
The kernels here do the rest of `stage.stage_rows`, `sweep.source_rows` and `sweep.sweep_rows`. A thread has points of
two rows.
"""

import functools

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import Buffer, Place, Table, kernel, launch, slice_at
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.views import row_view
from ..parameters import Parameters, forcing_row
from .further import Weights
from .medium import member_of
from .places import Fields
from .plan import Plan
from .rows import row_functions
from .stencils import stencils
from .tendency import tendency, terms
from .updates import updates

BLOCK = 256  # threads


def _blocks(plan: Plan) -> tuple[int, int]:
    """Return the blocks of a member, and those of two rows."""
    parts = -(-plan.point_lines.threads // BLOCK)
    return -(-plan.own_rows // 2) * parts, parts


def launch_points(plan: Plan, kernel: wp.Kernel, field: Buffer, arguments: list) -> None:
    """Launch a kernel on all points of fields like this one."""
    launch(kernel, field.table, field.shape[0] * _blocks(plan)[0], arguments, BLOCK)


@functools.cache
def stage_points(plan: Plan, scheme: str, forced: bool) -> wp.Kernel:
    """Make the kernel of a stage: w_s from w and psi. With ``plan.fields == 2`` it also makes dw_s."""
    lines, ny, real, (blocks, parts), own = plan.point_lines, plan.shape[0], plan.real, _blocks(plan), plan.own_rows
    held, threads, tangent, medium = lines.values, lines.threads, plan.fields == 2, plan.medium
    by_row, by_term, kit, by_point = (
        row_functions(plan, lines),
        terms(real, plan.terms),
        stencils(real),
        updates(plan, scheme, forced),
    )
    rows_around, strip, here = by_row.rows_around, by_row.memory_strip, line_functions(lines).here
    update, update_tangent, south, north = by_point.update, by_point.tangent, kit.south, kit.north
    numbers, weighted, tangent_terms = by_term.numbers, by_term.weighted, by_term.tangent
    Metric, Strip, Values = kit.Metric, kit.Strip, lines.Values
    field, forcing = row_view(real, plan.shape), forcing_row(real, plan.shape)

    @kernel(launch_bounds=BLOCK)
    def stage_points(
        table: Table,
        # coefficients
        a: real,
        b: real,
        c: real,
        metric: Metric,
        # in
        parameters: Parameters,
        dparameters: Parameters,
        step: int,
        start: Fields,
        state: Fields,
        psi: Fields,
        # out
        out: Fields,
    ):
        index, _ = wp.tid()
        member, block, thread = locate(index, blocks)
        i = 2 * (block // parts)
        k = (i + 1) % ny
        t = (block % parts) * wp.block_dim() + thread
        given = numbers(table, parameters, member)
        terms = weighted(given, c, metric)
        if tangent:
            dterms = tangent_terms(given, numbers(table, dparameters, member), c, metric)
        synchronise_dependent_launch()
        if t >= threads:
            return
        around = rows_around(table, state.state, member, i, t)
        around_p = rows_around(table, psi.state, member, i, t)
        force_i = forcing(table, parameters.forcing, step, member, i, t)
        force_k = forcing(table, parameters.forcing, step, member, k, t)
        f_i = real(0.0)
        f_k = real(0.0)
        r = Strip()
        h = Strip()
        if medium:
            shared = member_of(parameters.medium, member)
            around_r = rows_around(table, slice_at(parameters.medium, 0), shared, i, t)
            around_h = rows_around(table, slice_at(parameters.medium, 1), shared, i, t)
        if tangent:
            daround = rows_around(table, state.tangent, member, i, t)
            daround_p = rows_around(table, psi.tangent, member, i, t)
            dforce_i = forcing(table, dparameters.forcing, step, member, i, t)
            dforce_k = forcing(table, dparameters.forcing, step, member, k, t)
            df_i = real(0.0)
            df_k = real(0.0)
            dr = Strip()
            dh = Strip()
            if medium:
                dshared = member_of(dparameters.medium, member)
                around_dr = rows_around(table, slice_at(dparameters.medium, 0), dshared, i, t)
                around_dh = rows_around(table, slice_at(dparameters.medium, 1), dshared, i, t)
        new = Values()
        dnew = Values()
        if a != real(0.0):
            start_i = field(table, start.state, member, i, t)
            start_k = field(table, start.state, member, k, t)
            dstart_i = field(table, start.tangent, member, i, t)
            dstart_k = field(table, start.tangent, member, k, t)
            for e in range(held):
                new[2 * e] = a * start_i[here(e)]
                if tangent:
                    dnew[2 * e] = a * dstart_i[here(e)]
                if i + 1 < own:  # another block may be writing the other rows
                    new[2 * e + 1] = a * start_k[here(e)]
                    if tangent:
                        dnew[2 * e + 1] = a * dstart_k[here(e)]
        for e in range(held):
            p = strip(around_p, e, t)
            w = strip(around, e, t)
            if medium:
                r = strip(around_r, e, t)
                h = strip(around_h, e, t)
            if forced:
                f_i = force_i[here(e)]
                f_k = force_k[here(e)]
            new[2 * e] += update(south(p), south(w), south(r), south(h), f_i, b, terms, metric)
            new[2 * e + 1] += update(north(p), north(w), north(r), north(h), f_k, b, terms, metric)
            if tangent:
                q = strip(daround_p, e, t)
                v = strip(daround, e, t)
                if medium:
                    dr = strip(around_dr, e, t)
                    dh = strip(around_dh, e, t)
                if forced:
                    df_i = dforce_i[here(e)]
                    df_k = dforce_k[here(e)]
                dnew[2 * e] += update_tangent(
                    south(p),
                    south(w),
                    south(r),
                    south(h),
                    f_i,
                    south(q),
                    south(v),
                    south(dr),
                    south(dh),
                    df_i,
                    b,
                    terms,
                    dterms,
                    metric,
                )
                dnew[2 * e + 1] += update_tangent(
                    north(p),
                    north(w),
                    north(r),
                    north(h),
                    f_k,
                    north(q),
                    north(v),
                    north(dr),
                    north(dh),
                    df_k,
                    b,
                    terms,
                    dterms,
                    metric,
                )
        # stores follow all loads: the compiler must assume that the arrays may overlap
        out_i = field(table, out.state, member, i, t)
        out_k = field(table, out.state, member, k, t)
        dout_i = field(table, out.tangent, member, i, t)
        dout_k = field(table, out.tangent, member, k, t)
        for e in range(held):
            out_i[here(e)] = new[2 * e]
            if tangent:
                dout_i[here(e)] = dnew[2 * e]
            if i + 1 < own:
                out_k[here(e)] = new[2 * e + 1]
                if tangent:
                    dout_k[here(e)] = dnew[2 * e + 1]

    return stage_points


@functools.cache
def source_points(plan: Plan, scheme: str) -> wp.Kernel:
    """Make the kernel of F(w, l), as `sweep.source_rows` has it."""
    lines, ny, real, (blocks, parts), own = plan.point_lines, plan.shape[0], plan.real, _blocks(plan), plan.own_rows
    held, threads, further, medium = lines.values, lines.threads, plan.terms > 0, plan.medium
    by_row, by_term, kit, by_point = (
        row_functions(plan, lines),
        terms(real, plan.terms),
        stencils(real),
        updates(plan, scheme),
    )
    rows_around, strip, source = by_row.rows_around, by_row.memory_strip, by_point.source
    here = line_functions(lines).here
    south, north, Strip, Values, More = kit.south, kit.north, kit.Strip, lines.Values, by_point.More
    field, Given = row_view(real, plan.shape), Weights(real)
    if further:
        numbers, bare = by_term.numbers, by_term.bare

    @kernel(launch_bounds=BLOCK)
    def source_points(
        table: Table,
        # in
        state_at: Place,
        cotangent_at: Place,
        given: Given,
        # out
        out_at: Place,
    ):
        index, _ = wp.tid()
        member, block, thread = locate(index, blocks)
        i = 2 * (block // parts)
        t = (block % parts) * wp.block_dim() + thread
        more = More()
        if further:
            more = bare(numbers(table, given.parameters, member), given.metric)
        synchronise_dependent_launch()
        if t >= threads:
            return
        state = rows_around(table, state_at, member, i, t)
        cotangent = rows_around(table, cotangent_at, member, i, t)
        r = Strip()
        h = Strip()
        if medium:
            shared = member_of(given.parameters.medium, member)
            around_r = rows_around(table, slice_at(given.parameters.medium, 0), shared, i, t)
            around_h = rows_around(table, slice_at(given.parameters.medium, 1), shared, i, t)
        values = Values()
        for e in range(held):
            w = strip(state, e, t)
            l = strip(cotangent, e, t)
            if medium:
                r = strip(around_r, e, t)
                h = strip(around_h, e, t)
            values[2 * e] = source(south(w), south(l), south(r), south(h), more, given.metric)
            values[2 * e + 1] = source(north(w), north(l), north(r), north(h), more, given.metric)
        out_i = field(table, out_at, member, i, t)
        out_k = field(table, out_at, member, (i + 1) % ny, t)
        for e in range(held):
            out_i[here(e)] = values[2 * e]
            if i + 1 < own:
                out_k[here(e)] = values[2 * e + 1]

    return source_points


@functools.cache
def sweep_points(plan: Plan, scheme: str) -> wp.Kernel:
    """Make the kernel of ``l_out = a l_1 + e l_2 + b l + c dt R'(w)^T l``, given S F(w, l) (`sweep.sweep_rows`)."""
    lines, ny, real, (blocks, parts), own = plan.point_lines, plan.shape[0], plan.real, _blocks(plan), plan.own_rows
    held, threads, by_row, kit = lines.values, lines.threads, row_functions(plan, lines), stencils(real)
    by_point, by_term = tendency(real, scheme, plan.terms), terms(real, plan.terms)
    rows_around, strip, numbers = by_row.rows_around, by_row.memory_strip, by_term.numbers
    here = line_functions(lines).here
    south, north, Metric, Values, weighted = kit.south, kit.north, kit.Metric, lines.Values, by_term.weighted
    carried, adjoint, field = by_point.carried, by_point.adjoint, row_view(real, plan.shape)

    @kernel(launch_bounds=BLOCK)
    def sweep_points(
        table: Table,
        # coefficients
        a: real,
        e_2: real,
        b: real,
        c: real,
        metric: Metric,
        # in
        parameters: Parameters,
        first_at: Place,
        second_at: Place,
        cotangent_at: Place,
        psi_at: Place,
        solved_at: Place,
        # out
        out_at: Place,
    ):
        index, _ = wp.tid()
        member, block, thread = locate(index, blocks)
        i = 2 * (block // parts)
        k = (i + 1) % ny
        t = (block % parts) * wp.block_dim() + thread
        terms = weighted(numbers(table, parameters, member), c, metric)
        synchronise_dependent_launch()
        if t >= threads:
            return
        cotangent = rows_around(table, cotangent_at, member, i, t)
        psi = rows_around(table, psi_at, member, i, t)
        solved_i = field(table, solved_at, member, i, t)
        solved_k = field(table, solved_at, member, k, t)
        new = Values()
        if a != real(0.0):
            first_i = field(table, first_at, member, i, t)
            first_k = field(table, first_at, member, k, t)
            second_i = field(table, second_at, member, i, t)
            second_k = field(table, second_at, member, k, t)
            for e in range(held):
                new[2 * e] = a * first_i[here(e)] + e_2 * second_i[here(e)]
                new[2 * e + 1] = a * first_k[here(e)] + e_2 * second_k[here(e)]
        for e in range(held):
            l = strip(cotangent, e, t)
            p = strip(psi, e, t)
            g_i = carried(south(l), south(p), terms.metric)
            g_k = carried(north(l), north(p), terms.metric)
            new[2 * e] += adjoint(south(l), terms, b, solved_i[here(e)], g_i)
            new[2 * e + 1] += adjoint(north(l), terms, b, solved_k[here(e)], g_k)
        out_i = field(table, out_at, member, i, t)
        out_k = field(table, out_at, member, k, t)
        for e in range(held):
            out_i[here(e)] = new[2 * e]
            if i + 1 < own:
                out_k[here(e)] = new[2 * e + 1]

    return sweep_points
