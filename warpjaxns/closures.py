"""Closures: models of the scales that a grid does not resolve. Eddy viscosity in vorticity form.

A closure is a tendency [1 / time^2] that is added to that of the coarse solver, for example as its forcing:

```python
def body(omega, _):
    closure = wns.closures.smagorinsky(grid, omega, 0.15, discretisation=solver.discretisation)
    return solver.rollout(omega, steps=1, forcing=closure[None]), None

omega, _ = jax.lax.scan(body, omega, length=steps)
```

All are functions of fields ``(..., ny, nx)`` that can be jitted, differentiated and vmapped. The guide to closures
(``docs/guides/closures.md``) trains one of your own.
"""

from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ._arrays import square_root
from ._checks import check_field, check_real
from ._discretisation import Discretisation, FiniteDifference, engine_of
from ._grid import Grid
from ._operators import streamfunction
from ._primitives.folding import merge

__all__ = ["smagorinsky", "strain_rate"]

Field: TypeAlias = Float[Array, "... ny nx"]


def __dir__():
    return __all__


def smagorinsky(
    grid: Grid,
    omega: Field,
    constant: Real[ArrayLike, ""],
    *,
    discretisation: Discretisation = FiniteDifference(),
) -> Field:
    """Return the tendency of Smagorinsky's eddy viscosity for the vorticity equation:

        div(nu_t grad omega),   nu_t = (C delta)^2 |S|,   delta = sqrt(dx dy),

    with |S| of `strain_rate`. It conserves the mean of `omega`, and dissipates enstrophy unless `omega` is constant: by
    `FiniteDifference` it has flux form, with the mean of nu_t between two points, and by `Spectral` the derivatives are
    antisymmetric. After Smagorinsky (1963,
    doi:10.1175/1520-0493(1963)091<0099:GCEWTP>2.3.CO;2). Two-dimensional turbulence with it: Maulik, San, Rasheed and
    Vedula (2019, doi:10.1017/jfm.2018.770).

    It is explicit in time with both. Finite differences need ``4 max(nu_t) dt (1/dx^2 + 1/dy^2)`` under about 2.5, as
    for viscosity.

    Args:
        grid: the coarse grid.
        omega: vorticity ``(..., ny, nx)``, float32 or float64 [1 / time].
        constant: C, about 0.1 to 0.2; may be traced.
        discretisation: that of the solver.

    Returns:
        The tendency [1 / time^2], of omega's shape and dtype.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, `constant` not a real number, or `discretisation` none.
        ValueError: `omega` does not live on `grid`.
    """
    omega = check_field("omega", omega, grid)
    check_real("constant", constant)
    dy, dx = grid.spacing
    strain = strain_rate(grid, omega, discretisation=discretisation)
    eddy = jnp.asarray(constant, omega.dtype) ** 2 * (dx * dy) * strain
    engine = engine_of(discretisation)
    how = engine.static(discretisation, grid, "auto")
    flat = (merge(field, 0, field.ndim - 2) for field in (eddy, omega))
    return engine.diffusion(*flat, **how).reshape(omega.shape)


def strain_rate(grid: Grid, omega: Field, *, discretisation: Discretisation = FiniteDifference()) -> Field:
    """Return the magnitude of the rate of strain of a flow, by derivatives of its streamfunction:

        |S| = sqrt(2 S_ij S_ij) = sqrt((2 d2(psi)/dxdy)^2 + (d2(psi)/dy2 - d2(psi)/dx2)^2)

    Args:
        grid: the grid.
        omega: vorticity ``(..., ny, nx)``, float32 or float64 [1 / time].
        discretisation: that of the solver.

    Returns:
        |S| [1 / time], of omega's shape and dtype. Where it is 0, its derivative is taken to be 0.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, or `discretisation` none.
        ValueError: `omega` does not live on `grid`.
    """
    psi = streamfunction(grid, omega, discretisation=discretisation)
    engine = engine_of(discretisation)
    along_y, along_x, mixed = engine.second_derivatives(psi, **engine.static(discretisation, grid, "auto"))
    return square_root(4 * mixed**2 + (along_y - along_x) ** 2)
