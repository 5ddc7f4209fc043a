"""Time steps of a flow that carries scalars, a kernel of columns and one of rows for each pair of scalars a stage.

Two real scalars are one complex field ``c = c1 + i c2``, so they go to points by one transform. Their products ``z c1``
and ``z c2`` with the velocity ``z = v + i u`` are complex, and come back by one each.

A state has the fields of a member one after the other, the vorticity first. Half-transformed fields lie the other way
round, all members of a field together: z or ``z^2``, and then ``c``, or ``z c1``, and ``z c2`` of each pair.

Blocks of columns work on the vorticity or on a pair. They read what couples these from the old state, so the new one is
another array.
"""

import functools

import warp as wp

from ..._coefficients import low_storage
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ..hardware.intrinsics import barrier, block_index, locate, synchronise_dependent_launch, thread_index
from ..hardware.views import complex_access, row_view, vector_view
from ..parameters import Parameters, parameter_functions
from .columns import column_functions
from .plan import Plan
from .rows import row_functions
from .setting import Setting
from .stepping import stepping
from .symbols import symbols


@functools.cache
def scalar_products(plan: Plan, both: bool, square: bool) -> wp.Kernel:
    """Make the kernel from z and ``c1 + i c2`` to ``z c1``, with `both` ``z c2``, and with `square` ``z^2`` too."""
    (ny, _), lines, pitch = plan.shape, plan.row_lines, plan.pitch
    held, threads, groups, size, real = lines.values, lines.threads, lines.groups, lines.size, plan.real
    Complex, Values = plan.complex, lines.Values
    by_line, by_row = line_functions(lines), row_functions(plan)
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    half, complex_view = row_view(Complex, (ny, 2 * pitch)), vector_view(Complex)
    load, store = by_row.load, by_row.store

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def scalar_products(
        table: Table,
        rows: int,
        # in
        roots_at: Place,
        # in and out
        z_at: Place,
        first_at: Place,
        # out
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
        of_z, of_first = half(table, z_at, 0, row, 0), half(table, first_at, 0, row, 0)
        synchronise_dependent_launch()
        z = inverse(load(of_z, wanted, t), buffer, factors, line, t)
        c = inverse(load(of_first, wanted, t), buffer, factors, line, t)
        second = Values()
        for e in range(held):
            zr, zi = z[2 * e], z[2 * e + 1]
            a, b = c[2 * e], c[2 * e + 1]
            c[2 * e] = zr * a
            c[2 * e + 1] = zi * a
            if both:
                second[2 * e] = zr * b
                second[2 * e + 1] = zi * b
            if square:
                z[2 * e] = zr * zr - zi * zi
                z[2 * e + 1] = real(2.0) * zr * zi
        store(forward(c, buffer, factors, line, t), of_first, wanted, t)
        if both:
            store(forward(second, buffer, factors, line, t), half(table, second_at, 0, row, 0), wanted, t)
        if square:
            store(forward(z, buffer, factors, line, t), of_z, wanted, t)

    return scalar_products


@functools.cache
def scalar_columns(plan: Plan, scalars: int, first_stage: bool, forced: bool, opens: bool) -> wp.Kernel:
    """Make the kernel of a stage from products to the new state, and with `opens` to its velocities and pairs.

    With `first_stage` there is nothing before the stage but a state: the kernel makes its velocities and pairs only.
    """
    cut, real, Complex = plan.advance, plan.real, plan.complex
    lines, parts, fields, pairs = plan.column_lines(cut), plan.parts(cut), 1 + scalars, (scalars + 1) // 2
    C, size, groups = lines.interleaved, lines.size, lines.groups // lines.interleaved
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves = by_column.natural, by_column.waves
    mode, velocity, advection, carried = by_mode.mode, by_mode.velocity, by_mode.advection, by_mode.carried
    step_of, by_member, filtered, Scale = stepping(real, True), parameter_functions(real), plan.filtered, by_mode.Scale
    numbers, inverse_of, steps = by_member.all_numbers, by_mode.inverse, not first_stage
    Stage, advance, rate_of = step_of.Stage, step_of.advance, step_of.rate
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(Complex)
    real_view, turned = vector_view(real), by_mode.turned

    @kernel(launch_bounds=plan.bounds(lines, cut))
    def scalar_columns(
        table: Table,
        # coefficients
        stage: Stage,
        scale: Scale,
        # in
        parameters: Parameters,
        coupling_at: Place,
        step: int,
        state_at: Place,
        increment_at: Place,
        roots_at: Place,
        filter_at: Place,
        # in and out
        half_at: Place,
        # out
        out_at: Place,
        last: int,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts * (1 + pairs))
        pair = part // parts  # 0: the vorticity
        first = (part - pair * parts) * C
        side_of, c_of, t = thread_of(thread)
        given = numbers(table, parameters, member)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        coupling = real_view(table, coupling_at)
        coupled = wp.where(coupling.shape[0] == 4 * scalars, 0, 4 * scalars * member)
        base, batch = member * fields, half_at[2] // fields
        of_terms = wp.where(parameters.linear[2] == fields, 0, base)
        when = slice_at(parameters.forcing, wp.where(parameters.forcing[3] == 1, 0, step))
        of_force = wp.where(when[2] == fields, 0, base)
        vorticity = state_view(table, state_at, base, first)
        field, count = 0, 1
        if pair > 0:
            field = 2 * pair - 1
            count = wp.min(2, fields - field)
        synchronise_dependent_launch()
        for k in range(count):
            if steps:
                for side in range(side_of, 2, groups):
                    line = side * C + c_of
                    values = load(table, half_at, (field + k) * batch + member, side, first + c_of, t)
                    publish(forward(values, buffer, factors, line, t), buffer, line, t)
                barrier()
            state = state_view(table, state_at, base + field + k, first)
            before = state_view(table, state_at, base + field, first)
            if steps:
                increment = state_view(table, increment_at, base + field + k, first)
                terms = state_view(table, parameters.linear, of_terms + field + k, first)
                out = state_view(table, out_at, base + field + k, first)
                before = state_view(table, out_at, base + field, first)
                force = state_view(table, when, of_force + field + k, first)
            for i in range(points):
                if holds(i, thread, first):
                    row, c = mode_of(i, thread)
                    at, n = here(row, c), natural(row)
                    m = mode(waves(row), first + c, scale)
                    m.inverse = inverse_of(m, given.screening)
                    w = get_complex(state, at)
                    if steps:
                        q, r = get(buffer, c, n), get(buffer, C + c, n)
                        filtering = real(1.0)
                        if filtered:
                            filtering = filter_of(filters, row, first + c)
                        rate = Complex()
                        L = get_complex(terms, at)
                        if pair == 0:
                            rate = filtering * advection(m, q, r)
                            L = rate_of(given, m, terms, at)
                            for s in range(scalars):  # buoyancy
                                b = coupled + 4 * s + 2
                                lift = coupling[b + 1] * m.x - coupling[b] * m.y
                                rate += turned(lift, get_complex(state_view(table, state_at, base + 1 + s, first), at))
                        else:
                            g = coupled + 4 * (field + k - 1)  # the mean gradient
                            across = m.inverse * (coupling[g + 1] * m.x - coupling[g] * m.y)
                            rate = filtering * carried(m, q, r) + turned(across, get_complex(vorticity, at))
                        if forced:
                            rate += get_complex(force, at)
                        d = Complex()
                        if stage.a != real(0.0):
                            d = get_complex(increment, at)
                        w, d = advance(w, d, rate, stage, given, L)
                        put_complex(out, at, w)
                        if last == 0:
                            put_complex(increment, at, d)
                    if opens:
                        plus, minus = m.back * w, m.back * w
                        if pair == 0:
                            plus, minus = velocity(m, w)
                        if k == 1:  # c1 + i c2, and its conjugate
                            one, two = m.back * get_complex(before, at), turned(m.back, w)
                            plus, minus = one + two, one - two
                        put(buffer, c, n, plus[0], plus[1])
                        put(buffer, C + c, n, minus[0], minus[1])
            barrier()
        if opens:
            for side in range(side_of, 2, groups):
                line = side * C + c_of
                values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                store(values, table, half_at, field * batch + member, side, first + c_of, t)

    return scalar_columns


def advance(
    setting: Setting, parameters: Parameters, coupling, scalars: int, omega, targets, increments, halves
):
    """Launch the steps from `omega`.

    Args:
        setting: plan, integrator, steps, constants.
        parameters: places of the parameters, and of the symbol of all linear terms but viscosity and drag.
        coupling: mean gradient and buoyancy of each scalar, four numbers, of all members or each.
        scalars: their number.
        omega: the state ``(members (1 + scalars), columns, rows)``.
        targets: for each stage the array that receives the state after it, another one than that of the stage before.
        increments: scratch, a state.
        halves: scratch, half-transformed fields ``(1 + scalars, members, ny, 2 pitch)``.
    """
    plan, stages = setting.plan, low_storage(setting.integrator)
    blocks = halves.shape[1] * plan.parts(plan.advance) * (1 + (scalars + 1) // 2)
    block_dim, forced = plan.column_lines(plan.advance).block_dim, parameters.forcing != NO_ARRAY
    stage = stepping(plan.real, True).Stage()

    def columns(first_stage, opens, step, state, out, last):
        kernel = scalar_columns(plan, scalars, first_stage, forced, opens)
        given = [parameters, coupling, step, state, increments, setting.tables.roots_y, setting.tables.filters]
        arguments = [stage, setting.scale, *given, halves.merged, out, last]
        launch(kernel, halves.table, blocks, arguments, block_dim)

    columns(True, True, 0, omega, omega, 0)
    state = omega
    for turn, target in enumerate(targets):
        step, number = divmod(turn, len(stages))
        stage.a, stage.b, stage.duration = stages[number]
        _launch_products(setting, scalars, halves)
        columns(False, turn + 1 < len(targets), step, state, target, int(number + 1 == len(stages)))
        state = target


def _launch_products(setting, scalars, halves):
    """Launch the products of all pairs, and the square last, since it replaces z."""
    plan = setting.plan
    lines, rows = plan.row_lines, halves.shape[1] * plan.shape[0]
    for field in reversed(range(1, 1 + scalars, 2)):
        both = field + 1 <= scalars
        kernel = scalar_products(plan, both, field == 1)
        arguments = [rows, setting.tables.roots_x, halves[0], halves[field], halves[field + 1 if both else field]]
        launch(kernel, halves.table, -(-rows // lines.groups), arguments, lines.block_dim)
