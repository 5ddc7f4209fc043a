"""The linearised time steps, together with the steps they linearise.

State w and tangent dw go through the same kernels side by side. Their transforms stay apart: packed into one complex
line, the rounding of w would drown a small dw.
"""

import functools
from collections.abc import Callable

import warp as wp

from . import memory
from .advance import runge_kutta, tendency
from .fft import barrier, complex_type, line_functions
from .memory import NONE, Place, Table, follow, later_block, locate
from .plan import Plan
from .poisson import Spectra
from .rows import band_announcers, band_functions, row_functions, wait
from .spectra import spectra_functions
from .stencils import stencils


@functools.cache
def tangent_rate(real, scheme: str) -> Callable:
    """The derivative of `tendency` at one point: ``J(dpsi, w)``, the tendency of dw, and that of w with the derivatives
    ``d(h nu)``, ``dh`` and ``d(h mu)`` in the places of ``h nu``, h and ``h mu``."""
    kit, rate = stencils(real), tendency(real, scheme)
    Patch, Metric, jacobian = kit.Patch, kit.Metric, kit.jacobian[scheme]

    @wp.func
    def tangent_rate(
        psi: Patch,
        w: Patch,
        dpsi: Patch,
        dw: Patch,
        metric: Metric,
        drag: real,
        dmetric: Metric,
        ddrag: real,
    ):
        return jacobian(dpsi, w, metric) + rate(psi, dw, metric, drag) + rate(psi, w, dmetric, ddrag)

    return tangent_rate


@functools.cache
def tangent_rows(plan: Plan, scheme: str, forced: bool) -> wp.Kernel:
    """One stage of state and tangent: `stage_rows` twice, with one pass over the points."""
    lines, ny, real, rows, bands = plan.tangent_lines, plan.shape[0], plan.real, plan.rows, plan.bands
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    dpsi_lines = pairs + 1  # the first line of dpsi
    turns, as_one = lines.turns(pairs), not lines.alone
    by_line, by_row, kit = line_functions(lines), row_functions(plan, lines), stencils(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    spectra, around, psi_strip = spectra_functions(plan, lines, True), by_row.around, by_row.psi_strip
    arrive, load, keep, leave, mode_line = spectra.arrive, spectra.load, spectra.keep, spectra.leave, spectra.line
    by_bands, line_barrier, here = plan.by_bands, by_line.barrier, by_line.here
    present, field_strip = by_row.present, by_row.field_strip
    Metric, south, north = kit.Metric, kit.south, kit.north
    fetch, banded, band_size, many = band_functions(plan).fetch, plan.banded, plan.band_size, plan.many
    announce, announce_spectra = band_announcers(plan)
    shared, scaled, force = kit.shared, kit.scaled, memory.force(real, plan.shape)
    rate, dot_rate = tendency(real, scheme), tangent_rate(real, scheme)
    Values, field = lines.Values, memory.lane(real, plan.shape)
    line, complex_line = memory.line(real), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines, plan.resident))
    def tangent_rows(
        table: Table,
        a: real,
        b: real,
        c: real,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        dviscosity_at: Place,
        ddrag_at: Place,
        ddt_at: Place,
        dforcing_at: Place,
        step: int,
        start_at: Place,
        dstart_at: Place,
        state_at: Place,
        dstate_at: Place,
        spectrum_at: Place,
        sums_at: Place,
        dspectrum_at: Place,
        dsums_at: Place,
        modes_at: Place,
        roots_at: Place,
        state_out_at: Place,
        dstate_out_at: Place,
        spectrum_out_at: Place,
        sums_out_at: Place,
        dspectrum_out_at: Place,
        dsums_out_at: Place,
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
        dnu = shared(line(table, dviscosity_at), member)
        dmu = shared(line(table, ddrag_at), member)
        dh = c * shared(line(table, ddt_at), member)
        terms = scaled(metric, h * nu, h)
        dterms = scaled(metric, dh * nu + h * dnu, dh)
        drag = h * mu
        ddrag = dh * mu + h * dmu
        band = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        dband = wp.tile_empty(shape=(band_size,), dtype=real, storage="shared")
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if banded:  # both are older than the kernel ahead
            fetch(band, field(table, state_at, member, 0, 0), row - 1, thread)
            fetch(dband, field(table, dstate_at, member, 0, 0), row - 1, thread)
        factors = load_factors(roots, t)
        follow()
        arrive(table, spectrum_at, sums_at, modes, member, band_index, buffer, 0, thread)
        arrive(table, dspectrum_at, dsums_at, modes, member, band_index, buffer, dpsi_lines, thread)
        if many:
            next = later_block(ahead, from_last)
            announce_spectra(table, spectrum_at, next, thread)
            announce_spectra(table, dspectrum_at, next, thread)
            announce(table, state_at, next, thread)
            announce(table, dstate_at, next, thread)
            if a != real(0.0):
                announce(table, start_at, next, thread)
                announce(table, dstart_at, next, thread)
        wait()
        if by_bands:
            barrier()
        for pair in range(group, pairs + 1, groups):
            dpsi_line = dpsi_lines + pair
            line_barrier()
            publish(inverse(load(buffer, pair, t), buffer, factors, pair, t), buffer, pair, t)
            publish(inverse(load(buffer, dpsi_line, t), buffer, factors, dpsi_line, t), buffer, dpsi_line, t)
        barrier()
        for pair in range(group, turns, groups):
            new = Values()
            dnew = Values()
            if pair < pairs:
                i = (row + 2 * pair) % ny
                k = (i + 1) % ny
                state = around(table, state_at, member, i, t)
                dstate = around(table, dstate_at, member, i, t)
                start_i = field(table, start_at, member, i, t)
                start_k = field(table, start_at, member, k, t)
                dstart_i = field(table, dstart_at, member, i, t)
                dstart_k = field(table, dstart_at, member, k, t)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, k, t)
                dforce_i = force(table, dforcing_at, step, member, i, t)
                dforce_k = force(table, dforcing_at, step, member, k, t)
                if a != real(0.0):
                    for e in range(held):
                        new[2 * e] = a * start_i[here(e)]
                        dnew[2 * e] = a * dstart_i[here(e)]
                        if present(row + 2 * pair + 1):  # else it is a row that another block may be writing
                            new[2 * e + 1] = a * start_k[here(e)]
                            dnew[2 * e + 1] = a * dstart_k[here(e)]
                for e in range(held):
                    p = psi_strip(buffer, pair, e, t)
                    dp = psi_strip(buffer, dpsi_lines + pair, e, t)
                    w = field_strip(band, state, pair, e, t)
                    dw = field_strip(dband, dstate, pair, e, t)
                    r_i = rate(south(p), south(w), terms, drag)
                    r_k = rate(north(p), north(w), terms, drag)
                    dr_i = dot_rate(south(p), south(w), south(dp), south(dw), terms, drag, dterms, ddrag)
                    dr_k = dot_rate(north(p), north(w), north(dp), north(dw), terms, drag, dterms, ddrag)
                    if forced:
                        r_i += h * force_i[here(e)]
                        r_k += h * force_k[here(e)]
                        dr_i += h * dforce_i[here(e)] + dh * force_i[here(e)]
                        dr_k += h * dforce_k[here(e)] + dh * force_k[here(e)]
                    new[2 * e] += b * w[7] + r_i
                    dnew[2 * e] += b * dw[7] + dr_i
                    if present(row + 2 * pair + 1):
                        new[2 * e + 1] += b * w[4] + r_k
                        dnew[2 * e + 1] += b * dw[4] + dr_k
                out_i = field(table, state_out_at, member, i, t)
                out_k = field(table, state_out_at, member, k, t)
                dout_i = field(table, dstate_out_at, member, i, t)
                dout_k = field(table, dstate_out_at, member, k, t)
                for e in range(held):
                    if present(row + 2 * pair):
                        out_i[here(e)] = new[2 * e]
                        dout_i[here(e)] = dnew[2 * e]
                    if present(row + 2 * pair + 1):
                        out_k[here(e)] = new[2 * e + 1]
                        dout_k[here(e)] = dnew[2 * e + 1]
            barrier()
            mine, south_row = pair < pairs, row + 2 * pair
            if mine or as_one:
                new = forward(new, buffer, factors, pair, t)
                dnew = forward(dnew, buffer, factors, dpsi_lines + pair, t)
                keep(new, buffer, 0, pair, t, table, spectrum_out_at, member, south_row, mine)
                keep(dnew, buffer, dpsi_lines, pair, t, table, dspectrum_out_at, member, south_row, mine)
        if by_bands:
            barrier()
            leave(buffer, 0, table, spectrum_out_at, sums_out_at, modes, member, band_index, thread)
            leave(buffer, dpsi_lines, table, dspectrum_out_at, dsums_out_at, modes, member, band_index, thread)

    return tangent_rows


def tangent(
    plan: Plan,
    scheme,
    metric,
    steps,
    tables,
    parameters,
    forcing,
    dparameters,
    dforcing,
    omega,
    domega,
    states,
    dstates,
    scratch,
):
    """Launch `steps` steps of state and tangent.

    `forcing` and `dforcing`: the `Buffer.whole` of each, or NONE both. `states` and `dstates`: three arrays each, for
    the results of the three stages; the last ones hold the answer. `scratch`: `Plan.scratch` of two copies, first the
    states', then the tangents'.
    """
    plan = plan.for_tangent.on(omega.on_cpu)
    batch, metric, spectra = omega.shape[0], stencils(plan.real).Metric(*metric), Spectra(plan, tables, scratch)
    stage = tangent_rows(plan, scheme, forced=forcing != NONE)
    spectra.begin(omega, domega)
    state = omega, domega
    for step in range(steps):
        start = state
        for (a, b, c), *target in zip(runge_kutta(plan.dtype), states, dstates, strict=True):
            arguments = [
                *(a, b, c, metric, *parameters, forcing, *dparameters, dforcing, step),
                *(*start, *state, *spectra.ready, *tables, *target, *spectra.out),
            ]
            spectra.launch(plan, stage, batch, arguments, plan.tangent_lines)
            state = target
            if step + 1 < steps or target[0] is not states[2]:
                spectra.turn()
