"""``psi = (F - Lap)^-1 omega``: primitives that are linear in omega and their own transpose, one of them for F = 0.

A state and its tangent are solved together, as one foreign call or one message (`pair_p`). Reverse mode, which does not
know the tangent yet, takes the pair apart.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Var
from jax.interpreters import ad, batching, partial_eval

from .._primitives.define import bind, define, in_x64_of_operands, register
from .._primitives.folding import batch_by_folding, define_self_adjoint
from . import calls, reference
from .divided import operators as divided


def _xla(omega, *, grid, backend):
    return [reference.poisson(grid, omega)]


# S is symmetric: its eigenvectors are the Fourier modes, its eigenvalues are real and even in the wavenumber.
poisson_p = define_self_adjoint("poisson", _xla, calls.poisson, divided.poisson)


def _of_pair(solve):
    def both(*fields, **params):
        return jnp.split(solve(jnp.concatenate(fields), **params)[0], 2)

    return both


pair_p = define(
    "poisson_pair",
    lambda *fields, **_: [(field.shape, field.dtype) for field in fields],
    *map(_of_pair, (_xla, calls.poisson)),
    divided=_of_pair(divided.poisson),
)
_fold_pair = batch_by_folding(pair_p, lambda **_: [0, 0], lambda **_: [0, 0], lambda **_: [True, True])


def _poisson_jvp(primals, tangents, **params):
    (omega,), (domega,) = primals, tangents
    if type(domega) is ad.Zero:
        return bind(poisson_p, omega, **params), [domega]
    psi, dpsi = bind(pair_p, omega, domega, **params)
    return [psi], [dpsi]


def _of_some(fields, **params):
    """Solve for those fields that are not symbolic zeros."""
    if any(type(field) is ad.Zero for field in fields):
        return [f if type(f) is ad.Zero else bind(poisson_p, f, **params)[0] for f in fields]
    return bind(pair_p, *fields, **params)


def _pair_transpose(cotangents, *fields, **params):
    made = _of_some(cotangents, **params)
    return [c if ad.is_undefined_primal(field) else None for c, field in zip(made, fields, strict=True)]


def _pair_batching(operands, dims, **params):
    if None not in dims:
        return _fold_pair(operands, dims, **params)

    def solve(field):
        return bind(poisson_p, field, **params)[0]

    # several tangents of one state
    made = [solve(x) if d is None else jax.vmap(solve, d)(x) for x, d in zip(operands, dims, strict=True)]
    return made, [None if d is None else 0 for d in dims]


def _pair_partly_known(trace, *tracers, **params):
    known = [tracer.pval.get_known() for tracer in tracers]
    if all(field is None for field in known):
        return trace.default_process_primitive(pair_p, tracers, params)
    if not any(field is None for field in known):
        return pair_p.bind(*known, **params)
    return [
        (
            trace.default_process_primitive(poisson_p, [tracer], params)
            if field is None
            else poisson_p.bind(field, **params)
        )[0]
        for tracer, field in zip(tracers, known, strict=True)
    ]


def _pair_in_a_checkpoint(saveable, unknown, instantiated, equation):
    """Solve for the known field in the first pass, and for both in the second one, as `Steps` does."""
    needed = [x for x, there in zip(equation.invars, instantiated, strict=True) if isinstance(x, Var) and not there]
    if any(unknown) and not all(unknown):
        known = unknown.index(False)
        first = equation.replace(
            primitive=poisson_p, invars=[equation.invars[known]], outvars=[equation.outvars[known]]
        )
    else:
        first = None if all(unknown) else equation
    return first, equation, list(unknown), [True, True], needed


ad.primitive_jvps[poisson_p] = in_x64_of_operands(_poisson_jvp)
register(
    pair_p,
    jvp=lambda fields, tangents, **params: (bind(pair_p, *fields, **params), _of_some(tangents, **params)),
    transpose=_pair_transpose,
)
batching.primitive_batchers[pair_p] = in_x64_of_operands(_pair_batching)
partial_eval.custom_partial_eval_rules[pair_p] = in_x64_of_operands(_pair_partly_known)
partial_eval.partial_eval_jaxpr_custom_rules[pair_p] = _pair_in_a_checkpoint


def _screened_xla(omega, screening, *, grid, backend):
    return [reference.poisson(grid, omega, screening)]


screened_poisson_p = define(
    "screened_poisson", lambda omega, _, **__: [(omega.shape, omega.dtype)], _screened_xla, calls.screened_poisson
)
batch_by_folding(screened_poisson_p, lambda **_: [0, 0], lambda **_: [0], lambda **_: [True, False])


# F psi - Lap psi = omega gives F dpsi - Lap dpsi = domega - dF psi. The mean of psi is zero, so that of dpsi is.
def _jvp(primals, tangents, **params):
    (_, screening), (domega, dscreening) = primals, tangents
    out = bind(screened_poisson_p, *primals, **params)
    if type(dscreening) is not ad.Zero:
        of_screening = -dscreening[:, None, None] * out[0]
        domega = of_screening if type(domega) is ad.Zero else domega + of_screening
    return out, bind(screened_poisson_p, ad.instantiate_zeros(domega), screening, **params)


def _transpose(cotangents, omega, screening, **params):
    return bind(screened_poisson_p, cotangents[0], screening, **params)[0], None


register(screened_poisson_p, jvp=_jvp, transpose=_transpose)


def poisson(omega, screening=None, *, grid, backend):
    """Return psi. `omega` is ``(batch, ny, nx)``, and `screening` F, ``(batch,)`` or ``(1,)``; None: zero."""
    if screening is None:
        return bind(poisson_p, omega, grid=grid, backend=backend)[0]
    return bind(screened_poisson_p, omega, screening, grid=grid, backend=backend)[0]
