"""Small grids: a block takes a whole member through all its steps, and only the first and last state leave it.

The kernels of `advance` cut a member into bands and meet in memory between them. Here everything lies in shared memory,
and a stage has four phases with a barrier after each: rows forward, columns solved, rows back, and the tendency.
"""

import functools

import warp as wp

from . import memory
from .advance import runge_kutta, tendency
from .clusters import Gates
from .fft import barrier, complex_type
from .memory import NONE, Place, Table, follow, launch, locate, slice_at
from .plan import Plan
from .stencils import stencils
from .whole import Whole
from .whole_columns import solve_function
from .whole_rows import whole_functions


@functools.cache
def coefficient(real, which: int):
    """``coefficient(stage)``: a, b or c of that stage of `runge_kutta`."""
    first, second, third = (real(row[which]) for row in runge_kutta(wp.dtype_to_numpy(real)))

    @wp.func
    def coefficient(stage: int):
        return wp.where(stage == 0, first, wp.where(stage == 1, second, third))

    return coefficient


@functools.cache
def advance_members(whole: Whole, scheme: str, forced: bool, keep: bool) -> wp.Kernel:
    """`steps` steps. With `keep`, also the psi of each stage, and what each but the last one leaves behind."""
    lines, columns, real, pairs, nx = whole.lines, whole.columns, whole.real, whole.pairs, whole.shape[1]
    walks, climb, block_dim, blocks, in_rows = whole.walks, whole.climb, whole.block_dim, whole.blocks, whole.start
    kit, by_block, solve = stencils(real), whole_functions(whole), solve_function(whole, False)
    rows_to_lines, lines_back, path = by_block.rows_to_lines, by_block.lines_back, by_block.path
    begin, gather, end, gates_size = by_block.begin, by_block.gather, by_block.end, whole.gates
    line_window, line_ahead, line_next = by_block.line_window, by_block.line_ahead, by_block.line_next
    line_strip, row_window, row_strip = by_block.line_strip, by_block.row_window, by_block.row_strip
    row_next, to_rows, of_rows = by_block.row_next, by_block.to_rows, by_block.of_rows
    Metric, shared, scaled, south, north = kit.Metric, kit.shared, kit.scaled, kit.south, kit.north
    rate, force, row = tendency(real, scheme), *(f(real, whole.shape, True) for f in (memory.force, memory.lane))
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, size, lines_size, sums_size = whole.field, whole.size, lines.size, columns.size
    Begun = wp.types.vector(length=2 * climb, dtype=real)

    @memory.kernel(launch_bounds=whole.bounds, cluster_dim=blocks)
    def advance_members(
        table: Table,
        steps: int,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        start_at: Place,
        modes_at: Place,
        roots_at: Place,
        out_at: Place,
        states_at: Place,
        psis_at: Place,
    ):
        roots = complex_line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, rank, thread = locate(index, blocks)
        start = rank * pairs  # the block's first row pair
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        gates = wp.tile_empty(shape=(gates_size,), dtype=Gates, storage="shared")
        follow()
        begin(gates, thread)
        for walk in range(thread, walks, block_dim):
            j, _west, _east, first = path(walk)
            given = row(table, start_at, member, 2 * (start + first), j)
            out = row(table, out_at, member, 2 * (start + first), j)
            for e in range(climb):
                i = given[nx * (2 * e)]
                k = given[nx * (2 * e + 1)]
                to_rows(fields, 0, gates, 0, rank, first + e, j, i, k)
                if not in_rows:
                    out[nx * (2 * e)] = i
                    out[nx * (2 * e + 1)] = k
        barrier()
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * one_field  # the state takes turns with the next one
            then = one_field - now
            if in_rows:  # and the start of the step stays where it is, until the end of the step takes its place
                now = stage * one_field
                then = (stage + 1) % 3 * one_field
            a = of_start(stage)
            b = of_state(stage)
            h = of_rate(stage) * dt
            terms = scaled(metric, h * nu, h)
            rows_to_lines(fields, now, buffer, roots, thread)
            barrier()
            solve(buffer, 0, modes, sums, gates, turn, rank, thread)
            barrier()
            lines_back(buffer, roots, gates, turn, rank, thread)
            gather(gates, turn, 4, thread)  # of psi and of the state, to the south and to the north
            for walk in range(thread, walks, block_dim):
                j, w, o, first = path(walk)
                at = 2 * (start + first)
                out = row(table, out_at, member, at, j)
                forcing = force(table, forcing_at, step, member, at, j)
                psi_out = row(table, slice_at(psis_at, turn), member, at, j)
                state_out = row(table, slice_at(states_at, turn), member, at, j)
                begun = Begun()
                if stage > 0 and not in_rows:  # the start of the step lies where the result will
                    for e in range(2 * climb):
                        begun[e] = a * out[nx * e]
                psi = line_window(buffer, 0, first, w, j, o)
                state = row_window(fields, now, first, w, j, o)
                for e in range(climb):
                    ahead = line_ahead(buffer, 0, first + e, w, j, o)
                    p = line_strip(psi, ahead)
                    q = row_strip(state, fields, now, first + e, w, j, o)
                    new_i = b * q[7] + rate(south(p), south(q), terms, h * mu)
                    new_k = b * q[4] + rate(north(p), north(q), terms, h * mu)
                    if stage > 0:
                        if in_rows:
                            start_i, start_k = of_rows(fields, 0, first + e, j)
                            new_i += a * start_i
                            new_k += a * start_k
                        else:
                            new_i += begun[2 * e]
                            new_k += begun[2 * e + 1]
                    if forced:
                        new_i += h * forcing[nx * (2 * e)]
                        new_k += h * forcing[nx * (2 * e + 1)]
                    to_rows(fields, then, gates, turn + 1, rank, first + e, j, new_i, new_k)
                    if stage == 2 and (not in_rows or turn + 1 == 3 * steps):
                        out[nx * (2 * e)] = new_i
                        out[nx * (2 * e + 1)] = new_k
                    if keep:
                        psi_out[nx * (2 * e)] = p[7]
                        psi_out[nx * (2 * e + 1)] = p[4]
                        if turn + 1 < 3 * steps:
                            state_out[nx * (2 * e)] = new_i
                            state_out[nx * (2 * e + 1)] = new_k
                    psi = line_next(psi, ahead)
                    state = row_next(q)
            barrier()
        end(gates, 3 * steps, 2, thread)

    return advance_members


def advance(plan: Plan, scheme, metric, steps, tables, parameters, forcing, omega, targets, psis, spectra):
    """As `advance.advance`, in one launch without scratch. The last target may be `omega`; the others are successive
    slices of one array, and not used without `psis`."""
    whole, (modes, roots), keep = plan.whole.on(omega.on_cpu), tables, psis is not None
    kernel = advance_members(whole, scheme, forcing != NONE, keep)
    kept = (targets[0], psis[0]) if keep else (NONE, NONE)
    metric = stencils(whole.real).Metric(*metric)
    arguments = [steps, metric, *parameters, forcing, omega, modes, roots, targets[-1], *kept]
    launch(kernel, omega.shape[0] * whole.blocks, arguments, whole.block_dim)
