"""Time steps of the finite differences: the primitives of `_primitives.steps`."""

from .._coefficients import STAGES
from .._grid import DividedGrid
from .._primitives.steps import Numerics, Steps
from .._support import warp_obstacle
from . import algebra, calls
from .divided import steps as divided
from .kept import Kept


def _kept(omega, *, steps, grid, **_):
    batch, ny, nx = omega.shape
    around = 2 * grid.parts if isinstance(grid, DividedGrid) else 0
    return Kept(*[(STAGES * steps, batch, ny + around, nx)] * 2)


STEPS = Steps(Numerics("", algebra, calls, _kept, len(Kept._fields), warp_obstacle, divided))
advance = STEPS.advance
