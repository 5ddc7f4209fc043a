"""Foreign calls of the stages of a slab, and the message between two of them.

Functions run on each device, inside a `shard_map`. Fields have the two rows of `slab.Slab` around them. What a call
hands to the next one is the *spectra* of a field: its sums over the slabs of blocks and, unless they are transformed
anew, the transforms of its rows.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

from ..._coefficients import STAGES, metric
from ..._kernels.finite_difference import divided as kernels
from ..._kernels.finite_difference.plan import Plan
from ..._kernels.finite_difference.setting import Setting
from ..._kernels.hardware.numbers import complex_type
from ..._primitives.operands import Operands
from ..calls import call_with_tables, places
from ..kept import Kept
from .entering import Exchange, Message, constants, scaled
from .slab import Slab


@dataclasses.dataclass(frozen=True)
class Calls:
    """The foreign calls of the steps of one or two fields, a state and its tangent, or of the sweep.

    Kernels are loaded when calls are traced, on the CUDA devices of this process that hold slabs. To load one later may
    wait for what runs on a device. That may be a collective that waits for a device that wants Warp's lock.
    """

    slab: Slab
    scheme: str
    plan: Plan
    platform: str

    @property
    def devices(self) -> list:
        """The CUDA devices of this process that hold slabs."""
        mine = [d for d in self.slab.divided.devices.devices.flat if d.process_index == jax.process_index()]
        return [wp.get_device(f"cuda:{d.local_hardware_id}") for d in mine if self.platform == "cuda"]

    def begin(self, fields, forcing, steps: int = 0):
        """Return the spectra of fields without rows around them, and room for what reverse mode keeps of `steps`.

        `forcing`: of the stages to come. With no steps nothing is kept.
        """
        count, shape = len(fields), (fields[0].shape[0], fields[0].shape[1] + 2, fields[0].shape[2])
        needed = kernels.step_kernels(self.plan, self.scheme, forcing.shape[-1] > 1, steps > 0)
        kernels.load(self.plan, needed, False, self.devices)
        spectra = self._spectra(shape[0])

        def launch(tables, *arrays):
            kernels.begin(self._setting(tables), list(arrays[:count]), arrays[count : count + len(spectra)])

        room = [(self.plan.real, (STAGES * steps, *shape))] * (2 * (steps > 0))
        padded = [self.slab.pad(field) for field in fields]
        out = self._call(launch, ["begin"], padded, [self.plan.real] * count, spectra + room)
        return out[: len(spectra)], Kept(*out[len(spectra) :]) if steps else None

    def stage(self, stage: int, parameters: list[Operands], start, state, entering, spectra):
        """Return the fields after a stage, and their spectra.

        `parameters`: of the state, and of its tangent. Their forcing is that of the step, with two more rows, or a
        single number.
        """
        plan, count, flat = self.plan, len(state), [value for each in parameters for value in each[1:]]
        made = [(plan.real, state[0].shape)] * count + self._spectra(state[0].shape[0])
        psis = self._work((count, *state[0].shape))

        def launch(tables, *arrays):
            rest = iter(arrays)
            x = [Operands(None, *(next(rest) for _ in Operands._fields[1:])) for _ in parameters]
            start, state, entering = ([next(rest) for _ in range(count)] for _ in range(3))
            spectra_in, out = [next(rest) for _ in spectra], [next(rest) for _ in range(count)]
            fixed = self._setting(tables), stage, [places(each) for each in x]
            psi = [arrays[-1][i] for i in range(count)] if psis else None
            kernels.stage(*fixed, start, state, entering, out, psi, spectra_in)

        key = ["stage", stage, *([value.shape[-1] > 1 for value in flat])]
        operands = [*flat, *start, *state, *entering, *spectra]
        aliases = {len(operands) - len(spectra) + i: count + i for i in range(len(spectra))}
        if stage == STAGES - 1:  # the start is not needed any more
            aliases |= {len(flat) + i: i for i in range(count)}
        types = self._types(len(flat) + 2 * count, count + len(spectra))
        out = self._call(launch, key, operands, types, made + psis, aliases=aliases)
        return out[:count], out[count : len(made)]

    def stage_kept(self, stage: int, x: Operands, state, entering, edges, spectra, kept: Kept, first):
        """Return the state after the last stage of a step, else the given one; the spectra; and what is kept.

        `state`: at the start of the step. Those between stages are in `kept`, where a step begins with the number
        `first`. `edges`: rows m and -1 of the state before the stage. `x`: as in `stage`.
        """
        plan, flat, last = self.plan, x[1:], stage == STAGES - 1
        field = (plan.real, state.shape)
        made = [*self._spectra(state.shape[0]), *((plan.real, each.shape) for each in kept), *[field] * last]

        def launch(tables, *arrays):
            rest = iter(arrays)
            x = Operands(None, *(next(rest) for _ in flat))
            state, edges, entering = next(rest), next(rest), next(rest)
            spectra_in, kept = [next(rest) for _ in spectra], Kept(next(rest), next(rest))
            setting = self._setting(tables)
            out = arrays[-1] if last else kept.states[stage + 1]
            if stage == 0:
                kernels.keep(setting, state, kept.states[0])
            kernels.put_edges(setting, edges, kept.states[stage])
            fields = [kept.states[0]], [kept.states[stage]], [entering], [out]
            kernels.stage(setting, stage, [places(x)], *fields, [kept.psis[stage]], spectra_in)

        operands = [*flat, state, edges, entering, *spectra, *kept]
        before = len(operands) - len(spectra) - 2
        aliases = {before + i: i for i in range(len(spectra) + 2)} | ({len(flat): len(made) - 1} if last else {})
        moving = {len(operands) - 2: 0, len(operands) - 1: 0}
        types = self._types(len(flat) + 2, 1 + len(spectra), 2)
        key = ["stage kept", stage, x.forcing.shape[-1] > 1]
        out = self._call(launch, key, operands, types, made, aliases=aliases, at=first[None], moving=moving)
        return out[-1] if last else state, out[: len(spectra)], Kept(*out[len(spectra) : len(spectra) + 2])

    def begin_sweep(self, states, cotangent, forcing):
        """Return the spectra of F(w, l), where w is the last of the states. `forcing`: of the stages."""
        needed = kernels.sweep_kernels(self.plan, self.scheme, forcing.shape[-1] > 1)
        kernels.load(self.plan, needed, True, self.devices)

        made, work = self._spectra(cotangent.shape[0]), self._work(cotangent.shape)

        def launch(tables, states, cotangent, *arrays):
            last, spectra, work = states[states.shape[0] - 1], arrays[: len(made)], arrays[len(made) :]
            kernels.begin_sweep(self._setting(tables), last, cotangent, spectra, work)

        operands, types = [states, cotangent], [self.plan.real] * 2
        return self._call(launch, ["begin sweep"], operands, types, made + work)[: len(made)]

    def sweep(self, stage: int, weights, x: Operands, fields, kept: Kept, turn, entering, edges, spectra, by_parameter):
        """Return the cotangent of a stage's input, the spectra of the next F, and sums of rows for the parameters.

        `weights`: as in `_kernels.finite_difference.divided.sweep`. `fields`: first, second and the cotangent there.
        `turn`: the number of the stage in `kept`. `x`: as in `stage`.
        """
        plan, batch = self.plan, edges.shape[0]
        size = batch * plan.shape[0] * 3 if by_parameter else 1
        made = [(plan.real, fields[0].shape), (plan.real, (size,)), *self._spectra(batch)]
        work = self._work(fields[0].shape)

        def launch(tables, *given):
            rest = iter(given)
            x = Operands(None, *(next(rest) for _ in Operands._fields[1:]))
            fields, kept = [next(rest) for _ in range(3)], [next(rest)[0] for _ in range(3)]
            edges, entering, spectra_in = next(rest), next(rest), [next(rest) for _ in spectra]
            out, totals = next(rest), next(rest)
            fixed, of_work = (
                (self._setting(tables), stage, weights, places(x), [*fields, *kept]),
                given[-1:] if work else (),
            )
            kernels.sweep(*fixed, entering, edges, out, spectra_in, of_work, totals if by_parameter else None)

        operands = [*x[1:], *fields, kept.psis, kept.states, kept.states, edges, entering, *spectra]
        first = len(x) - 1
        moving = {first + 3: 0, first + 4: 0, first + 5: 1}  # the stage, and the one before
        aliases = {len(operands) - len(spectra) + i: 2 + i for i in range(len(spectra))}
        if stage == 0:  # the first is not needed any more
            aliases |= {first: 0}
        types = self._types(first + 7, 1 + len(spectra))
        key, at = ["sweep", stage, x.forcing.shape[-1] > 1, by_parameter], jnp.stack([turn, jnp.maximum(turn - 1, 0)])
        how = {"aliases": aliases, "at": at, "moving": moving}
        out, totals, *rest = self._call(launch, key, operands, types, made + work, **how)
        return out, rest[: len(spectra)], totals

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
        first, last = (jnp.concatenate([field[:, row] for field in fields]) for row in (0, -3))
        entering, message = self.exchange(spectra, first, last)
        edges = jnp.split(edges_of(entering), len(fields))
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

    def _types(self, reals, numbers, more=0):
        return [self.plan.real] * reals + [complex_type(self.plan.real)] * numbers + [self.plan.real] * more

    def _work(self, shape):
        """Return the type and shape of an array that kernels need where psi goes through memory, else nothing."""
        return [(self.plan.real, shape)] * self.plan.through_memory

    def _spectra(self, batch):
        return [(complex_type(self.plan.real), shape) for shape in self.plan.scratch(batch)]

    def _call(self, launch, key, operands, types, outputs, **how):
        grid = self.slab.divided.of_rows(self.slab.divided.rows)  # whose constants are those of a periodic slab
        key = ["divided", self.scheme, *key]
        return list(call_with_tables(launch, self.plan, grid, operands, key, outputs, types=types, **how))


def edges_of(entering: Message):
    """Return rows m and -1 of a field, ``(batch, 2, nx)``."""
    return jnp.stack([entering.last, entering.first], axis=1)


def with_edges(field, edges):
    """Return a field with its last two rows replaced."""
    return jax.lax.dynamic_update_slice_in_dim(field, edges, field.shape[1] - 2, axis=1)
