"""The linearised time steps, together with the steps they linearise.

A state w and its tangent dw travel as one complex field w + i dw: the Poisson solver is linear and its Green function
real, so one complex solve gives psi + i dpsi. Spectra here are full, ``(batch, ny, nx)``.
"""

import functools
from collections.abc import Callable

import warp as wp

from .advance import RK3, tendency
from .fft import barrier, complex_type
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

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
    def tangent_rows(
        a: real,
        b: real,
        c: real,
        metric: Metric,
        viscosity: wp.array(dtype=real),
        drag: wp.array(dtype=real),
        dt: wp.array(dtype=real),
        forcing: wp.array4d(dtype=real),
        dviscosity: wp.array(dtype=real),
        ddrag: wp.array(dtype=real),
        ddt: wp.array(dtype=real),
        dforcing: wp.array4d(dtype=real),
        step: int,
        start: wp.array3d(dtype=real),
        dstart: wp.array3d(dtype=real),
        state: wp.array3d(dtype=real),
        dstate: wp.array3d(dtype=real),
        spectrum: wp.array3d(dtype=Complex),
        roots: wp.array(dtype=Complex),
        state_out: wp.array3d(dtype=real),
        dstate_out: wp.array3d(dtype=real),
        spectrum_out: wp.array3d(dtype=Complex),
    ):
        block, thread = wp.tid()
        member = block // bands
        row = (block - member * bands) * rows
        nu = shared(viscosity, member)
        mu = shared(drag, member)
        dnu = shared(dviscosity, member)
        dmu = shared(ddrag, member)
        h = c * shared(dt, member)
        dh = c * shared(ddt, member)
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        if wp.static(not first):
            for item in range(thread, (rows + 2) * nx, wp.block_dim()):
                line = item // nx
                k = item - line * nx
                put(buffer, line, k, spectrum[member, (row + line - 1 + ny) % ny, k])
            barrier()
            inverse(buffer, roots, thread, 0, rows + 2)
        for item in range(thread, rows * nx, wp.block_dim()):
            line = item // nx
            j = item - line * nx
            i = (row + line) % ny
            value = state[member, i, j]
            dvalue = dstate[member, i, j]
            if wp.static(not first):
                east = wp.where(j == nx - 1, 0, j + 1)
                west = wp.where(j == 0, nx - 1, j - 1)
                sw = get(buffer, line, west)
                s = get(buffer, line, j)
                se = get(buffer, line, east)
                cw = get(buffer, line + 1, west)
                cc = get(buffer, line + 1, j)
                ce = get(buffer, line + 1, east)
                nw = get(buffer, line + 2, west)
                n = get(buffer, line + 2, j)
                ne = get(buffer, line + 2, east)
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
                if row + line < ny:
                    state_out[member, i, j] = value
                    dstate_out[member, i, j] = dvalue
            put(buffer, fresh + line, j, Complex(value, dvalue))
        barrier()
        forward(buffer, roots, thread, fresh, rows)
        for item in range(thread, rows * nx, wp.block_dim()):
            line = item // nx
            k = item - line * nx
            if row + line < ny:
                spectrum_out[member, row + line, k] = get(buffer, fresh + line, k)

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
        wp.launch_tiled(
            tangent_rows(plan, scheme, first),
            dim=[blocks],
            inputs=[
                *(a, b, c, metric, *parameters, forcing, *dparameters, dforcing, step),
                *(start, dstart, state, dstate, spectrum, tables[3]),
            ],
            outputs=[*targets, spectrum_out],
            block_dim=plan.tangent_lines.block_dim,
        )

    rows(True, 0.0, 1.0, 0.0, 0, state, dstate, (states[0], dstates[0]), other, spectrum)
    for step in range(steps):
        start, dstart = state, dstate
        for s, (a, b, c) in enumerate(RK3):
            launch_columns(plan, tables, spectrum)
            targets = states[s], dstates[s]
            rows(False, a, b, c, step, start, dstart, targets, spectrum, other)
            state, dstate = targets
            spectrum, other = other, spectrum
