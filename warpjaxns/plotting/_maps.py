"""Maps of vorticity."""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Float

from .._checks import check_grid, check_positive
from .._grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage


def vorticity(
    axes: "Axes",
    grid: Grid,
    omega: Float[Array | np.ndarray, "ny nx"],
    *,
    title: str | None = None,
    limit: float | None = None,
    units: str | None = "1/time",
    label: str = r"$\omega$",
) -> "AxesImage":
    """Draw a vorticity field on `axes`, with its colour bar.

    White is zero, red turns counter-clockwise, and blue clockwise. The colours suit the colour-blind.

    Args:
        axes: Matplotlib axes to draw on.
        grid: the box; sides that are multiples of pi get ticks in multiples of pi.
        omega: the field ``(ny, nx)``, any array that NumPy can read.
        title: of the axes, or None.
        limit: the value of the strongest colour, positive; None for the largest magnitude in the field.
        units: of the field, at the colour bar; None for no colour bar.
        label: the field's name at the colour bar.

    Raises:
        ValueError: `omega` does not have the shape of the grid, or `limit` is not positive.
        FloatingPointError: `omega` is not finite.

    Returns:
        The image.
    """
    from matplotlib.ticker import MaxNLocator

    check_grid(grid)
    omega = np.asarray(omega)
    if omega.shape != grid.shape:
        raise ValueError(f"omega has shape {omega.shape}: expected (ny, nx) = {grid.shape}")
    if not np.all(np.isfinite(omega)):  # Matplotlib would leave those points white, the colour of zero
        raise FloatingPointError(f"omega is not finite at {np.sum(~np.isfinite(omega))} of {omega.size} points")
    if limit is None:
        limit = float(np.abs(omega).max()) or 1.0
    check_positive("limit", limit)
    (dy, dx), (height, width) = grid.spacing, grid.extent
    image = axes.imshow(
        closed(omega),
        origin="lower",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-dx / 2, width + dx / 2, -dy / 2, height + dy / 2),  # values belong to the centres of pixels
        interpolation="bicubic",
    )
    axes.set(xlabel="x [length]", ylabel="y [length]", title=title or "")
    axes.set(xlim=(0, width), ylim=(0, height))
    for axis, side in ((axes.xaxis, width), (axes.yaxis, height)):
        _ticks_of_pi(axis, side)
    axes.autoscale(False)  # what is drawn over the map does not move its edges
    if units is not None:
        clipped = "both" if np.abs(omega).max() > limit else "neither"
        bar = axes.figure.colorbar(image, ax=axes, extend=clipped, extendfrac=0.03, aspect=28, pad=0.03)
        bar.set_label(f"{label} [{units}]")
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(7, symmetric=True)
    return image


def closed(omega: np.ndarray) -> np.ndarray:
    """Return a periodic field with its first row and column repeated at the end, so that a map fills the box."""
    return np.pad(omega, ((0, 1), (0, 1)), mode="wrap")


def _ticks_of_pi(axis, side):
    turns = side / math.pi
    if abs(turns - round(turns)) > 1e-9 or not 1 <= round(turns) <= 8:
        return
    names = {0: "0", 1: "π"}
    ticks = range(round(turns) + 1)
    axis.set_ticks([math.pi * tick for tick in ticks], [names.get(tick, f"{tick}π") for tick in ticks])
