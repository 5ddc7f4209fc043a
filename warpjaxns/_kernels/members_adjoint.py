"""The adjoint of the time steps of small grids: a block sweeps back over a whole member (`adjoint` has the equations).

The cotangent stays in shared memory. The kept states and streamfunctions are copied there while columns are solved, a
phase before they are needed. The sums for parameters and forcing are gathered on the way.
"""

import functools

import warp as wp

from . import memory
from .adjoint import pulled_back
from .advance import runge_kutta
from .fft import barrier, complex_type
from .members import coefficient
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .rows import announcer, fetcher, wait
from .stencils import FIRST, SECOND, stencils
from .whole import Whole, whole_functions
from .whole_columns import solve_function


@functools.cache
def adjoint_members(whole: Whole, scheme: str, forced: bool, by_parameter: bool, by_forcing: bool) -> wp.Kernel:
    """Back over `steps` steps, from the cotangent of their result.

    ``w_0`` enters a step as the state of its first stage, with a_2 in the second and with a_3 in the third. `first` and
    `late` keep the cotangents that the last two need.

    From ``w_s = ... + c dt R(w)`` a stage adds ``c dt <l, Lap w>``, ``-c dt <l, w>`` and ``c <l, R(w)>`` to the
    cotangents of viscosity, drag and dt, where ``<l, J(psi, w)> = <w, G(l, psi)>``, and ``c dt l`` to the forcing's.
    """
    lines, columns, real, pairs = whole.lines, whole.columns, whole.real, whole.pairs
    held, threads, groups, Values = lines.values, lines.threads, lines.groups, lines.Values
    forward, inverse, publish, here = lines.forward, lines.inverse, lines.publish, lines.here
    kit, by_block, field = stencils(real), whole_functions(whole), memory.lane(real, whole.shape)
    strip, psi_strip, of_line, to_line = by_block.strip, by_block.psi_strip, by_block.of_line, by_block.to_line
    read, write, meet, solve = by_block.read, by_block.write, by_block.meet, solve_function(whole, True)
    Metric, south, north, laplacian = kit.Metric, kit.south, kit.north, kit.laplacian
    shared, scaled = kit.shared, kit.scaled
    source, carry, local = kit.jacobian[FIRST[scheme]], kit.jacobian[SECOND[scheme]], pulled_back(real)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_state, of_rate = coefficient(real, 1), coefficient(real, 2)
    a_2, a_3 = (real(a) for a, _, _ in runge_kutta(wp.dtype_to_numpy(real))[1:])
    one_field, size, lines_size, sums_size, blocks = whole.field, whole.size, lines.size, columns.size, whole.blocks
    in_turn, ring, stride = whole.beside == 1, whole.ring, whole.stride
    fetch = fetcher(lines, whole.shape, 2 * stride, lines.row_pitch, size)
    announce = announcer(real, whole.shape, 2 * pairs)
    force, shares, psi_start = memory.force(real, whole.shape), 6 * pairs, 0 if in_turn else one_field

    @memory.kernel(launch_bounds=whole.bounds, cluster_dim=blocks)
    def adjoint_members(
        table: Table,
        steps: int,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        states_at: Place,
        psis_at: Place,
        cotangent_at: Place,
        modes_at: Place,
        roots_at: Place,
        first_at: Place,
        late_at: Place,
        out_at: Place,
        parameter_totals_at: Place,
        forcing_totals_at: Place,
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
        by_viscosity = real(0.0)
        by_drag = real(0.0)
        by_dt = real(0.0)
        follow()
        if blocks > 1:
            meet()  # all are there
        last = Place(states_at[0], 3 * steps - 1, states_at[2])
        fetch(fields, 0, field(table, last, member, 0, 0), 2 * start - ring, thread)
        for pair in range(group, pairs, groups):
            to_line(read(table, cotangent_at, member, start + pair, t), buffer, 0, rank, pair, t)
        wait()
        meet()
        for done in range(3 * steps):
            turn = 3 * steps - 1 - done
            step = turn // 3
            stage = turn - 3 * step
            now = done % 2 * stride  # lines with the cotangent
            then = stride - now  # lines to work in, which become those with the cotangent of the stage before
            b = of_state(stage)
            c = of_rate(stage)
            h = c * dt
            terms = scaled(metric, h * nu, h)
            for pair in range(group, pairs, groups):
                i = 2 * (start + pair)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, i + 1, t)
                share_i = force(table, forcing_totals_at, step, member, i, t)
                share_k = force(table, forcing_totals_at, step, member, i + 1, t)
                fresh = done == 0 or (stage == 2 and forcing_totals_at[1] > 1)
                values = Values()
                for e in range(held):
                    w = strip(fields, 0, pair, e, t)
                    l = psi_strip(buffer, now, pair, e, t)
                    values[2 * e] = source(south(w), south(l), metric)
                    values[2 * e + 1] = source(north(w), north(l), metric)
                    if by_parameter:
                        spread = l[7] * laplacian(south(w), metric) + l[4] * laplacian(north(w), metric)
                        along = l[7] * w[7] + l[4] * w[4]
                        by_viscosity += h * spread
                        by_drag -= h * along
                        by_dt += c * (nu * spread - mu * along)
                        if forced:
                            by_dt += c * (l[7] * force_i[here(e)] + l[4] * force_k[here(e)])
                    if by_forcing:
                        total_i = h * l[7]
                        total_k = h * l[4]
                        if not fresh:
                            total_i += share_i[here(e)]
                            total_k += share_k[here(e)]
                        share_i[here(e)] = total_i
                        share_k[here(e)] = total_k
                publish(forward(values, buffer, roots, then + pair, t), buffer, then + pair, t)
            barrier()
            psi = Place(psis_at[0], turn, psis_at[2])
            fetch(fields, psi_start, field(table, psi, member, 0, 0), 2 * start - ring, thread)
            if turn > 0:
                before = Place(states_at[0], turn - 1, states_at[2])
                if in_turn:  # psi takes the place of the state: have it at hand, no more
                    announce(field(table, before, member, 0, 0), 2 * start, thread)
                else:
                    fetch(fields, 0, field(table, before, member, 0, 0), 2 * start - ring, thread)
            solve(buffer, then, modes, sums, rank, thread)
            wait()
            barrier()
            for pair in range(group, pairs, groups):
                own = Values()
                if by_parameter:  # in shared memory the next state is taking its place
                    own = read(table, Place(states_at[0], turn, states_at[2]), member, start + pair, t)
                solved = inverse(of_line(buffer, then + pair, t), buffer, roots, then + pair, t)
                new = Values()
                if stage == 0:
                    first = read(table, first_at, member, start + pair, t)
                    late = read(table, late_at, member, start + pair, t)
                    for e in range(held):  # number by number: Warp would copy a vector that a branch assigns
                        new[2 * e] = a_3 * first[2 * e] + a_2 * late[2 * e]
                        new[2 * e + 1] = a_3 * first[2 * e + 1] + a_2 * late[2 * e + 1]
                for e in range(held):
                    l = psi_strip(buffer, now, pair, e, t)
                    p = strip(fields, psi_start, pair, e, t)
                    g_i = carry(south(l), south(p), terms)
                    g_k = carry(north(l), north(p), terms)
                    new[2 * e] += local(south(l), terms, b, h, h * mu, solved[2 * e], g_i)
                    new[2 * e + 1] += local(north(l), terms, b, h, h * mu, solved[2 * e + 1], g_k)
                    if by_parameter:
                        g_i = carry(south(l), south(p), metric)
                        g_k = carry(north(l), north(p), metric)
                        by_dt += c * (own[2 * e] * g_i + own[2 * e + 1] * g_k)
                to_line(new, buffer, then, rank, pair, t)
                if stage == 2:
                    write(of_line(buffer, now + pair, t), table, first_at, member, start + pair, t)
                    write(new, table, late_at, member, start + pair, t)
                if turn == 0:
                    write(new, table, out_at, member, start + pair, t)
            meet()
            if in_turn and turn > 0:
                before = Place(states_at[0], turn - 1, states_at[2])
                fetch(fields, 0, field(table, before, member, 0, 0), 2 * start - ring, thread)
                wait()
                barrier()
        if by_parameter:  # the caller adds up all rows: everything goes to the first one of a block
            totals = line(table, parameter_totals_at)
            total_viscosity = wp.tile_sum(wp.tile(by_viscosity))
            total_drag = wp.tile_sum(wp.tile(by_drag))
            total_dt = wp.tile_sum(wp.tile(by_dt))
            for share in range(thread, shares, wp.block_dim()):
                total = real(0.0)
                if share == 0:
                    total = total_viscosity[0]
                if share == 1:
                    total = total_drag[0]
                if share == 2:
                    total = total_dt[0]
                totals[(member * blocks + rank) * shares + share] = total

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
    fields,
    scratch,
    parameter_totals,
    forcing_totals,
):
    """As `adjoint.adjoint`, in one launch."""
    whole, (modes, roots), (first, late, _) = plan.whole_adjoint.on(cotangent.on_cpu), tables, fields
    wanted = parameter_totals is not None, forcing_totals is not None
    kernel, metric = adjoint_members(whole, scheme, forcing != NONE, *wanted), stencils(whole.real).Metric(*metric)
    given = [steps, metric, *parameters, forcing, states[0], psis[0], cotangent, modes, roots, first, late, result]
    totals = [parameter_totals if wanted[0] else NONE, forcing_totals.whole if wanted[1] else NONE]
    launch(kernel, cotangent.shape[0] * whole.blocks, [*given, *totals], whole.block_dim)
