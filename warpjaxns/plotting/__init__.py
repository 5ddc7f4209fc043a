"""Pictures of flows and of what was measured in them. Needs Matplotlib (the extra ``plot``).

Maps and curves are drawn on axes that you bring, from `matplotlib.figure.Figure` or from pyplot, which this package
itself never loads: it has no window to open, and no figure outlives your reference to it.
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
