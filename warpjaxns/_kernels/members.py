"""Small grids: a block takes a whole member through all its steps, and only the first and last state leave it.

The kernels of `advance` cut a member into bands and meet in memory between them. Here everything lies in shared memory,
and a stage has four phases with a barrier after each: rows forward, columns solved, rows back, and the tendency.
"""

import functools

import warp as wp

from . import memory
from .advance import runge_kutta, tendency
from .fft import barrier, complex_type
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .stencils import stencils
from .whole import Whole, whole_functions
from .whole_columns import solve_function


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
    lines, columns, real, pairs = whole.lines, whole.columns, whole.real, whole.pairs
    held, threads, groups, Values, here = lines.values, lines.threads, lines.groups, lines.Values, lines.here
    kit, by_block, solve = stencils(real), whole_functions(whole), solve_function(whole, False)
    rows_to_lines, lines_back = by_block.rows_to_lines, by_block.lines_back
    psi_strip, strip, of_line, to_rows = by_block.psi_strip, by_block.strip, by_block.of_line, by_block.to_rows
    read, write, meet = by_block.read, by_block.write, by_block.meet
    Metric, shared, scaled, south, north = kit.Metric, kit.shared, kit.scaled, kit.south, kit.north
    force, rate = memory.force(real, whole.shape), tendency(real, scheme)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, size, lines_size, sums_size, blocks = whole.field, whole.size, lines.size, columns.size, whole.blocks

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
        start = rank * pairs  # the first of the block's row pairs
        group = thread // threads
        t = thread % threads
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        follow()
        if blocks > 1:
            meet()  # all are there
        for pair in range(group, pairs, groups):
            given = read(table, start_at, member, start + pair, t)
            to_rows(given, fields, 0, rank, pair, t)
            write(given, table, out_at, member, start + pair, t)
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * one_field  # the state takes turns with the next one
            then = one_field - now
            a = of_start(stage)
            b = of_state(stage)
            h = of_rate(stage) * dt
            terms = scaled(metric, h * nu, h)
            rows_to_lines(fields, now, buffer, roots, thread)
            barrier()
            solve(buffer, 0, modes, sums, rank, thread)
            barrier()
            lines_back(buffer, roots, rank, thread)
            meet()
            for pair in range(group, pairs, groups):
                row_pair = start + pair
                force_i = force(table, forcing_at, step, member, 2 * row_pair, t)
                force_k = force(table, forcing_at, step, member, 2 * row_pair + 1, t)
                new = Values()
                if stage > 0:  # the start of the step lies where its result will
                    first = read(table, out_at, member, row_pair, t)
                    for e in range(held):  # number by number: Warp would copy a vector that a branch assigns
                        new[2 * e] = a * first[2 * e]
                        new[2 * e + 1] = a * first[2 * e + 1]
                for e in range(held):
                    p = psi_strip(buffer, 0, pair, e, t)
                    w = strip(fields, now, pair, e, t)
                    r_i = rate(south(p), south(w), terms, h * mu)
                    r_k = rate(north(p), north(w), terms, h * mu)
                    if forced:
                        r_i += h * force_i[here(e)]
                        r_k += h * force_k[here(e)]
                    new[2 * e] += b * w[7] + r_i
                    new[2 * e + 1] += b * w[4] + r_k
                to_rows(new, fields, then, rank, pair, t)
                if stage == 2:
                    write(new, table, out_at, member, row_pair, t)
                if keep:
                    write(of_line(buffer, pair, t), table, Place(psis_at[0], turn, psis_at[2]), member, row_pair, t)
                    if turn + 1 < 3 * steps:
                        write(new, table, Place(states_at[0], turn + 1, states_at[2]), member, row_pair, t)
            barrier()
        if blocks > 1:
            meet()  # no neighbour is left that writes here

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
