"""Time steps of a slab by Warp: each stage is one foreign call, and one collective.

Functions run on each device, inside a `shard_map`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..._coefficients import SECOND, STAGES, runge_kutta
from ..._grid import DividedGrid
from ..._kernels.finite_difference.planner import make_divided_plan
from ..._kernels.hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY
from ..._primitives.operands import Operands, split
from ..._support import shared_memory
from ..algebra import linear_terms
from ..jacobian import jacobian
from ..kept import Kept
from .slab import Slab
from .stages import Calls, edges_of, with_edges


def _calls(slab: Slab, scheme: str, omega, kind: str, platform: str) -> Calls:
    shape, dtype = (slab.divided.rows, slab.divided.shape[1]), np.dtype(omega.dtype).name
    return Calls(slab, scheme, make_divided_plan(shape, dtype, omega.shape[0], shared_memory(), kind), platform)


def tangent_fits(omega, *, grid: DividedGrid, platform: str) -> bool:
    """Return whether the lines of state and tangent fit the shared memory of the devices here."""
    limit = CPU_MEMORY if platform == "cpu" else shared_memory() or SHARED_MEMORY
    plan = _calls(Slab(grid), "", omega, "tangent", platform).plan.on(platform == "cpu")
    return plan.stage_lines.nbytes <= limit and plan.stage_lines.block_dim <= LARGEST_BLOCK


def _padded(forcing, slab: Slab):
    """Return the operand of a scan over steps, and the function that gets a step's forcing from it."""
    if forcing.shape[-1] > 1:
        forcing = jax.vmap(slab.pad)(forcing)
    if forcing.shape[0] == 1:
        return None, lambda _: forcing
    return forcing, lambda force: force[None]


def advance(*operands, slab: Slab, platform, scheme, steps, keep=False, direct=False, repeats=1):
    """Take the steps of `algebra.advance`."""
    x, _ = split(operands, Operands)
    calls, m = _calls(slab, scheme, x.omega, "state", platform), slab.divided.rows
    every, force_of = _padded(x.forcing, slab)

    def step(carry, force):
        (state, *spectra), given = carry, [x._replace(forcing=force_of(force))]
        state, start = [state], None
        for stage in range(STAGES):
            state, entering, _ = calls.exchange_edges(state, spectra)
            start = state if stage == 0 else start
            state, spectra = calls.stage(stage, given, start, state, calls.packed(entering), spectra)
        return [*state, *spectra], None

    def step_kept(carry, inputs):
        (state, kept, *spectra), (number, force) = carry, inputs
        first, given = STAGES * number, x._replace(forcing=force_of(force))
        for stage in range(STAGES):
            rows = [state[:, row] for row in (0, m - 1)]
            if stage > 0:
                rows = [slab.rows_of(kept.states, first + stage, row, 1)[:, 0] for row in (0, m - 1)]
            entering, _ = calls.exchange(spectra, *rows)
            state, spectra, kept = calls.stage_kept(
                stage, given, state, calls.packed(entering)[0], edges_of(entering), spectra, kept, first
            )
        return [state, kept, *spectra], None

    spectra, kept = calls.begin([x.omega], x.forcing, steps if keep else 0)
    state = slab.pad(x.omega)
    if kept is None:
        (out, *_), _ = jax.lax.scan(step, [state, *spectra], every, length=steps * repeats)
        return [slab.trim(out)]
    numbers = jnp.arange(steps, dtype=jnp.int32)
    (out, kept, *_), _ = jax.lax.scan(step_kept, [state, kept, *spectra], (numbers, every), length=steps)
    return [slab.trim(out), *kept]


def advance_jvp(*operands, slab: Slab, platform, scheme, steps):
    """Take the steps of `algebra.advance_jvp`."""
    x, dx, _ = split(operands, Operands, Operands)
    if (x.forcing.shape[-1] > 1) != (dx.forcing.shape[-1] > 1):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each if each.forcing.shape[-1] > 1 else each._replace(forcing=none) for each in (x, dx))
    calls = _calls(slab, scheme, x.omega, "tangent", platform)
    (every, force_of), (devery, dforce_of) = _padded(x.forcing, slab), _padded(dx.forcing, slab)

    def step(carry, forces):
        fields, spectra, start = carry[:2], carry[2:], None
        given = [x._replace(forcing=force_of(forces[0])), dx._replace(forcing=dforce_of(forces[1]))]
        for stage in range(STAGES):
            fields, entering, _ = calls.exchange_edges(fields, spectra)
            start = fields if stage == 0 else start
            fields, spectra = calls.stage(stage, given, start, fields, calls.packed(entering, 2), spectra)
        return [*fields, *spectra], None

    first = [slab.pad(x.omega), slab.pad(dx.omega), *calls.begin([x.omega, dx.omega], x.forcing)[0]]
    out, _ = jax.lax.scan(step, first, (every, devery), length=steps)
    return [slab.trim(field) for field in out[:2]]


def adjoint(*operands, slab: Slab, platform, scheme, steps, wrt):
    """Sweep backwards, as `algebra.adjoint` does, over stages that were kept.

    F(w, l) needs l on rows -1 and m, before any message of the next stage. So each device computes these rows of l too.
    It needs rows -2 and m+1 of the cotangent before, which come with the message, and psi there, which follows from the
    Poisson equation. The first cotangent has a message of its own.
    """
    x, (cotangent, *kept) = split(operands, Operands)
    calls, m = _calls(slab, scheme, x.omega, "sweep", platform), slab.divided.rows
    by_parameter, steady = wrt.viscosity or wrt.drag or wrt.dt, wrt.forcing and x.forcing.shape[0] == 1
    kept = Kept(*kept)
    every, force_of = _padded(x.forcing, slab)
    coefficients = runge_kutta(x.omega.dtype)

    def around(seam, beyond):
        """Return rows m-1, m, m+1 and -2, -1, 0 as members, given the rows m-2, m-1, m, -1, 0, and m+1 and -2."""
        north = jnp.stack([seam[:, 1], seam[:, 2], beyond[0]], axis=1)
        south = jnp.stack([beyond[1], seam[:, 3], seam[:, 4]], axis=1)
        return jnp.concatenate([north, south])

    def seam(field, turn):
        both = slab.rows_of(field, turn, m - 2, 4), slab.rows_of(field, turn, 0, 1)
        return jnp.concatenate(both, axis=1)

    def beyond(w, psi):
        """Return psi on rows m+1 and -2."""
        dy, dx = slab.divided.spacing
        mean = jnp.mean(psi[:, 2] + psi[:, 0] - 2 * psi[:, 1], axis=-1, keepdims=True) / dy**2
        mean += jnp.mean(w[:, 1], axis=-1, keepdims=True)  # of w: along x the second difference has none

        def next_row(here, before, w):
            second = (jnp.roll(here, 1, -1) + jnp.roll(here, -1, -1) - 2 * here) / dx**2
            return 2 * here - before - dy**2 * (second + w - mean)

        return next_row(psi[:, 2], psi[:, 1], w[:, 2]), next_row(psi[:, 3], psi[:, 4], w[:, 3])

    def pull_back(stage, given, l, spectra, turn, starts=()):
        weights = (coefficients[2][0], coefficients[1][0]) if stage == 0 else (0.0, 0.0)
        _, b, c = coefficients[stage]
        entering, message = calls.exchange(spectra, l[:, 1], l[:, m - 2])
        w, psi = seam(kept.states, turn), seam(kept.psis, turn)
        block = around(seam(l[None], np.int32(0)), (entering.last, entering.first))
        local = jacobian(block, around(psi, beyond(w, psi)), grid=slab.grid, scheme=SECOND[scheme], backend="xla")
        terms = linear_terms(block, grid=slab.grid)
        both = x._replace(**{name: p if (p := getattr(x, name)).shape[0] == 1 else jnp.tile(p, 2) for name in terms})
        rate = local + sum(getattr(both, name)[:, None, None] * term for name, term in terms.items())
        north, south = jnp.split(rate[:, 1:2], 2)
        solved = calls.edges_of_psi(entering, message)
        edges = b * l[:, m:] + (c * x.dt)[:, None, None] * (solved + jnp.concatenate([north, south], axis=1))
        first, second = starts or (l, l)
        if stage == 0:
            edges = edges + weights[0] * first[:, m:] + weights[1] * second[:, m:]
        arrays, packed = [first, second, l], calls.packed(entering)[0]
        l_out, spectra, totals = calls.sweep(
            stage, weights, given, arrays, kept, turn, packed, edges, spectra, by_parameter
        )
        return l_out, spectra, totals, (c * x.dt)[:, None, None] * slab.trim(l)

    def step(carry, inputs):
        (l, *spectra), forced = carry[0], carry[1]
        number, force = inputs
        given, first = x._replace(forcing=force_of(force)), STAGES * number
        late, spectra, *third = pull_back(2, given, l, spectra, first + 2)
        early, spectra, *second = pull_back(1, given, late, spectra, first + 1)
        out, spectra, *one = pull_back(0, given, early, spectra, first, (l, late))
        totals, forces = (sum(each[1:], each[0]) for each in zip(third, second, one, strict=True))
        forced = forced + forces if steady else forced
        return ([out, *spectra], forced), (totals, forces if wrt.forcing and not steady else None)

    own = jax.lax.all_gather(jnp.stack([cotangent[:, 0], cotangent[:, -1]]), slab.divided.axis)
    here, parts = jax.lax.axis_index(slab.divided.axis), slab.divided.parts
    edges = jnp.stack([own[(here + 1) % parts, 0], own[(here - 1) % parts, 1]], axis=1)
    l = with_edges(slab.pad(cotangent), edges)
    spectra = calls.begin_sweep(kept.states, l, x.forcing)
    none = jnp.zeros(cotangent.shape if steady else (1, 1, 1), cotangent.dtype)
    numbers = jnp.arange(steps, dtype=jnp.int32)
    ((l, *_), forced), (totals, forces) = jax.lax.scan(
        step, ([l, *spectra], none), (numbers, every), length=steps, reverse=True
    )
    shares = [None] * 3
    if by_parameter:
        by_row = jnp.sum(totals, axis=0).reshape(l.shape[0], -1, 3)[:, :m]
        shares = list(jnp.sum(by_row, axis=1).T)
    made = Operands(slab.trim(l), *shares, forcing=forced[None] if forces is None else forces)
    return [value for value, wanted in zip(made, wrt, strict=True) if wanted]
