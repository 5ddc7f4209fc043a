"""Checks of what users pass in. Every message names the argument, what was given, and what would work."""

import math
import numbers
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ._grid import Grid
from ._support import warp_obstacle

FLOATS = (np.dtype("float32"), np.dtype("float64"))


def check_grid(value: Any) -> None:
    """`value` is a grid.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, Grid):
        raise TypeError(f"grid={value!r}: expected a warpjaxns.Grid, e.g. Grid((512, 512))")


def check_field(name: str, value: Any, grid: Grid) -> jax.Array:
    """`value` as a JAX array, if it is a float32 or float64 field ``(..., ny, nx)`` on `grid`.

    Raises:
        TypeError: not an array, another dtype, or float64 that JAX would silently round to float32; `grid` is none.
        ValueError: the last two axes are not ``grid.shape``.
    """
    check_grid(grid)
    if not hasattr(value, "dtype"):
        try:
            value = jnp.asarray(value)
        except (TypeError, ValueError) as error:
            given = f"{name} is of type {type(value).__name__}"
            raise TypeError(f"{given}: expected a float32 or float64 array (..., ny, nx)") from error
    if value.dtype not in FLOATS:
        raise TypeError(f"{name} has dtype {value.dtype}: expected float32 or float64; cast it to one of them")
    _check_float64_enabled(name, value.dtype)
    if tuple(value.shape[-2:]) != grid.shape:
        ny, nx = grid.shape
        raise ValueError(f"{name} has shape {tuple(value.shape)}: expected (..., ny, nx) = (..., {ny}, {nx})")
    return jnp.asarray(value)


def check_dtype(name: str, value: Any) -> np.dtype:
    """`value` as the dtype of a field; None is JAX's default float type.

    Raises:
        TypeError: neither float32 nor float64, or float64 while `jax_enable_x64` is off.
    """
    if value is None:
        return np.dtype(jnp.result_type(float))
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)  # not None, which NumPy takes for float64
    if dtype not in FLOATS:
        raise TypeError(f"{name}={value!r}: expected float32, float64 or None")
    _check_float64_enabled(name, dtype)
    return dtype


def check_real(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """`value` is one real number: a Python, NumPy or JAX scalar, traced unless `static`; an array unless `scalar`.

    Raises:
        TypeError: it is not.
    """
    if static and isinstance(value, jax.core.Tracer):
        raise TypeError(f"{name} is traced: expected a number known when tracing; mark it static in jax.jit")
    if hasattr(value, "dtype"):
        kinds = np.floating, np.integer
        real = (value.shape == () or not scalar) and any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    else:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real:
        raise TypeError(
            f"{name}={value!r}: expected {'one real number' if scalar else 'real numbers, one or an array of them'}"
        )


def check_positive(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """`value` is one real number (or an array, unless `scalar`), positive and finite. A traced value is trusted.

    Raises:
        TypeError: not real, or traced where `static`.
        ValueError: zero, negative, infinite or NaN.
    """
    check_real(name, value, static=static, scalar=scalar)
    if not isinstance(value, jax.core.Tracer):
        values = np.asarray(value)
        if not np.all((values > 0) & (values < math.inf)):
            raise ValueError(f"{name}={value}: expected a positive, finite number")


def check_non_negative(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """`value` is one real number (or an array, unless `scalar`), zero or positive, and finite. Tracers are trusted.

    Raises:
        TypeError: not real, or traced where `static`.
        ValueError: negative, infinite or NaN.
    """
    check_real(name, value, static=static, scalar=scalar)
    if not isinstance(value, jax.core.Tracer):
        values = np.asarray(value)
        if not np.all((values >= 0) & (values < math.inf)):
            raise ValueError(f"{name}={value}: expected zero or a positive, finite number")


def check_key(name: str, value: Any) -> None:
    """`value` is one random key of the new style.

    Raises:
        TypeError: not a key, or a raw ``uint32`` one.
        ValueError: an array of keys.
    """
    if not (hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"{name}={value!r}: expected a key from jax.random.key(seed); "
            "a raw uint32 key becomes one by jax.random.wrap_key_data"
        )
    if value.shape != ():
        raise ValueError(f"{name} holds {value.shape} keys: expected one; use jax.vmap over several")


def _check_float64_enabled(name, dtype):
    if dtype == np.float64 and jnp.result_type(float) != np.float64:
        raise TypeError(
            f"{name} is float64 while JAX is limited to float32: "
            "call jax.config.update('jax_enable_x64', True), or cast to float32"
        )


def check_option(name: str, value: Any, options: tuple[str, ...]) -> None:
    """`value` is one of `options`.

    Raises:
        ValueError: it is not.
    """
    if value not in options:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, options))}")


def check_backend(backend: Any, grid: Grid, dtype: Any) -> None:
    """`backend` is known, and ``"warp"`` can run this grid and dtype on JAX's default platform.

    Raises:
        ValueError: it is not, or it cannot, with the reason.
    """
    check_option("backend", backend, ("auto", "warp", "xla"))
    if backend == "warp":
        platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        obstacle = warp_obstacle(grid, dtype, platform)
        if obstacle:
            raise ValueError(f'backend="warp" cannot be used here: {obstacle}, or backend="xla"')


def check_count(name: str, value: Any, *, least: int) -> int:
    """`value` as an integer known when tracing, at least `least`.

    Raises:
        TypeError: not an integer, or traced.
        ValueError: under `least`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        hint = "; mark it static in jax.jit" if isinstance(value, jax.core.Tracer) else ""
        raise TypeError(f"{name}={value!r}: expected an integer known when tracing{hint}")
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}")
    return int(value)
