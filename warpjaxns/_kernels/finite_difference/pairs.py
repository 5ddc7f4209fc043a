"""The two points of a number of a line, which a thread works on together: a *pair*.

A line has two rows, and a pair is a point of each. Or it has one row (`Plan.through_memory`), and a pair is two
neighbours. In memory one is earlier, the other later.

A thread of a line has the numbers ``j = t + threads * e``. Its view of a row begins at its first point
(`views.row_view`), and loops over e are unrolled. So every address is a constant away from the first.
"""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table
from ..hardware.numbers import complex_type
from ..hardware.views import pair_access, row_view
from .plan import Plan
from .stencils import stencils


@functools.cache
def pair_functions(plan: Plan, lines: Lines) -> types.SimpleNamespace:
    """Make the functions of pairs.

    - ``pair_at(table, place, member, i, t)``: a view of a thread's pairs in a field, from row i on.
    - ``take(pair, e)``: its e-th pair, as a 2-vector. ``give(pair, e, x, y, row)`` writes it, unless it is past the last
      row. `row`: that of the earlier point.
    - ``rows_around(table, place, member, i, t)``: the rows of the pairs' neighbours. ``memory_strip(rows, e, t)``: the
      strip (`stencils`) of the e-th pair; ``earlier(strip)`` and ``later(strip)`` are the neighbourhoods of its points.
    - ``present(row)``: whether a row of a slab belongs to the grid. ``later_row(row)``: the row of the later points.
    """
    (ny, nx), real, by_line = plan.shape, plan.real, line_functions(lines)
    kit, Complex, field, Array = stencils(real), complex_type(real), row_view(real, plan.shape), wp.array(dtype=real)
    Rows, full, held, threads = kit.Rows, ny % plan.rows == 0, lines.values, lines.threads
    get, put = pair_access(real)

    @wp.struct
    class Pair:
        earlier: Array
        later: Array

    @wp.func
    def present(row: int):
        return full or row < ny

    if plan.through_memory:
        strip = kit.wide_strip

        @wp.func
        def pair_at(table: Table, place: Place, member: int, i: int, t: int):
            pair = Pair()
            pair.earlier = field(table, place, member, i, 2 * t)
            return pair

        @wp.func
        def take(pair: Pair, e: int):
            return get(pair.earlier, 2 * threads * e)

        @wp.func
        def give(pair: Pair, e: int, x: real, y: real, row: int):
            put(pair.earlier, 2 * threads * e, Complex(x, y))

        @wp.func
        def rows_around(table: Table, place: Place, member: int, i: int, t: int):
            rows = Rows()
            rows.below = field(table, place, member, wp.where(i == 0, ny - 1, i - 1), 2 * t)
            rows.here = field(table, place, member, i, 2 * t)
            rows.above = field(table, place, member, wp.where(i == ny - 1, 0, i + 1), 2 * t)
            return rows

        @wp.func
        def memory_strip(rows: Rows, e: int, t: int):
            j = 2 * threads * e
            west = j - 1
            east = j + 2
            if e == 0 and t == 0:
                west = nx - 1
            if e == held - 1 and t == threads - 1:
                east = -2 * t
            return strip(rows, west, j, east)

        @wp.func
        def later_row(row: int):
            return row

        earlier, later = kit.west, kit.east
    else:
        strip, (west, here, east) = kit.strip, (by_line.west, by_line.here, by_line.east)

        @wp.func
        def pair_at(table: Table, place: Place, member: int, i: int, t: int):
            pair = Pair()
            pair.earlier = field(table, place, member, i, t)
            pair.later = field(table, place, member, wp.where(i == ny - 1, 0, i + 1), t)
            return pair

        @wp.func
        def take(pair: Pair, e: int):
            return Complex(pair.earlier[here(e)], pair.later[here(e)])

        @wp.func
        def give(pair: Pair, e: int, x: real, y: real, row: int):
            if present(row):
                pair.earlier[here(e)] = x
            if present(row + 1):
                pair.later[here(e)] = y

        @wp.func
        def rows_around(table: Table, place: Place, member: int, i: int, t: int):
            rows = Rows()
            rows.below = field(table, place, member, wp.where(i == 0, ny - 1, i - 1), t)
            rows.here = field(table, place, member, i, t)
            rows.above = field(table, place, member, (i + 1) % ny, t)
            rows.beyond = field(table, place, member, (i + 2) % ny, t)
            return rows

        @wp.func
        def memory_strip(rows: Rows, e: int, t: int):
            return strip(rows, west(e, t), here(e), east(e, t))

        @wp.func
        def later_row(row: int):
            return row + 1

        earlier, later = kit.south, kit.north

    return types.SimpleNamespace(
        pair_at=pair_at,
        take=take,
        give=give,
        rows_around=rows_around,
        memory_strip=memory_strip,
        earlier=earlier,
        later=later,
        present=present,
        later_row=later_row,
    )
