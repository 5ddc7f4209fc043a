"""Time steps of the vorticity equation with SSP-RK3, two kernels a stage.

Stage s of a step: ``w_s = a w_0 + b w_(s-1) + c dt R(w_(s-1))``. `solve_columns` turns the spectra of w_(s-1) into
those of psi; `stage_rows` transforms psi back row by row, applies R where psi still lies in shared memory, and
transforms the new rows for the next stage.
"""

import functools
from collections.abc import Callable

import warp as wp

from . import memory
from .fft import barrier, complex_type
from .memory import Place, Table
from .plan import Plan
from .poisson import launch_columns, launch_rows
from .rows import forward_rows, identity_pair, pair_functions
from .stencils import stencils

# SSP-RK3 (Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5) in low-storage form: (a, b, c) of each stage.
RK3 = ((0.0, 1.0, 1.0), (3 / 4, 1 / 4, 1 / 4), (1 / 3, 2 / 3, 2 / 3))


@functools.cache
def tendency(real, scheme: str) -> Callable:
    """``R(w) = J(psi, w) + nu Lap w - mu w + f`` at one point."""
    kit = stencils(real)
    Patch, Metric, laplacian, jacobian = kit.Patch, kit.Metric, kit.laplacian, kit.jacobian[scheme]

    @wp.func
    def tendency(psi: Patch, w: Patch, metric: Metric, nu: real, mu: real, force: real):
        return jacobian(psi, w, metric) + nu * laplacian(w, metric) - mu * w[4] + force

    return tendency


@functools.cache
def stage_rows(plan: Plan, scheme: str) -> wp.Kernel:
    lines, (ny, nx), real, bands, rows = plan.stage_lines, plan.shape, plan.real, plan.bands, plan.rows
    forward, inverse, put, size = lines.forward, lines.inverse, lines.put, lines.size
    pairs = rows // 2
    fresh = pairs + 1  # the first line of new vorticity, behind those of psi
    pair = pair_functions(lines, ny)
    load, store, psi_strip = pair.load, pair.store, pair.strip
    kit = stencils(real)
    Metric, strip, south, north = kit.Metric, kit.strip, kit.south, kit.north
    shared, force, rate = kit.shared, kit.force, tendency(real, scheme)
    Complex = complex_type(real)
    fields, spectra, series = (
        memory.stack(real, (ny, nx)),
        memory.stack(Complex, (ny, plan.half)),
        memory.series(real, (ny, nx)),
    )
    line, complex_line = memory.line(real), memory.line(Complex)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
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
        roots_at: Place,
        state_out_at: Place,
        spectrum_out_at: Place,
        psi_out_at: Place,
        keep_psi: int,
    ):
        forcing = series(table, forcing_at)
        start = fields(table, start_at)
        state = fields(table, state_at)
        spectrum = spectra(table, spectrum_at)
        roots = complex_line(table, roots_at)
        state_out = fields(table, state_out_at)
        spectrum_out = spectra(table, spectrum_out_at)
        psi_out = fields(table, psi_out_at)
        block, thread = wp.tid()
        member = block // bands
        row = (block - member * bands) * rows
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        h = c * shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        load(buffer, 0, spectrum, member, row - 1, pairs + 1, thread)
        barrier()
        inverse(buffer, roots, thread, 0, pairs + 1)
        for item in range(thread, pairs * nx, wp.block_dim()):
            pair = item // nx
            j = item - pair * nx
            psi = psi_strip(buffer, pair, j)  # line `pair` holds rows i-1 and i, the next one i+1 and i+2
            i = (row + 2 * pair) % ny
            k = wp.where(i == ny - 1, 0, i + 1)
            w = strip(state, member, i, k, j)
            force_i = force(forcing, step, member, i, j)
            force_k = force(forcing, step, member, k, j)
            new_i = b * w[7] + h * rate(south(psi), south(w), metric, nu, mu, force_i)
            new_k = b * w[4] + h * rate(north(psi), north(w), metric, nu, mu, force_k)
            if a != real(0.0):
                new_i += a * start[member, i, j]
                new_k += a * start[member, k, j]
            put(buffer, fresh + pair, j, Complex(new_i, new_k))
            # stores follow all loads: the compiler must assume that the arrays may overlap
            if row + 2 * pair < ny:
                state_out[member, i, j] = new_i
                if keep_psi == 1:
                    psi_out[member, i, j] = psi[7]
            if row + 2 * pair + 1 < ny:
                state_out[member, k, j] = new_k
                if keep_psi == 1:
                    psi_out[member, k, j] = psi[4]
        barrier()
        forward(buffer, roots, thread, fresh, pairs)
        store(buffer, fresh, spectrum_out, member, row, pairs, thread)

    return stage_rows


def advance(plan: Plan, scheme, metric, steps, tables, parameters, forcing, omega, targets, psis, spectra):
    """Launch `steps` steps from `omega`.

    `parameters`: viscosity, drag, dt. `forcing`: a place for `memory.series`. `targets[s]` receives the state after
    stage s, and `psis[s]`, unless `psis` is None, the streamfunction of the state before it, s = 0 ... 3 steps - 1.
    Where a stage's target is its step's start, the kernel reads each point before writing it. `spectra`: two scratch
    arrays.
    """
    batch, roots, metric = omega.shape[0], tables[3], stencils(plan.real).Metric(*metric)
    spectrum, other = spectra
    to_spectrum = forward_rows(plan, identity_pair(plan.real))
    launch_rows(plan, to_spectrum, batch, [omega, omega, metric, roots, spectrum])
    stage = stage_rows(plan, scheme)
    state = omega
    for step in range(steps):
        start = state
        for s, (a, b, c) in enumerate(RK3):
            launch_columns(plan, tables, spectrum)
            target = targets[3 * step + s]
            psi, keep = (target, 0) if psis is None else (psis[3 * step + s], 1)
            arguments = [a, b, c, metric, *parameters, forcing, step, start, state, spectrum, roots]
            launch_rows(plan, stage, batch, [*arguments, target, other, psi, keep], plan.stage_lines)
            state = target
            spectrum, other = other, spectrum
