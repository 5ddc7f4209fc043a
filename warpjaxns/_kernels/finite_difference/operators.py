"""Jacobian and Laplacian of fields. An operand with a batch axis of length 1 is shared by all members."""

import functools

import warp as wp

from ..hardware.address_table import Place, Table, kernel, launch
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.views import member_view
from .plan import Plan
from .stencils import stencils

ROW_BLOCK = 128  # threads that share a row


@functools.cache
def laplacian_kernel(plan: Plan) -> wp.Kernel:
    (ny, nx), field, kit = plan.shape, member_view(plan.real, plan.shape), stencils(plan.real)
    Metric, neighbourhood, stencil = kit.Metric, kit.neighbourhood, kit.laplacian

    @kernel(launch_bounds=ROW_BLOCK)
    def laplacian(table: Table, metric: Metric, a_at: Place, out_at: Place):
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        a = field(table, a_at, member)
        out = field(table, out_at, member)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            out[i, j] = stencil(neighbourhood(a, i, j), metric)

    return laplacian


@functools.cache
def jacobian_kernel(plan: Plan, scheme: str) -> wp.Kernel:
    (ny, nx), field, kit = plan.shape, member_view(plan.real, plan.shape), stencils(plan.real)
    Metric, neighbourhood, stencil = kit.Metric, kit.neighbourhood, kit.jacobian[scheme]

    @kernel(launch_bounds=ROW_BLOCK)
    def jacobian(table: Table, metric: Metric, a_at: Place, b_at: Place, out_at: Place):
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        a = field(table, a_at, wp.where(a_at[2] == 1, 0, member))
        b = field(table, b_at, wp.where(b_at[2] == 1, 0, member))
        out = field(table, out_at, member)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            out[i, j] = stencil(neighbourhood(a, i, j), neighbourhood(b, i, j), metric)

    return jacobian


@functools.cache
def copy_kernel(plan: Plan) -> wp.Kernel:
    (ny, nx), field = plan.shape, member_view(plan.real, plan.shape)

    @kernel(launch_bounds=ROW_BLOCK)
    def copy(table: Table, a_at: Place, out_at: Place):
        index, _ = wp.tid()
        member, i, thread = locate(index, ny)
        a = field(table, a_at, member)
        out = field(table, out_at, member)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            out[i, j] = a[i, j]

    return copy


def _launch_on_rows(plan: Plan, kernel, arguments):
    """Launch one block for each row of the result, which is the last argument."""
    out = arguments[-1]
    launch(kernel, out.table, out.shape[0] * plan.shape[0], arguments, ROW_BLOCK)


def laplacian(plan: Plan, metric, a, out):
    """Launch ``out = Lap a``."""
    _launch_on_rows(plan, laplacian_kernel(plan), [stencils(plan.real).Metric(*metric), a, out])


def jacobian(plan: Plan, scheme: str, metric, a, b, out):
    """Launch ``out = J(a, b)``."""
    _launch_on_rows(plan, jacobian_kernel(plan, scheme), [stencils(plan.real).Metric(*metric), a, b, out])


def copy(plan: Plan, a, out):
    """Launch ``out = a``."""
    _launch_on_rows(plan, copy_kernel(plan), [a, out])
