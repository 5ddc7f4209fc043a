"""Resident members: a block keeps a member in shared memory and registers through all steps of a call.

The half-transformed field lies in shared memory, ``ny`` rows of ``2 pitch`` numbers as in `columns`. Rows are
transformed and squared as in `rows`, columns as in `stage`, some of them at a time. The state and its increment stay in
the registers of the threads that own the modes.
"""

import dataclasses
import functools
import types

import numpy as np
import warp as wp

from ..._coefficients import low_storage
from ..fft.lines import Lines
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ..hardware.intrinsics import barrier, block_index, synchronise_dependent_launch, thread_index
from ..hardware.limits import LARGEST_BLOCK
from ..hardware.numbers import c_name
from ..hardware.views import NUMBER, complex_access, row_view, vector_view
from ..parameters import Parameters, forcing_row, parameter_functions
from .plan import Plan
from .setting import Setting
from .stepping import stepping
from .symbols import symbols

SLOTS = 16  # complex numbers that two half warps find in different memory banks


@dataclasses.dataclass(frozen=True)
class Resident:
    """The layout of a resident member. `plan` has its tuning entry."""

    plan: Plan

    @property
    def block_dim(self) -> int:
        """Threads of a block."""
        return 1 if self.plan.serial else self.plan.resident.threads

    @property
    def chunks(self) -> int:
        """Parts of the columns, one after the other."""
        return -(-self.plan.modes[0] // self.columns)

    @property
    def columns(self) -> int:
        """Columns of a chunk, each with that of the opposite wavenumber."""
        return self.plan.resident.columns

    @functools.cached_property
    def row_lines(self) -> Lines:
        """Lines of the rows that are transformed at the same time."""
        return self._lines(self.plan.shape[1], self.plan.shape[0])

    @functools.cached_property
    def column_lines(self) -> Lines:
        """Lines of a chunk of columns."""
        return dataclasses.replace(self._lines(self.plan.shape[0], 2 * self.columns), count=2 * self.columns)

    def _lines(self, n, most):
        lines = Lines(n, 1, 1, self.plan.real, self.plan.resident.radix, self.plan.serial, narrow=True)
        groups = min(max(self.block_dim // lines.threads, 1), most)
        return dataclasses.replace(lines, count=groups, groups=groups)

    @property
    def size(self) -> int:
        """Real numbers of the tile through which lines exchange, of rows and of columns in turn."""
        return max(self.row_lines.size, self.column_lines.size)

    @property
    def stride(self) -> int:
        """Complex numbers from a row of the half-transformed field to the next: 2 more than a multiple of the banks.

        Then the threads of two columns find their numbers in different banks, and so do those of rows four apart.
        """
        return 2 * self.plan.pitch + (2 - 2 * self.plan.pitch) % SLOTS

    @property
    def half_size(self) -> int:
        """Real numbers of the half-transformed field."""
        return 2 * self.plan.shape[0] * self.stride

    @property
    def nbytes(self) -> int:
        """Shared memory of a block."""
        return (self.size + self.half_size) * np.dtype(self.plan.dtype).itemsize

    def fits(self) -> bool:
        """Return whether a block can hold a member."""
        lines = self.row_lines, self.column_lines
        if self.nbytes > self.plan.shared_memory or self.block_dim > LARGEST_BLOCK:
            return False
        return self.plan.serial or all(each.alone and self.block_dim % each.threads == 0 for each in lines)

    @property
    def bounds(self) -> tuple[int, int]:
        """Threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return self.block_dim, max(1, self.plan.resident.occupancy // self.block_dim)


@functools.cache
def half_functions(resident: Resident) -> types.SimpleNamespace:
    """Make the functions between lines and the half-transformed field.

    - ``load_row(half, row, t)``, ``load_column(half, side, kx, t)``: a thread's numbers of a line.
    - ``store_row(values, half, row, t)``, ``store_column(values, half, side, kx, t)`` write them.
    - ``row_of(line)``: the row of a line. The lines of a warp have rows whose numbers lie in different banks.
    """
    plan, rows, columns = resident.plan, resident.row_lines, resident.column_lines
    (ny, nx), (_, kx_most), width, pitch, stride = plan.shape, plan.highest, plan.modes[0], plan.pitch, resident.stride
    real, Complex, number = plan.real, plan.complex, NUMBER.format(real=c_name(plan.real))
    Half = wp.tile(dtype=real, shape=(resident.half_size,))
    RowValues, ColumnValues = rows.Values, columns.Values
    row_held, row_threads, column_held, column_threads = rows.values, rows.threads, columns.values, columns.threads
    permuted = ny % 8 == 0

    @wp.func_native(f"{number} const Number a = ((const Number*)half.data.ptr)[i]; return {{a.x, a.y}};")
    def get(half: Half, i: int) -> Complex: ...

    @wp.func_native(f"{number} Number p; p.x = x; p.y = y; ((Number*)half.data.ptr)[i] = p;")
    def put(half: Half, i: int, x: real, y: real): ...

    @wp.func
    def row_of(line: int):
        row = line
        if permuted:
            row = line // 8 * 8 + line % 2 * 4 + line // 2 % 4
        return row

    @wp.func
    def place_of(n: int):
        """Return where a row has its n-th number, or -1 where it is zero."""
        place = wp.where(n <= kx_most, n, -1)
        return wp.where(n >= nx - kx_most, pitch + nx - n, place)

    @wp.func
    def load_row(half: Half, row: int, t: int):
        values = RowValues()
        for e in range(row_held):
            place = place_of(t + row_threads * e)
            if place >= 0:
                z = get(half, row * stride + place)
                values[2 * e] = z[0]
                values[2 * e + 1] = z[1]
        return values

    @wp.func
    def store_row(values: RowValues, half: Half, row: int, t: int):
        for e in range(row_held):
            place = place_of(t + row_threads * e)
            if place >= 0:
                put(half, row * stride + place, values[2 * e], values[2 * e + 1])

    @wp.func
    def load_column(half: Half, side: int, kx: int, t: int):
        values = ColumnValues()
        if kx < width:
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            first = t * stride + kx + wp.where(side == 1 and kx > 0, pitch, 0)
            for e in range(column_held):
                z = get(half, first + e * column_threads * stride)
                values[2 * e] = z[0]
                values[2 * e + 1] = sign * z[1]
        return values

    @wp.func
    def store_column(values: ColumnValues, half: Half, side: int, kx: int, t: int):
        if kx < width and (side == 0 or kx > 0):
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            first = t * stride + kx + wp.where(side == 1, pitch, 0)
            for e in range(column_held):
                put(half, first + e * column_threads * stride, values[2 * e], sign * values[2 * e + 1])

    return types.SimpleNamespace(
        load_row=load_row, store_row=store_row, load_column=load_column, store_column=store_column, row_of=row_of
    )


@functools.cache
def resident_stages(resident: Resident, stages: int, forced: bool, keep: bool) -> wp.Kernel:
    """Make the kernel of all steps of a call, for an integrator of so many stages."""
    plan, rows, columns, block_dim = resident.plan, resident.row_lines, resident.column_lines, resident.block_dim
    (ny, _), (width, modes), (ky, _), real = plan.shape, plan.modes, plan.highest, plan.real
    C, chunks, size, half_size = resident.columns, resident.chunks, resident.size, resident.half_size
    rows = dataclasses.replace(rows, room=size)
    columns = dataclasses.replace(columns, room=size)
    by_row, by_column, by_half = line_functions(rows), line_functions(columns), half_functions(resident)
    load_row, store_row, row_of = by_half.load_row, by_half.store_row, by_half.row_of
    load_column, store_column = by_half.load_column, by_half.store_column
    row_inverse, row_forward, row_factors = by_row.inverse, by_row.forward, by_row.factors
    inverse, forward, column_factors = by_column.inverse, by_column.forward, by_column.factors
    publish, get, put, ColumnValues = by_column.publish, by_column.get, by_column.put, columns.Values
    row_threads, row_groups, row_held = rows.threads, rows.groups, rows.values
    threads, groups, held = columns.threads, columns.groups, columns.values
    points = -(-modes * C // block_dim)
    by_mode, step_of = symbols(real), stepping(real)
    mode, velocity, advection, Scale = by_mode.mode, by_mode.velocity, by_mode.advection, by_mode.Scale
    Stage, advance, numbers = step_of.Stage, step_of.advance, parameter_functions(real).numbers
    Complex, filtered = plan.complex, plan.filtered
    Held = wp.types.vector(length=2 * points * chunks, dtype=real)
    Coefficients = wp.types.vector(length=stages, dtype=real)
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(plan.complex)
    real_view, forcing = vector_view(real), forcing_row(Complex, plan.modes, upwards=True)
    state_view = row_view(Complex, plan.modes, upwards=True)

    @wp.func
    def gather(buffer: columns.Tile, line: int, t: int):
        values = ColumnValues()
        for e in range(held):
            n = t + threads * e
            if n <= ky or n >= ny - ky:
                z = get(buffer, line, n)
                values[2 * e] = z[0]
                values[2 * e + 1] = z[1]
        return values

    @kernel(launch_bounds=resident.bounds)
    def resident_stages(
        table: Table,
        # coefficients of all stages
        a: Coefficients,
        b: Coefficients,
        durations: Coefficients,
        scale: Scale,
        steps: int,
        # in
        parameters: Parameters,
        state_at: Place,
        roots_y_at: Place,
        roots_x_at: Place,
        filter_at: Place,
        # out
        out_at: Place,
        kept_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        half = wp.tile_empty(shape=(half_size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member = block_index(index, 0)
        thread = thread_index()
        factors_x = row_factors(complex_view(table, roots_x_at), thread % row_threads)
        factors_y = column_factors(complex_view(table, roots_y_at), thread % threads)
        filters = real_view(table, filter_at)
        given = numbers(table, parameters, member)
        synchronise_dependent_launch()
        state = state_view(table, state_at, member, 0, 0)
        out = state_view(table, out_at, member, 0, 0)
        states = Held()
        increments = Held()
        turns = stages * steps
        for turn in range(turns + 1):  # before the first stage, only the velocities are made
            number = wp.max(turn - 1, 0) % stages
            stage = Stage()
            stage.a = a[number]
            stage.b = b[number]
            stage.duration = durations[number]
            step = wp.max(turn - 1, 0) // stages
            force = forcing(table, parameters.forcing, step, member, 0, 0)
            if turn > 0:
                t = thread % row_threads
                for line in range(thread // row_threads, ny, row_groups):
                    own = line % row_groups
                    z = row_inverse(load_row(half, row_of(line), t), buffer, factors_x, own, t)
                    for e in range(row_held):
                        x, y = z[2 * e], z[2 * e + 1]
                        z[2 * e] = x * x - y * y
                        z[2 * e + 1] = real(2.0) * x * y
                    store_row(row_forward(z, buffer, factors_x, own, t), half, row_of(line), t)
                barrier()
            t = thread % threads
            for chunk in range(chunks):
                if turn > 0:
                    for line in range(thread // threads, 2 * C, groups):
                        side = line // C
                        values = load_column(half, side, chunk * C + line - side * C, t)
                        publish(forward(values, buffer, factors_y, line, t), buffer, line, t)
                    barrier()
                for i in range(points):
                    p = thread + i * block_dim
                    c = p // modes
                    kx = chunk * C + c
                    if c < C and kx < width:
                        row = p - c * modes
                        n = wp.where(row <= ky, row, row + ny - modes)
                        at = kx * modes + row
                        slot = 2 * (chunk * points + i)
                        m = mode(wp.where(row <= ky, row, row - modes), kx, scale)
                        w = Complex(states[slot], states[slot + 1])
                        if turn == 0:
                            w = get_complex(state, at)
                        else:
                            rate = advection(m, get(buffer, c, n), get(buffer, C + c, n))
                            if filtered:
                                rate *= filters[row] * filters[modes + kx]
                            if forced:
                                rate += get_complex(force, at)
                            d = Complex(increments[slot], increments[slot + 1])
                            w, d = advance(w, d, rate, stage, given, m)
                            increments[slot] = d[0]
                            increments[slot + 1] = d[1]
                            if keep:
                                kept = state_view(table, slice_at(kept_at, turn - 1), member, 0, 0)
                                put_complex(kept, at, w)
                            if not keep and turn == turns:
                                put_complex(out, at, w)
                        states[slot] = w[0]
                        states[slot + 1] = w[1]
                        plus, minus = velocity(m, w)
                        put(buffer, c, n, plus[0], plus[1])
                        put(buffer, C + c, n, minus[0], minus[1])
                barrier()
                if turn < turns:
                    for line in range(thread // threads, 2 * C, groups):
                        side = line // C
                        values = inverse(gather(buffer, line, t), buffer, factors_y, line, t)
                        store_column(values, half, side, chunk * C + line - side * C, t)
                    barrier()

    return resident_stages


def advance(setting: Setting, parameters: Parameters, omega, out, keep: bool):
    """Launch the steps of `stage.advance` as one kernel without scratch.

    `out`: the state after all steps, or with `keep` those after each stage. Without `keep` it may be `omega`.
    """
    resident, stages = Resident(setting.plan), low_storage(setting.integrator)
    kernel = resident_stages(resident, len(stages), parameters.forcing != NO_ARRAY, keep)
    Coefficients = wp.types.vector(length=len(stages), dtype=setting.plan.real)
    coefficients = [Coefficients(*column) for column in zip(*stages, strict=True)]
    arguments = [*coefficients, setting.scale, setting.steps, parameters, omega, setting.tables.roots_y]
    arguments += [setting.tables.roots_x, setting.tables.filters]
    arguments += [NO_ARRAY, out.slices] if keep else [out, NO_ARRAY]
    launch(kernel, omega.table, omega.shape[0], arguments, resident.block_dim)
