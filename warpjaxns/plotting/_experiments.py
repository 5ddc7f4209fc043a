"""Pages that show an experiment of `warpjaxns.experiments`."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ..experiments import OptimalPerturbation
from ._maps import vorticity
from ._style import GREY, RED, clean_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def optimal_perturbation(result: OptimalPerturbation) -> "Figure":
    """Draw the experiment on one page: both rollouts at start and end, their differences, and the loss.

    Args:
        result: the result of `experiments.optimal_perturbation`.

    Returns:
        A new figure; ``figure.savefig(path)`` writes it.
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
    """Draw the mean squared difference of the rollouts (minus the loss) over the iterations."""
    axes.plot(-np.asarray(result.losses), color=RED, linewidth=2)
    axes.set(title="Divergence of the two flows", xlabel="iteration")
    axes.set_ylabel(r"$-\mathrm{loss} = \langle\Delta\omega^2\rangle$ [1/time²]")
    axes.set_xlim(0, max(len(result.losses) - 1, 1))
    axes.set_ylim(bottom=0)
    clean_axes(axes)
    axes.set_box_aspect(1)


def _headline(result):
    percent = 100 * result.norms[-1]
    return (
        f"A perturbation of {percent:.3g} % of the flow's size, optimised by gradients through "
        f"{result.steps} time steps, grows {math.sqrt(result.gain):.3g}-fold"
    )
