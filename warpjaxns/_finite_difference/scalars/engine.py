"""Flows that carry scalars: the functions of `_discretisation.Engine` by which a rollout advances its states.

Fields are ``(batch, 1 + scalars, ny, nx)``, the vorticity first.
"""

from ..._coefficients import STAGES
from ..._primitives.operands import Operands, complete
from ..._primitives.steps import Numerics, Steps
from ..._scalars import Carried, coupling_of
from .. import engine as plain
from ..kept import Kept
from . import algebra, reference

static, obstacle, kept_fields = plain.static, plain.obstacle, plain.kept_fields
to_state, to_field = plain.to_state, plain.to_field
forcing_to_state, spectrum_to_state = plain.forcing_to_state, plain.spectrum_to_state


def _kept(omega, *, steps, **_):
    batch, _, ny, nx = omega.shape
    return Kept((STAGES * steps, *omega.shape), (STAGES * steps, batch, ny, nx))


STEPS = Steps(Numerics("scalars_", algebra, None, _kept, len(Kept._fields), obstacle))
advance = STEPS.advance


def term_operands(carried: Carried, **_):
    """Return the operands of time steps that stand for further terms."""
    screening, linear, medium = plain.term_operands(carried.terms)
    return screening, linear, medium, coupling_of(carried.scalars, carried.dtype, diffusive=True)


def tendency(field, viscosity, drag, force, carried: Carried, *, grid, scheme, backend):
    """Return the right-hand side of the vorticity and of each scalar."""
    x = complete(Operands(field, viscosity, drag, None, None, *term_operands(carried)))
    seen = algebra.Carrying.of(x, grid, backend).surround(field)
    return reference.rate_of(seen, x, force, grid=grid, scheme=scheme)


def term_rates(field, carried: Carried, *, grid, **how):
    """Return what each further term adds to the right-hand side of the vorticity, by name."""
    rates = plain.term_rates(field[:, 0], carried.terms, grid=grid, **how) if carried.terms.given else {}
    if any(scalar.buoyancy for scalar in carried.scalars):
        *_, coupling = term_operands(carried)
        rates["buoyancy"] = reference.buoyancy(coupling, field[:, 1:], grid=grid)
    return rates
