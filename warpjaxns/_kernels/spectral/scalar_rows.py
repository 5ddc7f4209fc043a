"""Kernels of rows that carry scalars: half-transformed fields to points, products there, and back (`scalars`)."""

import dataclasses
import functools

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table, kernel
from ..hardware.intrinsics import synchronise_dependent_launch
from ..hardware.views import vector_view
from .places import Fields, fields
from .plan import Plan
from .rows import launch_on_rows, row_functions


@functools.cache
def scalar_products(plan: Plan, both: bool, square: bool, tangent: bool) -> wp.Kernel:
    """Make the kernel from z and one scalar to ``z c1``, or from two with `both`, and with `square` to ``z^2`` too.

    With `tangent` it makes their tangents as well. A block makes all products of its rows, or one (`Plan.apart`).
    """
    lines, held, size, real, of_square = plan.row_lines, plan.row_lines.values, plan.row_lines.size, plan.real, 1 + both
    Values, by_line, by_row = lines.Values, line_functions(lines), row_functions(plan)
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    complex_view = vector_view(plan.complex)
    share, half, load, store, load_scalars = by_row.share, by_row.half, by_row.load, by_row.store, by_row.load_scalars

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
        kind, first_row, line, t = share(index, rows)  # products: c1's, c2's if `both`, the square
        row = first_row + line
        wanted = row < rows
        factors = load_factors(complex_view(table, roots_at), t)
        synchronise_dependent_launch()
        z = load(half(table, z_at.state, 0, row, 0), wanted, t)
        c = Values()
        if kind != of_square:
            c = load_scalars(
                half(table, first_at.state, 0, row, 0), half(table, second_at.state, 0, row, 0), both, wanted, t
            )
        z = inverse(z, buffer, factors, line, t)
        if kind != of_square:
            c = inverse(c, buffer, factors, line, t)
        if tangent:
            y = load(half(table, z_at.tangent, 0, row, 0), wanted, t)
            dc = Values()
            if kind != of_square:
                dc = load_scalars(
                    half(table, first_at.tangent, 0, row, 0), half(table, second_at.tangent, 0, row, 0), both, wanted, t
                )
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


@dataclasses.dataclass(frozen=True)
class PullbackFields:
    """Numbers of the half-transformed fields of the sweep, and of the products that rows make of them.

    Fields are the strain, the velocity, the scalars, and the gradients of their cotangents. Products are
    ``2 conj(z) strain + sum c_i s_i``, and for each pair of scalars what moves them. Blocks that make one product each
    (`Plan.apart`) have ``c1 s1 + c2 s2`` of a pair for itself. Columns of both scalars read what moves a pair, so
    products are other arrays.
    """

    scalars: int
    velocity: int = 1
    scalar: int = 2
    pushed: int = 1  # of the products, and of every second one after
    moved: int = 2

    @property
    def gradient(self) -> int:
        return 2 + self.scalars

    @property
    def count(self) -> int:
        return 2 + 2 * self.scalars

    @property
    def products(self) -> int:
        return 1 + 2 * ((self.scalars + 1) // 2)


@functools.cache
def scalar_pullbacks(plan: Plan, scalars: int) -> wp.Kernel:
    """Make the kernel of the products of a sweep (`scalar_sweep`). A block makes all those of its rows, or one."""
    (ny, _), lines, pairs, at = plan.shape, plan.row_lines, (scalars + 1) // 2, PullbackFields(scalars)
    held, size, real = lines.values, lines.size, plan.real
    Values, by_line, by_row = lines.Values, line_functions(lines), row_functions(plan)
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    complex_view = vector_view(plan.complex)
    share, half, load, store, load_scalars = by_row.share, by_row.half, by_row.load, by_row.store, by_row.load_scalars
    velocity_at, scalar_at, gradient_at, moved_at, pushed_at = at.velocity, at.scalar, at.gradient, at.moved, at.pushed

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def scalar_pullbacks(
        table: Table,
        rows: int,
        # in
        roots_at: Place,
        half_at: Place,
        # out
        product_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        # products: 0, that of the strain; for a pair p what it pushes, 2 p + 1, and what moves it, 2 p + 2
        kind, first_row, line, t = share(index, rows)
        row = first_row + line
        wanted = row < rows
        batch = rows // ny
        factors = load_factors(complex_view(table, roots_at), t)
        synchronise_dependent_launch()
        z = Values()
        if kind % 2 == 0 or kind < 0:
            z = inverse(load(half(table, half_at, velocity_at * batch, row, 0), wanted, t), buffer, factors, line, t)
        y = Values()
        if kind <= 0:
            y = inverse(load(half(table, half_at, 0, row, 0), wanted, t), buffer, factors, line, t)
            for e in range(held):
                yr, yi = y[2 * e], y[2 * e + 1]
                y[2 * e] = real(2.0) * (z[2 * e] * yr + z[2 * e + 1] * yi)
                y[2 * e + 1] = real(2.0) * (z[2 * e] * yi - z[2 * e + 1] * yr)
        for pair in range(pairs):
            if kind < 0 or kind == 2 * pair + 1 or kind == 2 * pair + 2:
                first = 2 * pair
                both = first + 1 < scalars
                c = Values()
                if kind < 0 or kind == 2 * pair + 1:
                    of_first = half(table, half_at, (scalar_at + first) * batch, row, 0)
                    of_second = half(table, half_at, (scalar_at + first + 1) * batch, row, 0)
                    c = load_scalars(of_first, of_second, both, wanted, t)
                    c = inverse(c, buffer, factors, line, t)
                moved = Values()
                s = inverse(
                    load(half(table, half_at, (gradient_at + first) * batch, row, 0), wanted, t),
                    buffer,
                    factors,
                    line,
                    t,
                )
                for e in range(held):
                    y[2 * e] += c[2 * e] * s[2 * e]
                    y[2 * e + 1] += c[2 * e] * s[2 * e + 1]
                    moved[2 * e] = z[2 * e] * s[2 * e] + z[2 * e + 1] * s[2 * e + 1]
                if both:
                    other_row = half(table, half_at, (gradient_at + first + 1) * batch, row, 0)
                    s = inverse(load(other_row, wanted, t), buffer, factors, line, t)
                    for e in range(held):
                        y[2 * e] += c[2 * e + 1] * s[2 * e]
                        y[2 * e + 1] += c[2 * e + 1] * s[2 * e + 1]
                        moved[2 * e + 1] = z[2 * e] * s[2 * e] + z[2 * e + 1] * s[2 * e + 1]
                if kind < 0 or kind == 2 * pair + 2:
                    moved_row = half(table, product_at, (moved_at + first) * batch, row, 0)
                    store(forward(moved, buffer, factors, line, t), moved_row, wanted, t)
                if kind == 2 * pair + 1:
                    pushed_row = half(table, product_at, (pushed_at + first) * batch, row, 0)
                    store(forward(y, buffer, factors, line, t), pushed_row, wanted, t)
        if kind <= 0:
            store(forward(y, buffer, factors, line, t), half(table, product_at, 0, row, 0), wanted, t)

    return scalar_pullbacks


def launch_pullbacks(plan: Plan, scalars: int, roots, halves, made):
    """Launch the products of the sweep, from half-transformed fields to such fields (`PullbackFields`)."""
    kinds = PullbackFields(scalars).products if plan.apart else 1
    arguments = [roots, halves.merged, made.merged]
    launch_on_rows(plan, scalar_pullbacks(plan, scalars), halves.table, halves.shape[1], arguments, kinds)
