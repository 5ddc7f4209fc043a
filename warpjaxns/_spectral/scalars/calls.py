"""Foreign calls of a flow that carries scalars. Its derivatives go through `algebra`."""

import jax.numpy as jnp

from ..._kernels.hardware.address_table import NO_ARRAY
from ..._kernels.parameters import parameters
from ..._kernels.spectral import scalars as kernels
from ..._kernels.spectral.setting import Setting
from ..._primitives.operands import Operands, has_medium, split
from ..calls import call, plan_of
from . import algebra


def advance(*operands, grid, integrator, dealiasing, steps, keep, direct, backend, repeats, platform):
    """Take the steps, and their repetitions, as one call. With a medium they go through `algebra`."""
    x, _ = split(operands, Operands)
    if has_medium(x):
        how = {"grid": grid, "integrator": integrator, "dealiasing": dealiasing, "backend": backend}
        return algebra.advance(*operands, steps=steps, keep=keep, repeats=repeats, **how)
    (batch, fields, *modes, _), plan = x.omega.shape, plan_of(grid, dealiasing, x.omega, platform)
    forced, dtype = x.forcing.shape[-1] > 1, x.omega.dtype

    def merged(array):  # fields of members, one after the other
        return array.reshape(-1, *array.shape[2:])

    forcing = x.forcing.reshape(x.forcing.shape[0], -1, *modes, 2) if forced else jnp.zeros(1, dtype)
    given = x._replace(omega=merged(x.omega), linear=merged(x.linear), coupling=x.coupling.reshape(-1), forcing=forcing)

    def launch(scale, tables, *arrays):
        x, (out, *between, increments, halves) = split(arrays, Operands)
        places = parameters(x.viscosity, x.drag, x.dt, x.forcing.slices if forced else NO_ARRAY, x.screening, x.linear)
        targets = [out[s] for s in range(steps)] if keep else [out] * steps
        setting = Setting(plan, integrator, steps, scale, tables)
        kernels.advance(setting, places, x.coupling, fields - 1, x.omega, targets, between, increments, halves)

    state, half = (plan.complex, (batch * fields, *modes)), (plan.complex, (fields, *plan.halves(batch)[1]))
    out = (plan.complex, (steps, batch * fields, *modes)) if keep else state
    key = ["spectral_scalars_advance", integrator, steps, keep, fields]
    (out, *_) = call(launch, plan, grid, given, key, [out, state, state, state, half], repeats)
    out = out.reshape(*out.shape[: int(keep)], *x.omega.shape)
    return [out[-1], out] if keep else [out]


def tangent_fits(*_, **__) -> bool:
    """Return False: a tangent goes through `algebra`."""
    return False


def adjoint_fits(*_, **__) -> bool:
    """Return True: `adjoint` has all cotangents."""
    return True


def advance_jvp(*operands, platform, **params):
    """Take the steps of a state and its tangent."""
    return algebra.advance_jvp(*operands, **params)


def adjoint(*operands, steps, keep, wrt, platform, **how):
    """Sweep backwards over the steps. Run them first if their states were not kept."""
    x, _ = split(operands, Operands)
    if not keep:
        more = {"steps": steps, "keep": True, "direct": False, "repeats": 1, "platform": platform}
        operands = [*operands, advance(*x, **more, **how)[1]]
    return algebra.adjoint(*operands, steps=steps, keep=True, wrt=wrt, **how)
