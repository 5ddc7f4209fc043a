"""Time steps of a flow that carries scalars, a kernel of columns and one of rows for each pair of scalars a stage.

Two real scalars are one complex field ``c = c1 + i c2``, so they go to points by one transform. Their products ``z c1``
and ``z c2`` with the velocity ``z = v + i u`` are complex, and come back by one each. A tangent goes through the same
kernels as its state.

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
from .places import Fields
from .places import fields as places_of
from .plan import Plan
from .rows import launch_on_rows, row_functions
from .setting import Setting
from .stepping import stepping
from .symbols import symbols


@functools.cache
def scalar_products(plan: Plan, both: bool, square: bool, tangent: bool) -> wp.Kernel:
    """Make the kernel from z and ``c1 + i c2`` to ``z c1``, with `both` ``z c2``, and with `square` ``z^2`` too.

    With `tangent` it makes their tangents as well.
    """
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
        dz_at: Place,
        dfirst_at: Place,
        # out
        second_at: Place,
        dsecond_at: Place,
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
        if tangent:
            of_dz, of_dfirst = half(table, dz_at, 0, row, 0), half(table, dfirst_at, 0, row, 0)
            y = inverse(load(of_dz, wanted, t), buffer, factors, line, t)
            dc = inverse(load(of_dfirst, wanted, t), buffer, factors, line, t)
            dsecond = Values()
        for e in range(held):
            zr, zi = z[2 * e], z[2 * e + 1]
            a, b = c[2 * e], c[2 * e + 1]
            if tangent:
                yr, yi = y[2 * e], y[2 * e + 1]
                da, db = dc[2 * e], dc[2 * e + 1]
                dc[2 * e] = yr * a + zr * da
                dc[2 * e + 1] = yi * a + zi * da
                if both:
                    dsecond[2 * e] = yr * b + zr * db
                    dsecond[2 * e + 1] = yi * b + zi * db
                if square:
                    y[2 * e] = real(2.0) * (zr * yr - zi * yi)
                    y[2 * e + 1] = real(2.0) * (zr * yi + zi * yr)
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
        if tangent:
            store(forward(dc, buffer, factors, line, t), of_dfirst, wanted, t)
            if both:
                store(forward(dsecond, buffer, factors, line, t), half(table, dsecond_at, 0, row, 0), wanted, t)
            if square:
                store(forward(y, buffer, factors, line, t), of_dz, wanted, t)

    return scalar_products


@functools.cache
def scalar_columns(plan: Plan, scalars: int, first_stage: bool, forced: bool, opens: bool, tangent: bool) -> wp.Kernel:
    """Make the kernel of a stage from products to the new state, and with `opens` to its velocities and pairs.

    With `first_stage` there is nothing before the stage but a state: the kernel makes its velocities and pairs only.
    With `tangent` it does the same for a tangent, whose lines follow those of the state.
    """
    (cut, sides), real, Complex = (plan.tangent, 4) if tangent else (plan.advance, 2), plan.real, plan.complex
    lines, parts, fields, pairs = plan.column_lines(cut, sides), plan.parts(cut), 1 + scalars, (scalars + 1) // 2
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
    Stage, advance, rate_of, advance_tangent = step_of.Stage, step_of.advance, step_of.rate, step_of.tangent
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
        dparameters: Parameters,
        coupling_at: Fields,
        step: int,
        state_at: Fields,
        increment_at: Fields,
        roots_at: Place,
        filter_at: Place,
        # in and out
        half_at: Fields,
        # out
        out_at: Fields,
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
        coupling = real_view(table, coupling_at.state)
        coupled = wp.where(coupling.shape[0] == 4 * scalars, 0, 4 * scalars * member)
        base, batch = member * fields, half_at.state[2] // fields
        of_terms = wp.where(parameters.linear[2] == fields, 0, base)
        when = slice_at(parameters.forcing, wp.where(parameters.forcing[3] == 1, 0, step))
        of_force = wp.where(when[2] == fields, 0, base)
        vorticity = state_view(table, state_at.state, base, first)
        if tangent:
            direction = numbers(table, dparameters, member)
            dcoupling = real_view(table, coupling_at.tangent)
            dcoupled = wp.where(dcoupling.shape[0] == 4 * scalars, 0, 4 * scalars * member)
            of_dterms = wp.where(dparameters.linear[2] == fields, 0, base)
            dwhen = slice_at(dparameters.forcing, wp.where(dparameters.forcing[3] == 1, 0, step))
            of_dforce = wp.where(dwhen[2] == fields, 0, base)
            dvorticity = state_view(table, state_at.tangent, base, first)
        field, count = 0, 1
        if pair > 0:
            field = 2 * pair - 1
            count = wp.min(2, fields - field)
        synchronise_dependent_launch()
        for k in range(count):
            if steps:
                for side in range(side_of, sides, groups):
                    line = side * C + c_of
                    place = half_at.state
                    if tangent and side > 1:
                        place = half_at.tangent
                    values = load(table, place, (field + k) * batch + member, side % 2, first + c_of, t)
                    publish(forward(values, buffer, factors, line, t), buffer, line, t)
                barrier()
            state = state_view(table, state_at.state, base + field + k, first)
            before = state_view(table, state_at.state, base + field, first)
            if steps:
                increment = state_view(table, increment_at.state, base + field + k, first)
                terms = state_view(table, parameters.linear, of_terms + field + k, first)
                out = state_view(table, out_at.state, base + field + k, first)
                before = state_view(table, out_at.state, base + field, first)
                force = state_view(table, when, of_force + field + k, first)
            if tangent:
                dstate = state_view(table, state_at.tangent, base + field + k, first)
                dbefore = state_view(table, state_at.tangent, base + field, first)
                if steps:
                    dincrement = state_view(table, increment_at.tangent, base + field + k, first)
                    dterms = state_view(table, dparameters.linear, of_dterms + field + k, first)
                    dout = state_view(table, out_at.tangent, base + field + k, first)
                    dbefore = state_view(table, out_at.tangent, base + field, first)
                    dforce = state_view(table, dwhen, of_dforce + field + k, first)
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
                                of_s = state_view(table, state_at.state, base + 1 + s, first)
                                rate += turned(lift, get_complex(of_s, at))
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
                    if tangent:
                        dw = get_complex(dstate, at)
                        if steps:
                            dq, dr = get(buffer, 2 * C + c, n), get(buffer, 3 * C + c, n)
                            drate = Complex()
                            dL = get_complex(dterms, at)
                            if pair == 0:
                                drate = filtering * advection(m, dq, dr)
                                dL = rate_of(direction, m, dterms, at)
                                for s in range(scalars):
                                    b, db = coupled + 4 * s + 2, dcoupled + 4 * s + 2
                                    lift = coupling[b + 1] * m.x - coupling[b] * m.y
                                    dlift = dcoupling[db + 1] * m.x - dcoupling[db] * m.y
                                    of_s = state_view(table, state_at.state, base + 1 + s, first)
                                    of_ds = state_view(table, state_at.tangent, base + 1 + s, first)
                                    drate += turned(lift, get_complex(of_ds, at))
                                    drate += turned(dlift, get_complex(of_s, at))
                            else:
                                g, dg = coupled + 4 * (field + k - 1), dcoupled + 4 * (field + k - 1)
                                across = coupling[g + 1] * m.x - coupling[g] * m.y
                                dacross = dcoupling[dg + 1] * m.x - dcoupling[dg] * m.y
                                dacross -= direction.screening * m.inverse * across
                                drate = filtering * carried(m, dq, dr)
                                drate += turned(m.inverse * across, get_complex(dvorticity, at))
                                drate += turned(m.inverse * dacross, get_complex(vorticity, at))
                            if forced:
                                drate += get_complex(dforce, at)
                            dd = Complex()
                            if stage.a != real(0.0):
                                dd = get_complex(dincrement, at)
                            dw, dd = advance_tangent(dw, dd, rate, drate, w, d, stage, given, direction, L, dL)
                            put_complex(dout, at, dw)
                            if last == 0:
                                put_complex(dincrement, at, dd)
                    if opens:
                        plus, minus = m.back * w, m.back * w
                        if pair == 0:
                            plus, minus = velocity(m, w)
                        if k == 1:  # c1 + i c2, and its conjugate
                            one, two = m.back * get_complex(before, at), turned(m.back, w)
                            plus, minus = one + two, one - two
                        put(buffer, c, n, plus[0], plus[1])
                        put(buffer, C + c, n, minus[0], minus[1])
                        if tangent:
                            plus, minus = m.back * dw, m.back * dw
                            if pair == 0:  # F changes the velocity of a state, too
                                plus, minus = velocity(m, dw - (direction.screening * m.inverse) * w)
                            if k == 1:
                                one, two = m.back * get_complex(dbefore, at), turned(m.back, dw)
                                plus, minus = one + two, one - two
                            put(buffer, 2 * C + c, n, plus[0], plus[1])
                            put(buffer, 3 * C + c, n, minus[0], minus[1])
            barrier()
        if opens:
            for side in range(side_of, sides, groups):
                line = side * C + c_of
                place = half_at.state
                if tangent and side > 1:
                    place = half_at.tangent
                values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                store(values, table, place, field * batch + member, side % 2, first + c_of, t)

    return scalar_columns


def advance(setting: Setting, scalars: int, parameters, coupling, omega, targets, increments, halves):
    """Launch the steps from `omega`: lists of one for a state alone, or of two for a state and its tangent.

    Args:
        setting: plan, integrator, steps, constants.
        scalars: the number of scalars.
        parameters: places of the parameters, and of the symbol of all linear terms but viscosity and drag.
        coupling: mean gradient and buoyancy of each scalar, four numbers, of all members or each.
        omega: the state ``(members (1 + scalars), columns, rows)``.
        targets: for each stage the list that receives the state after it, other arrays than for the stage before.
        increments: scratch, a state.
        halves: scratch, half-transformed fields ``(1 + scalars, members, ny, 2 pitch)``.
    """
    plan, stages, tangent = setting.plan, low_storage(setting.integrator), len(omega) == 2
    cut, sides = (plan.tangent, 4) if tangent else (plan.advance, 2)
    blocks = halves[0].shape[1] * plan.parts(cut) * (1 + (scalars + 1) // 2)
    block_dim, forced = plan.column_lines(cut, sides).block_dim, parameters[0].forcing != NO_ARRAY
    stage = stepping(plan.real, True).Stage()

    def columns(first_stage, opens, step, state, out, last):
        kernel = scalar_columns(plan, scalars, first_stage, forced, opens, tangent)
        given = [parameters[0], parameters[-1], places_of(*coupling), step, places_of(*state), places_of(*increments)]
        given += [setting.tables.roots_y, setting.tables.filters, places_of(*(half.merged for half in halves))]
        launch(kernel, halves[0].table, blocks, [stage, setting.scale, *given, places_of(*out), last], block_dim)

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
    plan, (of_state, of_tangent) = setting.plan, (halves[0], halves[-1])
    for field in reversed(range(1, 1 + scalars, 2)):
        both = field + 1 <= scalars
        second = field + 1 if both else field
        kernel = scalar_products(plan, both, field == 1, len(halves) == 2)
        arguments = [setting.tables.roots_x, of_state[0], of_state[field], of_tangent[0], of_tangent[field]]
        arguments += [of_state[second], of_tangent[second]]
        launch_on_rows(plan, kernel, of_state.table, of_state.shape[1], arguments)
