"""Foreign calls of the primitives: constants and shapes for the launch functions of `_kernels`.

Functions here take and return traced JAX arrays, laid out as in `_primitives.operands`. Each is one foreign call.
Scratch memory is an extra result of the call, so that XLA owns, reuses and counts it. The plan is part of a call's key,
so calls with different plans are different calls.
"""

import functools

import jax.numpy as jnp
import numpy as np

from .. import _ffi
from .._coefficients import STAGES, column_modes, eigenvalues, metric, modes_of
from .._grid import Grid
from .._kernels.fft.transforms import roots_of_unity
from .._kernels.finite_difference import operators, stage, sweep
from .._kernels.finite_difference import poisson as poisson_kernels
from .._kernels.finite_difference.places import Tables
from .._kernels.finite_difference.plan import Plan
from .._kernels.finite_difference.planner import make_plan
from .._kernels.finite_difference.resident import stage as resident_stage
from .._kernels.finite_difference.resident import sweep as resident_sweep
from .._kernels.finite_difference.setting import Setting
from .._kernels.hardware.address_table import NO_ARRAY
from .._kernels.hardware.limits import CPU_MEMORY, SHARED_MEMORY
from .._kernels.hardware.numbers import complex_type
from .._kernels.hardware.streams import Streams
from .._kernels.parameters import parameters
from .._primitives.operands import Operands, has_medium, split
from .._support import shared_memory
from . import terms
from .kept import Kept


@functools.lru_cache(maxsize=64)
def _tables(grid: Grid, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the modes of columns, and the roots of unity along x."""
    modes = column_modes(grid.shape, grid.spacing).astype(dtype)
    return modes, roots_of_unity(grid.shape[1], dtype)


def _screened_modes(grid: Grid, screening):
    """Return the modes of columns with the numbers F of a deformation radius, ``(batch or 1, wavenumbers, 5)``."""
    along_x = jnp.asarray(eigenvalues(grid.shape, grid.spacing)[1][None, : grid.shape[1] // 2 + 1], screening.dtype)
    return modes_of(along_x + screening[:, None], grid.shape, grid.spacing, jnp)


def call_with_tables(
    launch, plan: Plan, grid: Grid, operands, key, outputs, repeats=1, types=None, screening=None, **how
):
    """Call `launch(tables, *operands, *outputs)`. In a repetition the first output replaces the first operand.

    `types`: Warp's types of the operands; None where all are real. `screening`: F, where the plan has it. `how`: more
    of `_ffi.call`, whose `aliases` and `moving` count from the first of `operands` on.
    """
    real, number = plan.real, complex_type(plan.real)
    tables = [jnp.asarray(table) for table in _tables(grid, plan.dtype)]
    if plan.screened:
        tables[0] = _screened_modes(grid, screening)
    first = len(tables)
    aliases = {first + operand: output for operand, output in how.pop("aliases", {}).items()}
    moving = {first + array: entry for array, entry in how.pop("moving", {}).items()}
    return _ffi.call(
        lambda *arrays: launch(Tables(*arrays[: len(tables)]), *arrays[len(tables) :]),
        *tables,
        *operands,
        key=(*key, grid, plan),
        inputs=[plan.column_chunks.Mode, number, *(types or [real] * len(operands))],
        outputs=outputs,
        graph=True,
        repeats=repeats,
        feed=(first, first + len(operands)),
        aliases=aliases,
        moving=moving,
        **how,
    )


def _plan_of(grid: Grid, omega, platform: str) -> Plan:
    plan = make_plan(grid.shape, np.dtype(omega.dtype).name, omega.shape[0], shared_memory())
    return plan.on_cpu_too if platform == "cpu" else plan


def _plan_of_steps(grid: Grid, x: Operands, platform: str) -> Plan:
    plan, count = _plan_of(grid, x.omega, platform), 0 if terms.none(x.linear) else x.linear.shape[-1]
    return plan.with_terms(count, has_medium(x)) if count or has_medium(x) else plan


def _in_fields(x: Operands) -> Operands:
    """Return operands with the medium as two fields, ``(2, batch or 1, ny, nx)``."""
    return x._replace(medium=jnp.moveaxis(x.medium, -1, 0)) if has_medium(x) else x


def places(x: Operands):
    """Return the places of parameters and forcing. A forcing of a single number means none."""
    forcing = x.forcing.slices if x.forcing.shape[-1] > 1 else NO_ARRAY
    medium = x.medium.slices if x.medium.shape[-1] > 1 else NO_ARRAY
    return parameters(x.viscosity, x.drag, x.dt, forcing, x.screening, x.linear, medium)


def poisson(omega, *, grid, backend, platform):
    """Solve ``-Lap(psi) = omega``."""
    return _poisson(_plan_of(grid, omega, platform), grid, omega)


def _poisson(plan, grid, omega, screening=None):
    scratch = plan.for_poisson.typed_scratch(Streams(omega.shape[0]))

    def launch(tables, omega, psi, *scratch):
        poisson_kernels.poisson(plan, tables, omega, psi, *scratch)

    outputs = [(plan.real, omega.shape), *scratch]
    return call_with_tables(launch, plan, grid, [omega], ["poisson"], outputs, screening=screening)[:1]


def screened_poisson(omega, screening, *, grid, backend, platform):
    """Solve ``F psi - Lap(psi) = omega``."""
    return _poisson(_plan_of(grid, omega, platform).with_terms(terms.SCREENED), grid, omega, screening)


def laplacian(a, *, grid, backend, platform):
    """Apply the Laplacian."""
    plan = _plan_of(grid, a, platform)

    def launch(a, out):
        operators.laplacian(plan, metric(grid.spacing), a, out)

    return _ffi.call(launch, a, key=("laplacian", grid, plan), outputs=[(plan.real, a.shape)], graph=True)


def jacobian(a, b, *, grid, scheme, backend, platform):
    """Apply the Jacobian. All members may share either operand."""
    fields = b if a.shape[0] == 1 else a
    plan = _plan_of(grid, fields, platform)

    def launch(a, b, out):
        operators.jacobian(plan, scheme, metric(grid.spacing), a, b, out)

    outputs = [(plan.real, fields.shape)]
    return _ffi.call(launch, a, b, key=("jacobian", grid, scheme, plan), outputs=outputs, graph=True)


def _advance(setting, x, targets, psis, scratch):
    """Launch steps, with resident members where the plan has them."""
    kernels = resident_stage if setting.plan.resident else stage
    kernels.advance(setting, places(x), x.omega, targets, psis, scratch)


def _keep_stages(setting, x, out, kept, scratch):
    """Launch steps that keep the input of every stage, and its streamfunction."""
    operators.copy(setting.plan, x.omega, kept.states[0])
    targets = [*(kept.states[s] for s in range(1, kept.states.shape[0])), out]
    _advance(setting, x, targets, kept.psis, scratch)


def advance(*operands, grid, scheme, steps, keep, direct, backend, repeats, platform):
    """Take the steps, and their repetitions, as one call."""
    x = Operands(*operands)
    omega, plan, x = x.omega, _plan_of_steps(grid, x, platform), _in_fields(x)
    field, streams = (plan.real, omega.shape), plan.streams(omega.shape[0], plan.resident is not None)
    kept = (plan.real, (STAGES * steps, *omega.shape))
    setting = functools.partial(Setting, plan, scheme, metric(grid.spacing), steps)

    def launch(tables, *given):
        x, (out, *scratch) = split(given, Operands)
        fields, scratch = (scratch[:1], scratch[1:]) if not plan.resident else ([], scratch)

        def run(x, out, fields, *scratch):
            targets = [fields[0][0], fields[0][1], out] * steps if fields else [out]
            psis = [fields[0][STAGES - 1]] * STAGES * steps if plan.through_memory else None
            _advance(setting(tables), x, targets, psis, scratch)

        streams.launch(run, (x, out, fields), tuple(scratch))

    def launch_and_keep(tables, *given):
        x, (out, *rest) = split(given, Operands)
        kept, scratch = split(rest, Kept)

        def run(x, out, kept, *scratch):
            _keep_stages(setting(tables), x, out, kept, scratch)

        streams.launch(run, (x, out, kept), tuple(scratch))

    key, scratch = ["advance", scheme, steps, keep], [] if plan.resident else plan.typed_scratch(streams)
    if keep:
        outputs = [field, kept, kept, *scratch]
        return call_with_tables(launch_and_keep, plan, grid, x, key, outputs, screening=x.screening)[:3]
    fields = plan.real, (STAGES - 1 + plan.through_memory, *omega.shape)
    outputs = [field] if plan.resident else [field, fields, *scratch]
    return call_with_tables(launch, plan, grid, x, key, outputs, repeats, screening=x.screening)[:1]


def tangent_fits(x: Operands, *, grid: Grid, platform: str, **_) -> bool:
    """Return whether the lines of state and tangent fit the shared memory of the devices here.

    With a deformation radius no kernel has the tangent, which needs psi before the solve for dpsi.
    """
    if terms.screened(x.linear):
        return False
    limit = CPU_MEMORY if platform == "cpu" else shared_memory() or SHARED_MEMORY
    return _plan_of_steps(grid, x, platform).tangent_fits(limit)


def adjoint_fits(x: Operands, *, wrt: Operands, **_) -> bool:
    """Return whether a kernel has all cotangents that are wanted. None sums that of a deformation radius."""
    return not wrt.screening


def advance_jvp(*operands, grid, scheme, steps, backend, platform):
    """Take the steps of a state and its tangent, as one call."""
    x, dx, _ = split(operands, Operands, Operands)
    plan = _plan_of_steps(grid, x, platform)
    is_resident, cut = plan.resident_tangent is not None, plan.for_tangent
    streams = plan.streams(x.omega.shape[0], is_resident, tangent=True)
    setting = functools.partial(Setting, plan, scheme, metric(grid.spacing), steps)
    kernels = resident_stage if is_resident else stage
    if (x.forcing.shape[-1] > 1) != (dx.forcing.shape[-1] > 1):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *grid.shape), x.omega.dtype)
        x, dx = (each if each.forcing.shape[-1] > 1 else each._replace(forcing=none) for each in (x, dx))
    # where the tangent of coefficients is zero, it is a single number
    dx = dx._replace(linear=jnp.broadcast_to(dx.linear, (dx.linear.shape[0], *x.linear.shape[1:])))
    dx = dx._replace(medium=jnp.broadcast_to(dx.medium, (dx.medium.shape[0], *x.medium.shape[1:])))
    x, dx = _in_fields(x), _in_fields(dx)

    def launch(tables, *given):
        x, dx, (out, dout, *scratch) = split(given, Operands, Operands)
        fields, scratch = (scratch[:1], scratch[1:]) if not is_resident else ([], scratch)

        def run(x, dx, out, dout, fields, *scratch):
            last = [(out, dout)]
            between = [(fields[0][2 * s], fields[0][2 * s + 1]) for s in range(STAGES - 1)] if fields else []
            targets = (between + last) * (steps if fields else 1)
            psis = (
                [(fields[0][2 * STAGES - 2], fields[0][2 * STAGES - 1])] * len(targets) if cut.through_memory else None
            )
            kernels.tangent(setting(tables), places(x), places(dx), x.omega, dx.omega, targets, psis, scratch)

        streams.launch(run, (x, dx, out, dout, fields), tuple(scratch))

    field, between = (plan.real, x.omega.shape), (plan.real, (2 * (STAGES - 1 + cut.through_memory), *x.omega.shape))
    scratch = [] if is_resident else [between, *cut.typed_scratch(streams)]
    key = ["advance_jvp", scheme, steps, cut]
    return call_with_tables(launch, plan, grid, [*x, *dx], key, [field, field, *scratch])[:2]


def adjoint(*operands, grid, scheme, steps, keep, wrt, backend, platform):
    """Sweep backwards over the steps. Run them first if their stages were not kept."""
    x, rest = split(operands, Operands)
    plan, (batch, ny, _), x = _plan_of_steps(grid, x, platform), x.omega.shape, _in_fields(x)
    by_parameter, by_forcing = wrt.viscosity or wrt.drag or wrt.dt, wrt.forcing
    by_term, by_medium = wrt.linear and plan.terms > 0, wrt.medium and plan.medium
    streams, cut = plan.streams(batch, plan.resident is not None), plan.for_adjoint
    setting = functools.partial(Setting, plan, scheme, metric(grid.spacing), steps)
    # of these no resident member has the sums
    of_terms = (plan.terms > 0 or plan.medium) and (by_parameter or by_term or by_medium)
    kernels = resident_sweep if plan.resident_adjoint and not of_terms else sweep
    field, stages = (plan.real, x.omega.shape), (plan.real, (STAGES * steps, *x.omega.shape))
    sums = plan.real, (batch * ny * 3 if by_parameter else 1,)
    forcing_sums = plan.real, (x.forcing.shape[0], *x.omega.shape) if by_forcing else (1,)
    term_sums = plan.real, (batch * ny * plan.terms if by_term else 1,)
    medium_sums = plan.real, (2, *x.omega.shape) if by_medium else (1,)
    sweep_scratch = cut.typed_scratch(streams, sides=1 + cut.fused)
    forward_scratch = [] if keep else plan.typed_scratch(streams)

    def launch(tables, *given):
        x, (cotangent, *rest) = split(given, Operands)
        if keep:
            kept, (result, sums, forcing_sums, term_sums, medium_sums, fields, *scratch) = split(rest, Kept)
        else:
            result, sums, forcing_sums, term_sums, medium_sums, fields, *rest = rest
            kept, scratch = split(rest, Kept)

        def run(x, cotangent, kept, result, sums, forcing_sums, term_sums, medium_sums, fields, *scratch):
            if not keep:
                _keep_stages(setting(tables), x, result, kept, scratch[len(sweep_scratch) :])
            wanted = (sums, by_parameter), (forcing_sums, by_forcing), (term_sums, by_term), (medium_sums, by_medium)
            totals = [each if asked else None for each, asked in wanted]
            work = [fields[i] for i in range(fields.shape[0])]
            mine = scratch[: len(sweep_scratch)]
            kernels.adjoint(setting(tables), places(x), x.dt, kept, cotangent, result, work, mine, totals)

        streams.launch(
            run, (x, cotangent, kept, result, sums, forcing_sums, term_sums, medium_sums, fields), tuple(scratch)
        )

    work = plan.real, (3 + cut.through_memory, *x.omega.shape)
    outputs = [field, sums, forcing_sums, term_sums, medium_sums, work]
    outputs += [] if keep else Kept(stages, stages)
    outputs += [*sweep_scratch, *forward_scratch]
    key = ["adjoint", scheme, steps, keep, wrt, cut, plan.for_source]
    made = call_with_tables(launch, plan, grid, [*x, *rest], key, outputs, screening=x.screening)
    result, by_row, forcing_total, by_row_of_terms, of_medium, *_ = made
    total = jnp.sum(by_row.reshape(batch, ny, 3), axis=1).T if by_parameter else [None] * 3
    linear = medium = None
    if wrt.linear:
        linear = jnp.zeros((batch, *x.linear.shape[1:]), x.omega.dtype)
        linear = jnp.sum(by_row_of_terms.reshape(batch, ny, -1), axis=1)[:, None] if by_term else linear
    if wrt.medium:
        medium = jnp.moveaxis(of_medium, 0, -1) if by_medium else jnp.zeros((batch, 1, 1, 1), x.omega.dtype)
    totals = Operands(result, *total, forcing=forcing_total, linear=linear, medium=medium)
    return [value for value, wanted in zip(totals, wrt, strict=True) if wanted]
