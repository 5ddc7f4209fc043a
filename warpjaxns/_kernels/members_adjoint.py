"""The adjoint of the time steps of small grids: a block sweeps back over a whole member (`adjoint` has the equations).

The cotangent lies in shared memory, the kept states and streamfunctions are read as the sweep comes to them.
"""

import functools

import warp as wp

from . import memory
from .adjoint import pulled_back
from .advance import RK3
from .fft import barrier, complex_type
from .members import coefficient
from .memory import Place, Table, follow, launch, locate
from .plan import Plan
from .rows import rows_around
from .stencils import FIRST, stencils
from .sums import adder
from .whole import Whole, whole_functions


@functools.cache
def adjoint_members(whole: Whole, scheme: str) -> wp.Kernel:
    """Back over `turns` stages from stage `last` on, counted from the first step, and from the cotangent of its result.

    ``w_0`` enters a step as the state of its first stage, with a_2 in the second and with a_3 in the third. `first` and
    `late` keep the cotangents that the last two need.
    """
    lines, columns, real, (pitch, pairs) = whole.lines, whole.columns, whole.real, (whole.pitch, whole.pairs)
    held, threads, groups, Values = lines.values, lines.threads, lines.groups, lines.Values
    forward, inverse, publish, get = lines.forward, lines.inverse, lines.publish, lines.get
    west, here, east = lines.west, lines.here, lines.east
    kit, by_block, field = stencils(real), whole_functions(whole, True), memory.lane(real, whole.shape)
    solve, strip, value, put = by_block.solve, by_block.strip, by_block.value, by_block.put
    Metric, south, north, shared, around = kit.Metric, kit.south, kit.north, kit.shared, rows_around(real, whole.shape)
    source, local, strip_of_rows = kit.jacobian[FIRST[scheme]], pulled_back(real, scheme), kit.strip
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_state, of_rate, a_2, a_3 = coefficient(real, 1), coefficient(real, 2), real(RK3[1][0]), real(RK3[2][0])
    one_field, size, lines_size, sums_size = whole.field, whole.size, lines.size, columns.size

    @memory.kernel(launch_bounds=whole.bounds)
    def adjoint_members(
        table: Table,
        last: int,
        turns: int,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        states_at: Place,
        psis_at: Place,
        cotangent_at: Place,
        modes_at: Place,
        roots_at: Place,
        first_at: Place,
        late_at: Place,
        out_at: Place,
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
            given_i = field(table, cotangent_at, member, 2 * pair, t)
            given_k = field(table, cotangent_at, member, 2 * pair + 1, t)
            for e in range(held):
                put(fields, 2 * pair * pitch + t + here(e), given_i[here(e)])
                put(fields, (2 * pair + 1) * pitch + t + here(e), given_k[here(e)])
        barrier()
        for done in range(turns):
            turn = last - done
            stage = turn % 3
            now = done % 2 * one_field
            then = one_field - now
            b = of_state(stage)
            h = of_rate(stage) * dt
            for pair in range(group, pairs, groups):
                state = around(table, Place(states_at[0], turn, states_at[2]), member, 2 * pair, t)
                values = Values()
                for e in range(held):
                    w = strip_of_rows(state, west(e, t), here(e), east(e, t))
                    l = strip(fields, now, pair, e, t)
                    values[2 * e] = source(south(w), south(l), metric)
                    values[2 * e + 1] = source(north(w), north(l), metric)
                publish(forward(values, buffer, roots, pair, t), buffer, pair, t)
            barrier()
            solve(buffer, modes, sums, thread)
            barrier()
            for pair in range(group, pairs, groups):
                i = 2 * pair
                psi = around(table, Place(psis_at[0], turn, psis_at[2]), member, i, t)
                first_i = field(table, first_at, member, i, t)
                first_k = field(table, first_at, member, i + 1, t)
                late_i = field(table, late_at, member, i, t)
                late_k = field(table, late_at, member, i + 1, t)
                solved = Values()
                for e in range(held):
                    z = get(buffer, pair, t + here(e))
                    solved[2 * e] = z[0]
                    solved[2 * e + 1] = z[1]
                solved = inverse(solved, buffer, roots, pair, t)
                new = Values()
                if stage == 0:
                    for e in range(held):
                        new[2 * e] = a_3 * first_i[here(e)] + a_2 * late_i[here(e)]
                        new[2 * e + 1] = a_3 * first_k[here(e)] + a_2 * late_k[here(e)]
                for e in range(held):
                    l = strip(fields, now, pair, e, t)
                    p = strip_of_rows(psi, west(e, t), here(e), east(e, t))
                    new[2 * e] += local(south(l), south(p), metric, b, h, nu, mu, solved[2 * e])
                    new[2 * e + 1] += local(north(l), north(p), metric, b, h, nu, mu, solved[2 * e + 1])
                for e in range(held):
                    put(fields, then + i * pitch + t + here(e), new[2 * e])
                    put(fields, then + (i + 1) * pitch + t + here(e), new[2 * e + 1])
                if stage == 2:
                    for e in range(held):
                        first_i[here(e)] = value(fields, now + i * pitch + t + here(e))
                        first_k[here(e)] = value(fields, now + (i + 1) * pitch + t + here(e))
                        late_i[here(e)] = new[2 * e]
                        late_k[here(e)] = new[2 * e + 1]
                if done == turns - 1:
                    out_i = field(table, out_at, member, i, t)
                    out_k = field(table, out_at, member, i + 1, t)
                    for e in range(held):
                        out_i[here(e)] = new[2 * e]
                        out_k[here(e)] = new[2 * e + 1]
            barrier()

    return adjoint_members


def adjoint(
    plan: Plan,
    scheme,
    metric,
    steps,
    tables,
    parameters,
    forcing,
    states,
    psis,
    cotangent,
    result,
    scratch,
    spectrum,
    parameter_totals,
    forcing_totals,
):
    """As `adjoint.adjoint`: in one launch, or in one for each stage where sums are wanted of the cotangents between."""
    whole, (modes, roots), (first, late, _) = plan.whole.on(cotangent.on_cpu), tables, scratch
    metric, kernel = stencils(whole.real).Metric(*metric), adjoint_members(whole, scheme)
    add_up = adder(plan, scheme, metric, steps, parameters, forcing, states, psis, parameter_totals, forcing_totals)
    turns = 3 * steps if parameter_totals is None and forcing_totals is None else 1
    for turn in range(3 * steps - 1, -1, -turns):
        add_up(turn, cotangent)
        arguments = [turn, turns, metric, *parameters, states[0], psis[0], cotangent, modes, roots, first, late, result]
        launch(kernel, cotangent.shape[0], arguments, whole.block_dim)
        cotangent = result
