"""Linear maps of fields that stay on their devices, such as Fourier transforms: a primitive for all of them.

XLA gathers a sharded array before it transforms it, up to JAX 0.10 even where only the batch is sharded. On meshes with
explicit axes JAX asks users where sums of a scatter go. Within a primitive neither happens (`partition`). All leading
axes are batch axes. The transpose is that of JAX.

A map of fields on a divided grid has a `grid`, and a method ``on_slab(x)`` for the slab of a device and any members.
With ``rows = False`` its results are those of a slab alone, and their sum over slabs is that of the map.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from jax.interpreters.xla import apply_primitive
from jax.sharding import AbstractMesh

from .._grid import DividedGrid, Grid
from .._types import abstract_result, align
from . import partition
from .define import bind, in_x64_of_operands, lowering, register_linear
from .divided import FIELD, Axes, on_slabs
from .divided import lowering as lower_on_slabs


def apply(function: Callable, x: jax.Array, ndim: int = 2) -> jax.Array:
    """Return ``function(x)``, linear in the last `ndim` axes of x, for each entry of the leading ones.

    `function` is a frozen dataclass that can be called, with plain data as its fields.
    """
    x = jnp.asarray(x)
    return bind(linear_p, x, function=function, shape=x.shape[x.ndim - ndim :], dtype=x.dtype.name, transposed=False)[0]


@dataclasses.dataclass(frozen=True)
class Rfft2:
    """The map `rfft2`."""

    norm: str | None

    def __call__(self, fields):
        return jnp.fft.rfft2(fields, norm=self.norm)


@dataclasses.dataclass(frozen=True)
class Irfft2:
    """The map `irfft2`."""

    shape: tuple[int, int]
    norm: str | None

    def __call__(self, spectra):
        return jnp.fft.irfft2(spectra, s=self.shape, norm=self.norm)


@dataclasses.dataclass(frozen=True)
class DividedRfft2(Rfft2):
    """The map `rfft2` on a divided grid, whose spectra are divided along y too."""

    grid: DividedGrid
    rows = True

    def on_slab(self, fields):
        """Transform along x, and then along y."""
        return _along_columns(jnp.fft.rfft(fields, axis=-1, norm=self.norm), jnp.fft.fft, self)


@dataclasses.dataclass(frozen=True)
class DividedIrfft2(Irfft2):
    """The map `irfft2` on a divided grid."""

    grid: DividedGrid
    rows = True

    def on_slab(self, spectra):
        """Transform along y, and then along x."""
        return jnp.fft.irfft(_along_columns(spectra, jnp.fft.ifft, self), n=self.shape[1], axis=-1, norm=self.norm)


def _along_columns(spectra, transform, of):
    """Return ``transform(spectra, axis=1)`` of the columns of all slabs. Devices exchange them for rows, and back."""
    count = spectra.shape[-1]
    padded = jnp.pad(spectra, ((0, 0), (0, 0), (0, -count % of.grid.parts)))
    columns = jax.lax.all_to_all(padded, of.grid.axis, 2, 1, tiled=True)
    return jax.lax.all_to_all(transform(columns, axis=1, norm=of.norm), of.grid.axis, 1, 2, tiled=True)[..., :count]


def rfft2(fields, norm: str | None = None, grid: Grid | None = None):
    """Return `jax.numpy.fft.rfft2` of fields ``(..., ny, nx)``. `grid`: needed where it may be divided."""
    if isinstance(grid, DividedGrid):
        return apply(DividedRfft2(norm, grid), grid.place(fields))
    return apply(Rfft2(norm), fields)


def irfft2(spectra, shape: tuple[int, int], norm: str | None = None, grid: Grid | None = None):
    """Return `jax.numpy.fft.irfft2` of spectra: fields ``(..., *shape)``. `grid`: as for `rfft2`."""
    shape = shape[0], shape[1]
    if isinstance(grid, DividedGrid):
        return apply(DividedIrfft2(shape, norm, grid), grid.place(spectra))
    return apply(Irfft2(shape, norm), spectra)


linear_p = Primitive("linear_map")
linear_p.multiple_results = True
linear_p.def_impl(functools.partial(apply_primitive, linear_p))


@in_x64_of_operands
def _result(argument, function):
    with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
        return jax.eval_shape(function, argument)


@functools.cache
def _types(function, shape, dtype, transposed):
    """Return the types of operand and result for a single member."""
    argument = jax.ShapeDtypeStruct(shape, dtype)
    result = _result(argument, function)
    return (result, argument) if transposed else (argument, result)


def _batch_axes(x, types):
    axes = tuple(range(x.ndim - types[0].ndim))
    return [axes], [axes]


@linear_p.def_abstract_eval
def _abstract_eval(x, *, function, **which):
    types = _types(function, **which)
    lead = x.shape[: x.ndim - types[0].ndim]
    result = abstract_result((*lead, *types[1].shape), types[1].dtype, x)
    return partition.with_batch([result], [x], type(function).__name__, *_batch_axes(x, types))


def _compute(x, *, function, transposed, **argument):
    if not transposed:
        return [function(x)]
    given, made = _types(function, transposed=True, **argument)
    operand = jnp.zeros((*x.shape[: x.ndim - given.ndim], *made.shape), made.dtype)
    operand, x = align(operand, x)  # only the type of the operand is looked at
    return list(jax.linear_transpose(function, operand)(x))


def _compute_on_slabs(x, *, function, transposed, **argument):
    """Compute what `_compute` does, on a divided grid."""
    given, made = _types(function, transposed=transposed, **argument)
    lead, parts = x.shape[: x.ndim - given.ndim], function.grid.parts
    x = x.reshape(-1, *given.shape)
    slab = jax.ShapeDtypeStruct((1, function.grid.rows, argument["shape"][1]), argument["dtype"])
    of_slab = Axes(1, 0)  # a sum over each slab: slabs first

    def transpose(cotangent):
        operand = jax.ShapeDtypeStruct((cotangent.shape[0], *slab.shape[1:]), slab.dtype)
        return jax.linear_transpose(function.on_slab, operand)(cotangent)

    def run(local, axes, axes_out, x):
        return on_slabs(local, function.grid, [axes], [axes_out])(x)[0]

    if function.rows:
        local = transpose if transposed else lambda x: [function.on_slab(x)]
        out = run(local, FIELD, FIELD, x)
    elif transposed:
        out = run(lambda x: transpose(x[0]), of_slab, FIELD, jnp.broadcast_to(x[None], (parts, *x.shape)))
    else:
        out = jnp.sum(run(lambda x: [function.on_slab(x)[None]], FIELD, of_slab, x), axis=0)
    return [out.reshape(*lead, *made.shape)]


def _lower(ctx, x, *, function, **which):
    if isinstance(getattr(function, "grid", None), DividedGrid):
        rule = lower_on_slabs(in_x64_of_operands(_compute_on_slabs), type(function).__name__)
        return in_x64_of_operands(lambda _: rule(ctx, x, function=function, **which))(ctx.avals_in)
    axes = _batch_axes(ctx.avals_in[0], _types(function, **which))
    rule = lowering(_compute, type(function).__name__, lambda **_: axes, False)
    return rule(ctx, x, function=function, **which)


def _transpose(cotangents, _, *, transposed, **params):
    return bind(linear_p, *cotangents, transposed=not transposed, **params)


def _batch(operands, dims, **params):
    return bind(linear_p, jnp.moveaxis(operands[0], dims[0], 0), **params), [0]


mlir.register_lowering(linear_p, _lower)
register_linear(linear_p, _transpose)
batching.primitive_batchers[linear_p] = in_x64_of_operands(_batch)
