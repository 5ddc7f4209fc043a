"""Flows that carry scalars: the functions of `_discretisation.Engine` by which a rollout advances its states.

Fields are ``(batch, 1 + scalars, ny, nx)``, the vorticity first.
"""

import jax.numpy as jnp

from ..._primitives.operands import Operands, complete
from ..._primitives.steps import Numerics, Steps
from ..._scalars import Carried, coupling_of
from .. import engine as plain
from .. import medium
from .. import terms as further
from ..advance import kept
from ..modes import Modes, as_complex, as_state, constant
from ..obstacle import warp_obstacle as obstacle
from . import algebra, calls, reference

forcing_to_state, spectrum_to_state = plain.forcing_to_state, plain.spectrum_to_state
static, to_field, to_state, kept_fields = plain.static, plain.to_field, plain.to_state, plain.kept_fields


STEPS = Steps(Numerics("spectral_scalars_", algebra, calls, kept, 1, obstacle))
advance = STEPS.advance


def term_operands(carried: Carried, *, grid, dealiasing, **_):
    """Return the operands of time steps that stand for further terms."""
    modes, dtype = Modes(grid, dealiasing), carried.dtype
    none = jnp.zeros((1, *modes.shape, 2), dtype)
    given = further.symbols(modes, carried.terms) if carried.terms.linear else {}
    shared = given.get("mean_flow", none)
    laplacian = constant(-modes.squared[..., None], none)

    def diffusion(scalar):
        real = scalar.diffusivity[:, None, None, None] * laplacian
        return jnp.concatenate([real, jnp.zeros_like(real)], axis=-1) + shared

    symbols = [sum(given.values(), none), *map(diffusion, carried.scalars)]
    linear = jnp.stack(jnp.broadcast_arrays(*symbols), axis=1)
    screening = further.screening(carried.terms) if carried.terms.linear else jnp.zeros(1, dtype)
    return screening, linear, medium.operand(modes, carried.terms), coupling_of(carried.scalars, dtype)


def tendency(field, viscosity, drag, force, carried: Carried, *, integrator, backend, **how):
    """Return the right-hand side of the vorticity and of each scalar."""
    state, force = to_state(field, **how), forcing_to_state(force[None], **how)[0]
    given = complete(Operands(state, viscosity, drag, None, None, *term_operands(carried, **how)))
    return to_field(reference.tendency(Modes(**how), given, force), **how)


def term_rates(field, carried: Carried, *, integrator, backend, **how):
    """Return what each further term adds to the right-hand side of the vorticity, by name."""
    rates = plain.term_rates(field[:, 0], carried.terms, **how) if carried.terms.given else {}
    if any(scalar.buoyancy for scalar in carried.scalars):
        modes, (*_, coupling) = Modes(**how), term_operands(carried, **how)
        scalars = as_complex(to_state(field[:, 1:], **how))
        curl = reference.buoyancy(modes, coupling, scalars)[:, 0]
        rates["buoyancy"] = to_field(as_state(curl), **how)
    return rates
