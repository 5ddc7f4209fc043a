"""The backward sweep: the adjoint of `stage`, two kernels a stage.

`sweep_columns` ends the adjoint of one stage and begins that of the stage before it (`stepping`). It takes the strain
``D* q`` and the velocity of the state before that stage halfway to points. `rows.products` multiplies the conjugate of
the velocity by the strain, and the next `sweep_columns` makes ``G(w, q)`` of it.
"""

import functools

import warp as wp

from ..._coefficients import low_storage
from ..fft.transforms import line_functions
from ..hardware.address_table import NO_ARRAY, Place, Table, kernel, launch
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.views import complex_access, vector_view
from ..parameters import Parameters, forcing_row, linear_row, parameter_functions
from .columns import column_functions
from .medium import launch_pull_back
from .operators import launch_begin
from .places import Cotangents, Fields, cotangents, fields
from .plan import Plan
from .rows import launch_products
from .setting import Setting
from .stepping import stepping
from .symbols import symbols

SUMS = {False: 3, True: 4}  # sums of a block: for viscosity, drag and dt, and with further terms for F


def sweep_sides(plan: Plan, begins: bool, lifts: bool) -> int:
    """Return how many columns of each wavenumber a block has in memory: strain, and velocity, and what E* lifts."""
    return 2 + 2 * (begins and plan.sweeps_together) + 2 * (begins and lifts)


@functools.cache
def sweep_columns(
    plan: Plan,
    ends: bool,
    begins: bool,
    by_parameter: bool,
    by_forcing: bool,
    forced: bool,
    by_linear: bool,
    extra: bool,
    adds: bool = False,
    lifts: bool = False,
) -> wp.Kernel:
    """Make the kernel that ends the adjoint of a stage, or begins that of the stage before it, or both.

    Where shared memory is short, `operators.begin` makes the velocity of the earlier state. With a medium the kernel
    may also make what E* lifts (`lifts`), and two products of rows may come back, which it adds (`adds`).
    """
    cut, together, count = plan.sweep, plan.sweeps_together, sweep_sides(plan, begins, lifts)
    lines, parts, real = plan.column_lines(cut, count), plan.parts(cut), plan.real
    C, size = lines.interleaved, lines.size
    groups = lines.groups // C
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves, Scale, mode = by_column.natural, by_column.waves, by_mode.Scale, by_mode.mode
    velocity, strain, pullback, lift = by_mode.velocity, by_mode.strain, by_mode.pullback, by_mode.lift
    step_of, by_member, filtered = stepping(real, extra), parameter_functions(real), plan.filtered
    numbers, linear, inverse_of = by_member.numbers, linear_row(plan.complex, plan.modes), by_mode.inverse
    if extra:
        numbers = by_member.all_numbers
    Stage, begin_adjoint, end_adjoint = step_of.Stage, step_of.begin_adjoint, step_of.end_adjoint
    Three, exponent_share, shares = step_of.Three, step_of.exponent_share, step_of.shares
    rate_of, real_part = step_of.rate, step_of.real_part
    by_exponent, count_sums = by_parameter or by_linear, SUMS[extra]
    Complex, complex_view, real_view = plan.complex, vector_view(plan.complex), vector_view(real)
    (get_complex, put_complex), forcing = complex_access(real), forcing_row(plan.complex, plan.modes, upwards=True)

    @kernel(launch_bounds=plan.bounds(lines, cut))
    def sweep_columns(
        table: Table,
        # coefficients of the stage that ends, and of the stage that begins
        ending: Stage,
        beginning: Stage,
        scale: Scale,
        # in
        parameters: Parameters,
        step: int,
        state_at: Place,
        earlier_at: Place,
        roots_at: Place,
        filter_at: Place,
        given_at: Cotangents,
        # in and out
        half_at: Fields,
        lifted_at: Place,
        sums_at: Place,
        forcing_at: Place,
        linear_at: Place,
        fresh: int,
        first_of_all: int,
        # out
        made_at: Cotangents,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts)
        first = part * C
        side_of, c_of, t = thread_of(thread)
        given = numbers(table, parameters, member)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        state = state_view(table, state_at, member, first)
        earlier = state_view(table, earlier_at, member, first)
        given_p = state_view(table, given_at.first, member, first)
        given_q = state_view(table, given_at.second, member, first)
        synchronise_dependent_launch()
        if ends:
            for side in range(side_of, 2, groups):
                line = side * C + c_of
                values = load(table, half_at.state, member, side, first + c_of, t)
                if adds:
                    values += load(table, lifted_at, member, side, first + c_of, t)
                publish(forward(values, buffer, factors, line, t), buffer, line, t)
            barrier()
        made_p = state_view(table, made_at.first, member, first)
        made_q = state_view(table, made_at.second, member, first)
        force = forcing(table, parameters.forcing, step, member, first, 0)
        by_step = state_view(table, forcing_at, member, first)
        terms = linear(table, parameters.linear, member, first, 0)
        pushed_terms = state_view(table, linear_at, member, first)
        squares = real(0.0)
        total = real(0.0)
        rest = real(0.0)
        screened = real(0.0)
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                at = here(row, c)
                n = natural(row)
                mode_here = mode(waves(row), first + c, scale)
                if extra:
                    mode_here.inverse = inverse_of(mode_here, given.screening)
                filtering = real(1.0)
                if filtered:
                    filtering = filter_of(filters, row, first + c)
                l = get_complex(given_p, at)
                m = Complex()
                w1 = Complex()
                if by_exponent:
                    w1 = get_complex(state, at)
                if ends:
                    p = l
                    q = get_complex(given_q, at)
                    moved = pullback(mode_here, get(buffer, c, n), get(buffer, C + c, n))
                    l, m = end_adjoint(p, q, moved, ending, given)
                    if by_parameter:
                        rest += wp.dot(w1, moved)
                        if extra:
                            screened -= real(2.0) * given.dt * mode_here.inverse * wp.dot(w1, moved)
                        if forced:
                            rest += wp.dot(q, get_complex(force, at))
                    if by_forcing:
                        pushed = given.dt * q
                        if fresh == 0:
                            pushed += get_complex(by_step, at)
                        put_complex(by_step, at, pushed)
                if begins:
                    w = get_complex(earlier, at)
                    L = rate_of(given, mode_here, terms, at)
                    if by_exponent:
                        product = exponent_share(l, m, w, w1, beginning, given, L)
                        squares += mode_here.squared * real_part(product)
                        total += real_part(product)
                        if extra:
                            rest += beginning.duration * wp.dot(product, get_complex(terms, at))
                    if by_linear:
                        pushed_here = beginning.duration * given.dt * product
                        if first_of_all == 0:
                            pushed_here += get_complex(pushed_terms, at)
                        put_complex(pushed_terms, at, pushed_here)
                    l, m = begin_adjoint(l, m, beginning, given, L)
                    put_complex(made_q, at, m)
                    plus, minus = strain(mode_here, filtering * m)
                    put(buffer, c, n, plus[0], plus[1])
                    put(buffer, C + c, n, minus[0], minus[1])
                    if together:
                        plus, minus = velocity(mode_here, w)
                        put(buffer, 2 * C + c, n, plus[0], plus[1])
                        put(buffer, 3 * C + c, n, minus[0], minus[1])
                    if lifts:
                        plus, minus = lift(mode_here, filtering * m)
                        put(buffer, 4 * C + c, n, plus[0], plus[1])
                        put(buffer, 5 * C + c, n, minus[0], minus[1])
                put_complex(made_p, at, l)
        if by_parameter:
            squares_of_block = wp.tile_sum(wp.tile(squares))
            total_of_block = wp.tile_sum(wp.tile(total))
            rest_of_block = wp.tile_sum(wp.tile(rest))
            if extra:
                screened_of_block = wp.tile_sum(wp.tile(screened))
            if thread == 0:
                sums = real_view(table, sums_at)
                at = count_sums * (member * parts + part)
                share = Three(real(0.0), real(0.0), rest_of_block[0])
                if ends:
                    share += Three(sums[at], sums[at + 1], sums[at + 2])
                if begins:
                    share += shares(squares_of_block[0], total_of_block[0], beginning, given)
                sums[at] = share[0]
                sums[at + 1] = share[1]
                sums[at + 2] = share[2]
                if extra:
                    by_screening = screened_of_block[0]
                    if ends:
                        by_screening += sums[at + 3]
                    sums[at + 3] = by_screening
        if begins:
            barrier()
            for side in range(side_of, count, groups):
                line = side * C + c_of
                place = half_at.state
                if side > 1:
                    place = half_at.tangent
                if lifts and side > 3:
                    place = lifted_at
                values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                store(values, table, place, member, side % 2, first + c_of, t)

    return sweep_columns


def adjoint(
    setting: Setting,
    parameters: Parameters,
    omega,
    kept,
    cotangent,
    result,
    work,
    halves,
    totals,
    medium=None,
    by_medium=None,
):
    """Launch the sweep from the last stage to the first.

    `kept[s]` is the state after stage s, and `omega` that before the first. `work`: two states, the cotangents that go
    from stage to stage. `halves`: strain and velocity. `totals`: partial sums of the cotangents of parameters
    (`SUMS`), the cotangent of forcing, one field a step of it, and that of the symbol of further terms; None for those
    not wanted.

    With a `medium.Medium`, `halves` also has what E* makes of q. `by_medium` receives the sum of ``conj(z) E* q``, or
    is None. What comes back from points is then half the adjoint of all products (`_spectral.medium`).
    """
    plan, stages, scale = setting.plan, low_storage(setting.integrator), setting.scale
    tables, sums, by_step, by_linear = setting.tables, *totals
    extra = parameters.linear != NO_ARRAY
    batch, count = omega.shape[0], setting.steps * len(stages)
    of_stage = [stepping(plan.real, extra).Stage() for _ in stages]
    for stage, (a, b, duration) in zip(of_stage, stages, strict=True):
        stage.a, stage.b, stage.duration = a, b, duration
    states = [omega, *(kept[s] for s in range(count))]  # states[s] is the state before stage s
    adds = medium is not None and plan.apart
    lifts = adds and plan.sweeps_together and plan.fits(plan.sweep, 6)

    def columns(stage, given, made):
        """Launch the end of a stage, and the beginning of the one before; a stage past the last one does not end."""
        ends, begins = stage < count, stage > 0
        step = min(stage, count - 1) // len(stages)
        steady = by_step is not None and by_step.shape[0] == 1
        variant = sums is not None, by_step is not None and ends, parameters.forcing != NO_ARRAY
        with_medium = adds and ends, lifts and begins
        kernel = sweep_columns(plan, ends, begins, *variant, by_linear is not None and begins, extra, *with_medium)
        lines = plan.column_lines(plan.sweep, sweep_sides(plan, begins, lifts))
        arguments = [of_stage[stage % len(stages)], of_stage[(stage - 1) % len(stages)], scale, parameters, step]
        arguments += [states[stage], states[max(stage - 1, 0)], tables.roots_y, tables.filters, cotangents(*given)]
        arguments += [fields(*halves[:2]), halves[-1], NO_ARRAY if sums is None else sums]
        arguments += [by_step[0 if steady else step] if variant[1] else NO_ARRAY]
        fresh = stage == count - 1 if steady else stage % len(stages) == len(stages) - 1
        arguments += [NO_ARRAY if by_linear is None else by_linear, int(fresh), int(stage == count), cotangents(*made)]
        launch(kernel, omega.table, batch * plan.parts(plan.sweep), arguments, lines.block_dim)
        if begins and not plan.sweeps_together:
            launch_begin(plan, "velocity", scale, tables, states[stage - 1], halves[1], parameters)
        if begins and medium is not None and not lifts:
            launch_begin(plan, "lift", scale, tables, made[1], halves[2])

    columns(count, (cotangent, cotangent), work)
    for stage in reversed(range(count)):
        if medium is None:
            launch_products(plan, "conjugate product", tables.roots_x, halves[1], halves[0], halves[0], halves[0])
        else:
            pair, fresh = (halves[1], halves[2], halves[0]), stage == count - 1
            launch_pull_back(plan, tables.roots_x, medium, *pair, by_medium, fresh)
        columns(stage, work, work if stage else (result, result))
