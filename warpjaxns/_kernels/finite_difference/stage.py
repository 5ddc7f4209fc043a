"""Time steps with low-storage Runge-Kutta, two kernels a stage, of a state alone or of a state and its tangent.

Stage s of a step is ``w_s = a w_0 + b w_(s-1) + c dt R(w_(s-1))``. `poisson.solve_columns` turns the spectra of w_(s-1)
into those of psi. `stage_rows` transforms psi back row by row, applies R where psi still lies in shared memory, and
transforms the new rows for the next stage. By `slabs`, `stage_rows` solves for psi itself. It may also transform the
rows of w_(s-1) anew instead of reading their spectra (`Plan.recompute`). That takes a seventh more instructions, before
the previous kernel has ended, and a third less traffic. Where rows are too long for two lines of psi in a block, psi
goes through memory (`points`).

A tangent dw goes through the same kernels as w. The two are never packed into one complex line, where the rounding of w
would drown a small dw.
"""

import functools

import warp as wp

from ..._coefficients import runge_kutta
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, slice_at
from ..hardware.copies import wait
from ..hardware.intrinsics import barrier, later_block, locate, synchronise_dependent_launch
from ..hardware.numbers import complex_type
from ..hardware.views import row_view, vector_view
from ..parameters import Parameters, forcing_row
from .medium import member_of
from .places import Fields, Spectrum, TablePlaces, fields, table_places
from .plan import Plan
from .points import launch_points, stage_points
from .rows import row_functions
from .setting import Setting
from .slab_rows import slab_functions, slab_prefetchers
from .spectra import spectra_functions
from .stencils import stencils
from .tendency import terms
from .updates import updates


@functools.cache
def stage_rows(plan: Plan, scheme: str, forced: bool, keep_psi: bool) -> wp.Kernel:
    """Make the kernel of a stage: w_s and its spectra, from w and the spectra of its psi.

    With ``plan.fields == 2`` it also makes dw_s and its spectra. The lines of the tangent follow those of the state.
    """
    lines, ny, real, rows, pairs, slabs = plan.stage_lines, plan.shape[0], plan.real, plan.rows, plan.pairs, plan.slabs
    size, held, threads, groups = lines.size, lines.values, lines.threads, lines.groups
    pairs_in_step = lines.rounded_up(pairs)
    tangent, as_one, dlines = plan.fields == 2, not lines.alone, pairs + 1  # the first line of dpsi
    by_line, by_row, spectra = line_functions(lines), row_functions(plan, lines), spectra_functions(plan, lines, True)
    by_point, by_term, kit = updates(plan, scheme, forced), terms(real, plan.terms), stencils(real)
    forward, inverse, publish, get = by_line.forward, by_line.inverse, by_line.publish, by_line.get
    load_factors, line_barrier, here = by_line.factors, by_line.barrier, by_line.here
    fetch, load, store, leave, modes_view = spectra.fetch, spectra.load, spectra.store, spectra.leave, spectra.modes
    rows_around, psi_strip, field_strip = by_row.rows_around, by_row.psi_strip, by_row.field_strip
    by_slabs, recompute, transform_anew = plan.by_slabs, plan.recompute, spectra.recompute
    copies_rows, slab_size, row_pitch = plan.copies_rows, plan.slab_size, plan.row_pitch
    copy, copy_row = slab_functions(plan).copy, slab_functions(plan).copy_row
    copied_size = plan.fields * slab_size
    prefetches, (prefetch, prefetch_spectra) = plan.saturated and not recompute, slab_prefetchers(plan)
    prefetches_start = prefetches and not tangent
    prefetches_next = prefetches and (copies_rows or tangent)
    update, update_tangent, south, north = by_point.update, by_point.tangent, kit.south, kit.north
    Metric, Strip = kit.Metric, kit.Strip
    numbers, weighted, tangent_terms = by_term.numbers, by_term.weighted, by_term.tangent
    Values, field, forcing = lines.Values, row_view(real, plan.shape), forcing_row(real, plan.shape)
    complex_view, present = vector_view(complex_type(real)), by_row.present
    screened, modes_of, divided = plan.screened, spectra.modes_of, plan.edges > 0
    medium, memory_strip = plan.medium, by_row.memory_strip

    @kernel(launch_bounds=plan.bounds(lines, plan.occupancy))
    def stage_rows(
        table: Table,
        # coefficients
        a: real,
        b: real,
        c: real,
        metric: Metric,
        # in
        parameters: Parameters,
        dparameters: Parameters,
        step: int,
        start: Fields,
        state: Fields,
        solved: Spectrum,
        dsolved: Spectrum,
        tables: TablePlaces,
        # out
        out_at: Place,  # two parameters: a struct would cost registers
        dout_at: Place,
        spectrum_out: Spectrum,
        dspectrum_out: Spectrum,
        psi_out_at: Place,
        # order of blocks
        from_last: int,
        distance: int,
    ):
        roots = complex_view(table, tables.roots)
        modes = modes_view(table, tables.modes)
        index, _ = wp.tid()
        member, slab, thread = locate(index, slabs, from_last)
        if screened:
            modes = modes_of(table, tables.modes, member)
        row = slab * rows
        group = thread // threads
        t = thread % threads
        given = numbers(table, parameters, member)
        terms = weighted(given, c, metric)
        if tangent:
            dterms = tangent_terms(given, numbers(table, dparameters, member), c, metric)
        copied = wp.tile_empty(shape=(copied_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if copies_rows:  # the state is older than the previous kernel, except for rows of other devices
            copy(copied, 0, field(table, state.state, member, 0, 0), row - 1, thread)
            if tangent:
                copy(copied, slab_size, field(table, state.tangent, member, 0, 0), row - 1, thread)
        if prefetches_start and a != real(0.0):
            prefetch(table, start.state, member * slabs + slab, thread)
        factors = load_factors(roots, t)
        if recompute:
            if copies_rows:
                wait()
                barrier()
            else:
                prefetch(table, state.state, member * slabs + slab, thread)
            transform_anew(copied, table, state.state, member, row, buffer, 0, factors, thread)
            barrier()
        synchronise_dependent_launch()
        if divided and copies_rows:
            if slab == 0 or slab == slabs - 1:
                wait()
                barrier()
            for side in range(2):
                if slab == side * (slabs - 1):
                    edge = row - 1 + side * (rows + 1)
                    to = side * (rows + 1) * row_pitch
                    copy_row(copied, to, field(table, state.state, member, 0, 0), edge, thread)
                    if tangent:
                        copy_row(copied, slab_size + to, field(table, state.tangent, member, 0, 0), edge, thread)
        # psi from the row south of the slab to the row north of it
        fetch(table, solved, modes, member, slab, buffer, 0, thread)
        if tangent:
            fetch(table, dsolved, modes, member, slab, buffer, dlines, thread)
        if prefetches_next:  # memory would be idle while this block computes
            next = later_block(distance, from_last)
            prefetch_spectra(table, solved.values, next, thread)
            prefetch(table, state.state, next, thread)
            if tangent:
                prefetch_spectra(table, dsolved.values, next, thread)
                prefetch(table, state.tangent, next, thread)
            if a != real(0.0):
                prefetch(table, start.state, next, thread)
                if tangent:
                    prefetch(table, start.tangent, next, thread)
        wait()
        if by_slabs:
            barrier()
        for pair in range(group, pairs + 1, groups):
            line_barrier()
            publish(inverse(load(buffer, pair, roots, t), buffer, factors, pair, t), buffer, pair, t)
            if tangent:
                line = dlines + pair
                publish(inverse(load(buffer, line, roots, t), buffer, factors, line, t), buffer, line, t)
        barrier()
        for pair in range(group, pairs_in_step, groups):
            new = Values()
            dnew = Values()
            if pair < pairs:  # line `pair` holds psi of rows i-1 and i, the next line that of rows i+1 and i+2
                i = (row + 2 * pair) % ny
                k = (i + 1) % ny
                around = rows_around(table, state.state, member, i, t)
                start_i = field(table, start.state, member, i, t)
                start_k = field(table, start.state, member, k, t)
                dstart_i = field(table, start.tangent, member, i, t)
                dstart_k = field(table, start.tangent, member, k, t)
                force_i = forcing(table, parameters.forcing, step, member, i, t)
                force_k = forcing(table, parameters.forcing, step, member, k, t)
                if medium:
                    shared = member_of(parameters.medium, member)
                    around_r = rows_around(table, slice_at(parameters.medium, 0), shared, i, t)
                    around_h = rows_around(table, slice_at(parameters.medium, 1), shared, i, t)
                    if tangent:
                        dshared = member_of(dparameters.medium, member)
                        around_dr = rows_around(table, slice_at(dparameters.medium, 0), dshared, i, t)
                        around_dh = rows_around(table, slice_at(dparameters.medium, 1), dshared, i, t)
                if tangent:
                    daround = rows_around(table, state.tangent, member, i, t)
                    dforce_i = forcing(table, dparameters.forcing, step, member, i, t)
                    dforce_k = forcing(table, dparameters.forcing, step, member, k, t)
                if a != real(0.0):
                    for e in range(held):
                        new[2 * e] = a * start_i[here(e)]
                        if tangent:
                            dnew[2 * e] = a * dstart_i[here(e)]
                        if present(row + 2 * pair + 1):  # another block may be writing the other rows
                            new[2 * e + 1] = a * start_k[here(e)]
                            if tangent:
                                dnew[2 * e + 1] = a * dstart_k[here(e)]
                f_i = real(0.0)
                f_k = real(0.0)
                r = Strip()
                h = Strip()
                if tangent:
                    df_i = real(0.0)
                    df_k = real(0.0)
                    dr = Strip()
                    dh = Strip()
                for e in range(held):
                    p = psi_strip(buffer, pair, e, t)
                    w = field_strip(copied, 0, around, pair, e, t)
                    if medium:
                        r = memory_strip(around_r, e, t)
                        h = memory_strip(around_h, e, t)
                    if forced:
                        f_i = force_i[here(e)]
                        f_k = force_k[here(e)]
                    new[2 * e] += update(south(p), south(w), south(r), south(h), f_i, b, terms, metric)
                    if present(row + 2 * pair + 1):
                        new[2 * e + 1] += update(north(p), north(w), north(r), north(h), f_k, b, terms, metric)
                    if tangent:
                        dp = psi_strip(buffer, dlines + pair, e, t)
                        dw = field_strip(copied, slab_size, daround, pair, e, t)
                        if medium:
                            dr = memory_strip(around_dr, e, t)
                            dh = memory_strip(around_dh, e, t)
                        if forced:
                            df_i = dforce_i[here(e)]
                            df_k = dforce_k[here(e)]
                        dnew[2 * e] += update_tangent(
                            south(p),
                            south(w),
                            south(r),
                            south(h),
                            f_i,
                            south(dp),
                            south(dw),
                            south(dr),
                            south(dh),
                            df_i,
                            b,
                            terms,
                            dterms,
                            metric,
                        )
                        if present(row + 2 * pair + 1):
                            dnew[2 * e + 1] += update_tangent(
                                north(p),
                                north(w),
                                north(r),
                                north(h),
                                f_k,
                                north(dp),
                                north(dw),
                                north(dr),
                                north(dh),
                                df_k,
                                b,
                                terms,
                                dterms,
                                metric,
                            )
                # stores follow all loads: the compiler must assume that the arrays may overlap
                out_i = field(table, out_at, member, i, t)
                out_k = field(table, out_at, member, k, t)
                dout_i = field(table, dout_at, member, i, t)
                dout_k = field(table, dout_at, member, k, t)
                psi_i = field(table, psi_out_at, member, i, t)
                psi_k = field(table, psi_out_at, member, k, t)
                for e in range(held):
                    if present(row + 2 * pair):
                        out_i[here(e)] = new[2 * e]
                        if tangent:
                            dout_i[here(e)] = dnew[2 * e]
                        if keep_psi:
                            psi_i[here(e)] = get(buffer, pair, t + here(e))[1]
                    if present(row + 2 * pair + 1):
                        out_k[here(e)] = new[2 * e + 1]
                        if tangent:
                            dout_k[here(e)] = dnew[2 * e + 1]
                        if keep_psi:
                            psi_k[here(e)] = get(buffer, pair + 1, t + here(e))[0]
                if keep_psi and divided:
                    if slab == slabs - 1 and pair == pairs - 1:
                        psi_north = field(table, psi_out_at, member, ny - 2, t)
                        for e in range(held):
                            psi_north[here(e)] = get(buffer, pairs, t + here(e))[1]
                    if slab == 0 and pair == 0:
                        psi_south = field(table, psi_out_at, member, ny - 1, t)
                        for e in range(held):
                            psi_south[here(e)] = get(buffer, 0, t + here(e))[0]
            barrier()
            if pair < pairs or as_one:
                new = forward(new, buffer, factors, pair, t)
                if tangent:
                    dnew = forward(dnew, buffer, factors, dlines + pair, t)
                store(new, buffer, 0, pair, roots, t, table, spectrum_out, member, row + 2 * pair, pair < pairs)
                if tangent:
                    store(
                        dnew, buffer, dlines, pair, roots, t, table, dspectrum_out, member, row + 2 * pair, pair < pairs
                    )
        if by_slabs:
            barrier()
            leave(buffer, 0, table, spectrum_out, roots, modes, member, slab, thread)
            if tangent:
                leave(buffer, dlines, table, dspectrum_out, roots, modes, member, slab, thread)

    return stage_rows


def advance(setting: Setting, parameters: Parameters, omega, targets, psis, scratch):
    """Launch the steps from `omega`.

    `targets[s]` receives the state after stage s, counted from the first step on. `psis[s]`, unless `psis` is None,
    receives the streamfunction of the state before that stage; through memory it may not be None. A stage's target may
    be the start of its step: the kernel reads each point before it writes it. `scratch`: `Plan.scratch`.
    """
    targets, psis = ([[field] for field in fields] if fields else None for fields in (targets, psis))
    _steps(setting, setting.plan, (parameters, parameters), [omega], targets, psis, scratch)


def tangent(setting: Setting, parameters: Parameters, dparameters: Parameters, omega, domega, targets, psis, scratch):
    """Launch the steps of a state and its tangent.

    `targets[s]`: a pair of arrays for the results of stage s. Stages may share arrays in turn. `psis[s]`: a pair for
    the streamfunctions, through memory, else None. `scratch`: `Plan.scratch` of `Plan.for_tangent`.
    """
    _steps(setting, setting.plan.for_tangent, (parameters, dparameters), [omega, domega], targets, psis, scratch)


def _steps(setting, plan, parameters, state, targets, psis, scratch):
    plan = plan.on(state[0].on_cpu)
    batch, tables = state[0].shape[0], table_places(setting.tables)
    spectra = setting.spectra(plan, setting.tables, scratch)
    spectra.begin(*state, centre=plan.centres)
    forced, coefficients = parameters[0].forcing != NO_ARRAY, runge_kutta(plan.dtype)
    stages = setting.steps * len(coefficients)
    for turn, target in zip(range(stages), targets, strict=True):
        step, stage = divmod(turn, len(coefficients))
        if stage == 0:
            start = state
        given = [*coefficients[stage], setting.metric, *parameters, step, fields(*start), fields(*state)]
        if plan.through_memory:
            spectra.put_rows(psis[turn])
            kernel = stage_points(plan, setting.scheme, forced)
            launch_points(plan, kernel, target[0], [*given, fields(*psis[turn]), fields(*target)])
        else:
            kernel = stage_rows(plan, setting.scheme, forced=forced, keep_psi=psis is not None)
            psi = target if psis is None else psis[turn]
            read = [spectra.ready[0], spectra.ready[-1], tables]
            made = [target[0], target[-1], spectra.out[0], spectra.out[-1], psi[0]]
            spectra.launch(plan, kernel, batch, [*given, *read, *made], plan.stage_lines)
        state = target
        if turn + 1 < stages:
            if plan.through_memory:
                spectra.transform(*state)
            spectra.solve(*state, centre=plan.centres)
