"""Advection as primitives: the two bilinear forms of `reference`, closed under differentiation and transposition.

    <l, B(a, b)> = <a, G(b, l)> = <b, G(a, l)>,    <m, G(b, l)> = <l, B(b, m)> = <b, G(m, l)>

They hold for any filter, since C and D are diagonal and products are taken point by point. Sums run over fields or
states alike (`modes`).
"""

from jax.interpreters import ad

from .._primitives.define import bind, define, register
from .._primitives.folding import batch_by_folding, sum_to
from . import calls, reference
from .modes import Modes
from .obstacle import warp_obstacle


def _define(name, function, warp, count):
    def xla(*states, grid, dealiasing, backend):
        return [function(Modes(grid, dealiasing), *states)]

    def abstract(*states, **_):
        batch = max(states, key=lambda state: state.shape[0] != 1)  # operands that all members share have length 1
        return [(batch.shape, batch.dtype)]

    p = define(name, abstract, xla, warp, warp_obstacle)
    alone = count == 1
    batch_by_folding(p, lambda **_: [0] * count, lambda **_: [0], lambda **_: [alone] * count)
    return p


advection_p = _define("spectral_advection", reference.advection, calls.advection, 1)
transport_p = _define("spectral_transport", reference.transport, calls.transport, 2)
pullback_p = _define("spectral_pullback", reference.pullback, calls.pullback, 2)


# B is symmetric: d B(a, a) = 2 B(a, da).
def _advection_jvp(primals, tangents, **params):
    (a,), (da,) = primals, tangents
    out = bind(advection_p, a, **params)
    if type(da) is ad.Zero:
        return out, [da]
    return out, [2 * bind(transport_p, a, da, **params)[0]]


def _bilinear_jvp(p):
    def rule(primals, tangents, **params):
        (a, b), (da, db) = primals, tangents
        terms = [bind(p, da, b, **params)[0]] if type(da) is not ad.Zero else []
        terms += [bind(p, a, db, **params)[0]] if type(db) is not ad.Zero else []
        return bind(p, a, b, **params), [sum(terms[1:], terms[0])]

    return rule


def _transport_transpose(cotangents, a, b, **params):
    (l,) = cotangents
    if ad.is_undefined_primal(a):
        return sum_to(bind(pullback_p, b, l, **params)[0], a.aval.shape), None
    return None, sum_to(bind(pullback_p, a, l, **params)[0], b.aval.shape)


def _pullback_transpose(cotangents, b, l, **params):
    (m,) = cotangents
    if ad.is_undefined_primal(b):
        return sum_to(bind(pullback_p, m, l, **params)[0], b.aval.shape), None
    return None, sum_to(bind(transport_p, b, m, **params)[0], l.aval.shape)


register(advection_p, jvp=_advection_jvp)
register(transport_p, jvp=_bilinear_jvp(transport_p), transpose=_transport_transpose)
register(pullback_p, jvp=_bilinear_jvp(pullback_p), transpose=_pullback_transpose)


def advection(a, *, grid, dealiasing, backend):
    """Return ``B(a, a) = -u . grad a`` of states ``(batch, columns, rows, 2)``."""
    return bind(advection_p, a, grid=grid, dealiasing=dealiasing, backend=backend)[0]


def transport(a, b, *, grid, dealiasing, backend):
    """Return ``B(a, b)``. All members may share an operand, whose batch axis then has length 1."""
    return bind(transport_p, a, b, grid=grid, dealiasing=dealiasing, backend=backend)[0]


def pullback(b, l, *, grid, dealiasing, backend):
    """Return ``G(b, l)``. All members may share an operand, whose batch axis then has length 1."""
    return bind(pullback_p, b, l, grid=grid, dealiasing=dealiasing, backend=backend)[0]
