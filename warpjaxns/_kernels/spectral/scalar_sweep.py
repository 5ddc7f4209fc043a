"""The backward sweep of a flow that carries scalars: the adjoint of `scalars`, two kernels a stage, as in `sweep`.

With q, the cotangents that a stage begins with, and the gradients ``s_i = dq_i/dy + i dq_i/dx``, rows make

    2 conj(z) strain + sum c_i s_i,      from which the vorticity's cotangent follows as in `sweep`,
    Re(conj(z) s_i) = u . grad q_i,      that of a scalar, of two scalars together as one complex field.

`scalar_rows` has them. Blocks of columns work on one field, and read the q of others. So the new q is another array.
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
from .places import Cotangents, cotangents
from .plan import Plan
from .scalar_fields import field_functions
from .scalar_rows import PullbackFields, launch_pullbacks
from .setting import Setting
from .stepping import stepping
from .symbols import symbols

SUMS = 8  # of a block: for viscosity, drag, dt and F, and for the four numbers of its scalar


def sweep_lines(plan: Plan):
    """Return how columns are cut, their lines, and whether both images of a cotangent are in memory together."""
    together = plan.fits(plan.tangent, 4)
    cut = plan.tangent if together else plan.advance
    return cut, plan.column_lines(cut, 4 if together else 2), together


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
    (cut, lines, together), real, Complex, at = sweep_lines(plan), plan.real, plan.complex, PullbackFields(scalars)
    parts, fields, images = plan.parts(cut), 1 + scalars, 1 if together else 2
    C, size, groups, sides = lines.interleaved, lines.size, lines.groups // lines.interleaved, 4 if together else 2
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    velocity, strain, pullback, natural = by_mode.velocity, by_mode.strain, by_mode.pullback, by_column.natural
    gradient, parts_of, turned, Scale = by_mode.gradient, by_mode.parts, by_mode.turned, by_mode.Scale
    step_of, by_member, filtered = stepping(real, True), parameter_functions(real), plan.filtered
    numbers, Stage, begin_adjoint, Three = by_member.all_numbers, step_of.Stage, step_of.begin_adjoint, step_of.Three
    exponent_share, shares, rate_of = step_of.exponent_share, step_of.shares, step_of.rate
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(Complex)
    real_view, by_exponent, by_sums = vector_view(real), by_parameter or by_linear, by_parameter or by_coupling
    velocity_at, scalar_at, gradient_at, half_count = at.velocity, at.scalar, at.gradient, at.count
    moved_at, pushed_at, apart, pairs = at.moved, at.pushed, plan.apart, (scalars + 1) // 2
    ahead, Four = not plan.serial and ends, wp.types.vector(length=4, dtype=real)
    by_field = field_functions(plan, lines, fields, ahead)
    mode, number, coupled_back = by_field.mode, by_field.number, by_field.coupled_back
    Held, hold, nth = by_field.Held, by_field.hold, by_field.nth

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
        given_at: Cotangents,
        product_at: Place,
        # in and out
        sums_at: Place,
        forcing_at: Place,
        linear_at: Place,
        fresh: int,
        first_of_all: int,
        # out
        half_at: Place,
        made_at: Cotangents,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts * fields)
        field = part // parts  # 0: the vorticity
        first = (part - field * parts) * C
        side_of, c_of, t = thread_of(thread)
        given = numbers(table, parameters, member)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        batch = half_at[2] // half_count
        of_terms = wp.where(parameters.linear[2] == fields, 0, member)
        when = slice_at(parameters.forcing, wp.where(parameters.forcing[3] == 1, 0, step))
        of_force = wp.where(when[2] == fields, 0, member)
        ps, qs, earliers, furthers = Held(), Held(), Held(), Held()
        if ahead:  # the states are older than the previous kernel
            for i in range(points):
                if holds(i, thread, first):
                    row, c = mode_of(i, thread)
                    at = here(row, c)
                    m = mode(row, first + c, scale, given.screening)
                    ps = hold(ps, i, number(table, given_at.first, member, field, first, at))
                    qs = hold(qs, i, number(table, given_at.second, member, field, first, at))
                    furthers = hold(
                        furthers, i, coupled_back(table, m, coupling_at, given_at.second, member, field, first, at)
                    )
                    if begins:
                        earliers = hold(earliers, i, number(table, earlier_at, member, field, first, at))
        synchronise_dependent_launch()
        if ends:
            for side in range(side_of, 2, groups):
                line = side * C + c_of
                source = 0
                if field > 0:
                    source = moved_at + 2 * ((field - 1) // 2)
                values = load(table, product_at, source * batch + member, side, first + c_of, t)
                if apart and field == 0:
                    for pair in range(pairs):
                        source = pushed_at + 2 * pair
                        values += load(table, product_at, source * batch + member, side, first + c_of, t)
                publish(forward(values, buffer, factors, line, t), buffer, line, t)
            barrier()
        squares, total, rest, screened = real(0.0), real(0.0), real(0.0), real(0.0)
        coupled_sums = Four()
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                at, n = here(row, c), natural(row)
                m = mode(row, first + c, scale, given.screening)
                filtering = real(1.0)
                if filtered:
                    filtering = filter_of(filters, row, first + c)
                p, q, w, further = nth(ps, i), nth(qs, i), nth(earliers, i), nth(furthers, i)
                if not ahead:
                    p = number(table, given_at.first, member, field, first, at)
                    if ends:
                        q = number(table, given_at.second, member, field, first, at)
                        further = coupled_back(table, m, coupling_at, given_at.second, member, field, first, at)
                    if begins:
                        w = number(table, earlier_at, member, field, first, at)
                increment, w1 = Complex(), Complex()  # the cotangent of the increment, and the state after the stage
                if by_exponent or by_sums:
                    w1 = number(table, state_at, member, field, first, at)
                if ends:
                    came, came_other = get(buffer, c, n), get(buffer, C + c, n)
                    moved = pullback(m, came, came_other)
                    if field > 0:
                        moved, second = parts_of(m, came, came_other)
                        if field % 2 == 0:
                            moved = second
                    p += given.dt * (moved - further)
                    increment = ending.a * q
                    if by_parameter:
                        rest += wp.dot(w1, real(0.5) * moved - further)
                        if forced:
                            rest += wp.dot(q, number(table, when, of_force, field, first, at))
                        if field == 0:
                            screened -= given.dt * m.inverse * wp.dot(w1, moved - further)
                    if by_coupling and field > 0:
                        vorticity = number(table, state_at, member, 0, first, at)
                        of_vorticity = number(table, given_at.second, member, 0, first, at)
                        by_gradient = given.dt * m.inverse * wp.dot(q, turned(real(1.0), vorticity))
                        by_buoyancy = given.dt * wp.dot(of_vorticity, turned(real(1.0), w1))
                        coupled_sums[0] -= m.y * by_gradient
                        coupled_sums[1] += m.x * by_gradient
                        coupled_sums[2] -= m.y * by_buoyancy
                        coupled_sums[3] += m.x * by_buoyancy
                    if by_forcing:
                        by_step = state_view(table, forcing_at, member * fields + field, first)
                        pushed = given.dt * q
                        if fresh == 0:
                            pushed += get_complex(by_step, at)
                        put_complex(by_step, at, pushed)
                if begins:
                    terms = state_view(table, parameters.linear, of_terms * fields + field, first)
                    L = get_complex(terms, at)
                    if field == 0:
                        L = rate_of(given, m, terms, at)
                    if by_exponent:
                        product = exponent_share(p, increment, w, w1, beginning, given, L)
                        rest += beginning.duration * wp.dot(product, get_complex(terms, at))
                        if field == 0:
                            squares += m.squared * product[0]
                            total += product[0]
                        if by_linear:
                            pushed_terms = state_view(table, linear_at, member * fields + field, first)
                            pushed_here = beginning.duration * given.dt * product
                            if first_of_all == 0:
                                pushed_here += get_complex(pushed_terms, at)
                            put_complex(pushed_terms, at, pushed_here)
                    p, q = begin_adjoint(p, increment, beginning, given, L)
                    put_complex(state_view(table, made_at.second, member * fields + field, first), at, q)
                    plus, minus = strain(m, filtering * q)
                    if field > 0:
                        plus, minus = gradient(m, filtering * q)
                    put(buffer, c, n, plus[0], plus[1])
                    put(buffer, C + c, n, minus[0], minus[1])
                    if together:
                        plus, minus = m.back * w, Complex()
                        if field == 0:
                            plus, minus = velocity(m, w)
                        put(buffer, 2 * C + c, n, plus[0], plus[1])
                        put(buffer, 3 * C + c, n, minus[0], minus[1])
                put_complex(state_view(table, made_at.first, member * fields + field, first), at, p)
        if by_sums:
            squares_of_block = wp.tile_sum(wp.tile(squares))
            total_of_block = wp.tile_sum(wp.tile(total))
            rest_of_block = wp.tile_sum(wp.tile(rest))
            screened_of_block = wp.tile_sum(wp.tile(screened))
            sums = real_view(table, sums_at)
            here_of = 8 * (member * parts * fields + part)
            if thread == 0:
                share = Three(real(0.0), real(0.0), rest_of_block[0])
                if begins:
                    share += shares(squares_of_block[0], total_of_block[0], beginning, given)
                by_screening = screened_of_block[0]
                if ends:
                    share += Three(sums[here_of], sums[here_of + 1], sums[here_of + 2])
                    by_screening += sums[here_of + 3]
                sums[here_of] = share[0]
                sums[here_of + 1] = share[1]
                sums[here_of + 2] = share[2]
                sums[here_of + 3] = by_screening
            if by_coupling:
                for j in range(4):
                    of_block = wp.tile_sum(wp.tile(coupled_sums[j]))
                    if thread == 0:
                        share_of_j = of_block[0]
                        if ends:
                            share_of_j += sums[here_of + 4 + j]
                        sums[here_of + 4 + j] = share_of_j
        if begins:
            for image in range(images):
                if image == 1:  # not together: the velocity, or the scalar
                    barrier()
                    for i in range(points):
                        if holds(i, thread, first):
                            row, c = mode_of(i, thread)
                            at, n = here(row, c), natural(row)
                            m = mode(row, first + c, scale, given.screening)
                            w = number(table, earlier_at, member, field, first, at)
                            plus, minus = m.back * w, Complex()
                            if field == 0:
                                plus, minus = velocity(m, w)
                            put(buffer, c, n, plus[0], plus[1])
                            put(buffer, C + c, n, minus[0], minus[1])
                barrier()
                last = sides
                if groups == 1 and field > 0 and (together or image == 1):  # a scalar has the columns kx only
                    last = sides - 1
                for side in range(side_of, last, groups):
                    line = side * C + c_of
                    target = 0  # the strain
                    if field > 0:
                        target = gradient_at + field - 1
                    if image == 1 or side > 1:
                        target = velocity_at
                        if field > 0:
                            target = scalar_at + field - 1
                    values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                    store(values, table, half_at, target * batch + member, side % 2, first + c_of, t)

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
    products,
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
        halves: scratch, half-transformed fields ``(fields, members, ny, 2 pitch)`` (`scalar_rows.PullbackFields`).
        products: the same for what rows make of them.
        totals: partial sums of the cotangents of numbers (`SUMS` a block), whether those of the parameters and those of
            the coupling are wanted, the cotangent of forcing, one state a step of it, and that of the symbol. None for
            arrays that are not wanted.
    """
    plan, stages, scale = setting.plan, low_storage(setting.integrator), setting.scale
    tables, sums, by_parameter, by_coupling, by_step, by_linear = setting.tables, *totals
    batch, count, (cut, lines, _) = halves.shape[1], setting.steps * len(stages), sweep_lines(plan)
    blocks = batch * plan.parts(cut) * (1 + scalars)
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
        variant = ends, begins, by_parameter, by_coupling, with_forcing, parameters.forcing != NO_ARRAY
        kernel = scalar_sweep(plan, scalars, *variant, by_linear is not None and begins)
        fresh = stage == count - 1 if steady else stage % len(stages) == len(stages) - 1
        arguments = [of_stage[stage % len(stages)], of_stage[(stage - 1) % len(stages)], scale, parameters, coupling]
        arguments += [step, states[stage], states[max(stage - 1, 0)], tables.roots_y, tables.filters]
        arguments += [cotangents(given_p, turns[stage % 2]), products.merged, NO_ARRAY if sums is None else sums]
        arguments += [by_step[0 if steady else step] if with_forcing else NO_ARRAY]
        arguments += [NO_ARRAY if by_linear is None else by_linear, int(fresh), int(stage == count)]
        arguments += [halves.merged, cotangents(made_p, turns[(stage - 1) % 2])]
        launch(kernel, omega.table, blocks, arguments, lines.block_dim)

    columns(count, cotangent, p)
    for stage in reversed(range(count)):
        launch_pullbacks(plan, scalars, tables.roots_x, halves, products)
        columns(stage, p, p if stage else result)
