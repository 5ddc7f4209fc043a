"""States that are not finite: an exception eagerly, under `jit` an error that every device raises, or a value."""

import functools
import logging
import sys

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ._types import varying

NONE_BAD = 2**31 - 1  # stands for a member's number where all are finite
_NOT_THE_USERS = {"jax", "jaxlib", "equinox", "jaxtyping", "beartype", "contextlib", __package__}


class RolloutError(RuntimeError):
    """A member of a rollout has no result."""


class NotFiniteError(RolloutError):
    """The vorticity of a member is NaN or infinite."""


class NotReachedError(RolloutError):
    """A member did not reach the time asked for."""


class Flag(eqx.Module):
    """A record of which members of a rollout became non-finite, and when: what ``check="flag"`` returns.

    It is a pytree of one array, so it goes through `jit`, `vmap`, `scan` and `shard_map`. It is true if any member is
    bad, as in ``if flag:``. Under `jax.jit` use ``flag.bad``.

    Attributes:
        step: after how many steps each member was first seen to be not finite, int32 ``(...)``. It is 0 if the initial
            state was not, and -1 for a member that stayed finite. A rollout looks at each save, and after each segment
            of its adjoint, so the first bad step is one of those since the look before: exactly this one with
            ``Checkpointed(every=1)``.
    """

    step: jax.Array

    @classmethod
    def of(cls, first: jax.Array) -> "Flag":
        """Return the flag of what `look` saw."""
        return cls(jnp.where(first == NONE_BAD, -1, first))

    @property
    def bad(self) -> jax.Array:
        """Return whether each member became non-finite, ``(...)``."""
        return self.step >= 0

    def first(self) -> tuple[jax.Array, jax.Array]:
        """Return the step and the number of the member that became non-finite first, or -1 and -1.

        Members are counted along the axes of `step`, the last one fastest. Of several the lowest is given.
        """
        steps = jnp.append(jnp.where(self.bad, self.step, NONE_BAD).reshape(-1), jnp.int32(NONE_BAD))
        member = jnp.argmin(steps).astype(jnp.int32)
        there = steps[member] != NONE_BAD
        return jnp.where(there, steps[member], -1), jnp.where(there, member, -1)

    def throw(self) -> None:
        """Raise the error of `first` if there is one. Call it outside `jax.jit`.

        Raises:
            RuntimeError: a member is not finite.
        """
        step, member = (int(value) for value in self.first())
        if step >= 0:
            name = f" of member {member}" if self.step.ndim else ""
            raise NotFiniteError(f"the vorticity{name} was not finite after {step} steps")

    def __bool__(self) -> bool:
        return bool(jnp.any(self.bad))


# JAX logs each exception of a callback with its whole stack, once a device, and raises it too.
logging.getLogger("jax._src.debugging").addFilter(
    lambda record: not (record.exc_info and isinstance(record.exc_info[1], RolloutError))
)


def raise_if_not_finite(omega: jax.Array, axis: int, advice: str, what: str = "vorticity") -> None:
    """Raise if the vorticity of a member is not finite, naming the first such member.

    Args:
        omega: vorticity, or all fields of a state, with the members along `axis`. `jax.vmap` adds members in front of
            them.
        axis: the members' axis.
        advice: the end of the message.
        what: the name of what is looked at.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    raise_where(_not_finite(omega, axis), NotFiniteError, "is not finite", advice, what)


def raise_where(bad: jax.Array, error: type[RolloutError], problem: str, advice: str, what: str = "vorticity") -> None:
    """Raise if any member is bad, naming the first one.

    Eagerly the call raises. Under `jit` the error comes with the results, on every device. All devices get the same
    number by one all-reduce, so none waits for another one that has raised.

    Args:
        bad: whether each member is, ``(members,)``. `jax.vmap` adds members in front of them.
        error: the type of the error.
        problem: what is wrong with such a member.
        advice: the end of the message.
        what: the name of what is wrong.

    Raises:
        RolloutError: of the given type.
    """
    first, members = _search(bad)
    if isinstance(first, jax.core.Tracer):
        raise_it = functools.partial(
            _raise_if, error=error, problem=problem, advice=advice, what=what, line=_line_of_user()
        )
        _call_on_every_device(raise_it, first, members)
    else:
        _raise_if(first, members, error=error, problem=problem, advice=advice, what=what)


def look(seen, state, steps: int):
    """Return how many steps were taken, and after how many of them each member was first seen to be not finite.

    `NONE_BAD` stands for a member that is finite.

    Args:
        seen: what an earlier look returned, or None at the start.
        state: the state now, with the members along its first axis.
        steps: how many steps were taken since.
    """
    taken, first = (jnp.int32(0), NONE_BAD) if seen is None else seen
    taken = taken + steps
    return taken, jnp.minimum(first, jnp.where(_not_finite(state, 0), taken, NONE_BAD))


def look_at_saves(seen, fields, steps) -> jax.Array:
    """Return after how many steps each member was first seen to be not finite, looking at all saves too.

    The coefficients of a field may be finite where the field is not.

    Args:
        seen: what the last look returned.
        fields: the saves, ``(saves, members, ..., ny, nx)``.
        steps: the number of steps before each save, known when tracing.
    """
    bad = ~jnp.all(jnp.isfinite(fields), axis=tuple(range(2, fields.ndim)))
    numbers = jnp.asarray(steps, jnp.int32).reshape(-1, 1)
    return jnp.minimum(seen[1], jnp.min(jnp.where(bad, numbers, NONE_BAD), axis=0, initial=NONE_BAD))


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def _not_finite(omega, axis):
    return ~jnp.all(jnp.isfinite(omega), axis=tuple(i for i in range(omega.ndim) if i != axis))


@functools.partial(jax.jit, inline=True)
def _search(bad):
    return _first(bad)


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


def _raise_if(
    first,
    members,
    *,
    advice,
    line="",
    error: type[RolloutError] = NotFiniteError,
    problem="is not finite",
    what="vorticity",
):
    first, members = int(first), int(members)  # no JAX in a callback, which may wait for the thread it is on
    if first != NONE_BAD:
        member = f" of member {first}" if members > 1 else ""
        raise error(f"the {what}{member} {problem}{line}: {advice}")


def _line_of_user():
    """Return the line that called the package, for the message: under `jit` the error surfaces elsewhere."""
    frame = sys._getframe(1)
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THE_USERS:
        frame = frame.f_back
    return f", in the call at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
