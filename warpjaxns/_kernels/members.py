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
    lines, columns, real, (pitch, pairs) = whole.lines, whole.columns, whole.real, (whole.pitch, whole.pairs)
    get, held, threads, groups, Values, here = (
        lines.get,
        lines.values,
        lines.threads,
        lines.groups,
        lines.Values,
        lines.here,
    )
    kit, by_block, field = stencils(real), whole_functions(whole, False), memory.lane(real, whole.shape)
    rows_to_lines, solve, lines_back = by_block.rows_to_lines, by_block.solve, by_block.lines_back
    psi_strip, strip, put = by_block.psi_strip, by_block.strip, by_block.put
    Metric, south, north, shared = kit.Metric, kit.south, kit.north, kit.shared
    force, rate = memory.force(real, whole.shape), tendency(real, scheme)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, size, lines_size, sums_size = whole.field, whole.size, lines.size, columns.size

    @memory.kernel(launch_bounds=whole.bounds)
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
        member, _, thread = locate(index, 1)
        group = thread // threads
        t = thread % threads
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        follow()
        for pair in range(group, pairs, groups):
            start_i = field(table, start_at, member, 2 * pair, t)
            start_k = field(table, start_at, member, 2 * pair + 1, t)
            out_i = field(table, out_at, member, 2 * pair, t)
            out_k = field(table, out_at, member, 2 * pair + 1, t)
            for e in range(held):
                w_i = start_i[here(e)]
                w_k = start_k[here(e)]
                put(fields, 2 * pair * pitch + t + here(e), w_i)
                put(fields, (2 * pair + 1) * pitch + t + here(e), w_k)
                out_i[here(e)] = w_i
                out_k[here(e)] = w_k
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * one_field  # the state takes turns with the next one
            then = one_field - now
            a = of_start(stage)
            b = of_state(stage)
            h = of_rate(stage) * dt
            rows_to_lines(fields, now, buffer, roots, thread)
            barrier()
            solve(buffer, modes, sums, thread)
            barrier()
            lines_back(buffer, roots, thread)
            barrier()
            for pair in range(group, pairs, groups):
                i = 2 * pair
                out_i = field(table, out_at, member, i, t)
                out_k = field(table, out_at, member, i + 1, t)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, i + 1, t)
                new = Values()
                if stage > 0:  # the start of the step lies where its result will
                    for e in range(held):
                        new[2 * e] = a * out_i[here(e)]
                        new[2 * e + 1] = a * out_k[here(e)]
                for e in range(held):
                    p = psi_strip(buffer, 0, pair, e, t)
                    w = strip(fields, now, pair, e, t)
                    f_i = real(0.0)
                    f_k = real(0.0)
                    if forced:
                        f_i = force_i[here(e)]
                        f_k = force_k[here(e)]
                    r_i = rate(south(p), south(w), metric, nu, mu, f_i)
                    r_k = rate(north(p), north(w), metric, nu, mu, f_k)
                    new[2 * e] += b * w[7] + h * r_i
                    new[2 * e + 1] += b * w[4] + h * r_k
                for e in range(held):
                    put(fields, then + i * pitch + t + here(e), new[2 * e])
                    put(fields, then + (i + 1) * pitch + t + here(e), new[2 * e + 1])
                if stage == 2:
                    for e in range(held):
                        out_i[here(e)] = new[2 * e]
                        out_k[here(e)] = new[2 * e + 1]
                if keep:
                    psi_i = field(table, Place(psis_at[0], turn, psis_at[2]), member, i, t)
                    psi_k = field(table, Place(psis_at[0], turn, psis_at[2]), member, i + 1, t)
                    for e in range(held):
                        z = get(buffer, pair, t + here(e))
                        psi_i[here(e)] = z[0]
                        psi_k[here(e)] = z[1]
                    if turn + 1 < 3 * steps:
                        state_i = field(table, Place(states_at[0], turn + 1, states_at[2]), member, i, t)
                        state_k = field(table, Place(states_at[0], turn + 1, states_at[2]), member, i + 1, t)
                        for e in range(held):
                            state_i[here(e)] = new[2 * e]
                            state_k[here(e)] = new[2 * e + 1]
            barrier()

    return advance_members


def advance(plan: Plan, scheme, metric, steps, tables, parameters, forcing, omega, targets, psis, spectra):
    """As `advance.advance`, in one launch without scratch. The last target may be `omega`; the others are successive
    slices of one array, and not used without `psis`."""
    whole, (modes, roots), keep = plan.whole.on(omega.on_cpu), tables, psis is not None
    kernel = advance_members(whole, scheme, forcing != NONE, keep)
    kept = (targets[0], psis[0]) if keep else (NONE, NONE)
    metric = stencils(whole.real).Metric(*metric)
    arguments = [steps, metric, *parameters, forcing, omega, modes, roots, targets[-1], *kept]
    launch(kernel, omega.shape[0], arguments, whole.block_dim)
