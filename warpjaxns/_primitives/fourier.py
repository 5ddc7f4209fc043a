"""Fourier transforms of fields, which stay on their devices: `jax.numpy.fft` of the last two axes as a primitive.

XLA gathers a sharded array before it transforms it, up to JAX 0.10 even where only the batch is sharded. The primitive
is one linear map with all leading axes as batch axes. Its transpose is JAX's, computed within one call as well.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.interpreters.xla import apply_primitive

from .. import _ffi
from . import partition
from .define import bind, in_x64_of_operands, lowering


def rfft2(fields, norm: str | None = None):
    """Return `jax.numpy.fft.rfft2` of fields ``(..., ny, nx)``."""
    fields = jnp.asarray(fields)
    return bind(transform_p, fields, inverse=False, shape=fields.shape[-2:], norm=norm, transposed=False)[0]


def irfft2(spectrum, shape: tuple[int, int], norm: str | None = None):
    """Return `jax.numpy.fft.irfft2` of spectra: fields ``(..., ny, nx)`` with the last axes `shape`."""
    return bind(transform_p, spectrum, inverse=True, shape=tuple(shape), norm=norm, transposed=False)[0]


transform_p = Primitive("fourier_transform")
transform_p.multiple_results = True
transform_p.def_impl(functools.partial(apply_primitive, transform_p))


def _types(dtype, shape):
    """Return the shapes and dtypes of a field and of its spectrum."""
    ny, nx = shape
    wide = np.dtype(dtype) in (np.float64, np.complex128)
    real, complex_ = (np.float64, np.complex128) if wide else (np.float32, np.complex64)
    return ((ny, nx), real), ((ny, nx // 2 + 1), complex_)


def _batch_axes(x):
    axes = tuple(range(x.ndim - 2))
    return [axes], [axes]


@transform_p.def_abstract_eval
def _abstract_eval(x, *, inverse, shape, transposed, **_):
    field, spectrum = _types(x.dtype, shape)
    size, dtype = field if inverse != transposed else spectrum
    result = _ffi.abstract_result((*x.shape[:-2], *size), dtype, x)
    return partition.with_batch([result], [x], transform_p.name, *_batch_axes(x))


def _transform(x, *, inverse, shape, norm, transposed):
    transform = functools.partial(jnp.fft.irfft2, s=shape) if inverse else jnp.fft.rfft2
    if not transposed:
        return [transform(x, norm=norm)]
    field, spectrum = _types(x.dtype, shape)
    size, dtype = spectrum if inverse else field
    argument = jax.ShapeDtypeStruct((*x.shape[:-2], *size), dtype)
    return list(jax.linear_transpose(functools.partial(transform, norm=norm), argument)(x))


def _lower(ctx, x, **params):
    return lowering(_transform, transform_p.name, lambda **_: _batch_axes(ctx.avals_in[0]))(ctx, x, **params)


def _transpose(cotangents, _, *, transposed, **params):
    return bind(transform_p, *cotangents, transposed=not transposed, **params)


def _batch(operands, dims, **params):
    return bind(transform_p, jnp.moveaxis(operands[0], dims[0], 0), **params), [0]


mlir.register_lowering(transform_p, _lower)
ad.deflinear2(transform_p, in_x64_of_operands(_transpose))
batching.primitive_batchers[transform_p] = in_x64_of_operands(_batch)
