"""Kernels of rows: half-transformed fields to points, a product at each point, and back.

They are the other half of the transforms, along x, and stay in registers from the one to the other. Products replace
what they are made of in memory.
"""

import functools
import types

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table, kernel, launch
from ..hardware.intrinsics import block_index, synchronise_dependent_launch, thread_index
from ..hardware.views import complex_access, row_view, vector_view
from .plan import Plan

# number of fields that come in, and that go out
PRODUCTS = {"square": (1, 1), "square and tangent": (2, 2), "product": (2, 1), "conjugate product": (2, 1)}


@functools.cache
def row_functions(plan: Plan) -> types.SimpleNamespace:
    """Make the functions of threads that have a row.

    - ``share(index, rows)``: which product a block makes, its first row, and the number of a thread's line and of the
      thread in it. Blocks of the first product come first, if `Plan.apart`; else a block makes all, and has -1.
    - ``half(table, place, member, i, j)``: a `row_view` of half-transformed fields.
    - ``load(row, wanted, t)``: a thread's numbers of a row, with 0 for wavenumbers that it does not hold. ``store``
      writes them. Not `wanted`: there is no such row.
    - ``load_scalars(first, second, both, wanted, t)``: a thread's numbers of ``c1 + i c2``, or of c1 alone. These are
      real fields, of whose rows the wavenumbers from 0 on are read.
    """
    (ny, nx), kx, lines, pitch = plan.shape, plan.highest[1], plan.row_lines, plan.pitch
    held, threads, Complex, Values = lines.values, lines.threads, plan.complex, lines.Values
    (get_complex, put_complex), groups, apart = complex_access(plan.real), lines.groups, plan.apart
    row_type, real = wp.array(dtype=Complex), plan.real

    @wp.func
    def share(index: int, rows: int):
        thread = thread_index()
        line = thread // threads
        block = block_index(index, 0)
        kind = -1
        if apart:
            blocks = (rows + groups - 1) // groups
            kind = block // blocks
            block -= kind * blocks
        return kind, block * groups, line, thread - line * threads

    # whether any, or all, of the numbers that the threads of a line hold at a place are wavenumbers 0 to Kx, -Kx to -1
    @wp.func
    def low(e: int):
        return threads * e <= kx

    @wp.func
    def all_low(e: int):
        return threads * (e + 1) <= kx + 1

    @wp.func
    def high(e: int):
        return threads * (e + 1) > nx - kx

    @wp.func
    def all_high(e: int):
        return threads * e >= nx - kx

    @wp.func
    def load_both(row: row_type, opposite: int, sign: real, wanted: bool, t: int):
        """Read wavenumbers n >= 0 at n, and -n at ``opposite + n``, with a sign for the imaginary part."""
        values = Values()
        if wanted:
            for e in range(held):
                n = t + threads * e
                if low(e) and (all_low(e) or n <= kx):
                    number = get_complex(row, n)
                    values[2 * e] = number[0]
                    values[2 * e + 1] = number[1]
                if high(e) and (all_high(e) or n >= nx - kx):
                    number = get_complex(row, opposite + nx - n)
                    values[2 * e] = number[0]
                    values[2 * e + 1] = sign * number[1]
        return values

    @wp.func
    def load(row: row_type, wanted: bool, t: int):
        return load_both(row, pitch, real(1.0), wanted, t)

    @wp.func
    def load_real(row: row_type, wanted: bool, t: int):
        return load_both(row, 0, real(-1.0), wanted, t)

    @wp.func
    def load_scalars(first: row_type, second: row_type, both: bool, wanted: bool, t: int):
        values = load_real(first, wanted, t)
        if both:
            others = load_real(second, wanted, t)
            for e in range(held):
                values[2 * e] -= others[2 * e + 1]
                values[2 * e + 1] += others[2 * e]
        return values

    @wp.func
    def store(values: Values, row: row_type, wanted: bool, t: int):
        if wanted:
            for e in range(held):
                n = t + threads * e
                if low(e) and (all_low(e) or n <= kx):
                    put_complex(row, n, Complex(values[2 * e], values[2 * e + 1]))
                if high(e) and (all_high(e) or n >= nx - kx):
                    put_complex(row, pitch + nx - n, Complex(values[2 * e], values[2 * e + 1]))

    half = row_view(Complex, (ny, 2 * pitch))
    return types.SimpleNamespace(share=share, half=half, load=load, load_scalars=load_scalars, store=store)


@functools.cache
def products(plan: Plan, kind: str) -> wp.Kernel:
    """Make the kernel of a product of complex velocities z, y at each point.

    ``z^2``; ``z^2`` and its tangent ``2 z y``; ``z y``; or ``conj(z) y``.
    """
    (ny, _), lines, real, Values = plan.shape, plan.row_lines, plan.real, plan.row_lines.Values
    held, threads, groups, size = lines.values, lines.threads, lines.groups, lines.size
    by_line, by_row = line_functions(lines), row_functions(plan)
    half, load, store = by_row.half, by_row.load, by_row.store
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    complex_view = vector_view(plan.complex)
    two, second = PRODUCTS[kind][0] == 2, PRODUCTS[kind][1] == 2
    square, conjugate = kind.startswith("square"), kind == "conjugate product"

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def products(
        table: Table,
        rows: int,
        # in
        z_at: Place,
        y_at: Place,
        roots_at: Place,
        # out
        first_at: Place,
        second_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        thread = thread_index()
        line = thread // threads
        t = thread - line * threads
        row = block_index(index, 0) * groups + line
        wanted = row < rows
        factors = load_factors(complex_view(table, roots_at), t)
        # an operand that all members share has the rows of one
        from_z = half(table, z_at, 0, wp.where(z_at[2] == 1, row % ny, row), 0)
        from_y = half(table, y_at, 0, wp.where(y_at[2] == 1, row % ny, row), 0)
        synchronise_dependent_launch()
        z = inverse(load(from_z, wanted, t), buffer, factors, line, t)
        y = Values()
        if two:
            y = inverse(load(from_y, wanted, t), buffer, factors, line, t)
        for e in range(held):
            zr, zi = z[2 * e], z[2 * e + 1]
            if square:
                z[2 * e] = zr * zr - zi * zi
                z[2 * e + 1] = real(2.0) * zr * zi
            if two:
                if square:
                    zr = real(2.0) * zr
                    zi = real(2.0) * zi
                if conjugate:
                    zi = -zi
                yr, yi = y[2 * e], y[2 * e + 1]
                y[2 * e] = zr * yr - zi * yi
                y[2 * e + 1] = zr * yi + zi * yr
        if square:
            store(forward(z, buffer, factors, line, t), half(table, first_at, 0, row, 0), wanted, t)
        if second:
            store(forward(y, buffer, factors, line, t), half(table, second_at, 0, row, 0), wanted, t)
        elif two:
            store(forward(y, buffer, factors, line, t), half(table, first_at, 0, row, 0), wanted, t)

    return products


def launch_products(plan: Plan, kind: str, roots, z, y, first, second):
    """Launch the product of half-transformed fields z and y. All members may share one of them."""
    launch_on_rows(plan, products(plan, kind), first.table, first.shape[0], [z, y, roots, first, second])


def launch_on_rows(plan: Plan, kernel: wp.Kernel, table: wp.array, members: int, arguments: list, kinds: int = 1):
    """Launch a kernel whose threads have the rows of members. Its first argument is their number.

    `kinds`: blocks that have the same rows.
    """
    rows, lines = members * plan.shape[0], plan.row_lines
    launch(kernel, table, kinds * -(-rows // lines.groups), [rows, *arguments], lines.block_dim)
