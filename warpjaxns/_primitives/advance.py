"""Time steps of the vorticity equation and their derivatives: fused primitives, each the derivative or transpose of
another.

- `advance_p` carries the state over `steps` steps of SSP-RK3, `repeats` times over: one foreign call, however long the
  rollout, that launches one CUDA graph again and again. Its derivative is that of a scan of as many calls.
- `along_p` is both together: the state and its derivative along tangents. Where the tangents are not known yet, in
  reverse mode, it falls apart into `advance_p` and
- `tangent_p`, the derivative, linear in the tangents of state and parameters.
- `adjoint_p` is the transpose of that, linear in the cotangent.

Operands, with one explicit batch axis (`_define`):

    omega (B, ny, nx); viscosity, drag, dt (B,) or (1,); forcing (steps or 1, B or 1, ny, nx) or, for none, (1, 1, 1, 1)

With ``keep=True``, where nothing is repeated, `advance_p` also returns the inputs of all stages and their
streamfunctions. They are a cache: `tangent_p` hands it on to `adjoint_p`, which then need not run the steps again.
Everything is defined without it, so no derivative flows through it. ``direct`` says of how many repetitions, the last
ones, it is asked for when, and only when, the steps are differentiated in reverse mode.

First derivatives run through the fused primitives. The derivatives of `tangent_p` and `adjoint_p` with respect to
what they are not linear in come from `algebra`, whose parts are closed under differentiation.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Var
from jax.interpreters import ad, batching, partial_eval

from . import algebra, warp
from ._define import batch_by_folding, bind, define, in_x64_of_operands, register, sum_to

_AXES = [0, 0, 0, 0, 1]  # the batch axis of each
_FULL = [True, False, False, False, False]
_CACHE_AXES, _CACHE_FULL = [1, 1], [True, True]


def _kept(omega, steps):
    return [((3 * steps, *omega.shape), omega.dtype)] * 2


def _materialise(tangent, primal):
    """A tangent as an array; the zero tangent of a parameter as a single number."""
    if type(tangent) is not ad.Zero:
        return tangent
    shape = primal.shape if primal.ndim == 3 else (1,) * primal.ndim
    return jnp.zeros(shape, primal.dtype)


def _materialised(tangents, primals):
    return [_materialise(t, x) for t, x in zip(tangents, primals, strict=True)]


# ------------------------------------------------------------------------------------------------ advance


def _advance_abstract(omega, *_, steps, keep, **__):
    return [(omega.shape, omega.dtype), *(_kept(omega, steps) if keep else ())]


advance_p = define("advance", _advance_abstract, algebra.advance, warp.advance)
batch_by_folding(
    advance_p,
    axes=lambda **_: _AXES,
    out_axes=lambda keep, **_: [0, *(_CACHE_AXES if keep else ())],
    full=lambda **_: _FULL,
)


# d(advance)(omega, p) = tangent(omega, p; domega, dp)
def _advance_jvp(primals, tangents, *, keep, direct, repeats, **params):
    if repeats > 1:
        return _repeated_jvp(primals, tangents, keep=keep, direct=direct, repeats=repeats, **params)
    along = _materialised(tangents, primals)
    if not keep:
        out, dout = bind(along_p, *primals, *along, direct=direct, **params)
        return [out], [dout]
    results = bind(advance_p, *primals, keep=True, direct=direct, repeats=1, **params)
    (dout,) = bind(tangent_p, *primals, *along, *results[1:], keep=True, **params)
    return results, [dout, *(ad.Zero(jax.typeof(field).to_tangent_aval()) for field in results[1:])]


def _repeated_jvp(primals, tangents, *, steps, repeats, direct, **params):
    """Through a scan, whose reverse mode keeps one state a repetition, or all stages if `direct` says so. Of the last
    ones alone, the stages lie where one call of as many steps puts them: a scan would copy them. Only what has a
    tangent goes in, so that nothing is spent on the rest."""
    moving = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

    def scan(*moved):
        operands = list(primals)
        for i, x in zip(moving, moved, strict=True):
            operands[i] = x

        def call(omega, steps, direct):
            return bind(advance_p, omega, *operands[1:], steps=steps, direct=direct, repeats=1, **params)[0]

        def body(omega, _):
            return call(omega, steps, int(direct == repeats)), None

        last = direct % repeats
        omega, _ = jax.lax.scan(body, operands[0], length=repeats - last)
        return [call(omega, last * steps, 1) if last else omega]

    return jax.jvp(scan, [primals[i] for i in moving], [tangents[i] for i in moving])


register(advance_p, jvp=_advance_jvp)


# ------------------------------------------------------------------------------------------------ along


def _along_abstract(omega, *_, **__):
    return [(omega.shape, omega.dtype)] * 2


def _along_xla(*operands, direct, **params):
    return algebra.along(*operands, **params)


def _along_warp(*operands, grid, direct, platform, **params):
    if warp.tangent_fits(grid, operands[0], platform):
        return warp.along(*operands, grid=grid, platform=platform, **params)
    return algebra.along(*operands, grid=grid, **params)


along_p = define("along", _along_abstract, _along_xla, _along_warp)
_fold_along = batch_by_folding(
    along_p,
    axes=lambda **_: [*_AXES, *_AXES],
    out_axes=lambda **_: [0, 0],
    full=lambda **_: [*_FULL, *_FULL],
)


# With many tangents at one state, as in `jax.jacfwd`, there is one next state.
def _along_batching(operands, dims, *, direct, **params):
    if any(dim is not None for dim in dims[:5]):
        return _fold_along(operands, dims, direct=direct, **params)
    (out,) = bind(advance_p, *operands[:5], keep=False, direct=direct, repeats=1, **params)
    (dout,), (dim,) = _fold_tangent(operands, dims, keep=False, **params)
    return [out, dout], [None, dim]


# along(x; dx) = advance(x), tangent(x; dx)
def _along_jvp(primals, tangents, *, direct, **params):
    out, dout = bind(along_p, *primals, direct=direct, **params)
    if all(type(t) is ad.Zero for t in tangents[:5]):
        to_out = ad.Zero(jax.typeof(out).to_tangent_aval())
    else:
        along = _materialised(tangents[:5], primals[:5])
        (to_out,) = bind(tangent_p, *primals[:5], *along, keep=False, **params)
    return [out, dout], [to_out, *_tangent_along(primals, tangents, keep=False, **params)]


# Reverse mode knows x, but not yet dx: it computes advance(x) and, unless told not to, keeps what adjoint(x; .) needs.
def _along_when_partly_known(trace, *tracers, direct, **params):
    known = [tracer.pval.get_known() for tracer in tracers]
    if all(x is not None for x in known):
        return along_p.bind(*known, direct=direct, **params)
    if any(x is None for x in known[:5]):
        return trace.default_process_primitive(along_p, tracers, {"direct": direct, **params})
    out, *kept = advance_p.bind(*known[:5], keep=bool(direct), direct=direct, repeats=1, **params)
    dout = trace.default_process_primitive(tangent_p, [*tracers, *kept], {"keep": bool(direct), **params})
    return [out, *dout]


# `jax.checkpoint`: the first pass computes advance(x). The second does so again, and falls apart by the rule above.
def _along_in_a_checkpoint(saveable, unknown, instantiated, equation):
    needed = [x for x, there in zip(equation.invars, instantiated, strict=True) if isinstance(x, Var) and not there]
    if any(unknown[:5]):
        return None, equation, [True, True], [True, True], needed
    if not any(unknown):
        return equation, equation, [False, False], [True, True], needed
    params = {"keep": False, "repeats": 1, **equation.params}
    first = equation.replace(
        primitive=advance_p, invars=equation.invars[:5], outvars=equation.outvars[:1], params=params
    )
    return first, equation, [False, True], [True, True], needed


batching.primitive_batchers[along_p] = in_x64_of_operands(_along_batching)
register(along_p, jvp=_along_jvp)
partial_eval.custom_partial_eval_rules[along_p] = in_x64_of_operands(_along_when_partly_known)
partial_eval.partial_eval_jaxpr_custom_rules[along_p] = _along_in_a_checkpoint


# ------------------------------------------------------------------------------------------------ tangent


def _tangent_abstract(omega, *_, **__):
    return [(omega.shape, omega.dtype)]


def _tangent_warp(*operands, keep, **params):
    return _along_warp(*operands[:10], direct=False, **params)[1:]


tangent_p = define("tangent", _tangent_abstract, algebra.tangent, _tangent_warp)
_fold_tangent = batch_by_folding(
    tangent_p,
    axes=lambda keep, **_: [*_AXES, *_AXES, *(_CACHE_AXES if keep else ())],
    out_axes=lambda **_: [0],
    full=lambda keep, **_: [*_FULL, *_FULL, *(_CACHE_FULL if keep else ())],
)


# tangent(x; dx) is linear in dx, so along dx alone its derivative is itself. Along x it is the second derivative of
# advance, which the algebra provides.
def _tangent_jvp(primals, tangents, **params):
    return bind(tangent_p, *primals, **params), _tangent_along(primals, tangents, **params)


def _tangent_along(primals, tangents, **params):
    x, dx, kept = primals[:5], primals[5:10], primals[10:]
    if all(type(t) is ad.Zero for t in tangents[:5]):
        return bind(tangent_p, *x, *_materialised(tangents[5:10], dx), *kept, **params)

    def final(*operands):
        return algebra.tangent(*operands, **params)

    along = [ad.instantiate_zeros(t) for t in tangents[:10]]
    return jax.jvp(final, primals[:10], tuple(along))[1]


# <c, tangent(x; dx)> = <adjoint(x; c), dx>. Only the cotangents asked for are computed; those of parameters shared by
# all members are summed over them.
def _tangent_transpose(cotangents, *operands, steps, **params):
    x, dx, kept = operands[:5], operands[5:10], operands[10:]
    if type(cotangents[0]) is ad.Zero:
        return [None] * len(operands)
    wrt = tuple(ad.is_undefined_primal(d) for d in dx[1:])
    to_state, *rest = bind(adjoint_p, *x, cotangents[0], *kept, steps=steps, wrt=wrt, **params)
    results = [to_state if ad.is_undefined_primal(dx[0]) else None]
    rest = iter(rest)
    results += [sum_to(next(rest), d.aval.shape) if wanted else None for d, wanted in zip(dx[1:], wrt, strict=True)]
    return [None] * 5 + results + [None] * len(kept)


register(tangent_p, jvp=_tangent_jvp, transpose=_tangent_transpose)


# ------------------------------------------------------------------------------------------------ adjoint


def _adjoint_abstract(omega, viscosity, drag, dt, forcing, cotangent, *_, wrt, **__):
    """Cotangents of omega and, where `wrt` says so, of viscosity, drag, dt and forcing, each per member."""
    batch = omega.shape[0]
    shapes = [(batch,)] * 3 + [(forcing.shape[0], *omega.shape)]
    wanted = [shape for shape, wanted in zip(shapes, wrt, strict=True) if wanted]
    return [(shape, omega.dtype) for shape in [omega.shape, *wanted]]


adjoint_p = define("adjoint", _adjoint_abstract, algebra.adjoint, warp.adjoint)
batch_by_folding(
    adjoint_p,
    axes=lambda keep, **_: [*_AXES, 0, *(_CACHE_AXES if keep else ())],
    out_axes=lambda wrt, **_: [0, *(axis for axis, wanted in zip(_AXES[1:], wrt, strict=True) if wanted)],
    full=lambda keep, **_: [*_FULL, True, *(_CACHE_FULL if keep else ())],
)


# Linear in the cotangent, as tangent_p is in its tangents; along the rest, the algebra.
def _adjoint_jvp(primals, tangents, **params):
    out = bind(adjoint_p, *primals, **params)
    x, cotangent, kept = primals[:5], primals[5], primals[6:]
    if all(type(t) is ad.Zero for t in tangents[:5]):
        along = ad.instantiate_zeros(tangents[5])
        return out, bind(adjoint_p, *x, along, *kept, **params)

    def sweep(*operands):
        return algebra.adjoint(*operands, **{**params, "keep": False})

    along = [ad.instantiate_zeros(t) for t in tangents[:6]]
    return out, jax.jvp(sweep, (*x, cotangent), tuple(along))[1]


# <adjoint(x; c), dx> = <c, tangent(x; dx)>, with zero for the parameters that `wrt` leaves out.
def _adjoint_transpose(cotangents, *operands, steps, wrt, **params):
    x, kept = operands[:5], operands[6:]
    given = iter(cotangents)
    along = [_materialise(next(given), x[0])]
    for p, wanted in zip(x[1:], wrt, strict=True):
        dp = next(given) if wanted else None
        zero = dp is None or type(dp) is ad.Zero
        along.append(jnp.zeros((1,) * p.ndim, p.dtype) if zero else dp)
    (dout,) = bind(tangent_p, *x, *along, *kept, steps=steps, **params)
    return [None] * 5 + [dout] + [None] * len(kept)


register(adjoint_p, jvp=_adjoint_jvp, transpose=_adjoint_transpose)


def advance(omega, viscosity, drag, dt, forcing, *, grid, scheme, steps, direct, backend, repeats=1):
    """The state after `repeats` times `steps` steps; more than once, forcing must be steady.

    `direct`: of how many repetitions, the last ones, reverse mode keeps the stages rather than run the steps again."""
    params = {"grid": grid, "scheme": scheme, "steps": steps, "backend": backend, "repeats": repeats}
    params |= {"keep": False, "direct": direct}
    return bind(advance_p, omega, viscosity, drag, dt, forcing, **params)[0]
