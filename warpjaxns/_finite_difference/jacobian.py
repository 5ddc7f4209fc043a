"""``J(a, b) = a_x b_y - a_y b_x``: a bilinear primitive, closed under transposition."""

from jax.interpreters import ad

from .._coefficients import FIRST, SECOND
from .._primitives.define import bind, define, register
from .._primitives.folding import batch_by_folding, sum_to
from . import calls, reference
from .divided import operators as divided


def _abstract(a, b, **_):
    return [((b if a.shape[0] == 1 else a).shape, a.dtype)]


def _xla(a, b, *, grid, scheme, backend):
    return [reference.jacobian(grid, a, b, scheme)]


jacobian_p = define("jacobian", _abstract, _xla, calls.jacobian, divided=divided.jacobian)
batch_by_folding(jacobian_p, lambda **_: [0, 0], lambda **_: [0], lambda **_: [False, False])


# Summation by parts on the periodic grid moves the stencil of J from one argument to another:
#     <c, J(a, b)> = <a, F(b, c)> = <b, G(c, a)>,
# where Arakawa's J has F = G = J, and the three stencils of which it is the mean are exchanged
# (`FIRST`, `SECOND`). The closed set of four needs no other derivative rule.
def _transpose(cotangents, a, b, *, scheme, **params):
    (c,) = cotangents
    if ad.is_undefined_primal(a):
        return sum_to(bind(jacobian_p, b, c, scheme=FIRST[scheme], **params)[0], a.aval.shape), None
    return None, sum_to(bind(jacobian_p, c, a, scheme=SECOND[scheme], **params)[0], b.aval.shape)


def _jvp(primals, tangents, **params):
    a, b = primals
    da, db = tangents
    out = bind(jacobian_p, a, b, **params)
    terms = []
    if type(da) is not ad.Zero:
        terms.append(bind(jacobian_p, da, b, **params)[0])
    if type(db) is not ad.Zero:
        terms.append(bind(jacobian_p, a, db, **params)[0])
    return out, [sum(terms[1:], terms[0])]


register(jacobian_p, jvp=_jvp, transpose=_transpose)


def jacobian(a, b, *, grid, scheme, backend):
    """Return J(a, b). `a` and `b` are ``(batch, ny, nx)``, or ``(1, ny, nx)`` if all members share them."""
    return bind(jacobian_p, a, b, grid=grid, scheme=scheme, backend=backend)[0]
