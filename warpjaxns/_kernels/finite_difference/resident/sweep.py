"""The adjoint of the time steps of resident members (`finite_difference.sweep` has the equations).

One kernel sweeps back over all steps of a call. The cotangent stays in shared memory. Kept states and streamfunctions
are copied there while columns are solved, one phase before they are needed. The same kernel adds up the cotangents of
parameters and forcing.
"""

import functools

import warp as wp

from ...._coefficients import runge_kutta
from ...fft.transforms import line_functions
from ...hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ...hardware.clusters import Mbarrier
from ...hardware.copies import row_copier, row_prefetcher, wait
from ...hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ...hardware.numbers import complex_type
from ...hardware.views import row_view, vector_view
from ...parameters import Parameters, forcing_row
from ..further import further_values, is_screened, member_modes
from ..medium import medium_strip, medium_values
from ..places import TablePlaces, table_places
from ..setting import Setting
from ..stencils import stencils
from ..tendency import parameter_shares, tendency, terms
from .columns import solve_function
from .layout import Resident
from .rows import resident_functions
from .stage import coefficient


@functools.cache
def resident_sweep(resident: Resident, scheme: str, forced: bool, by_parameter: bool, by_forcing: bool) -> wp.Kernel:
    """Make the kernel that sweeps back over `steps` steps, from the cotangent of their result.

    ``w_0`` enters a step as the state of its first stage, with a_2 in the second stage, and with a_3 in the third.
    `first` and `late` keep the cotangents that the last two need.

    `parameter_shares` has the cotangents of the parameters. They use ``<l, J(psi, w)> = <w, G(l, psi)>``, since state
    and streamfunction are not in shared memory at the same time. A stage adds ``c dt l`` to the cotangent of the
    forcing.
    """
    lines, columns, real, pairs, nx = resident.lines, resident.columns, resident.real, resident.pairs, resident.shape[1]
    walks, per_walk, block_dim, blocks = resident.walks, resident.pairs_per_walk, resident.block_dim, resident.blocks
    by_line, by_block, kit = line_functions(lines), resident_functions(resident), stencils(real)
    by_point, by_term, gradient = (
        tendency(real, scheme, resident.terms),
        terms(real, resident.terms),
        parameter_shares(real, scheme, resident.terms),
    )
    further, screened, modes_of = (
        resident.terms > 0,
        is_screened(resident.terms),
        member_modes(columns.Mode, nx // 2 + 1),
    )
    if further:
        bare, to_psi = by_term.bare, further_values(real, resident.terms).to_psi
    medium, of_medium = resident.medium, medium_values(real, scheme).to_psi
    medium_at, adds_to_source = medium_strip(real, resident.shape), further or medium
    get, put, solve, row = (
        by_line.get,
        by_line.put,
        solve_function(resident, True),
        row_view(real, resident.shape, True),
    )
    forward_lines, inverse_lines, path = by_block.forward_lines, by_block.inverse_lines, by_block.path
    begin_cluster, wait_for_rows, end_cluster = by_block.begin_cluster, by_block.wait_for_rows, by_block.end_cluster
    line_window, line_ahead, line_next = by_block.line_window, by_block.line_ahead, by_block.line_next
    line_strip, row_window, row_strip = by_block.line_strip, by_block.row_window, by_block.row_strip
    row_next, put_in_line = by_block.row_next, by_block.put_in_line
    Metric, south, north, numbers, weighted = kit.Metric, kit.south, kit.north, by_term.numbers, by_term.weighted
    source, carried, adjoint = by_point.source, by_point.carried, by_point.adjoint
    Sums, add, add_rest, shares = gradient.Sums, gradient.add, gradient.add_rest, gradient.shares
    vector, complex_view, modes_view = vector_view(real), vector_view(complex_type(real)), vector_view(columns.Mode)
    of_state, of_rate = coefficient(real, 1), coefficient(real, 2)
    a_2, a_3 = (real(a) for a, _, _ in runge_kutta(wp.dtype_to_numpy(real))[1:])
    one_field, halo, stride = resident.field_size, resident.halo, resident.stride
    size, lines_size, sums_size, mbarriers_size = resident.size, lines.size, columns.size, resident.mbarriers
    in_turn = resident.beside == 1  # state and streamfunction take the same place in turn
    psi_start = 0 if in_turn else one_field
    copy = row_copier(real, lines.threads, resident.shape, 2 * stride, lines.row_pitch, size)
    prefetch = row_prefetcher(real, resident.shape, 2 * pairs)
    force, block_shares = forcing_row(real, resident.shape, True), 6 * pairs
    Starts = wp.types.vector(length=2 * per_walk, dtype=real)

    @kernel(launch_bounds=resident.bounds, cluster_dim=blocks)
    def resident_sweep(
        table: Table,
        steps: int,
        metric: Metric,
        # in
        parameters: Parameters,
        states_at: Place,
        psis_at: Place,
        cotangent_at: Place,
        tables: TablePlaces,
        # scratch
        first_at: Place,
        late_at: Place,
        # out
        out_at: Place,
        parameter_totals_at: Place,
        forcing_totals_at: Place,
    ):
        roots = complex_view(table, tables.roots)
        modes = modes_view(table, tables.modes)
        index, _ = wp.tid()
        member, rank, thread = locate(index, blocks)
        if screened:
            modes = modes_of(table, tables.modes, member)
        start = rank * pairs  # the block's first row pair
        given = numbers(table, parameters, member)
        if further:
            more = bare(given, metric)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        gradients = Sums()
        mbarriers = wp.tile_empty(shape=(mbarriers_size,), dtype=Mbarrier, storage="shared")
        synchronise_dependent_launch()
        begin_cluster(mbarriers, thread)
        last = slice_at(states_at, 3 * steps - 1)
        copy(fields, 0, row(table, last, member, 0, 0), 2 * start - halo, thread)
        for walk in range(thread, walks, block_dim):
            j, _west, _east, first = path(walk)
            from_cotangent = row(table, cotangent_at, member, 2 * (start + first), j)
            for e in range(per_walk):
                i = from_cotangent[nx * (2 * e)]
                k = from_cotangent[nx * (2 * e + 1)]
                put_in_line(buffer, 0, mbarriers, 0, rank, first + e, j, i, k)
        wait()
        wait_for_rows(mbarriers, 0, 2, thread)  # of the cotangent, to the south and to the north
        for done in range(3 * steps):
            turn = 3 * steps - 1 - done
            step = turn // 3
            stage = turn - 3 * step
            now = done % 2 * stride  # lines with the cotangent
            then = stride - now  # lines to work in, which become those with the cotangent of the stage before
            b = of_state(stage)
            c = of_rate(stage)
            terms = weighted(given, c, metric)
            by_stage = Sums()
            for walk in range(thread, walks, block_dim):
                j, west, east, first = path(walk)
                at = 2 * (start + first)
                forcing = force(table, parameters.forcing, step, member, at, j)
                share = force(table, forcing_totals_at, step, member, at, j)
                fresh = done == 0 or (stage == 2 and forcing_totals_at[3] > 1)
                cotangent = line_window(buffer, now, first, west, j, east)
                state = row_window(fields, 0, first, west, j, east)
                for e in range(per_walk):
                    ahead = line_ahead(buffer, now, first + e, west, j, east)
                    l = line_strip(cotangent, ahead)
                    w = row_strip(state, fields, 0, first + e, west, j, east)
                    of_i = source(south(w), south(l), metric)
                    if adds_to_source:
                        of_k = source(north(w), north(l), metric)
                        if further:
                            of_i += to_psi(south(l), more)
                            of_k += to_psi(north(l), more)
                        if medium:
                            r = medium_at(table, parameters.medium, 0, member, at + 2 * e, west, j, east)
                            h = medium_at(table, parameters.medium, 1, member, at + 2 * e, west, j, east)
                            of_i += of_medium(south(l), south(r), south(h), metric)
                            of_k += of_medium(north(l), north(r), north(h), metric)
                        put(buffer, then + first + e, j, of_i, of_k)
                    else:
                        put(buffer, then + first + e, j, of_i, source(north(w), north(l), metric))
                    if by_parameter:
                        by_stage = add(by_stage, l[7], south(w), metric)
                        by_stage = add(by_stage, l[4], north(w), metric)
                        if forced:
                            product = l[7] * forcing[nx * (2 * e)] + l[4] * forcing[nx * (2 * e + 1)]
                            by_stage = add_rest(by_stage, product)
                    if by_forcing:
                        total_i = terms.h * l[7]
                        total_k = terms.h * l[4]
                        if not fresh:
                            total_i += share[nx * (2 * e)]
                            total_k += share[nx * (2 * e + 1)]
                        share[nx * (2 * e)] = total_i
                        share[nx * (2 * e + 1)] = total_k
                    cotangent = line_next(cotangent, ahead)
                    state = row_next(w)
            barrier()
            forward_lines(buffer, then, roots, thread)
            barrier()
            psi_place = slice_at(psis_at, turn)
            copy(fields, psi_start, row(table, psi_place, member, 0, 0), 2 * start - halo, thread)
            if turn > 0:
                before = slice_at(states_at, turn - 1)
                if in_turn:  # psi takes the place of the state, which is only prefetched
                    prefetch(row(table, before, member, 0, 0), 2 * start, thread)
                else:
                    copy(fields, 0, row(table, before, member, 0, 0), 2 * start - halo, thread)
            solve(buffer, then, modes, sums, mbarriers, done, rank, thread)
            wait()
            barrier()
            inverse_lines(buffer, then, roots, thread)
            barrier()
            for walk in range(thread, walks, block_dim):
                j, west, east, first = path(walk)
                at = 2 * (start + first)
                own = row(table, slice_at(states_at, turn), member, at, j)
                kept = row(table, first_at, member, at, j)
                late = row(table, late_at, member, at, j)
                out = row(table, out_at, member, at, j)
                starts = Starts()
                if stage == 0:
                    for e in range(2 * per_walk):
                        starts[e] = a_3 * kept[nx * e] + a_2 * late[nx * e]
                cotangent = line_window(buffer, now, first, west, j, east)
                psi = row_window(fields, psi_start, first, west, j, east)
                for e in range(per_walk):
                    ahead = line_ahead(buffer, now, first + e, west, j, east)
                    l = line_strip(cotangent, ahead)
                    p = row_strip(psi, fields, psi_start, first + e, west, j, east)
                    solved = get(buffer, then + first + e, j)
                    new_i = adjoint(south(l), terms, b, solved[0], carried(south(l), south(p), terms.metric))
                    new_k = adjoint(north(l), terms, b, solved[1], carried(north(l), north(p), terms.metric))
                    if stage == 0:
                        new_i += starts[2 * e]
                        new_k += starts[2 * e + 1]
                    if by_parameter:  # the state comes from device memory: in shared memory it is being overwritten
                        g_i = carried(south(l), south(p), metric)
                        g_k = carried(north(l), north(p), metric)
                        by_stage = add_rest(by_stage, own[nx * (2 * e)] * g_i + own[nx * (2 * e + 1)] * g_k)
                    put_in_line(buffer, then, mbarriers, done + 1, rank, first + e, j, new_i, new_k)
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
            if by_parameter:
                gradients += shares(by_stage, given, c)
            wait_for_rows(mbarriers, done + 1, 2, thread)
            if in_turn and turn > 0:
                before = slice_at(states_at, turn - 1)
                copy(fields, 0, row(table, before, member, 0, 0), 2 * start - halo, thread)
                wait()
                barrier()
        end_cluster(mbarriers, 0, 0, thread)  # all rows have come
        if (
            by_parameter
        ):  # the caller adds up all rows: a block writes its sum to its first row, and zeros to the others
            totals = vector(table, parameter_totals_at)
            total_0 = wp.tile_sum(wp.tile(gradients[0]))
            total_1 = wp.tile_sum(wp.tile(gradients[1]))
            total_2 = wp.tile_sum(wp.tile(gradients[2]))
            for i in range(thread, block_shares, wp.block_dim()):
                total = real(0.0)
                if i == 0:
                    total = total_0[0]
                if i == 1:
                    total = total_1[0]
                if i == 2:
                    total = total_2[0]
                totals[(member * blocks + rank) * block_shares + i] = total

    return resident_sweep


def adjoint(setting: Setting, parameters: Parameters, dt, kept, cotangent, result, fields, scratch, totals):
    """Launch the sweep of `finite_difference.sweep.adjoint` as one kernel without scratch."""
    resident, (first, late, _) = setting.plan.resident_adjoint.on(cotangent.on_cpu), fields
    (states, psis), (by_parameter, by_forcing, *_) = kept, totals
    wanted = by_parameter is not None, by_forcing is not None
    kernel = resident_sweep(resident, setting.scheme, parameters.forcing != NO_ARRAY, *wanted)
    given = [setting.steps, setting.metric, parameters, states[0], psis[0], cotangent, table_places(setting.tables)]
    made = [first, late, result, by_parameter or NO_ARRAY, by_forcing.slices if wanted[1] else NO_ARRAY]
    launch(kernel, cotangent.table, cotangent.shape[0] * resident.blocks, [*given, *made], resident.block_dim)
