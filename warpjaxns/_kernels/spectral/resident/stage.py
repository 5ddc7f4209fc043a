"""Time steps of a resident member: the kernels of `spectral.stage` and `spectral.rows` in one.

A *turn* ends one stage and makes the velocities of the next. Turn 0 only makes velocities.
"""

import functools

import warp as wp

from ...._coefficients import low_storage
from ...fft.transforms import line_functions
from ...hardware.address_table import NO_ARRAY, Place, Table, kernel, launch, slice_at
from ...hardware.intrinsics import barrier, block_index, synchronise_dependent_launch, thread_index
from ...hardware.views import complex_access, row_view, vector_view
from ...parameters import Parameters, forcing_row, linear_row, parameter_functions
from ..places import Fields, fields
from ..setting import Setting
from ..stepping import stepping
from ..symbols import symbols
from .layout import Resident, half_functions


@functools.cache
def resident_stages(resident: Resident, stages: int, forced: bool, keep: bool, extra: bool) -> wp.Kernel:
    """Make the kernel of all steps of a call, for an integrator of so many stages.

    With two fields it also carries a tangent, whose lines follow those of the state. With `extra` the equation has more
    linear terms than viscosity and drag.
    """
    plan, rows, columns, tangent = resident.plan, resident.row_lines, resident.column_lines, resident.fields == 2
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
    mode, velocity, advection, Scale = by_mode.mode, by_mode.velocity, by_mode.advection, by_mode.Scale
    Stage, advance, advance_tangent, rate_of = step_of.Stage, step_of.advance, step_of.tangent, step_of.rate
    numbers, Complex, filtered, inverse_of = by_member.numbers, plan.complex, plan.filtered, by_mode.inverse
    if extra:
        numbers = by_member.all_numbers
    Held = wp.types.vector(length=2 * points * chunks, dtype=real)
    Coefficients = wp.types.vector(length=stages, dtype=real)
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(plan.complex)
    real_view, forcing = vector_view(real), forcing_row(Complex, plan.modes, upwards=True)
    state_view, linear = row_view(Complex, plan.modes, upwards=True), linear_row(Complex, plan.modes)

    @kernel(launch_bounds=resident.bounds)
    def resident_stages(
        table: Table,
        # coefficients of all stages
        a: Coefficients,
        b: Coefficients,
        durations: Coefficients,
        scale: Scale,
        steps: int,
        # in
        parameters: Parameters,
        dparameters: Parameters,
        state_at: Fields,
        roots_y_at: Place,
        roots_x_at: Place,
        filter_at: Place,
        # out
        out_at: Fields,
        kept_at: Place,
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
        state = state_view(table, state_at.state, member, 0, 0)
        out = state_view(table, out_at.state, member, 0, 0)
        terms = linear(table, parameters.linear, member, 0, 0)
        states = Held()
        increments = Held()
        if tangent:
            direction = numbers(table, dparameters, member)
            dterms = linear(table, dparameters.linear, member, 0, 0)
            dstate = state_view(table, state_at.tangent, member, 0, 0)
            dout = state_view(table, out_at.tangent, member, 0, 0)
            dstates = Held()
            dincrements = Held()
        turns = stages * steps
        for turn in range(turns + 1):
            number = wp.max(turn - 1, 0) % stages
            stage = Stage()
            stage.a = a[number]
            stage.b = b[number]
            stage.duration = durations[number]
            step = wp.max(turn - 1, 0) // stages
            force = forcing(table, parameters.forcing, step, member, 0, 0)
            if tangent:
                dforce = forcing(table, dparameters.forcing, step, member, 0, 0)
            if turn > 0:
                t = thread % row_threads
                for line in range(thread // row_threads, ny, row_groups):
                    own = line % row_groups
                    row = row_of(line)
                    z = row_inverse(load_row(half, 0, row, t), buffer, factors_x, own, t)
                    if tangent:
                        dz = row_inverse(load_row(half, 1, row, t), buffer, factors_x, own, t)
                    for e in range(row_held):
                        x, y = z[2 * e], z[2 * e + 1]
                        if tangent:
                            dx, dy = dz[2 * e], dz[2 * e + 1]
                            dz[2 * e] = real(2.0) * (x * dx - y * dy)
                            dz[2 * e + 1] = real(2.0) * (x * dy + y * dx)
                        z[2 * e] = x * x - y * y
                        z[2 * e + 1] = real(2.0) * x * y
                    store_row(row_forward(z, buffer, factors_x, own, t), half, 0, row, t)
                    if tangent:
                        store_row(row_forward(dz, buffer, factors_x, own, t), half, 1, row, t)
                barrier()
            t = thread % threads
            for chunk in range(chunks):
                if turn > 0:
                    for line in range(thread // threads, lines, groups):
                        side = line // C
                        values = load_column(half, side // 2, side % 2, chunk * C + line - side * C, t)
                        publish(forward(values, buffer, factors_y, line, t), buffer, line, t)
                    barrier()
                for i in range(points):
                    present, row, c, kx = mode_of(chunk, i, thread)
                    if present:
                        n = natural(row)
                        at = kx * modes + row
                        slot = 2 * (chunk * points + i)
                        m = mode(waves(row), kx, scale)
                        if extra:
                            m.inverse = inverse_of(m, given.screening)
                        w = Complex(states[slot], states[slot + 1])
                        rate = Complex()
                        drate = Complex()
                        if turn == 0:
                            w = get_complex(state, at)
                        else:
                            filtering = real(1.0)
                            if filtered:
                                filtering = filters[row] * filters[modes + kx]
                            rate = filtering * advection(m, get(buffer, c, n), get(buffer, C + c, n))
                            if forced:
                                rate += get_complex(force, at)
                            if tangent:
                                drate = filtering * advection(m, get(buffer, 2 * C + c, n), get(buffer, 3 * C + c, n))
                                if forced:
                                    drate += get_complex(dforce, at)
                            d = Complex(increments[slot], increments[slot + 1])
                            L = rate_of(given, m, terms, at)
                            w, d = advance(w, d, rate, stage, given, L)
                            increments[slot] = d[0]
                            increments[slot + 1] = d[1]
                            if keep:
                                kept = state_view(table, slice_at(kept_at, turn - 1), member, 0, 0)
                                put_complex(kept, at, w)
                            if not keep and turn == turns:
                                put_complex(out, at, w)
                        states[slot] = w[0]
                        states[slot + 1] = w[1]
                        plus, minus = velocity(m, w)
                        put(buffer, c, n, plus[0], plus[1])
                        put(buffer, C + c, n, minus[0], minus[1])
                        if tangent:
                            dw = Complex(dstates[slot], dstates[slot + 1])
                            if turn == 0:
                                dw = get_complex(dstate, at)
                            else:
                                d = Complex(increments[slot], increments[slot + 1])
                                dd = Complex(dincrements[slot], dincrements[slot + 1])
                                L = rate_of(given, m, terms, at)
                                dL = rate_of(direction, m, dterms, at)
                                dw, dd = advance_tangent(dw, dd, rate, drate, w, d, stage, given, direction, L, dL)
                                dincrements[slot] = dd[0]
                                dincrements[slot + 1] = dd[1]
                                if turn == turns:
                                    put_complex(dout, at, dw)
                            dstates[slot] = dw[0]
                            dstates[slot + 1] = dw[1]
                            if extra:  # F changes the velocity of a state, too
                                dw -= (direction.screening * m.inverse) * w
                            plus, minus = velocity(m, dw)
                            put(buffer, 2 * C + c, n, plus[0], plus[1])
                            put(buffer, 3 * C + c, n, minus[0], minus[1])
                barrier()
                if turn < turns:
                    for line in range(thread // threads, lines, groups):
                        side = line // C
                        values = inverse(gather(buffer, line, t), buffer, factors_y, line, t)
                        store_column(values, half, side // 2, side % 2, chunk * C + line - side * C, t)
                    barrier()

    return resident_stages


def advance(setting: Setting, parameters: Parameters, omega, out, keep: bool):
    """Launch the steps of `spectral.stage.advance` as one kernel without scratch.

    `out`: the state after all steps, or with `keep` those after each stage. Without `keep` it may be `omega`.
    """
    resident = Resident(setting.plan, setting.plan.resident)
    places = fields(omega), fields(omega) if keep else fields(out), out.slices if keep else NO_ARRAY
    _launch(setting, resident, (parameters, parameters), omega, keep, places)


def tangent(setting: Setting, parameters: Parameters, dparameters: Parameters, omega, domega, out, dout):
    """Launch the steps of `spectral.stage.tangent` as one kernel without scratch."""
    resident = Resident(setting.plan, setting.plan.resident_tangent, fields=2)
    places = fields(omega, domega), fields(out, dout), NO_ARRAY
    _launch(setting, resident, (parameters, dparameters), omega, False, places)


def _launch(setting, resident, parameters, omega, keep, places):
    stages, tables, (state, out, kept) = low_storage(setting.integrator), setting.tables, places
    forced, extra = parameters[0].forcing != NO_ARRAY, parameters[0].linear != NO_ARRAY
    kernel = resident_stages(resident, len(stages), forced, keep, extra)
    arguments = [*setting.coefficients, setting.scale, setting.steps, *parameters, state]
    arguments += [tables.roots_y, tables.roots_x, tables.filters, out, kept]
    launch(kernel, omega.table, omega.shape[0], arguments, resident.block_dim)
