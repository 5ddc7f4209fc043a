"""Operators on fields: streamfunction, Jacobian, Laplacian, curl."""

from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._checks import check_backend, check_field, check_leading_axes, check_option
from ._finite_difference.jacobian import jacobian as jacobian_primitive
from ._finite_difference.laplacian import laplacian as laplacian_primitive
from ._finite_difference.poisson import poisson as poisson_primitive
from ._finite_difference.reference import shift
from ._grid import Grid

SCHEMES = ("arakawa", "central")

Field: TypeAlias = Float[Array, "... ny nx"]


def streamfunction(grid: Grid, omega: Field, *, backend: str = "auto") -> Field:
    """Return the streamfunction of a vorticity: ``-Lap(psi) = omega - <omega>`` with ``<psi> = 0``.

    Lap is the 5-point Laplacian, which `laplacian` applies, so the two invert each other to rounding. The map is linear
    and symmetric.

    Args:
        grid: the grid.
        omega: vorticity ``(..., ny, nx)``, float32 or float64 [1/time].
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        psi [length^2/time], of omega's shape and dtype.

    Raises:
        TypeError: `omega` is not a float32 or float64 array.
        ValueError: `omega` does not live on `grid`, or `backend` is unknown or cannot run it.
    """
    return _apply(poisson_primitive, "omega", omega, grid, backend)


def laplacian(grid: Grid, a: Field, *, backend: str = "auto") -> Field:
    """Return the 5-point Laplacian ``Lap(a)``, of second order.

    Args:
        grid: the grid.
        a: field ``(..., ny, nx)``, float32 or float64.
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        Lap(a) [unit of a / length^2], of a's shape and dtype.

    Raises:
        TypeError: `a` is not a float32 or float64 array.
        ValueError: `a` does not live on `grid`, or `backend` is unknown or cannot run it.
    """
    return _apply(laplacian_primitive, "a", a, grid, backend)


def jacobian(grid: Grid, a: Field, b: Field, scheme: str = "arakawa", *, backend: str = "auto") -> Field:
    """Return the Jacobian ``J(a, b) = a_x b_y - a_y b_x``, of second order.

    ``"arakawa"`` (Arakawa 1966, doi:10.1016/0021-9991(66)90015-5) is the mean of three stencils, with which the sums of
    J, aJ and bJ over the grid vanish. ``"central"`` is the first of them, plain centred differences.

    Args:
        grid: the grid.
        a: field ``(..., ny, nx)``, float32 or float64.
        b: field of the same dtype; leading axes broadcast against those of `a`.
        scheme: ``"arakawa"`` or ``"central"``.
        backend: ``"auto"``, ``"warp"`` or ``"xla"``.

    Returns:
        J(a, b) [unit of a times unit of b / length^2].

    Raises:
        TypeError: an operand is not a float32 or float64 array, or their dtypes differ.
        ValueError: an operand does not live on `grid`, the leading axes do not broadcast, or `scheme` or `backend` is
            unknown or cannot run it.
    """
    a, b, lead = _check_pair(("a", a), ("b", b), grid)
    check_option("scheme", scheme, SCHEMES)
    check_backend(backend, grid, a.dtype)
    operands = []
    for field in (a, b):
        shared = all(n == 1 for n in field.shape[:-2])
        operands.append(_flat(field if shared else jnp.broadcast_to(field, (*lead, *grid.shape))))
    out = jacobian_primitive(*operands, grid=grid, scheme=scheme, backend=backend)
    return out.reshape(*lead, *grid.shape)


def curl(grid: Grid, x_part: Field, y_part: Field, *, names: tuple[str, str]) -> Field:
    """Return the curl ``d(y_part)/dx - d(x_part)/dy`` of a vector field by centred differences. Its mean is zero.

    It is minus the transpose of the differences of `NavierStokes2D.velocity`: ``<psi, curl(a, b)> = <u a + v b>`` on
    the grid.

    Raises:
        TypeError: a part is not a float32 or float64 array, or their dtypes differ.
        ValueError: a part does not live on `grid`, or their leading axes do not broadcast.
    """
    a, b, lead = _check_pair((names[0], x_part), (names[1], y_part), grid)
    dy, dx = grid.spacing
    along_x = (shift(b, 0, 1) - shift(b, 0, -1)) * jnp.asarray(0.5 / dx, a.dtype)
    along_y = (shift(a, 1, 0) - shift(a, -1, 0)) * jnp.asarray(0.5 / dy, a.dtype)
    return jnp.broadcast_to(along_x, (*lead, *grid.shape)) - jnp.broadcast_to(along_y, (*lead, *grid.shape))


def _check_pair(first, second, grid):
    """Check two fields ``(name, value)`` of one dtype, and return them with their leading axes, broadcast."""
    (name, a), (other, b) = first, second
    a, b = check_field(name, a, grid), check_field(other, b, grid)
    if a.dtype != b.dtype:
        raise TypeError(f"{name} has dtype {a.dtype} and {other} {b.dtype}: cast one of them")
    return a, b, check_leading_axes(name, a, other, b)


def _apply(primitive, name, field, grid, backend):
    field = check_field(name, field, grid)
    check_backend(backend, grid, field.dtype)
    return primitive(_flat(field), grid=grid, backend=backend).reshape(field.shape)


def _flat(field):
    """Return a field with all leading axes as one."""
    return field.reshape(-1, *field.shape[-2:])
