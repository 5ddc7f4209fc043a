"""The linearised time steps of small grids, with the steps they linearise: a block carries state and tangent of a whole
member, as `members` does the state. Their lines stay apart, as in `tangent`."""

import functools

import warp as wp

from . import memory
from .advance import tendency
from .clusters import Gates
from .fft import barrier, complex_type
from .members import coefficient
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .stencils import stencils
from .tangent import tangent_rate
from .whole import Whole
from .whole_columns import solve_function
from .whole_rows import whole_functions


@functools.cache
def tangent_members(whole: Whole, scheme: str, forced: bool) -> wp.Kernel:
    """`steps` steps of state and tangent."""
    lines, columns, real, pairs, nx = whole.lines, whole.columns, whole.real, whole.pairs, whole.shape[1]
    walks, climb, block_dim, blocks, stride = whole.walks, whole.climb, whole.block_dim, whole.blocks, whole.stride
    kit, by_block, solve = stencils(real), whole_functions(whole), solve_function(whole, False)
    rows_to_lines, lines_back, path = by_block.rows_to_lines, by_block.lines_back, by_block.path
    begin, gather, end, gates_size = by_block.begin, by_block.gather, by_block.end, whole.gates
    line_window, line_ahead, line_next = by_block.line_window, by_block.line_ahead, by_block.line_next
    line_strip, row_window, row_strip = by_block.line_strip, by_block.row_window, by_block.row_strip
    row_next, to_rows, row = by_block.row_next, by_block.to_rows, memory.lane(real, whole.shape, True)
    Metric, south, north, shared, scaled = kit.Metric, kit.south, kit.north, kit.shared, kit.scaled
    force, rate, dot_rate = memory.force(real, whole.shape, True), tendency(real, scheme), tangent_rate(real, scheme)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, size, lines_size, sums_size = whole.field, whole.size, lines.size, columns.size

    Begun = wp.types.vector(length=4, dtype=real)

    @wp.func
    def begun_at(out: wp.array(dtype=real), dout: wp.array(dtype=real), pair: int):
        at = 2 * nx * pair
        return Begun(out[at], out[at + nx], dout[at], dout[at + nx])

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
        start = rank * pairs  # the block's first row pair
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        dnu = shared(line(table, dviscosity_at), member)
        dmu = shared(line(table, ddrag_at), member)
        ddt = shared(line(table, ddt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        gates = wp.tile_empty(shape=(gates_size,), dtype=Gates, storage="shared")
        follow()
        begin(gates, thread)
        for walk in range(thread, walks, block_dim):
            j, _west, _east, first = path(walk)
            at = 2 * (start + first)
            given = row(table, start_at, member, at, j)
            dgiven = row(table, dstart_at, member, at, j)
            out = row(table, out_at, member, at, j)
            dout = row(table, dout_at, member, at, j)
            for e in range(climb):
                at_i = nx * (2 * e)
                at_k = nx * (2 * e + 1)
                to_rows(fields, 0, gates, 0, rank, first + e, j, given[at_i], given[at_k])
                to_rows(fields, one_field, gates, 0, rank, first + e, j, dgiven[at_i], dgiven[at_k])
                for r in range(2):
                    out[nx * (2 * e + r)] = given[nx * (2 * e + r)]
                    dout[nx * (2 * e + r)] = dgiven[nx * (2 * e + r)]
        barrier()
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
            solve(buffer, 0, modes, sums, gates, turn, rank, thread)
            barrier()
            lines_back(buffer, roots, gates, turn, rank, thread)
            gather(gates, turn, 8, thread)  # of psi, the state and their tangents, to the south and north
            for walk in range(thread, walks, block_dim):
                j, w, o, first = path(walk)
                at = 2 * (start + first)
                out = row(table, out_at, member, at, j)
                dout = row(table, dout_at, member, at, j)
                forcing = force(table, forcing_at, step, member, at, j)
                dforcing = force(table, dforcing_at, step, member, at, j)
                psi = line_window(buffer, 0, first, w, j, o)
                dpsi = line_window(buffer, stride, first, w, j, o)
                state = row_window(fields, now, first, w, j, o)
                dstate = row_window(fields, now + one_field, first, w, j, o)
                begun = Begun()
                if stage > 0:  # the start of the step lies where its result will
                    begun = begun_at(out, dout, 0)
                for e in range(climb):
                    start_of_step = begun
                    if stage > 0 and e + 1 < climb:  # the next pair's are on their way meanwhile
                        begun = begun_at(out, dout, e + 1)
                    ahead = line_ahead(buffer, 0, first + e, w, j, o)
                    dahead = line_ahead(buffer, stride, first + e, w, j, o)
                    p = line_strip(psi, ahead)
                    dp = line_strip(dpsi, dahead)
                    q = row_strip(state, fields, now, first + e, w, j, o)
                    dq = row_strip(dstate, fields, now + one_field, first + e, w, j, o)
                    new_i = b * q[7] + rate(south(p), south(q), terms, drag)
                    new_k = b * q[4] + rate(north(p), north(q), terms, drag)
                    dnew_i = b * dq[7]
                    dnew_k = b * dq[4]
                    dnew_i += dot_rate(south(p), south(q), south(dp), south(dq), terms, drag, dterms, ddrag)
                    dnew_k += dot_rate(north(p), north(q), north(dp), north(dq), terms, drag, dterms, ddrag)
                    if forced:
                        force_i = forcing[nx * (2 * e)]
                        force_k = forcing[nx * (2 * e + 1)]
                        new_i += h * force_i
                        new_k += h * force_k
                        dnew_i += h * dforcing[nx * (2 * e)] + dh * force_i
                        dnew_k += h * dforcing[nx * (2 * e + 1)] + dh * force_k
                    new_i += a * start_of_step[0]
                    new_k += a * start_of_step[1]
                    dnew_i += a * start_of_step[2]
                    dnew_k += a * start_of_step[3]
                    to_rows(fields, then, gates, turn + 1, rank, first + e, j, new_i, new_k)
                    to_rows(fields, then + one_field, gates, turn + 1, rank, first + e, j, dnew_i, dnew_k)
                    if stage == 2:
                        out[nx * (2 * e)] = new_i
                        out[nx * (2 * e + 1)] = new_k
                        dout[nx * (2 * e)] = dnew_i
                        dout[nx * (2 * e + 1)] = dnew_k
                    psi = line_next(psi, ahead)
                    dpsi = line_next(dpsi, dahead)
                    state = row_next(q)
                    dstate = row_next(dq)
            barrier()
        end(gates, 3 * steps, 4, thread)

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
