"""Time steps of a flow that carries scalars, a kernel of columns and one of rows for each pair of scalars a stage.

Scalars are real, so their columns kx are enough, and two of them go through rows as one complex field ``c1 + i c2``.
Their products ``z c1`` and ``z c2`` with the velocity ``z = v + i u`` are complex, and come back by one transform each.
A tangent goes through the same kernels as its state.

A state has the fields of a member one after the other, the vorticity first. Half-transformed fields lie the other way
round, all members of a field together: z and the scalars, or ``z^2`` and ``z c`` of each.

Blocks of columns work on one field. They read what couples it to others from the old state, so the new one is another
array.
"""

import functools

import warp as wp

from ..._coefficients import low_storage
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.views import complex_access, vector_view
from ..parameters import Parameters, parameter_functions
from .columns import column_functions
from .places import Fields
from .places import fields as places_of
from .plan import Plan
from .scalar_fields import field_functions
from .scalar_rows import launch_products
from .setting import Setting
from .stepping import stepping
from .symbols import symbols


@functools.cache
def scalar_columns(plan: Plan, scalars: int, first_stage: bool, forced: bool, opens: bool, tangent: bool) -> wp.Kernel:
    """Make the kernel of a stage from products to the new state, and with `opens` to its velocities and scalars.

    With `first_stage` there is nothing before the stage but a state: the kernel makes its velocities and scalars only.
    With `tangent` it does the same for a tangent, whose lines follow those of the state.
    """
    (cut, sides), real, Complex = (plan.tangent, 4) if tangent else (plan.advance, 2), plan.real, plan.complex
    lines, parts, fields, steps = plan.column_lines(cut, sides), plan.parts(cut), 1 + scalars, not first_stage
    C, size, groups, ahead = lines.interleaved, lines.size, lines.groups // lines.interleaved, not plan.serial and steps
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    states = plan, lines, fields, ahead
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    velocity, advection, carried, natural = by_mode.velocity, by_mode.advection, by_mode.carried, by_column.natural
    step_of, by_member, filtered, Scale = stepping(real, True), parameter_functions(real), plan.filtered, by_mode.Scale
    numbers, Numbers, Mode, by_field = by_member.all_numbers, by_member.Numbers, by_mode.Mode, field_functions(*states)
    mode, number, coupled = by_field.mode, by_field.number, by_field.coupled
    Held, hold, nth = by_field.Held, by_field.hold, by_field.nth
    Stage, advance, rate_of, advance_tangent = step_of.Stage, step_of.advance, step_of.rate, step_of.tangent
    (get_complex, put_complex), complex_view, real_view = complex_access(real), vector_view(Complex), vector_view(real)

    @wp.func
    def force(table: Table, place: Place, step: int, member: int, field: int, kx: int, at: int):
        when = slice_at(place, wp.where(place[3] == 1, 0, step))
        return number(table, when, wp.where(when[2] == fields, 0, member), field, kx, at)

    @wp.func
    def given_to(
        table: Table,
        m: Mode,
        a: real,
        parameters: Parameters,
        dparameters: Parameters,
        screening: real,
        coupling: Fields,
        step: int,
        state: Fields,
        increment: Fields,
        member: int,
        field: int,
        kx: int,
        at: int,
    ):
        """Return what a stage begins with at a mode: state, increment, the rate without advection, and their tangents.

        `screening`: the tangent of F.
        """
        w, d, rate = number(table, state.state, member, field, kx, at), Complex(), Complex()
        dw, dd, drate = Complex(), Complex(), Complex()
        if tangent:
            dw = number(table, state.tangent, member, field, kx, at)
        if steps:
            rate = coupled(table, m, coupling.state, state.state, member, field, kx, at)
            if a != real(0.0):
                d = number(table, increment.state, member, field, kx, at)
            if tangent:
                drate = coupled(table, m, coupling.state, state.tangent, member, field, kx, at)
                drate += coupled(table, m, coupling.tangent, state.state, member, field, kx, at)
                if field > 0:  # F changes the velocity across the mean gradient
                    drate -= (screening * m.inverse) * rate
                if a != real(0.0):
                    dd = number(table, increment.tangent, member, field, kx, at)
            if forced:
                rate += force(table, parameters.forcing, step, member, field, kx, at)
                if tangent:
                    drate += force(table, dparameters.forcing, step, member, field, kx, at)
        return w, d, rate, dw, dd, drate

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
        product_at: Fields,
        # out
        half_at: Fields,
        out_at: Fields,
        last: int,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts * fields)
        field = part // parts
        first = (part - field * parts) * C
        side_of, c_of, t = thread_of(thread)
        given, direction = numbers(table, parameters, member), Numbers()
        if tangent:
            direction = numbers(table, dparameters, member)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        at_half = field * (half_at.state[2] // fields) + member
        of_terms = wp.where(parameters.linear[2] == fields, 0, member)
        of_dterms = wp.where(dparameters.linear[2] == fields, 0, member)
        old, increments, rates = Held(), Held(), Held()
        dold, dincrements, drates = Held(), Held(), Held()
        if ahead:  # the state is older than the previous kernel
            for i in range(points):
                if holds(i, thread, first):
                    row, c = mode_of(i, thread)
                    m = mode(row, first + c, scale, given.screening)
                    w, d, rate, dw, dd, drate = given_to(
                        table,
                        m,
                        stage.a,
                        parameters,
                        dparameters,
                        direction.screening,
                        coupling_at,
                        step,
                        state_at,
                        increment_at,
                        member,
                        field,
                        first,
                        here(row, c),
                    )
                    old, increments, rates = hold(old, i, w), hold(increments, i, d), hold(rates, i, rate)
                    if tangent:
                        dold, dincrements = hold(dold, i, dw), hold(dincrements, i, dd)
                        drates = hold(drates, i, drate)
        synchronise_dependent_launch()
        if steps:
            for side in range(side_of, sides, groups):
                line = side * C + c_of
                place = product_at.state
                if tangent and side > 1:
                    place = product_at.tangent
                values = load(table, place, at_half, side % 2, first + c_of, t)
                publish(forward(values, buffer, factors, line, t), buffer, line, t)
            barrier()
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                at, n = here(row, c), natural(row)
                m = mode(row, first + c, scale, given.screening)
                w, d, rate = nth(old, i), nth(increments, i), nth(rates, i)
                dw, dd, drate = nth(dold, i), nth(dincrements, i), nth(drates, i)
                if not ahead:
                    w, d, rate, dw, dd, drate = given_to(
                        table,
                        m,
                        stage.a,
                        parameters,
                        dparameters,
                        direction.screening,
                        coupling_at,
                        step,
                        state_at,
                        increment_at,
                        member,
                        field,
                        first,
                        at,
                    )
                if steps:
                    filtering = real(1.0)
                    if filtered:
                        filtering = filter_of(filters, row, first + c)
                    terms = state_view(table, parameters.linear, of_terms * fields + field, first)
                    q, r = get(buffer, c, n), get(buffer, C + c, n)
                    L = get_complex(terms, at)
                    if field == 0:
                        rate += filtering * advection(m, q, r)
                        L = rate_of(given, m, terms, at)
                    else:
                        rate += filtering * carried(m, q, r)
                    w, d = advance(w, d, rate, stage, given, L)
                    put_complex(state_view(table, out_at.state, member * fields + field, first), at, w)
                    if last == 0:
                        put_complex(state_view(table, increment_at.state, member * fields + field, first), at, d)
                    if tangent:
                        dterms = state_view(table, dparameters.linear, of_dterms * fields + field, first)
                        dq, dr = get(buffer, 2 * C + c, n), get(buffer, 3 * C + c, n)
                        dL = get_complex(dterms, at)
                        if field == 0:
                            drate += filtering * advection(m, dq, dr)
                            dL = rate_of(direction, m, dterms, at)
                        else:
                            drate += filtering * carried(m, dq, dr)
                        dw, dd = advance_tangent(dw, dd, rate, drate, w, d, stage, given, direction, L, dL)
                        put_complex(state_view(table, out_at.tangent, member * fields + field, first), at, dw)
                        if last == 0:
                            put_complex(state_view(table, increment_at.tangent, member * fields + field, first), at, dd)
                if opens:
                    plus, minus = m.back * w, Complex()
                    if field == 0:
                        plus, minus = velocity(m, w)
                    put(buffer, c, n, plus[0], plus[1])
                    put(buffer, C + c, n, minus[0], minus[1])
                    if tangent:
                        plus, minus = m.back * dw, Complex()
                        if field == 0:  # F changes the velocity of a state, too
                            plus, minus = velocity(m, dw - (direction.screening * m.inverse) * w)
                        put(buffer, 2 * C + c, n, plus[0], plus[1])
                        put(buffer, 3 * C + c, n, minus[0], minus[1])
        if opens:
            barrier()
            stride = groups
            if groups == 1 and field > 0:
                stride = 2
            for side in range(side_of, sides, stride):
                line = side * C + c_of
                place = half_at.state
                if tangent and side > 1:
                    place = half_at.tangent
                values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                if field == 0 or side % 2 == 0:
                    store(values, table, place, at_half, side % 2, first + c_of, t)

    return scalar_columns


def advance(setting: Setting, scalars: int, parameters, coupling, omega, targets, increments, halves, products):
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
        products: the same, other arrays if blocks of rows make one product each (`Plan.apart`).
    """
    plan, stages, tangent = setting.plan, low_storage(setting.integrator), len(omega) == 2
    cut, sides = (plan.tangent, 4) if tangent else (plan.advance, 2)
    blocks, block_dim = halves[0].shape[1] * plan.parts(cut) * (1 + scalars), plan.column_lines(cut, sides).block_dim
    forced, stage = parameters[0].forcing != NO_ARRAY, stepping(plan.real, True).Stage()

    def columns(first_stage, opens, step, state, out, last):
        kernel = scalar_columns(plan, scalars, first_stage, forced, opens, tangent)
        given = [parameters[0], parameters[-1], places_of(*coupling), step, places_of(*state), places_of(*increments)]
        given += [setting.tables.roots_y, setting.tables.filters]
        given += [places_of(*(each.merged for each in fields)) for fields in (products, halves)]
        launch(kernel, halves[0].table, blocks, [stage, setting.scale, *given, places_of(*out), last], block_dim)

    columns(True, True, 0, omega, omega, 0)
    state = omega
    for turn, target in enumerate(targets):
        step, number = divmod(turn, len(stages))
        stage.a, stage.b, stage.duration = stages[number]
        launch_products(plan, scalars, setting.tables.roots_x, halves, products)
        columns(False, turn + 1 < len(targets), step, state, target, int(number + 1 == len(stages)))
        state = target
