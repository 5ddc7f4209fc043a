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

from ..._coefficients import metric
from ..._kernels.finite_difference import divided as kernels
from ..._kernels.finite_difference.plan import Plan
from ..._kernels.finite_difference.setting import Setting
from ..._kernels.hardware.numbers import complex_type
from ..._primitives.operands import Operands
from ..calls import call_with_tables, places
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

    def begin(self, fields, forcing, keep: bool):
        """Return the spectra of fields without rows around them. `forcing`, `keep`: of the stages to come."""
        count, batch = len(fields), fields[0].shape[0]
        kernels.load(self.plan, self.scheme, forcing.shape[-1] > 1, keep, self.devices)

        def launch(tables, *arrays):
            kernels.begin(self._setting(tables), list(arrays[:count]), arrays[count:])

        padded = [self.slab.pad(field) for field in fields]
        return self._call(launch, ["begin"], padded, [self.plan.real] * count, self._spectra(batch))

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

    def begin_sweep(self, state, cotangent, forcing):
        """Return the spectra of F(w, l). `forcing`: of the stages."""
        kernels.load_sweep(self.plan, self.scheme, forcing.shape[-1] > 1, self.devices)

        def launch(tables, state, cotangent, *spectra):
            kernels.begin_sweep(self._setting(tables), state, cotangent, spectra)

        operands, types = [state, cotangent], [self.plan.real] * 2
        return self._call(launch, ["begin sweep"], operands, types, self._spectra(state.shape[0]))

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


def with_edges(field, edges):
    """Return a field with its last two rows replaced."""
    return jax.lax.dynamic_update_slice_in_dim(field, edges, field.shape[1] - 2, axis=1)
