"""Two real rows a and b as one complex line Z = a + ib, and their spectra A and B.

``2 A[k] = Z[k] + conj Z[n-k]`` and ``2 B[k] = (Z[k] - conj Z[n-k]) / i``. The factor 2 stays.
"""

import functools
import types

import warp as wp

from ..hardware.numbers import complex_type
from .lines import Lines
from .transforms import line_functions


@functools.cache
def real_row_functions(lines: Lines) -> types.SimpleNamespace:
    """Make the functions that go from lines to pairs of real rows and back.

    - ``split(p, q)``: 2 A[k] and 2 B[k], from numbers k and n - k of a line.
    - ``merge(a, b)``: numbers k and n - k of a line, from A[k] and B[k].
    - ``put_pair(lines, line, k, mirror, a, b)`` merges and puts the numbers into a line.
    - ``load(lines, line, t)``: a thread's numbers of a published line.
    """
    Complex, Tile, Values, held = complex_type(lines.real), lines.Tile, lines.Values, lines.values
    by_line = line_functions(lines)
    get, put, here = by_line.get, by_line.put, by_line.here

    @wp.func
    def split(p: Complex, q: Complex):
        return Complex(p[0] + q[0], p[1] - q[1]), Complex(p[1] + q[1], q[0] - p[0])

    @wp.func
    def merge(a: Complex, b: Complex):
        return Complex(a[0] - b[1], a[1] + b[0]), Complex(a[0] + b[1], b[0] - a[1])

    @wp.func
    def put_pair(lines: Tile, line: int, k: int, mirror: int, a: Complex, b: Complex):
        p, q = merge(a, b)
        put(lines, line, k, p[0], p[1])
        put(lines, line, mirror, q[0], q[1])

    @wp.func
    def load(lines: Tile, line: int, t: int):
        values = Values()
        for e in range(held):
            z = get(lines, line, t + here(e))
            values[2 * e] = z[0]
            values[2 * e + 1] = z[1]
        return values

    return types.SimpleNamespace(split=split, merge=merge, put_pair=put_pair, load=load)
