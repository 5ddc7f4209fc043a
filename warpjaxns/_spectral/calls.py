"""Foreign calls of the spectral primitives: constants and shapes for the launch functions of `_kernels.spectral`.

Functions here take and return traced JAX arrays. Each is one foreign call. Scratch memory is an extra result of the
call, so that XLA owns, reuses and counts it. The plan is part of a call's key, so calls with different plans are
different calls.
"""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import _ffi
from .._coefficients import low_storage
from .._grid import Grid
from .._kernels.fft.transforms import roots_of_unity
from .._kernels.hardware.address_table import NO_ARRAY
from .._kernels.hardware.limits import CPU_MEMORY, SHARED_MEMORY
from .._kernels.parameters import parameters
from .._kernels.spectral import operators, stage, sweep
from .._kernels.spectral.medium import Medium
from .._kernels.spectral.places import Tables
from .._kernels.spectral.plan import Plan
from .._kernels.spectral.planner import make_plan
from .._kernels.spectral.resident import stage as resident_stage
from .._kernels.spectral.resident import sweep as resident_sweep
from .._kernels.spectral.setting import Setting
from .._kernels.spectral.symbols import symbols
from .._primitives.operands import Operands, has_medium, split
from .._support import shared_memory
from .modes import Modes


@functools.lru_cache(maxsize=64)
def _tables(modes: Modes, dtype: str) -> tuple[np.ndarray, ...]:
    """Return roots of unity along y and x, and the filters along both."""
    roots = (roots_of_unity(n, dtype) for n in modes.grid.shape)
    return (*roots, np.concatenate([factors.ravel() for factors in modes.filters]).astype(dtype))


def call(launch, plan: Plan, grid: Grid, operands, key, outputs, repeats=1):
    """Call ``launch(scale, tables, *operands, *outputs)``. In a repetition the first output replaces the first operand.

    Operands hold complex numbers if they are states, else real ones.
    """
    tables = [jnp.asarray(table) for table in _tables(Modes(grid, plan.dealiasing), plan.dtype)]
    scale = symbols(plan.real).Scale()
    scale.y, scale.x = (2 * np.pi / side for side in grid.extent)
    scale.gain = plan.gain
    inputs = [plan.complex, plan.complex, plan.real]
    inputs += [plan.complex if x.ndim > 3 and x.shape[-1] == 2 else plan.real for x in operands]
    operands = [x[0] if x.ndim == 5 and _is_none(x) else x for x in operands]  # Warp's arrays have four axes at most
    return _ffi.call(
        lambda *arrays: launch(scale, Tables(*arrays[: len(tables)]), *arrays[len(tables) :]),
        *tables,
        *operands,
        key=(*key, grid, plan),
        inputs=inputs,
        outputs=outputs,
        graph=True,
        repeats=repeats,
        feed=(len(tables), len(tables) + len(operands)),
    )


def plan_of(grid: Grid, dealiasing: str, state, platform: str, with_medium: bool = False) -> Plan:
    """Return the plan for states ``(batch, columns, rows, 2)``. Members with a medium are not resident.

    Raises:
        ValueError: the lines of a state and of its product with a medium do not fit shared memory.
    """
    plan = make_plan(grid.shape, np.dtype(state.dtype).name, dealiasing, state.shape[0], shared_memory())
    plan = plan.on(cpu=True) if platform == "cpu" else plan
    if not with_medium:
        return plan
    if not plan.fits(plan.tangent, 4, _limit(platform)):
        raise ValueError(
            f"obstacles and topography on {grid.shape} points in {plan.dtype} need more shared memory than a block "
            'has; use backend="xla", or a grid with fewer points along y'
        )
    return dataclasses.replace(plan, resident=None, resident_tangent=None, resident_sweep=None)


def _limit(platform: str) -> int:
    """Return the bytes of shared memory that a block may use."""
    return CPU_MEMORY if platform == "cpu" else shared_memory() or SHARED_MEMORY


def advection(a, *, grid, dealiasing, backend, platform):
    """Apply ``B(a, a)``."""
    plan = plan_of(grid, dealiasing, a, platform)
    outputs = [(plan.complex, a.shape[:-1]), plan.halves(a.shape[0])]
    launch = functools.partial(operators.advection, plan)
    return call(launch, plan, grid, [a], ["spectral_advection"], outputs)[:1]


def _bilinear(name, a, b, *, grid, dealiasing, backend, platform):
    fields = b if a.shape[0] == 1 else a
    plan = plan_of(grid, dealiasing, fields, platform)
    outputs = [(plan.complex, fields.shape[:-1]), plan.halves(a.shape[0]), plan.halves(b.shape[0])]
    launch = functools.partial(getattr(operators, name), plan)
    return call(launch, plan, grid, [a, b], [f"spectral_{name}"], outputs)[:1]


transport = functools.partial(_bilinear, "transport")
pullback = functools.partial(_bilinear, "pullback")


def _places(x: Operands, extra: bool):
    """Return the places of parameters and forcing, and with `extra` terms of theirs.

    A forcing of a single number means none.
    """
    forcing = NO_ARRAY if _is_none(x.forcing) else x.forcing.slices
    return parameters(x.viscosity, x.drag, x.dt, forcing, *((x.screening, x.linear) if extra else ()))


def _rows_of(x: Operands):
    """Return where rows have a medium, 1, or none, 0: a list of an array ``(batch or 1, ny)``, or of none."""
    return [jnp.any(x.medium != 0, axis=(-2, -1)).astype(x.omega.dtype)] if has_medium(x) else []


def _has_terms(x: Operands):
    """Return whether there are linear terms besides viscosity and drag. A symbol of single numbers means none."""
    return x.linear.shape[-1] == 2


def _is_none(forcing):
    return forcing.shape[-1] == 1 == forcing.shape[-2]


def advance(*operands, grid, integrator, dealiasing, steps, keep, direct, backend, repeats, platform):
    """Take the steps, and their repetitions, as one call."""
    given = Operands(*operands)
    state, extra, medium = given.omega, _has_terms(given), has_medium(given)
    plan = plan_of(grid, dealiasing, state, platform, medium)
    count, (batch, *modes, _) = steps * len(low_storage(integrator)), state.shape

    def launch(scale, tables, *given):
        x, rest = split(given, Operands)
        of_medium = Medium(x.medium, rest.pop(0)) if medium else None
        out, *scratch = rest
        setting = Setting(plan, integrator, steps, scale, tables)
        if plan.resident:
            resident_stage.advance(setting, _places(x, extra), x.omega, out, keep)
        else:
            targets = [out[s] for s in range(count)] if keep else [out] * count
            stage.advance(setting, _places(x, extra), x.omega, targets, scratch[:1], scratch[1:], of_medium)

    out = (plan.complex, (count, batch, *modes) if keep else (batch, *modes))
    outputs = [
        out,
        *([] if plan.resident else _scratch(plan, 1, batch, modes)),
        *[plan.halves(batch)] * (1 + plan.apart) * medium,
    ]
    operands = [*operands, *_rows_of(given)]
    (out, *_) = call(launch, plan, grid, operands, ["spectral_advance", integrator, steps, keep], outputs, repeats)
    return [out[-1], out] if keep else [out]


def _scratch(plan, count, batch, modes):
    """Return types and shapes of scratch: `count` states, and as many half-transformed fields."""
    return [*[(plan.complex, (batch, *modes))] * count, *[plan.halves(batch)] * count]


def tangent_fits(x: Operands, *, grid: Grid, dealiasing, platform: str, **_) -> bool:
    """Return whether state and tangent have a call: their lines fit shared memory, and they have no medium."""
    if has_medium(x):
        return False
    omega = x.omega
    plan = plan_of(grid, dealiasing, omega, platform)
    return plan.resident_tangent is not None or plan.fits(plan.tangent, 4, _limit(platform))


def adjoint_fits(x: Operands, **_) -> bool:
    """Return whether a call has all cotangents that are wanted."""
    return True


def advance_jvp(*operands, grid, integrator, dealiasing, steps, backend, platform):
    """Take the steps of a state and its tangent, as one call."""
    x, dx, _ = split(operands, Operands, Operands)
    plan, (batch, *modes, _) = plan_of(grid, dealiasing, x.omega, platform), x.omega.shape
    count = steps * len(low_storage(integrator))
    if _is_none(x.forcing) != _is_none(dx.forcing):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each._replace(forcing=none) if _is_none(each.forcing) else each for each in (x, dx))
    if extra := _has_terms(x) or _has_terms(dx):
        none = jnp.zeros((1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each if _has_terms(each) else each._replace(linear=none) for each in (x, dx))

    def launch(scale, tables, *given):
        x, dx, (out, dout, *scratch) = split(given, Operands, Operands)
        setting = Setting(plan, integrator, steps, scale, tables)
        given = setting, _places(x, extra), _places(dx, extra), x.omega, dx.omega
        if plan.resident_tangent:
            resident_stage.tangent(*given, out, dout)
        else:
            stage.tangent(*given, [(out, dout)] * count, scratch[:2], scratch[2:])

    scratch = [] if plan.resident_tangent else _scratch(plan, 2, batch, modes)
    outputs = [*[(plan.complex, (batch, *modes))] * 2, *scratch]
    return call(launch, plan, grid, [*x, *dx], ["spectral_advance_jvp", integrator, steps], outputs)[:2]


def adjoint(*operands, grid, integrator, dealiasing, steps, keep, wrt, backend, platform):
    """Sweep backwards over the steps. Run them first if their states were not kept."""
    x, (cotangent, *kept) = split(operands, Operands)
    how = {"grid": grid, "integrator": integrator, "dealiasing": dealiasing, "backend": backend}
    if not keep:
        kept = advance(*x, steps=steps, keep=True, direct=False, repeats=1, platform=platform, **how)[1:]
    medium, by_medium = has_medium(x), wrt.medium or wrt.dt  # the share of dt follows from that of the medium
    plan, (batch, *modes, _) = plan_of(grid, dealiasing, x.omega, platform, medium), x.omega.shape
    by_parameter = wrt.viscosity or wrt.drag or wrt.dt or wrt.screening
    by_forcing, by_linear, extra = wrt.forcing, wrt.linear, _has_terms(x)
    each = sweep.SUMS[extra]
    parts = 1 if plan.resident_sweep else plan.parts(plan.sweep)
    sums = (plan.real, (batch * parts * each if by_parameter else 1,))
    by_step = plan.complex, (x.forcing.shape[0], batch, *modes) if by_forcing else (1, 1, 1, 1)
    by_symbol = plan.complex, (batch, *modes) if by_linear else (1, 1, 1)
    at_points = plan.complex, (batch, *grid.shape) if medium and by_medium else (1, 1, 1)

    def launch(scale, tables, *given):
        x, (cotangent, kept, *rest) = split(given, Operands)
        of_medium = Medium(x.medium, rest.pop(0)) if medium else None
        result, sums, by_step, by_symbol, at_points, *scratch = rest
        setting = Setting(plan, integrator, steps, scale, tables)
        wanted = zip((by_parameter, by_forcing, by_linear), (sums, by_step, by_symbol), strict=True)
        totals = [total if want else None for want, total in wanted]
        given = setting, _places(x, extra), x.omega, kept, cotangent, result
        if plan.resident_sweep:
            resident_sweep.adjoint(*given, totals)
        else:
            shares = at_points if medium and by_medium else None
            sweep.adjoint(*given, scratch[:2], scratch[2:], totals, of_medium, shares)

    scratch = [] if plan.resident_sweep else _scratch(plan, 2, batch, modes) + [plan.halves(batch)] * medium
    outputs = [(plan.complex, (batch, *modes)), sums, by_step, by_symbol, at_points, *scratch]
    key = ["spectral_adjoint", integrator, steps, wrt]
    result, sums, by_step, by_symbol, at_points, *_ = call(
        launch, plan, grid, [*x, cotangent, *kept, *_rows_of(x)], key, outputs
    )
    total: Any = jnp.sum(sums.reshape(batch, parts, each), axis=1).T if by_parameter else [None] * each
    viscosity, drag, dt, *rest = total
    if not medium:
        at_points = jnp.zeros((batch, 1, 1, 1), x.omega.dtype)
    elif by_parameter and by_medium:
        dt += jnp.sum(x.medium * at_points, axis=(1, 2, 3)) / 2
    at_points = x.dt[:, None, None, None] * at_points
    totals = Operands(result, viscosity, drag, dt, by_step, rest[0] if rest else None, by_symbol, at_points)
    return [value for value, wanted in zip(totals, wrt, strict=True) if wanted]
