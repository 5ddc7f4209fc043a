"""The linearised time steps, together with the steps they linearise.

State w and tangent dw go through the same kernels side by side. Their transforms stay apart: packed into one complex
line, the rounding of w would drown a small dw.
"""

import functools
from collections.abc import Callable

import warp as wp

from . import memory
from .advance import RK3, tendency
from .fft import barrier, complex_type
from .memory import Place, Table, launch
from .plan import Plan
from .poisson import launch_columns, launch_rows
from .rows import forward_rows, identity_pair, pair_functions
from .stencils import stencils


@functools.cache
def tangent_rate(real, scheme: str) -> Callable:
    """``dR = J(dpsi, w) + J(psi, dw) + nu Lap dw - mu dw + dnu Lap w - dmu w + df`` at one point."""
    kit = stencils(real)
    Patch, Metric, laplacian, jacobian = kit.Patch, kit.Metric, kit.laplacian, kit.jacobian[scheme]

    @wp.func
    def tangent_rate(
        psi: Patch,
        w: Patch,
        dpsi: Patch,
        dw: Patch,
        metric: Metric,
        nu: real,
        mu: real,
        dnu: real,
        dmu: real,
        dforce: real,
    ):
        return (
            jacobian(dpsi, w, metric)
            + jacobian(psi, dw, metric)
            + nu * laplacian(dw, metric)
            - mu * dw[4]
            + dnu * laplacian(w, metric)
            - dmu * w[4]
            + dforce
        )

    return tangent_rate


@functools.cache
def tangent_rows(plan: Plan, scheme: str) -> wp.Kernel:
    """One stage of state and tangent: `stage_rows` twice, with one pass over the points."""
    lines, (ny, nx), real, rows = plan.tangent_lines, plan.shape, plan.real, plan.tangent_rows
    forward, inverse, put, size = lines.forward, lines.inverse, lines.put, lines.size
    pairs, bands = rows // 2, -(-ny // rows)
    dpsi_lines, new, dnew = pairs + 1, 2 * pairs + 2, 3 * pairs + 2  # first lines of dpsi, w and dw
    pair_kit = pair_functions(lines, ny)
    load, store, line_strip = pair_kit.load, pair_kit.store, pair_kit.strip
    kit = stencils(real)
    Metric, strip, south, north = kit.Metric, kit.strip, kit.south, kit.north
    shared, force, rate, dot_rate = kit.shared, kit.force, tendency(real, scheme), tangent_rate(real, scheme)
    Complex = complex_type(real)
    fields, spectra = memory.stack(real, (ny, nx)), memory.stack(Complex, (ny, plan.half))
    series, line, complex_line = memory.series(real, (ny, nx)), memory.line(real), memory.line(Complex)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
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
        dspectrum_at: Place,
        roots_at: Place,
        state_out_at: Place,
        dstate_out_at: Place,
        spectrum_out_at: Place,
        dspectrum_out_at: Place,
    ):
        forcing = series(table, forcing_at)
        dforcing = series(table, dforcing_at)
        start = fields(table, start_at)
        dstart = fields(table, dstart_at)
        state = fields(table, state_at)
        dstate = fields(table, dstate_at)
        roots = complex_line(table, roots_at)
        state_out = fields(table, state_out_at)
        dstate_out = fields(table, dstate_out_at)
        block, thread = wp.tid()
        member = block // bands
        row = (block - member * bands) * rows
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        h = c * shared(line(table, dt_at), member)
        dnu = shared(line(table, dviscosity_at), member)
        dmu = shared(line(table, ddrag_at), member)
        dh = c * shared(line(table, ddt_at), member)
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        load(buffer, 0, spectra(table, spectrum_at), member, row - 1, pairs + 1, thread)
        load(buffer, dpsi_lines, spectra(table, dspectrum_at), member, row - 1, pairs + 1, thread)
        barrier()
        inverse(buffer, roots, thread, 0, 2 * pairs + 2)
        for item in range(thread, pairs * nx, wp.block_dim()):
            pair = item // nx
            j = item - pair * nx
            i = (row + 2 * pair) % ny
            k = wp.where(i == ny - 1, 0, i + 1)
            psi = line_strip(buffer, pair, j)
            dpsi = line_strip(buffer, dpsi_lines + pair, j)
            w = strip(state, member, i, k, j)
            dw = strip(dstate, member, i, k, j)
            r_i = rate(south(psi), south(w), metric, nu, mu, force(forcing, step, member, i, j))
            r_k = rate(north(psi), north(w), metric, nu, mu, force(forcing, step, member, k, j))
            df_i = force(dforcing, step, member, i, j)
            df_k = force(dforcing, step, member, k, j)
            dr_i = dot_rate(south(psi), south(w), south(dpsi), south(dw), metric, nu, mu, dnu, dmu, df_i)
            dr_k = dot_rate(north(psi), north(w), north(dpsi), north(dw), metric, nu, mu, dnu, dmu, df_k)
            new_i = b * w[7] + h * r_i
            new_k = b * w[4] + h * r_k
            dnew_i = b * dw[7] + h * dr_i + dh * r_i
            dnew_k = b * dw[4] + h * dr_k + dh * r_k
            if a != real(0.0):
                new_i += a * start[member, i, j]
                new_k += a * start[member, k, j]
                dnew_i += a * dstart[member, i, j]
                dnew_k += a * dstart[member, k, j]
            put(buffer, new + pair, j, Complex(new_i, new_k))
            put(buffer, dnew + pair, j, Complex(dnew_i, dnew_k))
            if row + 2 * pair < ny:
                state_out[member, i, j] = new_i
                dstate_out[member, i, j] = dnew_i
            if row + 2 * pair + 1 < ny:
                state_out[member, k, j] = new_k
                dstate_out[member, k, j] = dnew_k
        barrier()
        forward(buffer, roots, thread, new, 2 * pairs)
        store(buffer, new, spectra(table, spectrum_out_at), member, row, pairs, thread)
        store(buffer, dnew, spectra(table, dspectrum_out_at), member, row, pairs, thread)

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
    spectra,
):
    """Launch `steps` steps of state and tangent.

    `states` and `dstates`: three arrays each, for the results of the three stages; the last ones hold the answer.
    `spectra`: two scratch arrays ``(2 batch, ny, nx//2 + 1)``, first the states', then the tangents'.
    """
    batch, ny, _ = omega.shape
    metric, roots = stencils(plan.real).Metric(*metric), tables[3]
    spectrum, other = spectra
    to_spectrum, stage = forward_rows(plan, identity_pair(plan.real)), tangent_rows(plan, scheme)
    for field, half in zip((omega, domega), spectrum.halves(), strict=True):
        launch_rows(plan, to_spectrum, batch, [field, field, metric, roots, half])
    blocks = batch * -(-ny // plan.tangent_rows)
    state = omega, domega
    for step in range(steps):
        start = state
        for (a, b, c), *target in zip(RK3, states, dstates, strict=True):
            launch_columns(plan, tables, spectrum)
            arguments = [
                *(a, b, c, metric, *parameters, forcing, *dparameters, dforcing, step),
                *(*start, *state, *spectrum.halves(), roots, *target, *other.halves()),
            ]
            launch(stage, blocks, arguments, plan.tangent_lines.block_dim)
            state = target
            spectrum, other = other, spectrum
