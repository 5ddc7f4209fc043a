"""Time steps of resident members: one kernel takes a member through all steps of a call.

The blocks of `finite_difference.stage` meet in device memory. Here all fields lie in shared memory, and only the first
and last state are read from and written to device memory. A stage has four phases with a barrier after each: transform
rows, solve columns, transform back, tendency. State and tangent have separate lines, as in `finite_difference.stage`.
"""

import functools

import warp as wp

from ...._coefficients import runge_kutta
from ...hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ...hardware.clusters import Mbarrier
from ...hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ...hardware.numbers import complex_type
from ...hardware.views import row_view, vector_view
from ...parameters import Parameters, forcing_row
from ..further import has_hypodrag, is_screened, member_modes
from ..medium import medium_strip, medium_values
from ..places import Fields, TablePlaces, fields, table_places
from ..setting import Setting
from ..stencils import stencils
from ..tendency import tendency, terms
from .columns import solve_function
from .layout import Resident
from .rows import resident_functions


@functools.cache
def coefficient(real, which: int):
    """``coefficient(stage)`` is a, b or c of a stage of `runge_kutta`. `which`: 0, 1 or 2."""
    first, second, third = (real(row[which]) for row in runge_kutta(wp.dtype_to_numpy(real)))

    @wp.func
    def coefficient(stage: int):
        return wp.where(stage == 0, first, wp.where(stage == 1, second, third))

    return coefficient


@functools.cache
def resident_stages(resident: Resident, scheme: str, forced: bool, keep: bool) -> wp.Kernel:
    """Make the kernel of all steps, of a state, or with ``resident.fields == 2`` of a state and its tangent.

    With `keep` it also writes psi of each stage, and the state after each stage but the last one.

    The start of a step stays in rows where there is room (`Resident.start`). Elsewhere it lies in the array of the
    step's result. A thread reads it early, to hide the latency: all its points for a state alone, and one row pair
    ahead with a tangent, which has no registers for more.
    """
    lines, columns, real, pairs, nx = resident.lines, resident.columns, resident.real, resident.pairs, resident.shape[1]
    walks, per_walk, block_dim, blocks = resident.walks, resident.pairs_per_walk, resident.block_dim, resident.blocks
    tangent, in_rows, dlines = resident.fields == 2, resident.start, resident.stride
    kit, by_block, solve = (
        stencils(real),
        resident_functions(resident),
        solve_function(resident, has_hypodrag(resident.terms)),
    )
    by_point, by_term = tendency(real, scheme, resident.terms), terms(real, resident.terms)
    medium, of_medium = resident.medium, medium_values(real, scheme).value
    medium_at = medium_strip(real, resident.shape)
    screened, modes_of = is_screened(resident.terms), member_modes(columns.Mode, nx // 2 + 1)
    rows_to_lines, lines_to_rows, path = by_block.rows_to_lines, by_block.lines_to_rows, by_block.path
    begin_cluster, wait_for_rows, end_cluster = by_block.begin_cluster, by_block.wait_for_rows, by_block.end_cluster
    line_window, line_ahead, line_next = by_block.line_window, by_block.line_ahead, by_block.line_next
    line_strip, row_window, row_strip = by_block.line_strip, by_block.row_window, by_block.row_strip
    row_next, put_rows, get_rows = by_block.row_next, by_block.put_rows, by_block.get_rows
    rate, tangent_rate, Metric, south, north = by_point.rate, by_point.tangent, kit.Metric, kit.south, kit.north
    numbers, weighted, tangent_terms = by_term.numbers, by_term.weighted, by_term.tangent
    row, force = row_view(real, resident.shape, True), forcing_row(real, resident.shape, True)
    complex_view, modes_view = vector_view(complex_type(real)), vector_view(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    one_field, all_fields = resident.field_size, resident.fields * resident.field_size
    size, lines_size, sums_size, mbarriers_size = resident.size, lines.size, columns.size, resident.mbarriers
    halo_rows = 4 * resident.fields  # of psi and of the state, to the south and to the north
    Starts, Pairs = wp.types.vector(length=2 * per_walk, dtype=real), wp.types.vector(length=4, dtype=real)

    @wp.func
    def start_of_pair(out: wp.array(dtype=real), dout: wp.array(dtype=real), pair: int):
        at = 2 * nx * pair
        return Pairs(out[at], out[at + nx], dout[at], dout[at + nx])

    @kernel(launch_bounds=resident.bounds, cluster_dim=blocks)
    def resident_stages(
        table: Table,
        steps: int,
        metric: Metric,
        # in
        parameters: Parameters,
        dparameters: Parameters,
        begin: Fields,
        tables: TablePlaces,
        # out
        end: Fields,
        states_at: Place,
        psis_at: Place,
    ):
        roots = complex_view(table, tables.roots)
        modes = modes_view(table, tables.modes)
        index, _ = wp.tid()
        member, rank, thread = locate(index, blocks)
        if screened:
            modes = modes_of(table, tables.modes, member)
        start = rank * pairs  # the block's first row pair
        given = numbers(table, parameters, member)
        if tangent:
            dgiven = numbers(table, dparameters, member)
        buffer = wp.tile_empty(shape=(lines_size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        mbarriers = wp.tile_empty(shape=(mbarriers_size,), dtype=Mbarrier, storage="shared")
        synchronise_dependent_launch()
        begin_cluster(mbarriers, thread)
        for walk in range(thread, walks, block_dim):
            j, _west, _east, first = path(walk)
            at = 2 * (start + first)
            from_state = row(table, begin.state, member, at, j)
            out = row(table, end.state, member, at, j)
            if tangent:
                from_tangent = row(table, begin.tangent, member, at, j)
                dout = row(table, end.tangent, member, at, j)
            for e in range(per_walk):
                i = from_state[nx * (2 * e)]
                k = from_state[nx * (2 * e + 1)]
                put_rows(fields, 0, mbarriers, 0, rank, first + e, j, i, k)
                if not in_rows:
                    out[nx * (2 * e)] = i
                    out[nx * (2 * e + 1)] = k
                if tangent:
                    di = from_tangent[nx * (2 * e)]
                    dk = from_tangent[nx * (2 * e + 1)]
                    put_rows(fields, one_field, mbarriers, 0, rank, first + e, j, di, dk)
                    dout[nx * (2 * e)] = di
                    dout[nx * (2 * e + 1)] = dk
        barrier()
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * all_fields  # old and new fields exchange their places
            then = all_fields - now
            if in_rows:  # the start of the step has a third place, until the end of the step overwrites it
                now = stage * one_field
                then = (stage + 1) % 3 * one_field
            a = of_start(stage)
            b = of_state(stage)
            terms = weighted(given, of_rate(stage), metric)
            if tangent:
                dterms = tangent_terms(given, dgiven, of_rate(stage), metric)
            rows_to_lines(fields, now, buffer, roots, thread)
            barrier()
            solve(buffer, 0, modes, sums, mbarriers, turn, rank, thread)
            barrier()
            lines_to_rows(buffer, roots, mbarriers, turn, rank, thread)
            wait_for_rows(mbarriers, turn, halo_rows, thread)
            for walk in range(thread, walks, block_dim):
                j, west, east, first = path(walk)
                at = 2 * (start + first)
                out = row(table, end.state, member, at, j)
                if forced:
                    forcing = force(table, parameters.forcing, step, member, at, j)
                if keep:
                    psi_out = row(table, slice_at(psis_at, turn), member, at, j)
                    state_out = row(table, slice_at(states_at, turn), member, at, j)
                psi = line_window(buffer, 0, first, west, j, east)
                state = row_window(fields, now, first, west, j, east)
                starts = Starts()
                if stage > 0 and not in_rows and not tangent:
                    for e in range(2 * per_walk):
                        starts[e] = a * out[nx * e]
                if tangent:
                    dout = row(table, end.tangent, member, at, j)
                    if forced:
                        dforcing = force(table, dparameters.forcing, step, member, at, j)
                    dpsi = line_window(buffer, dlines, first, west, j, east)
                    dstate = row_window(fields, now + one_field, first, west, j, east)
                    next_start = Pairs()
                    if stage > 0:
                        next_start = start_of_pair(out, dout, 0)
                for e in range(per_walk):
                    ahead = line_ahead(buffer, 0, first + e, west, j, east)
                    p = line_strip(psi, ahead)
                    w = row_strip(state, fields, now, first + e, west, j, east)
                    new_i = b * w[7] + rate(south(p), south(w), terms)
                    new_k = b * w[4] + rate(north(p), north(w), terms)
                    if medium:
                        r = medium_at(table, parameters.medium, 0, member, at + 2 * e, west, j, east)
                        h = medium_at(table, parameters.medium, 1, member, at + 2 * e, west, j, east)
                        new_i += of_medium(south(p), south(r), south(h), metric, terms.h)
                        new_k += of_medium(north(p), north(r), north(h), metric, terms.h)
                    if tangent:
                        pair_start = next_start
                        if stage > 0 and e + 1 < per_walk:
                            next_start = start_of_pair(out, dout, e + 1)
                        dahead = line_ahead(buffer, dlines, first + e, west, j, east)
                        dp = line_strip(dpsi, dahead)
                        dw = row_strip(dstate, fields, now + one_field, first + e, west, j, east)
                        new_i += a * pair_start[0]
                        new_k += a * pair_start[1]
                        dnew_i = b * dw[7] + a * pair_start[2]
                        dnew_k = b * dw[4] + a * pair_start[3]
                        dnew_i += tangent_rate(south(p), south(w), south(dp), south(dw), terms, dterms)
                        dnew_k += tangent_rate(north(p), north(w), north(dp), north(dw), terms, dterms)
                        if medium:
                            dr = medium_at(table, dparameters.medium, 0, member, at + 2 * e, west, j, east)
                            dh = medium_at(table, dparameters.medium, 1, member, at + 2 * e, west, j, east)
                            dnew_i += of_medium(south(dp), south(r), south(h), metric, terms.h)
                            dnew_k += of_medium(north(dp), north(r), north(h), metric, terms.h)
                            dnew_i += of_medium(south(p), south(dr), south(dh), metric, terms.h)
                            dnew_k += of_medium(north(p), north(dr), north(dh), metric, terms.h)
                            dnew_i += of_medium(south(p), south(r), south(h), metric, dterms.h)
                            dnew_k += of_medium(north(p), north(r), north(h), metric, dterms.h)
                        if forced:
                            force_i = forcing[nx * (2 * e)]
                            force_k = forcing[nx * (2 * e + 1)]
                            dnew_i += terms.h * dforcing[nx * (2 * e)] + dterms.h * force_i
                            dnew_k += terms.h * dforcing[nx * (2 * e + 1)] + dterms.h * force_k
                        put_rows(fields, then + one_field, mbarriers, turn + 1, rank, first + e, j, dnew_i, dnew_k)
                        if stage == 2:
                            dout[nx * (2 * e)] = dnew_i
                            dout[nx * (2 * e + 1)] = dnew_k
                        dpsi = line_next(dpsi, dahead)
                        dstate = row_next(dw)
                    elif stage > 0:
                        if in_rows:
                            start_i, start_k = get_rows(fields, 0, first + e, j)
                            new_i += a * start_i
                            new_k += a * start_k
                        else:
                            new_i += starts[2 * e]
                            new_k += starts[2 * e + 1]
                    if forced:
                        new_i += terms.h * forcing[nx * (2 * e)]
                        new_k += terms.h * forcing[nx * (2 * e + 1)]
                    put_rows(fields, then, mbarriers, turn + 1, rank, first + e, j, new_i, new_k)
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
                    state = row_next(w)
            barrier()
        end_cluster(mbarriers, 3 * steps, halo_rows // 2, thread)

    return resident_stages


def advance(setting: Setting, parameters: Parameters, omega, targets, psis, scratch):
    """Launch the steps of `finite_difference.stage.advance` as one kernel without scratch.

    The last target may be `omega`. The others are successive slices of one array, and are not used without `psis`.
    """
    kept = None if psis is None else (targets[0], psis[0])
    places = fields(omega), fields(targets[-1])
    _launch(setting, setting.plan.resident, (parameters, parameters), omega, *places, kept)


def tangent(setting: Setting, parameters: Parameters, dparameters: Parameters, omega, domega, targets, psis, scratch):
    """Launch the steps of `finite_difference.stage.tangent` as one kernel. Only the last pair of `targets` is used."""
    places = fields(omega, domega), fields(*targets[-1])
    _launch(setting, setting.plan.resident_tangent, (parameters, dparameters), omega, *places, None)


def _launch(setting, resident, parameters, omega, begin, end, kept):
    resident = resident.on(omega.on_cpu)
    kernel = resident_stages(resident, setting.scheme, parameters[0].forcing != NO_ARRAY, kept is not None)
    arguments = [setting.steps, setting.metric, *parameters, begin, table_places(setting.tables), end]
    arguments += kept or (NO_ARRAY, NO_ARRAY)
    launch(kernel, omega.table, omega.shape[0] * resident.blocks, arguments, resident.block_dim)
