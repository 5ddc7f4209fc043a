"""Columns of half-transformed fields: the threads of a block, and how they read and write.

A half-transformed field is ``(batch, ny, 2 pitch)`` complex numbers, transformed along y only. A row holds the
wavenumbers 0 to Kx, and from `Plan.pitch` on those of 0 to -Kx, of which the first is not used.

Line ``side * columns + c`` of a block is the c-th of its columns kx (side 0), or that of -kx, conjugated (side 1).
Further fields follow. Where states and lines meet, a block goes through the modes of its columns one after the other.
"""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table
from ..hardware.views import complex_access, row_view
from .plan import Plan


@functools.cache
def column_functions(plan: Plan, lines: Lines) -> types.SimpleNamespace:
    """Make the functions of kernels that work on columns.

    - ``thread_of(thread)``: a thread's side, its column and its number in a line.
    - ``load(table, place, member, side, kx, t)``: a thread's numbers of a column. ``store`` writes them.
    - ``gather(buffer, line, t)``: a thread's numbers of a line whose modes have been put, with 0 for all others.
    - ``mode_of(i, thread)``: a thread's i-th mode, as its number in a column, and its column in the block. ``holds(i,
      thread, first)`` tells whether there is one, given its first column. ``points``: the most modes of a thread.
    - ``state(table, place, member, kx)``: the view of a state from kx on, for the index ``here(row, column)``.
    - ``natural(row)``: where a mode stands among ny points. ``waves(row)``: its waves a side, of either sign.
    - ``filter_of(filters, row, kx)``: the dealiasing filter of a mode.
    """
    (ny, _), (width, rows), (ky, _) = plan.shape, plan.modes, plan.highest
    count, threads, held, real = lines.interleaved, lines.threads, lines.values, plan.real
    Complex, Values, Tile = plan.complex, lines.Values, lines.Tile
    team, block_dim, length = lines.threads * lines.interleaved, lines.block_dim, 2 * plan.pitch
    pitch, half = plan.pitch, row_view(Complex, (ny, length), upwards=True)
    whole = row_view(Complex, (width, rows), upwards=True)
    get_complex, put_complex = complex_access(real)
    get = line_functions(lines).get
    modes = rows * count
    points, even = -(-modes // block_dim), width % count == 0

    @wp.func
    def thread_of(thread: int):
        side = thread // team
        within = thread - side * team
        t = within // count
        return side, within - t * count, t

    @wp.func
    def position(side: int, kx: int):
        """Return where a row has the wavenumber kx, or -kx on side 1. The mean over x has one place for both."""
        shift = wp.where(side == 1 and kx > 0, pitch, 0)
        return kx + shift

    @wp.func
    def load(table: Table, place: Place, member: int, side: int, kx: int, t: int):
        values = Values()
        if kx < width:
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            row = half(table, place, member, t, position(side, kx))
            for e in range(held):
                number = get_complex(row, e * threads * length)
                values[2 * e] = number[0]
                values[2 * e + 1] = sign * number[1]
        return values

    @wp.func
    def store(values: Values, table: Table, place: Place, member: int, side: int, kx: int, t: int):
        if kx < width and (side == 0 or kx > 0):
            sign = wp.where(side == 1, real(-1.0), real(1.0))
            row = half(table, place, member, t, position(side, kx))
            for e in range(held):
                put_complex(row, e * threads * length, Complex(values[2 * e], sign * values[2 * e + 1]))

    @wp.func
    def gather(buffer: Tile, line: int, t: int):
        values = Values()
        for e in range(held):
            first = e * threads  # of the numbers that the threads of the line hold at this place
            if first <= ky or first + threads > ny - ky:
                n = t + first
                if first + threads <= ky + 1 or first >= ny - ky or n <= ky or n >= ny - ky:
                    number = get(buffer, line, n)
                    values[2 * e] = number[0]
                    values[2 * e + 1] = number[1]
        return values

    @wp.func
    def mode_of(i: int, thread: int):
        p = thread + i * block_dim
        c = p // rows
        return p - c * rows, c

    @wp.func
    def holds(i: int, thread: int, first: int):
        p = thread + i * block_dim
        return ((i + 1) * block_dim <= modes or p < modes) and (even or p < (width - first) * rows)

    @wp.func
    def natural(row: int):
        return wp.where(row <= ky, row, row + (ny - rows))

    @wp.func
    def waves(row: int):
        return wp.where(row <= ky, row, row - rows)

    @wp.func
    def filter_of(filters: wp.array(dtype=real), row: int, kx: int):
        return filters[row] * filters[rows + kx]

    @wp.func
    def state(table: Table, place: Place, member: int, kx: int):
        return whole(table, place, member, kx, 0)

    @wp.func
    def here(row: int, c: int):
        return c * rows + row

    return types.SimpleNamespace(
        points=points,
        thread_of=thread_of,
        load=load,
        store=store,
        gather=gather,
        holds=holds,
        mode_of=mode_of,
        natural=natural,
        waves=waves,
        state=state,
        here=here,
        filter_of=filter_of,
    )
