"""Time steps, and their adjoint, composed of the primitives `poisson`, `jacobian` and `laplacian`.

The same mathematics as the fused kernels, one operation at a time. It is the ``"xla"`` backend of the fused
primitives, and, because its parts are closed under differentiation, the source of their higher derivatives.

Layout: states ``(batch, ny, nx)``; viscosity, drag and dt ``(batch,)`` or ``(1,)``; forcing ``(steps or 1, batch or
1, ny, nx)``, or ``(1, 1, 1, 1)`` for none. Kept states and streamfunctions ``(3 steps, batch, ny, nx)``: the inputs of
all stages, in order.
"""

import jax
import jax.numpy as jnp

from .._kernels.advance import runge_kutta
from .._kernels.stencils import FIRST, SECOND
from .jacobian import jacobian
from .laplacian import laplacian
from .poisson import poisson


def _column(values):
    return values[:, None, None]


def tendency(omega, psi, viscosity, drag, force, *, grid, scheme, backend):
    """``R(w) = J(psi, w) + nu Lap w - mu w + f``."""
    advection = jacobian(psi, omega, grid=grid, scheme=scheme, backend=backend)
    diffusion = _column(viscosity) * laplacian(omega, grid=grid, backend=backend)
    return advection + diffusion - _column(drag) * omega + force


def _over_steps(forcing):
    """What a scan over steps goes through, and how to get a step's forcing from it."""
    if forcing.shape[0] == 1:
        return None, lambda _: forcing[0]
    return forcing, lambda force: force


def advance(omega, viscosity, drag, dt, forcing, *, grid, scheme, steps, backend, keep=False, direct=False, repeats=1):
    """``[omega after steps]``, with `keep` ``[omega, states, psis]``. `repeats` is for steady forcing."""
    steps *= repeats
    every, force_of = _over_steps(forcing)

    def step(start, force):
        state, kept = start, []
        for a, b, c in runge_kutta(omega.dtype):
            psi = poisson(state, grid=grid, backend=backend)
            kept.append((state, psi))
            rate = tendency(state, psi, viscosity, drag, force_of(force), grid=grid, scheme=scheme, backend=backend)
            state = b * state + c * _column(dt) * rate
            if a:
                state = a * start + state
        states, psis = (jnp.stack(fields) for fields in zip(*kept, strict=True))
        return state, (states, psis) if keep else None

    out, kept = jax.lax.scan(step, omega, every, length=steps)
    if not keep:
        return [out]
    return [out, *(field.reshape(3 * steps, *omega.shape) for field in kept)]


def along(omega, viscosity, drag, dt, forcing, *tangents, grid, scheme, steps, backend):
    """`advance`, and its derivative along `tangents`.

    State and tangent go through one Poisson solve together. (Two at a time, on a few cores, can lock up the FFTs of
    XLA on the CPU.)
    """
    where = {"grid": grid, "backend": backend}
    # a shared parameter may have a tangent of its own for each member, and the other way round
    pairs = zip((omega, viscosity, drag, dt, forcing), tangents[:5], strict=True)
    primals, along = zip(*(jnp.broadcast_arrays(x, dx) for x, dx in pairs), strict=True)
    (omega, *parameters, dt, forcing), (domega, *dparameters, ddt, dforcing) = primals, along
    every, force_of = _over_steps(forcing)
    devery, dforce_of = _over_steps(dforcing)

    def rate_at(state, psi, viscosity, drag, force):
        return tendency(state, psi, viscosity, drag, force, scheme=scheme, **where)

    def step(start, forces):
        force, dforce = force_of(forces[0]), dforce_of(forces[1])
        (state, dstate), (first, dfirst) = start, start
        for a, b, c in runge_kutta(omega.dtype):
            psi, dpsi = jnp.split(poisson(jnp.concatenate([state, dstate]), **where), 2)
            at, towards = (state, psi, *parameters, force), (dstate, dpsi, *dparameters, dforce)
            rate, drate = jax.jvp(rate_at, at, towards)
            dstate = b * dstate + c * (_column(dt) * drate + _column(ddt) * rate)
            state = b * state + c * _column(dt) * rate
            if a:
                state, dstate = a * first + state, a * dfirst + dstate
        return (state, dstate), None

    (out, dout), _ = jax.lax.scan(step, (omega, domega), (every, devery), length=steps)
    return [out, dout]


def tangent(*operands, keep, **params):
    """The derivative of `advance` alone; what is kept is of no use here."""
    return along(*operands[:10], **params)[1:]


def adjoint(omega, viscosity, drag, dt, forcing, cotangent, *kept, grid, scheme, steps, keep, wrt, backend):
    """The transpose of `tangent`: cotangents of omega and of the parameters chosen by `wrt`, per member.

    With S = (-Lap)^-1 and F, G the transposes of J (`FIRST`, `SECOND`), the adjoint of the tendency is
    ``R'(w)^T l = S F(w, l) + G(l, S w) + nu Lap l - mu l``. A stage ``w_s = a w_0 + b w + c dt R(w)`` hands
    ``b l + c dt R'(w)^T l`` to its input, ``a l`` to the step's start, ``c dt <l, Lap w>`` to nu, ``-c dt <l, w>``
    to mu, ``c <l, R(w)>`` to dt and ``c dt l`` to f.
    """
    where = {"grid": grid, "backend": backend}
    if not keep:
        kept = advance(omega, viscosity, drag, dt, forcing, scheme=scheme, steps=steps, keep=True, **where)[1:]
    states, psis = (field.reshape(steps, 3, *omega.shape) for field in kept)
    every, force_of = _over_steps(forcing)
    coefficients = runge_kutta(omega.dtype)

    def inner(l, field):
        return jnp.sum(l * field, axis=(-2, -1))

    def pull_back(stage, l, states, psis, force):
        _, b, c = coefficients[stage]
        w, psi, h = states[stage], psis[stage], c * dt
        solved = poisson(jacobian(w, l, scheme=FIRST[scheme], **where), **where)
        local = jacobian(l, psi, scheme=SECOND[scheme], **where)
        diffused = _column(viscosity) * laplacian(l, **where)
        to_state = b * l + _column(h) * (solved + local + diffused - _column(drag) * l)
        shares = []
        if wrt[0]:
            shares.append(h * inner(l, laplacian(w, **where)))
        if wrt[1]:
            shares.append(-h * inner(l, w))
        if wrt[2]:
            rate = tendency(w, psi, viscosity, drag, force, scheme=scheme, **where)
            shares.append(c * inner(l, rate))
        if wrt[3]:
            shares.append(_column(h) * l)
        return to_state, shares

    def step(l, inputs):
        states, psis, force = inputs
        force = force_of(force)
        late, shares3 = pull_back(2, l, states, psis, force)
        early, shares2 = pull_back(1, late, states, psis, force)
        to_start, shares1 = pull_back(0, early, states, psis, force)
        # w_0 enters a step as stage 1's input and, by the coefficients a, in stages 2 and 3
        to_start = to_start + coefficients[1][0] * late + coefficients[2][0] * l
        return to_start, [sum(terms) for terms in zip(shares1, shares2, shares3, strict=True)]

    result, shares = jax.lax.scan(step, cotangent, (states, psis, every), length=steps, reverse=True)
    if wrt[3]:
        by_step = shares[-1]
        shares[-1] = by_step if forcing.shape[0] == steps else jnp.sum(by_step, axis=0, keepdims=True)
    totals = [*(jnp.sum(share, axis=0) for share in shares[: sum(wrt[:3])]), *shares[sum(wrt[:3]) :]]
    return [result, *totals]
