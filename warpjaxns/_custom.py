"""JAX functions of users' Warp kernels, whose derivatives launch the adjoint that Warp generates."""

import ast
import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

from ._checks import check_count, check_width
from ._primitives.kernel import Job, apply
from ._show import show
from ._types import align, dtype_in_jax, shape_in_jax

MOST_THREADS = 1024  # a block


def primitive(
    kernel: wp.Kernel,
    *,
    num_outputs: int = 1,
    output_shapes: Any = None,
    launch_dims: Any = None,
    block_dim: int = 256,
) -> Callable[..., jax.Array | tuple[jax.Array, ...]]:
    """Make a JAX function of a Warp kernel. Its reverse-mode derivative launches the adjoint Warp generates.

    It works under `jit`, `grad`, `vmap`, `scan`, `checkpoint` and `shard_map`. Under `vmap` the kernel is launched once
    for all members, and each thread sees the arrays of one member. A kernel that calls `wp.func_native` is launched
    once a member. A kernel is compiled and registered once for the same static values and shapes.

    ```python
    vector = wp.array(dtype=wp.float32)

    @wp.kernel(module="unique")
    def diffuse(x: vector, rate: vector, y: vector):
        i = wp.tid()
        n = x.shape[0]
        y[i] = x[i] + rate[0] * (x[(i + 1) % n] - 2.0 * x[i] + x[(i + n - 1) % n])

    step = wns.primitive(diffuse)
    gradient = jax.grad(lambda rate: jnp.sum(step(x, rate) ** 2))(jnp.array([0.1], jnp.float32))
    ```

    **Arguments:**

    - `kernel`: a Warp kernel, not generic, whose parameters are its inputs and then its outputs. Inputs are
        arrays of scalars, vectors or matrices, or plain scalars. Plain scalars are static: pass a number to be traced
        or differentiated as an array of one element. Kernels with tiles are not supported.
    - `num_outputs`: how many of the last parameters are outputs. They are zero when the kernel starts.
    - `output_shapes`: a shape for all outputs; or a sequence with one shape an output; or a dictionary from
        names to shapes; or a function of the shapes of the array inputs (in order) that returns one of these.
        By default all outputs have the shape of the first array. Shapes here and below leave out the
        components of vectors and matrices, which are the last axes of JAX's shape.
    - `launch_dims`: the dimensions of the launch, as many as `wp.tid()` returns, or a function of the array inputs'
        shapes that returns them. By default the shape of the first output.
    - `block_dim`: threads a block, on CUDA.

    **Returns:** a function of the kernel's inputs, by position or name, that returns the output, or a tuple
    of outputs. Arrays have as many axes as the kernel says, and its dtype.

    **Raises:** `TypeError` or `ValueError` where kernel and arguments do not fit; `TypeError` for 64 bits in NumPy's
    arrays while `jax_enable_x64` is off, which JAX would round silently. When differentiated: `ValueError` if the
    kernel was built with `enable_backward=False`, `TypeError` in forward mode, and `NotImplementedError` for second
    derivatives, which Warp does not generate.

    !!! warning
        These conditions are not checked. The kernel must not write to its inputs, and Warp must be able to
        differentiate it. Each output element is assigned once. A loop whose number of iterations is not known when the
        kernel is built must not carry a changing variable from one iteration to the next.
    """
    _check_kernel(kernel, num_outputs)
    check_count("block_dim", block_dim, least=1, most=MOST_THREADS)
    parameters, outcomes = kernel.adj.args[:-num_outputs], kernel.adj.args[-num_outputs:]
    inputs = [parameter for parameter in parameters if _is_array(parameter)]
    signature = inspect.Signature(
        [inspect.Parameter(p.label, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in parameters]
    )

    def function(*args, **kwargs):
        values = signature.bind(*args, **kwargs).arguments
        statics = tuple(None if _is_array(p) else _static(kernel, p, values[p.label]) for p in parameters)
        arrays = [_array(kernel, p, values[p.label]) for p in inputs]
        shapes = [x.shape[: p.type.ndim] for p, x in zip(inputs, arrays, strict=True)]
        outputs = _output_shapes(kernel, output_shapes, outcomes, shapes)
        dim = _launch_dims(kernel, launch_dims, outputs, shapes)
        results: Any = apply(Job(kernel, statics, outputs, dim, block_dim), *align(*arrays))
        return results[0] if num_outputs == 1 else results

    function.__name__ = function.__qualname__ = kernel.func.__name__
    function.__doc__ = kernel.func.__doc__
    function.__signature__ = signature
    return function


def _check_kernel(kernel, num_outputs):
    if not isinstance(kernel, wp.Kernel):
        raise TypeError(f"kernel={show(kernel)}: expected a Warp kernel, a function under @wp.kernel")
    if kernel.is_generic:
        raise TypeError(f"{_title(kernel)} is generic: choose its types with wp.overload")
    arguments = kernel.adj.args
    if not 1 <= check_count("num_outputs", num_outputs, least=0) <= len(arguments):
        raise ValueError(f"num_outputs is {num_outputs}, and {_title(kernel)} has {len(arguments)} parameters")
    for index, argument in enumerate(arguments):
        is_array = _is_array(argument)
        if not _holds_numbers(argument.type.dtype) if is_array else not _is_number(argument.type):
            raise TypeError(f"{_name(kernel, argument)} is neither an array of numbers nor a number")
        if not is_array and index >= len(arguments) - num_outputs:
            raise TypeError(f"{_name(kernel, argument)} is an output, and must be an array")


def _is_array(argument):
    return hasattr(argument.type, "ndim")


def _holds_numbers(dtype):
    try:
        return dtype_in_jax(dtype) is not None
    except (KeyError, TypeError):
        return False


def _is_number(dtype):
    return _holds_numbers(dtype) and shape_in_jax((), dtype) == ()


def _title(kernel):
    return f"kernel '{kernel.func.__name__}'"


def _name(kernel, argument):
    return f"parameter '{argument.label}' of {_title(kernel)}"


def _static(kernel, argument, value) -> bytes:
    """Return the value of a plain scalar as bytes of its type: hashable, and equal for the same bits only."""
    if isinstance(value, jax.Array):
        raise TypeError(
            f"{_name(kernel, argument)} is a plain scalar, hence static, and got the JAX value {value}. "
            "To trace or differentiate it, declare it as an array of one element, wp.array(dtype=...)"
        )
    dtype = dtype_in_jax(argument.type)
    try:
        number = operator.index(value) if jnp.issubdtype(dtype, jnp.integer) else value
        kinds = np.floating, np.integer, np.bool_  # NumPy would take a date, or the text of a number
        if not any(jnp.issubdtype(np.asarray(number).dtype, kind) for kind in kinds):
            raise TypeError("no real number")
        return np.array(number, dtype).reshape(()).tobytes()
    except Exception as error:  # whatever `value` raises when it is looked at
        raise TypeError(f"{_name(kernel, argument)} is one number of type {dtype}, and got {show(value)}") from error


def _array(kernel, argument, value) -> jax.Array:
    name = _name(kernel, argument)
    dtype = dtype_in_jax(argument.type.dtype)
    try:
        given = [getattr(leaf, "dtype", None) for leaf in jax.tree.leaves(value)]  # lists may hold NumPy's numbers
        array = jnp.asarray(value)
    except Exception as error:  # whatever `value` raises when it is looked at
        raise TypeError(f"{name} is an array of type {dtype}, and got {show(value)}") from error
    for each in given:
        check_width(name, each)
    value = array
    components = shape_in_jax((), argument.type.dtype)
    ndim = argument.type.ndim
    if value.dtype != dtype:
        raise TypeError(f"{name} has dtype {dtype}, and got {value.dtype}")
    if value.ndim != ndim + len(components) or value.shape[ndim:] != components:
        hint = "; a scalar goes in as jnp.reshape(value, (1,))" if value.ndim == 0 and ndim == 1 else ""
        wanted = f"{ndim} axes" + (f" and then {components}" if components else "")
        raise ValueError(f"{name} has {wanted}, and got the shape {value.shape}{hint}")
    return value


def _shape(kernel, name, value) -> tuple[int, ...]:
    try:
        shape = tuple(map(operator.index, value if isinstance(value, Sequence) else [value]))
    except Exception as error:  # whatever `value` raises when it is looked at
        raise TypeError(f"{name} of {_title(kernel)} has {show(value)} for a shape: expected integers") from error
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} of {_title(kernel)} has {show(value)} for a shape: expected no negative integers")
    return shape


def _output_shapes(kernel, wanted, outcomes, shapes):
    names = [argument.label for argument in outcomes]
    if callable(wanted):
        wanted = wanted(*shapes)
    if wanted is None:
        if not shapes:
            raise ValueError(f"{_title(kernel)} has no array input: give output_shapes")
        wanted = shapes[0]
    if isinstance(wanted, dict):
        if set(wanted) != set(names):
            raise ValueError(f"output_shapes of {_title(kernel)} names {list(wanted)}, its outputs are {names}")
        wanted = [wanted[name] for name in names]
    elif not isinstance(wanted, Sequence) or not any(isinstance(n, Sequence) for n in wanted):
        wanted = [wanted] * len(names)
    result = tuple(_shape(kernel, "output_shapes", shape) for shape in wanted)
    if len(result) != len(names):
        raise ValueError(f"output_shapes of {_title(kernel)} has {len(result)} shapes for {len(names)} outputs")
    for argument, shape in zip(outcomes, result, strict=True):
        if len(shape) != argument.type.ndim:
            raise ValueError(
                f"{_name(kernel, argument)} has {argument.type.ndim} axes, and its shape is {shape}: give output_shapes"
            )
    return result


def _launch_dims(kernel, wanted, outputs, shapes):
    # If a launch has more dimensions than wp.tid() returns, several threads do the same work. The adjoint adds up, and
    # would be that many times too large.
    axes = _thread_axes(kernel)
    if callable(wanted):
        wanted = wanted(*shapes)
    dim = _shape(kernel, "launch_dims", outputs[0] if wanted is None and axes else (1,) if wanted is None else wanted)
    if len(dim) != max(axes, 1) or (not axes and dim != (1,)):
        raise ValueError(
            f"wp.tid() has {axes} axes in {_title(kernel)}, which does not fit a launch over {dim}: give launch_dims"
        )
    return dim


@functools.cache
def _thread_axes(kernel) -> int:
    """Return the number of indices that wp.tid() returns in the kernel, or 0 if it is not called."""
    calls = (node.func for node in ast.walk(kernel.adj.tree) if isinstance(node, ast.Call))
    if not any("tid" in (getattr(f, "attr", None), getattr(f, "id", None)) for f in calls):
        return 0
    kernel.adj.get_references()  # sets `kernel.adj.args_tid`
    return kernel.adj.kernel_dim
