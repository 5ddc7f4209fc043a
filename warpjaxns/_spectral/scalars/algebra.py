"""Time steps of a flow that carries scalars, and their adjoint, in plain `jax.numpy`.

Operands are laid out as in `_primitives.operands`, states as in `reference`. A step is the one of `_spectral.algebra`.
"""

import functools

import jax
import jax.numpy as jnp

from ..._coefficients import low_storage
from ..._primitives.operands import Operands, per_member, split
from .. import algebra
from ..algebra import carry, gain_of, over_steps
from ..modes import Modes
from .reference import linear_rate, nonlinear


def _step(x: Operands, *, integrator, grid, dealiasing, backend):
    """Return the function that takes a state and a forcing over one step. It returns the states after all stages."""
    modes, dt = Modes(grid, dealiasing), x.dt[:, None, None, None, None]
    rate = linear_rate(modes, x)
    stages = [(a, b, gain_of(duration * dt * rate)) for a, b, duration in low_storage(integrator)]

    def step(state, force):
        kept, increment = [], None
        for a, b, gain in stages:
            change = dt * (nonlinear(modes, x._replace(omega=state)) + force)
            increment = change if increment is None else a * increment + change
            state, increment = carry(gain, state + b * increment), carry(gain, increment)
            kept.append(state)
        return kept

    return step


advance = functools.partial(algebra.advance, make=_step)
advance_jvp = functools.partial(algebra.advance_jvp, make=_step)
tangent = functools.partial(algebra.tangent, make=_step)


def adjoint(*operands, steps, keep, wrt, integrator, **how):
    """Return the transpose of `tangent`: the cotangents that `wrt` asks for, one a member each.

    It goes backwards over the steps. JAX transposes each, and runs its stages again for it.
    """
    x, (cotangent, *kept) = split(operands, Operands)
    how["integrator"] = integrator
    (states,) = kept if keep else advance(*x, steps=steps, keep=True, **how)[1:]
    count = len(low_storage(integrator))
    before = jnp.concatenate([x.omega[None], states[count - 1 : -1 : count]])
    every, force_of = over_steps(x.forcing)
    shapes = per_member(x)._asdict()
    wanted = [name for name, asked in wrt._asdict().items() if asked and name not in ("omega", "forcing")]
    own = {name: jnp.broadcast_to(getattr(x, name), shapes[name]) for name in wanted}

    def step(carried, inputs):
        l, totals = carried
        state, force = inputs
        force = jnp.broadcast_to(force_of(force), state.shape)

        def final(state, own, force):
            return _step(x._replace(**own), **how)(state, force)[-1]

        if wrt.forcing:
            _, pull_back = jax.vjp(final, state, own, force)
            l, shares, of_force = pull_back(l)
        else:
            _, pull_back = jax.vjp(functools.partial(final, force=force), state, own)
            l, shares = pull_back(l)
            of_force = None
        return (l, jax.tree.map(jnp.add, totals, shares)), of_force

    start = cotangent, jax.tree.map(jnp.zeros_like, own)
    (result, totals), forces = jax.lax.scan(step, start, (before, every), length=steps, reverse=True)
    totals |= {"omega": result}
    if wrt.forcing:
        each = jnp.asarray(forces)
        totals["forcing"] = each if x.forcing.shape[0] == steps else jnp.sum(each, axis=0, keepdims=True)
    return [totals[name] for name, asked in wrt._asdict().items() if asked]
