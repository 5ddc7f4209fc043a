"""Time steps of a flow that carries scalars, and their adjoint: those of `algebra`, with a state of several fields.

They serve both backends. Only the Poisson equation is a foreign call, one a stage.
"""

import functools

import jax
import jax.numpy as jnp

from ..._coefficients import STAGES, runge_kutta
from ..._primitives.operands import Operands, per_member, split
from .. import algebra
from ..algebra import Whole, column, over_steps
from ..kept import Kept
from .reference import rate_of


class Carrying(Whole):
    """All rows of the grid, for a state ``(batch, 1 + scalars, ny, nx)``."""

    def surround(self, omega):
        """Return the state, and the streamfunction of its vorticity."""
        return omega, self.solve(omega[:, 0])

    def gather(self, omega, psi):
        """Return the transpose of `surround`."""
        return jnp.concatenate([omega[:, :1] + self.solve(psi)[:, None], omega[:, 1:]], axis=1)


def _with_domain(function):
    """Make a function of `algebra` take the steps of such states."""

    @functools.wraps(function)
    def steps(*operands, grid, backend, **params):
        x, _ = split(operands, Operands)
        domain = Carrying.of(x, grid, backend)
        return function(*operands, grid=grid, backend=backend, domain=domain, rate_of=rate_of, **params)

    return steps


advance = _with_domain(algebra.advance)
advance_jvp = _with_domain(algebra.advance_jvp)


def tangent(*operands, keep, **params):
    """Return the derivative of `advance` alone. It does not use what is kept."""
    x, dx, _ = split(operands, Operands, Operands)
    return advance_jvp(*x, *dx, **params)[1:]


def adjoint(*operands, grid, scheme, steps, keep, wrt, backend):
    """Return the transpose of `tangent`: the cotangents that `wrt` asks for, one a member each.

    A stage ``w_s = a w_0 + b w + c dt R(w, psi)`` is transposed as in `algebra`. JAX transposes R, which is stencils.
    """
    x, (cotangent, *kept) = split(operands, Operands)
    domain = Carrying.of(x, grid, backend)
    if not keep:
        kept = advance(*x, grid=grid, scheme=scheme, steps=steps, keep=True, backend=backend)[1:]
    stages = Kept(*(field.reshape(steps, STAGES, *field.shape[1:]) for field in kept))
    every, force_of = over_steps(x.forcing)
    shapes, coefficients = per_member(x)._asdict(), runge_kutta(x.omega.dtype)
    wanted = [name for name, asked in wrt._asdict().items() if asked and name not in ("omega", "forcing")]
    own = {name: jnp.broadcast_to(getattr(x, name), shapes[name]) for name in wanted}

    def change(seen, own, force):
        given = x._replace(**own)
        return column(given.dt, x.omega.ndim) * rate_of(seen, given, force, grid=grid, scheme=scheme)

    def step(carried, inputs):
        l, totals = carried
        kept, force = inputs
        force = jnp.broadcast_to(force_of(force), l.shape)
        start = of_force = jnp.zeros_like(l)
        for stage in reversed(range(STAGES)):
            a, b, c = coefficients[stage]
            start = start + a * l  # w_0 enters a step as the first stage's input too
            seen = Kept(kept.states[stage], kept.psis[stage])
            _, pull_back = jax.vjp(change, seen, own, force)
            of_seen, shares, of_stage = pull_back(c * l)
            if wrt.screening:  # which psi depends on: dpsi = -S psi dF
                shares["screening"] = -jnp.sum(domain.solve(of_seen.psis) * seen.psis, axis=(-2, -1))
            totals, of_force = jax.tree.map(jnp.add, totals, shares), of_force + of_stage
            l = b * l + domain.gather(*of_seen)
        return (l + start, totals), of_force if wrt.forcing else None

    start = cotangent, jax.tree.map(jnp.zeros_like, own)
    (result, totals), forces = jax.lax.scan(step, start, (stages, every), length=steps, reverse=True)
    totals |= {"omega": result}
    if wrt.forcing:
        by_step = jnp.asarray(forces)
        totals["forcing"] = by_step if x.forcing.shape[0] == steps else jnp.sum(by_step, axis=0, keepdims=True)
    return [totals[name] for name, asked in wrt._asdict().items() if asked]
