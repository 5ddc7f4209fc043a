"""The adjoint of the time steps: a sweep backwards over kept states and streamfunctions.

The adjoint of the tendency at state w with psi = S w, applied to a cotangent l, is

    R'(w)^T l = S F(w, l) + G(l, psi) + nu Lap l - mu l

F and G carry J's cotangent to its first and second argument (`_coefficients.FIRST` and `SECOND`). For Arakawa's scheme
both are J. Every kernel gathers: a thread writes only its own points, so results repeat bit by bit.

The sweep shares no kernel with `stage`. F and G are stencils of other fields, before and after the transforms, and a
block needs a halo of the cotangent.
"""

import functools

import warp as wp

from ..._coefficients import runge_kutta
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ..hardware.copies import wait
from ..hardware.intrinsics import barrier, later_block, locate, synchronise_dependent_launch
from ..hardware.numbers import complex_type
from ..hardware.views import row_view, vector_view
from ..parameters import Parameters
from .further import Weights, weights
from .medium import medium_sum, member_of
from .operators import ROW_BLOCK
from .places import Spectrum, TablePlaces, table_places
from .plan import Plan
from .points import launch_points, source_points, sweep_points
from .rows import row_functions
from .setting import Setting
from .slab_rows import slab_functions, slab_prefetchers
from .spectra import spectra_functions
from .stencils import stencils
from .sums import forcing_sum, further_sums, parameter_sums
from .tendency import tendency, terms
from .updates import updates


@functools.cache
def source_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """Make the kernel for the spectra of F(w, l), from which the solve along y makes S F(w, l)."""
    lines, ny, real, rows, slabs = plan.slab_lines, plan.shape[0], plan.real, plan.rows, plan.slabs
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, plan.pairs
    by_line, by_row, kit = line_functions(lines), row_functions(plan, lines), stencils(real)
    forward, load_factors, rows_around, by_slabs = by_line.forward, by_line.factors, by_row.rows_around, plan.by_slabs
    spectra, (prefetch, _) = spectra_functions(plan, lines), slab_prefetchers(plan)
    store, leave, modes_view = spectra.store, spectra.leave, spectra.modes
    copy, copies_rows, slab_size, saturated = (
        slab_functions(plan).copy,
        plan.copies_rows,
        plan.slab_size,
        plan.saturated,
    )
    field_strip, south, north = by_row.field_strip, kit.south, kit.north
    by_point, Values, Strip = updates(plan, scheme), lines.Values, kit.Strip
    source, More = by_point.source, by_point.More
    field, complex_view = row_view(real, plan.shape), vector_view(complex_type(real))
    further, screened, modes_of = plan.terms > 0, plan.screened, spectra.modes_of
    medium, memory_strip = plan.medium, by_row.memory_strip
    if further:
        numbers, bare = terms(real, plan.terms).numbers, terms(real, plan.terms).bare
    Given = Weights(real)

    @kernel(launch_bounds=plan.bounds(lines, plan.occupancy))
    def source_rows(
        table: Table,
        # in
        state_at: Place,
        cotangent_at: Place,
        given: Given,
        tables: TablePlaces,
        # out
        out: Spectrum,
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
        more = More()
        if further:
            more = bare(numbers(table, given.parameters, member), given.metric)
        row = slab * rows
        t = thread % threads
        state_copied = wp.tile_empty(shape=(slab_size,), dtype=real, storage="shared")
        cotangent_copied = wp.tile_empty(shape=(slab_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if copies_rows:  # the state is older than the previous kernel, the cotangent may be its work
            copy(state_copied, 0, field(table, state_at, member, 0, 0), row - 1, thread)
        factors = load_factors(roots, t)
        synchronise_dependent_launch()
        if copies_rows:
            copy(cotangent_copied, 0, field(table, cotangent_at, member, 0, 0), row - 1, thread)
        if saturated:
            next = later_block(distance, from_last)
            prefetch(table, state_at, next, thread)
            prefetch(table, cotangent_at, next, thread)
        if copies_rows:
            wait()
            barrier()
        for pair in range(thread // threads, pairs, groups):
            i = (row + 2 * pair) % ny
            state = rows_around(table, state_at, member, i, t)
            cotangent = rows_around(table, cotangent_at, member, i, t)
            r = Strip()
            h = Strip()
            if medium:
                shared = member_of(given.parameters.medium, member)
                around_r = rows_around(table, slice_at(given.parameters.medium, 0), shared, i, t)
                around_h = rows_around(table, slice_at(given.parameters.medium, 1), shared, i, t)
            values = Values()
            for e in range(held):
                w = field_strip(state_copied, 0, state, pair, e, t)
                l = field_strip(cotangent_copied, 0, cotangent, pair, e, t)
                if medium:
                    r = memory_strip(around_r, e, t)
                    h = memory_strip(around_h, e, t)
                values[2 * e] = source(south(w), south(l), south(r), south(h), more, given.metric)
                values[2 * e + 1] = source(north(w), north(l), north(r), north(h), more, given.metric)
            values = forward(values, buffer, factors, pair, t)
            store(values, buffer, 0, pair, roots, t, table, out, member, row + 2 * pair, True)
        if by_slabs:
            barrier()
            leave(buffer, 0, table, out, roots, modes, member, slab, thread)

    return source_rows


@functools.cache
def sweep_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """Make the kernel of ``l_out = a l_1 + e l_2 + b l + c dt R'(w)^T l``, from the spectra of S F(w, l).

    Where a is 0, so must e be. If the sweep is fused and has `more` stages, the kernel also makes the spectra of
    F(v, l_out), v being the input of the stage before. F needs one more row of l_out on either side. A block computes
    these halo rows but does not write them.
    """
    lines, ny, real, rows, slabs = plan.sweep_lines, plan.shape[0], plan.real, plan.rows, plan.slabs
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, plan.pairs
    by_line, fused, before = line_functions(lines), plan.fused, plan.for_state
    forward, inverse, publish = by_line.forward, by_line.inverse, by_line.publish
    halo_lines, halo, pairs_in_step, as_one = int(fused), plan.halo, lines.rounded_up(pairs), not lines.alone
    load_factors, here, by_slabs, saturated = by_line.factors, by_line.here, plan.by_slabs, plan.saturated
    by_row, before_strip = row_functions(plan, lines), row_functions(before, lines).field_strip
    rows_around, present, field_strip, line_strip = (
        by_row.rows_around,
        by_row.present,
        by_row.field_strip,
        by_row.psi_strip,
    )
    spectra, (prefetch, prefetch_spectra) = spectra_functions(plan, lines, fused), slab_prefetchers(plan)
    fetch, load, store, leave, modes_view = spectra.fetch, spectra.load, spectra.store, spectra.leave, spectra.modes
    copy, copy_before, copies_rows = slab_functions(plan).copy, slab_functions(before).copy, plan.copies_rows
    slab_size, before_size = plan.slab_size, before.slab_size if fused else 1
    kit, by_point, by_term = stencils(real), tendency(real, scheme, plan.terms), terms(real, plan.terms)
    of_source = updates(plan, scheme)
    Metric, south, north, numbers, weighted = kit.Metric, kit.south, kit.north, by_term.numbers, by_term.weighted
    carried, adjoint, source, More = by_point.carried, by_point.adjoint, of_source.source, of_source.More
    plain, plain_source = not (plan.terms or plan.medium), by_point.source
    further, screened, modes_of = plan.terms > 0, plan.screened, spectra.modes_of
    if further:
        bare = by_term.bare
    medium, memory_strip, Strip = plan.medium, by_row.memory_strip, kit.Strip
    Values, field, complex_view = lines.Values, row_view(real, plan.shape), vector_view(complex_type(real))

    @kernel(launch_bounds=plan.bounds(lines, plan.occupancy))
    def sweep_rows(
        table: Table,
        # coefficients
        a: real,
        e_2: real,
        b: real,
        c: real,
        metric: Metric,
        # in
        parameters: Parameters,
        first_at: Place,
        second_at: Place,
        cotangent_at: Place,
        psi_at: Place,
        before_at: Place,
        more: int,
        solved: Spectrum,
        tables: TablePlaces,
        # out
        cotangent_out_at: Place,
        spectrum_out: Spectrum,
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
        more_terms = More()
        if further:
            more_terms = bare(numbers(table, parameters, member), metric)
        terms = weighted(numbers(table, parameters, member), c, metric)
        copied = wp.tile_empty(shape=(slab_size,), dtype=real, storage="shared")
        psi_copied = wp.tile_empty(shape=(slab_size,), dtype=real, storage="shared")
        before_copied = wp.tile_empty(shape=(before_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if copies_rows:  # these are older than the previous kernel
            copy(copied, 0, field(table, cotangent_at, member, 0, 0), row - halo, thread)
            copy(psi_copied, 0, field(table, psi_at, member, 0, 0), row - halo, thread)
            if fused:
                copy_before(before_copied, 0, field(table, before_at, member, 0, 0), row - 1, thread)
        factors = load_factors(roots, t)
        synchronise_dependent_launch()
        fetch(table, solved, modes, member, slab, buffer, 0, thread)
        if saturated:
            next = later_block(distance, from_last)
            prefetch_spectra(table, solved.values, next, thread)
            prefetch(table, cotangent_at, next, thread)
            prefetch(table, psi_at, next, thread)
            if fused:
                prefetch(table, before_at, next, thread)
            if a != real(0.0):
                prefetch(table, first_at, next, thread)
                prefetch(table, second_at, next, thread)
        wait()
        barrier()
        for pair in range(group, pairs + halo_lines, groups):
            i = (row + 2 * pair - halo_lines + ny) % ny
            k = (i + 1) % ny
            psi_of_source = inverse(load(buffer, pair, roots, t), buffer, factors, pair, t)
            cotangent = rows_around(table, cotangent_at, member, i, t)
            psi = rows_around(table, psi_at, member, i, t)
            first_i = field(table, first_at, member, i, t)
            first_k = field(table, first_at, member, k, t)
            second_i = field(table, second_at, member, i, t)
            second_k = field(table, second_at, member, k, t)
            new = Values()
            if a != real(0.0):
                for e in range(held):
                    new[2 * e] = a * first_i[here(e)] + e_2 * second_i[here(e)]
                    new[2 * e + 1] = a * first_k[here(e)] + e_2 * second_k[here(e)]
            for e in range(held):
                l = field_strip(copied, 0, cotangent, pair, e, t)
                p = field_strip(psi_copied, 0, psi, pair, e, t)
                g_i = carried(south(l), south(p), terms.metric)
                g_k = carried(north(l), north(p), terms.metric)
                new[2 * e] += adjoint(south(l), terms, b, psi_of_source[2 * e], g_i)
                new[2 * e + 1] += adjoint(north(l), terms, b, psi_of_source[2 * e + 1], g_k)
            out_i = field(table, cotangent_out_at, member, i, t)
            out_k = field(table, cotangent_out_at, member, k, t)
            for e in range(held):
                if pair >= halo_lines and present(row + 2 * pair - halo_lines):
                    out_i[here(e)] = new[2 * e]
                if pair < pairs and present(row + 2 * pair - halo_lines + 1):
                    out_k[here(e)] = new[2 * e + 1]
            if fused:
                publish(new, buffer, pair, t)
        if fused:  # noqa: SIM102 (`fused` is known when the kernel is compiled)
            if more != 0:
                barrier()
                for pair in range(group, pairs_in_step, groups):
                    values = Values()
                    if pair < pairs:
                        state = rows_around(table, before_at, member, (row + 2 * pair) % ny, t)
                        if medium:
                            shared = member_of(parameters.medium, member)
                            i = (row + 2 * pair) % ny
                            around_r = rows_around(table, slice_at(parameters.medium, 0), shared, i, t)
                            around_h = rows_around(table, slice_at(parameters.medium, 1), shared, i, t)
                        r = Strip()
                        h = Strip()
                        for e in range(held):
                            l = line_strip(buffer, pair, e, t)
                            w = before_strip(before_copied, 0, state, pair, e, t)
                            if medium:
                                r = memory_strip(around_r, e, t)
                                h = memory_strip(around_h, e, t)
                            if plain:  # with arguments of no use the compiler keeps values in local memory
                                values[2 * e] = plain_source(south(w), south(l), metric)
                                values[2 * e + 1] = plain_source(north(w), north(l), metric)
                            else:
                                values[2 * e] = source(south(w), south(l), south(r), south(h), more_terms, metric)
                                values[2 * e + 1] = source(north(w), north(l), north(r), north(h), more_terms, metric)
                    barrier()
                    if pair < pairs or as_one:
                        values = forward(values, buffer, factors, pair, t)
                        store(
                            values,
                            buffer,
                            0,
                            pair,
                            roots,
                            t,
                            table,
                            spectrum_out,
                            member,
                            row + 2 * pair,
                            pair < pairs,
                        )
                if by_slabs:
                    barrier()
                    leave(buffer, 0, table, spectrum_out, roots, modes, member, slab, thread)

    return sweep_rows


def adjoint(setting: Setting, parameters: Parameters, dt, kept, cotangent, result, fields, scratch, totals):
    """Launch the backward sweep.

    **Arguments:**

    - `parameters`: places of the parameters. `dt`: its buffer.
    - `kept`: the inputs of all stages, and their streamfunctions.
    - `cotangent`: that of the last state. `result` receives that of the first.
    - `fields`: three arrays to work with, through memory four.
    - `scratch`: `Plan.scratch` with one side, or two where the sweep is fused.
    - `totals`: sums for the parameters ``(batch ny 3,)``, for the forcing ``(steps or 1, batch, ny, nx)``, for the
        coefficients of further terms ``(batch ny terms,)``, and for the medium ``(2, batch, ny, nx)``. None where not
        wanted.
    """
    plan, scheme, steps = setting.plan, setting.scheme, setting.steps
    begin, plan = (p.on(cotangent.on_cpu) for p in (plan.for_source, plan.for_adjoint))
    batch, ny, _ = cotangent.shape
    (states, psis), (parameter_totals, forcing_totals, further_totals, medium_totals) = kept, totals
    spectra = setting.spectra(plan, setting.tables, scratch)
    metric, tables = setting.metric, table_places(setting.tables)
    given_source = weights(plan.real, metric, parameters)
    late, early, flip, *work = fields
    coefficients = runge_kutta(plan.dtype)
    last = len(coefficients) * steps - 1

    def pull_back(turn, l, l_out, a=0.0, e=0.0, first=None, second=None):
        """Go from the cotangent l of a stage's result to b l + c dt R'^T l (+ a first + e second)."""
        step, stage = divmod(turn, len(coefficients))
        _, b, c = coefficients[stage]
        w, psi, before = states[turn], psis[turn], states[max(turn - 1, 0)]
        if parameter_totals is not None:
            forced = parameters.forcing != NO_ARRAY
            arguments = [int(turn == last), c, metric, parameters, step, w, psi, l, parameter_totals]
            launch(parameter_sums(plan, scheme, forced), l.table, batch * ny, arguments, ROW_BLOCK)
        if further_totals is not None:
            arguments = [int(turn == last), c, metric, dt, w, psi, l, further_totals]
            launch(further_sums(plan), l.table, batch * ny, arguments, ROW_BLOCK)
        if forcing_totals is not None:
            steady = forcing_totals.shape[0] == 1
            fresh = int(stage == len(coefficients) - 1 and (turn == last or not steady))
            total = forcing_totals[0 if steady else step]
            launch(forcing_sum(plan), l.table, batch * ny, [fresh, c, dt, l, total], ROW_BLOCK)
        if medium_totals is not None:
            arguments = [int(turn == last), c, metric, dt, psi, l, medium_totals.slices]
            launch(medium_sum(plan, scheme), l.table, batch * ny, arguments, ROW_BLOCK)
        first, second = (l, l) if first is None else (first, second)
        given = [a, e, b, c, metric, parameters, first, second, l, psi]
        if turn == last or not plan.fused:
            spectra.surround(l)
            if plan.through_memory:
                launch_points(plan, source_points(plan, scheme), l, [w, l, given_source, *work])
                spectra.transform(*work)
            else:
                arguments = [w, l, given_source, tables, *spectra.out]
                spectra.launch(begin, source_rows(begin, scheme), batch, arguments, begin.slab_lines)
        spectra.solve(centre=True)
        if plan.through_memory:
            spectra.put_rows(work)
            launch_points(plan, sweep_points(plan, scheme), l, [*given, *work, l_out])
        else:
            arguments = [*given, before, int(turn > 0), *spectra.ready, tables, l_out, *spectra.out]
            spectra.launch(plan, sweep_rows(plan, scheme), batch, arguments, plan.sweep_lines)

    (_, _, _), (a2, _, _), (a3, _, _) = coefficients
    l = cotangent
    for step in reversed(range(steps)):
        # the last sweep lands in `result`; those before it alternate between two arrays
        out = result if (step % 2 == 0) else flip
        pull_back(3 * step + 2, l, late)
        pull_back(3 * step + 1, late, early)
        # w_0 enters the step three times: as the state of stage 1, with a_2 in stage 2, with a_3 in stage 3
        pull_back(3 * step, early, out, a3, a2, l, late)
        l = out
