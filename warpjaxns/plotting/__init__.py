"""Pictures of flows and of their diagnostics. Needs Matplotlib (the extra ``plot``).

Maps and curves are drawn on your own axes, from `matplotlib.figure.Figure` or from pyplot. This package never loads
pyplot. It opens no window, and no figure outlives your reference to it.
"""

from ._animation import animation as animation
from ._curves import budgets as budgets
from ._curves import spectra as spectra
from ._experiments import optimal_perturbation as optimal_perturbation
from ._maps import vorticity as vorticity
from ._style import CURVES as CURVES
from ._style import GREY as GREY
from ._style import RED as RED
from ._style import clean_axes as clean_axes
