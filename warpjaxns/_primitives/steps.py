"""Time steps and their derivatives as fused primitives, with the same rules for every discretisation.

Each primitive is the derivative or the transpose of another.

- `advance_p` takes a state through `steps` Runge-Kutta steps, `repeats` times. It is one foreign call that launches one
  CUDA graph `repeats` times. Its derivative is that of a scan over `repeats` calls.
- `advance_jvp_p` is the state and its derivative in the direction of tangents. In reverse mode, where the tangents are
  not known yet, it is split into `advance_p` and `tangent_p`.
- `tangent_p` is the derivative, linear in the tangents of state and parameters.
- `adjoint_p` is the transpose of `tangent_p`, linear in the cotangent.

`operands` describes their operands. With ``keep=True`` and one repetition, `advance_p` also returns the arrays of
`Numerics.kept`. They are a cache: `tangent_p` passes them on to `adjoint_p`, which then need not run the steps again.
All results are defined without them, so no derivative flows through them. `direct` is the number of repetitions at the
end for which reverse mode keeps them.

First derivatives use the fused primitives. `Numerics.algebra` gives the derivatives of `tangent_p` and `adjoint_p` in
which they are not linear; its operators are closed under differentiation.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Var
from jax.interpreters import ad, batching, partial_eval

from .define import bind, define, in_x64_of_operands, register
from .folding import batch_by_folding, sum_to
from .operands import BATCH_AXES, HAS_BATCH, Operands, complete, materialised, per_member, split

COUNT = len(Operands._fields)
FEW = 8  # repetitions that may be written out, one call each


@dataclasses.dataclass(frozen=True)
class Numerics:
    """Numerics that a discretisation gives to its time steps.

    Args:
        name: begins the names of the primitives.
        algebra: a module with `advance`, `advance_jvp`, `tangent` and `adjoint`, made of operators that are closed
            under differentiation. It is the ``"xla"`` backend.
        calls: a module with `advance`, `advance_jvp` and `adjoint` as one foreign call each. `tangent_fits` and
            `adjoint_fits` say whether the last two can, given the `Operands` of the state. None: steps are those of
            `algebra`, some of whose operators are foreign calls.
        kept: ``kept(omega, steps=..., **params)`` returns the shapes of the arrays that reverse mode keeps. Each has
            the members on its second axis. `omega` has a shape.
        kept_arrays: their number.
        obstacle: ``obstacle(grid, dtype, platform)`` says why the calls cannot run, or returns None.
        divided: a module like `algebra`, for grids that are divided over devices, or None.
    """

    name: str
    algebra: Any
    calls: Any
    kept: Callable[..., Sequence[tuple[int, ...]]]
    kept_arrays: int
    obstacle: Callable[..., str | None]
    divided: Any = None


class Steps:
    """The primitives of time steps of one `Numerics`."""

    def __init__(self, numerics: Numerics):
        self.numerics = numerics
        name, algebra, obstacle = numerics.name, numerics.algebra, numerics.obstacle

        def primitive(kind, abstract, xla, warp):
            return define(name + kind, abstract, xla, warp, obstacle, getattr(numerics.divided, kind, None))

        self.advance_p = primitive("advance", self._advance_abstract, algebra.advance, self._advance_warp)
        batch_by_folding(
            self.advance_p,
            axes=lambda **_: BATCH_AXES,
            out_axes=lambda keep, **_: [0, *self._of_kept(keep, 1)],
            full=lambda **_: HAS_BATCH,
        )
        register(self.advance_p, jvp=self._advance_jvp)

        self.advance_jvp_p = primitive(
            "advance_jvp", self._advance_jvp_abstract, self._advance_jvp_xla, self._advance_jvp_warp
        )
        self._fold_advance_jvp = batch_by_folding(
            self.advance_jvp_p,
            axes=lambda **_: [*BATCH_AXES, *BATCH_AXES],
            out_axes=lambda **_: [0, 0],
            full=lambda **_: [*HAS_BATCH, *HAS_BATCH],
        )
        register(self.advance_jvp_p, jvp=self._advance_jvp_jvp)
        batching.primitive_batchers[self.advance_jvp_p] = in_x64_of_operands(self._advance_jvp_batching)
        partial_eval.custom_partial_eval_rules[self.advance_jvp_p] = in_x64_of_operands(self._advance_jvp_partly_known)
        partial_eval.partial_eval_jaxpr_custom_rules[self.advance_jvp_p] = self._advance_jvp_in_a_checkpoint

        self.tangent_p = primitive("tangent", self._tangent_abstract, algebra.tangent, self._tangent_warp)
        self._fold_tangent = batch_by_folding(
            self.tangent_p,
            axes=lambda keep, **_: [*BATCH_AXES, *BATCH_AXES, *self._of_kept(keep, 1)],
            out_axes=lambda **_: [0],
            full=lambda keep, **_: [*HAS_BATCH, *HAS_BATCH, *self._of_kept(keep, True)],
        )
        register(self.tangent_p, jvp=self._tangent_jvp, transpose=self._tangent_transpose)

        self.adjoint_p = primitive("adjoint", self._adjoint_abstract, algebra.adjoint, self._adjoint_warp)
        batch_by_folding(
            self.adjoint_p,
            axes=lambda keep, **_: [*BATCH_AXES, BATCH_AXES.omega, *self._of_kept(keep, 1)],
            out_axes=lambda wrt, **_: [axis for axis, wanted in zip(BATCH_AXES, wrt, strict=True) if wanted],
            full=lambda keep, **_: [*HAS_BATCH, HAS_BATCH.omega, *self._of_kept(keep, True)],
        )
        register(self.adjoint_p, jvp=self._adjoint_jvp, transpose=self._adjoint_transpose)

    def advance(self, *operands, steps, direct, repeats=1, **params) -> jax.Array:
        """Return the state after `repeats` times `steps` steps. With more than one repetition, forcing must be steady.

        `direct`: repetitions at the end for which reverse mode keeps the stages, and does not run the steps again.
        """
        x = complete(Operands(*operands))
        return bind(self.advance_p, *x, keep=False, steps=steps, direct=direct, repeats=repeats, **params)[0]

    def _of_kept(self, keep, entry):
        return [entry] * (self.numerics.kept_arrays * keep)

    # -------------------------------------------------------------------------------------------- advance

    def _advance_abstract(self, omega, *_, keep, **params):
        kept = self.numerics.kept(omega, **params) if keep else []
        return [(omega.shape, omega.dtype), *((shape, omega.dtype) for shape in kept)]

    def _advance_warp(self, *operands, platform, **params):
        if self.numerics.calls is None:
            return self.numerics.algebra.advance(*operands, **params)
        return self.numerics.calls.advance(*operands, platform=platform, **params)

    # d(advance)(omega, p) = tangent(omega, p; domega, dp)
    def _advance_jvp(self, primals, tangents, *, keep, direct, repeats, **params):
        if repeats > 1:
            return self._repeated_jvp(primals, tangents, keep=keep, direct=direct, repeats=repeats, **params)
        x = Operands(*primals)
        dx = materialised(Operands(*tangents), x)
        if not keep:
            out, dout = bind(self.advance_jvp_p, *x, *dx, direct=direct, **params)
            return [out], [dout]
        out, *kept = bind(self.advance_p, *x, keep=True, direct=direct, repeats=1, **params)
        (dout,) = bind(self.tangent_p, *x, *dx, *kept, keep=True, **params)
        return [out, *kept], [dout, *map(_zero_of, kept)]

    def _repeated_jvp(self, primals, tangents, *, steps, repeats, direct, **params):
        """Differentiate a scan, whose reverse mode keeps one state a repetition, or the stages of `direct` repetitions.

        A scan would copy the stages. So a few repetitions that all keep them are not a scan, and if only the last ones
        do, they are one call of more steps. Operands without a tangent are not differentiated.
        """
        moving = [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]

        def scan(*moved):
            operands = list(primals)
            for i, x in zip(moving, moved, strict=True):
                operands[i] = x

            def call(omega, steps, direct):
                return bind(self.advance_p, omega, *operands[1:], steps=steps, direct=direct, repeats=1, **params)[0]

            if direct == repeats <= FEW:
                omega = operands[0]
                for _ in range(repeats):
                    omega = call(omega, steps, 1)
                return [omega]

            def body(omega, _):
                return call(omega, steps, int(direct == repeats)), None

            last = direct % repeats
            omega, _ = jax.lax.scan(body, operands[0], length=repeats - last)
            return [call(omega, last * steps, 1) if last else omega]

        return jax.jvp(scan, [primals[i] for i in moving], [tangents[i] for i in moving])

    # -------------------------------------------------------------------------------------------- advance_jvp

    def _advance_jvp_abstract(self, omega, *_, **__):
        return [(omega.shape, omega.dtype)] * 2

    def _advance_jvp_xla(self, *operands, direct, **params):
        return self.numerics.algebra.advance_jvp(*operands, **params)

    def _advance_jvp_warp(self, *operands, direct, platform, **params):
        calls = self.numerics.calls
        if calls is not None and calls.tangent_fits(Operands(*operands[:COUNT]), platform=platform, **params):
            return calls.advance_jvp(*operands, platform=platform, **params)
        return self.numerics.algebra.advance_jvp(*operands, **params)

    # Several tangents may share one state, as in `jax.jacfwd`. The next state is then computed once.
    def _advance_jvp_batching(self, operands, dims, *, direct, **params):
        x, _, _ = split(operands, Operands, Operands)
        if any(dim is not None for dim in split(dims, Operands)[0]):
            return self._fold_advance_jvp(operands, dims, direct=direct, **params)
        (out,) = bind(self.advance_p, *x, keep=False, direct=direct, repeats=1, **params)
        (dout,), (dim,) = self._fold_tangent(operands, dims, keep=False, **params)
        return [out, dout], [None, dim]

    # advance_jvp(x; dx) = advance(x), tangent(x; dx)
    def _advance_jvp_jvp(self, primals, tangents, *, direct, **params):
        x, _, _ = split(primals, Operands, Operands)
        to_x, _, _ = split(tangents, Operands, Operands)
        out, dout = bind(self.advance_jvp_p, *primals, direct=direct, **params)
        if all(type(t) is ad.Zero for t in to_x):
            to_out = _zero_of(out)
        else:
            (to_out,) = bind(self.tangent_p, *x, *materialised(to_x, x), keep=False, **params)
        return [out, dout], [to_out, *self._tangent_derivative(primals, tangents, keep=False, **params)]

    # Reverse mode knows x, but not yet dx. It computes advance(x) and, unless told not to, keeps what adjoint(x; .)
    # needs.
    def _advance_jvp_partly_known(self, trace, *tracers, direct, **params):
        known = [tracer.pval.get_known() for tracer in tracers]
        x, _, _ = split(known, Operands, Operands)
        if all(value is not None for value in known):
            return self.advance_jvp_p.bind(*known, direct=direct, **params)
        if any(value is None for value in x):
            return trace.default_process_primitive(self.advance_jvp_p, tracers, {"direct": direct, **params})
        out, *kept = self.advance_p.bind(*x, keep=bool(direct), direct=direct, repeats=1, **params)
        dout = trace.default_process_primitive(self.tangent_p, [*tracers, *kept], {"keep": bool(direct), **params})
        return [out, *dout]

    # In a `jax.checkpoint` the first pass computes advance(x). The second one does so again, and is split by the rule
    # above.
    def _advance_jvp_in_a_checkpoint(self, saveable, unknown, instantiated, equation):
        needed = [x for x, there in zip(equation.invars, instantiated, strict=True) if isinstance(x, Var) and not there]
        if any(unknown[:COUNT]):
            return None, equation, [True, True], [True, True], needed
        if not any(unknown):
            return equation, equation, [False, False], [True, True], needed
        params = {"keep": False, "repeats": 1, **equation.params}
        first = equation.replace(
            primitive=self.advance_p, invars=equation.invars[:COUNT], outvars=equation.outvars[:1], params=params
        )
        return first, equation, [False, True], [True, True], needed

    # -------------------------------------------------------------------------------------------- tangent

    def _tangent_abstract(self, omega, *_, **__):
        return [(omega.shape, omega.dtype)]

    def _tangent_warp(self, *operands, keep, **params):
        x, dx, _ = split(operands, Operands, Operands)
        return self._advance_jvp_warp(*x, *dx, direct=False, **params)[1:]

    # tangent(x; dx) is linear in dx, so its derivative with respect to dx is itself. With respect to x it is the second
    # derivative of advance, which the algebra provides.
    def _tangent_jvp(self, primals, tangents, **params):
        return bind(self.tangent_p, *primals, **params), self._tangent_derivative(primals, tangents, **params)

    def _tangent_derivative(self, primals, tangents, **params):
        x, dx, kept = split(primals, Operands, Operands)
        to_x, to_dx, _ = split(tangents, Operands, Operands)
        if all(type(t) is ad.Zero for t in to_x):
            return bind(self.tangent_p, *x, *materialised(to_dx, dx), *kept, **params)

        def final(*operands):
            return self.numerics.algebra.tangent(*operands, **params)

        return jax.jvp(final, (*x, *dx), tuple(map(ad.instantiate_zeros, (*to_x, *to_dx))))[1]

    # <c, tangent(x; dx)> = <adjoint(x; c), dx>. Only the cotangents asked for are computed. Those of parameters that
    # all members share are summed over the members.
    def _tangent_transpose(self, cotangents, *operands, steps, **params):
        x, dx, kept = split(operands, Operands, Operands)
        asked = Operands(*map(ad.is_undefined_primal, dx))
        wrt = asked._replace(omega=True)
        given = iter(bind(self.adjoint_p, *x, cotangents[0], *kept, steps=steps, wrt=wrt, **params))
        made = Operands(*(next(given) if wanted else None for wanted in wrt))
        results = [sum_to(c, d.aval.shape) if wanted else None for c, d, wanted in zip(made, dx, asked, strict=True)]
        return [None] * len(x) + results + [None] * len(kept)

    # -------------------------------------------------------------------------------------------- adjoint

    def _adjoint_abstract(self, *operands, wrt, **__):
        """Return the types of the cotangents that `wrt` asks for, one a member each."""
        x, _ = split(operands, Operands)
        shapes = per_member(x)
        return [(shape, x.omega.dtype) for shape, wanted in zip(shapes, wrt, strict=True) if wanted]

    def _adjoint_warp(self, *operands, platform, **params):
        calls = self.numerics.calls
        if calls is not None and calls.adjoint_fits(Operands(*operands[:COUNT]), platform=platform, **params):
            return calls.adjoint(*operands, platform=platform, **params)
        return self.numerics.algebra.adjoint(*operands, **params)

    # It is linear in the cotangent. The algebra provides the derivative with respect to all else.
    def _adjoint_jvp(self, primals, tangents, **params):
        out = bind(self.adjoint_p, *primals, **params)
        x, (cotangent, *kept) = split(primals, Operands)
        to_x, (to_cotangent, *_) = split(tangents, Operands)
        if all(type(t) is ad.Zero for t in to_x):
            return out, bind(self.adjoint_p, *x, ad.instantiate_zeros(to_cotangent), *kept, **params)

        def sweep(*operands):
            return self.numerics.algebra.adjoint(*operands, **{**params, "keep": False})

        return out, jax.jvp(sweep, (*x, cotangent), tuple(map(ad.instantiate_zeros, (*to_x, to_cotangent))))[1]

    # <adjoint(x; c), dx> = <c, tangent(x; dx)>, with zero for the parameters that `wrt` leaves out.
    def _adjoint_transpose(self, cotangents, *operands, steps, wrt, **params):
        x, (_, *kept) = split(operands, Operands)
        given = iter(cotangents)
        zero = ad.Zero(jax.typeof(x.omega))
        dx = Operands(*(next(given) if wanted else zero for wanted in wrt))
        (dout,) = bind(self.tangent_p, *x, *materialised(dx, x), *kept, steps=steps, **params)
        return [None] * len(x) + [dout] + [None] * len(kept)


def _zero_of(value):
    return ad.Zero(jax.typeof(value).to_tangent_aval())
