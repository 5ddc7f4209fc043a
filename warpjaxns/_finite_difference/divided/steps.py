"""Time steps on a divided grid: a `shard_map` of the steps of a slab, with one collective a stage.

Each function takes what that of `algebra` takes. All its steps run on each device, with the scan around them.
"""

import functools

import jax

from ..._primitives.divided import FIELD, Axes, on_slabs
from ..._primitives.operands import Operands, split
from ..._support import peers_obstacle
from .. import algebra
from . import calls, peers
from .slab import Slab

NUMBERS, FIELDS = Axes(0, None), Axes(1, 2)  # of a parameter; of a forcing, and of what is kept
OPERANDS = Operands(
    FIELD, NUMBERS, NUMBERS, NUMBERS, FIELDS, screening=NUMBERS, linear=NUMBERS, medium=NUMBERS, coupling=NUMBERS
)


def _given(x: Operands) -> Operands:
    """Return the axes of these operands. A forcing of a single number has no rows."""
    return OPERANDS if x.forcing.shape[-1] > 1 else OPERANDS._replace(forcing=Axes(1, None))


def _local(grid, platform, params):
    """Return the functions of a slab, and their parameters."""
    slab = Slab(grid)
    if platform:
        module = peers if grid.exchange == "peers" and not peers_obstacle(grid) else calls
        how = {name: value for name, value in params.items() if name != "backend"}
        return module, how | {"slab": slab, "platform": platform}
    return algebra, params | {"grid": grid, "backend": "xla", "domain": slab}


def advance(*operands, grid, platform, keep, **params):
    """Take the steps, and their repetitions."""
    module, how = _local(grid, platform, params)
    made = [FIELD, FIELDS, FIELDS] if keep else [FIELD]
    function = functools.partial(module.advance, keep=keep, **how)
    return on_slabs(function, grid, _given(Operands(*operands)), made)(*operands)


def advance_jvp(*operands, grid, platform, direct=False, **params):
    """Take the steps of a state and its tangent."""
    x, dx, _ = split(operands, Operands, Operands)
    if platform and not calls.tangent_fits(x.omega, grid=grid, platform=platform):
        platform = None
    module, how = _local(grid, platform, params)
    function = functools.partial(module.advance_jvp, **how)
    return on_slabs(function, grid, [*_given(x), *_given(dx)], [FIELD] * 2)(*x, *dx)


def tangent(*operands, keep, **params):
    """Take the steps of a tangent. It does not use what is kept."""
    x, dx, _ = split(operands, Operands, Operands)
    return advance_jvp(*x, *dx, **params)[1:]


def adjoint(*operands, grid, platform, wrt, keep, **params):
    """Sweep backwards over the steps."""
    x, rest = split(operands, Operands)
    given = [*_given(x), FIELD, *[FIELDS] * (len(rest) - 1)]
    made = [axes for axes, wanted in zip(OPERANDS, wrt, strict=True) if wanted]
    module, how = _local(grid, platform, params)
    sweep = module.adjoint if platform else functools.partial(algebra.adjoint, keep=True)

    def function(*operands):
        if not keep:
            operands = *operands, *module.advance(*operands[:-1], keep=True, **how)[1:]
        shares = sweep(*operands, wrt=wrt, **how)
        summed = [i for i, axes in enumerate(made) if axes is NUMBERS]
        if summed:
            for i, total in zip(summed, jax.lax.psum([shares[i] for i in summed], grid.axis), strict=True):
                shares[i] = total
        return shares

    return on_slabs(function, grid, given, made)(*x, *rest)
