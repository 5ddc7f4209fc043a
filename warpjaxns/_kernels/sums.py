"""What a stage of the backward sweep adds to the cotangents of the parameters and of the forcing."""

import functools

import warp as wp

from . import memory
from .advance import tendency
from .memory import Place, Table, follow, locate
from .operators import ROW_BLOCK
from .plan import Plan
from .stencils import stencils


@functools.cache
def parameter_sums(plan: Plan, scheme: str, forced: bool) -> wp.Kernel:
    """A stage's share of the cotangents of viscosity, drag and dt, one partial sum a row, added to what is there
    unless `fresh`.

    From ``w_s = ... + c dt R(w)``: ``c dt <l, Lap w>``, ``-c dt <l, w>`` and ``c <l, R(w)>``.
    """
    (ny, nx), real = plan.shape, plan.real
    rate, kit = tendency(real, scheme), stencils(real)
    Metric, neighbourhood, laplacian = kit.Metric, kit.neighbourhood, kit.laplacian
    shared, scaled, force = kit.shared, kit.scaled, memory.force(real, (ny, nx))
    fields, line = memory.stack(real, (ny, nx)), memory.line(real)

    @memory.kernel(launch_bounds=ROW_BLOCK)
    def parameter_sums(
        table: Table,
        fresh: int,
        c: real,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        step: int,
        state_at: Place,
        psi_at: Place,
        cotangent_at: Place,
        sums_at: Place,
    ):
        state = fields(table, state_at)
        psi = fields(table, psi_at)
        cotangent = fields(table, cotangent_at)
        sums = line(table, sums_at)
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        terms = scaled(metric, nu, real(1.0))
        follow()
        by_viscosity = real(0.0)
        by_drag = real(0.0)
        by_dt = real(0.0)
        force_i = force(table, forcing_at, step, member, i, 0)
        for j in range(thread, nx, wp.block_dim()):
            w = neighbourhood(state, member, i, j)
            p = neighbourhood(psi, member, i, j)
            l = cotangent[member, i, j]
            by_viscosity += l * laplacian(w, metric)
            by_drag -= l * w[4]
            by_dt += l * rate(p, w, terms, mu)
            if forced:
                by_dt += l * force_i[j]
        total_viscosity = wp.tile_sum(wp.tile(by_viscosity))
        total_drag = wp.tile_sum(wp.tile(by_drag))
        total_dt = wp.tile_sum(wp.tile(by_dt))
        if thread == 0:
            row = member * ny + i
            share_viscosity = c * dt * total_viscosity[0]
            share_drag = c * dt * total_drag[0]
            share_dt = c * total_dt[0]
            if fresh == 0:
                share_viscosity += sums[3 * row]
                share_drag += sums[3 * row + 1]
                share_dt += sums[3 * row + 2]
            sums[3 * row] = share_viscosity
            sums[3 * row + 1] = share_drag
            sums[3 * row + 2] = share_dt

    return parameter_sums


@functools.cache
def forcing_sum(plan: Plan) -> wp.Kernel:
    """A stage's share ``c dt l`` of the forcing's cotangent, added to what is there unless `fresh`."""
    (ny, nx), real = plan.shape, plan.real
    shared, fields, line = stencils(real).shared, memory.stack(real, (ny, nx)), memory.line(real)

    @memory.kernel(launch_bounds=ROW_BLOCK)
    def forcing_sum(table: Table, fresh: int, c: real, dt_at: Place, cotangent_at: Place, sums_at: Place):
        cotangent = fields(table, cotangent_at)
        sums = fields(table, sums_at)
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        h = c * shared(line(table, dt_at), member)
        follow()
        for j in range(thread, nx, wp.block_dim()):
            share = h * cotangent[member, i, j]
            if fresh == 0:
                share += sums[member, i, j]
            sums[member, i, j] = share

    return forcing_sum
