"""The linearised time steps, together with the steps they linearise.

A state w and its tangent dw travel as one complex field w + i dw: the Poisson solver is linear and its Green function
real, so one complex solve gives psi + i dpsi. Spectra here are full, ``(batch, ny, nx)``.
"""

import functools
from collections.abc import Callable

import warp as wp

from . import memory
from .advance import RK3, tendency
from .fft import barrier, complex_type
from .memory import Place, Table, launch
from .plan import Plan
from .poisson import launch_columns
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
def tangent_rows(plan: Plan, scheme: str, first: bool) -> wp.Kernel:
    """One stage of state and tangent; with `first`, only the transform that precedes the first stage."""
    lines, (ny, nx), real = plan.tangent_lines, plan.shape, plan.real
    forward, inverse, get, put, size = lines.forward, lines.inverse, lines.get, lines.put, lines.size
    rows = plan.rows // 2
    bands = -(-ny // rows)
    fresh = rows + 2
    kit = stencils(real)
    Patch, Metric, neighbourhood, shared, force = (
        kit.Patch,
        kit.Metric,
        kit.neighbourhood,
        kit.shared,
        kit.force,
    )
    rate, dot_rate = tendency(real, scheme), tangent_rate(real, scheme)
    Complex = complex_type(real)
    fields, spectra, series = (
        memory.stack(real, (ny, nx)),
        memory.stack(Complex, (ny, nx)),
        memory.series(real, (ny, nx)),
    )
    line, complex_line = memory.line(real), memory.line(Complex)

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
        roots_at: Place,
        state_out_at: Place,
        dstate_out_at: Place,
        spectrum_out_at: Place,
    ):
        forcing = series(table, forcing_at)
        dforcing = series(table, dforcing_at)
        start = fields(table, start_at)
        dstart = fields(table, dstart_at)
        state = fields(table, state_at)
        dstate = fields(table, dstate_at)
        spectrum = spectra(table, spectrum_at)
        roots = complex_line(table, roots_at)
        state_out = fields(table, state_out_at)
        dstate_out = fields(table, dstate_out_at)
        spectrum_out = spectra(table, spectrum_out_at)
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
        if wp.static(not first):
            for item in range(thread, (rows + 2) * nx, wp.block_dim()):
                row_line = item // nx
                k = item - row_line * nx
                put(buffer, row_line, k, spectrum[member, (row + row_line - 1 + ny) % ny, k])
            barrier()
            inverse(buffer, roots, thread, 0, rows + 2)
        for item in range(thread, rows * nx, wp.block_dim()):
            row_line = item // nx
            j = item - row_line * nx
            i = (row + row_line) % ny
            value = state[member, i, j]
            dvalue = dstate[member, i, j]
            if wp.static(not first):
                east = wp.where(j == nx - 1, 0, j + 1)
                west = wp.where(j == 0, nx - 1, j - 1)
                sw = get(buffer, row_line, west)
                s = get(buffer, row_line, j)
                se = get(buffer, row_line, east)
                cw = get(buffer, row_line + 1, west)
                cc = get(buffer, row_line + 1, j)
                ce = get(buffer, row_line + 1, east)
                nw = get(buffer, row_line + 2, west)
                n = get(buffer, row_line + 2, j)
                ne = get(buffer, row_line + 2, east)
                psi = Patch(nw[0], n[0], ne[0], cw[0], cc[0], ce[0], sw[0], s[0], se[0])
                dpsi = Patch(nw[1], n[1], ne[1], cw[1], cc[1], ce[1], sw[1], s[1], se[1])
                w = neighbourhood(state, member, i, j)
                dw = neighbourhood(dstate, member, i, j)
                r = rate(psi, w, metric, nu, mu, force(forcing, step, member, i, j))
                dr = dot_rate(psi, w, dpsi, dw, metric, nu, mu, dnu, dmu, force(dforcing, step, member, i, j))
                value = b * value + h * r
                dvalue = b * dvalue + h * dr + dh * r
                if a != real(0.0):
                    value += a * start[member, i, j]
                    dvalue += a * dstart[member, i, j]
                if row + row_line < ny:
                    state_out[member, i, j] = value
                    dstate_out[member, i, j] = dvalue
            put(buffer, fresh + row_line, j, Complex(value, dvalue))
        barrier()
        forward(buffer, roots, thread, fresh, rows)
        for item in range(thread, rows * nx, wp.block_dim()):
            row_line = item // nx
            k = item - row_line * nx
            if row + row_line < ny:
                spectrum_out[member, row + row_line, k] = get(buffer, fresh + row_line, k)

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
    `spectra`: two scratch arrays ``(batch, ny, nx)``.
    """
    batch, ny, _ = omega.shape
    metric = stencils(plan.real).Metric(*metric)
    spectrum, other = spectra
    state, dstate = omega, domega
    blocks = batch * -(-ny // (plan.rows // 2))

    def rows(first, a, b, c, step, start, dstart, targets, spectrum, spectrum_out):
        arguments = [
            *(a, b, c, metric, *parameters, forcing, *dparameters, dforcing, step),
            *(start, dstart, state, dstate, spectrum, tables[3], *targets, spectrum_out),
        ]
        launch(tangent_rows(plan, scheme, first), blocks, arguments, plan.tangent_lines.block_dim)

    rows(True, 0.0, 1.0, 0.0, 0, state, dstate, (states[0], dstates[0]), other, spectrum)
    for step in range(steps):
        start, dstart = state, dstate
        for s, (a, b, c) in enumerate(RK3):
            launch_columns(plan, tables, spectrum)
            targets = states[s], dstates[s]
            rows(False, a, b, c, step, start, dstart, targets, spectrum, other)
            state, dstate = targets
            spectrum, other = other, spectrum
