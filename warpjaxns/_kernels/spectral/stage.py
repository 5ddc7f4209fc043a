"""Time steps of a state alone, or of a state and its tangent, two kernels a stage (`stepping`).

`rows.products` takes the velocities, transformed along y, to points, and their squares back. `stage_columns` takes
these to modes, makes the stage's step there, and begins the transform of the new velocities. Its threads go through the
modes of a block's columns row by row, where lines have been published.

The linear terms of the equation are carried by an integrating factor. A tangent goes through the same kernels as its
state.
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
from .medium import launch_resist
from .operators import launch_begin
from .places import Fields, fields
from .plan import Plan
from .rows import launch_products
from .setting import Setting
from .stepping import stepping
from .symbols import symbols


@functools.cache
def stage_columns(plan: Plan, forced: bool, opens: bool, tangent: bool, extra: bool, medium: bool = False) -> wp.Kernel:
    """Make the kernel of a stage from products to the new state, and with `opens` to its velocities.

    With `tangent` it does the same for a tangent, whose lines follow those of the state. With `extra` the equation has
    more linear terms than viscosity and drag. With `medium` the product of a medium comes back from points too, in the
    place of a tangent.
    """
    second, back = tangent or medium, 4 if tangent else 2
    cut, count = (plan.tangent, 4) if second else (plan.advance, 2)
    lines, parts, real = plan.column_lines(cut, count), plan.parts(cut), plan.real
    C, size = lines.interleaved, lines.size
    groups, ahead = lines.groups // C, not plan.serial
    by_line, by_column, by_mode = line_functions(lines), column_functions(plan, lines), symbols(real)
    forward, inverse, publish, load_factors = by_line.forward, by_line.inverse, by_line.publish, by_line.factors
    get, put, load, store, gather = by_line.get, by_line.put, by_column.load, by_column.store, by_column.gather
    thread_of, state_view, filter_of = by_column.thread_of, by_column.state, by_column.filter_of
    points, holds, mode_of, here = by_column.points, by_column.holds, by_column.mode_of, by_column.here
    natural, waves, slot = by_column.natural, by_column.waves, 1 if ahead else 0
    mode, velocity, advection, Scale = by_mode.mode, by_mode.velocity, by_mode.advection, by_mode.Scale
    curl = by_mode.curl
    step_of, by_member, filtered = stepping(real, extra), parameter_functions(real), plan.filtered
    numbers, linear, inverse_of = by_member.numbers, linear_row(plan.complex, plan.modes), by_mode.inverse
    if extra:
        numbers = by_member.all_numbers
    Stage, advance, advance_tangent, rate_of = step_of.Stage, step_of.advance, step_of.tangent, step_of.rate
    Complex, Held = plan.complex, wp.types.vector(length=2 * points if ahead else 2, dtype=real)
    (get_complex, put_complex), complex_view = complex_access(real), vector_view(plan.complex)
    real_view, forcing = vector_view(real), forcing_row(Complex, plan.modes, upwards=True)
    State = wp.array(dtype=Complex)

    @wp.func
    def fetch(held: Held, view: State, i: int, thread: int, first: int):
        """Return the vector with a thread's i-th number of a state."""
        if holds(i, thread, first):
            row, c = mode_of(i, thread)
            number = get_complex(view, here(row, c))
            held[2 * i * slot] = number[0]
            held[2 * i * slot + 1] = number[1]
        return held

    @kernel(launch_bounds=plan.bounds(lines, cut))
    def stage_columns(
        table: Table,
        # coefficients
        stage: Stage,
        scale: Scale,
        # in
        parameters: Parameters,
        dparameters: Parameters,
        step: int,
        state_at: Fields,
        increment_at: Fields,
        roots_at: Place,
        filter_at: Place,
        product_at: Fields,
        # out
        half_at: Fields,
        out_at: Place,
        dout_at: Place,
        last: int,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        member, part, thread = locate(index, parts)
        first = part * C
        side_of, c_of, t = thread_of(thread)
        given = numbers(table, parameters, member)
        factors = load_factors(complex_view(table, roots_at), t)
        filters = real_view(table, filter_at)
        state = state_view(table, state_at.state, member, first)
        increment = state_view(table, increment_at.state, member, first)
        old = Held()
        increments = Held()
        dold = Held()
        dincrements = Held()
        if tangent:
            direction = numbers(table, dparameters, member)
            dstate = state_view(table, state_at.tangent, member, first)
            dincrement = state_view(table, increment_at.tangent, member, first)
        if ahead:  # the state is older than the previous kernel
            for i in range(points):
                old = fetch(old, state, i, thread, first)
                if stage.a != real(0.0):
                    increments = fetch(increments, increment, i, thread, first)
                if tangent:
                    dold = fetch(dold, dstate, i, thread, first)
                    if stage.a != real(0.0):
                        dincrements = fetch(dincrements, dincrement, i, thread, first)
        synchronise_dependent_launch()
        for side in range(side_of, count, groups):
            line = side * C + c_of
            place = product_at.state
            if second and side > 1:
                place = product_at.tangent
            values = load(table, place, member, side % 2, first + c_of, t)
            publish(forward(values, buffer, factors, line, t), buffer, line, t)
        barrier()
        out = state_view(table, out_at, member, first)
        force = forcing(table, parameters.forcing, step, member, first, 0)
        terms = linear(table, parameters.linear, member, first, 0)
        if tangent:
            dterms = linear(table, dparameters.linear, member, first, 0)
            dout = state_view(table, dout_at, member, first)
            dforce = forcing(table, dparameters.forcing, step, member, first, 0)
        for i in range(points):
            if holds(i, thread, first):
                row, c = mode_of(i, thread)
                if not ahead:
                    old = fetch(old, state, i, thread, first)
                    if stage.a != real(0.0):
                        increments = fetch(increments, increment, i, thread, first)
                    if tangent:
                        dold = fetch(dold, dstate, i, thread, first)
                        if stage.a != real(0.0):
                            dincrements = fetch(dincrements, dincrement, i, thread, first)
                at = here(row, c)
                n = natural(row)
                m = mode(waves(row), first + c, scale)
                if extra:
                    m.inverse = inverse_of(m, given.screening)
                L = rate_of(given, m, terms, at)
                filtering = real(1.0)
                if filtered:
                    filtering = filter_of(filters, row, first + c)
                rate = filtering * advection(m, get(buffer, c, n), get(buffer, C + c, n))
                if medium:
                    rate += filtering * curl(m, get(buffer, 2 * C + c, n), get(buffer, 3 * C + c, n))
                if forced:
                    rate += get_complex(force, at)
                w = Complex(old[2 * i * slot], old[2 * i * slot + 1])
                d = Complex(increments[2 * i * slot], increments[2 * i * slot + 1])
                w, d = advance(w, d, rate, stage, given, L)
                put_complex(out, at, w)
                if last == 0:
                    put_complex(increment, at, d)
                if opens:
                    plus, minus = velocity(m, w)
                    put(buffer, c, n, plus[0], plus[1])
                    put(buffer, C + c, n, minus[0], minus[1])
                if tangent:
                    drate = filtering * advection(m, get(buffer, 2 * C + c, n), get(buffer, 3 * C + c, n))
                    if forced:
                        drate += get_complex(dforce, at)
                    dw = Complex(dold[2 * i * slot], dold[2 * i * slot + 1])
                    dd = Complex(dincrements[2 * i * slot], dincrements[2 * i * slot + 1])
                    dL = rate_of(direction, m, dterms, at)
                    dw, dd = advance_tangent(dw, dd, rate, drate, w, d, stage, given, direction, L, dL)
                    put_complex(dout, at, dw)
                    if last == 0:
                        put_complex(dincrement, at, dd)
                    if opens:
                        if extra:  # F changes the velocity of a state, too
                            dw -= (direction.screening * m.inverse) * w
                        plus, minus = velocity(m, dw)
                        put(buffer, 2 * C + c, n, plus[0], plus[1])
                        put(buffer, 3 * C + c, n, minus[0], minus[1])
        if opens:
            barrier()
            for side in range(side_of, back, groups):
                line = side * C + c_of
                place = half_at.state
                if tangent and side > 1:
                    place = half_at.tangent
                values = inverse(gather(buffer, line, t), buffer, factors, line, t)
                store(values, table, place, member, side % 2, first + c_of, t)

    return stage_columns


def advance(setting: Setting, parameters: Parameters, omega, targets, increments, halves, medium=None):
    """Launch the steps from `omega`.

    `targets[s]` receives the state after stage s, counted from the first step on. It may be the state before.
    `increments` and `halves` are scratch, lists of one array for the state. With a `medium.Medium`, `halves` has
    another one for its product, and a third one for the squares if `Plan.apart`.
    """
    half, *of_medium = halves
    products = [of_medium[-1] if setting.plan.apart else half, of_medium[0]] if medium else halves
    arrays = increments, [half], products
    _steps(setting, (parameters, parameters), [omega], [[target] for target in targets], *arrays, medium)


def tangent(
    setting: Setting, parameters: Parameters, dparameters: Parameters, omega, domega, targets, increments, halves
):
    """Launch the steps of a state and its tangent. `targets[s]`, `increments` and `halves`: an array for either."""
    _steps(setting, (parameters, dparameters), [omega, domega], targets, increments, halves, halves)


def _steps(setting, parameters, state, targets, increments, halves, products, medium=None):
    plan, tables, scale = setting.plan, setting.tables, setting.scale
    batch, with_tangent = state[0].shape[0], len(state) == 2
    forced, extra = parameters[0].forcing != NO_ARRAY, parameters[0].linear != NO_ARRAY
    launch_begin(plan, "velocity", scale, tables, state[0], halves[0], parameters[0])
    if with_tangent:
        launch_begin(plan, "velocity", scale, tables, state[1], halves[1], *parameters, of=state[0])
    kind = "square and tangent" if with_tangent else "square"
    cut, stages = plan.tangent if len(products) == 2 else plan.advance, low_storage(setting.integrator)
    lines, blocks = plan.column_lines(cut, 2 * len(products)), batch * plan.parts(cut)
    for turn, target in enumerate(targets):
        if medium is None:
            launch_products(plan, kind, tables.roots_x, halves[0], halves[-1], products[0], products[-1])
        else:
            launch_resist(plan, tables.roots_x, medium, halves[0], *products, turn == 0)
        step, number = divmod(turn, len(stages))
        stage = stepping(plan.real, extra).Stage()
        stage.a, stage.b, stage.duration = stages[number]
        columns = stage_columns(plan, forced, turn + 1 < len(targets), with_tangent, extra, medium is not None)
        given = [*parameters, step, fields(*state), fields(*increments), tables.roots_y, tables.filters]
        made = [fields(*products), fields(*halves), target[0], target[-1], int(number + 1 == len(stages))]
        launch(columns, halves[0].table, blocks, [stage, scale, *given, *made], lines.block_dim)
        state = target
