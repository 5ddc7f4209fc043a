"""The vorticity of a velocity and the velocity of a vorticity, exact for the waves that the grid resolves."""

import math
from typing import Any, TypeAlias

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._arrays import with_axes
from ._checks import check_field, check_real
from ._grid import Grid
from ._operators import _check_pair
from ._primitives.linear import irfft2, rfft2
from ._show import show

Field: TypeAlias = Float[Array, "... ny nx"]


def vorticity_of(grid: Grid, u: Field, v: Field) -> Field:
    """Return the vorticity ``dv/dx - du/dy`` of a velocity, by Fourier transform.

    It is exact for waves of more than two points along each axis. The derivative of a wave of two points is taken to be
    0. Use this function for a velocity from elsewhere: a formula, data, another code. `initial.from_velocity` has the
    solver's centred differences instead. Budgets are exact with these, and their error is of second order.

    A vorticity holds neither the divergence nor the mean of a velocity. A divergence is lost. A mean is refused:
    `velocity_of` takes it as an argument.

    Args:
        grid: the box.
        u: velocity along x ``(..., ny, nx)`` [length / time].
        v: velocity along y, of the same dtype; leading axes broadcast.

    Returns:
        omega ``(..., ny, nx)`` [1 / time], of zero mean and u's dtype.

    Raises:
        TypeError: a part is not a float32 or float64 array, or their dtypes differ.
        ValueError: a part does not live on `grid`, their leading axes do not broadcast, or the velocity has a mean of
            more than 1e-5 of its largest value. (The mean of a traced velocity is lost.)
    """
    u, v = check_velocity(grid, u, v)
    along_y, along_x, _ = _symbols(grid, u)
    return irfft2(along_x * rfft2(v, grid=grid) - along_y * rfft2(u, grid=grid), grid.shape, grid=grid)


def velocity_of(
    grid: Grid, omega: Field, *, mean: tuple[ArrayLike, ArrayLike] | ArrayLike = (0.0, 0.0)
) -> tuple[Field, Field]:
    """Return the velocity ``(u, v)`` of a vorticity and of a mean flow, by Fourier transform.

        u = d(psi)/dy + U,   v = -d(psi)/dx + V,   d2(psi)/dx2 + d2(psi)/dy2 = -omega

    It is the inverse of `vorticity_of`. Both are exact for waves of more than two points along each axis. Use it to
    compare with formulas, data and other codes. `NavierStokes2D.velocity` has the differences with which the solver
    advects. The power of a force and the Courant number are exact with these, and their error is of second order.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)``, float32 or float64 [1 / time]. Its mean is ignored: no periodic flow has
            one.
        mean: ``(U, V)`` [length / time], numbers or arrays ``(...)`` like the leading axes of `omega`, cast to its
            dtype. The solver's flow has none.

    Returns:
        u and v [length / time], of omega's shape and dtype.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, or `mean` is not two real numbers or arrays.
        ValueError: `omega` does not live on `grid`, or `mean` does not fit its leading axes.
    """
    omega = check_field("omega", omega, grid)
    along_y, along_x, inverse = _symbols(grid, omega)
    psi = rfft2(omega, grid=grid) * inverse.astype(along_y.dtype)
    parts = []
    for spectrum, value in zip((along_y * psi, -along_x * psi), _pair(mean), strict=True):
        check_real("mean", value, scalar=False)
        try:
            uniform = jnp.broadcast_to(jnp.asarray(value, omega.dtype), omega.shape[:-2])
        except ValueError:
            raise ValueError(
                f"mean has a part of shape {jnp.shape(value)}: expected one number, or one for each of the leading "
                f"axes of omega {omega.shape[:-2]}"
            ) from None
        parts.append(irfft2(spectrum, grid.shape, grid=grid) + uniform[..., None, None])
    return parts[0], parts[1]


def check_velocity(grid: Grid, u: Field, v: Field) -> tuple[Field, Field]:
    """Check that a vorticity can hold a velocity, and return both parts with the same number of axes.

    Raises:
        TypeError: a part is not a float32 or float64 array, or their dtypes differ.
        ValueError: a part does not live on `grid`, their leading axes do not broadcast, or the velocity has a mean of
            more than 1e-5 of its largest value. (A traced velocity is not checked.)
    """
    u, v, lead = _check_pair(("u", u), ("v", v), grid)
    u, v = (with_axes(part, len(lead) + 2) for part in (u, v))
    if isinstance(u, jax.core.Tracer) or isinstance(v, jax.core.Tracer):
        return u, v
    with jax.ensure_compile_time_eval():
        means = [jnp.abs(jnp.mean(part, axis=(-2, -1))) for part in (u, v)]
        largest = jnp.maximum(*(jnp.max(jnp.abs(part), axis=(-2, -1)) for part in (u, v)))
        moves = bool(jnp.any(jnp.maximum(*means) > 1e-5 * largest))  # far above the rounding of float32
        up_to = [float(jnp.max(mean, initial=0)) for mean in means]
    if moves:
        raise ValueError(
            f"u and v have means of up to {up_to[0]:.3g} and {up_to[1]:.3g}, which a vorticity does not hold: subtract "
            "them, u - u.mean((-2, -1), keepdims=True), and hand them to warpjaxns.velocity_of(..., mean=(U, V))"
        )
    return u, v


def _symbols(grid, like):
    """Return the Fourier symbols of d/dy, d/dx and the inverse of minus the Laplacian, for ``rfft2(like)``."""
    (ny, nx), complex_dtype = grid.shape, np.result_type(like.dtype, np.complex64)
    my, mx = np.fft.fftfreq(ny, 1 / ny)[:, None], np.fft.rfftfreq(nx, 1 / nx)[None, :]
    ky, kx = (2 * math.pi / side * m for side, m in zip(grid.extent, (my, mx), strict=True))

    def symbol(values, dtype):
        return with_axes(jnp.asarray(values, dtype), like.ndim)

    # a wave of two points has no phase on the grid, and the derivative of what is left of it vanishes at every point
    along_y, along_x = (
        symbol(1j * np.where(2 * np.abs(m) < n, k, 0), complex_dtype) for m, n, k in ((my, ny, ky), (mx, nx, kx))
    )
    squared = symbol(ky**2, like.dtype) + symbol(kx**2, like.dtype)
    inverse = jnp.where(squared > 0, 1 / jnp.where(squared > 0, squared, 1), 0)
    return along_y, along_x, inverse


def _pair(mean) -> Any:
    parts = isinstance(mean, tuple | list) or (isinstance(mean, np.ndarray | jax.Array) and mean.ndim)
    if not parts or len(mean) != 2:
        raise TypeError(f"mean={show(mean)}: expected two parts (U, V), along x and along y")
    return mean
