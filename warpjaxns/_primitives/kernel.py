"""The primitive that launches a user's Warp kernel, or the adjoint that Warp generates for it."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.interpreters.xla import apply_primitive

from .. import _ffi
from .._kernels.batched import MOST, kernel_of_batch
from .._types import abstract_result, dtype_in_jax, shape_in_jax
from . import partition
from .define import in_x64_of_operands, lowering


@dataclasses.dataclass(frozen=True)
class Job:
    """The static arguments of a launch of a kernel or of its adjoint. They are the key of all caches."""

    kernel: wp.Kernel
    statics: tuple[bytes | None, ...]  # one an input parameter: the bytes of a scalar, None for an array
    shapes: tuple[tuple[int, ...], ...]  # of the outputs
    dim: tuple[int, ...]
    block_dim: int
    adjoint: bool = False

    @property
    def name(self) -> str:
        """The kernel's name, for messages."""
        return self.kernel.func.__name__

    @property
    def parameters(self):
        """The array inputs and the outputs of the kernel."""
        count = len(self.statics)
        arguments = self.kernel.adj.args
        arrays = [a for a, static in zip(arguments[:count], self.statics, strict=True) if static is None]
        return arrays, arguments[count:]

    def operands(self) -> list[type]:
        """Warp's dtypes of the operands. Those of the adjoint are inputs, outputs, and cotangents of outputs."""
        inputs, outputs = self.parameters
        taken = [*inputs, *outputs, *filter(_differentiable, outputs)] if self.adjoint else inputs
        return [parameter.type.dtype for parameter in taken]

    def results(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[type, tuple[int, ...]]]:
        """Return the dtypes and shapes of the results, from the operands' shapes. Shapes are Warp's."""
        inputs, outputs = self.parameters
        if not self.adjoint:
            return [(p.type.dtype, shape) for p, shape in zip(outputs, self.shapes, strict=True)]
        pairs = zip(inputs, shapes[: len(inputs)], strict=True)
        return [(p.type.dtype, shape) for p, shape in pairs if _differentiable(p)]

    def launch(
        self,
        kernel: wp.Kernel,
        dim: tuple[int, ...],
        operands: list[wp.array],
        results: list[wp.array],
        scratch: list[wp.array],
        more: Sequence = (),
    ) -> None:
        """Launch the job's kernel, or a kernel made of it that takes `more` arguments."""
        # Warp's launch of a kernel that failed to build does nothing, silently
        device = cast(wp.Device, results[0].device)
        if kernel.module.load(device, 1 if device.is_cpu else self.block_dim) is None:
            raise RuntimeError(f"the Warp kernel '{self.name}' failed to build")
        inputs, outputs = self.parameters
        made = operands[len(inputs) :][: len(outputs)] if self.adjoint else results
        if self.adjoint:
            # not as further arguments: Warp would not find them behind views, such as rows that a kernel takes
            pairs = [*zip(inputs, operands, strict=False), *zip(outputs, made, strict=True)]
            gradients = _spread(inputs, results) + _spread(outputs, scratch)
            for (_, array), gradient in zip(pairs, gradients, strict=True):
                array.grad = gradient
        wp.launch(
            kernel,
            dim=dim,
            inputs=self._with_statics(operands[: len(inputs)]),
            outputs=[*made, *more],
            adjoint=self.adjoint,
            adj_inputs=[None] * len(kernel.adj.args) if self.adjoint else [],
            block_dim=self.block_dim,
            record_tape=False,
        )

    def _with_statics(self, arrays):
        arrays, values = iter(arrays), []
        for static, parameter in zip(self.statics, self.kernel.adj.args, strict=False):
            number = static and np.frombuffer(static, dtype_in_jax(parameter.type))[0].item()
            values.append(next(arrays) if static is None else number)
        return values


def _differentiable(parameter) -> bool:
    return jnp.issubdtype(dtype_in_jax(parameter.type.dtype), jnp.floating)


def _spread(parameters, arrays):
    """Return an array for each parameter, and None for those that have no derivative."""
    arrays = iter(arrays)
    return [next(arrays) if _differentiable(parameter) else None for parameter in parameters]


# The primitive: a job done once for each member of a batch, in one call. The batch has one axis for each
# `vmap`, outermost first; `mapped` says for each operand which of those axes it has, in front. Members are
# views of the batched buffers: a stencil never sees its neighbour's member, a shared operand is not copied.

kernel_p = Primitive("warp_kernel")
kernel_p.multiple_results = True
kernel_p.def_impl(functools.partial(apply_primitive, kernel_p))


def _shapes(operands, job, mapped):
    """Return the shapes of one member's operands, as Warp counts them."""
    kept = (x.ndim - len(shape_in_jax((), dtype)) for x, dtype in zip(operands, job.operands(), strict=True))
    return [x.shape[sum(axes) : ndim] for x, axes, ndim in zip(operands, mapped, kept, strict=True)]


@kernel_p.def_abstract_eval
def _abstract_eval(*operands, job, batch, mapped):
    results = [
        abstract_result((*batch, *shape_in_jax(shape, dtype)), dtype_in_jax(dtype), *operands)
        for dtype, shape in job.results(_shapes(operands, job, mapped))
    ]
    return partition.with_batch(results, operands, job.name, *_batch_axes(job, batch, mapped))


def _batch_axes(job, batch, mapped):
    """Return the batch axes of each operand and of each result."""
    counts = [[sum(axes[: i + 1]) - 1 if there else None for i, there in enumerate(axes)] for axes in mapped]
    return counts, [tuple(range(len(batch)))] * len(job.results([()] * len(mapped)))


def _lower(*operands, job, batch, mapped):
    axes_of, _ = _batch_axes(job, batch, mapped)
    for i in range(len(batch)):  # of the members that are on this device
        lengths = (x.shape[axes[i]] for x, axes in zip(operands, axes_of, strict=True) if axes[i] is not None)
        batch = (*batch[:i], next(lengths), *batch[i + 1 :])
    shapes = _shapes(operands, job, mapped)
    results = job.results(shapes)
    inputs, outputs = job.parameters
    members, rows = math.prod(batch), job.dim[0]
    scratch = list(zip(outputs, job.shapes, strict=True)) if job.adjoint else []
    scratch = [(parameter.type.dtype, shape) for parameter, shape in scratch if _differentiable(parameter)]
    taken = len(shapes) - len(scratch)  # the operands after these are cotangents, of which each member has its own
    stacks, repeats = zip(
        *(
            _stack(x, axes, batch, own_parts=i >= taken)
            for i, (x, axes) in enumerate(zip(operands, mapped, strict=True))
        ),
        strict=True,
    )
    repeats = [*repeats[:taken], *[(1, members)] * (len(inputs) + len(outputs) - taken)]
    batched = kernel_of_batch(job.kernel, len(job.dim)) if members > 1 else None
    count = len(shapes)  # the function below outlives this trace, and must not hold on to the operands

    def launch(*arrays):
        given, made, spare = arrays[:count], arrays[count:][: len(results)], arrays[count:][len(results) :]
        for array in made:  # kernels may accumulate, and adjoints always do
            array.zero_()
        for copy, cotangent in zip(spare, given[taken:], strict=True):
            wp.copy(copy, cotangent)

        def parts(member):
            """Return the arguments of the launch of a member: its parts of operands, results and scratch."""
            places = [member // each % parts for each, parts in repeats[:taken]]
            return (
                [_part(a, place, shape) for a, place, shape in zip(given, places, shapes, strict=False)],
                [_part(a, member, shape) for a, (_, shape) in zip(made, results, strict=True)],
                [_part(a, member, shape) for a, (_, shape) in zip(spare, scratch, strict=True)],
            )

        if batched is None:
            for member in range(members):
                job.launch(job.kernel, job.dim, *parts(member))
            return
        together = max(MOST // max(rows, 1), 1)
        for first in range(0, members, together):
            dim = (min(together, members - first) * rows, *job.dim[1:])
            job.launch(batched, dim, *parts(0), [rows, first, *map(wp.vec2i, repeats)])

    values = _ffi.call(
        launch,
        *stacks,
        key=(job.name, job, batch, mapped),
        inputs=job.operands(),
        outputs=[(dtype, (members * shape[0], *shape[1:])) for dtype, shape in [*results, *scratch]],
    )
    return [
        value.reshape(*batch, *shape_in_jax(shape, dtype))
        for value, (dtype, shape) in zip(values, results, strict=False)
    ]


def _stack(operand, axes, batch, own_parts):
    """Stack an operand's parts along the first axis, since Warp's arrays have at most four axes.

    Successive members may share a part, unless each is to have its `own_parts`.

    **Returns:** the array, the number of successive members that share a part, and the number of parts.
    """
    present = [i for i, there in enumerate(axes) if there]
    first, last = (0, len(batch)) if own_parts else (present[0], present[-1] + 1) if present else (0, 0)
    layout = [n if there else 1 for n, there in zip(batch[first:last], axes[first:last], strict=True)]
    shape = operand.shape[len(present) :]
    filled = jnp.broadcast_to(operand.reshape(*layout, *shape), (*batch[first:last], *shape))
    parts = math.prod(batch[first:last])
    return filled.reshape(parts * shape[0], *shape[1:]), (math.prod(batch[last:]), parts)


def _part(array, index, shape):
    return array if array.shape[0] == shape[0] else array[index * shape[0] : (index + 1) * shape[0]]


def _lowering(ctx, *operands, job, **params):
    return lowering(_lower, job.name, _batch_axes, True)(ctx, *operands, job=job, **params)


mlir.register_lowering(kernel_p, _lowering)


def _batch(operands, dims, *, job, batch, mapped):
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    operands = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
    mapped = tuple((d is not None, *axes) for d, axes in zip(dims, mapped, strict=True))
    results = kernel_p.bind(*operands, job=job, batch=(size, *batch), mapped=mapped)
    return results, [0] * len(results)


batching.primitive_batchers[kernel_p] = in_x64_of_operands(_batch)


def _refuse(primals, tangents, *, job, batch, mapped):
    raise NotImplementedError(
        f"second derivative of the Warp kernel '{job.name}': Warp generates first derivatives only"
    )


ad.primitive_jvps[kernel_p] = _refuse


def _bind(job, *operands):
    return tuple(kernel_p.bind(*operands, job=job, batch=(), mapped=((),) * len(operands)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def apply(job, *inputs):
    return _bind(job, *inputs)


def _forward(job, *inputs):
    options = job.kernel.module.options | job.kernel.options
    if options.get("enable_backward") is False:
        raise ValueError(f"the Warp kernel '{job.name}' has no adjoint: it was built with enable_backward=False")
    outputs = _bind(job, *inputs)
    return outputs, (inputs, outputs)


def _backward(job, residuals, cotangents):
    inputs, outputs = residuals
    given, made = job.parameters
    kept = [c for c, parameter in zip(cotangents, made, strict=True) if _differentiable(parameter)]
    if not any(map(_differentiable, given)):
        return (None,) * len(inputs)
    adjoint = dataclasses.replace(job, adjoint=True)
    return tuple(_spread(given, _bind(adjoint, *inputs, *outputs, *kept)))


apply.defvjp(_forward, _backward)
