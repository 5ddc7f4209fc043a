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
from .._primitives.operands import Operands, has_medium, per_member, split
from . import medium
from . import terms as further
from .modes import Modes, conjugate, constant, times
from .transport import advection, pullback


def _column(values):
    return values[:, None, None, None]


def linear_terms(modes: Modes, like) -> dict:
    """Return the symbol of each linear term, without its coefficient, by the coefficient's name.

    The symbols are real, so that the terms are their own adjoints.
    """
    return {"viscosity": constant(-modes.squared[..., None], like), "drag": constant(np.array(-1.0), like)}


def linear_rate(modes: Modes, viscosity, drag, linear, like):
    """Return the rate ``L`` of each mode, ``(batch or 1, columns, rows, 1)``, or ``(..., 2)`` where it is complex.

    It is ``-nu k^2 - mu`` and the symbol `linear` of all further terms, if there are any.
    """
    terms = linear_terms(modes, like)
    rate = _column(viscosity) * terms["viscosity"] + _column(drag) * terms["drag"]
    if linear.shape[-1] == 1:
        return rate
    return linear + jnp.concatenate([rate, jnp.zeros_like(rate)], axis=-1)


class _Flow:
    """Advection by the flow of a state, ``B(w, w)``, and its adjoint ``G(w, q)``.

    With a deformation radius velocities are those of ``s w`` (`terms`): ``B(s w, s w)`` and ``s G(s w, q)``. With a
    medium advection is ``B(w, w) + M(m, w)``, and half of its adjoint is G with half of that of M (`medium`).
    """

    def __init__(self, x: Operands, *, grid, dealiasing, backend):
        self.where = {"grid": grid, "dealiasing": dealiasing, "backend": backend}
        self.modes, screens = Modes(grid, dealiasing), x.linear.shape[-1] > 1
        self.factor = further.screened(self.modes, x.screening, x.omega) if screens else None
        self.medium = x.medium if has_medium(x) else None

    def _screened(self, state):
        return state if self.factor is None else self.factor * state

    def advection(self, state):
        if self.medium is not None:
            return medium.advection(self.modes, self._screened(state), self.medium)
        return advection(self._screened(state), **self.where)

    def pullback(self, state, q):
        """Return half the cotangent of the state, and that of the medium or None."""
        if self.medium is None:
            return self._screened(pullback(self._screened(state), q, **self.where)), None
        moved, of_medium = medium.pullback(self.modes, self._screened(state), q, self.medium)
        return self._screened(moved), of_medium


def tendency(x: Operands, force, *, grid, dealiasing, backend, integrator=None):
    """Return ``B(w, w) + L w + f`` for states, and ``M(m, w)`` with a medium."""
    rate = linear_rate(Modes(grid, dealiasing), x.viscosity, x.drag, x.linear, x.omega)
    flow = _Flow(x, grid=grid, dealiasing=dealiasing, backend=backend)
    return flow.advection(x.omega) + times(rate, x.omega) + force


def gain_of(exponent):
    """Return ``exp(exponent) - 1`` for real or complex numbers."""
    if exponent.shape[-1] == 1:
        return jnp.expm1(exponent)
    growth, half = jnp.expm1(exponent[..., :1]), exponent[..., 1:] / 2
    factor, sine = 2 * (1 + growth), jnp.sin(half)
    return jnp.concatenate([growth - factor * sine**2, factor * sine * jnp.cos(half)], axis=-1)


def carry(gain, value):
    """Return ``exp(c dt L) value``, given ``gain = exp(c dt L) - 1``.

    The factor is near 1. Rounded to its type it would be wrong by the same amount in every step, and errors would add
    up.
    """
    return value + times(gain, value)


def over_steps(forcing):
    """Return the operand of a scan over steps, and the function that gets a step's forcing from it."""
    if forcing.shape[0] == 1:
        return None, lambda _: forcing[0]
    return forcing, lambda force: force


def _step(x: Operands, *, integrator, grid, dealiasing, backend):
    """Return the function that takes a state and a forcing over one step. It returns the states after all stages."""
    flow, dt = _Flow(x, grid=grid, dealiasing=dealiasing, backend=backend), _column(x.dt)
    rate = linear_rate(Modes(grid, dealiasing), x.viscosity, x.drag, x.linear, x.omega)
    stages = [(a, b, gain_of(duration * dt * rate)) for a, b, duration in low_storage(integrator)]

    def step(state, force):
        kept, increment = [], None
        for a, b, gain in stages:
            change = dt * (flow.advection(state) + force)
            increment = change if increment is None else a * increment + change
            state, increment = carry(gain, state + b * increment), carry(gain, increment)
            kept.append(state)
        return kept

    return step


def advance(*operands, steps, keep=False, direct=False, repeats=1, make=_step, **how):
    """Return ``[omega]`` after the steps, and with `keep` the states after all stages. `repeats` needs steady forcing.

    The latter are ``(stages steps, batch, columns, rows, 2)``. `make`: makes the function of a step.
    """
    x, _ = split(operands, Operands)
    steps *= repeats
    every, force_of = over_steps(x.forcing)
    step = make(x, **how)

    def body(state, force):
        kept = step(state, force_of(force))
        return kept[-1], jnp.stack(kept) if keep else None

    out, kept = jax.lax.scan(body, x.omega, every, length=steps)
    return [out] if kept is None else [out, kept.reshape(kept.shape[0] * kept.shape[1], *out.shape)]


def advance_jvp(*operands, steps, make=_step, **params):
    """Return the result of `advance`, and its derivative in the direction of the tangents."""
    x, dx, _ = split(operands, Operands, Operands)
    # a shared parameter may have a tangent of its own for each member, and the other way round
    x, dx = (Operands(*each) for each in zip(*map(jnp.broadcast_arrays, x, dx), strict=True))
    every, force_of = over_steps(x.forcing)
    devery, dforce_of = over_steps(dx.forcing)

    def final(given):
        return make(given, **params)(given.omega, given.forcing)[-1]

    def body(states, forces):
        force, dforce = force_of(forces[0]), dforce_of(forces[1])
        given = x._replace(omega=states[0], forcing=force), dx._replace(omega=states[1], forcing=dforce)
        return jax.jvp(final, given[:1], given[1:]), None

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

        <r, term> c dt                    to the cotangent of a linear term's coefficient,
        r c dt                            to that of the symbol of further terms, r = l conj(w_1) + m conj(d_1),
        <r, L> c + <w, G(w, q)> + <q, f>  to that of dt, since <q, B(w, w)> = <w, G(w, q)>,
        -2 dt <g w, G(w, q)>              to that of F, with g = 1 / (k^2 + F),
        dt q                              to that of f.

    With a medium G has half the adjoint of M about w. The stage adds ``dt conj(C w) E* q`` to the cotangent of m, which
    is c, and half of ``<m, c> / dt`` to that of dt, since ``<q, M(m, w)> = <m, c> / dt``.

    ``d_1 = (w_1 - e w) / b`` follows from the states kept. Where L is complex, the transpose of e is its conjugate.
    """
    where = {"grid": grid, "dealiasing": dealiasing, "backend": backend}
    how = {"integrator": integrator, **where}
    x, (cotangent, *kept) = split(operands, Operands)
    (states,) = kept if keep else advance(*x, steps=steps, keep=True, **how)[1:]
    modes, stages, dt = Modes(grid, dealiasing), low_storage(integrator), _column(x.dt)
    terms, rate = linear_terms(modes, x.omega), linear_rate(modes, x.viscosity, x.drag, x.linear, x.omega)
    gains, flow = [gain_of(duration * dt * rate) for _, _, duration in stages], _Flow(x, **where)
    by_step = (steps, len(stages), *x.omega.shape)
    none = jnp.zeros(per_member(x).medium, x.omega.dtype)
    before = jnp.concatenate([x.omega[None], states[:-1]]).reshape(by_step)
    after = states.reshape(by_step)
    every, force_of = over_steps(x.forcing)

    def total(product):
        return jnp.sum(product, axis=(-3, -2, -1))

    def of_symbol(l, w):
        """Return the cotangent of a symbol that multiplies w, given that of the product: of its real part, or all."""
        return jnp.sum(l * w, axis=-1, keepdims=True) if rate.shape[-1] == 1 else times(conjugate(w), l)

    def pull_back(stage, l, m, before, after, force):
        (a, b, duration), gain = stages[stage], gains[stage]
        p = carry(conjugate(gain), l)
        q = b * p if m is None else b * p + carry(conjugate(gain), m)
        moved, of_medium = flow.pullback(before, q)
        product = of_symbol(l, after)
        if m is not None:
            product = product + of_symbol(m, (after - carry(gain, before)) / b)
        shares = Operands(*[None] * len(x))
        real = product[..., :1]
        wanted = {name: duration * x.dt * total(term * real) for name, term in terms.items() if getattr(wrt, name)}
        shares = shares._replace(**wanted)
        if wrt.dt:
            share = duration * total(rate * product) + total(before * moved) + total(q * force)
            if of_medium is not None:
                share = share + total(x.medium * of_medium) / 2
            shares = shares._replace(dt=share)
        if wrt.linear:
            shares = shares._replace(linear=duration * dt * product)
        if wrt.screening:
            green = further.screened(modes, x.screening, x.omega) * constant(modes.inverse[..., None], x.omega)
            shares = shares._replace(screening=-2 * x.dt * total(green * before * moved))
        if wrt.medium:
            shares = shares._replace(medium=none if of_medium is None else dt * of_medium)
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
