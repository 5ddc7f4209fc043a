"""The primitives' Warp side: constants and shapes around the launch sequences of `_kernels`.

Functions here take and return traced JAX arrays, laid out as the primitives say; each is one foreign call. Scratch
memory is an extra result of the call, so that XLA owns, reuses and accounts for it.
"""

import functools

import jax.numpy as jnp
import numpy as np

from .. import _ffi
from .._grid import Grid
from .._kernels import adjoint as adjoint_kernels
from .._kernels import advance as advance_kernels
from .._kernels import members, members_adjoint, members_tangent, operators
from .._kernels import poisson as poisson_kernels
from .._kernels import tangent as tangent_kernels
from .._kernels.chains import Chains, make_chains
from .._kernels.fft import complex_type, roots_of_unity
from .._kernels.memory import NONE
from .._kernels.plan import CPU_MEMORY, Plan, make_plan
from .._kernels.recursions import modes
from .._kernels.stencils import metric
from .._support import shared_memory
from .reference import eigenvalues


@functools.lru_cache(maxsize=64)
def _tables(grid: Grid, dtype: str) -> tuple[np.ndarray, ...]:
    """Modes of the columns, roots of unity along x."""
    (ny, nx), (_, along_x) = grid.shape, eigenvalues(grid)
    return modes(ny, grid.spacing, nx, along_x[: nx // 2 + 1]).astype(dtype), roots_of_unity(nx, dtype)


def _call_with_tables(launch, plan: Plan, grid: Grid, operands, key, outputs, repeats=1):
    """Call `launch(tables, *operands, *outputs)`; repeated, the first output takes the place of the first operand."""
    real, number = plan.real, complex_type(plan.real)
    mode = plan.column_chunks.Mode
    tables = [jnp.asarray(table) for table in _tables(grid, plan.dtype)]
    return _ffi.call(
        lambda *arrays: launch(arrays[:2], *arrays[2:]),
        *tables,
        *operands,
        key=(*key, grid),
        inputs=[mode, number] + [real] * len(operands),
        outputs=outputs,
        graph=True,
        repeats=repeats,
        feed=(len(tables), len(tables) + len(operands)),
    )


def _layout(grid: Grid, omega, platform: str):
    """The plan of a call, and the Warp type and shape of a field."""
    plan = make_plan(grid.shape, np.dtype(omega.dtype).name, omega.shape[0], shared_memory())
    plan = plan.on_cpu_too if platform == "cpu" else plan
    return plan, (plan.real, omega.shape)


def _scratch(plan: Plan, chains: Chains, **how):
    """Warp types and shapes of `Plan.scratch`, for all chains."""
    return [(complex_type(plan.real), shape) for shape in chains.scratch(plan.scratch(chains.members, **how))]


def poisson(omega, *, grid, backend, platform):
    plan, field = _layout(grid, omega, platform)
    scratch = _scratch(plan.for_poisson, Chains(omega.shape[0]))

    def launch(tables, omega, psi, *scratch):
        poisson_kernels.poisson(plan, tables, omega, psi, *scratch)

    return _call_with_tables(launch, plan, grid, [omega], ["poisson"], [field, *scratch])[:1]


def laplacian(a, *, grid, backend, platform):
    plan, field = _layout(grid, a, platform)

    def launch(a, out):
        operators.laplacian(plan, metric(grid.spacing), a, out)

    return _ffi.call(launch, a, key=("laplacian", grid), outputs=[field], graph=True)


def jacobian(a, b, *, grid, scheme, backend, platform):
    plan, field = _layout(grid, b if a.shape[0] == 1 else a, platform)

    def launch(a, b, out):
        operators.jacobian(plan, scheme, metric(grid.spacing), a, b, out)

    return _ffi.call(launch, a, b, key=("jacobian", grid, scheme), outputs=[field], graph=True)


def _advance(setting, tables, operands, targets, psis, scratch):
    """Launch steps, of a member a block where the plan says so."""
    plan, *_ = setting
    omega, *parameters, forcing = operands
    kernels = members if plan.whole else advance_kernels
    kernels.advance(*setting, tables, parameters, _whole(forcing), omega, targets, psis, scratch)


def _keep_stages(setting, tables, operands, out, states, psis, scratch):
    """Launch an advance that keeps the input of every stage, and its streamfunction."""
    plan, *_ = setting
    operators.copy(plan, operands[0], states[0])
    targets = [*(states[s] for s in range(1, states.shape[0])), out]
    _advance(setting, tables, operands, targets, psis, scratch)


def _whole(forcing):
    """The place of all forcing; a single number stands for none."""
    return forcing.whole if forcing.shape[-1] > 1 else NONE


def advance(*operands, grid, scheme, steps, keep, direct, backend, repeats, platform):
    plan, field = _layout(grid, operands[0], platform)
    real, shape = field
    setting, chains = (plan, scheme, metric(grid.spacing), steps), make_chains(plan, shape[0], plan.whole is not None)

    def launch(tables, *given):
        def run(operands, out, fields=None, *scratch):
            targets = [fields[0], fields[1], out] * steps if fields else [out]
            _advance(setting, tables, operands, targets, None, scratch)

        chains.launch(run, (given[:5], *given[5:7]), given[7:])

    def launch_and_keep(tables, *given):
        def run(operands, out, states, psis, *scratch):
            _keep_stages(setting, tables, operands, out, states, psis, scratch)

        chains.launch(run, (given[:5], *given[5:8]), given[8:])

    key, scratch = ["advance", scheme, steps, keep], [] if plan.whole else _scratch(plan, chains)
    if keep:
        outputs = [field, *[(real, (3 * steps, *shape))] * 2, *scratch]
        return _call_with_tables(launch_and_keep, plan, grid, operands, key, outputs)[:3]
    outputs = [field] if plan.whole else [field, (real, (2, *shape)), *scratch]
    return _call_with_tables(launch, plan, grid, operands, key, outputs, repeats)[:1]


def tangent_fits(grid: Grid, omega, platform: str) -> bool:
    """Whether the fused tangent's lines, longer than those of the other kernels, fit the devices here."""
    (plan, _), limit = _layout(grid, omega, platform), CPU_MEMORY if platform == "cpu" else shared_memory()
    return plan.whole_tangent is not None or plan.for_tangent.tangent_lines.nbytes <= limit


def along(*operands, grid, scheme, steps, backend, platform):
    plan, field = _layout(grid, operands[0], platform)
    real, shape = field
    whole, setting, operands = plan.whole_tangent is not None, (plan, scheme, metric(grid.spacing), steps), [*operands]
    chains = make_chains(plan, shape[0], whole, tangent=True)
    if (operands[4].shape[-1] > 1) != (operands[9].shape[-1] > 1):  # of forcing and its tangent, one is missing
        missing = 4 if operands[4].shape[-1] == 1 else 9
        operands[missing] = jnp.zeros((1, 1, *grid.shape), operands[0].dtype)

    def launch(tables, *given):
        def run(primal, along, out, dout, fields=None, *scratch):
            (omega, *parameters, forcing), (domega, *dparameters, dforcing) = primal, along
            states = [fields[0], fields[1], out] if fields else [out]
            dstates = [fields[2], fields[3], dout] if fields else [dout]
            forces = (parameters, _whole(forcing)), (dparameters, _whole(dforcing))
            kernels = members_tangent if whole else tangent_kernels
            kernels.tangent(*setting, tables, *forces[0], *forces[1], omega, domega, states, dstates, scratch)

        chains.launch(run, (given[:5], given[5:10], *given[10:13]), given[13:])

    scratch = [] if whole else [(real, (4, *shape)), *_scratch(plan.for_tangent, chains, copies=2)]
    outputs, key = [field, field, *scratch], ["along", scheme, steps]
    return _call_with_tables(launch, plan, grid, operands, key, outputs)[:2]


def adjoint(*operands, grid, scheme, steps, keep, wrt, backend, platform):
    plan, field = _layout(grid, operands[0], platform)
    real, shape = field
    batch, ny, _ = shape
    by_parameter, by_forcing = any(wrt[:3]), wrt[3]
    setting, chains = (plan, scheme, metric(grid.spacing), steps), make_chains(plan, batch, plan.whole is not None)

    def launch(tables, *given):
        operands, cotangent, rest = given[:5], given[5], given[6:]
        kept, results = (rest[:2], rest[2:]) if keep else (rest[4:6], rest[:4] + rest[6:])

        def run(operands, cotangent, kept, result, sums, forcing_sums, fields, *scratch):
            (_, *parameters, forcing), (states, psis) = operands, kept
            sweeping = scratch[: len(sweep_scratch)]
            if not keep:
                _keep_stages(setting, tables, operands, result, states, psis, scratch[len(sweep_scratch) :])
            (members_adjoint if plan.whole_adjoint else adjoint_kernels).adjoint(
                *setting,
                *(tables, parameters, _whole(forcing), states, psis, cotangent, result),
                *((fields[0], fields[1], fields[2]), sweeping),
                *(sums if by_parameter else None, forcing_sums if by_forcing else None),
            )

        chains.launch(run, (operands, cotangent, kept, *results[:4]), results[4:])

    sums = real, (batch * ny * 3 if by_parameter else 1,)
    forcing_sums = real, (operands[4].shape[0], *shape) if by_forcing else (1,)
    sweep_scratch = _scratch(plan.for_adjoint, chains, sides=1 + plan.for_adjoint.fused)
    stages = [] if keep else [(real, (3 * steps, *shape))] * 2
    outputs = [field, sums, forcing_sums, (real, (3, *shape)), *stages, *sweep_scratch]
    outputs += [] if keep else _scratch(plan, chains)
    key = ["adjoint", scheme, steps, keep, wrt]
    results = _call_with_tables(launch, plan, grid, operands, key, outputs)
    totals = [None] * 3
    if by_parameter:
        totals = list(jnp.sum(results[1].reshape(batch, ny, 3), axis=1).T)
    totals.append(results[2])
    return [results[0], *(total for total, wanted in zip(totals, wrt, strict=True) if wanted)]
