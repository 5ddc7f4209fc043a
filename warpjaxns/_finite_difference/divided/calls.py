"""Time steps of a slab by Warp: each stage is one foreign call, and one collective.

Functions run on each device, inside a `shard_map`. Fields have the two rows of `slab.Slab` around them. What a call
hands to the next one is the *spectra* of a state: its sums over the slabs of blocks and, where there is a tangent, the
transforms of its rows.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..._coefficients import STAGES, metric
from ..._grid import DividedGrid
from ..._kernels.finite_difference import divided as kernels
from ..._kernels.finite_difference.plan import Plan
from ..._kernels.finite_difference.planner import make_divided_plan
from ..._kernels.finite_difference.setting import Setting
from ..._kernels.hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY
from ..._kernels.hardware.numbers import complex_type
from ..._primitives.operands import Operands, split
from ..._support import shared_memory
from ..calls import call_with_tables, places
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

    def exchange(self, fields, spectra):
        """Return fields with the rows of other devices, what enters, and the message: lists, one for each field.

        `fields` have two rows at their end, of any values.
        """
        half, batch = self.plan.half, fields[0].shape[0]
        sums = spectra[0].reshape(len(fields) * batch, *spectra[0].shape[2:])
        south, north = (jax.lax.complex(z[..., 0], z[..., 1]) for z in (sums[:, 0, :half], sums[:, -1, :half]))
        mean = jnp.stack([south[:, 0].real, south[:, 0].imag, north[:, 0].real], axis=-1)
        rows = jnp.concatenate(fields)
        message = Message(south, north, mean, rows[:, 0], rows[:, -3])
        entering = Exchange(self.slab.divided)(message)
        around = jnp.stack([entering.last, entering.first], axis=1)
        count = len(fields)
        filled = [
            jax.lax.dynamic_update_slice_in_dim(field, edge, field.shape[1] - 2, axis=1)
            for field, edge in zip(fields, jnp.split(around, count), strict=True)
        ]
        return filled, entering, message

    def packed(self, entering: Message, count: int):
        """Return what enters each field as kernels take it, ``(batch, 2, half, 2)``."""
        dp, excess, dq = (entering.mean[:, i] for i in range(3))
        south = entering.south.at[:, 0].set(jax.lax.complex(dp, excess))
        north = entering.north.at[:, 0].set(jax.lax.complex(dq, jnp.zeros_like(dq)))
        both = jnp.stack([south, north], axis=1)
        return jnp.split(jnp.stack([both.real, both.imag], axis=-1), count)

    def psi_around(self, psi, entering: Message, message: Message):
        """Return psi, whose last two rows have any values, with the rows of other devices.

        Rows m and -1 of a periodic slab are rows 0 and m-1, so p and s are the same at either end of it.
        """
        about, m, real = constants(self.slab.divided), self.slab.divided.rows, psi.dtype
        rate, green = jnp.asarray(about.rate, real)[None], jnp.asarray(about.green, real)[None]
        once, through = jnp.exp(-rate), jnp.exp(-rate * m)
        south, north, p_in, s_in = message.south, message.north, entering.south, entering.north
        last = scaled(green, north + s_in + scaled(once, south + scaled(through, p_in)))
        first = scaled(green, south + p_in + scaled(once, north + scaled(through, s_in)))
        (dp, excess, dq), (p, _, q) = entering.mean.T, message.mean.T
        of_mean = jnp.stack([q + dq, p + q + (m + 1) * dp + m * (m + 1) / 2 * excess + dq], axis=1)
        rows = jnp.stack([last, first], axis=1)
        is_mean = (np.arange(self.plan.half) == 0)[None, None]
        dy = self.slab.divided.spacing[0]
        rows = jnp.where(is_mean, jax.lax.complex(dy**2 * of_mean, jnp.zeros_like(of_mean))[..., None], rows)
        # the spectra of kernels are twice those of `jnp.fft`
        around = jnp.fft.irfft(rows, n=self.slab.divided.shape[1], axis=-1) / 2
        return jax.lax.dynamic_update_slice_in_dim(psi, around, m, axis=1)

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


def _calls(slab: Slab, scheme: str, omega, count: int) -> Calls:
    shape, dtype = (slab.divided.rows, slab.divided.shape[1]), np.dtype(omega.dtype).name
    return Calls(slab, scheme, make_divided_plan(shape, dtype, omega.shape[0], shared_memory(), count))


def tangent_fits(omega, *, grid: DividedGrid, platform: str) -> bool:
    """Return whether the lines of state and tangent fit the shared memory of the devices here."""
    limit = CPU_MEMORY if platform == "cpu" else shared_memory() or SHARED_MEMORY
    plan = _calls(Slab(grid), "", omega, 2).plan.on(platform == "cpu")
    return plan.stage_lines.nbytes <= limit and plan.stage_lines.block_dim <= LARGEST_BLOCK


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
    calls = _calls(slab, scheme, x.omega, 1)
    every, force_of = _padded(x.forcing, slab)

    def step(carry, force):
        (state, *spectra), start, kept = carry, None, []
        given = [x._replace(forcing=force_of(force))]
        for stage in range(STAGES):
            (state,), entering, message = calls.exchange([state], spectra)
            start = state if stage == 0 else start
            packed = calls.packed(entering, 1)
            (new,), spectra, psi = calls.stage(stage, given, [start], [state], packed, spectra, keep)
            if keep:
                kept.append(Kept(state, calls.psi_around(psi, entering, message)))
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
    calls = _calls(slab, scheme, x.omega, 2)
    (every, force_of), (devery, dforce_of) = _padded(x.forcing, slab), _padded(dx.forcing, slab)

    def step(carry, forces):
        fields, spectra, start = carry[:2], carry[2:], None
        given = [x._replace(forcing=force_of(forces[0])), dx._replace(forcing=dforce_of(forces[1]))]
        for stage in range(STAGES):
            fields, entering, _ = calls.exchange(fields, spectra)
            start = fields if stage == 0 else start
            fields, spectra, _ = calls.stage(stage, given, start, fields, calls.packed(entering, 2), spectra, False)
        return [*fields, *spectra], None

    first = [slab.pad(x.omega), slab.pad(dx.omega), *calls.begin([x.omega, dx.omega], x.forcing, False)]
    out, _ = jax.lax.scan(step, first, (every, devery), length=steps)
    return [slab.trim(field) for field in out[:2]]
