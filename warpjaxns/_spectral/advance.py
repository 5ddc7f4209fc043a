"""Time steps in spectral space: the primitives of `_primitives.steps`."""

from .._coefficients import LOW_STORAGE
from .._primitives.steps import Numerics, Steps
from . import algebra, calls
from .obstacle import warp_obstacle


def kept(omega, *, steps, integrator, **_):
    """Return the shape of the states after each stage."""
    return [(len(LOW_STORAGE[integrator]) * steps, *omega.shape)]


STEPS = Steps(Numerics("spectral_", algebra, calls, kept, 1, warp_obstacle))
advance = STEPS.advance
