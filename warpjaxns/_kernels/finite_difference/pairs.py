"""The two points of each number of a line, a *pair*: of two rows, or of one (`fft.real_rows`).

A thread of a line holds the numbers ``j = t + threads * e``. Its view of a row begins at its first point
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


@functools.cache
def pair_functions(plan: Plan, lines: Lines) -> types.SimpleNamespace:
    """Make the functions of a thread's pairs.

    - ``pair_at(table, place, member, row, t)``: a view of them in a field. Rows are taken modulo ny.
    - ``take(pair, e)``: the e-th one, as a 2-vector. ``give(pair, e, x, y, row)`` writes it, if its row is in the grid.
    """
    ny, real, here = plan.shape[0], plan.real, line_functions(lines).here
    Complex, field, Array, (get, put) = (
        complex_type(real),
        row_view(real, plan.shape),
        wp.array(dtype=real),
        pair_access(real),
    )
    full, one_row = ny % plan.rows == 0, lines.one_row

    @wp.struct
    class Pair:
        south: Array
        north: Array

    @wp.func
    def pair_at(table: Table, place: Place, member: int, row: int, t: int):
        pair = Pair()
        if one_row:
            pair.south = field(table, place, member, row, 2 * t)
        else:
            pair.south = field(table, place, member, row % ny, t)
            pair.north = field(table, place, member, (row + 1) % ny, t)
        return pair

    @wp.func
    def take_two(pair: Pair, e: int):
        return Complex(pair.south[here(e)], pair.north[here(e)])

    @wp.func
    def give_two(pair: Pair, e: int, x: real, y: real, row: int):
        if full or row < ny:
            pair.south[here(e)] = x
        if full or row + 1 < ny:
            pair.north[here(e)] = y

    @wp.func
    def take_one(pair: Pair, e: int):
        return get(pair.south, 2 * here(e))

    @wp.func
    def give_one(pair: Pair, e: int, x: real, y: real, row: int):
        put(pair.south, 2 * here(e), Complex(x, y))

    take, give = (take_one, give_one) if one_row else (take_two, give_two)
    return types.SimpleNamespace(pair_at=pair_at, take=take, give=give)
