"""Checks of users' arguments. Every message names the argument, the value given, and what would work."""

import numbers
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ._grid import DividedGrid, Grid
from ._show import show

FLOATS = (np.dtype("float32"), np.dtype("float64"))
LEAST, MOST = float(np.finfo("float32").tiny), float(np.finfo("float32").max)
LARGEST_COUNT = 2**31 - 1  # iterations of JAX's loops while x64 is off
FASTEST = 1e30  # decay of the finest wave [1/time]; its product with a vorticity is still a float32
STEEPEST = 1e12  # this decay times dt; the amplification by a step, a sixth of its cube, is still a float32


def check_grid(value: Any) -> None:
    """Check that `value` is a grid.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, Grid):
        raise TypeError(f"grid={show(value)}: expected a warpjaxns.Grid, e.g. Grid((512, 512))")


def check_field(name: str, value: Any, grid: Grid) -> jax.Array:
    """Return `value` as a JAX array, if it is a float32 or float64 field ``(..., ny, nx)`` on `grid`.

    Raises:
        TypeError: `grid` is not a grid; `value` is not an array, has another dtype, or is float64 that JAX would
            silently round to float32.
        ValueError: the last two axes are not ``grid.shape``, or the array was deleted.
    """
    check_grid(grid)
    unfit = f"{name} is of type {type(value).__name__}: expected a float32 or float64 array (..., ny, nx)"
    try:
        array = value if hasattr(value, "dtype") else jnp.asarray(value)
        dtype, shape = array.dtype, tuple(array.shape)
    except Exception as error:  # whatever `value` raises when it is looked at
        raise TypeError(unfit) from error
    if not isinstance(dtype, np.dtype) or dtype not in FLOATS:
        raise TypeError(f"{name} has dtype {show(dtype, str)}: expected float32 or float64; cast it to one of them")
    check_width(name, dtype)
    if shape[-2:] != grid.shape:
        ny, nx = grid.shape
        raise ValueError(f"{name} has shape {shape}: expected (..., ny, nx) = (..., {ny}, {nx})")
    if _is_deleted(array):
        raise ValueError(f"{name} was deleted, as by donating it to a jitted function: expected an array that exists")
    try:
        array = jnp.asarray(array)
        return grid.place(array) if isinstance(grid, DividedGrid) else array
    except jax.errors.JaxRuntimeError:  # such as too little memory
        raise
    except Exception as error:
        raise TypeError(f"{unfit}; {show(error, str)}") from error


def check_leading_axes(name: str, a: jax.Array, other: str, b: jax.Array) -> tuple[int, ...]:
    """Return the leading axes of two fields, broadcast.

    Raises:
        ValueError: they do not broadcast.
    """
    try:
        return jnp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"{name} has shape {a.shape} and {other} {b.shape}: leading axes must broadcast") from None


def check_dtype(name: str, value: Any) -> np.dtype:
    """Return `value` as the dtype of a field. None is JAX's default float type.

    Raises:
        TypeError: neither float32 nor float64, or float64 while `jax_enable_x64` is off.
    """
    if value is None:
        return np.dtype(jnp.result_type(float))
    try:
        dtype = np.dtype(value)
    except Exception:  # NumPy raises many kinds
        dtype = np.dtype(object)  # not None, which NumPy takes for float64
    if dtype not in FLOATS:
        raise TypeError(f"{name}={show(value)}: expected float32, float64 or None")
    check_width(name, dtype)
    return dtype


def check_real(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """Check that `value` is one real number: a Python, NumPy or JAX scalar.

    It may be traced unless `static`, and an array unless `scalar`.

    Raises:
        TypeError: it is not, or its type is one that JAX lacks, such as NumPy's longdouble and masked arrays.
        ValueError: it is an integer beyond all floating-point numbers.
    """
    _real(name, value, static, scalar)


def _real(name, value, static, scalar):
    """Check `value` as `check_real` does, and return it as float64, or None where it is traced."""
    traced = isinstance(value, jax.core.Tracer)
    if static and traced:
        raise TypeError(f"{name} is traced: expected a number known when tracing; mark it static in jax.jit")
    try:
        if _is_real(value) and not (scalar and np.shape(value)):
            return None if traced else np.asarray(value, float)
    except OverflowError:
        raise ValueError(f"{name}={show(value)}: expected a number in the range of floating-point numbers") from None
    except Exception:  # whatever `value` raises when it is looked at
        pass
    raise TypeError(
        f"{name}={show(value)}: expected {'one real number' if scalar else 'real numbers, one or an array of them'}"
    )


def _is_real(value):
    if not hasattr(value, "dtype"):
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    of_jax = not isinstance(value, np.ma.MaskedArray) and value.dtype.itemsize <= 8  # longdouble has 16
    return of_jax and any(jnp.issubdtype(value.dtype, kind) for kind in (np.floating, np.integer))


def _is_deleted(value):
    return isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer) and value.is_deleted()


def check_positive(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """Check that `value` is one real number (or an array, unless `scalar`), positive also as a float32.

    A traced value is not checked.

    Raises:
        TypeError: not real, or traced where `static`.
        ValueError: zero, negative, infinite or NaN, as it is or as a float32.
    """
    values = _real(name, value, static, scalar)
    if values is not None and not np.all((values >= LEAST) & (values <= MOST)):
        raise ValueError(f"{name}={show(value, str)}: expected a positive, finite number, in the range of float32")


def check_non_negative(name: str, value: Any, *, static: bool = False, scalar: bool = True) -> None:
    """Check that `value` is one real number (or an array, unless `scalar`), not negative, and finite as a float32.

    A traced value is not checked.

    Raises:
        TypeError: not real, or traced where `static`.
        ValueError: negative, NaN, or infinite, as it is or as a float32.
    """
    values = _real(name, value, static, scalar)
    if values is not None and not np.all((values >= 0) & (values <= MOST)):
        text = show(value, str)
        raise ValueError(f"{name}={text}: expected zero or a positive, finite number, in the range of float32")


def check_reach(grid: Grid, viscosity: Any, drag: Any, dt: Any, name: str = "viscosity") -> None:
    """Check that a step does not multiply a wave by more than float32 holds. `name`: that of the viscosity.

    A step is unstable far below that, which is not checked here. Traced values are not checked.

    Raises:
        ValueError: it does.
    """
    if any(isinstance(value, jax.core.Tracer) for value in (viscosity, drag, dt)):
        return
    nu, mu, h = (float(np.max(np.asarray(value, float), initial=0)) for value in (viscosity, drag, dt))
    decay = 4 * nu * sum(1 / side**2 for side in grid.spacing) + mu
    if decay > FASTEST or decay * h > STEEPEST:
        raise ValueError(
            f"{name}={show(viscosity, str)}, drag={show(drag, str)}, dt={show(dt, str)}: a step would multiply the "
            f"finest wave by more than float32 holds; expected 4 {name} dt (1/dx^2 + 1/dy^2) < 2.51 and "
            "drag dt < 2.51, with which it is stable"
        )


def check_key(name: str, value: Any) -> None:
    """Check that `value` is one random key of the new style.

    Raises:
        TypeError: not a key, or a raw ``uint32`` one.
        ValueError: an array of keys.
    """
    if not (isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"{name}={show(value)}: expected a key from jax.random.key(seed); "
            "a raw uint32 key becomes one by jax.random.wrap_key_data"
        )
    if value.shape != ():
        raise ValueError(f"{name} holds {value.shape} keys: expected one; use jax.vmap over several")


def check_width(name: str, dtype: Any) -> None:
    """Refuse a dtype that JAX would silently round.

    Raises:
        TypeError: `dtype` is a NumPy dtype of 64 bits while `jax_enable_x64` is off.
    """
    if isinstance(dtype, np.dtype) and (kept := jax.dtypes.canonicalize_dtype(dtype)) != dtype:
        raise TypeError(
            f"{name} is {dtype} while JAX is limited to {kept}: "
            f"call jax.config.update('jax_enable_x64', True), or cast to {kept}"
        )


def check_option(name: str, value: Any, options: tuple[str, ...]) -> None:
    """Check that `value` is one of `options`.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name}={show(value)}: expected one of {', '.join(map(repr, options))}")


def check_count(name: str, value: Any, *, least: int, most: int = LARGEST_COUNT) -> int:
    """Return `value` as an integer known when tracing, from `least` to `most`, by default what JAX's loops count to.

    Raises:
        TypeError: not an integer, or traced.
        ValueError: under `least` or over `most`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        hint = "; mark it static in jax.jit" if isinstance(value, jax.core.Tracer) else ""
        raise TypeError(f"{name}={show(value)}: expected an integer known when tracing{hint}")
    count = int(value)
    if count < least:
        raise ValueError(f"{name}={show(value, str)}: expected at least {least}")
    if count > most:
        raise ValueError(f"{name}={show(value, str)}: expected at most {most}")
    return count


def check_processes(index: Any, count: Any) -> tuple[int, int]:
    """Return `process_index` and `process_count`, by default those of JAX.

    Raises:
        TypeError: one is not an integer.
        ValueError: the count is not positive, or the index not one of 0 to count - 1.
    """
    count = jax.process_count() if count is None else check_count("process_count", count, least=1)
    index = jax.process_index() if index is None else check_count("process_index", index, least=0)
    if index >= count:
        raise ValueError(f"process_index={index}: expected less than process_count={count}")
    return index, count


def check_flag(name: str, value: Any) -> None:
    """Check that `value` is True or False.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}={show(value)}: expected True or False")
