"""Time steps of a slab by Warp, each segment one foreign call and one CUDA graph on each device.

Between two stages kernels of the devices write messages to each other (`_kernels.finite_difference.exchange`). So the
launches are those of a grid that is not divided, with other `Spectra`.

Functions run on each device, inside a `shard_map`. Mailboxes are allocated and kernels loaded when they are traced,
since both may wait for a device.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

from ..._coefficients import STAGES, metric
from ..._kernels.finite_difference import divided as kernels
from ..._kernels.finite_difference import messages, operators, stage, sweep
from ..._kernels.finite_difference.operators import ROW_BLOCK
from ..._kernels.finite_difference.plan import Plan
from ..._kernels.finite_difference.planner import make_divided_plan
from ..._kernels.finite_difference.setting import Setting
from ..._kernels.finite_difference.sums import forcing_sum
from ..._kernels.hardware.fill import FILL_BLOCK, fill
from ..._kernels.hardware.groups import Group, Together
from ..._kernels.hardware.numbers import complex_type
from ..._primitives.operands import Operands, split
from ..._support import device_groups, shared_memory
from ..calls import call_with_tables, places
from ..kept import Kept
from .calls import tangent_fits
from .entering import constants
from .slab import Slab

__all__ = ["adjoint", "advance", "advance_jvp", "tangent_fits"]


@dataclasses.dataclass(frozen=True)
class Segment:
    """The foreign call of a segment of steps."""

    slab: Slab
    scheme: str
    steps: int
    batch: int
    plan: Plan
    groups: list[Group]  # this process has devices of some

    @classmethod
    def of(cls, slab: Slab, scheme: str, steps: int, omega, kind: str, platform: str) -> "Segment":
        """Make the segment of these states. `kind`: as in `planner.make_divided_plan`."""
        shape = slab.divided.rows, slab.divided.shape[1]
        plan = make_divided_plan(shape, np.dtype(omega.dtype).name, omega.shape[0], shared_memory(), kind)
        return cls(slab, scheme, steps, omega.shape[0], plan.on(platform == "cpu"), device_groups(slab.divided))

    def load(self, needed: list, centre: bool) -> None:
        """Load kernels, given with the threads of their blocks, and those of messages. `centre`: as in `between`."""
        devices = [wp.get_device(alias) for group in self.groups for alias in group.own]
        needed = needed + messages.message_kernels(self.plan, centre, self.slab.divided.parts)
        kernels.load_kernels([*needed, (fill, FILL_BLOCK)], devices)

    def call(self, launch, x, key, outputs, aliases, **how):
        """Call ``launch(setting, *x, *outputs)``. What it hands from kernel to kernel is `scratch`."""
        divided, plan = self.slab.divided, self.plan
        pairs = [(group, messages.mailboxes_of(plan, self.batch, group)) for group in self.groups if group.own]

        def launched(tables, *arrays):
            weights, *arrays, entering = arrays[len(x)], *arrays[: len(x)], *arrays[len(x) + 1 :]
            here = tables.modes.table.device.alias
            mine = next(both for group, both in pairs if here in group.own)
            rows, sums = (each.of(here) for each in mine)
            others = messages.Others(divided.parts, rows, sums, weights, entering)
            spectra = functools.partial(messages.SlabSpectra, others=others)
            launch(Setting(plan, self.scheme, metric(divided.spacing), self.steps, tables, spectra), *arrays)

        number, weights = complex_type(plan.real), jnp.asarray(constants(divided).weights, plan.dtype)
        entering = number, (plan.fields, self.batch, 2, plan.half)
        scratch = [(number, shape) for shape in plan.scratch(self.batch)]
        made = call_with_tables(
            launched,
            plan,
            divided.of_rows(divided.rows),  # whose constants are those of a periodic slab
            [*x, weights],
            ["peers", self.scheme, self.steps, divided.extent, tuple(self.groups), *key],
            [*outputs, *scratch, entering],
            aliases=aliases,
            together=Together([each for _, both in pairs for each in both]),
            **how,
        )
        return made[: len(outputs)]

    def padded(self, x: Operands) -> Operands:
        """Return operands whose fields have room for two more rows."""
        forcing = jax.vmap(self.slab.pad)(x.forcing) if x.forcing.shape[-1] > 1 else x.forcing
        return x._replace(omega=self.slab.pad(x.omega), forcing=forcing)


def advance(*operands, slab: Slab, platform, scheme, steps, keep=False, direct=False, repeats=1):
    """Take the steps of `algebra.advance`, and their repetitions."""
    x, _ = split(operands, Operands)
    segment = Segment.of(slab, scheme, steps, x.omega, "state", platform)
    segment.load(kernels.step_kernels(segment.plan, scheme, x.forcing.shape[-1] > 1, keep), centre=False)
    x = segment.padded(x)
    shape, real = x.omega.shape, segment.plan.real
    through_memory = segment.plan.through_memory
    kept, between = (real, (STAGES * steps, *shape)), (real, (STAGES - 1 + through_memory, *shape))

    def launch(setting, *given):
        x, (out, between, *scratch) = split(given, Operands)
        psis = [between[STAGES - 1]] * STAGES * steps if through_memory else None
        stage.advance(setting, places(x), out, [between[0], between[1], out] * steps, psis, scratch)

    def launch_and_keep(setting, *given):
        x, (out, *rest) = split(given, Operands)
        kept, scratch = split(rest, Kept)
        operators.copy(setting.plan, x.omega, kept.states[0])
        targets = [*(kept.states[s] for s in range(1, kept.states.shape[0])), out]
        stage.advance(setting, places(x), kept.states[0], targets, kept.psis, scratch)

    if keep:
        out, *kept = segment.call(launch_and_keep, x, ["keep"], [(real, shape), kept, kept], {0: 0})
        return [slab.trim(out), *kept]
    out, _ = segment.call(launch, x, ["advance"], [(real, shape), between], {0: 0}, repeats=repeats)
    return [slab.trim(out)]


def advance_jvp(*operands, slab: Slab, platform, scheme, steps):
    """Take the steps of `algebra.advance_jvp`."""
    x, dx, _ = split(operands, Operands, Operands)
    if (x.forcing.shape[-1] > 1) != (dx.forcing.shape[-1] > 1):  # one of forcing and its tangent is missing
        none = jnp.zeros((1, 1, *x.omega.shape[1:]), x.omega.dtype)
        x, dx = (each if each.forcing.shape[-1] > 1 else each._replace(forcing=none) for each in (x, dx))
    segment = Segment.of(slab, scheme, steps, x.omega, "tangent", platform)
    segment.load(kernels.step_kernels(segment.plan, scheme, x.forcing.shape[-1] > 1, False), centre=False)
    x, dx, through_memory = segment.padded(x), segment.padded(dx), segment.plan.through_memory

    def launch(setting, *given):
        x, dx, (out, dout, between, *scratch) = split(given, Operands, Operands)
        targets = [*((between[2 * s], between[2 * s + 1]) for s in range(STAGES - 1)), (out, dout)] * steps
        psis = [(between[2 * STAGES - 2], between[2 * STAGES - 1])] * STAGES * steps if through_memory else None
        stage.tangent(setting, places(x), places(dx), out, dout, targets, psis, scratch)

    field, count = (segment.plan.real, x.omega.shape), 2 * (STAGES - 1 + through_memory)
    between = segment.plan.real, (count, *x.omega.shape)
    made = segment.call(launch, [*x, *dx], ["advance_jvp"], [field, field, between], {0: 0, len(x): 1})
    return [slab.trim(field) for field in made[:2]]


def adjoint(*operands, slab: Slab, platform, scheme, steps, wrt):
    """Sweep backwards, as `algebra.adjoint` does, over stages that were kept."""
    x, (cotangent, *kept) = split(operands, Operands)
    segment = Segment.of(slab, scheme, steps, cotangent, "sweep", platform)
    by_parameter, by_forcing = wrt.viscosity or wrt.drag or wrt.dt, wrt.forcing
    needed = kernels.sweep_kernels(segment.plan, scheme, x.forcing.shape[-1] > 1)
    segment.load([*needed, *[(forcing_sum(segment.plan), ROW_BLOCK)] * by_forcing], centre=True)
    x = segment.padded(x._replace(omega=cotangent))
    shape, real = x.omega.shape, segment.plan.real
    forcing = (x.forcing.shape[0], *shape) if by_forcing else (1,)

    def launch(setting, *given):
        x, kept, (result, sums, forcing, work, *scratch) = split(given, Operands, Kept)
        totals = [sums if by_parameter else None, forcing if by_forcing else None, None, None]
        # the cotangent of a step replaces the one that it began with: a block reads a point before it writes it
        fields = [work[i] for i in range(work.shape[0])]
        fields.insert(2, result)
        sweep.adjoint(setting, places(x), x.dt, kept, result, result, fields, scratch, totals)

    outputs = [
        shape,
        (shape[0] * shape[1] * 3 if by_parameter else 1,),
        forcing,
        (2 + segment.plan.through_memory, *shape),
    ]
    made = segment.call(launch, [*x, *kept], ["adjoint", wrt], [(real, shape) for shape in outputs], {0: 0})
    shares = [None] * 3
    if by_parameter:
        by_row = made[1].reshape(shape[0], -1, 3)[:, : slab.divided.rows]
        shares = list(jnp.sum(by_row, axis=1).T)
    of_forcing = jax.vmap(slab.trim)(made[2]) if by_forcing else None
    result = Operands(slab.trim(made[0]), *shares, forcing=of_forcing)
    return [value for value, wanted in zip(result, wrt, strict=True) if wanted]
