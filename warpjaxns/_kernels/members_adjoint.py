"""The adjoint of the time steps of small grids: a block sweeps back over a whole member (`adjoint` has the equations).

The cotangent stays in shared memory. The kept states and streamfunctions are copied there while columns are solved, a
phase before they are needed. The sums for parameters and forcing are gathered on the way.
"""

import functools

import warp as wp

from . import memory
from .adjoint import pulled_back
from .advance import runge_kutta
from .clusters import Gates
from .fft import barrier, complex_type, line_functions
from .members import coefficient
from .memory import NONE, Place, Table, follow, launch, locate, slice_at
from .plan import Plan
from .rows import announcer, fetcher, wait
from .stencils import FIRST, SECOND, stencils
from .whole import Whole
from .whole_columns import solve_function
from .whole_rows import whole_functions


@functools.cache
def adjoint_members(whole: Whole, scheme: str, forced: bool, by_parameter: bool, by_forcing: bool) -> wp.Kernel:
    """Back over `steps` steps, from the cotangent of their result.

    ``w_0`` enters a step as the state of its first stage, with a_2 in the second and with a_3 in the third. `first` and
    `late` keep the cotangents that the last two need.

    From ``w_s = ... + c dt R(w)`` a stage adds ``c dt <l, Lap w>``, ``-c dt <l, w>`` and ``c <l, R(w)>`` to the
    cotangents of viscosity, drag and dt, where ``<l, J(psi, w)> = <w, G(l, psi)>``, and ``c dt l`` to the forcing's.
    """
    lines, columns, real, pairs, nx = whole.lines, whole.columns, whole.real, whole.pairs, whole.shape[1]
    walks, climb, block_dim, blocks = whole.walks, whole.climb, whole.block_dim, whole.blocks
    by_line, by_block, kit = line_functions(lines), whole_functions(whole), stencils(real)
    get, put, solve, row = by_line.get, by_line.put, solve_function(whole, True), memory.lane(real, whole.shape, True)
    forward_lines, inverse_lines, path = by_block.forward_lines, by_block.inverse_lines, by_block.path
    begin, gather, end, gates_size = by_block.begin, by_block.gather, by_block.end, whole.gates
    line_window, line_ahead, line_next = by_block.line_window, by_block.line_ahead, by_block.line_next
    line_strip, row_window, row_strip = by_block.line_strip, by_block.row_window, by_block.row_strip
    row_next, to_line = by_block.row_next, by_block.to_line
    Metric, south, north, laplacian = kit.Metric, kit.south, kit.north, kit.laplacian
    shared, scaled = kit.shared, kit.scaled
    source, carry, local = kit.jacobian[FIRST[scheme]], kit.jacobian[SECOND[scheme]], pulled_back(real)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_state, of_rate = coefficient(real, 1), coefficient(real, 2)
    a_2, a_3 = (real(a) for a, _, _ in runge_kutta(wp.dtype_to_numpy(real))[1:])
    one_field, size, lines_size, sums_size = whole.field, whole.size, lines.size, columns.size
    in_turn, ring, stride = whole.beside == 1, whole.ring, whole.stride
    fetch = fetcher(lines, whole.shape, 2 * stride, lines.row_pitch, size)
    announce = announcer(real, whole.shape, 2 * pairs)
    force, shares, psi_start = memory.force(real, whole.shape, True), 6 * pairs, 0 if in_turn else one_field
    Begun = wp.types.vector(length=2 * climb, dtype=real)

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
        start = rank * pairs  # the block's first row pair
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        by_viscosity = real(0.0)
        by_drag = real(0.0)
        by_dt = real(0.0)
        gates = wp.tile_empty(shape=(gates_size,), dtype=Gates, storage="shared")
        follow()
        begin(gates, thread)
        last = slice_at(states_at, 3 * steps - 1)
        fetch(fields, 0, row(table, last, member, 0, 0), 2 * start - ring, thread)
        for walk in range(thread, walks, block_dim):
            j, _west, _east, first = path(walk)
            given = row(table, cotangent_at, member, 2 * (start + first), j)
            for e in range(climb):
                i = given[nx * (2 * e)]
                k = given[nx * (2 * e + 1)]
                to_line(buffer, 0, gates, 0, rank, first + e, j, i, k)
        wait()
        gather(gates, 0, 2, thread)  # of the cotangent, to the south and to the north
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
            for walk in range(thread, walks, block_dim):
                j, w, o, first = path(walk)
                at = 2 * (start + first)
                forcing = force(table, forcing_at, step, member, at, j)
                share = force(table, forcing_totals_at, step, member, at, j)
                fresh = done == 0 or (stage == 2 and forcing_totals_at[3] > 1)
                cotangent = line_window(buffer, now, first, w, j, o)
                state = row_window(fields, 0, first, w, j, o)
                for e in range(climb):
                    ahead = line_ahead(buffer, now, first + e, w, j, o)
                    l = line_strip(cotangent, ahead)
                    q = row_strip(state, fields, 0, first + e, w, j, o)
                    of_i = source(south(q), south(l), metric)
                    put(buffer, then + first + e, j, of_i, source(north(q), north(l), metric))
                    if by_parameter:
                        spread = l[7] * laplacian(south(q), metric) + l[4] * laplacian(north(q), metric)
                        along = l[7] * q[7] + l[4] * q[4]
                        by_viscosity += h * spread
                        by_drag -= h * along
                        by_dt += c * (nu * spread - mu * along)
                        if forced:
                            by_dt += c * (l[7] * forcing[nx * (2 * e)] + l[4] * forcing[nx * (2 * e + 1)])
                    if by_forcing:
                        total_i = h * l[7]
                        total_k = h * l[4]
                        if not fresh:
                            total_i += share[nx * (2 * e)]
                            total_k += share[nx * (2 * e + 1)]
                        share[nx * (2 * e)] = total_i
                        share[nx * (2 * e + 1)] = total_k
                    cotangent = line_next(cotangent, ahead)
                    state = row_next(q)
            barrier()
            forward_lines(buffer, then, roots, thread)
            barrier()
            psi_place = slice_at(psis_at, turn)
            fetch(fields, psi_start, row(table, psi_place, member, 0, 0), 2 * start - ring, thread)
            if turn > 0:
                before = slice_at(states_at, turn - 1)
                if in_turn:  # psi takes the place of the state: have it at hand, no more
                    announce(row(table, before, member, 0, 0), 2 * start, thread)
                else:
                    fetch(fields, 0, row(table, before, member, 0, 0), 2 * start - ring, thread)
            solve(buffer, then, modes, sums, gates, done, rank, thread)
            wait()
            barrier()
            inverse_lines(buffer, then, roots, thread)
            barrier()
            for walk in range(thread, walks, block_dim):
                j, w, o, first = path(walk)
                at = 2 * (start + first)
                own = row(table, slice_at(states_at, turn), member, at, j)
                kept = row(table, first_at, member, at, j)
                late = row(table, late_at, member, at, j)
                out = row(table, out_at, member, at, j)
                begun = Begun()
                if stage == 0:
                    for e in range(2 * climb):
                        begun[e] = a_3 * kept[nx * e] + a_2 * late[nx * e]
                cotangent = line_window(buffer, now, first, w, j, o)
                psi = row_window(fields, psi_start, first, w, j, o)
                for e in range(climb):
                    ahead = line_ahead(buffer, now, first + e, w, j, o)
                    l = line_strip(cotangent, ahead)
                    p = row_strip(psi, fields, psi_start, first + e, w, j, o)
                    solved = get(buffer, then + first + e, j)
                    new_i = local(south(l), terms, b, h, h * mu, solved[0], carry(south(l), south(p), terms))
                    new_k = local(north(l), terms, b, h, h * mu, solved[1], carry(north(l), north(p), terms))
                    if stage == 0:
                        new_i += begun[2 * e]
                        new_k += begun[2 * e + 1]
                    if by_parameter:  # in shared memory the next state is taking the place of this one
                        g_i = carry(south(l), south(p), metric)
                        g_k = carry(north(l), north(p), metric)
                        by_dt += c * (own[nx * (2 * e)] * g_i + own[nx * (2 * e + 1)] * g_k)
                    to_line(buffer, then, gates, done + 1, rank, first + e, j, new_i, new_k)
                    if stage == 2:
                        kept[nx * (2 * e)] = l[7]
                        kept[nx * (2 * e + 1)] = l[4]
                        late[nx * (2 * e)] = new_i
                        late[nx * (2 * e + 1)] = new_k
                    if turn == 0:
                        out[nx * (2 * e)] = new_i
                        out[nx * (2 * e + 1)] = new_k
                    cotangent = line_next(cotangent, ahead)
                    psi = row_next(p)
            gather(gates, done + 1, 2, thread)
            if in_turn and turn > 0:
                before = slice_at(states_at, turn - 1)
                fetch(fields, 0, row(table, before, member, 0, 0), 2 * start - ring, thread)
                wait()
                barrier()
        end(gates, 0, 0, thread)  # all has come
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
