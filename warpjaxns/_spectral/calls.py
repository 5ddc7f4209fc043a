"""Foreign calls of the spectral primitives: constants and shapes for the launch functions of `_kernels.spectral`.

Functions here take and return traced JAX arrays. Each is one foreign call. Scratch memory is an extra result of the
call, so that XLA owns, reuses and counts it. The plan is part of a call's key, so calls with different plans are
different calls.
"""

import functools

import jax.numpy as jnp
import numpy as np

from .. import _ffi
from .._grid import Grid
from .._kernels.fft.transforms import roots_of_unity
from .._kernels.spectral import operators
from .._kernels.spectral.places import Tables
from .._kernels.spectral.plan import Plan
from .._kernels.spectral.planner import make_plan
from .._kernels.spectral.symbols import symbols
from .._support import shared_memory
from .modes import Modes


@functools.lru_cache(maxsize=64)
def _tables(modes: Modes, dtype: str) -> tuple[np.ndarray, ...]:
    """Return roots of unity along y and x, and the filters of rows and columns."""
    roots = (roots_of_unity(n, dtype) for n in modes.grid.shape)
    return (*roots, np.concatenate([factors.ravel() for factors in modes.filters]).astype(dtype))


def _call(launch, plan: Plan, grid: Grid, states, others, key, outputs, repeats=1):
    """Call ``launch(scale, tables, *states, *others, *outputs)``.

    `states` hold complex numbers, `others` real ones. In a repetition the first output replaces the first state.
    """
    tables = [jnp.asarray(table) for table in _tables(Modes(grid, plan.dealiasing), plan.dtype)]
    scale = symbols(plan.real).Scale()
    scale.y, scale.x = (2 * np.pi / side for side in grid.extent)
    scale.gain = plan.gain
    operands = [*tables, *states, *others]
    inputs = [plan.complex, plan.complex, plan.real]
    inputs += [plan.complex] * len(states) + [plan.real] * len(others)
    return _ffi.call(
        lambda *arrays: launch(scale, Tables(*arrays[: len(tables)]), *arrays[len(tables) :]),
        *operands,
        key=(*key, grid, plan),
        inputs=inputs,
        outputs=outputs,
        graph=True,
        repeats=repeats,
        feed=(len(tables), len(operands)),
    )


def _plan_of(grid: Grid, dealiasing: str, state, platform: str) -> Plan:
    """Return the plan for states ``(batch, rows, columns, 2)``."""
    plan = make_plan(grid.shape, np.dtype(state.dtype).name, dealiasing, state.shape[0], shared_memory())
    return plan.on(platform == "cpu")


def advection(a, *, grid, dealiasing, backend, platform):
    """Apply ``B(a, a)``."""
    plan = _plan_of(grid, dealiasing, a, platform)
    outputs = [(plan.complex, a.shape[:-1]), plan.halves(a.shape[0])]
    launch = functools.partial(operators.advection, plan)
    return _call(launch, plan, grid, [a], [], ["spectral_advection"], outputs)[:1]


def _bilinear(name, a, b, *, grid, dealiasing, backend, platform):
    fields = b if a.shape[0] == 1 else a
    plan = _plan_of(grid, dealiasing, fields, platform)
    outputs = [(plan.complex, fields.shape[:-1]), plan.halves(a.shape[0]), plan.halves(b.shape[0])]
    launch = functools.partial(getattr(operators, name), plan)
    return _call(launch, plan, grid, [a, b], [], [f"spectral_{name}"], outputs)[:1]


transport = functools.partial(_bilinear, "transport")
pullback = functools.partial(_bilinear, "pullback")


def _none(*_, **__):
    raise NotImplementedError


advance = advance_jvp = adjoint = tangent_fits = _none
