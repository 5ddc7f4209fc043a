"""Kernels of rows that carry scalars: half-transformed fields to points, products there, and back (`scalars`)."""

import functools

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table, kernel
from ..hardware.intrinsics import block_index, synchronise_dependent_launch, thread_index
from ..hardware.views import row_view, vector_view
from .places import Fields, fields
from .plan import Plan
from .rows import launch_on_rows, row_functions


@functools.cache
def scalar_products(plan: Plan, both: bool, square: bool, tangent: bool) -> wp.Kernel:
    """Make the kernel from z and one scalar to ``z c1``, or from two with `both`, and with `square` to ``z^2`` too.

    With `tangent` it makes their tangents as well. A block makes all products of its rows, or one (`Plan.apart`).
    """
    (ny, _), lines, pitch, apart, of_square = plan.shape, plan.row_lines, plan.pitch, plan.apart, 1 + both
    held, threads, groups, size, real = lines.values, lines.threads, lines.groups, lines.size, plan.real
    Complex, Values = plan.complex, lines.Values
    by_line, by_row = line_functions(lines), row_functions(plan)
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    half, complex_view = row_view(Complex, (ny, 2 * pitch)), vector_view(Complex)
    load, load_real, store = by_row.load, by_row.load_real, by_row.store

    @wp.func
    def load_scalars(table: Table, first_at: Place, second_at: Place, row: int, wanted: bool, t: int):
        """Return a thread's numbers of ``c1 + i c2``."""
        values = load_real(half(table, first_at, 0, row, 0), wanted, t)
        if both:
            second = load_real(half(table, second_at, 0, row, 0), wanted, t)
            for e in range(held):
                values[2 * e] -= second[2 * e + 1]
                values[2 * e + 1] += second[2 * e]
        return values

    @wp.func
    def times_first(z: Values, c: Values):
        product = Values()
        for e in range(held):
            product[2 * e] = z[2 * e] * c[2 * e]
            product[2 * e + 1] = z[2 * e + 1] * c[2 * e]
        return product

    @wp.func
    def times_second(z: Values, c: Values):
        product = Values()
        for e in range(held):
            product[2 * e] = z[2 * e] * c[2 * e + 1]
            product[2 * e + 1] = z[2 * e + 1] * c[2 * e + 1]
        return product

    @wp.func
    def times(z: Values, y: Values):
        product = Values()
        for e in range(held):
            product[2 * e] = z[2 * e] * y[2 * e] - z[2 * e + 1] * y[2 * e + 1]
            product[2 * e + 1] = z[2 * e] * y[2 * e + 1] + z[2 * e + 1] * y[2 * e]
        return product

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def scalar_products(
        table: Table,
        rows: int,
        # in
        roots_at: Place,
        z_at: Fields,
        first_at: Fields,
        second_at: Fields,
        # out
        square_at: Fields,
        of_first_at: Fields,
        of_second_at: Fields,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        thread = thread_index()
        line = thread // threads
        t = thread - line * threads
        block = block_index(index, 0)
        kind = -1  # all products
        if apart:
            blocks = (rows + groups - 1) // groups
            kind = block // blocks
            block -= kind * blocks
        row = block * groups + line
        wanted = row < rows
        factors = load_factors(complex_view(table, roots_at), t)
        synchronise_dependent_launch()
        z = load(half(table, z_at.state, 0, row, 0), wanted, t)
        c = Values()
        if kind != of_square:
            c = load_scalars(table, first_at.state, second_at.state, row, wanted, t)
        z = inverse(z, buffer, factors, line, t)
        if kind != of_square:
            c = inverse(c, buffer, factors, line, t)
        if tangent:
            y = load(half(table, z_at.tangent, 0, row, 0), wanted, t)
            dc = Values()
            if kind != of_square:
                dc = load_scalars(table, first_at.tangent, second_at.tangent, row, wanted, t)
            y = inverse(y, buffer, factors, line, t)
            if kind != of_square:
                dc = inverse(dc, buffer, factors, line, t)
        if kind <= 0:
            product = forward(times_first(z, c), buffer, factors, line, t)
            store(product, half(table, of_first_at.state, 0, row, 0), wanted, t)
            if tangent:
                product = forward(times_first(y, c) + times_first(z, dc), buffer, factors, line, t)
                store(product, half(table, of_first_at.tangent, 0, row, 0), wanted, t)
        if both and (kind < 0 or kind == 1):
            product = forward(times_second(z, c), buffer, factors, line, t)
            store(product, half(table, of_second_at.state, 0, row, 0), wanted, t)
            if tangent:
                product = forward(times_second(y, c) + times_second(z, dc), buffer, factors, line, t)
                store(product, half(table, of_second_at.tangent, 0, row, 0), wanted, t)
        if square and (kind < 0 or kind == of_square):
            if tangent:
                product = forward(times(z + z, y), buffer, factors, line, t)
                store(product, half(table, square_at.tangent, 0, row, 0), wanted, t)
            product = forward(times(z, z), buffer, factors, line, t)
            store(product, half(table, square_at.state, 0, row, 0), wanted, t)

    return scalar_products


def launch_products(plan: Plan, scalars: int, roots, halves, made):
    """Launch the products of all pairs of scalars, and the square last, since it may replace z.

    `halves` and `made`: half-transformed fields ``(1 + scalars, members, ny, 2 pitch)``, a list of one for a state
    alone, or of two for a state and its tangent.
    """
    table, members = halves[0].table, halves[0].shape[1]
    for first in reversed(range(1, 1 + scalars, 2)):
        both, square = first < scalars, first == 1
        numbers = 0, first, first + 1 if both else first
        places = [fields(*(each[number] for each in arrays)) for arrays in (halves, made) for number in numbers]
        kernel = scalar_products(plan, both, square, len(halves) == 2)
        launch_on_rows(plan, kernel, table, members, [roots, *places], 1 + both + square if plan.apart else 1)
