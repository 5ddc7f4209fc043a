"""Pictures of vorticity fields, without pyplot. Needs Matplotlib (``pip install "warpjaxns[all]"``)."""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Float

from ._grid import Grid
from .experiments import OptimalPerturbation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

RED, GREY = "#b2182b", "#444444"  # the colour map's red, and a colour for frames


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

    White is zero, red turns counter-clockwise, blue clockwise; the colour-blind can tell them apart.

    Args:
        axes: Matplotlib axes to draw on.
        grid: the box; sides that are multiples of pi get ticks in multiples of pi.
        omega: the field ``(ny, nx)``, any array that NumPy can read.
        title: of the axes, or None.
        limit: the value of the strongest colour, positive; None for the largest magnitude in the field.
        units: of the field, at the colour bar; None for no colour bar.
        label: the field's name at the colour bar.

    Raises:
        ValueError: `omega` does not have the shape of the grid.

    Returns:
        The image.
    """
    from matplotlib.ticker import MaxNLocator

    omega = np.asarray(omega)
    if omega.shape != grid.shape:
        raise ValueError(f"omega has shape {omega.shape}: expected (ny, nx) = {grid.shape}")
    if limit is None:
        limit = float(np.abs(omega).max()) or 1.0
    (dy, dx), (height, width) = grid.spacing, grid.extent
    image = axes.imshow(
        omega,
        origin="lower",
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-dx / 2, width - dx / 2, -dy / 2, height - dy / 2),  # values belong to the centres of pixels
        interpolation="bicubic",
    )
    axes.set(xlabel="x [length]", ylabel="y [length]", title=title or "")
    for axis, side in ((axes.xaxis, width), (axes.yaxis, height)):
        _ticks_of_pi(axis, side)
    if units is not None:
        clipped = "both" if np.abs(omega).max() > limit else "neither"
        bar = axes.figure.colorbar(image, ax=axes, extend=clipped, extendfrac=0.03, aspect=28, pad=0.03)
        bar.set_label(f"{label} [{units}]")
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(7, symmetric=True)
    return image


def optimal_perturbation(result: OptimalPerturbation) -> "Figure":
    """The experiment on one page: both rollouts at start and end, what grew between them, and the loss.

    Args:
        result: of `experiments.optimal_perturbation`.

    Returns:
        A figure of its own, to be written by ``figure.savefig(path)``.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    grid, lead = result.solver.grid, f"t = {result.lead_time:.3g}"
    difference = np.asarray(result.final_perturbed - result.final_base)
    shared = float(np.quantile(np.abs(result.base), 0.999))  # the same colours for base and final fields
    fields = {
        (0, 0): ("Base flow, t = 0", result.base, shared, r"$\omega_0$"),
        (0, 1): (f"Unperturbed, {lead}", result.final_base, shared, r"$\omega$"),
        (1, 0): ("Optimal perturbation, t = 0", result.perturbation, None, r"$\delta$"),
        (1, 1): (f"Perturbed, {lead}", result.final_perturbed, shared, r"$\omega$"),
        (1, 2): (f"Difference, {lead}", difference, None, r"$\Delta\omega$"),
    }
    with rc_context({"font.size": 10.5, "axes.titlesize": 12, "axes.edgecolor": GREY}):
        height, width = grid.extent
        size = (14, 1.5 + 6.9 * min(max(height / width, 0.5), 2))
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.04))
        panels = figure.subplots(2, 3)
        for place, (title, field, limit, label) in fields.items():
            if limit is None:
                limit = float(np.quantile(np.abs(field), 0.999)) or None
            vorticity(panels[place], grid, field, title=title, limit=limit, label=label)
            if place[1]:
                panels[place].set_ylabel("")  # the first column says it
        _divergence(panels[0, 2], result)
        figure.suptitle(_headline(result), fontsize=14)
    return figure


def _divergence(axes, result):
    """The mean squared difference of the rollouts (minus the loss) over the iterations."""
    axes.plot(-np.asarray(result.losses), color=RED, linewidth=2)
    axes.set(title="Divergence of the two flows", xlabel="iteration")
    axes.set_ylabel(r"$-\mathrm{loss} = \langle\Delta\omega^2\rangle$ [1/time²]")
    axes.set_xlim(0, max(len(result.losses) - 1, 1))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_box_aspect(1)


def _headline(result):
    percent = 100 * result.norms[-1]
    return (
        f"A perturbation of {percent:.3g} % of the flow's size, optimised by gradients through "
        f"{result.steps} time steps, grows {math.sqrt(result.gain):.3g}-fold"
    )


def _ticks_of_pi(axis, side):
    turns = side / math.pi
    if abs(turns - round(turns)) > 1e-9 or not 1 <= round(turns) <= 8:
        return
    names = {0: "0", 1: "π"}
    ticks = range(round(turns) + 1)
    axis.set_ticks([math.pi * tick for tick in ticks], [names.get(tick, f"{tick}π") for tick in ticks])
