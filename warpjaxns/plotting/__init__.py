"""Pictures of flows and of their diagnostics. Needs Matplotlib (the extra ``plot``).

Maps and curves are drawn on your own axes, from `matplotlib.figure.Figure` or from pyplot. This package never loads
pyplot. It opens no window, and no figure outlives your reference to it. In a notebook, a figure or a film at the end of
a cell is shown.
"""

from ._animation import animation
from ._curves import budgets, spectra
from ._experiments import optimal_perturbation
from ._maps import vorticity
from ._notebook import Film, show_figures
from ._style import CURVES, GREY, RED, clean_axes

__all__ = [
    "CURVES",
    "GREY",
    "RED",
    "Film",
    "animation",
    "budgets",
    "clean_axes",
    "optimal_perturbation",
    "spectra",
    "vorticity",
]

show_figures()


def __dir__():
    return __all__
