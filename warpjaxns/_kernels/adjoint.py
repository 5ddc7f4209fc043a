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
from .fft import barrier, complex_type
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
    forward, size, held, threads, groups = lines.forward, lines.size, lines.values, lines.threads, lines.groups
    pairs, by_row, kit = rows // 2, row_functions(plan, lines), stencils(real)
    around, touch, spectra, by_bands = by_row.around, lines.touch, spectra_functions(plan, lines), plan.by_bands
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
        touch(roots, t)
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
            values = forward(values, buffer, roots, pair, t)
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
def adjoint_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """``l_out = a l_1 + e l_2 + b l + c dt R'(w)^T l`` from the spectra of S F(w, l). Where a is 0, so must e be."""
    lines, ny, real, rows, bands = plan.band_lines, plan.shape[0], plan.real, plan.rows, plan.bands
    inverse, size, held, threads = lines.inverse, lines.size, lines.values, lines.threads
    pairs, groups, touch = rows // 2, lines.groups, lines.touch
    by_row, kit = row_functions(plan, lines), stencils(real)
    spectra, around, present = spectra_functions(plan, lines), by_row.around, by_row.present
    arrive, load, mode_line = spectra.arrive, spectra.load, spectra.line
    here, field_strip, local = lines.here, by_row.field_strip, pulled_back(real)
    Metric, south, north, shared, scaled = kit.Metric, kit.south, kit.north, kit.shared, kit.scaled
    jacobian = kit.jacobian[SECOND[scheme]]
    Values, field = lines.Values, memory.lane(real, plan.shape)
    fetch, banded, band_size, many = band_functions(plan).fetch, plan.banded, plan.band_size, plan.many
    announce, announce_spectra = band_announcers(plan)
    line, complex_line = memory.line(real), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines, plan.resident))
    def adjoint_rows(
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
        spectrum_at: Place,
        sums_at: Place,
        modes_at: Place,
        roots_at: Place,
        cotangent_out_at: Place,
        from_last: int,
        ahead: int,
    ):
        roots = complex_line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, band_index, thread = locate(index, bands, from_last)
        row = band_index * rows
        t = thread % threads
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        h = c * shared(line(table, dt_at), member)
        terms = scaled(metric, h * nu, h)
        band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        psi_band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if banded:  # both are older than the kernel ahead
            fetch(band, field(table, cotangent_at, member, 0, 0), row - 1, thread)
            fetch(psi_band, field(table, psi_at, member, 0, 0), row - 1, thread)
        touch(roots, t)
        follow()
        arrive(table, spectrum_at, sums_at, modes, member, band_index, buffer, 0, thread)
        if many:
            next = later_block(ahead, from_last)
            announce_spectra(table, spectrum_at, next, thread)
            announce(table, cotangent_at, next, thread)
            announce(table, psi_at, next, thread)
            if a != real(0.0):
                announce(table, first_at, next, thread)
                announce(table, second_at, next, thread)
        wait()
        barrier()
        for pair in range(thread // threads, pairs, groups):
            i = (row + 2 * pair) % ny
            k = (i + 1) % ny
            solved = inverse(load(buffer, pair, t), buffer, roots, pair, t)
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
                g_i = jacobian(south(l), south(p), terms)
                g_k = jacobian(north(l), north(p), terms)
                new[2 * e] += local(south(l), terms, b, h, h * mu, solved[2 * e], g_i)
                new[2 * e + 1] += local(north(l), terms, b, h, h * mu, solved[2 * e + 1], g_k)
            out_i = field(table, cotangent_out_at, member, i, t)
            out_k = field(table, cotangent_out_at, member, k, t)
            for e in range(held):
                if present(row + 2 * pair):
                    out_i[here(e)] = new[2 * e]
                if present(row + 2 * pair + 1):
                    out_k[here(e)] = new[2 * e + 1]

    return adjoint_rows


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
    receives that of the first. `fields`: three to work with; `scratch`: `Plan.scratch`, of one side.
    `parameter_totals` ``(batch ny 3,)`` and `forcing_totals` ``(steps or 1, batch, ny, nx)`` receive sums; None: not
    wanted.
    """
    source_plan, plan = (p.on(cotangent.on_cpu) for p in (plan.for_source, plan.for_adjoint))
    batch, ny, _ = cotangent.shape
    metric, spectra = stencils(plan.real).Metric(*metric), Spectra(plan, tables, scratch)
    to_spectrum = source_rows(source_plan, scheme)
    combine = adjoint_rows(plan, scheme)
    dt = parameters[2]
    late, early, flip = fields
    coefficients = runge_kutta(plan.dtype)
    last = steps - 1

    def pull_back(stage, step, l, l_out, a=0.0, e=0.0, first=None, second=None):
        """From the cotangent l of a stage's result to b l + c dt R'^T l (+ a first + e second)."""
        _, b, c = coefficients[stage]
        w, psi = states[3 * step + stage], psis[3 * step + stage]
        if parameter_totals is not None:
            fresh = int(step == last and stage == 2)
            arguments = [fresh, c, metric, *parameters, forcing, step, w, psi, l, parameter_totals]
            launch(parameter_sums(plan, scheme, forcing != NONE), batch * ny, arguments, ROW_BLOCK)
        if forcing_totals is not None:
            steady = forcing_totals.shape[0] == 1
            fresh = int(stage == 2 and (step == last or not steady))
            total = forcing_totals[0 if steady else step]
            launch(forcing_sum(plan), batch * ny, [fresh, c, dt, l, total], ROW_BLOCK)
        spectra.launch(source_plan, to_spectrum, batch, [w, l, metric, *tables, *spectra.out])
        spectra.turn(centre=True)
        first, second = (l, l) if first is None else (first, second)
        weights, given = [a, e, b, c, metric, *parameters], [first, second, l, psi, *spectra.ready]
        spectra.launch(plan, combine, batch, [*weights, *given, *tables, l_out])

    (_, _, _), (a2, _, _), (a3, _, _) = coefficients
    l = cotangent
    for step in reversed(range(steps)):
        # the last sweep lands in `result`; those before it alternate between two arrays
        out = result if (step % 2 == 0) else flip
        pull_back(2, step, l, late)
        pull_back(1, step, late, early)
        # w_0 enters the step three times: as the state of stage 1, with a_2 in stage 2, with a_3 in stage 3
        pull_back(0, step, early, out, a3, a2, l, late)
        l = out
