"""The primitive of a user's Warp kernel and of the adjoint that Warp generates for it."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.interpreters.xla import apply_primitive

from .. import _ffi


@dataclasses.dataclass(frozen=True)
class Job:
    """One launch of a kernel or of its adjoint, in all that is static. It is the key of what is cached."""

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
        """The kernel's array inputs, and its outputs."""
        count = len(self.statics)
        arguments = self.kernel.adj.args
        arrays = [a for a, static in zip(arguments[:count], self.statics, strict=True) if static is None]
        return arrays, arguments[count:]

    def operands(self) -> list[type]:
        """Warp's dtypes of what comes in. The adjoint takes inputs, outputs, and cotangents of outputs."""
        inputs, outputs = self.parameters
        taken = [*inputs, *outputs, *filter(_differentiable, outputs)] if self.adjoint else inputs
        return [parameter.type.dtype for parameter in taken]

    def results(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[type, tuple[int, ...]]]:
        """Dtypes and shapes of what comes out, from the operands' shapes, as Warp counts shapes."""
        inputs, outputs = self.parameters
        if not self.adjoint:
            return [(p.type.dtype, shape) for p, shape in zip(outputs, self.shapes, strict=True)]
        pairs = zip(inputs, shapes[: len(inputs)], strict=True)
        return [(p.type.dtype, shape) for p, shape in pairs if _differentiable(p)]

    def launch(self, operands: list[wp.array], results: list[wp.array], scratch: list[wp.array]) -> None:
        """Launch on the arrays of one member."""
        # a launch of what failed to build does nothing, silently
        device = results[0].device
        if self.kernel.module.load(device, 1 if device.is_cpu else self.block_dim) is None:
            raise RuntimeError(f"the Warp kernel '{self.name}' failed to build")
        inputs, outputs = self.parameters
        outputs_given = operands[len(inputs) :][: len(outputs)] if self.adjoint else results
        gradients = {}
        if self.adjoint:
            # Warp's adjoints write to the adjoints of outputs, which here belong to XLA: so they get a copy.
            for copy, cotangent in zip(scratch, operands[len(inputs) + len(outputs) :], strict=True):
                wp.copy(copy, cotangent)
            gradients = {
                "adjoint": True,
                "adj_inputs": self._with_statics(_spread(inputs, results), of_adjoint=True),
                "adj_outputs": _spread(outputs, scratch),
            }
        wp.launch(
            self.kernel,
            dim=self.dim,
            inputs=self._with_statics(operands[: len(inputs)]),
            outputs=outputs_given,
            block_dim=self.block_dim,
            record_tape=False,
            **gradients,
        )

    def _with_statics(self, arrays, of_adjoint=False):
        arrays, values = iter(arrays), []
        for static, parameter in zip(self.statics, self.kernel.adj.args, strict=False):
            if static is None:
                values.append(next(arrays))
            else:
                value = np.frombuffer(static, _ffi.dtype_in_jax(parameter.type))[0].item()
                values.append(type(value)(0) if of_adjoint else value)
        return values


def _differentiable(parameter) -> bool:
    return jnp.issubdtype(_ffi.dtype_in_jax(parameter.type.dtype), jnp.floating)


def _spread(parameters, arrays):
    """Give each parameter its array, and None to those that have no derivative."""
    arrays = iter(arrays)
    return [next(arrays) if _differentiable(parameter) else None for parameter in parameters]


# The primitive: a job done once for each member of a batch, in one call. The batch has one axis for each
# `vmap`, outermost first; `mapped` says for each operand which of those axes it has, in front. Members are
# views of the batched buffers: a stencil never sees its neighbour's member, a shared operand is not copied.

members_p = Primitive("warp_kernel")
members_p.multiple_results = True
members_p.def_impl(functools.partial(apply_primitive, members_p))


def _shapes(operands, job, mapped):
    """The shapes of one member's operands, as Warp counts them."""
    kept = (x.ndim - len(_ffi.shape_in_jax((), dtype)) for x, dtype in zip(operands, job.operands(), strict=True))
    return [x.shape[sum(axes) : ndim] for x, axes, ndim in zip(operands, mapped, kept, strict=True)]


@members_p.def_abstract_eval
def _abstract_eval(*operands, job, batch, mapped):
    return [
        _ffi.abstract_result((*batch, *_ffi.shape_in_jax(shape, dtype)), _ffi.dtype_in_jax(dtype), *operands)
        for dtype, shape in job.results(_shapes(operands, job, mapped))
    ]


def _lower(*operands, job, batch, mapped):
    # Members are stacked along the first axis, for Warp has arrays of four axes at most.
    shapes = _shapes(operands, job, mapped)
    results = job.results(shapes)
    outputs = job.parameters[1]
    scratch = [(p.type.dtype, s) for p, s in zip(outputs, job.shapes, strict=True) if _differentiable(p)]
    scratch = scratch if job.adjoint else []
    members = math.prod(batch)
    stacked = [
        x.reshape(math.prod(x.shape[: sum(axes)]) * shape[0], *x.shape[sum(axes) + 1 :])
        for x, axes, shape in zip(operands, mapped, shapes, strict=True)
    ]
    # which member of each operand goes into which member of the batch
    grids = [np.arange(math.prod(x.shape[: sum(axes)])) for x, axes in zip(operands, mapped, strict=True)]
    layouts = [[n if has else 1 for n, has in zip(batch, axes, strict=True)] for axes in mapped]
    places = [np.broadcast_to(g.reshape(s), batch).ravel() for g, s in zip(grids, layouts, strict=True)]
    count = len(operands)  # the function below outlives this trace, and must not hold on to the operands
    table = np.array(places, int).reshape(count, members).T.tolist()

    def launch(*arrays):
        given, made = arrays[:count], arrays[count:]
        made, spare = made[: len(results)], made[len(results) :]
        for array in made:  # kernels may accumulate, and adjoints always do
            array.zero_()
        for member, row in enumerate(table):
            job.launch(
                [_member(a, i, s[0]) for a, i, s in zip(given, row, shapes, strict=True)],
                [_member(a, member, s[0]) for a, (_, s) in zip(made, results, strict=True)],
                list(spare),
            )

    values = _ffi.call(
        launch,
        *stacked,
        key=(job.name, job, batch, mapped),
        inputs=job.operands(),
        outputs=[(dtype, (members * shape[0], *shape[1:])) for dtype, shape in results] + scratch,
    )
    return [
        value.reshape(*batch, *_ffi.shape_in_jax(shape, dtype))
        for value, (dtype, shape) in zip(values, results, strict=False)
    ]


def _member(array, index, rows):
    return array if array.shape[0] == rows else array[index * rows : (index + 1) * rows]


mlir.register_lowering(members_p, mlir.lower_fun(_lower))


def _batch(operands, dims, *, job, batch, mapped):
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    operands = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
    mapped = tuple((d is not None, *axes) for d, axes in zip(dims, mapped, strict=True))
    results = members_p.bind(*operands, job=job, batch=(size, *batch), mapped=mapped)
    return results, [0] * len(results)


batching.primitive_batchers[members_p] = _batch


def _refuse(primals, tangents, *, job, batch, mapped):
    raise NotImplementedError(
        f"second derivative of the Warp kernel '{job.name}': Warp generates first derivatives only"
    )


ad.primitive_jvps[members_p] = _refuse


def _bind(job, *operands):
    return tuple(members_p.bind(*operands, job=job, batch=(), mapped=((),) * len(operands)))


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
