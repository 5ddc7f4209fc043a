"""Real rows as complex lines, and their spectra.

Two rows a and b are one line Z = a + ib. Then ``2 A[k] = Z[k] + conj Z[n-k]`` and ``2 B[k] = (Z[k] - conj Z[n-k]) /
i``. Or a row of 2n points is a line of n, whose real and imaginary parts are its even and its odd points. With A and B
as before, its spectrum is ``A[k] + r B[k]``, r = exp(-i pi k / n). The factor 2 stays.
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


@functools.cache
def one_row_functions(lines: Lines) -> types.SimpleNamespace:
    """Make the functions that go from lines to single real rows and back. `roots`: those of unity, 2n of them.

    - ``split(p, q, root)``: twice the spectrum at wavenumber k, from numbers k and n - k of a line.
    - ``wavenumber(lines, line, roots, k)``: the same from a published line, for k = 0..n.
    - ``load(lines, line, roots, t)``: a thread's numbers of a line, where numbers 0..n are the spectrum.
    """
    Complex, Tile, Values, held, n = complex_type(lines.real), lines.Tile, lines.Values, lines.values, lines.n
    get, here, Roots, zero = (
        line_functions(lines).get,
        line_functions(lines).here,
        wp.array(dtype=Complex),
        lines.real(0),
    )

    @wp.func
    def times(a: Complex, b: Complex):
        return Complex(a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0])

    @wp.func
    def split(p: Complex, q: Complex, root: Complex):
        odd = times(root, Complex(p[1] + q[1], q[0] - p[0]))
        return Complex(p[0] + q[0] + odd[0], p[1] - q[1] + odd[1])

    @wp.func
    def wavenumber(lines: Tile, line: int, roots: Roots, k: int):
        p = get(lines, line, wp.where(k == n, 0, k))
        q = get(lines, line, wp.where(k == 0, 0, n - k))
        return split(p, q, roots[k])

    @wp.func
    def load(lines: Tile, line: int, roots: Roots, t: int):
        values = Values()
        for e in range(held):
            k = t + here(e)
            p = get(lines, line, k)
            q = get(lines, line, n - k)
            if e == 0 and t == 0:  # real numbers: discard imaginary parts from rounding
                p[1] = zero
                q[1] = zero
            root = roots[k]
            odd = times(Complex(root[0], -root[1]), Complex(p[0] - q[0], p[1] + q[1]))
            values[2 * e] = p[0] + q[0] - odd[1]
            values[2 * e + 1] = p[1] - q[1] + odd[0]
        return values

    return types.SimpleNamespace(split=split, wavenumber=wavenumber, load=load)
