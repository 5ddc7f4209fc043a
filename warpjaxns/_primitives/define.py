"""Definition of primitives: backends, eager calls, division among devices, and derivative rules."""

import functools
from collections.abc import Callable
from typing import cast

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir
from jax.interpreters.xla import apply_primitive

from .._grid import DividedGrid
from .._support import warp_obstacle
from .._types import abstract_result, align
from . import divided as on_devices
from . import partition

batch_axes: dict[Primitive, Callable] = {}  # the batch axes of operands and of results (`folding`)
WIDE = [np.dtype(name) for name in ("float64", "int64", "uint64", "complex128")]


def in_x64_of_operands(rule: Callable) -> Callable:
    """Make `rule` run with x64 on where an operand has 64 bits.

    JAX calls the rules of a primitive when it lowers, transposes or batches, which may be outside the
    ``jax.enable_x64(True)`` under which the primitive was bound.
    """

    @functools.wraps(rule)
    def follow(*args, **params):
        if jax.config.read("jax_enable_x64") or not _holds_64_bits(args):
            return rule(*args, **params)
        with jax.enable_x64(True):
            return rule(*args, **params)

    return follow


def _holds_64_bits(value):
    if isinstance(value, tuple | list):
        return any(map(_holds_64_bits, value))
    value = getattr(value, "aval", value)
    return getattr(value, "dtype", None) in WIDE


def lowering(function: Callable, name: str, batch_axes: Callable, foreign: bool) -> Callable:
    """Make the lowering rule of a primitive that computes ``function(*operands, **params)``, several results.

    `name` and the parameters say what it computes. ``batch_axes(**params)`` gives the batch axes of operands and those
    of results, along which it may be divided among devices (`partition.lower`). `foreign`: whether it calls Warp.
    """

    def rule(ctx, *operands, **params):
        @in_x64_of_operands
        def compute(*operands):
            return function(*operands, **params)

        def lower(_):
            if partition.several_devices(ctx):
                key = ctx.module_context.platforms, sorted(params.items())
                return partition.lower(compute, ctx, operands, name, key, foreign, *batch_axes(**params))
            return mlir.lower_fun(compute, multiple_results=True)(ctx, *operands)

        return in_x64_of_operands(lower)(ctx.avals_in)

    return rule


def define(
    name: str,
    abstract: Callable,
    xla: Callable,
    warp: Callable,
    find_obstacle: Callable = warp_obstacle,
    divided: Callable | None = None,
) -> Primitive:
    """Define a primitive with several results. `folding.batch_by_folding` must follow.

    `abstract(*avals, **params)` returns ``(shape, dtype)`` of each result. `xla` and `warp` compute the results, as
    lists or tuples. `warp` serves CUDA, and with ``backend="warp"`` also the CPU; its argument `platform` says which.
    ``find_obstacle(grid, dtype, platform)`` says why it cannot, or returns None. `divided` computes the results on a
    `DividedGrid`, and takes what `warp` takes, with ``platform=None`` where Warp is not to be used.
    """
    p = Primitive(name)
    p.multiple_results = True

    @p.def_abstract_eval
    def _(*avals, **params):
        results = [abstract_result(shape, dtype, *avals) for shape, dtype in abstract(*avals, **params)]
        return partition.with_batch(results, avals, name, *batch_axes[p](**params))

    p.def_impl(functools.partial(apply_primitive, p))

    def lower(platform, ctx, *operands, **params):
        backend, grid, dtype = params["backend"], params["grid"], ctx.avals_in[0].dtype
        obstacle = "asked not to" if backend == "xla" else find_obstacle(grid, dtype, platform)
        if backend == "warp" and obstacle:
            raise ValueError(f'backend="warp" cannot run on {platform}: {obstacle}')
        use_warp = not obstacle and (backend == "warp" or platform == "cuda")
        if isinstance(grid, DividedGrid):
            how = functools.partial(cast(Callable, divided), platform=platform if use_warp else None)
            rule = on_devices.lowering(in_x64_of_operands(how), name)
            return in_x64_of_operands(lambda _: rule(ctx, *operands, **params))(ctx.avals_in)
        how = functools.partial(warp, platform=platform) if use_warp else xla
        return lowering(how, name, batch_axes[p], use_warp)(ctx, *operands, **params)

    mlir.register_lowering(p, functools.partial(lower, "this platform"))
    for platform in ("cpu", "cuda"):
        mlir.register_lowering(p, functools.partial(lower, platform), platform=platform)
    return p


def register(p: Primitive, *, jvp: Callable, transpose: Callable | None = None) -> None:
    """Register derivative rules, which run with x64 on if an operand is float64."""
    ad.primitive_jvps[p] = in_x64_of_operands(jvp)
    if transpose is not None:
        ad.primitive_transposes[p] = in_x64_of_operands(_of_some_cotangent(transpose))


def register_linear(p: Primitive, transpose: Callable) -> None:
    """Register the derivative rules of a primitive that is linear in its one operand."""
    ad.deflinear2(p, in_x64_of_operands(transpose))
    ad.primitive_transposes[p] = _of_some_cotangent(ad.primitive_transposes[p])


def _of_some_cotangent(transpose: Callable) -> Callable:
    """Make a transpose rule that has nothing to do where all cotangents are symbolic zeros."""

    @functools.wraps(transpose)
    def rule(cotangents, *operands, **params):
        if all(type(cotangent) is ad.Zero for cotangent in cotangents):
            return [None] * len(operands)
        return transpose(cotangents, *operands, **params)

    return rule


def bind(p: Primitive, *operands: jax.Array, **params) -> list[jax.Array]:
    """Bind with all operands varying over the same mesh axes, so that JAX sums cotangents of replicated operands."""
    return p.bind(*align(*operands), **params)
