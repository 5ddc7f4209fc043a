"""Time steps of a slab by Warp: each stage is one foreign call, and one collective.

Functions run on each device, inside a `shard_map`. Fields have the two rows of `slab.Slab` around them. What a call
hands to the next one is the *spectra* of a state: its sums over the slabs of blocks and, where there is a tangent, the
transforms of its rows.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..._coefficients import SECOND, STAGES, metric, runge_kutta
from ..._grid import DividedGrid
from ..._kernels.finite_difference import divided as kernels
from ..._kernels.finite_difference.plan import Plan
from ..._kernels.finite_difference.planner import make_divided_plan
from ..._kernels.finite_difference.setting import Setting
from ..._kernels.hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY
from ..._kernels.hardware.numbers import complex_type
from ..._primitives.operands import Operands, split
from ..._support import shared_memory
from ..algebra import linear_terms
from ..calls import call_with_tables, places
from ..jacobian import jacobian
from ..kept import Kept
from .entering import Exchange, Message, constants, scaled
from .slab import Slab


@dataclasses.dataclass(frozen=True)
class Calls:
    """The foreign calls of the steps of one or two fields, a state and its tangent."""

    slab: Slab
    scheme: str
    plan: Plan

    def begin(self, fields, forcing, keep: bool):
        """Return the spectra of fields without rows around them. `forcing`, `keep`: of the stages to come."""
        count, batch, forced = len(fields), fields[0].shape[0], forcing.shape[-1] > 1

        def launch(tables, *arrays):
            kernels.begin(self._setting(tables), list(arrays[:count]), arrays[count:], forced, keep)

        padded = [self.slab.pad(field) for field in fields]
        return self._call(launch, ["begin", forced, keep], padded, [self.plan.real] * count, self._spectra(batch))

    def stage(self, stage: int, parameters: list[Operands], start, state, entering, spectra, keep: bool):
        """Return the fields after a stage, their spectra, and with `keep` the streamfunction.

        `parameters`: of the state, and of its tangent. Their forcing is that of the step, with two more rows, or a
        single number.
        """
        plan, count, batch = self.plan, len(state), state[0].shape[0]
        number, field = complex_type(plan.real), (plan.real, state[0].shape)
        flat = [value for each in parameters for value in each[1:]]
        made = [field] * (count + keep) + [self._sums(batch)] + self._spectra(batch)
        types = [plan.real] * (len(flat) + 2 * count) + [number] * (count + len(spectra))

        def launch(tables, *arrays):
            rest = iter(arrays)
            x = [Operands(None, *(next(rest) for _ in Operands._fields[1:])) for _ in parameters]
            start, state, entering = ([next(rest) for _ in range(count)] for _ in range(3))
            given = [next(rest) for _ in spectra]
            out, psi, solved = [next(rest) for _ in range(count)], next(rest) if keep else None, next(rest)
            fixed = self._setting(tables), stage, [places(each) for each in x]
            kernels.stage(*fixed, start, state, entering, given, solved, out, psi, list(rest))

        key = ["stage", stage, keep, *([value.shape[-1] > 1 for value in flat])]
        out = self._call(launch, key, [*flat, *start, *state, *entering, *spectra], types, made)
        return out[:count], out[count + keep + 1 :], out[count] if keep else None

    def begin_sweep(self, state, cotangent, forcing, by_parameter: bool):
        """Return the spectra of F(w, l)."""
        forced = forcing.shape[-1] > 1

        def launch(tables, state, cotangent, *spectra):
            kernels.begin_sweep(self._setting(tables), forced, by_parameter, state, cotangent, spectra)

        key = ["begin sweep", forced, by_parameter]
        return self._call(launch, key, [state, cotangent], [self.plan.real] * 2, self._spectra(state.shape[0]))

    def sweep(self, stage: int, weights, x: Operands, arrays, entering, edges, spectra, by_parameter: bool):
        """Return the cotangent of a stage's input, the spectra of the next F, and sums of rows for the parameters.

        `weights`, `arrays`: as in `_kernels.finite_difference.divided.sweep`. `x`: as in `stage`.
        """
        plan, batch = self.plan, edges.shape[0]
        number, size = complex_type(plan.real), batch * plan.shape[0] * 3 if by_parameter else 1
        made = [(plan.real, arrays[0].shape), (plan.real, (size,)), self._sums(batch), *self._spectra(batch)]
        types = [plan.real] * (len(x[1:]) + len(arrays) + 1) + [number] * (1 + len(spectra))

        def launch(tables, *given):
            rest = iter(given)
            x = Operands(None, *(next(rest) for _ in Operands._fields[1:]))
            read, edges, entering = [next(rest) for _ in arrays], next(rest), next(rest)
            spectra_in, out, totals, solved = [next(rest) for _ in spectra], next(rest), next(rest), next(rest)
            rows = totals if by_parameter else None
            fixed = self._setting(tables), stage, weights, places(x)
            kernels.sweep(*fixed, read, entering, edges, spectra_in, solved, out, list(rest), rows)

        key = ["sweep", stage, x.forcing.shape[-1] > 1, by_parameter]
        out, totals, _, *spectra = self._call(launch, key, [*x[1:], *arrays, edges, entering, *spectra], types, made)
        return out, spectra, totals

    def exchange(self, spectra, first, last):
        """Return what enters, and the message, which has the sums of fields and a first and a last row of each."""
        half = self.plan.half
        sums = spectra[0].reshape(first.shape[0], *spectra[0].shape[2:])
        south, north = (jax.lax.complex(z[..., 0], z[..., 1]) for z in (sums[:, 0, :half], sums[:, -1, :half]))
        mean = jnp.stack([south[:, 0].real, south[:, 0].imag, north[:, 0].real], axis=-1)
        message = Message(south, north, mean, first, last)
        return Exchange(self.slab.divided)(message), message

    def exchange_edges(self, fields, spectra):
        """Return fields with the rows of other devices, what enters, and the message.

        `fields` have two rows at their end, of any values.
        """
        rows = jnp.concatenate(fields)
        entering, message = self.exchange(spectra, rows[:, 0], rows[:, -3])
        edges = jnp.split(jnp.stack([entering.last, entering.first], axis=1), len(fields))
        return [with_edges(*pair) for pair in zip(fields, edges, strict=True)], entering, message

    def packed(self, entering: Message, count: int = 1):
        """Return what enters each field as kernels take it, ``(batch, 2, half, 2)``."""
        dp, excess, dq = (entering.mean[:, i] for i in range(3))
        south = entering.south.at[:, 0].set(jax.lax.complex(dp, excess))
        north = entering.north.at[:, 0].set(jax.lax.complex(dq, jnp.zeros_like(dq)))
        both = jnp.stack([south, north], axis=1)
        return jnp.split(jnp.stack([both.real, both.imag], axis=-1), count)

    def edges_of_psi(self, entering: Message, message: Message):
        """Return rows m and -1 of psi.

        Those of a periodic slab are its rows 0 and m-1, so p and s are the same at either end of it.
        """
        about, m, real = constants(self.slab.divided), self.slab.divided.rows, message.mean.dtype
        rate, green = jnp.asarray(about.rate, real)[None], jnp.asarray(about.green, real)[None]
        once, through = jnp.exp(-rate), jnp.exp(-rate * m)
        south, north, p_in, s_in = message.south, message.north, entering.south, entering.north
        last = scaled(green, north + s_in + scaled(once, south + scaled(through, p_in)))
        first = scaled(green, south + p_in + scaled(once, north + scaled(through, s_in)))
        (dp, excess, dq), (p, _, q) = entering.mean.T, message.mean.T
        of_mean = jnp.stack([q + dq, p + q + (m + 1) * dp + m * (m + 1) / 2 * excess + dq], axis=1)
        of_mean = self.slab.divided.spacing[0] ** 2 * of_mean
        is_mean = (np.arange(self.plan.half) == 0)[None, None]
        rows = jnp.stack([last, first], axis=1)
        rows = jnp.where(is_mean, jax.lax.complex(of_mean, jnp.zeros_like(of_mean))[..., None], rows)
        return jnp.fft.irfft(rows, n=self.slab.divided.shape[1], axis=-1) / 2  # spectra of kernels are twice those

    def _setting(self, tables):
        return Setting(self.plan, self.scheme, metric(self.slab.divided.spacing), 1, tables)

    def _sums(self, batch):
        return complex_type(self.plan.real), self.plan.scratch(batch)[0]

    def _spectra(self, batch):
        return [(complex_type(self.plan.real), shape) for shape in self.plan.scratch(batch)]

    def _call(self, launch, key, operands, types, outputs):
        grid = self.slab.divided.of_rows(self.slab.divided.rows)  # whose constants are those of a periodic slab
        key = ["divided", self.scheme, *key]
        return list(call_with_tables(launch, self.plan, grid, operands, key, outputs, types=types))


def _calls(slab: Slab, scheme: str, omega, kind: str) -> Calls:
    shape, dtype = (slab.divided.rows, slab.divided.shape[1]), np.dtype(omega.dtype).name
    return Calls(slab, scheme, make_divided_plan(shape, dtype, omega.shape[0], shared_memory(), kind))


def tangent_fits(omega, *, grid: DividedGrid, platform: str) -> bool:
    """Return whether the lines of state and tangent fit the shared memory of the devices here."""
    limit = CPU_MEMORY if platform == "cpu" else shared_memory() or SHARED_MEMORY
    plan = _calls(Slab(grid), "", omega, "tangent").plan.on(platform == "cpu")
    return plan.stage_lines.nbytes <= limit and plan.stage_lines.block_dim <= LARGEST_BLOCK


def with_edges(field, edges):
    """Return a field with its last two rows replaced."""
    return jax.lax.dynamic_update_slice_in_dim(field, edges, field.shape[1] - 2, axis=1)


def _padded(forcing, slab: Slab):
    """Return the operand of a scan over steps, and the function that gets a step's forcing from it."""
    if forcing.shape[-1] > 1:
        forcing = jax.vmap(slab.pad)(forcing)
    if forcing.shape[0] == 1:
        return None, lambda _: forcing
    return forcing, lambda force: force[None]


def advance(*operands, slab: Slab, scheme, steps, keep=False, direct=False, repeats=1):
    """Take the steps of `algebra.advance`."""
    x, _ = split(operands, Operands)
    calls = _calls(slab, scheme, x.omega, "state")
    every, force_of = _padded(x.forcing, slab)

    def step(carry, force):
        (state, *spectra), start, kept = carry, None, []
        given = [x._replace(forcing=force_of(force))]
        for stage in range(STAGES):
            (state,), entering, message = calls.exchange_edges([state], spectra)
            start = state if stage == 0 else start
            packed = calls.packed(entering, 1)
            (new,), spectra, psi = calls.stage(stage, given, [start], [state], packed, spectra, keep)
            if keep:
                kept.append(Kept(state, with_edges(psi, calls.edges_of_psi(entering, message))))
            state = new
        return [state, *spectra], Kept(*map(jnp.stack, zip(*kept, strict=True))) if keep else None

    first = [slab.pad(x.omega), *calls.begin([x.omega], x.forcing, keep)]
    (out, *_), kept = jax.lax.scan(step, first, every, length=steps * repeats)
    if kept is None:
        return [slab.trim(out)]
    return [slab.trim(out), *(field.reshape(STAGES * steps, *field.shape[2:]) for field in kept)]


def advance_jvp(*operands, slab: Slab, scheme, steps):
    """Take the steps of `algebra.advance_jvp`."""
    x, dx, _ = split(operands, Operands, Operands)
    if (x.forcing.shape[-1] > 1) != (dx.forcing.shape[-1] > 1):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each if each.forcing.shape[-1] > 1 else each._replace(forcing=none) for each in (x, dx))
    calls = _calls(slab, scheme, x.omega, "tangent")
    (every, force_of), (devery, dforce_of) = _padded(x.forcing, slab), _padded(dx.forcing, slab)

    def step(carry, forces):
        fields, spectra, start = carry[:2], carry[2:], None
        given = [x._replace(forcing=force_of(forces[0])), dx._replace(forcing=dforce_of(forces[1]))]
        for stage in range(STAGES):
            fields, entering, _ = calls.exchange_edges(fields, spectra)
            start = fields if stage == 0 else start
            fields, spectra, _ = calls.stage(stage, given, start, fields, calls.packed(entering, 2), spectra, False)
        return [*fields, *spectra], None

    first = [slab.pad(x.omega), slab.pad(dx.omega), *calls.begin([x.omega, dx.omega], x.forcing, False)]
    out, _ = jax.lax.scan(step, first, (every, devery), length=steps)
    return [slab.trim(field) for field in out[:2]]


def adjoint(*operands, slab: Slab, scheme, steps, wrt):
    """Sweep backwards, as `algebra.adjoint` does, over stages that were kept.

    F(w, l) needs l on rows -1 and m, before any message of the next stage. So each device computes these rows of l too.
    It needs rows -2 and m+1 of the cotangent before, which come with the message, and psi there, which follows from the
    Poisson equation. The first cotangent has a message of its own.
    """
    x, (cotangent, *kept) = split(operands, Operands)
    calls, m = _calls(slab, scheme, x.omega, "sweep"), slab.divided.rows
    by_parameter, steady = wrt.viscosity or wrt.drag or wrt.dt, wrt.forcing and x.forcing.shape[0] == 1
    stages = Kept(*(field.reshape(steps, STAGES, *field.shape[1:]) for field in kept))
    every, force_of = _padded(x.forcing, slab)
    coefficients = runge_kutta(x.omega.dtype)

    def around(rows, beyond):
        """Return rows m-1, m, m+1 and -2, -1, 0 as members, given m+1 and -2."""
        north = jnp.stack([rows[:, m - 1], rows[:, m], beyond[0]], axis=1)
        south = jnp.stack([beyond[1], rows[:, m + 1], rows[:, 0]], axis=1)
        return jnp.concatenate([north, south])

    def beyond(w, psi):
        """Return psi on rows m+1 and -2."""
        dy, dx = slab.divided.spacing
        mean = jnp.mean(psi[:, m] + psi[:, m - 2] - 2 * psi[:, m - 1], axis=-1, keepdims=True) / dy**2
        mean += jnp.mean(w[:, m - 1], axis=-1, keepdims=True)  # of w: along x the second difference has none

        def next_row(here, before, w):
            second = (jnp.roll(here, 1, -1) + jnp.roll(here, -1, -1) - 2 * here) / dx**2
            return 2 * here - before - dy**2 * (second + w - mean)

        return next_row(psi[:, m], psi[:, m - 1], w[:, m]), next_row(psi[:, m + 1], psi[:, 0], w[:, m + 1])

    def pull_back(stage, given, l, spectra, w, psi, before, first=None, second=None):
        weights = (coefficients[2][0], coefficients[1][0]) if stage == 0 else (0.0, 0.0)
        _, b, c = coefficients[stage]
        entering, message = calls.exchange(spectra, l[:, 1], l[:, m - 2])
        block = around(l, (entering.last, entering.first))
        local = jacobian(block, around(psi, beyond(w, psi)), grid=slab.grid, scheme=SECOND[scheme], backend="xla")
        terms = linear_terms(block, grid=slab.grid)
        both = Operands(None, *(p if p.shape[0] == 1 else jnp.tile(p, 2) for p in x[1:4]), None)
        rate = local + sum(getattr(both, name)[:, None, None] * term for name, term in terms.items())
        north, south = jnp.split(rate[:, 1:2], 2)
        solved = calls.edges_of_psi(entering, message)
        edges = b * l[:, m:] + (c * x.dt)[:, None, None] * (solved + jnp.concatenate([north, south], axis=1))
        first, second = (l, l) if first is None else (first, second)
        if stage == 0:
            edges = edges + weights[0] * first[:, m:] + weights[1] * second[:, m:]
        arrays = [first, second, l, psi, w, before]
        l_out, spectra, totals = calls.sweep(
            stage, weights, given, arrays, calls.packed(entering)[0], edges, spectra, by_parameter
        )
        return l_out, spectra, totals, (c * x.dt)[:, None, None] * slab.trim(l)

    def step(carry, inputs):
        (l, *spectra), forced = carry[0], carry[1]
        kept, number, force = inputs
        given = x._replace(forcing=force_of(force))
        previous = jax.lax.dynamic_index_in_dim(stages.states, jnp.maximum(number - 1, 0), keepdims=False)[STAGES - 1]
        late, spectra, *third = pull_back(2, given, l, spectra, kept.states[2], kept.psis[2], kept.states[1])
        early, spectra, *second = pull_back(1, given, late, spectra, kept.states[1], kept.psis[1], kept.states[0])
        out, spectra, *one = pull_back(0, given, early, spectra, kept.states[0], kept.psis[0], previous, l, late)
        totals, forces = (sum(each[1:], each[0]) for each in zip(third, second, one, strict=True))
        forced = forced + forces if steady else forced
        return ([out, *spectra], forced), (totals, forces if wrt.forcing and not steady else None)

    own = jax.lax.all_gather(jnp.stack([cotangent[:, 0], cotangent[:, -1]]), slab.divided.axis)
    here, parts = jax.lax.axis_index(slab.divided.axis), slab.divided.parts
    edges = jnp.stack([own[(here + 1) % parts, 0], own[(here - 1) % parts, 1]], axis=1)
    l = with_edges(slab.pad(cotangent), edges)
    spectra = calls.begin_sweep(stages.states[-1, -1], l, x.forcing, by_parameter)
    none = jnp.zeros(cotangent.shape if steady else (1, 1, 1), cotangent.dtype)
    numbers = jnp.arange(steps, dtype=jnp.int32)
    ((l, *_), forced), (totals, forces) = jax.lax.scan(
        step, ([l, *spectra], none), (stages, numbers, every), length=steps, reverse=True
    )
    shares = [None] * 3
    if by_parameter:
        by_row = jnp.sum(totals, axis=0).reshape(l.shape[0], -1, 3)[:, :m]
        shares = list(jnp.sum(by_row, axis=1).T)
    made = Operands(slab.trim(l), *shares, forcing=forced[None] if forces is None else forces)
    return [value for value, wanted in zip(made, wrt, strict=True) if wanted]
