"""Operators on fields: streamfunction, Jacobian, Laplacian, curl. They are those of a discretisation."""

from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import check_field, check_leading_axes
from ._discretisation import Discretisation, FiniteDifference, check_backend, check_discretisation, engine_of
from ._grid import Grid
from ._primitives.folding import merge

Field: TypeAlias = Float[Array, "... ny nx"]


def streamfunction(
    grid: Grid,
    omega: Field,
    *,
    discretisation: Discretisation = FiniteDifference(),
    backend: str = "auto",
) -> Field:
    """Return the streamfunction of a vorticity: ``-Lap(psi) = omega - <omega>`` with ``<psi> = 0``.

    Lap is that of `laplacian`, so the two invert each other to rounding. The map is linear and symmetric.

    Args:
        grid: the grid.
        omega: vorticity ``(..., ny, nx)``, float32 or float64 [1/time].
        discretisation: `FiniteDifference()` or `Spectral()`.
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        psi [length^2/time], of omega's shape and dtype.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, or `discretisation` none.
        ValueError: `omega` does not live on `grid`, or `backend` is unknown or cannot run it.
    """
    return _apply("streamfunction", "omega", omega, grid, discretisation, backend)


def laplacian(
    grid: Grid,
    a: Field,
    *,
    discretisation: Discretisation = FiniteDifference(),
    backend: str = "auto",
) -> Field:
    """Return the Laplacian ``Lap(a)``: by `FiniteDifference` of 5 points and second order, by `Spectral` exact.

    Args:
        grid: the grid.
        a: field ``(..., ny, nx)``, float32 or float64.
        discretisation: `FiniteDifference()` or `Spectral()`.
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        Lap(a) [unit of a / length^2], of a's shape and dtype.

    Raises:
        TypeError: `a` is not a float32 or float64 array, or `discretisation` none.
        ValueError: `a` does not live on `grid`, or `backend` is unknown or cannot run it.
    """
    return _apply("laplacian", "a", a, grid, discretisation, backend)


def jacobian(
    grid: Grid,
    a: Field,
    b: Field,
    *,
    discretisation: Discretisation = FiniteDifference(),
    backend: str = "auto",
) -> Field:
    """Return the Jacobian ``J(a, b) = a_x b_y - a_y b_x``.

    Arakawa's (1966, doi:10.1016/0021-9991(66)90015-5) is the mean of three stencils of second order, with which the
    sums of J, aJ and bJ over the grid vanish. ``FiniteDifference("central")`` is the first of them, plain centred
    differences. `Spectral` multiplies derivatives at the points, and dealiases the products.

    Args:
        grid: the grid.
        a: field ``(..., ny, nx)``, float32 or float64.
        b: field of the same dtype; leading axes broadcast against those of `a`.
        discretisation: `FiniteDifference()` or `Spectral()`.
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        J(a, b) [unit of a times unit of b / length^2].

    Raises:
        TypeError: an operand is not a float32 or float64 array, their dtypes differ, or `discretisation` is none.
        ValueError: an operand does not live on `grid`, the leading axes do not broadcast, or `backend` is unknown or
            cannot run it.
    """
    a, b, lead = _check_pair(("a", a), ("b", b), grid)
    check_backend(backend, discretisation, grid, a.dtype)
    operands = []
    for field in (a, b):
        shared = all(n == 1 for n in field.shape[:-2])
        operands.append(_flat(field if shared else jnp.broadcast_to(field, (*lead, *grid.shape))))
    engine = engine_of(discretisation)
    out = engine.jacobian(*operands, **engine.static(discretisation, grid, backend))
    return out.reshape(*lead, *grid.shape)


def curl(grid: Grid, x_part: Field, y_part: Field, *, names: tuple[str, str], discretisation: Discretisation) -> Field:
    """Return the curl ``d(y_part)/dx - d(x_part)/dy`` of a vector field. Its mean is zero.

    It is minus the transpose of the derivatives of `NavierStokes2D.velocity`: ``<psi, curl(a, b)> = <u a + v b>`` on
    the grid.

    Raises:
        TypeError: a part is not a float32 or float64 array, their dtypes differ, or `discretisation` is none.
        ValueError: a part does not live on `grid`, or their leading axes do not broadcast.
    """
    a, b, lead = _check_pair((names[0], x_part), (names[1], y_part), grid)
    check_discretisation(discretisation, grid)
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, "auto")
    (_, along_x), (along_y, _) = (engine.derivatives(part, **how) for part in (b, a))
    return jnp.broadcast_to(along_x, (*lead, *grid.shape)) - jnp.broadcast_to(along_y, (*lead, *grid.shape))


def projected(grid: Grid, field: Field, discretisation: Discretisation, backend: str = "auto") -> Field:
    """Return a checked field as time steps see it: `Spectral` drops modes, and `FiniteDifference` keeps all."""
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, backend)
    return engine.to_field(engine.to_state(_flat(field), **how), **how).reshape(field.shape)


def _check_pair(first, second, grid):
    """Check two fields ``(name, value)`` of one dtype, and return them with their leading axes, broadcast."""
    (name, a), (other, b) = first, second
    a, b = check_field(name, a, grid), check_field(other, b, grid)
    if a.dtype != b.dtype:
        raise TypeError(f"{name} has dtype {a.dtype} and {other} {b.dtype}: cast one of them")
    return a, b, check_leading_axes(name, a, other, b)


def _apply(operator, name, field, grid, discretisation, backend):
    field = check_field(name, field, grid)
    check_backend(backend, discretisation, grid, field.dtype)
    engine = engine_of(discretisation)
    out = getattr(engine, operator)(_flat(field), **engine.static(discretisation, grid, backend))
    return out.reshape(field.shape)


def _flat(field):
    """Return a field with all leading axes as one."""
    return merge(field, 0, field.ndim - 2)
