"""The primitives' Warp side: constants and shapes around the launch sequences of `_kernels`.

Functions here take and return traced JAX arrays, laid out as the primitives say; each is one foreign call. Scratch
memory is an extra result of the call, so that XLA owns, reuses and accounts for it.
"""

import functools

import jax.numpy as jnp
import numpy as np
import warp as wp

from .. import _ffi
from .._grid import Grid
from .._kernels import adjoint as adjoint_kernels
from .._kernels import advance as advance_kernels
from .._kernels import operators
from .._kernels import poisson as poisson_kernels
from .._kernels import tangent as tangent_kernels
from .._kernels.fft import complex_type, roots_of_unity
from .._kernels.plan import Plan, make_plan
from .._kernels.stencils import metric
from .._runtime import shared_memory
from .reference import eigenvalues


@functools.lru_cache(maxsize=64)
def _tables(grid: Grid, dtype: str) -> tuple[np.ndarray, ...]:
    """Eigenvalues along y and x, roots of unity along y and x."""
    return (
        *(values.astype(dtype) for values in eigenvalues(grid)),
        *(roots_of_unity(n, dtype) for n in grid.shape),
    )


def _call_with_tables(launch, plan: Plan, grid: Grid, operands, key, outputs):
    """Call `launch(tables, *operands, *outputs)`."""
    real, number = plan.real, complex_type(plan.real)
    tables = [jnp.asarray(table) for table in _tables(grid, plan.dtype)]
    return _ffi.call(
        lambda *arrays: launch(arrays[:4], *arrays[4:]),
        *tables,
        *operands,
        key=(*key, grid),
        inputs=[real, real, number, number] + [real] * len(operands),
        outputs=outputs,
    )


def _layout(grid: Grid, omega):
    """The plan of a call and the Warp type and shape of a field and of a half spectrum."""
    batch, ny, _ = omega.shape
    plan = make_plan(grid.shape, np.dtype(omega.dtype).name, batch)
    return plan, (plan.real, omega.shape), (complex_type(plan.real), (batch, ny, plan.half))


def poisson(omega, *, grid, backend):
    plan, field, spectrum = _layout(grid, omega)

    def launch(tables, omega, psi, spectrum):
        poisson_kernels.poisson(plan, tables, omega, psi, spectrum)

    return _call_with_tables(launch, plan, grid, [omega], ["poisson"], [field, spectrum])[:1]


def laplacian(a, *, grid, backend):
    plan, field, _ = _layout(grid, a)

    def launch(a, out):
        operators.laplacian(plan, metric(grid.spacing), a, out)

    return _ffi.call(launch, a, key=("laplacian", grid), outputs=[field])


def jacobian(a, b, *, grid, scheme, backend):
    plan, field, _ = _layout(grid, b if a.shape[0] == 1 else a)

    def launch(a, b, out):
        operators.jacobian(plan, scheme, metric(grid.spacing), a, b, out)

    return _ffi.call(launch, a, b, key=("jacobian", grid, scheme), outputs=[field])


def _advance_with_copies(plan, grid, scheme, steps, tables, operands, out, states, psis, spectra):
    """Launch an advance that keeps the input of every stage, and its streamfunction."""
    omega, nu, mu, dt, forcing = operands
    wp.copy(states[0], omega)
    targets = [*(states[s] for s in range(1, 3 * steps)), out]
    advance_kernels.advance(
        plan, scheme, metric(grid.spacing), steps, tables, (nu, mu, dt), forcing, omega, targets, psis, spectra
    )


def advance(*operands, grid, scheme, steps, keep, direct, backend):
    plan, field, spectrum = _layout(grid, operands[0])
    real, shape = field
    kept = [(real, (3 * steps, *shape))] * 2 if keep else [(real, (2, *shape)), (real, (1, 1, 1, 1))]

    def launch(tables, omega, nu, mu, dt, forcing, out, states, psis, *spectra):
        if keep:
            operands = omega, nu, mu, dt, forcing
            _advance_with_copies(plan, grid, scheme, steps, tables, operands, out, states, psis, spectra)
        else:
            targets, psis = [states[0], states[1], out] * steps, [psis[0]] * (3 * steps)
            advance_kernels.advance(
                plan, scheme, metric(grid.spacing), steps, tables, (nu, mu, dt), forcing, omega, targets, psis,
                spectra,
            )  # fmt: skip

    key = ["advance", scheme, steps, keep]
    results = _call_with_tables(launch, plan, grid, operands, key, [field, *kept, spectrum, spectrum])
    return results[:3] if keep else results[:1]


def tangent_fits(grid: Grid, omega) -> bool:
    """Whether the fused tangent's lines, longer than those of the other kernels, fit the devices here."""
    plan, limit = _layout(grid, omega)[0], shared_memory()
    return limit is None or plan.tangent_lines.nbytes <= limit


def tangent(*operands, grid, scheme, steps, keep, backend):
    plan, field, _ = _layout(grid, operands[0])
    real, shape = field
    spectrum = complex_type(real), shape

    def launch(tables, omega, nu, mu, dt, forcing, domega, dnu, dmu, ddt, dforcing, out, scratch, *spectra):
        states, dstates = [scratch[0], scratch[1], scratch[2]], [scratch[3], scratch[4], out]
        tangent_kernels.tangent(
            plan, scheme, metric(grid.spacing), steps, tables, (nu, mu, dt), forcing, (dnu, dmu, ddt), dforcing,
            omega, domega, states, dstates, spectra,
        )  # fmt: skip

    outputs = [field, (real, (5, *shape)), spectrum, spectrum]
    key = ["tangent", scheme, steps]
    return _call_with_tables(launch, plan, grid, operands[:10], key, outputs)[:1]


def adjoint(*operands, grid, scheme, steps, keep, wrt, backend):
    plan, field, spectrum = _layout(grid, operands[0])
    real, shape = field
    kept = (real, (3 * steps, *shape))
    by_parameter, by_forcing = any(wrt[:3]), wrt[3]
    members = shape[0]
    nothing = real, (1, 1, 1, 1)
    sums = (real, (3, members, shape[1])) if by_parameter else (real, (1, 1, 1))
    forcing_sums = (real, (operands[4].shape[0], *shape)) if by_forcing else nothing

    def launch(tables, omega, nu, mu, dt, forcing, cotangent, *arrays):
        states, psis, result, sums, forcing_sums, scratch, spectrum, *rest = (
            arrays if keep else (arrays[-3], arrays[-2], *arrays[:5], *arrays[5:])
        )
        if not keep:
            operands = omega, nu, mu, dt, forcing
            spectra = spectrum, rest[-1]
            _advance_with_copies(plan, grid, scheme, steps, tables, operands, result, states, psis, spectra)
        adjoint_kernels.adjoint(
            plan, scheme, metric(grid.spacing), steps, tables, (nu, mu, dt), forcing, states, psis, cotangent,
            result, (scratch[0], scratch[1], scratch[2]), spectrum, sums if by_parameter else None,
            forcing_sums if by_forcing else None,
        )  # fmt: skip

    outputs = [field, sums, forcing_sums, (real, (3, *shape)), spectrum]
    if not keep:
        outputs += [kept, kept, spectrum]
    key = ["adjoint", scheme, steps, keep, wrt]
    result, sums, forcing_sums, *_ = _call_with_tables(launch, plan, grid, operands, key, outputs)
    totals = [*(jnp.sum(sums, axis=-1) if by_parameter else (None,) * 3), forcing_sums]
    return [result, *(total for total, wanted in zip(totals, wrt, strict=True) if wanted)]
