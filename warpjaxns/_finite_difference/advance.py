"""Time steps of the finite differences: the primitives of `_primitives.steps`."""

from .._coefficients import STAGES
from .._primitives.steps import Numerics, Steps
from .._support import warp_obstacle
from . import algebra, calls
from .kept import Kept


def _kept(omega, *, steps, **_):
    return Kept(*[(STAGES * steps, *omega.shape)] * 2)


STEPS = Steps(Numerics("", algebra, calls, _kept, len(Kept._fields), warp_obstacle))
advance = STEPS.advance
