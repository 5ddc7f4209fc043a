"""Reports of states that are not finite: eagerly an exception, under `jit` an error that every device raises."""

import functools
import logging
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ._ffi import varying

NONE_BAD = 2**31 - 1  # in the place of a member's number
_NOT_THE_USERS = {"jax", "jaxlib", "equinox", "jaxtyping", "beartype", "contextlib", __package__}


class NotFiniteError(RuntimeError):
    """The vorticity of a member is NaN or infinite."""


# JAX logs each exception of a callback with its whole stack, once a device, and raises it too.
logging.getLogger("jax._src.debugging").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], NotFiniteError))
)


def raise_if_not_finite(omega: jax.Array, axis: int, advice: str) -> None:
    """Raise if the vorticity of a member is not finite, naming the first such member.

    Eagerly the exception comes from the call. Under `jit` it comes with the results, on every device: they all know
    the same number, by one all-reduce, and none is left waiting for one that raised alone.

    Args:
        omega: vorticity, with the members along `axis`. `jax.vmap` adds members in front of them.
        axis: the members' axis.
        advice: the end of the message.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    first, members = _search(omega, axis)
    if isinstance(first, jax.core.Tracer):
        _call_on_every_device(functools.partial(_raise_if, advice=advice, line=_line_of_user()), first, members)
    else:
        _raise_if(first, members, advice=advice)


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def _search(omega, axis):
    others = tuple(i for i in range(omega.ndim) if i != axis)
    return _first(~jnp.all(jnp.isfinite(omega), axis=others))


@jax.custom_batching.custom_vmap
def _first(bad):
    """Return the number of the first True, `NONE_BAD` where there is none, and how many were looked at."""
    numbers = jnp.arange(bad.shape[0], dtype=jnp.int32)
    first = jnp.min(jnp.where(bad, numbers, NONE_BAD), initial=NONE_BAD)
    return first, jnp.int32(bad.shape[0])


@_first.def_vmap
def _first_of_all(_, __, bad):
    return _first(bad.reshape(-1)), (False, False)


def _call_on_every_device(callback, first, members):
    """Call ``callback(first, members)`` on every device, with the least `first` of all of them."""
    mesh = jax.sharding.get_abstract_mesh()
    manual, sharded = tuple(mesh.manual_axes), tuple(sorted(varying(jax.typeof(first))))
    if sharded:
        number = first + members * jax.lax.axis_index(sharded).astype(jnp.int32)
        first, members = jnp.where(first == NONE_BAD, first, number), members * jax.lax.axis_size(sharded)
    if manual:  # without `check_vma` JAX does not say over which of them it varies
        missing = tuple(axis for axis in manual if axis not in sharded)
        first = jax.lax.pmin(jax.lax.pcast(first, missing, to="varying") if missing else first, manual)
    call = functools.partial(jax.debug.callback, callback, partitioned=True)
    automatic = set(mesh.axis_names) - set(manual)
    if manual and automatic:  # JAX would call back on one device for all of these
        call = jax.shard_map(call, in_specs=PartitionSpec(), out_specs=None, axis_names=automatic)
    call(first, members)


def _raise_if(first, members, *, advice, line=""):
    # NumPy compares: a computation of JAX in a callback waits for a place among those in flight, which wait for it
    first, members = np.asarray(first).item(), np.asarray(members).item()
    if first != NONE_BAD:
        member = f" of member {first}" if members > 1 else ""
        raise NotFiniteError(f"the vorticity{member} is not finite{line}: {advice}")


def _line_of_user():
    """Name the line that called the package: under `jit` the error surfaces elsewhere."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        frame = frame.f_back
    return f", in the call at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
