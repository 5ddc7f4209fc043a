"""Layout of a resident member, which a block keeps in shared memory and registers through all steps of a call.

Half-transformed fields lie in shared memory, ``ny`` rows of ``2 pitch`` numbers each as in `columns`. Rows are
transformed in place, a group of lines after another, and columns in chunks. What belongs to modes stays in the
registers of the threads that own them.
"""

import dataclasses
import functools
import types

import numpy as np
import warp as wp

from ...fft.lines import Lines
from ...fft.transforms import line_functions
from ...hardware.limits import LARGEST_BLOCK
from ...hardware.numbers import c_name
from ...hardware.views import NUMBER
from ...tuning import SpectralResident
from ..plan import Plan

SLOTS = 16  # complex numbers that two half warps find in different memory banks


@dataclasses.dataclass(frozen=True)
class Resident:
    """A member in the shared memory of a block.

    Args:
        plan: of the grid.
        cut: the tuning entry.
        fields: half-transformed fields: 1, or 2 with a tangent and in the backward sweep.
    """

    plan: Plan
    cut: SpectralResident
    fields: int = 1

    @property
    def block_dim(self) -> int:
        """Threads of a block."""
        return 1 if self.plan.serial else self.cut.threads

    @property
    def chunks(self) -> int:
        """Parts of the columns, one after the other."""
        return -(-self.plan.modes[0] // self.columns)

    @property
    def columns(self) -> int:
        """Columns of a chunk, each with that of the opposite wavenumber."""
        return 1 if self.plan.serial else self.cut.columns

    @functools.cached_property
    def row_lines(self) -> Lines:
        """Lines of the rows that are transformed at the same time."""
        return dataclasses.replace(self._rows, room=self.size)

    @functools.cached_property
    def column_lines(self) -> Lines:
        """Lines of a chunk of columns, those of kx and of -kx of each field in turn."""
        return dataclasses.replace(self._columns, room=self.size)

    @property
    def _rows(self):
        return self._lines(self.plan.shape[1], self.plan.shape[0])

    @property
    def _columns(self):
        count = 2 * self.columns * self.fields
        return dataclasses.replace(self._lines(self.plan.shape[0], count), count=count)

    def _lines(self, n, most):
        lines = Lines(n, 1, 1, self.plan.real, self.cut.radix, self.plan.serial, precise=True, narrow=True)
        groups = min(max(self.block_dim // lines.threads, 1), most)
        return dataclasses.replace(lines, count=groups, groups=groups)

    @property
    def size(self) -> int:
        """Real numbers of the tile through which lines exchange, of rows and of columns in turn."""
        return max(self._rows.size, self._columns.size)

    @property
    def stride(self) -> int:
        """Complex numbers from a row of the half-transformed field to the next: 2 more than a multiple of the banks.

        Then the threads of two columns find their numbers in different banks, and so do those of rows four apart.
        """
        return 2 * self.plan.pitch + (2 - 2 * self.plan.pitch) % SLOTS

    @property
    def half_size(self) -> int:
        """Real numbers of all half-transformed fields."""
        return 2 * self.fields * self.field_size

    @property
    def field_size(self) -> int:
        """Complex numbers of a half-transformed field."""
        return self.plan.shape[0] * self.stride

    @property
    def points(self) -> int:
        """Modes of a chunk that a thread owns, at most."""
        return -(-self.plan.modes[1] * self.columns // self.block_dim)

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
        return self.block_dim, max(1, self.cut.occupancy // self.block_dim)


@functools.cache
def half_functions(resident: Resident) -> types.SimpleNamespace:
    """Make the functions between lines and half-transformed fields.

    - ``load_row(half, field, row, t)``, ``load_column(half, field, side, kx, t)``: a thread's numbers of a line.
    - ``store_row(values, half, field, row, t)``, ``store_column(values, half, field, side, kx, t)`` write them.
    - ``row_of(line)``: the row of a line. The lines of a warp have rows whose numbers lie in different banks.
    - ``gather(buffer, line, t)``: a thread's numbers of a line whose modes have been put, with 0 for all others.
    - ``mode_of(chunk, i, thread)``: whether a thread has an i-th mode in a chunk, its number in a column, its column in
      the chunk, and the wavenumber kx.
    - ``natural(row)``: where a mode stands among ny points. ``waves(row)``: its waves a side, of either sign.
    """
    plan, rows, columns = resident.plan, resident.row_lines, resident.column_lines
    get_number = line_functions(columns).get
    (ny, nx), (ky, kx_most), (width, modes) = plan.shape, plan.highest, plan.modes
    pitch, stride, field_size = plan.pitch, resident.stride, resident.field_size
    C, block_dim = resident.columns, resident.block_dim
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
    def load_row(half: Half, field: int, row: int, t: int):
        values = RowValues()
        for e in range(row_held):
            place = place_of(t + row_threads * e)
            if place >= 0:
                z = get(half, field * field_size + row * stride + place)
                values[2 * e] = z[0]
                values[2 * e + 1] = z[1]
        return values

    @wp.func
    def store_row(values: RowValues, half: Half, field: int, row: int, t: int):
        for e in range(row_held):
            place = place_of(t + row_threads * e)
            if place >= 0:
                put(half, field * field_size + row * stride + place, values[2 * e], values[2 * e + 1])

    @wp.func
    def load_column(half: Half, field: int, side: int, kx: int, t: int):
        values = ColumnValues()
        if kx < width:
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            first = field * field_size + t * stride + kx + wp.where(side == 1 and kx > 0, pitch, 0)
            for e in range(column_held):
                z = get(half, first + e * column_threads * stride)
                values[2 * e] = z[0]
                values[2 * e + 1] = sign * z[1]
        return values

    @wp.func
    def store_column(values: ColumnValues, half: Half, field: int, side: int, kx: int, t: int):
        if kx < width and (side == 0 or kx > 0):
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            first = field * field_size + t * stride + kx + wp.where(side == 1, pitch, 0)
            for e in range(column_held):
                put(half, first + e * column_threads * stride, values[2 * e], sign * values[2 * e + 1])

    @wp.func
    def gather(buffer: columns.Tile, line: int, t: int):
        values = ColumnValues()
        for e in range(column_held):
            n = t + column_threads * e
            if n <= ky or n >= ny - ky:
                z = get_number(buffer, line, n)
                values[2 * e] = z[0]
                values[2 * e + 1] = z[1]
        return values

    @wp.func
    def mode_of(chunk: int, i: int, thread: int):
        p = thread + i * block_dim
        c = p // modes
        kx = chunk * C + c
        return c < C and kx < width, p - c * modes, c, kx

    @wp.func
    def natural(row: int):
        return wp.where(row <= ky, row, row + (ny - modes))

    @wp.func
    def waves(row: int):
        return wp.where(row <= ky, row, row - modes)

    return types.SimpleNamespace(
        gather=gather,
        mode_of=mode_of,
        natural=natural,
        waves=waves,
        load_row=load_row,
        store_row=store_row,
        load_column=load_column,
        store_column=store_column,
        row_of=row_of,
    )
