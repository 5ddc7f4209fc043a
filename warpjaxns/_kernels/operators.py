"""Jacobian and Laplacian of whole fields. An operand with a batch axis of length 1 is shared by all members."""

import functools

import warp as wp

from .plan import Plan
from .stencils import stencils


@functools.cache
def laplacian_kernel(real) -> wp.Kernel:
    kit = stencils(real)
    Metric, neighbourhood, stencil = kit.Metric, kit.neighbourhood, kit.laplacian

    @wp.kernel(module="unique", enable_backward=False)
    def laplacian(metric: Metric, a: wp.array3d(dtype=real), out: wp.array3d(dtype=real)):
        member, i, j = wp.tid()
        out[member, i, j] = stencil(neighbourhood(a, member, i, j), metric)

    return laplacian


@functools.cache
def jacobian_kernel(real, scheme: str) -> wp.Kernel:
    kit = stencils(real)
    Metric, neighbourhood, stencil = kit.Metric, kit.neighbourhood, kit.jacobian[scheme]

    @wp.kernel(module="unique", enable_backward=False)
    def jacobian(
        metric: Metric,
        a: wp.array3d(dtype=real),
        b: wp.array3d(dtype=real),
        out: wp.array3d(dtype=real),
    ):
        member, i, j = wp.tid()
        member_a = wp.where(a.shape[0] == 1, 0, member)
        member_b = wp.where(b.shape[0] == 1, 0, member)
        out[member, i, j] = stencil(neighbourhood(a, member_a, i, j), neighbourhood(b, member_b, i, j), metric)

    return jacobian


def laplacian(plan: Plan, metric, a, out):
    """``out = Lap a``."""
    inputs = [stencils(plan.real).Metric(*metric), a]
    wp.launch(laplacian_kernel(plan.real), dim=out.shape, inputs=inputs, outputs=[out])


def jacobian(plan: Plan, scheme: str, metric, a, b, out):
    """``out = J(a, b)``."""
    inputs = [stencils(plan.real).Metric(*metric), a, b]
    wp.launch(jacobian_kernel(plan.real, scheme), dim=out.shape, inputs=inputs, outputs=[out])
