"""Rows of real fields to and from their spectra.

Two real rows a and b make one complex line a + ib, so one transform serves both:
``A[k] = (Z[k] + conj Z[n-k]) / 2`` and ``B[k] = (Z[k] - conj Z[n-k]) / 2i``. Spectra are ``(batch, ny, nx//2 + 1)``
complex numbers. Rows are taken modulo ny, so that a band may reach over the edge; what lies past the last row is
computed and dropped.
"""

import functools
import types
from collections.abc import Callable

import warp as wp

from . import memory
from .fft import IN_FLIGHT, Lines, barrier, complex_type
from .memory import Place, Table
from .plan import Plan
from .stencils import stencils


@functools.cache
def pair_functions(lines: Lines, ny: int) -> types.SimpleNamespace:
    """``load`` and ``store``: spectra of row pairs into lines, and back. ``strip``: a neighbourhood out of lines."""
    get, put, nx, half, real = lines.get, lines.put, lines.n, lines.n // 2 + 1, lines.real
    Complex = complex_type(real)
    Values = wp.types.vector(length=4 * IN_FLIGHT, dtype=real)
    Tile = wp.tile(dtype=real, shape=(lines.size,))
    Strip = stencils(real).Strip

    @wp.func
    def load(
        buffer: Tile,
        first: int,
        spectrum: wp.array3d(dtype=Complex),
        member: int,
        row: int,
        pairs: int,
        thread: int,
    ):
        # clamped indices and loads in flight as in `solve_columns`
        last = pairs * half - 1
        for base in range(thread, pairs * half, IN_FLIGHT * wp.block_dim()):
            values = Values()
            for u in range(IN_FLIGHT):
                item = wp.min(base + u * wp.block_dim(), last)
                pair = item // half
                k = item - pair * half
                i = (row + 2 * pair + ny) % ny
                a = spectrum[member, i, k]
                b = spectrum[member, (i + 1) % ny, k]
                values[4 * u] = a[0]
                values[4 * u + 1] = a[1]
                values[4 * u + 2] = b[0]
                values[4 * u + 3] = b[1]
            for u in range(IN_FLIGHT):
                item = wp.min(base + u * wp.block_dim(), last)
                pair = item // half
                k = item - pair * half
                a = Complex(values[4 * u], values[4 * u + 1])
                b = Complex(values[4 * u + 2], values[4 * u + 3])
                if k == 0 or 2 * k == nx:  # spectra of real rows are real here; drop what rounding left
                    put(buffer, first + pair, k, Complex(a[0], b[0]))
                else:
                    put(buffer, first + pair, k, Complex(a[0] - b[1], a[1] + b[0]))
                    put(buffer, first + pair, nx - k, Complex(a[0] + b[1], b[0] - a[1]))

    @wp.func
    def store(
        buffer: Tile,
        first: int,
        spectrum: wp.array3d(dtype=Complex),
        member: int,
        row: int,
        pairs: int,
        thread: int,
    ):
        h = real(0.5)
        for item in range(thread, pairs * half, wp.block_dim()):
            pair = item // half
            k = item - pair * half
            i = row + 2 * pair
            p = get(buffer, first + pair, k)
            q = get(buffer, first + pair, wp.where(k == 0, 0, nx - k))
            if i < ny:
                spectrum[member, i, k] = Complex(h * (p[0] + q[0]), h * (p[1] - q[1]))
            if i + 1 < ny:
                spectrum[member, i + 1, k] = Complex(h * (p[1] + q[1]), h * (q[0] - p[0]))

    @wp.func
    def strip(buffer: Tile, line: int, j: int):
        """Four rows around two points, as `stencils` has them, from a line and the next one."""
        east = wp.where(j == nx - 1, 0, j + 1)
        west = wp.where(j == 0, nx - 1, j - 1)
        sw = get(buffer, line, west)
        s = get(buffer, line, j)
        se = get(buffer, line, east)
        nw = get(buffer, line + 1, west)
        n = get(buffer, line + 1, j)
        ne = get(buffer, line + 1, east)
        return Strip(nw[1], n[1], ne[1], nw[0], n[0], ne[0], sw[1], s[1], se[1], sw[0], s[0], se[0])

    return types.SimpleNamespace(load=load, store=store, strip=strip)


@functools.cache
def forward_rows(plan: Plan, values: Callable) -> wp.Kernel:
    """Spectra of the rows of a field. ``values(first, second, metric, member, i, k, j)`` gives its values at the points
    (i, j) and (k, j), k being the row north of i."""
    lines, (ny, nx), real = plan.band_lines, plan.shape, plan.real
    forward, put, size, pairs, rows, bands = (
        lines.forward,
        lines.put,
        lines.size,
        plan.rows // 2,
        plan.rows,
        plan.bands,
    )
    store = pair_functions(lines, ny).store
    Metric = stencils(real).Metric
    Complex = complex_type(real)
    fields, spectra, line = memory.stack(real, (ny, nx)), memory.stack(Complex, (ny, plan.half)), memory.line(Complex)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
    def forward_rows(
        table: Table, first_at: Place, second_at: Place, metric: Metric, roots_at: Place, spectrum_out_at: Place
    ):
        first = fields(table, first_at)
        second = fields(table, second_at)
        roots = line(table, roots_at)
        spectrum_out = spectra(table, spectrum_out_at)
        block, thread = wp.tid()
        member = block // bands
        row = (block - member * bands) * rows
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        for item in range(thread, pairs * nx, wp.block_dim()):
            pair = item // nx
            j = item - pair * nx
            i = (row + 2 * pair) % ny
            k = wp.where(i == ny - 1, 0, i + 1)
            put(buffer, pair, j, values(first, second, metric, member, i, k, j))
        barrier()
        forward(buffer, roots, thread, 0, pairs)
        store(buffer, 0, spectrum_out, member, row, pairs, thread)

    return forward_rows


@functools.cache
def identity_pair(real) -> Callable:
    Metric, Pair = stencils(real).Metric, complex_type(real)

    @wp.func
    def identity_pair(
        first: wp.array3d(dtype=real),
        second: wp.array3d(dtype=real),
        metric: Metric,
        member: int,
        i: int,
        k: int,
        j: int,
    ):
        return Pair(first[member, i, j], first[member, k, j])

    return identity_pair


@functools.cache
def inverse_rows(plan: Plan) -> wp.Kernel:
    """Rows of the field that has the given spectra."""
    lines, (ny, nx), real = plan.band_lines, plan.shape, plan.real
    inverse, get, size, pairs, rows, bands = (
        lines.inverse,
        lines.get,
        lines.size,
        plan.rows // 2,
        plan.rows,
        plan.bands,
    )
    load = pair_functions(lines, ny).load
    Complex = complex_type(real)
    fields, spectra, line = memory.stack(real, (ny, nx)), memory.stack(Complex, (ny, plan.half)), memory.line(Complex)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
    def inverse_rows(table: Table, spectrum_at: Place, roots_at: Place, field_out_at: Place):
        spectrum = spectra(table, spectrum_at)
        roots = line(table, roots_at)
        field_out = fields(table, field_out_at)
        block, thread = wp.tid()
        member = block // bands
        row = (block - member * bands) * rows
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        load(buffer, 0, spectrum, member, row, pairs, thread)
        barrier()
        inverse(buffer, roots, thread, 0, pairs)
        for item in range(thread, pairs * nx, wp.block_dim()):
            pair = item // nx
            j = item - pair * nx
            i = row + 2 * pair
            value = get(buffer, pair, j)
            if i < ny:
                field_out[member, i, j] = value[0]
            if i + 1 < ny:
                field_out[member, i + 1, j] = value[1]

    return inverse_rows
