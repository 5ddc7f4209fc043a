"""Foreign calls of a flow that carries scalars. Forward mode, and higher derivatives, go through `algebra`."""

import jax.numpy as jnp

from ..._coefficients import low_storage
from ..._kernels.hardware.address_table import NO_ARRAY
from ..._kernels.parameters import parameters
from ..._kernels.spectral import scalar_sweep as sweep
from ..._kernels.spectral import scalars as kernels
from ..._kernels.spectral.setting import Setting
from ..._primitives.operands import Operands, split
from ..calls import call, plan_of
from . import algebra


def _merged(array, axis: int = 0):
    """Return an array whose axes of members and of fields are one: fields of a member follow each other."""
    return array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])


def _flattened(x: Operands):
    """Return operands as kernels take them, and whether there is forcing."""
    forced = x.forcing.shape[-1] > 1
    forcing = _merged(x.forcing, 1) if forced else jnp.zeros(1, x.omega.dtype)
    states = {"omega": _merged(x.omega), "linear": _merged(x.linear)}
    return x._replace(**states, coupling=x.coupling.reshape(-1), forcing=forcing), forced


def _places(x: Operands, forced: bool):
    return parameters(x.viscosity, x.drag, x.dt, x.forcing.slices if forced else NO_ARRAY, x.screening, x.linear)


def advance(*operands, grid, integrator, dealiasing, steps, keep, direct, backend, repeats, platform):
    """Take the steps, and their repetitions, as one call."""
    x, _ = split(operands, Operands)
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    given, forced = _flattened(x)

    def launch(scale, tables, *arrays):
        x, (out, *between, increments, halves) = split(arrays, Operands)
        places = _places(x, forced)
        # each differs from the one before, since a stage reads what another one of its blocks has not written
        targets = [out[s] for s in range(count)] if keep else [*(between * stages)[: stages - 1], out] * steps
        setting = Setting(plan, integrator, steps, scale, tables)
        kernels.advance(setting, places, x.coupling, fields - 1, x.omega, targets, increments, halves)

    stages = len(low_storage(integrator))
    count = steps * stages
    state, half = (plan.complex, (batch * fields, *modes)), (plan.complex, (fields, *plan.halves(batch)[1]))
    out = (plan.complex, (count, batch * fields, *modes)) if keep else state
    key = ["spectral_scalars_advance", integrator, steps, keep, fields]
    (out, *_) = call(launch, plan, grid, given, key, [out, state, state, state, half], repeats)
    out = out.reshape(*out.shape[: int(keep)], *x.omega.shape)
    return [out[-1], out] if keep else [out]


def tangent_fits(*_, **__) -> bool:
    """Return False: a tangent goes through `algebra`."""
    return False


def advance_jvp(*operands, platform, **params):
    """Take the steps of a state and its tangent."""
    return algebra.advance_jvp(*operands, **params)


def adjoint(*operands, grid, integrator, dealiasing, steps, keep, wrt, backend, platform):
    """Sweep backwards over the steps. Run them first if their states were not kept."""
    x, (cotangent, *kept) = split(operands, Operands)
    how = {"grid": grid, "integrator": integrator, "dealiasing": dealiasing, "backend": backend}
    if not keep:
        kept = advance(*x, steps=steps, keep=True, direct=False, repeats=1, platform=platform, **how)[1:]
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    scalars, pairs = fields - 1, fields // 2
    given, forced = _flattened(x)
    by_parameter, by_coupling = wrt.viscosity or wrt.drag or wrt.dt or wrt.screening, wrt.coupling
    by_sums, blocks = by_parameter or by_coupling, plan.parts(plan.advance)
    state = plan.complex, (batch * fields, *modes)
    sums = plan.real, (batch * (1 + pairs) * blocks * sweep.SUMS if by_sums else 1,)
    by_step = plan.complex, (x.forcing.shape[0], batch * fields, *modes) if wrt.forcing else (1, 1, 1, 1)
    by_symbol = state if wrt.linear else (plan.complex, (1, 1, 1))
    half = plan.complex, (sweep.half_fields(scalars), *plan.halves(batch)[1])

    def launch(scale, tables, *arrays):
        x, (cotangent, kept, result, sums, by_step, by_symbol, *work, halves) = split(arrays, Operands)
        setting, places = Setting(plan, integrator, steps, scale, tables), _places(x, forced)
        totals = sums if by_sums else None, by_parameter, by_coupling
        totals += by_step if wrt.forcing else None, by_symbol if wrt.linear else None
        given = setting, places, x.coupling, scalars, x.omega, kept, cotangent, result
        sweep.adjoint(*given, work, halves, totals)

    operands = [*given, _merged(cotangent), *(_merged(states, 1) for states in kept)]
    key = ["spectral_scalars_adjoint", integrator, steps, wrt, fields]
    outputs = [state, sums, by_step, by_symbol, state, state, state, half]
    result, sums, by_step, by_symbol, *_ = call(launch, plan, grid, operands, key, outputs)
    totals = Operands(*[None] * len(x))._replace(omega=result.reshape(x.omega.shape))
    if by_sums:
        sums = jnp.sum(sums.reshape(batch, 1 + pairs, blocks, sweep.SUMS), axis=2)
        viscosity, drag, dt, screening = jnp.sum(sums[..., :4], axis=1).T
        of_scalars = sums[:, 1:, 4:].reshape(batch, 2 * pairs, 4)[:, :scalars]
        totals = totals._replace(viscosity=viscosity, drag=drag, dt=dt, screening=screening, coupling=of_scalars)
    totals = totals._replace(
        forcing=by_step.reshape(-1, *x.omega.shape) if wrt.forcing else None,
        linear=by_symbol.reshape(x.omega.shape) if wrt.linear else None,
    )
    return [value for value, wanted in zip(totals, wrt, strict=True) if wanted]
