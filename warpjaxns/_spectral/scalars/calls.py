"""Foreign calls of a flow that carries scalars: those of `_spectral.calls`, with states of several fields."""

import jax.numpy as jnp

from ..._coefficients import low_storage
from ..._kernels.hardware.address_table import NO_ARRAY
from ..._kernels.parameters import parameters
from ..._kernels.spectral import scalar_sweep as sweep
from ..._kernels.spectral import scalars as kernels
from ..._kernels.spectral.scalar_rows import PullbackFields
from ..._kernels.spectral.setting import Setting
from ..._primitives.operands import Operands, has_medium, per_member, split
from ..calls import call, plan_of, tangent_fits
from . import algebra

__all__ = ["adjoint", "adjoint_fits", "advance", "advance_jvp", "tangent_fits"]


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


def _shapes(plan, batch, fields, modes):
    """Return types and shapes of a state, and of its half-transformed fields."""
    return (plan.complex, (batch * fields, *modes)), (plan.complex, (fields, *plan.halves(batch)[1]))


def _several(shape, count: int):
    """Return the type and shape of so many arrays as one: a call has room for few."""
    return shape[0], (count, *shape[1])


def _targets(out, between, stages: int, steps: int):
    """Return where each stage writes: what a stage reads, its blocks do not write."""
    return [*[between[s % 2] for s in range(stages - 1)], out] * steps


def advance(*operands, grid, integrator, dealiasing, steps, keep, direct, backend, repeats, platform):
    """Take the steps, and their repetitions, as one call. With a medium they go through `algebra`."""
    x, _ = split(operands, Operands)
    if has_medium(x):
        how = {"grid": grid, "integrator": integrator, "dealiasing": dealiasing, "backend": backend}
        return algebra.advance(*operands, steps=steps, keep=keep, repeats=repeats, **how)
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    (given, forced), stages = _flattened(x), len(low_storage(integrator))

    def launch(scale, tables, *arrays):
        x, (out, scratch, *halves) = split(arrays, Operands)
        *between, increments = ([scratch[i]] for i in range(3))
        targets = [[out[s]] for s in range(steps * stages)] if keep else _targets([out], between, stages, steps)
        setting, places = Setting(plan, integrator, steps, scale, tables), [_places(x, forced)]
        kernels.advance(
            setting, fields - 1, places, [x.coupling], [x.omega], targets, increments, halves[:1], halves[-1:]
        )

    state, half = _shapes(plan, batch, fields, modes)
    out = (plan.complex, (steps * stages, *state[1])) if keep else state
    key = ["spectral_scalars_advance", integrator, steps, keep, fields]
    (out, *_) = call(launch, plan, grid, given, key, [out, _several(state, 3), *[half] * (1 + plan.apart)], repeats)
    out = out.reshape(*out.shape[: int(keep)], *x.omega.shape)
    return [out[-1], out] if keep else [out]


def advance_jvp(*operands, grid, integrator, dealiasing, steps, backend, platform):
    """Take the steps of a state and its tangent, as one call."""
    x, dx, _ = split(operands, Operands, Operands)
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    if (x.forcing.shape[-1] > 1) != (dx.forcing.shape[-1] > 1):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each if each.forcing.shape[-1] > 1 else each._replace(forcing=none) for each in (x, dx))
    (given, forced), stages = _flattened(x), len(low_storage(integrator))
    dgiven, _ = _flattened(
        dx._replace(
            linear=jnp.broadcast_to(dx.linear, (dx.linear.shape[0], *x.omega.shape[1:])),
            coupling=jnp.broadcast_to(dx.coupling, (dx.coupling.shape[0], *x.coupling.shape[1:])),
        )
    )

    def launch(scale, tables, *arrays):
        x, dx, rest = split(arrays, Operands, Operands)
        out, dout, scratch, *halves = rest
        *between, increments = ([scratch[i], scratch[i + 1]] for i in (0, 2, 4))
        setting, places = Setting(plan, integrator, steps, scale, tables), [_places(x, forced), _places(dx, forced)]
        targets = _targets([out, dout], between, stages, steps)
        pairs = [x.coupling, dx.coupling], [x.omega, dx.omega], targets, increments, halves[:2], halves[-2:]
        kernels.advance(setting, fields - 1, places, *pairs)

    state, half = _shapes(plan, batch, fields, modes)
    key = ["spectral_scalars_advance_jvp", integrator, steps, fields]
    outputs = [state, state, _several(state, 6), *[half] * (2 + 2 * plan.apart)]
    out, dout, *_ = call(launch, plan, grid, [*given, *dgiven], key, outputs)
    return [out.reshape(x.omega.shape), dout.reshape(x.omega.shape)]


def adjoint_fits(x: Operands, **_) -> bool:
    """Return whether a call has the sweep: a medium goes through `algebra`."""
    return not has_medium(x)


def adjoint(*operands, grid, integrator, dealiasing, steps, keep, wrt, backend, platform):
    """Sweep backwards over the steps. Run them first if their states were not kept."""
    x, (cotangent, *kept) = split(operands, Operands)
    how = {"grid": grid, "integrator": integrator, "dealiasing": dealiasing, "backend": backend}
    if not keep:
        kept = advance(*x, steps=steps, keep=True, direct=False, repeats=1, platform=platform, **how)[1:]
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    scalars, (cut, *_) = fields - 1, sweep.sweep_lines(plan)
    given, forced = _flattened(x)
    by_parameter, by_coupling = wrt.viscosity or wrt.drag or wrt.dt or wrt.screening, wrt.coupling
    by_sums, blocks = by_parameter or by_coupling, plan.parts(cut)
    state, _ = _shapes(plan, batch, fields, modes)
    sums = plan.real, (batch * fields * blocks * sweep.SUMS if by_sums else 1,)
    by_step = plan.complex, (x.forcing.shape[0], batch * fields, *modes) if wrt.forcing else (1, 1, 1, 1)
    by_symbol = state if wrt.linear else (plan.complex, (1, 1, 1))
    at = PullbackFields(scalars)
    halves = [(plan.complex, (count, *plan.halves(batch)[1])) for count in (at.count, at.products)]

    def launch(scale, tables, *arrays):
        x, (cotangent, kept, result, sums, by_step, by_symbol, work, halves, products) = split(arrays, Operands)
        setting, places = Setting(plan, integrator, steps, scale, tables), _places(x, forced)
        totals = sums if by_sums else None, by_parameter, by_coupling
        totals += by_step if wrt.forcing else None, by_symbol if wrt.linear else None
        given = setting, places, x.coupling, scalars, x.omega, kept, cotangent, result
        sweep.adjoint(*given, [work[i] for i in range(3)], halves, products, totals)

    operands = [*given, _merged(cotangent), *(_merged(states, 1) for states in kept)]
    key = ["spectral_scalars_adjoint", integrator, steps, wrt, fields]
    outputs = [state, sums, by_step, by_symbol, _several(state, 3), *halves]
    result, sums, by_step, by_symbol, *_ = call(launch, plan, grid, operands, key, outputs)
    totals = Operands(*[None] * len(x))._replace(omega=result.reshape(x.omega.shape))
    if by_sums:
        sums = jnp.sum(sums.reshape(batch, fields, blocks, sweep.SUMS), axis=2)
        viscosity, drag, dt, screening = jnp.sum(sums[..., :4], axis=1).T
        totals = totals._replace(viscosity=viscosity, drag=drag, dt=dt, screening=screening, coupling=sums[:, 1:, 4:])
    totals = totals._replace(
        forcing=by_step.reshape(-1, *x.omega.shape) if wrt.forcing else None,
        linear=by_symbol.reshape(x.omega.shape) if wrt.linear else None,
        medium=jnp.zeros(per_member(x).medium, x.omega.dtype),
    )
    return [value for value, wanted in zip(totals, wrt, strict=True) if wanted]
