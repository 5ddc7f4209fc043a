"""Time steps and their adjoint, composed of the primitives `advection`, `transport` and `pullback`.

They do the mathematics of the fused kernels one operation at a time. They are the ``"xla"`` backend of the fused
primitives. They also provide higher derivatives, since these operators are closed under differentiation.

Operands are laid out as in `_primitives.operands`, states as in `modes`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._coefficients import low_storage
from .._primitives.operands import Operands, split
from .modes import Modes, constant
from .transport import advection, pullback


def _column(values):
    return values[:, None, None, None]


def linear_terms(modes: Modes, like) -> dict:
    """Return the symbol of each linear term, without its coefficient, by the coefficient's name.

    The symbols are real, so that the terms are their own adjoints.
    """
    return {"viscosity": constant(-modes.squared[..., None], like), "drag": constant(np.array(-1.0), like)}


def linear_rate(modes: Modes, viscosity, drag, like):
    """Return the rate ``L = -nu k^2 - mu`` of each mode, ``(batch or 1, columns, rows, 1)``."""
    terms = linear_terms(modes, like)
    return _column(viscosity) * terms["viscosity"] + _column(drag) * terms["drag"]


def tendency(omega, viscosity, drag, force, *, grid, dealiasing, backend, integrator=None):
    """Return ``B(w, w) + L w + f`` for states."""
    rate = linear_rate(Modes(grid, dealiasing), viscosity, drag, omega)
    return advection(omega, grid=grid, dealiasing=dealiasing, backend=backend) + rate * omega + force


def _carry(gain, value):
    """Return ``exp(c dt L) value``, given ``gain = expm1(c dt L)``.

    The factor is near 1. Rounded to its type it would be wrong by the same amount in every step, and errors would add
    up.
    """
    return value + gain * value


def _over_steps(forcing):
    """Return the operand of a scan over steps, and the function that gets a step's forcing from it."""
    if forcing.shape[0] == 1:
        return None, lambda _: forcing[0]
    return forcing, lambda force: force


def _step(x: Operands, *, integrator, grid, dealiasing, backend):
    """Return the function that takes a state and a forcing over one step. It returns the states after all stages."""
    where = {"grid": grid, "dealiasing": dealiasing, "backend": backend}
    rate, dt = linear_rate(Modes(grid, dealiasing), x.viscosity, x.drag, x.omega), _column(x.dt)
    stages = [(a, b, jnp.expm1(duration * dt * rate)) for a, b, duration in low_storage(integrator)]

    def step(state, force):
        kept, increment = [], None
        for a, b, gain in stages:
            change = dt * (advection(state, **where) + force)
            increment = change if increment is None else a * increment + change
            state, increment = _carry(gain, state + b * increment), _carry(gain, increment)
            kept.append(state)
        return kept

    return step


def advance(*operands, grid, integrator, dealiasing, steps, backend, keep=False, direct=False, repeats=1):
    """Return ``[omega]`` after the steps, and with `keep` the states after all stages. `repeats` needs steady forcing.

    The latter are ``(stages steps, batch, columns, rows, 2)``.
    """
    x, _ = split(operands, Operands)
    steps *= repeats
    every, force_of = _over_steps(x.forcing)
    step = _step(x, integrator=integrator, grid=grid, dealiasing=dealiasing, backend=backend)

    def body(state, force):
        kept = step(state, force_of(force))
        return kept[-1], jnp.stack(kept) if keep else None

    out, kept = jax.lax.scan(body, x.omega, every, length=steps)
    return [out] if kept is None else [out, kept.reshape(kept.shape[0] * kept.shape[1], *out.shape)]


def advance_jvp(*operands, steps, **params):
    """Return the result of `advance`, and its derivative in the direction of the tangents."""
    x, dx, _ = split(operands, Operands, Operands)
    # a shared parameter may have a tangent of its own for each member, and the other way round
    x, dx = (Operands(*each) for each in zip(*map(jnp.broadcast_arrays, x, dx), strict=True))
    every, force_of = _over_steps(x.forcing)
    devery, dforce_of = _over_steps(dx.forcing)

    def final(state, force, viscosity, drag, dt):
        given = Operands(state, viscosity, drag, dt, force)
        return _step(given, **params)(state, force)[-1]

    def body(states, forces):
        force, dforce = force_of(forces[0]), dforce_of(forces[1])
        primals = (states[0], force, x.viscosity, x.drag, x.dt)
        return jax.jvp(final, primals, (states[1], dforce, dx.viscosity, dx.drag, dx.dt)), None

    (out, dout), _ = jax.lax.scan(body, (x.omega, dx.omega), (every, devery), length=steps)
    return [out, dout]


def tangent(*operands, keep, **params):
    """Return the derivative of `advance` alone. It does not use what is kept."""
    x, dx, _ = split(operands, Operands, Operands)
    return advance_jvp(*x, *dx, **params)[1:]


def adjoint(*operands, grid, integrator, dealiasing, steps, keep, wrt, backend):
    """Return the transpose of `tangent`: the cotangents that `wrt` asks for, one a member each.

    A stage is ``d' = a d + dt (B(w, w) + f)``, ``w_1 = e (w + b d')``, ``d_1 = e d'`` with ``e = exp(c dt L)``, where c
    is its duration. Let l and m be the cotangents of w_1 and d_1. Those of ``w + b d'`` and d' are ``p = e l`` and ``q
    = b p + e m``. The stage makes ``p + 2 dt G(w, q)`` of them for w, and ``a q`` for d. It adds

        <p', term> c dt                    to the cotangent of a linear term's coefficient, p' = l w_1 + m d_1,
        <p', L> c + <w, G(w, q)> + <q, f>  to that of dt, since <q, B(w, w)> = <w, G(w, q)>,
        dt q                               to that of f.

    ``d_1 = (w_1 - e w) / b`` follows from the states kept.
    """
    where = {"grid": grid, "dealiasing": dealiasing, "backend": backend}
    how = {"integrator": integrator, **where}
    x, (cotangent, *kept) = split(operands, Operands)
    (states,) = kept if keep else advance(*x, steps=steps, keep=True, **how)[1:]
    modes, stages, dt = Modes(grid, dealiasing), low_storage(integrator), _column(x.dt)
    terms, rate = linear_terms(modes, x.omega), linear_rate(modes, x.viscosity, x.drag, x.omega)
    gains = [jnp.expm1(duration * dt * rate) for _, _, duration in stages]
    by_step = (steps, len(stages), *x.omega.shape)
    before = jnp.concatenate([x.omega[None], states[:-1]]).reshape(by_step)
    after = states.reshape(by_step)
    every, force_of = _over_steps(x.forcing)

    def total(product):
        return jnp.sum(product, axis=(-3, -2, -1))

    def pull_back(stage, l, m, before, after, force):
        (a, b, duration), gain = stages[stage], gains[stage]
        p = _carry(gain, l)
        q = b * p if m is None else b * p + _carry(gain, m)
        moved = pullback(before, q, **where)
        product = l * after if m is None else l * after + m * (after - _carry(gain, before)) / b
        shares = Operands(*[None] * len(x))
        wanted = {name: duration * x.dt * total(term * product) for name, term in terms.items() if getattr(wrt, name)}
        shares = shares._replace(**wanted)
        if wrt.dt:
            share = duration * total(rate * product) + total(before * moved) + total(q * force)
            shares = shares._replace(dt=share)
        if wrt.forcing:
            shares = shares._replace(forcing=dt * q)
        return p + 2 * dt * moved, a * q if a else None, shares

    def step(l, inputs):
        before, after, force = inputs
        force, m = force_of(force), None
        totals: Any = None
        for stage in reversed(range(len(stages))):
            l, m, shares = pull_back(stage, l, m, before[stage], after[stage], force)
            totals = shares if totals is None else jax.tree.map(jnp.add, totals, shares)
        return l, totals

    result, shares = jax.lax.scan(step, cotangent, (before, after, every), length=steps, reverse=True)
    totals = {name: jnp.sum(share, axis=0) for name, share in shares._asdict().items() if share is not None}
    if wrt.forcing:
        each = shares.forcing
        totals["forcing"] = each if x.forcing.shape[0] == steps else jnp.sum(each, axis=0, keepdims=True)
    totals["omega"] = result
    return [totals[name] for name, wanted in wrt._asdict().items() if wanted]
