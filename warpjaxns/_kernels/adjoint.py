"""The adjoint of the time steps, swept backwards over kept states and streamfunctions.

The adjoint of the tendency at state w with psi = S w, applied to a cotangent l:

    R'(w)^T l = S F(w, l) + G(l, psi) + nu Lap l - mu l

where F and G carry J's cotangent to its first and second argument (`stencils.FIRST`, `stencils.SECOND`; both are J
itself for Arakawa's scheme). Every kernel gathers: a thread writes only its own points, so results repeat bit by bit.
"""

import functools
from collections.abc import Callable

import warp as wp

from . import memory
from .advance import runge_kutta
from .fft import barrier, complex_type, line_functions
from .memory import NONE, Place, Table, follow, later_block, launch, locate
from .operators import ROW_BLOCK
from .plan import Plan
from .poisson import Spectra
from .rows import band_announcers, band_functions, row_functions, wait
from .spectra import spectra_functions
from .stencils import FIRST, SECOND, stencils
from .sums import forcing_sum, parameter_sums


@functools.cache
def source_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """Spectra of F(w, l), of which S F(w, l) is to be made."""
    lines, ny, real, rows, bands = plan.band_lines, plan.shape[0], plan.real, plan.rows, plan.bands
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    by_line, by_row, kit = line_functions(lines), row_functions(plan, lines), stencils(real)
    forward, load_factors, around, by_bands = by_line.forward, by_line.factors, by_row.around, plan.by_bands
    spectra = spectra_functions(plan, lines)
    keep, leave, mode_line = spectra.keep, spectra.leave, spectra.line
    fetch, banded, band_size, many = band_functions(plan).fetch, plan.banded, plan.band_size, plan.many
    announce, _ = band_announcers(plan)
    field_strip, Metric, south, north = by_row.field_strip, kit.Metric, kit.south, kit.north
    jacobian, Values = kit.jacobian[FIRST[scheme]], lines.Values
    field, line = memory.lane(real, plan.shape), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines, plan.resident))
    def source_rows(
        table: Table,
        state_at: Place,
        cotangent_at: Place,
        metric: Metric,
        modes_at: Place,
        roots_at: Place,
        spectrum_out_at: Place,
        sums_out_at: Place,
        from_last: int,
        ahead: int,
    ):
        roots = line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, band_index, thread = locate(index, bands, from_last)
        row = band_index * rows
        t = thread % threads
        band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        cotangent_band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if banded:  # the state is older than the kernel ahead, the cotangent may be its work
            fetch(band, field(table, state_at, member, 0, 0), row - 1, thread)
        factors = load_factors(roots, t)
        follow()
        if banded:
            fetch(cotangent_band, field(table, cotangent_at, member, 0, 0), row - 1, thread)
        if many:
            next = later_block(ahead, from_last)
            announce(table, state_at, next, thread)
            announce(table, cotangent_at, next, thread)
        if banded:
            wait()
            barrier()
        for pair in range(thread // threads, pairs, groups):
            i = (row + 2 * pair) % ny
            state = around(table, state_at, member, i, t)
            cotangent = around(table, cotangent_at, member, i, t)
            values = Values()
            for e in range(held):
                w = field_strip(band, state, pair, e, t)
                l = field_strip(cotangent_band, cotangent, pair, e, t)
                values[2 * e] = jacobian(south(w), south(l), metric)
                values[2 * e + 1] = jacobian(north(w), north(l), metric)
            values = forward(values, buffer, factors, pair, t)
            keep(values, buffer, 0, pair, t, table, spectrum_out_at, member, row + 2 * pair, True)
        if by_bands:
            barrier()
            leave(buffer, 0, table, spectrum_out_at, sums_out_at, modes, member, band_index, thread)

    return source_rows


@functools.cache
def pulled_back(real) -> Callable:
    """``b l + h R'(w)^T l`` at one point, given S F(w, l) there, `solved`, and ``h G(l, psi)``, `carried`. Metric and
    drag: as in `tendency`."""
    Patch, Metric, laplacian = stencils(real).Patch, stencils(real).Metric, stencils(real).laplacian

    @wp.func
    def pulled_back(l: Patch, metric: Metric, b: real, h: real, drag: real, solved: real, carried: real):
        return laplacian(l, metric) + carried + h * solved - drag * l[4] + b * l[4]

    return pulled_back


@functools.cache
def sweep_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """``l_out = a l_1 + e l_2 + b l + c dt R'(w)^T l`` from the spectra of S F(w, l). Where a is 0, so must e be.

    If the sweep is fused and there is `more` of it, also the spectra of F(v, l_out), where v is the input of the stage
    before. As F reaches one row further, a block then has l_out there too, which in memory it leaves to its own block.
    """
    lines, ny, real, rows, bands = plan.sweep_lines, plan.shape[0], plan.real, plan.rows, plan.bands
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    by_line, fused, before = line_functions(lines), plan.fused, plan.for_state
    forward, inverse, publish = by_line.forward, by_line.inverse, by_line.publish
    ring, margin, turns, as_one = int(fused), plan.margin, lines.turns(pairs), not lines.alone
    load_factors, here, by_bands, many, banded = by_line.factors, by_line.here, plan.by_bands, plan.many, plan.banded
    kit, local = stencils(real), pulled_back(real)
    by_row, before_strip = row_functions(plan, lines), row_functions(before, lines).field_strip
    around, present, field_strip, line_strip = by_row.around, by_row.present, by_row.field_strip, by_row.psi_strip
    spectra = spectra_functions(plan, lines, fused)
    arrive, load, keep, leave, mode_line = spectra.arrive, spectra.load, spectra.keep, spectra.leave, spectra.line
    fetch, fetch_before = band_functions(plan).fetch, band_functions(before).fetch
    band_size, before_size = plan.band_size, before.band_size if fused else 1
    announce, announce_spectra = band_announcers(plan)
    Metric, south, north, shared, scaled = kit.Metric, kit.south, kit.north, kit.shared, kit.scaled
    source, carry = kit.jacobian[FIRST[scheme]], kit.jacobian[SECOND[scheme]]
    Values, field = lines.Values, memory.lane(real, plan.shape)
    line, complex_line = memory.line(real), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines, plan.resident))
    def sweep_rows(
        table: Table,
        a: real,
        e_2: real,
        b: real,
        c: real,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        first_at: Place,
        second_at: Place,
        cotangent_at: Place,
        psi_at: Place,
        before_at: Place,
        more: int,
        spectrum_at: Place,
        sums_at: Place,
        modes_at: Place,
        roots_at: Place,
        cotangent_out_at: Place,
        spectrum_out_at: Place,
        sums_out_at: Place,
        from_last: int,
        ahead: int,
    ):
        roots = complex_line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, band_index, thread = locate(index, bands, from_last)
        row = band_index * rows
        group = thread // threads
        t = thread % threads
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        h = c * shared(line(table, dt_at), member)
        terms = scaled(metric, h * nu, h)
        band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        psi_band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        before_band = wp.tile_empty(shape=(before_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if banded:  # all are older than the kernel ahead
            fetch(band, field(table, cotangent_at, member, 0, 0), row - margin, thread)
            fetch(psi_band, field(table, psi_at, member, 0, 0), row - margin, thread)
            if fused:
                fetch_before(before_band, field(table, before_at, member, 0, 0), row - 1, thread)
        factors = load_factors(roots, t)
        follow()
        arrive(table, spectrum_at, sums_at, modes, member, band_index, buffer, 0, thread)
        if many:
            next = later_block(ahead, from_last)
            announce_spectra(table, spectrum_at, next, thread)
            announce(table, cotangent_at, next, thread)
            announce(table, psi_at, next, thread)
            if fused:
                announce(table, before_at, next, thread)
            if a != real(0.0):
                announce(table, first_at, next, thread)
                announce(table, second_at, next, thread)
        wait()
        barrier()
        for pair in range(group, pairs + ring, groups):
            i = (row + 2 * pair - ring + ny) % ny
            k = (i + 1) % ny
            solved = inverse(load(buffer, pair, t), buffer, factors, pair, t)
            cotangent = around(table, cotangent_at, member, i, t)
            psi = around(table, psi_at, member, i, t)
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
                l = field_strip(band, cotangent, pair, e, t)
                p = field_strip(psi_band, psi, pair, e, t)
                g_i = carry(south(l), south(p), terms)
                g_k = carry(north(l), north(p), terms)
                new[2 * e] += local(south(l), terms, b, h, h * mu, solved[2 * e], g_i)
                new[2 * e + 1] += local(north(l), terms, b, h, h * mu, solved[2 * e + 1], g_k)
            out_i = field(table, cotangent_out_at, member, i, t)
            out_k = field(table, cotangent_out_at, member, k, t)
            for e in range(held):
                if pair >= ring and present(row + 2 * pair - ring):
                    out_i[here(e)] = new[2 * e]
                if pair < pairs and present(row + 2 * pair - ring + 1):
                    out_k[here(e)] = new[2 * e + 1]
            if fused:
                publish(new, buffer, pair, t)
        if fused:  # noqa: SIM102 (it is known when the kernel is compiled)
            if more != 0:
                barrier()
                for pair in range(group, turns, groups):
                    values = Values()
                    if pair < pairs:
                        state = around(table, before_at, member, (row + 2 * pair) % ny, t)
                        for e in range(held):
                            l = line_strip(buffer, pair, e, t)
                            w = before_strip(before_band, state, pair, e, t)
                            values[2 * e] = source(south(w), south(l), metric)
                            values[2 * e + 1] = source(north(w), north(l), metric)
                    barrier()
                    if pair < pairs or as_one:
                        values = forward(values, buffer, factors, pair, t)
                        keep(values, buffer, 0, pair, t, table, spectrum_out_at, member, row + 2 * pair, pair < pairs)
                if by_bands:
                    barrier()
                    leave(buffer, 0, table, spectrum_out_at, sums_out_at, modes, member, band_index, thread)

    return sweep_rows


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
    """Launch the backward sweep.

    `states[s]` and `psis[s]`: the input of stage s and its streamfunction. `cotangent` of the last state; `result`
    receives that of the first. `fields`: three to work with; `scratch`: `Plan.scratch`, of one side, or of two where
    the sweep is fused. `parameter_totals` ``(batch ny 3,)`` and `forcing_totals` ``(steps or 1, batch, ny, nx)``
    receive sums; None: not wanted.
    """
    begin, plan = (p.on(cotangent.on_cpu) for p in (plan.for_source, plan.for_adjoint))
    batch, ny, _ = cotangent.shape
    metric, spectra = stencils(plan.real).Metric(*metric), Spectra(plan, tables, scratch)
    source, sweep = source_rows(begin, scheme), sweep_rows(plan, scheme)
    dt = parameters[2]
    late, early, flip = fields
    coefficients = runge_kutta(plan.dtype)
    last = 3 * steps - 1

    def pull_back(turn, l, l_out, a=0.0, e=0.0, first=None, second=None):
        """From the cotangent l of a stage's result to b l + c dt R'^T l (+ a first + e second)."""
        step, stage = divmod(turn, 3)
        _, b, c = coefficients[stage]
        w, psi, before = states[turn], psis[turn], states[max(turn - 1, 0)]
        if parameter_totals is not None:
            arguments = [int(turn == last), c, metric, *parameters, forcing, step, w, psi, l, parameter_totals]
            launch(parameter_sums(plan, scheme, forcing != NONE), batch * ny, arguments, ROW_BLOCK)
        if forcing_totals is not None:
            steady = forcing_totals.shape[0] == 1
            fresh = int(stage == 2 and (turn == last or not steady))
            total = forcing_totals[0 if steady else step]
            launch(forcing_sum(plan), batch * ny, [fresh, c, dt, l, total], ROW_BLOCK)
        if turn == last or not plan.fused:
            spectra.launch(begin, source, batch, [w, l, metric, *tables, *spectra.out], begin.band_lines)
        spectra.turn(centre=True)
        first, second = (l, l) if first is None else (first, second)
        weights, given = [a, e, b, c, metric, *parameters], [first, second, l, psi, before, int(turn > 0)]
        arguments = [*weights, *given, *spectra.ready, *tables, l_out, *spectra.out]
        spectra.launch(plan, sweep, batch, arguments, plan.sweep_lines)

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
