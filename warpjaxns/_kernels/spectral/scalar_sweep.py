"""The backward sweep of a flow that carries scalars: the adjoint of `scalars`, two kernels a stage, as in `sweep`.

With q, the cotangents that a stage begins with, and the gradients ``s_i = dq_i/dy + i dq_i/dx``, rows make

    2 conj(z) strain + sum c_i s_i,      from which the vorticity's cotangent follows as in `sweep`,
    Re(conj(z) s_i) = u . grad q_i,      that of a scalar, of two scalars together as one complex field.

Half-transformed fields are strain, velocity, and for each pair ``c1 + i c2`` and both gradients. Strain and the pairs
are replaced by what rows make.

Blocks of columns work on the vorticity or on a pair, and read the q of others. So the new q is another array.
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
from .rows import launch_on_rows, row_functions
from .setting import Setting
from .stepping import stepping
from .symbols import symbols

SUMS = 12  # of a block: for viscosity, drag, dt and F, and for the four numbers of either scalar


def half_fields(scalars: int) -> int:
    """Return the number of half-transformed fields."""
    return 2 + 3 * ((scalars + 1) // 2)


@functools.cache
def scalar_pullbacks(plan: Plan, scalars: int) -> wp.Kernel:
    """Make the kernel of rows."""
    (ny, _), lines, pitch, pairs = plan.shape, plan.row_lines, plan.pitch, (scalars + 1) // 2
    held, threads, groups, size, real = lines.values, lines.threads, lines.groups, lines.size, plan.real
    Complex, by_line, by_row = plan.complex, line_functions(lines), row_functions(plan)
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    half, complex_view = row_view(Complex, (ny, 2 * pitch)), vector_view(Complex)
    load, store = by_row.load, by_row.store

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def scalar_pullbacks(
        table: Table,
        rows: int,
        # in
        roots_at: Place,
        # in and out
        half_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        thread = thread_index()
        line = thread // threads
        t = thread - line * threads
        row = block_index(index, 0) * groups + line
        wanted = row < rows
        batch = rows // ny
        factors = load_factors(complex_view(table, roots_at), t)
        of_first = half(table, half_at, 0, row, 0)
        synchronise_dependent_launch()
        z = inverse(load(half(table, half_at, batch, row, 0), wanted, t), buffer, factors, line, t)
        y = inverse(load(of_first, wanted, t), buffer, factors, line, t)
        for e in range(held):
            zr, zi = real(2.0) * z[2 * e], real(2.0) * z[2 * e + 1]
            yr, yi = y[2 * e], y[2 * e + 1]
            y[2 * e] = zr * yr + zi * yi
            y[2 * e + 1] = zr * yi - zi * yr
        for pair in range(pairs):
            number = 2 + 3 * pair
            of_pair = half(table, half_at, number * batch, row, 0)
            c = inverse(load(of_pair, wanted, t), buffer, factors, line, t)
            s = inverse(load(half(table, half_at, (number + 1) * batch, row, 0), wanted, t), buffer, factors, line, t)
            for e in range(held):
                y[2 * e] += c[2 * e] * s[2 * e]
                y[2 * e + 1] += c[2 * e] * s[2 * e + 1]
                c[2 * e] = z[2 * e] * s[2 * e] + z[2 * e + 1] * s[2 * e + 1]
            if 2 * pair + 2 <= scalars:
                of_second = half(table, half_at, (number + 2) * batch, row, 0)
                s = inverse(load(of_second, wanted, t), buffer, factors, line, t)
                for e in range(held):
                    y[2 * e] += c[2 * e + 1] * s[2 * e]
                    y[2 * e + 1] += c[2 * e + 1] * s[2 * e + 1]
                    c[2 * e + 1] = z[2 * e] * s[2 * e] + z[2 * e + 1] * s[2 * e + 1]
            store(forward(c, buffer, factors, line, t), of_pair, wanted, t)
        store(forward(y, buffer, factors, line, t), of_first, wanted, t)

    return scalar_pullbacks


@functools.cache
def scalar_sweep(
    plan: Plan,
    scalars: int,
    ends: bool,
    begins: bool,
    by_parameter: bool,
    by_coupling: bool,
    by_forcing: bool,
    forced: bool,
    by_linear: bool,
) -> wp.Kernel:
    """Make the kernel that ends the adjoint of a stage, or begins that of the stage before it, or both."""
    cut, real, Complex = plan.advance, plan.real, plan.complex
    lines, parts, fields, pairs = plan.column_lines(cut), plan.parts(cut), 1 + scalars, (scalars + 1) // 2
    C, size, groups = lines.interleaved, lines.size, lines.groups // lines.interleaved
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves, Scale, mode = by_column.natural, by_column.waves, by_mode.Scale, by_mode.mode
    velocity, strain, pullback = by_mode.velocity, by_mode.strain, by_mode.pullback
    gradient, parts_of, turned, inverse_of = by_mode.gradient, by_mode.parts, by_mode.turned, by_mode.inverse
    step_of, by_member, filtered = stepping(real, True), parameter_functions(real), plan.filtered
    numbers, Stage, begin_adjoint, Three = by_member.all_numbers, step_of.Stage, step_of.begin_adjoint, step_of.Three
    exponent_share, shares, rate_of = step_of.exponent_share, step_of.shares, step_of.rate
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(Complex)
    real_view, by_exponent, by_sums = vector_view(real), by_parameter or by_linear, by_parameter or by_coupling
    Eight, half_count, twelve = wp.types.vector(length=8, dtype=real), half_fields(scalars), SUMS

    @kernel(launch_bounds=plan.bounds(lines, cut))
    def scalar_sweep(
        table: Table,
        # coefficients of the stage that ends, and of the stage that begins
        ending: Stage,
        beginning: Stage,
        scale: Scale,
        # in
        parameters: Parameters,
        coupling_at: Place,
        step: int,
        state_at: Place,
        earlier_at: Place,
        roots_at: Place,
        filter_at: Place,
        p_at: Place,
        q_at: Place,
        # in and out
        half_at: Place,
        sums_at: Place,
        forcing_at: Place,
        linear_at: Place,
        fresh: int,
        first_of_all: int,
        # out
        made_p_at: Place,
        made_q_at: Place,
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
        base, batch = member * fields, half_at[2] // half_count
        of_terms = wp.where(parameters.linear[2] == fields, 0, base)
        when = slice_at(parameters.forcing, wp.where(parameters.forcing[3] == 1, 0, step))
        of_force = wp.where(when[2] == fields, 0, base)
        field, count, home = 0, 1, 0
        if pair > 0:
            field = 2 * pair - 1
            count = wp.min(2, fields - field)
            home = 3 * pair - 1
        synchronise_dependent_launch()
        if ends:
            for side in range(side_of, 2, groups):
                line = side * C + c_of
                values = load(table, half_at, home * batch + member, side, first + c_of, t)
                publish(forward(values, buffer, factors, line, t), buffer, line, t)
            barrier()
        vorticity = state_view(table, state_at, base, first)
        q_of_vorticity = state_view(table, q_at, base, first)
        squares = real(0.0)
        total = real(0.0)
        rest = real(0.0)
        screened = real(0.0)
        coupled_sums = Eight()
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                at, n = here(row, c), natural(row)
                here_is = mode(waves(row), first + c, scale)
                here_is.inverse = inverse_of(here_is, given.screening)
                moved, other = Complex(), Complex()
                if ends:
                    came, came_other = get(buffer, c, n), get(buffer, C + c, n)
                    if pair == 0:
                        moved = pullback(here_is, came, came_other)
                    else:
                        moved, other = parts_of(here_is, came, came_other)
                for k in range(count):
                    if k == 1:
                        moved = other
                    l = get_complex(state_view(table, p_at, base + field + k, first), at)
                    m = Complex()
                    w1 = Complex()
                    if by_exponent or by_sums:
                        w1 = get_complex(state_view(table, state_at, base + field + k, first), at)
                    if ends:
                        q = get_complex(state_view(table, q_at, base + field + k, first), at)
                        further = Complex()  # by what couples the fields, of first order in the state
                        if pair == 0:
                            for s in range(scalars):
                                g = coupled + 4 * s
                                across = here_is.inverse * (coupling[g + 1] * here_is.x - coupling[g] * here_is.y)
                                of_s = get_complex(state_view(table, q_at, base + 1 + s, first), at)
                                further += turned(-across, of_s)
                        else:
                            b = coupled + 4 * (field + k - 1) + 2
                            lift = coupling[b + 1] * here_is.x - coupling[b] * here_is.y
                            further = turned(-lift, get_complex(q_of_vorticity, at))
                        l += given.dt * (moved + further)
                        m = ending.a * q
                        if by_parameter:
                            rest += wp.dot(w1, real(0.5) * moved + further)
                            if forced:
                                rest += wp.dot(q, get_complex(state_view(table, when, of_force + field + k, first), at))
                            if pair == 0:
                                screened -= given.dt * here_is.inverse * wp.dot(w1, moved + further)
                        if by_coupling and pair > 0:
                            turn = given.dt * here_is.inverse * turned(real(1.0), get_complex(vorticity, at))
                            by_gradient = wp.dot(q, turn)
                            by_buoyancy = given.dt * wp.dot(get_complex(q_of_vorticity, at), turned(real(1.0), w1))
                            coupled_sums[4 * k] -= here_is.y * by_gradient
                            coupled_sums[4 * k + 1] += here_is.x * by_gradient
                            coupled_sums[4 * k + 2] -= here_is.y * by_buoyancy
                            coupled_sums[4 * k + 3] += here_is.x * by_buoyancy
                        if by_forcing:
                            by_step = state_view(table, forcing_at, base + field + k, first)
                            pushed = given.dt * q
                            if fresh == 0:
                                pushed += get_complex(by_step, at)
                            put_complex(by_step, at, pushed)
                    if begins:
                        w = get_complex(state_view(table, earlier_at, base + field + k, first), at)
                        terms = state_view(table, parameters.linear, of_terms + field + k, first)
                        L = get_complex(terms, at)
                        if pair == 0:
                            L = rate_of(given, here_is, terms, at)
                        if by_exponent:
                            product = exponent_share(l, m, w, w1, beginning, given, L)
                            rest += beginning.duration * wp.dot(product, get_complex(terms, at))
                            if pair == 0:
                                squares += here_is.squared * product[0]
                                total += product[0]
                            if by_linear:
                                pushed_terms = state_view(table, linear_at, base + field + k, first)
                                pushed_here = beginning.duration * given.dt * product
                                if first_of_all == 0:
                                    pushed_here += get_complex(pushed_terms, at)
                                put_complex(pushed_terms, at, pushed_here)
                        l, m = begin_adjoint(l, m, beginning, given, L)
                        put_complex(state_view(table, made_q_at, base + field + k, first), at, m)
                    put_complex(state_view(table, made_p_at, base + field + k, first), at, l)
        if by_sums:
            squares_of_block = wp.tile_sum(wp.tile(squares))
            total_of_block = wp.tile_sum(wp.tile(total))
            rest_of_block = wp.tile_sum(wp.tile(rest))
            screened_of_block = wp.tile_sum(wp.tile(screened))
            sums = real_view(table, sums_at)
            sums_here = twelve * (member * parts * (1 + pairs) + part)
            if thread == 0:
                share = Three(real(0.0), real(0.0), rest_of_block[0])
                if begins:
                    share += shares(squares_of_block[0], total_of_block[0], beginning, given)
                by_screening = screened_of_block[0]
                if ends:
                    share += Three(sums[sums_here], sums[sums_here + 1], sums[sums_here + 2])
                    by_screening += sums[sums_here + 3]
                sums[sums_here] = share[0]
                sums[sums_here + 1] = share[1]
                sums[sums_here + 2] = share[2]
                sums[sums_here + 3] = by_screening
            if by_coupling:
                for j in range(8):
                    of_block = wp.tile_sum(wp.tile(coupled_sums[j]))
                    if thread == 0:
                        share_of_j = of_block[0]
                        if ends:
                            share_of_j += sums[sums_here + 4 + j]
                        sums[sums_here + 4 + j] = share_of_j
        if begins:
            images = 2
            if pair > 0:
                images = 1 + count
            for j in range(images):
                barrier()
                target = j  # strain and velocity
                if pair > 0:  # the gradients, and the pair
                    target = wp.where(j < count, home + 1 + j, home)
                for i in range(points):
                    if holds(i, thread, first):
                        row, c = mode_of(i, thread)
                        at, n = here(row, c), natural(row)
                        here_is = mode(waves(row), first + c, scale)
                        here_is.inverse = inverse_of(here_is, given.screening)
                        filtering = real(1.0)
                        if filtered:
                            filtering = filter_of(filters, row, first + c)
                        a = get_complex(state_view(table, earlier_at, base + field, first), at)
                        plus, minus = here_is.back * a, here_is.back * a
                        if pair == 0:
                            plus, minus = velocity(here_is, a)
                            if j == 0:
                                a = get_complex(state_view(table, made_q_at, base, first), at)
                                plus, minus = strain(here_is, filtering * a)
                        elif j < count:
                            a = get_complex(state_view(table, made_q_at, base + field + j, first), at)
                            plus, minus = gradient(here_is, filtering * a)
                        elif count == 2:
                            a = get_complex(state_view(table, earlier_at, base + field + 1, first), at)
                            two = turned(here_is.back, a)
                            plus += two
                            minus -= two
                        put(buffer, c, n, plus[0], plus[1])
                        put(buffer, C + c, n, minus[0], minus[1])
                barrier()
                for side in range(side_of, 2, groups):
                    line = side * C + c_of
                    values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                    store(values, table, half_at, target * batch + member, side, first + c_of, t)

    return scalar_sweep


def adjoint(
    setting: Setting,
    parameters: Parameters,
    coupling,
    scalars: int,
    omega,
    kept,
    cotangent,
    result,
    work,
    halves,
    totals,
):
    """Launch the sweep from the last stage to the first.

    Args:
        setting: plan, integrator, steps, constants.
        parameters: places of the parameters, and of the symbol of all linear terms but viscosity and drag.
        coupling: mean gradient and buoyancy of each scalar, four numbers, of all members or each.
        scalars: their number.
        omega: the state before the first stage. ``kept[s]`` is that after stage s.
        cotangent: that of the last state. `result` receives that of the first.
        work: three states: p, and two for q, which take turns.
        halves: scratch, half-transformed fields ``(half_fields, members, ny, 2 pitch)``.
        totals: partial sums of the cotangents of numbers (`SUMS` a block), whether those of the parameters and those of
            the coupling are wanted, the cotangent of forcing, one state a step of it, and that of the symbol. None for
            arrays that are not wanted.
    """
    plan, stages, scale = setting.plan, low_storage(setting.integrator), setting.scale
    tables, sums, by_parameter, by_coupling, by_step, by_linear = setting.tables, *totals
    batch, count = halves.shape[1], setting.steps * len(stages)
    blocks = batch * plan.parts(plan.advance) * (1 + (scalars + 1) // 2)
    of_stage = [stepping(plan.real, True).Stage() for _ in stages]
    for stage, (a, b, duration) in zip(of_stage, stages, strict=True):
        stage.a, stage.b, stage.duration = a, b, duration
    states = [omega, *(kept[s] for s in range(count))]  # states[s] is the state before stage s
    p, *turns = work

    def columns(stage, given_p, made_p):
        """Launch the end of a stage, and the beginning of the one before; a stage past the last one does not end."""
        ends, begins = stage < count, stage > 0
        step = min(stage, count - 1) // len(stages)
        steady = by_step is not None and by_step.shape[0] == 1
        with_forcing = by_step is not None and ends
        kernel = scalar_sweep(
            plan,
            scalars,
            ends,
            begins,
            by_parameter,
            by_coupling,
            with_forcing,
            parameters.forcing != NO_ARRAY,
            by_linear is not None and begins,
        )
        fresh = stage == count - 1 if steady else stage % len(stages) == len(stages) - 1
        arguments = [of_stage[stage % len(stages)], of_stage[(stage - 1) % len(stages)], scale, parameters, coupling]
        arguments += [step, states[stage], states[max(stage - 1, 0)], tables.roots_y, tables.filters, given_p]
        arguments += [turns[stage % 2], halves.merged, NO_ARRAY if sums is None else sums]
        arguments += [by_step[0 if steady else step] if with_forcing else NO_ARRAY]
        arguments += [NO_ARRAY if by_linear is None else by_linear, int(fresh), int(stage == count)]
        arguments += [made_p, turns[(stage - 1) % 2]]
        launch(kernel, omega.table, blocks, arguments, plan.column_lines(plan.advance).block_dim)

    columns(count, cotangent, p)
    for stage in reversed(range(count)):
        products = scalar_pullbacks(plan, scalars)
        launch_on_rows(plan, products, halves.table, batch, [tables.roots_x, halves.merged])
        columns(stage, p, p if stage else result)
