"""Time steps of the vorticity equation with SSP-RK3, two kernels a stage.

Stage s of a step: ``w_s = a w_0 + b w_(s-1) + c dt R(w_(s-1))``. `solve_columns` turns the spectra of w_(s-1) into
those of psi; `stage_rows` transforms psi back row by row, applies R where psi still lies in shared memory, and
transforms the new rows for the next stage. By `bands`, `stage_rows` solves for psi itself. It may also transform the
rows of w_(s-1) once more instead of reading their spectra (`Plan.again`): a seventh more instructions, before the
kernel ahead has ended, and two thirds of the traffic.
"""

import functools
from collections.abc import Callable

import numpy as np
import warp as wp

from . import memory
from .fft import barrier, complex_type, line_functions
from .memory import NONE, Place, Table, follow, later_block, locate
from .plan import Plan
from .poisson import Spectra
from .rows import band_announcers, band_functions, row_functions, wait
from .spectra import spectra_functions
from .stencils import stencils

# SSP-RK3 (Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5) in low-storage form: (a, b, c) of each stage.
RK3 = ((0.0, 1.0, 1.0), (3 / 4, 1 / 4, 1 / 4), (1 / 3, 2 / 3, 2 / 3))


def runge_kutta(dtype) -> tuple[tuple[float, float, float], ...]:
    """`RK3` in a float type, rounded such that a + b is 1. In float32 the nearest numbers to 1/3 and 2/3 add up to
    1 + 3e-8, by which every step would multiply the state."""
    rounded = [(float(np.dtype(dtype).type(b)), c) for _, b, c in RK3]
    return tuple((1 - b, b, c) for b, c in rounded)


@functools.cache
def tendency(real, scheme: str) -> Callable:
    """``h R(w) = h (J(psi, w) + nu Lap w - mu w)`` at one point, without forcing. ``h nu`` and ``h`` are in the metric
    (`scaled` of `stencils`), `drag` is ``h mu``."""
    kit = stencils(real)
    Patch, Metric, laplacian, jacobian = kit.Patch, kit.Metric, kit.laplacian, kit.jacobian[scheme]

    @wp.func
    def tendency(psi: Patch, w: Patch, metric: Metric, drag: real):
        return laplacian(w, metric) + jacobian(psi, w, metric) - drag * w[4]

    return tendency


@functools.cache
def stage_rows(plan: Plan, scheme: str, forced: bool, keep_psi: bool) -> wp.Kernel:
    """``w_s = a w_0 + b w + c dt R(w)`` and its spectra, from w and the spectra of its psi."""
    lines, ny, real, bands, rows = plan.stage_lines, plan.shape[0], plan.real, plan.bands, plan.rows
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    turns, as_one = lines.turns(pairs), not lines.alone
    by_line, by_row, kit = line_functions(lines), row_functions(plan, lines), stencils(real)
    forward, inverse, publish, get = by_line.forward, by_line.inverse, by_line.publish, by_line.get
    spectra, around, psi_strip = spectra_functions(plan, lines, True), by_row.around, by_row.psi_strip
    arrive, load, keep, leave, mode_line = spectra.arrive, spectra.load, spectra.keep, spectra.leave, spectra.line
    by_bands, again, transform = plan.by_bands, plan.again, spectra.transform
    load_factors, line_barrier, here = by_line.factors, by_line.barrier, by_line.here
    present, field_strip = by_row.present, by_row.field_strip
    Metric, south, north = kit.Metric, kit.south, kit.north
    fetch, banded, band_size, many = band_functions(plan).fetch, plan.banded, plan.band_size, plan.many
    announced = many and not again
    announce, announce_spectra = band_announcers(plan)
    shared, scaled, force, rate = kit.shared, kit.scaled, memory.force(real, plan.shape), tendency(real, scheme)
    Values, field = lines.Values, memory.lane(real, plan.shape)
    line, complex_line = memory.line(real), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines, plan.resident))
    def stage_rows(
        table: Table,
        a: real,
        b: real,
        c: real,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        step: int,
        start_at: Place,
        state_at: Place,
        spectrum_at: Place,
        sums_at: Place,
        modes_at: Place,
        roots_at: Place,
        state_out_at: Place,
        spectrum_out_at: Place,
        sums_out_at: Place,
        psi_out_at: Place,
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
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if banded:  # the state is older than the kernel ahead
            fetch(band, field(table, state_at, member, 0, 0), row - 1, thread)
        if announced and a != real(0.0):
            announce(table, start_at, member * bands + band_index, thread)
        factors = load_factors(roots, t)
        if again:
            if banded:
                wait()
                barrier()
            else:
                announce(table, state_at, member * bands + band_index, thread)
            transform(band, table, state_at, member, row, buffer, 0, factors, thread)
            barrier()
        follow()
        # psi from the row south of the band to the row north of it
        arrive(table, spectrum_at, sums_at, modes, member, band_index, buffer, 0, thread)
        if announced and banded:  # memory would be idle while this block computes
            next = later_block(ahead, from_last)
            announce_spectra(table, spectrum_at, next, thread)
            announce(table, state_at, next, thread)
            if a != real(0.0):
                announce(table, start_at, next, thread)
        wait()
        if by_bands:
            barrier()
        for pair in range(group, pairs + 1, groups):
            line_barrier()
            publish(inverse(load(buffer, pair, t), buffer, factors, pair, t), buffer, pair, t)
        barrier()
        for pair in range(group, turns, groups):
            new = Values()
            if pair < pairs:  # line `pair` holds psi of rows i-1 and i, the next one of i+1 and i+2
                i = (row + 2 * pair) % ny
                k = (i + 1) % ny
                state = around(table, state_at, member, i, t)
                start_i = field(table, start_at, member, i, t)
                start_k = field(table, start_at, member, k, t)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, k, t)
                if a != real(0.0):
                    for e in range(held):
                        new[2 * e] = a * start_i[here(e)]
                        if present(row + 2 * pair + 1):  # else it is a row that another block may be writing
                            new[2 * e + 1] = a * start_k[here(e)]
                for e in range(held):
                    p = psi_strip(buffer, pair, e, t)
                    w = field_strip(band, state, pair, e, t)
                    r_i = rate(south(p), south(w), terms, h * mu)
                    r_k = rate(north(p), north(w), terms, h * mu)
                    if forced:
                        r_i += h * force_i[here(e)]
                        r_k += h * force_k[here(e)]
                    new[2 * e] += b * w[7] + r_i
                    if present(row + 2 * pair + 1):
                        new[2 * e + 1] += b * w[4] + r_k
                # stores follow all loads: the compiler must assume that the arrays may overlap
                out_i = field(table, state_out_at, member, i, t)
                out_k = field(table, state_out_at, member, k, t)
                psi_i = field(table, psi_out_at, member, i, t)
                psi_k = field(table, psi_out_at, member, k, t)
                for e in range(held):
                    if present(row + 2 * pair):
                        out_i[here(e)] = new[2 * e]
                        if keep_psi:
                            psi_i[here(e)] = get(buffer, pair, t + here(e))[1]
                    if present(row + 2 * pair + 1):
                        out_k[here(e)] = new[2 * e + 1]
                        if keep_psi:
                            psi_k[here(e)] = get(buffer, pair + 1, t + here(e))[0]
            barrier()
            if pair < pairs or as_one:
                new = forward(new, buffer, factors, pair, t)
                keep(new, buffer, 0, pair, t, table, spectrum_out_at, member, row + 2 * pair, pair < pairs)
        if by_bands:
            barrier()
            leave(buffer, 0, table, spectrum_out_at, sums_out_at, modes, member, band_index, thread)

    return stage_rows


def advance(plan: Plan, scheme, metric, steps, tables, parameters, forcing, omega, targets, psis, scratch):
    """Launch `steps` steps from `omega`.

    `parameters`: viscosity, drag, dt. `forcing`: its `Buffer.whole`, or NONE. `targets[s]` receives the state
    after stage s = 0 ... 3 steps - 1, and `psis[s]`, unless `psis` is None, the streamfunction of the state before it.
    Where a stage's target is its step's start, the kernel reads each point before writing it.
    `scratch`: `Plan.scratch`.
    """
    plan = plan.on(omega.on_cpu)
    batch, metric = omega.shape[0], stencils(plan.real).Metric(*metric)
    spectra = Spectra(plan, tables, scratch)
    spectra.begin(omega)
    stage = stage_rows(plan, scheme, forced=forcing != NONE, keep_psi=psis is not None)
    state = omega
    for step in range(steps):
        start = state
        for s, (a, b, c) in enumerate(runge_kutta(plan.dtype)):
            target = targets[3 * step + s]
            psi = target if psis is None else psis[3 * step + s]
            weights, given = [a, b, c, metric, *parameters, forcing, step], [start, state, *spectra.ready]
            arguments = [*weights, *given, *tables, target, *spectra.out, psi]
            spectra.launch(plan, stage, batch, arguments, plan.stage_lines)
            state = target
            if 3 * step + s + 1 < len(targets):
                spectra.turn()
