"""Resolution: whether a grid has enough points for a flow, and the warning where it has not."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._arrays import largest, square_root, with_axes
from .._checks import check_field
from .._coefficients import kept_wavenumbers
from .._discretisation import Spectral
from .._grid import Grid
from .._modes import fourier_modes
from .._primitives.linear import rfft2
from .._scalars import State, vorticity_in
from .._solver import NavierStokes2D, check_solver

RESOLVED = 0.1  # the largest estimated error of a flow that counts as resolved
WELL_RESOLVED = 16  # points a wave from which finite differences advect it to a few per cent


class Resolution(NamedTuple):
    """The result of `resolution`. Every entry has the shape ``(...)`` of the states' leading axes.

    Attributes:
        error: a rough estimate of the relative error of the vorticity. A flow counts as resolved below 0.1.
        tail: share of the enstrophy in the shortest waves. For `Spectral` these are the last third of the wavenumbers
            kept along an axis, for `FiniteDifference` waves of under 16 points.
        grid_reynolds: the Reynolds number of a cell, ``max(|u| dx, |v| dy) / nu``.
    """

    error: Float[Array, "..."]
    tail: Float[Array, "..."]
    grid_reynolds: Float[Array, "..."]


def resolution(solver: NavierStokes2D, omega: Float[Array, "... ny nx"] | State) -> Resolution:
    """Return how well a grid resolves a flow, by its spectrum.

    The estimate of the error is ``x / (1 + x)``. For finite differences x is the mean square of a wave's phase from one
    point to the next, weighted by the enstrophy: ``<(dx d(omega)/dx)^2 + (dy d(omega)/dy)^2> / <omega^2>``, the size
    of their leading error. For `Spectral` it is ``2 tail^(3/4)``, which fits measurements of shear layers and
    turbulence. Both are for a flow that turned over a few times, and are right to a factor of two to five ("How many
    points do I need?", in the guides). Errors grow with time in a chaotic flow.

    The grid Reynolds number compares the spacing with the viscosity. Below about 30 the flows measured there were
    resolved. Scalars are not looked at. One that is less diffusive than the flow is viscous needs more points.

    Args:
        solver: gives the grid, the discretisation and the viscosity.
        omega: vorticity ``(..., ny, nx)`` [1 / time], or a `State`. A fluid at rest is resolved: all is 0.

    Raises:
        TypeError: `omega` is not a float32 or float64 array, or `solver` is not a solver.
        ValueError: `omega` does not live on the solver's grid.
    """
    check_solver(solver)
    vorticity = check_field("omega", vorticity_in(omega), solver.grid)
    # One transform after the other: several at once may wait for each other for ever in XLA's FFT for the CPU.
    vorticity, (u, v) = jax.lax.optimization_barrier((vorticity, solver.velocity(vorticity)))
    tail, phase = _shares(solver.grid, vorticity, _short(solver), _phase(solver.grid))
    # tail^(3/4), with a finite derivative where it is zero
    x = 2 * square_root(tail) * square_root(square_root(tail)) if isinstance(solver.discretisation, Spectral) else phase
    dy, dx = solver.grid.spacing
    flow = largest(jnp.maximum(jnp.abs(u) * dx, jnp.abs(v) * dy))
    viscosity = jnp.asarray(solver.viscosity, vorticity.dtype)
    ndim = max(flow.ndim, viscosity.ndim)
    flow = with_axes(flow, ndim)
    grid_reynolds = jnp.where(flow == 0, 0, flow / with_axes(viscosity, ndim))
    return Resolution(x / (1 + x), tail, grid_reynolds)


def warn_if_not_resolved(error, solver: NavierStokes2D, when: str) -> None:
    """Warn where an estimated error, or the largest of several, is over what counts as resolved.

    Args:
        error: of `Resolution`.
        solver: that computed the flow.
        when: where in the flow, for the message.
    """
    worst = float(np.max(np.asarray(error), initial=0.0))
    if worst <= RESOLVED:
        return
    ny, nx = solver.grid.shape
    spectral = isinstance(solver.discretisation, Spectral)
    warnings.warn(
        f"the flow is not resolved: {'modes' if spectral else 'finite differences'} on {ny} x {nx} points have an "
        f"error of about {100 * worst:.0f} % {when} (diagnostics.resolution). More points or more viscosity would help"
        + ("" if spectral else ", or discretisation=Spectral()"),
        RuntimeWarning,
        stacklevel=3,  # who called the function that computed the flow
    )


def _short(solver: NavierStokes2D) -> np.ndarray:
    """Return which modes of ``rfft2`` count as short."""
    kind, waves = solver.discretisation, _waves(solver.grid)
    if isinstance(kind, Spectral):
        limits = [2 / 3 * kept_wavenumbers(n, kind.dealiasing) for n in solver.grid.shape]
    else:
        limits = [n / WELL_RESOLVED for n in solver.grid.shape]
    along_y, along_x = (waves > limit for waves, limit in zip(waves, limits, strict=True))
    return along_y | along_x


def _phase(grid: Grid) -> np.ndarray:
    """Return the square of the phase from point to point of every mode of ``rfft2``, of both axes together."""
    along_y, along_x = (2 * np.pi * waves / n for waves, n in zip(_waves(grid), grid.shape, strict=True))
    return along_y**2 + along_x**2


def _waves(grid):
    """Return the waves a side of the modes of ``rfft2``, as a column and as a row."""
    ny, nx = grid.shape
    return np.abs(np.fft.fftfreq(ny, 1 / ny))[:, None], np.fft.rfftfreq(nx, 1 / nx)[None, :]


def _shares(grid, omega, *weights):
    """Return the means of weights of the modes, weighted by their enstrophy: 0 for a fluid at rest."""
    _, _, multiplicity = fourier_modes(grid)
    # Scaled to the largest value, so that no square under- or overflows. The shares do not depend on it.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(omega), axis=(-2, -1), keepdims=True))
    modes = rfft2(omega / jnp.where(largest == 0, 1, largest), norm="forward", grid=grid)
    density = modes.real**2 + modes.imag**2

    def total(weight):
        return jnp.sum(density * with_axes(jnp.asarray(multiplicity * weight, omega.dtype), omega.ndim), axis=(-2, -1))

    enstrophy = total(np.ones(multiplicity.shape))
    return [total(weight) / jnp.where(enstrophy == 0, 1, enstrophy) for weight in weights]
