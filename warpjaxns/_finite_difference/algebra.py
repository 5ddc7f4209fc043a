"""Time steps and their adjoint, composed of the primitives `poisson`, `jacobian` and `laplacian`.

They do the mathematics of the fused kernels one operation at a time. They are the ``"xla"`` backend of the fused
primitives. They also provide higher derivatives, since these operators are closed under differentiation.

Only `poisson` runs on the backend that is asked for. The others are stencils, which XLA fuses with each other and with
the sums around them. A foreign call for each would take the host longer than the device, and devices of one process in
turn.

Operands are laid out as in `_primitives.operands`. A *domain* says what the points of a state see of the grid: `Whole`,
all of it, or a slab of a grid that is divided over devices (`divided.slabs`), with rows of its neighbours around it.
"""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from .._coefficients import FIRST, SECOND, STAGES, runge_kutta
from .._grid import Grid
from .._primitives.operands import Operands, per_member, split
from . import medium as of_medium
from . import terms as further
from .jacobian import jacobian
from .kept import Kept
from .laplacian import laplacian
from .poisson import poisson


class Domain(Protocol):
    """The rows that a state has, and those around it on which stencils work, a grid of their own."""

    @property
    def grid(self) -> Grid:
        """The grid of the stencils."""
        ...

    def surround(self, omega):
        """Return the state and its streamfunction on the rows of the stencils."""
        ...

    def gather(self, omega, psi):
        """Return the transpose of `surround`, of cotangents on the rows of the stencils."""
        ...

    def pad(self, field):
        """Return a field on the rows of the stencils, zero where the state has no rows."""
        ...

    def trim(self, field):
        """Return a field of the rows of the stencils on those of the state."""
        ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """All rows of the grid. The Poisson equation is symmetric. `screening`: its F, or None for zero."""

    grid: Grid
    backend: str
    screening: Any = None

    @classmethod
    def of(cls, x: Operands, grid, backend):
        """Return the domain for these operands."""
        return cls(grid, backend, x.screening if further.screened(x.linear) else None)

    def solve(self, omega):
        """Return the streamfunction."""
        return poisson(omega, self.screening, grid=self.grid, backend=self.backend)

    def surround(self, omega):
        """Return the state and its streamfunction."""
        return omega, self.solve(omega)

    def gather(self, omega, psi):
        """Return the transpose of `surround`."""
        return omega + self.solve(psi)

    def pad(self, field):
        """Return the field."""
        return field

    def trim(self, field):
        """Return the field."""
        return field


def column(values, ndim=3):
    """Return a number a member with the axes of fields."""
    return values.reshape(-1, *(1,) * (ndim - 1))


def linear_terms(omega, *, grid) -> dict:
    """Return the linear terms of R, each without its coefficient, by the coefficient's name."""
    return {"viscosity": laplacian(omega, grid=grid, backend="xla"), "drag": -omega}


def advected(omega, medium):
    """Return what is advected: the vorticity, and topography if there is any."""
    return omega if of_medium.none(medium) else omega + medium[..., 1]


def further_terms(omega, psi, linear, medium, *, grid):
    """Return the sum of all terms besides advection, viscosity and drag, linear in both fields; None where none is."""
    parts = []
    if not further.none(linear):
        parts.append(further.total(linear, omega, psi, grid=grid))
    if not of_medium.none(medium):
        parts.append(of_medium.resisted(medium[..., 0], psi, grid=grid))
    return sum(parts[1:], parts[0]) if parts else None


def tendency(omega, psi, viscosity, drag, force, linear, medium, *, grid, scheme, trim=lambda field: field):
    """Return ``R(w) = J(psi, w + h) + nu Lap w - mu w + f`` and the further terms.

    `trim`: that of a `Domain`, whose rows `force` has.
    """
    terms, more = linear_terms(omega, grid=grid), further_terms(omega, psi, linear, medium, grid=grid)
    advection = jacobian(psi, advected(omega, medium), grid=grid, scheme=scheme, backend="xla")
    rate = advection + column(viscosity) * terms["viscosity"] + column(drag) * terms["drag"]
    return trim(rate if more is None else rate + more) + force


def rate_of(seen: Kept, x: Operands, force, **how):
    """Return the right-hand side at a state and its streamfunction."""
    return tendency(*seen, x.viscosity, x.drag, force, x.linear, x.medium, **how)


def over_steps(forcing):
    """Return the operand of a scan over steps, and the function that gets a step's forcing from it."""
    if forcing.shape[0] == 1:
        return None, lambda _: forcing[0]
    return forcing, lambda force: force


def advance(*operands, grid, scheme, steps, backend, keep=False, direct=False, repeats=1, domain=None, rate_of=rate_of):
    """Return ``[omega]`` after the steps, or ``[omega, *Kept]`` with `keep`. `repeats` needs steady forcing."""
    x, _ = split(operands, Operands)
    domain = domain or Whole.of(x, grid, backend)
    how: dict[str, Any] = {"grid": domain.grid, "scheme": scheme, "trim": domain.trim}
    steps *= repeats
    every, force_of = over_steps(x.forcing)

    def step(start, force):
        state, kept = start, []
        for a, b, c in runge_kutta(start.dtype):
            seen = Kept(*domain.surround(state))
            kept.append(seen)
            state = b * state + c * column(x.dt, state.ndim) * rate_of(seen, x, force_of(force), **how)
            if a:
                state = a * start + state
        return state, Kept(*map(jnp.stack, zip(*kept, strict=True))) if keep else None

    out, kept = jax.lax.scan(step, x.omega, every, length=steps)
    if kept is None:
        return [out]
    return [out, *(field.reshape(STAGES * steps, *field.shape[2:]) for field in kept)]


def advance_jvp(*operands, grid, scheme, steps, backend, domain=None, rate_of=rate_of):
    """Return the result of `advance`, and its derivative in the direction of the tangents.

    State and tangent share one Poisson solve. Two solves at the same time can lock up the FFTs of XLA on a CPU of few
    cores.
    """
    x, dx, _ = split(operands, Operands, Operands)
    # a shared parameter may have a tangent of its own for each member, and the other way round
    x, dx = (Operands(*each) for each in zip(*map(jnp.broadcast_arrays, x, dx), strict=True))
    domain = domain or Whole.of(x, grid, backend)
    how: dict[str, Any] = {"grid": domain.grid, "scheme": scheme, "trim": domain.trim}
    every, force_of = over_steps(x.forcing)
    devery, dforce_of = over_steps(dx.forcing)

    rate_at = functools.partial(rate_of, **how)

    def surround(state, dstate):
        if further.screened(x.linear):  # dpsi needs psi
            return jax.jvp(
                lambda omega, number: dataclasses.replace(domain, screening=number).surround(omega),
                (state, x.screening),
                (dstate, dx.screening),
            )
        both = domain.surround(jnp.concatenate([state, dstate]))
        return zip(*(jnp.split(field, 2) for field in both), strict=True)

    def step(start, forces):
        force, dforce = force_of(forces[0]), dforce_of(forces[1])
        (state, dstate), (first, dfirst) = start, start
        for a, b, c in runge_kutta(state.dtype):
            seen, dseen = (Kept(*each) for each in surround(state, dstate))
            rate, drate = jax.jvp(rate_at, (seen, x, force), (dseen, dx, dforce))
            dt, ddt = (column(each.dt, state.ndim) for each in (x, dx))
            dstate = b * dstate + c * (dt * drate + ddt * rate)
            state = b * state + c * dt * rate
            if a:
                state, dstate = a * first + state, a * dfirst + dstate
        return (state, dstate), None

    (out, dout), _ = jax.lax.scan(step, (x.omega, dx.omega), (every, devery), length=steps)
    return [out, dout]


def tangent(*operands, keep, **params):
    """Return the derivative of `advance` alone. It does not use what is kept."""
    x, dx, _ = split(operands, Operands, Operands)
    return advance_jvp(*x, *dx, **params)[1:]


def adjoint(*operands, grid, scheme, steps, keep, wrt, backend, domain=None):
    """Return the transpose of `tangent`: the cotangents that `wrt` asks for, one a member each.

    With S = (-Lap)^-1 and F, G the transposes of J (`FIRST`, `SECOND`), the adjoint of the tendency is
    ``R'(w)^T l = S F(w, l) + G(l, S w) + nu Lap l - mu l``. A stage ``w_s = a w_0 + b w + c dt R(w)`` adds
    ``b l + c dt R'(w)^T l`` to the cotangent of its input, and ``a l`` to that of the start of the step. It adds
    ``c dt <l, term>`` to the cotangent of a linear term's coefficient, ``c <l, R(w)>`` to that of dt, and ``c dt l`` to
    that of f. A term of psi has its transpose beside F, and one of w beside G. Since ``dpsi = -S psi dF``, a stage adds
    ``-c dt <S (F(w, l) + ...), psi>`` to the cotangent of the number F of a deformation radius.
    """
    x, (cotangent, *kept) = split(operands, Operands)
    domain = domain or Whole.of(x, grid, backend)
    if not keep:
        kept = advance(*x, grid=grid, scheme=scheme, steps=steps, keep=True, backend=backend, domain=domain)[1:]
    stages = Kept(*(field.reshape(steps, STAGES, *field.shape[1:]) for field in kept))
    every, force_of = over_steps(x.forcing)
    coefficients = runge_kutta(x.omega.dtype)

    def inner(l, field):
        return jnp.sum(l * field, axis=(-2, -1))

    def pull_back(stage, l, kept, force):
        _, b, c = coefficients[stage]
        w, psi, h, around = kept.states[stage], kept.psis[stage], c * x.dt, domain.pad(l)
        to_psi = jacobian(advected(w, x.medium), around, grid=domain.grid, scheme=FIRST[scheme], backend="xla")
        local = jacobian(around, psi, grid=domain.grid, scheme=SECOND[scheme], backend="xla")
        # the linear terms are their own adjoints
        terms = linear_terms(around, grid=domain.grid)
        diffused, damped = column(x.viscosity) * terms["viscosity"], column(x.drag) * terms["drag"]
        moved, local = local, local + diffused + damped
        if not (further.none(x.linear) and of_medium.none(x.medium)):
            add = functools.partial(further_terms, linear=x.linear, medium=x.medium, grid=domain.grid)
            more = jax.linear_transpose(add, w, psi)(around)
            local, to_psi = local + more[0], to_psi + more[1]
        to_state = b * l + column(h) * domain.gather(local, to_psi)
        shares = Operands(*[None] * len(x))
        if wrt.viscosity or wrt.drag:
            terms = linear_terms(w, grid=domain.grid)
            wanted = {name: h * inner(l, domain.trim(term)) for name, term in terms.items() if getattr(wrt, name)}
            shares = shares._replace(**wanted)
        if wrt.dt:
            rate = rate_of(Kept(w, psi), x, force, grid=domain.grid, scheme=scheme, trim=domain.trim)
            shares = shares._replace(dt=c * inner(l, rate))
        if wrt.forcing:
            shares = shares._replace(forcing=column(h) * l)
        if wrt.linear and not further.none(x.linear):
            each = further.each(x.linear, w, psi, grid=domain.grid)
            products = [h * inner(l, domain.trim(term)) for term in each]
            shares = shares._replace(linear=jnp.stack(products, axis=-1)[:, None])
        if wrt.medium and not of_medium.none(x.medium):
            share = of_medium.cotangent(x.medium, psi, l, moved, grid=domain.grid)
            shares = shares._replace(medium=column(h)[..., None] * share)
        if wrt.screening:
            shares = shares._replace(screening=-h * inner(domain.solve(to_psi), psi))
        return to_state, shares

    def step(l, inputs):
        kept, force = inputs
        force, start = force_of(force), jnp.zeros_like(l)
        total: Any = None
        for stage in reversed(range(STAGES)):
            # w_0 enters a step as the first stage's input and, by the coefficients a, in later stages
            if coefficients[stage][0]:
                start = start + coefficients[stage][0] * l
            l, shares = pull_back(stage, l, kept, force)
            total = shares if total is None else jax.tree.map(jnp.add, total, shares)
        return l + start, total

    result, shares = jax.lax.scan(step, cotangent, (stages, every), length=steps, reverse=True)
    totals = {name: jnp.sum(share, axis=0) for name, share in shares._asdict().items() if share is not None}
    if wrt.forcing:
        by_step = shares.forcing
        totals["forcing"] = by_step if x.forcing.shape[0] == steps else jnp.sum(by_step, axis=0, keepdims=True)
    totals["omega"] = result
    shapes = per_member(x)._asdict()  # of a term that is not there, a cotangent is zero
    return [
        totals[name] if name in totals else jnp.zeros(shapes[name], x.omega.dtype)
        for name, wanted in wrt._asdict().items()
        if wanted
    ]
