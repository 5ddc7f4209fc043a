"""Time steps of the vorticity equation and their derivatives, as fused primitives.

Each is the derivative or the transpose of another.

- `advance_p` takes a state through `steps` Runge-Kutta steps, `repeats` times. It is one foreign call that launches one
  CUDA graph `repeats` times. Its derivative is that of a scan over `repeats` calls.
- `advance_jvp_p` is the state and its derivative in the direction of tangents. In reverse mode, where the tangents are
  not known yet, it is split into `advance_p` and `tangent_p`.
- `tangent_p` is the derivative, linear in the tangents of state and parameters.
- `adjoint_p` is the transpose of `tangent_p`, linear in the cotangent.

`operands` describes their operands. With ``keep=True`` and one repetition, `advance_p` also returns `Kept`. It is a
cache: `tangent_p` passes it on to `adjoint_p`, which then need not run the steps again. All results are defined without
it, so no derivative flows through it. `direct` is the number of repetitions at the end for which reverse mode keeps it.

First derivatives use the fused primitives. `algebra` gives the derivatives of `tangent_p` and `adjoint_p` in which they
are not linear; its operators are closed under differentiation.
"""

import jax
from jax.extend.core import Var
from jax.interpreters import ad, batching, partial_eval

from .._coefficients import STAGES
from .._primitives.define import batch_by_folding, bind, define, in_x64_of_operands, register, sum_to
from . import algebra, calls
from .operands import BATCH_AXES, HAS_BATCH, Kept, Operands, materialised, per_member, split

COUNT = len(Operands._fields)


def _of(constants, *kinds):
    """Return the entries of `constants` for operands of these kinds, one after the other."""
    return [entry for kind in kinds for entry in constants[kind]]


def _kinds(*kinds: type, keep: bool) -> tuple[type, ...]:
    return (*kinds, Kept) if keep else kinds


def _zero_of(value):
    return ad.Zero(jax.typeof(value).to_tangent_aval())


# ------------------------------------------------------------------------------------------------ advance


def _advance_abstract(omega, *_, steps, keep, **__):
    kept = ((STAGES * steps, *omega.shape), omega.dtype)
    return [(omega.shape, omega.dtype), *(Kept(kept, kept) if keep else ())]


advance_p = define("advance", _advance_abstract, algebra.advance, calls.advance)
batch_by_folding(
    advance_p,
    axes=lambda **_: _of(BATCH_AXES, Operands),
    out_axes=lambda keep, **_: [0, *_of(BATCH_AXES, *_kinds(keep=keep))],
    full=lambda **_: _of(HAS_BATCH, Operands),
)


# d(advance)(omega, p) = tangent(omega, p; domega, dp)
def _advance_jvp(primals, tangents, *, keep, direct, repeats, **params):
    if repeats > 1:
        return _repeated_jvp(primals, tangents, keep=keep, direct=direct, repeats=repeats, **params)
    x = Operands(*primals)
    dx = materialised(Operands(*tangents), x)
    if not keep:
        out, dout = bind(advance_jvp_p, *x, *dx, direct=direct, **params)
        return [out], [dout]
    out, *kept = bind(advance_p, *x, keep=True, direct=direct, repeats=1, **params)
    (dout,) = bind(tangent_p, *x, *dx, *kept, keep=True, **params)
    return [out, *kept], [dout, *map(_zero_of, kept)]


def _repeated_jvp(primals, tangents, *, steps, repeats, direct, **params):
    """Differentiate a scan, whose reverse mode keeps one state a repetition, or the stages of `direct` repetitions.

    If only the last repetitions keep their stages, they are one call of more steps: a scan would copy the stages.
    Operands without a tangent are not differentiated.
    """
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


# ------------------------------------------------------------------------------------------------ advance_jvp


def _advance_jvp_abstract(omega, *_, **__):
    return [(omega.shape, omega.dtype)] * 2


def _advance_jvp_xla(*operands, direct, **params):
    return algebra.advance_jvp(*operands, **params)


def _advance_jvp_warp(*operands, grid, direct, platform, **params):
    if calls.tangent_fits(grid, operands[0], platform):
        return calls.advance_jvp(*operands, grid=grid, platform=platform, **params)
    return algebra.advance_jvp(*operands, grid=grid, **params)


advance_jvp_p = define("advance_jvp", _advance_jvp_abstract, _advance_jvp_xla, _advance_jvp_warp)
_fold_advance_jvp = batch_by_folding(
    advance_jvp_p,
    axes=lambda **_: _of(BATCH_AXES, Operands, Operands),
    out_axes=lambda **_: [0, 0],
    full=lambda **_: _of(HAS_BATCH, Operands, Operands),
)


# Several tangents may share one state, as in `jax.jacfwd`. The next state is then computed once.
def _advance_jvp_batching(operands, dims, *, direct, **params):
    x, _, _ = split(operands, Operands, Operands)
    if any(dim is not None for dim in split(dims, Operands)[0]):
        return _fold_advance_jvp(operands, dims, direct=direct, **params)
    (out,) = bind(advance_p, *x, keep=False, direct=direct, repeats=1, **params)
    (dout,), (dim,) = _fold_tangent(operands, dims, keep=False, **params)
    return [out, dout], [None, dim]


# advance_jvp(x; dx) = advance(x), tangent(x; dx)
def _advance_jvp_jvp(primals, tangents, *, direct, **params):
    x, _, _ = split(primals, Operands, Operands)
    to_x, _, _ = split(tangents, Operands, Operands)
    out, dout = bind(advance_jvp_p, *primals, direct=direct, **params)
    if all(type(t) is ad.Zero for t in to_x):
        to_out = _zero_of(out)
    else:
        (to_out,) = bind(tangent_p, *x, *materialised(to_x, x), keep=False, **params)
    return [out, dout], [to_out, *_tangent_derivative(primals, tangents, keep=False, **params)]


# Reverse mode knows x, but not yet dx: it computes advance(x) and, unless told not to, keeps what adjoint(x; .) needs.
def _advance_jvp_when_partly_known(trace, *tracers, direct, **params):
    known = [tracer.pval.get_known() for tracer in tracers]
    x, _, _ = split(known, Operands, Operands)
    if all(value is not None for value in known):
        return advance_jvp_p.bind(*known, direct=direct, **params)
    if any(value is None for value in x):
        return trace.default_process_primitive(advance_jvp_p, tracers, {"direct": direct, **params})
    out, *kept = advance_p.bind(*x, keep=bool(direct), direct=direct, repeats=1, **params)
    dout = trace.default_process_primitive(tangent_p, [*tracers, *kept], {"keep": bool(direct), **params})
    return [out, *dout]


# In a `jax.checkpoint` the first pass computes advance(x). The second one does so again, and is split by the rule
# above.
def _advance_jvp_in_a_checkpoint(saveable, unknown, instantiated, equation):
    needed = [x for x, there in zip(equation.invars, instantiated, strict=True) if isinstance(x, Var) and not there]
    if any(unknown[:COUNT]):
        return None, equation, [True, True], [True, True], needed
    if not any(unknown):
        return equation, equation, [False, False], [True, True], needed
    params = {"keep": False, "repeats": 1, **equation.params}
    first = equation.replace(
        primitive=advance_p, invars=equation.invars[:COUNT], outvars=equation.outvars[:1], params=params
    )
    return first, equation, [False, True], [True, True], needed


register(advance_jvp_p, jvp=_advance_jvp_jvp)
batching.primitive_batchers[advance_jvp_p] = in_x64_of_operands(_advance_jvp_batching)
partial_eval.custom_partial_eval_rules[advance_jvp_p] = in_x64_of_operands(_advance_jvp_when_partly_known)
partial_eval.partial_eval_jaxpr_custom_rules[advance_jvp_p] = _advance_jvp_in_a_checkpoint


# ------------------------------------------------------------------------------------------------ tangent


def _tangent_abstract(omega, *_, **__):
    return [(omega.shape, omega.dtype)]


def _tangent_warp(*operands, keep, **params):
    x, dx, _ = split(operands, Operands, Operands)
    return _advance_jvp_warp(*x, *dx, direct=False, **params)[1:]


tangent_p = define("tangent", _tangent_abstract, algebra.tangent, _tangent_warp)
_fold_tangent = batch_by_folding(
    tangent_p,
    axes=lambda keep, **_: _of(BATCH_AXES, *_kinds(Operands, Operands, keep=keep)),
    out_axes=lambda **_: [0],
    full=lambda keep, **_: _of(HAS_BATCH, *_kinds(Operands, Operands, keep=keep)),
)


# tangent(x; dx) is linear in dx, so its derivative with respect to dx is itself. With respect to x it is the second
# derivative of advance, which the algebra provides.
def _tangent_jvp(primals, tangents, **params):
    return bind(tangent_p, *primals, **params), _tangent_derivative(primals, tangents, **params)


def _tangent_derivative(primals, tangents, **params):
    x, dx, kept = split(primals, Operands, Operands)
    to_x, to_dx, _ = split(tangents, Operands, Operands)
    if all(type(t) is ad.Zero for t in to_x):
        return bind(tangent_p, *x, *materialised(to_dx, dx), *kept, **params)

    def final(*operands):
        return algebra.tangent(*operands, **params)

    return jax.jvp(final, (*x, *dx), tuple(map(ad.instantiate_zeros, (*to_x, *to_dx))))[1]


# <c, tangent(x; dx)> = <adjoint(x; c), dx>. Only the cotangents asked for are computed. Those of parameters that all
# members share are summed over the members.
def _tangent_transpose(cotangents, *operands, steps, **params):
    x, dx, kept = split(operands, Operands, Operands)
    if type(cotangents[0]) is ad.Zero:
        return [None] * len(operands)
    asked = Operands(*map(ad.is_undefined_primal, dx))
    wrt = asked._replace(omega=True)
    given = iter(bind(adjoint_p, *x, cotangents[0], *kept, steps=steps, wrt=wrt, **params))
    made = Operands(*(next(given) if wanted else None for wanted in wrt))
    results = [sum_to(c, d.aval.shape) if wanted else None for c, d, wanted in zip(made, dx, asked, strict=True)]
    return [None] * len(x) + results + [None] * len(kept)


register(tangent_p, jvp=_tangent_jvp, transpose=_tangent_transpose)


# ------------------------------------------------------------------------------------------------ adjoint


def _adjoint_abstract(*operands, wrt, **__):
    """Return the types of the cotangents that `wrt` asks for, one a member each."""
    x, _ = split(operands, Operands)
    return [(shape, x.omega.dtype) for shape, wanted in zip(per_member(x.omega, x.forcing), wrt, strict=True) if wanted]


def _adjoint_axes(constants, keep):
    return [*constants[Operands], constants[Operands].omega, *_of(constants, *_kinds(keep=keep))]


adjoint_p = define("adjoint", _adjoint_abstract, algebra.adjoint, calls.adjoint)
batch_by_folding(
    adjoint_p,
    axes=lambda keep, **_: _adjoint_axes(BATCH_AXES, keep),
    out_axes=lambda wrt, **_: [axis for axis, wanted in zip(BATCH_AXES[Operands], wrt, strict=True) if wanted],
    full=lambda keep, **_: _adjoint_axes(HAS_BATCH, keep),
)


# It is linear in the cotangent. The algebra provides the derivative with respect to all else.
def _adjoint_jvp(primals, tangents, **params):
    out = bind(adjoint_p, *primals, **params)
    x, (cotangent, *kept) = split(primals, Operands)
    to_x, (to_cotangent, *_) = split(tangents, Operands)
    if all(type(t) is ad.Zero for t in to_x):
        return out, bind(adjoint_p, *x, ad.instantiate_zeros(to_cotangent), *kept, **params)

    def sweep(*operands):
        return algebra.adjoint(*operands, **{**params, "keep": False})

    return out, jax.jvp(sweep, (*x, cotangent), tuple(map(ad.instantiate_zeros, (*to_x, to_cotangent))))[1]


# <adjoint(x; c), dx> = <c, tangent(x; dx)>, with zero for the parameters that `wrt` leaves out.
def _adjoint_transpose(cotangents, *operands, steps, wrt, **params):
    x, (_, *kept) = split(operands, Operands)
    given = iter(cotangents)
    zero = ad.Zero(jax.typeof(x.omega))
    dx = Operands(*(next(given) if wanted else zero for wanted in wrt))
    (dout,) = bind(tangent_p, *x, *materialised(dx, x), *kept, steps=steps, **params)
    return [None] * len(x) + [dout] + [None] * len(kept)


register(adjoint_p, jvp=_adjoint_jvp, transpose=_adjoint_transpose)


def advance(omega, viscosity, drag, dt, forcing, *, grid, scheme, steps, direct, backend, repeats=1) -> jax.Array:
    """Return the state after `repeats` times `steps` steps. With more than one repetition, forcing must be steady.

    `direct`: repetitions at the end for which reverse mode keeps the stages, and does not run the steps again.
    """
    x = Operands(omega, viscosity, drag, dt, forcing)
    params = {"grid": grid, "scheme": scheme, "steps": steps, "backend": backend, "repeats": repeats}
    return bind(advance_p, *x, keep=False, direct=direct, **params)[0]
