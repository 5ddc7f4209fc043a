"""The backward sweep of a resident member: the kernels of `spectral.sweep` and `spectral.rows` in one.

A *turn* ends the adjoint of one stage and begins that of the stage before it. Field 0 is the strain, and then its
product, field 1 the velocity of the state before the stage.
"""

import functools

import warp as wp

from ...._coefficients import low_storage
from ...fft.transforms import line_functions
from ...hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ...hardware.intrinsics import barrier, block_index, synchronise_dependent_launch, thread_index
from ...hardware.views import complex_access, row_view, vector_view
from ...parameters import Parameters, forcing_row, linear_row, parameter_functions
from ..setting import Setting
from ..stepping import stepping
from ..sweep import SUMS
from ..symbols import symbols
from .layout import Resident, half_functions


@functools.cache
def resident_sweep(
    resident: Resident, stages: int, by_parameter: bool, by_forcing: bool, forced: bool, by_linear: bool, extra: bool
) -> wp.Kernel:
    """Make the kernel of the backward sweep over all steps of a call, for an integrator of so many stages."""
    plan, rows, columns = resident.plan, resident.row_lines, resident.column_lines
    (ny, _), modes, real, size, half_size = plan.shape, plan.modes[1], plan.real, resident.size, resident.half_size
    C, chunks, points, lines = resident.columns, resident.chunks, resident.points, columns.count
    by_row, by_column, by_half = line_functions(rows), line_functions(columns), half_functions(resident)
    load_row, store_row, row_of = by_half.load_row, by_half.store_row, by_half.row_of
    load_column, store_column, gather = by_half.load_column, by_half.store_column, by_half.gather
    mode_of, natural, waves = by_half.mode_of, by_half.natural, by_half.waves
    row_inverse, row_forward, row_factors = by_row.inverse, by_row.forward, by_row.factors
    inverse, forward, column_factors = by_column.inverse, by_column.forward, by_column.factors
    publish, get, put = by_column.publish, by_column.get, by_column.put
    row_threads, row_groups, row_held, threads, groups = (
        rows.threads,
        rows.groups,
        rows.values,
        columns.threads,
        columns.groups,
    )
    by_mode, step_of, by_member = symbols(real), stepping(real, extra), parameter_functions(real)
    mode, velocity, strain, pullback = by_mode.mode, by_mode.velocity, by_mode.strain, by_mode.pullback
    Stage, begin_adjoint, end_adjoint = step_of.Stage, step_of.begin_adjoint, step_of.end_adjoint
    exponent_share, shares, Three, Scale = step_of.exponent_share, step_of.shares, step_of.Three, by_mode.Scale
    rate_of, real_part, inverse_of = step_of.rate, step_of.real_part, by_mode.inverse
    numbers, Complex, filtered = by_member.numbers, plan.complex, plan.filtered
    if extra:
        numbers = by_member.all_numbers
    by_exponent, count_sums = by_parameter or by_linear, SUMS[extra]
    Held = wp.types.vector(length=2 * points * chunks, dtype=real)
    Coefficients = wp.types.vector(length=stages, dtype=real)
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(plan.complex)
    real_view, forcing = vector_view(real), forcing_row(Complex, plan.modes, upwards=True)
    state_view, linear = row_view(Complex, plan.modes, upwards=True), linear_row(Complex, plan.modes)

    @kernel(launch_bounds=resident.bounds)
    def resident_sweep(
        table: Table,
        # coefficients of all stages
        a: Coefficients,
        b: Coefficients,
        durations: Coefficients,
        scale: Scale,
        steps: int,
        # in
        parameters: Parameters,
        omega_at: Place,
        kept_at: Place,
        cotangent_at: Place,
        roots_y_at: Place,
        roots_x_at: Place,
        filter_at: Place,
        # out
        result_at: Place,
        sums_at: Place,
        by_step_at: Place,
        linear_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        half = wp.tile_empty(shape=(half_size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member = block_index(index, 0)
        thread = thread_index()
        factors_x = row_factors(complex_view(table, roots_x_at), thread % row_threads)
        factors_y = column_factors(complex_view(table, roots_y_at), thread % threads)
        filters = real_view(table, filter_at)
        given = numbers(table, parameters, member)
        synchronise_dependent_launch()
        cotangent = state_view(table, cotangent_at, member, 0, 0)
        result = state_view(table, result_at, member, 0, 0)
        first = Held()  # the cotangents p and q of a stage that has begun
        second = Held()
        sums = Three()
        screened = real(0.0)
        terms = linear(table, parameters.linear, member, 0, 0)
        pushed_terms = state_view(table, linear_at, member, 0, 0)
        turns = stages * steps
        for turn in range(turns + 1):
            ended = wp.min(turns - turn, turns - 1)  # the stage that ends, from turn 1 on
            begun = wp.max(turns - turn - 1, 0)
            ending = Stage()
            ending.a = a[ended % stages]
            ending.b = b[ended % stages]
            ending.duration = durations[ended % stages]
            beginning = Stage()
            beginning.a = a[begun % stages]
            beginning.b = b[begun % stages]
            beginning.duration = durations[begun % stages]
            step = ended // stages
            force = forcing(table, parameters.forcing, step, member, 0, 0)
            steady = by_step_at[3] == 1
            by_step = state_view(table, slice_at(by_step_at, wp.where(steady, 0, step)), member, 0, 0)
            fresh = wp.where(steady, ended == turns - 1, ended % stages == stages - 1)
            between = state_view(table, slice_at(kept_at, begun), member, 0, 0)  # the state between the two stages
            if turn == turns:
                between = state_view(table, omega_at, member, 0, 0)
            earlier = state_view(table, slice_at(kept_at, wp.max(begun - 1, 0)), member, 0, 0)
            if begun == 0:
                earlier = state_view(table, omega_at, member, 0, 0)
            if turn > 0:
                t = thread % row_threads
                for line in range(thread // row_threads, ny, row_groups):
                    own = line % row_groups
                    row = row_of(line)
                    y = row_inverse(load_row(half, 0, row, t), buffer, factors_x, own, t)
                    z = row_inverse(load_row(half, 1, row, t), buffer, factors_x, own, t)
                    for e in range(row_held):
                        yr, yi = y[2 * e], y[2 * e + 1]
                        y[2 * e] = z[2 * e] * yr + z[2 * e + 1] * yi
                        y[2 * e + 1] = z[2 * e] * yi - z[2 * e + 1] * yr
                    store_row(row_forward(y, buffer, factors_x, own, t), half, 0, row, t)
                barrier()
            t = thread % threads
            for chunk in range(chunks):
                if turn > 0:
                    for line in range(thread // threads, 2 * C, groups):
                        side = line // C
                        values = load_column(half, 0, side, chunk * C + line - side * C, t)
                        publish(forward(values, buffer, factors_y, line, t), buffer, line, t)
                    barrier()
                for i in range(points):
                    present, row, c, kx = mode_of(chunk, i, thread)
                    if present:
                        n = natural(row)
                        at = kx * modes + row
                        slot = 2 * (chunk * points + i)
                        mode_here = mode(waves(row), kx, scale)
                        if extra:
                            mode_here.inverse = inverse_of(mode_here, given.screening)
                        filtering = real(1.0)
                        if filtered:
                            filtering = filters[row] * filters[modes + kx]
                        l = Complex()
                        m = Complex()
                        w1 = Complex()
                        if by_exponent:
                            w1 = get_complex(between, at)
                        if turn == 0:
                            l = get_complex(cotangent, at)
                        else:
                            p = Complex(first[slot], first[slot + 1])
                            q = Complex(second[slot], second[slot + 1])
                            moved = pullback(mode_here, get(buffer, c, n), get(buffer, C + c, n))
                            l, m = end_adjoint(p, q, moved, ending, given)
                            if by_parameter:
                                rest = wp.dot(w1, moved)
                                if extra:
                                    screened -= real(2.0) * given.dt * mode_here.inverse * rest
                                if forced:
                                    rest += wp.dot(q, get_complex(force, at))
                                sums += Three(real(0.0), real(0.0), rest)
                            if by_forcing:
                                pushed = given.dt * q
                                if not fresh:
                                    pushed += get_complex(by_step, at)
                                put_complex(by_step, at, pushed)
                        if turn == turns:
                            put_complex(result, at, l)
                        else:
                            w = get_complex(earlier, at)
                            L = rate_of(given, mode_here, terms, at)
                            if by_exponent:
                                product = exponent_share(l, m, w, w1, beginning, given, L)
                                damped = real_part(product)
                                sums += shares(mode_here.squared * damped, damped, beginning, given)
                                if extra:
                                    by_terms = beginning.duration * wp.dot(product, get_complex(terms, at))
                                    sums += Three(real(0.0), real(0.0), by_terms)
                            if by_linear:
                                pushed_here = beginning.duration * given.dt * product
                                if turn > 0:
                                    pushed_here += get_complex(pushed_terms, at)
                                put_complex(pushed_terms, at, pushed_here)
                            l, m = begin_adjoint(l, m, beginning, given, L)
                            first[slot] = l[0]
                            first[slot + 1] = l[1]
                            second[slot] = m[0]
                            second[slot + 1] = m[1]
                            plus, minus = strain(mode_here, filtering * m)
                            put(buffer, c, n, plus[0], plus[1])
                            put(buffer, C + c, n, minus[0], minus[1])
                            plus, minus = velocity(mode_here, w)
                            put(buffer, 2 * C + c, n, plus[0], plus[1])
                            put(buffer, 3 * C + c, n, minus[0], minus[1])
                barrier()
                if turn < turns:
                    for line in range(thread // threads, lines, groups):
                        side = line // C
                        values = inverse(gather(buffer, line, t), buffer, factors_y, line, t)
                        store_column(values, half, side // 2, side % 2, chunk * C + line - side * C, t)
                    barrier()
        if by_parameter:
            sums_0 = wp.tile_sum(wp.tile(sums[0]))
            sums_1 = wp.tile_sum(wp.tile(sums[1]))
            sums_2 = wp.tile_sum(wp.tile(sums[2]))
            if extra:
                sums_3 = wp.tile_sum(wp.tile(screened))
            if thread == 0:
                totals = real_view(table, sums_at)
                at = count_sums * member
                totals[at] = sums_0[0]
                totals[at + 1] = sums_1[0]
                totals[at + 2] = sums_2[0]
                if extra:
                    totals[at + 3] = sums_3[0]

    return resident_sweep


def adjoint(setting: Setting, parameters: Parameters, omega, kept, cotangent, result, totals):
    """Launch the sweep of `spectral.sweep.adjoint` as one kernel without scratch. It has one partial sum a member."""
    resident, stages = Resident(setting.plan, setting.plan.resident_sweep, fields=2), low_storage(setting.integrator)
    tables, (sums, by_step, by_linear) = setting.tables, totals
    variant = parameters.forcing != NO_ARRAY, by_linear is not None, parameters.linear != NO_ARRAY
    kernel = resident_sweep(resident, len(stages), sums is not None, by_step is not None, *variant)
    arguments = [*setting.coefficients, setting.scale, setting.steps, parameters, omega, kept.slices, cotangent]
    arguments += [tables.roots_y, tables.roots_x, tables.filters, result]
    arguments += [NO_ARRAY if sums is None else sums, NO_ARRAY if by_step is None else by_step.slices]
    arguments += [NO_ARRAY if by_linear is None else by_linear]
    launch(kernel, omega.table, omega.shape[0], arguments, resident.block_dim)
