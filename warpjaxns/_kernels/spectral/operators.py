"""Operators on states: velocities and strains along y, and what comes back from products; advection as a whole."""

import functools

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.views import complex_access, vector_view
from ..parameters import Parameters, parameter_functions
from .columns import column_functions
from .places import Tables
from .plan import Plan
from .rows import launch_products
from .symbols import symbols


@functools.cache
def begin(plan: Plan, symbol: str, extra: bool = False, tangent: bool = False) -> wp.Kernel:
    """Make the kernel from a state to a half-transformed field. `symbol`: "velocity", "strain" or "lift".

    With `extra` terms it reads F of the deformation radius, and with `tangent` a tangent of F and its state as well.
    """
    lines, parts, real = plan.column_lines(plan.advance), plan.parts(plan.advance), plan.real
    C, size, groups = lines.interleaved, lines.size, lines.groups // lines.interleaved
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    inverse, put, load_factors = by_line.inverse, by_line.put, by_line.factors
    thread_of, gather, store, state_view = by_column.thread_of, by_column.gather, by_column.store, by_column.state
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves, filter_of = by_column.natural, by_column.waves, by_column.filter_of
    mode, image, Scale = by_mode.mode, getattr(by_mode, symbol), by_mode.Scale
    filtered, inverse_of = plan.filtered and symbol != "velocity", by_mode.inverse
    all_numbers = parameter_functions(real).all_numbers
    (get_complex, _), complex_view, real_view = complex_access(real), vector_view(plan.complex), vector_view(real)

    @kernel(launch_bounds=plan.bounds(lines, plan.advance))
    def begin(
        table: Table,
        scale: Scale,
        # in
        state_at: Place,
        roots_at: Place,
        filter_at: Place,
        parameters: Parameters,
        dparameters: Parameters,
        of_at: Place,
        # out
        half_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts)
        first = part * C
        side_of, c_of, t = thread_of(thread)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        state = state_view(table, state_at, member, first)
        if extra:
            given = all_numbers(table, parameters, member)
        if tangent:
            direction = all_numbers(table, dparameters, member)
            of = state_view(table, of_at, member, first)
        synchronise_dependent_launch()
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                m = mode(waves(row), first + c, scale)
                a = get_complex(state, here(row, c))
                if extra:
                    m.inverse = inverse_of(m, given.screening)
                if tangent:
                    a -= (direction.screening * m.inverse) * get_complex(of, here(row, c))
                if filtered:
                    a *= filter_of(filters, row, first + c)
                plus, minus = image(m, a)
                put(buffer, c, natural(row), plus[0], plus[1])
                put(buffer, C + c, natural(row), minus[0], minus[1])
        barrier()
        for side in range(side_of, 2, groups):
            line = side * C + c_of
            values = inverse(gather(buffer, line, t), buffer, factors, line, t)
            store(values, table, half_at, member, side, first + c_of, t)

    return begin


@functools.cache
def end(plan: Plan, symbol: str) -> wp.Kernel:
    """Make the kernel from a half-transformed product to a state. `symbol`: "advection" or "pullback"."""
    lines, parts, real = plan.column_lines(plan.advance), plan.parts(plan.advance), plan.real
    C, size, groups = lines.interleaved, lines.size, lines.groups // lines.interleaved
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, publish, get, load_factors = by_line.forward, by_line.publish, by_line.get, by_line.factors
    thread_of, load, state_view, filter_of = by_column.thread_of, by_column.load, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves = by_column.natural, by_column.waves
    mode, image, Scale = by_mode.mode, getattr(by_mode, symbol), by_mode.Scale
    filtered = plan.filtered and symbol == "advection"
    (_, put_complex), complex_view, real_view = complex_access(real), vector_view(plan.complex), vector_view(real)

    @kernel(launch_bounds=plan.bounds(lines, plan.advance))
    def end(
        table: Table,
        scale: Scale,
        # in
        half_at: Place,
        roots_at: Place,
        filter_at: Place,
        # out
        state_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts)
        first = part * C
        side_of, c_of, t = thread_of(thread)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        state = state_view(table, state_at, member, first)
        synchronise_dependent_launch()
        for side in range(side_of, 2, groups):
            line = side * C + c_of
            values = load(table, half_at, member, side, first + c_of, t)
            publish(forward(values, buffer, factors, line, t), buffer, line, t)
        barrier()
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                m = mode(waves(row), first + c, scale)
                n = natural(row)
                out = image(m, get(buffer, c, n), get(buffer, C + c, n))
                if filtered:
                    out *= filter_of(filters, row, first + c)
                put_complex(state, here(row, c), out)

    return end


def launch_begin(plan: Plan, symbol: str, scale, tables: Tables, state, half, given=None, direction=None, of=None):
    """Launch the kernel from a state to a half-transformed field.

    `given`: the parameters of an equation, where velocities are those of its states. Then `direction`: their tangents,
    where the state is a tangent, and `of` is its state.
    """
    given = given or Parameters()
    extra = given.linear != NO_ARRAY
    tangent = extra and direction is not None
    arguments = [
        scale,
        state,
        tables.roots_y,
        tables.filters,
        given,
        direction or given,
        of if tangent else state,
        half,
    ]
    _launch_on_columns(plan, begin(plan, symbol, extra, tangent), half, arguments)


def launch_end(plan: Plan, symbol: str, scale, tables: Tables, half, state):
    """Launch the kernel from a half-transformed product to a state."""
    arguments = [scale, half, tables.roots_y, tables.filters, state]
    _launch_on_columns(plan, end(plan, symbol), half, arguments)


def _launch_on_columns(plan, kernel, half, arguments):
    cut = plan.advance
    launch(kernel, half.table, half.shape[0] * plan.parts(cut), arguments, plan.column_lines(cut).block_dim)


def advection(plan: Plan, scale, tables: Tables, a, out, half):
    """Launch ``out = B(a, a)``. `half`: an array of `Plan.halves`."""
    launch_begin(plan, "velocity", scale, tables, a, half)
    launch_products(plan, "square", tables.roots_x, half, half, half, half)
    launch_end(plan, "advection", scale, tables, half, out)


def transport(plan: Plan, scale, tables: Tables, a, b, out, half_a, half_b):
    """Launch ``out = B(a, b)``."""
    _bilinear(plan, scale, tables, ("velocity", "product", "advection"), a, b, out, half_a, half_b)


def pullback(plan: Plan, scale, tables: Tables, b, l, out, half_b, half_l):
    """Launch ``out = G(b, l)``."""
    _bilinear(plan, scale, tables, ("strain", "conjugate product", "pullback"), b, l, out, half_b, half_l)


def _bilinear(plan, scale, tables, kinds, a, b, out, half_a, half_b):
    of_second, product, back = kinds
    launch_begin(plan, "velocity", scale, tables, a, half_a)
    launch_begin(plan, of_second, scale, tables, b, half_b)
    largest = max(half_a, half_b, key=lambda half: half.shape[0])
    launch_products(plan, product, tables.roots_x, half_a, half_b, largest, largest)
    launch_end(plan, back, scale, tables, largest, out)
