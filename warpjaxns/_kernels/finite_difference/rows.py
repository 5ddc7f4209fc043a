"""Rows of real fields and their spectra, two rows a line, or one (`fft.real_rows`).

Spectra are ``(batch, ny, pitch)`` complex numbers. The first ``nx//2 + 1`` of a row are used, the rest is padding.
Those of vorticity keep the factor 2 of `fft.real_rows`, which the solve along y removes. Rows are taken modulo ny, so a
slab may reach over the edge. Results past the last row are discarded.

A thread of a line holds the points ``j = t + threads * e``. Its view of a row begins at its first point
(`views.row_view`), and loops over e are unrolled. So every address is a constant away from the first.
"""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..fft.real_rows import one_row_functions
from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table
from ..hardware.copies import COPY_SPECTRA
from ..hardware.numbers import c_name, complex_type
from ..hardware.views import complex_access, row_view
from .plan import Plan
from .slab_rows import slab_functions
from .stencils import stencils


@functools.cache
def row_functions(plan: Plan, lines: Lines) -> types.SimpleNamespace:
    """Make the functions of kernels that work on row pairs. Those of spectra also serve lines of one row.

    - ``copy_spectra`` starts to copy the spectra of a row pair to the memory of a line. Once they are there, ``load``
      takes them to the registers of the line's threads. ``store`` writes spectra.
    - ``field_strip``: the strip (`stencils`) of a field around a thread's e-th points of a row pair. It comes from the
      slab in shared memory where the plan copies rows, else from ``rows_around`` the pair in device memory.
    - ``field_pair``: the two points alone. ``memory_strip(rows, e, t)``: a strip from `rows_around` in any case.
    - ``psi_strip``: the strip of psi, from a published line and the next one.
    - ``present``: whether a row of a slab belongs to the grid.
    """
    (ny, nx), half, real = plan.shape, plan.half, plan.real
    by_line, held, threads = line_functions(lines), lines.values, lines.threads
    get, publish = by_line.get, by_line.publish
    Complex, Tile, Values, kit = complex_type(real), lines.Tile, lines.Values, stencils(real)
    Strip, Rows, strip, of_slab, at = kit.Strip, kit.Rows, kit.strip, slab_functions(plan), kit.at
    slab_strip, slab_pair, Slab = of_slab.strip, of_slab.pair, of_slab.Slab
    field, spectrum = row_view(real, (ny, nx)), row_view(Complex, (ny, plan.pitch))
    second, (_, put_complex) = lines.half_spectrum, complex_access(real)
    west, here, east = by_line.west, by_line.here, by_line.east
    Roots, of_one, n = wp.array(dtype=Complex), one_row_functions(lines), lines.n
    split = of_one.split
    full, kept, sure = ny % plan.rows == 0, (half - 1) // threads + 1, half // threads

    @wp.func
    def rows_around(table: Table, place: Place, member: int, i: int, t: int):
        rows = Rows()
        rows.below = field(table, place, member, wp.where(i == 0, ny - 1, i - 1), t)
        rows.here = field(table, place, member, i, t)
        rows.above = field(table, place, member, (i + 1) % ny, t)
        rows.beyond = field(table, place, member, (i + 2) % ny, t)
        return rows

    @wp.func
    def present(row: int):
        return full or row < ny

    @wp.func
    def mirrored(e: int, t: int):
        """Return whether a thread's e-th wavenumber is beyond the half that is kept."""
        beyond = 2 * e >= held
        if 2 * e + 1 == held:
            beyond = 2 * (t + threads * e) > nx
        return beyond

    @wp.func_native(
        COPY_SPECTRA.format(
            rows=lines.rows, half=lines.half_spectrum, threads=threads, padded=lines.padded, real=c_name(real)
        )
    )
    def copy_two(a: wp.array(dtype=Complex), b: wp.array(dtype=Complex), lines: Tile, line: int, t: int): ...

    @wp.func
    def copy_spectra(table: Table, place: Place, member: int, row: int, buffer: Tile, line: int, t: int):
        i = (row + ny) % ny
        k = wp.where(i == ny - 1, 0, i + 1)
        a = spectrum(table, place, member, i, 0)
        b = spectrum(table, place, member, k, 0)
        copy_two(a, b, buffer, line, t)

    @wp.func
    def load(buffer: Tile, line: int, roots: Roots, t: int):
        values = Values()
        for e in range(held):
            n = t + threads * e
            sign = real(1.0)
            if mirrored(e, t):
                n = nx - n
                sign = real(-1.0)
            # spectra of real rows are real at wavenumber 0 and at the last one: discard imaginary parts from rounding
            if (e == 0 or 2 * e == held) and t == 0:
                sign = real(0.0)
            p = get(buffer, line, n)
            q = get(buffer, line, n + second)
            values[2 * e] = p[0] - sign * q[1]
            values[2 * e + 1] = sign * p[1] + q[0]
        return values

    @wp.func
    def store(
        values: Values,
        buffer: Tile,
        line: int,
        roots: Roots,
        t: int,
        table: Table,
        place: Place,
        member: int,
        row: int,
        wanted: bool,
    ):
        """Write the spectra of a row pair, if `wanted`. All threads of a block must call it: it has a barrier."""
        publish(values, buffer, line, t)
        if wanted:
            a = spectrum(table, place, member, row, t)
            b = spectrum(table, place, member, row + 1, t)
            for e in range(kept):
                k = t + threads * e
                if e < sure or k < half:
                    mirror = nx - k
                    if e == 0 and t == 0:
                        mirror = 0
                    q = get(buffer, line, mirror)
                    x, y = values[2 * e], values[2 * e + 1]
                    if present(row):
                        put_complex(a, here(e), Complex(x + q[0], y - q[1]))
                    if present(row + 1):
                        put_complex(b, here(e), Complex(y + q[1], q[0] - x))

    @wp.func
    def store_one(
        values: Values,
        buffer: Tile,
        line: int,
        roots: Roots,
        t: int,
        table: Table,
        place: Place,
        member: int,
        row: int,
        wanted: bool,
    ):
        publish(values, buffer, line, t)
        if wanted:
            a = spectrum(table, place, member, row, t)
            for e in range(held):
                k = t + here(e)
                q = get(buffer, line, wp.where(k == 0, 0, n - k))
                put_complex(a, here(e), split(Complex(values[2 * e], values[2 * e + 1]), q, roots[k]))
            if t == 0:  # the last wavenumber, where the root is -1
                z = Complex(values[0], values[1])
                put_complex(a, n, split(z, z, Complex(real(-1.0), real(0.0))))

    @wp.func
    def psi_strip(buffer: Tile, line: int, e: int, t: int):
        sw = get(buffer, line, t + west(e, t))
        s = get(buffer, line, t + here(e))
        se = get(buffer, line, t + east(e, t))
        nw = get(buffer, line + 1, t + west(e, t))
        n = get(buffer, line + 1, t + here(e))
        ne = get(buffer, line + 1, t + east(e, t))
        return Strip(nw[1], n[1], ne[1], nw[0], n[0], ne[0], sw[1], s[1], se[1], sw[0], s[0], se[0])

    @wp.func
    def memory_strip(rows: Rows, e: int, t: int):
        return strip(rows, west(e, t), here(e), east(e, t))

    if plan.copies_rows:

        @wp.func
        def field_strip(slab: Slab, start: int, rows: Rows, pair: int, e: int, t: int):
            return slab_strip(slab, start, pair, t + west(e, t), t + here(e), t + east(e, t))

        @wp.func
        def field_pair(slab: Slab, rows: Rows, pair: int, e: int, t: int):
            return slab_pair(slab, pair, t + here(e))

    else:

        @wp.func
        def field_strip(slab: Slab, start: int, rows: Rows, pair: int, e: int, t: int):
            return strip(rows, west(e, t), here(e), east(e, t))

        @wp.func
        def field_pair(slab: Slab, rows: Rows, pair: int, e: int, t: int):
            return Complex(at(rows.here, here(e)), at(rows.above, here(e)))

    return types.SimpleNamespace(
        rows_around=rows_around,
        field_strip=field_strip,
        memory_strip=memory_strip,
        field_pair=field_pair,
        present=present,
        copy_spectra=copy_spectra,
        load=of_one.load if lines.one_row else load,
        store=store_one if lines.one_row else store,
        psi_strip=psi_strip,
    )
