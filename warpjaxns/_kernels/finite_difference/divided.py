"""A stage on the slab of a device, which holds some rows of a grid. `_finite_difference.divided` joins the devices.

A field has the m rows of the device, and two more at its end: row m and row -1, which are the neighbours'. Rows are
taken modulo m + 2, so `stage.stage_rows` finds them where it looks for them.

`between.between` carries sums through the blocks' slabs as if the m rows were periodic. What it gives to the first and
to the last of them is the device's message. A block adds what enters from other devices (`entering`).
"""

import functools

import warp as wp

from ..._coefficients import runge_kutta
from ..hardware.address_table import NO_ARRAY, Buffer, Place, Table, kernel, launch
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.views import row_view
from ..parameters import Parameters
from . import further
from .between import between
from .operators import ROW_BLOCK, copy, copy_kernel
from .places import fields, from_others, table_places
from .plan import Plan
from .points import BLOCK, launch_points, source_points, stage_points, sweep_points
from .poisson import Spectra, forward_rows, inverse_rows
from .setting import Setting
from .stage import stage_rows
from .sums import parameter_sums
from .sweep import source_rows, sweep_rows


@functools.cache
def copy_edges(plan: Plan) -> wp.Kernel:
    """Make the kernel that writes the two rows at the end of fields."""
    (ny, nx), real = plan.shape, plan.real
    row, edge = row_view(real, plan.shape), row_view(real, (plan.edges, nx))
    first, count = ny - plan.edges, plan.edges

    @kernel(launch_bounds=ROW_BLOCK)
    def copy_edges(table: Table, edges_at: Place, out_at: Place):
        index, _ = wp.tid()
        member, i, thread = locate(index, count)
        given = edge(table, edges_at, member, i, 0)
        out = row(table, out_at, member, first + i, 0)
        synchronise_dependent_launch()
        for j in range(thread, nx, wp.block_dim()):
            out[j] = given[j]

    return copy_edges


def step_kernels(plan: Plan, scheme: str, forced: bool, keep_psi: bool) -> list:
    """Return the kernels of `begin` and `stage` without messages, and the threads of their blocks.

    `forced`, `keep_psi`: whether there is forcing, or psi.
    """
    kernels = [(forward_rows(plan), plan.slab_lines.block_dim), (copy_kernel(plan), ROW_BLOCK)]
    if plan.through_memory:
        kernels += [(inverse_rows(plan), plan.slab_lines.block_dim), (stage_points(plan, scheme, forced), BLOCK)]
    else:
        kernels.append((stage_rows(plan, scheme, forced=forced, keep_psi=keep_psi), plan.stage_lines.block_dim))
    return kernels


def sweep_kernels(plan: Plan, scheme: str, forced: bool) -> list:
    """Return the kernels of `begin_sweep` and `sweep` without messages, and the threads of their blocks."""
    kernels = [(parameter_sums(plan, scheme, forced), ROW_BLOCK)]
    if plan.through_memory:
        kernels += [(kernel(plan), plan.slab_lines.block_dim) for kernel in (forward_rows, inverse_rows)]
        kernels += [(kernel(plan, scheme), BLOCK) for kernel in (source_points, sweep_points)]
    else:
        kernels.append((source_rows(plan, scheme), plan.slab_lines.block_dim))
        kernels.append((sweep_rows(plan, scheme), plan.sweep_lines.block_dim))
    return kernels


def load(plan: Plan, kernels: list, centre: bool, devices) -> None:
    """Load kernels, given with the threads of their blocks, and those around messages. `centre`: as in `between`."""
    load_kernels(
        [*kernels, (copy_edges(plan), ROW_BLOCK), (between(plan, centre), plan.column_chunks.block_dim)], devices
    )


def load_kernels(kernels: list, devices) -> None:
    """Load kernels, given with the threads of their blocks, on devices.

    CUDA loads a function when it is first asked for, which may wait for what runs on the device.
    """
    for device in devices:
        for each, block_dim in kernels:
            each.module.load(device, block_dim).get_kernel_hooks(each)


def begin(setting: Setting, states: list[Buffer], spectra) -> None:
    """Launch the transforms of states, and the sums of their slabs. `spectra`: `Plan.scratch`, to write to."""
    Spectra(setting.plan.on(states[0].on_cpu), setting.tables, spectra).begin(*states)


def keep(setting: Setting, state: Buffer, kept: Buffer) -> None:
    """Launch the copy of a state to where reverse mode finds it."""
    copy(setting.plan.on(state.on_cpu), state, kept)


def put_edges(setting: Setting, edges: Buffer, field: Buffer) -> None:
    """Launch the copy of two rows to the end of a field."""
    plan = setting.plan.on(field.on_cpu)
    launch(copy_edges(plan), field.table, field.shape[0] * plan.edges, [edges, field], ROW_BLOCK)


def stage(setting: Setting, stage: int, parameters: list[Parameters], start, state, entering, out, psi, spectra):
    """Launch a stage of a state, or of a state and its tangent.

    Args:
        setting: with the plan of `planner.make_divided_plan`.
        stage: its number in a step.
        parameters: those of the state, and of the tangent.
        start: fields at the start of the step.
        state: fields before the stage.
        entering: what enters from other devices, one a field.
        out: fields to write to. One may be the start.
        psi: arrays for the streamfunctions, or None. Through memory there is one a field, else one of the state.
        spectra: those of the state, which those of the result replace.
    """
    plan = setting.plan.on(state[0].on_cpu)
    batch, tables, both = state[0].shape[0], table_places(setting.tables), Spectra(plan, setting.tables, spectra)
    ready = [from_others(*pair) for pair in zip(both.ready, entering, strict=True)]
    forced = parameters[0].forcing != NO_ARRAY
    given = [*runge_kutta(plan.dtype)[stage], setting.metric, parameters[0], parameters[-1], 0]
    given += [fields(*start), fields(*state)]
    if plan.through_memory:
        both.put_rows(psi, ready)
        kernel = stage_points(plan, setting.scheme, forced)
        launch_points(plan, kernel, out[0], [*given, fields(*psi), fields(*out)])
        both.transform(*out)
    else:
        kernel = stage_rows(plan, setting.scheme, forced=forced, keep_psi=psi is not None)
        made = [out[0], out[-1], both.out[0], both.out[-1], psi[0] if psi else out[0]]
        both.launch(plan, kernel, batch, [*given, ready[0], ready[-1], tables, *made], plan.stage_lines)
    both.solve()


def begin_sweep(setting: Setting, state, cotangent, spectra, work) -> None:
    """Launch the transforms of F(w, l), and the sums of their slabs. `work`: as in `sweep`."""
    plan = setting.plan.on(state.on_cpu)
    _source(setting, plan, state, cotangent, Spectra(plan, setting.tables, spectra), work)


def sweep(setting: Setting, stage: int, weights, parameters, arrays, entering, edges, out, spectra, work, totals):
    """Launch the adjoint of a stage, ``out = a first + e second + b l + c dt R'^T l``, and transforms of the next F.

    Args:
        setting: as in `stage`.
        stage: its number in a step.
        weights: (a, e).
        parameters: those of the state.
        arrays: first, second, the cotangent l, psi and w of the stage, and w of the stage before.
        entering: what enters from other devices.
        edges: two rows of the result that belong to other devices.
        out: cotangent to write to. It may be the first array.
        spectra: those of F(w, l), which those of the next F replace.
        work: an array to work with, through memory, else none.
        totals: sums of each row for the parameters, or None.
    """
    first, second, l, psi, w, before = arrays
    plan, batch, tables = setting.plan.on(l.on_cpu), l.shape[0], table_places(setting.tables)
    metric, (_, b, c) = setting.metric, runge_kutta(setting.plan.dtype)[stage]
    both = Spectra(plan, setting.tables, spectra)
    if totals is not None:
        kernel = parameter_sums(plan, setting.scheme, parameters.forcing != NO_ARRAY)
        launch(kernel, l.table, batch * plan.shape[0], [1, c, metric, parameters, 0, w, psi, l, totals], ROW_BLOCK)
    put_edges(setting, edges, out)
    given, ready = [*weights, b, c, metric, parameters, first, second, l, psi], from_others(*both.ready, entering)
    if plan.through_memory:
        both.put_rows(work, [ready])
        launch_points(plan, sweep_points(plan, setting.scheme), out, [*given, *work, out])
    else:
        arguments = [*given, l, 0, ready, tables, out, *both.out]
        both.launch(plan, sweep_rows(plan, setting.scheme), batch, arguments, plan.sweep_lines)
    _source(setting, plan, before, out, both, work)


def _source(setting, plan, state, cotangent, spectra, work):
    given = [state, cotangent, further.weights(plan.real, setting.metric, Parameters())]
    if plan.through_memory:
        launch_points(plan, source_points(plan, setting.scheme), cotangent, [*given, *work])
        spectra.transform(*work)
    else:
        arguments = [*given, table_places(setting.tables), *spectra.out]
        spectra.launch(plan, source_rows(plan, setting.scheme), cotangent.shape[0], arguments, plan.slab_lines)
    spectra.solve(centre=True)
