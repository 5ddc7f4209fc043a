"""Errors for states that are not finite: an exception eagerly, and under `jit` an error that every device raises."""

import functools
import logging
import sys

import jax
import jax.core
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ._ffi import varying

NONE_BAD = 2**31 - 1  # stands for a member's number where all are finite
_NOT_THE_USERS = {"jax", "jaxlib", "equinox", "jaxtyping", "beartype", "contextlib", __package__}


class NotFiniteError(RuntimeError):
    """The vorticity of a member is NaN or infinite."""


# JAX logs each exception of a callback with its whole stack, once a device, and raises it too.
logging.getLogger("jax._src.debugging").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], NotFiniteError))
)


def raise_if_not_finite(omega: jax.Array, axis: int, advice: str) -> None:
    """Raise if the vorticity of a member is not finite, naming the first such member.

    Eagerly the call raises. Under `jit` the error comes with the results, on every device. All devices get the same
    number by one all-reduce, so none waits for another one that has raised.

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
    """Return the number of the first True, or `NONE_BAD`, and the number of members."""
    numbers = jnp.arange(bad.shape[0], dtype=jnp.int32)
    first = jnp.min(jnp.where(bad, numbers, NONE_BAD), initial=NONE_BAD)
    return first, jnp.int32(bad.shape[0])


@_first.def_vmap
def _first_of_all(_, __, bad):
    return _first(bad.reshape(-1)), (False, False)


def _call_on_every_device(callback, first, members):
    """Call ``callback(first, members)`` on every device, with the least `first` of all devices."""
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
    first, members = int(first), int(members)  # no JAX in a callback, which may wait for the thread it is on
    if first != NONE_BAD:
        member = f" of member {first}" if members > 1 else ""
        raise NotFiniteError(f"the vorticity{member} is not finite{line}: {advice}")


def _line_of_user():
    """Return the line that called the package, for the message: under `jit` the error surfaces elsewhere."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        frame = frame.f_back
    return f", in the call at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
