"""The linearised time steps of small grids, with the steps they linearise: a block carries state and tangent of a whole
member, as `members` does the state. Their lines stay apart, as in `tangent`."""

import functools

import warp as wp

from . import memory
from .advance import tendency
from .fft import barrier, complex_type
from .members import coefficient
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .stencils import stencils
from .tangent import tangent_rate
from .whole import Whole, whole_functions
from .whole_columns import solve_function


@functools.cache
def tangent_members(whole: Whole, scheme: str, forced: bool) -> wp.Kernel:
    """`steps` steps of state and tangent."""
    lines, columns, real, pairs, stride = whole.lines, whole.columns, whole.real, whole.pairs, whole.stride
    held, threads, groups, here, pitch = lines.values, lines.threads, lines.groups, lines.here, lines.row_pitch
    kit, by_block, solve = stencils(real), whole_functions(whole), solve_function(whole, False)
    rows_to_lines, lines_back, field = by_block.rows_to_lines, by_block.lines_back, memory.lane(real, whole.shape)
    psi_strip, strip, put, share = by_block.psi_strip, by_block.strip, by_block.put, by_block.share
    of_rows, to_rows, ring = by_block.of_rows, by_block.to_rows, whole.ring
    read, write, meet = by_block.read, by_block.write, by_block.meet
    Metric, south, north, shared, scaled = kit.Metric, kit.south, kit.north, kit.shared, kit.scaled
    force, rate, dot_rate = memory.force(real, whole.shape), tendency(real, scheme), tangent_rate(real, scheme)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, size, lines_size, sums_size, blocks = whole.field, whole.size, lines.size, columns.size, whole.blocks

    @memory.kernel(launch_bounds=whole.bounds, cluster_dim=blocks)
    def tangent_members(
        table: Table,
        steps: int,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        dviscosity_at: Place,
        ddrag_at: Place,
        ddt_at: Place,
        dforcing_at: Place,
        start_at: Place,
        dstart_at: Place,
        modes_at: Place,
        roots_at: Place,
        out_at: Place,
        dout_at: Place,
    ):
        roots = complex_line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, rank, thread = locate(index, blocks)
        start = rank * pairs  # the first of the block's row pairs
        group = thread // threads
        t = thread % threads
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        dnu = shared(line(table, dviscosity_at), member)
        dmu = shared(line(table, ddrag_at), member)
        ddt = shared(line(table, ddt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        follow()
        if blocks > 1:
            meet()  # all are there
        for pair in range(group, pairs, groups):
            first = read(table, start_at, member, start + pair, t)
            dfirst = read(table, dstart_at, member, start + pair, t)
            to_rows(first, fields, 0, rank, pair, t)
            to_rows(dfirst, fields, one_field, rank, pair, t)
            write(first, table, out_at, member, start + pair, t)
            write(dfirst, table, dout_at, member, start + pair, t)
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * 2 * one_field  # state and tangent take turns with the next ones
            then = 2 * one_field - now
            a = of_start(stage)
            b = of_state(stage)
            h = of_rate(stage) * dt
            dh = of_rate(stage) * ddt
            terms = scaled(metric, h * nu, h)
            dterms = scaled(metric, dh * nu + h * dnu, dh)
            drag = h * mu
            ddrag = dh * mu + h * dmu
            rows_to_lines(fields, now, buffer, roots, thread)
            barrier()
            solve(buffer, 0, modes, sums, rank, thread)
            barrier()
            lines_back(buffer, roots, rank, thread)
            meet()
            for pair in range(group, pairs, groups):
                i = 2 * (start + pair)
                out_i = field(table, out_at, member, i, t)
                out_k = field(table, out_at, member, i + 1, t)
                dout_i = field(table, dout_at, member, i, t)
                dout_k = field(table, dout_at, member, i + 1, t)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, i + 1, t)
                dforce_i = force(table, dforcing_at, step, member, i, t)
                dforce_k = force(table, dforcing_at, step, member, i + 1, t)
                at = then + (ring + 2 * pair) * pitch + t
                for e in range(held):
                    p = psi_strip(buffer, 0, pair, e, t)
                    dp = psi_strip(buffer, stride, pair, e, t)
                    w = strip(fields, now, pair, e, t)
                    dw = strip(fields, now + one_field, pair, e, t)
                    r_i = rate(south(p), south(w), terms, drag)
                    r_k = rate(north(p), north(w), terms, drag)
                    dr_i = dot_rate(south(p), south(w), south(dp), south(dw), terms, drag, dterms, ddrag)
                    dr_k = dot_rate(north(p), north(w), north(dp), north(dw), terms, drag, dterms, ddrag)
                    if forced:
                        r_i += h * force_i[here(e)]
                        r_k += h * force_k[here(e)]
                        dr_i += h * dforce_i[here(e)] + dh * force_i[here(e)]
                        dr_k += h * dforce_k[here(e)] + dh * force_k[here(e)]
                    new_i = b * w[7] + r_i
                    new_k = b * w[4] + r_k
                    dnew_i = b * dw[7] + dr_i
                    dnew_k = b * dw[4] + dr_k
                    if stage > 0:  # the start of the step lies where its result will
                        new_i += a * out_i[here(e)]
                        new_k += a * out_k[here(e)]
                        dnew_i += a * dout_i[here(e)]
                        dnew_k += a * dout_k[here(e)]
                    put(fields, at + here(e), new_i)
                    put(fields, at + pitch + here(e), new_k)
                    put(fields, at + one_field + here(e), dnew_i)
                    put(fields, at + one_field + pitch + here(e), dnew_k)
                    if stage == 2:
                        out_i[here(e)] = new_i
                        out_k[here(e)] = new_k
                        dout_i[here(e)] = dnew_i
                        dout_k[here(e)] = dnew_k
                if blocks > 1 and (pair == 0 or pair == pairs - 1):
                    share(of_rows(fields, then, pair, t), fields, then, rank, pair, t)
                    share(of_rows(fields, then + one_field, pair, t), fields, then + one_field, rank, pair, t)
            barrier()
        if blocks > 1:
            meet()  # no neighbour is left that writes here

    return tangent_members


def tangent(
    plan: Plan,
    scheme,
    metric,
    steps,
    tables,
    parameters,
    forcing,
    dparameters,
    dforcing,
    omega,
    domega,
    states,
    dstates,
    spectra,
):
    """As `tangent.tangent`, in one launch: only the last of `states` and `dstates` are used."""
    whole, (modes, roots) = plan.whole_tangent.on(omega.on_cpu), tables
    kernel, metric = tangent_members(whole, scheme, forcing != NONE), stencils(whole.real).Metric(*metric)
    given = [steps, metric, *parameters, forcing, *dparameters, dforcing, omega, domega]
    launch(kernel, omega.shape[0] * whole.blocks, [*given, modes, roots, states[-1], dstates[-1]], whole.block_dim)
