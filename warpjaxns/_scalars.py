"""Scalars that a flow carries, and the states of such flows."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ._checks import check_field, check_leading_axes, check_non_negative, check_real
from ._discretisation import Discretisation, FiniteDifferenceWithScalars, Spectral, SpectralWithScalars
from ._grid import DividedGrid, Grid
from ._parameters import broadcast, members, parameter
from ._primitives.folding import merge
from ._show import show
from ._terms import Terms, check_pair


class State(NamedTuple):
    """The state of a flow that carries scalars: a pytree of fields of one shape and dtype.

    Trajectories have the same form, with the saves along a new first axis of each field.

    Attributes:
        vorticity: ``(..., ny, nx)`` [1/time].
        scalars: a tuple of fields ``(..., ny, nx)``, one for each of the solver's scalars, in their order and each in
            a unit of its own.
    """

    vorticity: Any
    scalars: tuple[Any, ...]


class Scalar(eqx.Module):
    """A scalar c that the flow carries: temperature, salt, dye. An entry of ``NavierStokes2D(scalars=...)``.

        dc/dt = J(psi, c) + kappa Lap(c) - G . u - (U, V) . grad(c) + f_c

    ``u = (u, v)`` is the velocity of the vorticity, and (U, V) the solver's `mean_flow`. So the scalar in full is
    ``c + G . x``, in which c is periodic. With buoyancy the flow feels the acceleration ``c (bx, by)``, and its
    vorticity gains ``d(by c)/dx - d(bx c)/dy`` (Boussinesq). Drag, hyperviscosity and hypodrag act on vorticity only.

    All arguments are array leaves, differentiable, and numbers or arrays ``(...)`` like the leading axes of a state.

    Args:
        diffusivity: kappa >= 0 [length^2/time].
        mean_gradient: G = (gx, gy) [unit of c / length], or None.
        forcing: steady source f_c ``(..., ny, nx)`` [unit of c / time], or None.
        buoyancy: (bx, by) [length / (time^2 unit of c)], or None for a scalar that does not act on the flow.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range.
    """

    diffusivity: Any
    mean_gradient: tuple[Any, Any] | None
    forcing: Any
    buoyancy: tuple[Any, Any] | None

    def __init__(self, *, diffusivity, mean_gradient=None, forcing=None, buoyancy=None):
        self.diffusivity = parameter("diffusivity", diffusivity, check_non_negative)
        self.mean_gradient = _pair("mean_gradient", mean_gradient)
        self.forcing = forcing
        self.buoyancy = _pair("buoyancy", buoyancy)


class Carried(eqx.Module):
    """The further terms of a flow that carries scalars.

    Args:
        terms: those of the vorticity.
        scalars: the solver's scalars, whose coefficients are ``(batch,)`` or ``(1,)``.
    """

    terms: Terms
    scalars: Any

    @property
    def dtype(self):
        """The type of the coefficients."""
        return jax.tree.leaves(self.scalars)[0].dtype


def _pair(name, value):
    """Return two parameters, or None for None."""
    if value is None:
        return None
    first, second = (parameter(name, part, check_real) for part in check_pair(name, value))
    return first, second


def check_scalars(value: Any, grid: Grid) -> tuple[Scalar, ...]:
    """Return the scalars of a solver, with their forcing as arrays.

    Raises:
        TypeError: an entry is no `Scalar`, or its forcing no field.
        ValueError: the grid is divided, or a forcing does not live on it.
    """
    scalars = tuple(value) if isinstance(value, tuple | list) else (value,)
    for scalar in scalars:
        if not isinstance(scalar, Scalar):
            raise TypeError(f"scalars={show(value)}: expected a tuple of warpjaxns.Scalar(diffusivity=...)")
    if scalars and isinstance(grid, DividedGrid):
        raise ValueError(
            f"scalars={show(value)}: a flow on a divided grid carries no scalars; expected a Grid that is not divided, "
            "with FiniteDifference() or wns.Spectral()"
        )

    def checked(i, scalar):
        if scalar.forcing is None:
            return scalar
        forcing = check_field(f"scalars[{i}].forcing", scalar.forcing, grid)
        return eqx.tree_at(lambda s: s.forcing, scalar, forcing)

    return tuple(checked(i, scalar) for i, scalar in enumerate(scalars))


def stepping(discretisation: Discretisation, scalars: tuple) -> Discretisation:
    """Return the discretisation whose engine advances the states."""
    if not scalars:
        return discretisation
    if isinstance(discretisation, Spectral):
        return SpectralWithScalars(discretisation.integrator, discretisation.dealiasing)
    return FiniteDifferenceWithScalars(discretisation.advection)


def check_state(name: str, value: Any, grid: Grid, count: int) -> State:
    """Return a state with `count` scalars whose fields have all leading axes.

    Raises:
        TypeError: it is no `State`, or a field no float32 or float64 array of the vorticity's type.
        ValueError: it has another number of scalars, a field does not live on the grid, or leading axes do not
            broadcast.
    """
    wanted = f"expected a warpjaxns.State(vorticity, scalars) with {count} scalar{'s' * (count > 1)}"
    if not isinstance(value, State):
        raise TypeError(f"{name} is of type {type(value).__name__}: {wanted}, which this solver carries")
    if not isinstance(value.scalars, tuple | list):
        raise TypeError(f"{name}.scalars is of type {type(value.scalars).__name__}: expected a tuple of fields")
    if len(value.scalars) != count:
        raise ValueError(f"{name} has {len(value.scalars)} scalars: {wanted}")
    names = [f"{name}.vorticity", *(f"{name}.scalars[{i}]" for i in range(count))]
    given = zip(names, (value.vorticity, *value.scalars), strict=True)
    fields = [check_field(each, field, grid) for each, field in given]
    lead = fields[0].shape[:-2]
    for each, field in zip(names[1:], fields[1:], strict=True):
        if field.dtype != fields[0].dtype:
            raise TypeError(f"{each} has dtype {field.dtype} and {names[0]} {fields[0].dtype}: cast one of them")
        check_leading_axes(each, field, names[0], fields[0])
        lead = jnp.broadcast_shapes(lead, field.shape[:-2])
    first, *rest = (jnp.broadcast_to(field, (*lead, *grid.shape)) for field in fields)
    return State(first, tuple(rest))


def vorticity_in(state: Any) -> Any:
    """Return the vorticity of a state, which is the state itself where there are no scalars."""
    return state.vorticity if isinstance(state, State) else state


def flat(state: Any) -> jax.Array:
    """Return a state as an array ``(batch, ny, nx)``, or ``(batch, 1 + scalars, ny, nx)``."""
    if not isinstance(state, State):
        return merge(state, 0, state.ndim - 2)
    return jnp.stack([merge(field, 0, field.ndim - 2) for field in (state.vorticity, *state.scalars)], axis=1)


def unflat(array: jax.Array, like: Any) -> Any:
    """Return the states of such an array, which may have more axes in front, with the leading axes of `like`."""
    if not isinstance(like, State):
        return array.reshape(*array.shape[:-3], *like.shape)
    vorticity, *scalars = (
        part.reshape(*array.shape[:-4], *like.vorticity.shape) for part in jnp.moveaxis(array, -3, 0)
    )
    return State(vorticity, tuple(scalars))


def of_members(scalars: tuple[Scalar, ...], omega: jax.Array) -> tuple[Scalar, ...]:
    """Return scalars without forcing, whose coefficients are ``(batch,)`` or ``(1,)``, of the type of omega."""

    def one(path, value):
        name = f"scalars[{path[0].idx}].{path[1].name}"
        return members(name, value, omega)

    bare = tuple(eqx.tree_at(lambda s: s.forcing, s, None, is_leaf=lambda x: x is None) for s in scalars)
    return jax.tree_util.tree_map_with_path(one, bare)


def coupling_of(scalars: tuple[Scalar, ...], dtype, *, diffusive: bool = False) -> jax.Array:
    """Return mean gradients and buoyancies ``(gx, gy, bx, by)`` of such scalars, ``(batch or 1, scalars, 4)``.

    With `diffusive` diffusivities come first, ``(batch or 1, scalars, 5)``.
    """
    none = 0.0, 0.0
    rows = [
        (*[scalar.diffusivity] * diffusive, *(scalar.mean_gradient or none), *(scalar.buoyancy or none))
        for scalar in scalars
    ]
    numbers = [jnp.asarray(value, dtype).reshape(-1) for row in rows for value in row]
    return jnp.stack(jnp.broadcast_arrays(*numbers), axis=-1).reshape(-1, len(rows), len(rows[0]))


def with_forcing(total: jax.Array, scalars: tuple[Scalar, ...], omega: jax.Array, grid: Grid) -> jax.Array:
    """Return all forcing of a flow with scalars, ``(steps or 1, batch or 1, 1 + scalars, ny, nx)``.

    A single number stands for none.

    Args:
        total: that of the vorticity, ``(steps or 1, batch or 1, ny, nx)`` or a single zero.
        scalars: the scalars with their forcing.
        omega: the vorticity.
        grid: where fields live.
    """
    lead, parts = omega.shape[:-2], [total]
    for i, scalar in enumerate(scalars):
        if scalar.forcing is None:
            parts.append(jnp.zeros((1, 1, 1, 1), omega.dtype))
            continue
        name = f"scalars[{i}].forcing"
        source = check_field(name, scalar.forcing, grid).astype(omega.dtype)  # `eqx.tree_at` checks nothing
        if source.ndim > 2:
            source = broadcast(name, source, (*lead, *grid.shape), lead, omega)
        parts.append(merge(source, 0, source.ndim - 2)[None])
    return jnp.stack(jnp.broadcast_arrays(*parts), axis=2)
