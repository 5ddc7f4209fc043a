"""Small grids: a block takes a whole member through all its steps, and only the first and last state leave it.

The kernels of `advance` cut a member into bands and meet in memory between them. Here everything lies in shared memory:
the state twice, as a stage needs the old neighbours of points while it writes new ones, and one complex line for every
two rows, which holds their spectra and then their streamfunction. Each stage has four phases with a barrier after each:
rows forward, columns solved, rows back, and the tendency.

Line p has rows 2p and 2p + 1 as its real and imaginary parts. A warp solves a few columns at a time, out of the lines
and back into them: as wavenumbers k and -k of a line hold all there is of either row at k, no thread needs what another
one writes.
"""

import functools
import types

import warp as wp

from . import memory
from .advance import RK3, tendency
from .codelets import NUMBER
from .columns import WARP
from .fft import barrier, c_name, complex_type
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .rows import row_functions
from .stencils import stencils


@functools.cache
def line_functions(plan: Plan) -> types.SimpleNamespace:
    """What a whole member needs besides transforms of its lines.

    - ``solve(lines, mode, powers, sums, k, c, t)``: the Poisson equation along y for wavenumber k, by a warp.
    - ``psi_strip(lines, pair, e, t)``: four rows of psi around a thread's e-th points of a row pair.
    - ``strip(fields, start, pair, e, t)``: the same of the field that starts there. ``value`` and ``put``: its numbers.
    """
    lines, columns, real = plan.member_lines, plan.member_columns, plan.real
    (ny, nx), pitch, get, pairs = plan.shape, plan.member_pitch, lines.get, plan.shape[0] // 2
    Complex, Tile, Strip = complex_type(real), lines.Tile, stencils(real).Strip
    by_row = row_functions(plan, lines)
    west, here, east = by_row.west, by_row.here, by_row.east
    Fields = wp.tile(dtype=real, shape=(plan.member_fields,))
    Values, Mode, Powers, Sums = columns.Values, columns.Mode, columns.Powers, columns.Tile
    chunk, northward, southward = columns.values // 2, columns.northward, columns.southward
    number = NUMBER.format(real=c_name(real))

    @wp.func_native(f"{number} Number p; p.x = x; p.y = y; ((Number*)lines.data.ptr)[line * {lines.padded} + i] = p;")
    def put(lines: Tile, line: int, i: int, x: real, y: real): ...

    @wp.func_native("return fields.data.ptr[i];")
    def value(fields: Fields, i: int) -> real: ...

    @wp.func_native("fields.data.ptr[i] = value;")
    def put_value(fields: Fields, i: int, value: real): ...

    @wp.func
    def solve(lines: Tile, mode: Mode, powers: Powers, sums: Sums, k: int, c: int, t: int):
        mirror = wp.where(k == 0, 0, nx - k)
        values = Values()
        for e in range(chunk):  # two rows a line
            p = get(lines, t * chunk + e, k)
            q = get(lines, t * chunk + e, mirror)
            values[4 * e] = p[0] + q[0]
            values[4 * e + 1] = p[1] - q[1]
            values[4 * e + 2] = p[1] + q[1]
            values[4 * e + 3] = q[0] - p[0]
        values = southward(northward(values, mode, powers, sums, c, t), mode, powers, sums, c, t)
        for e in range(chunk):
            a = mode[3] * Complex(values[4 * e], values[4 * e + 1])
            b = mode[3] * Complex(values[4 * e + 2], values[4 * e + 3])
            put(lines, t * chunk + e, k, a[0] - b[1], a[1] + b[0])
            put(lines, t * chunk + e, mirror, a[0] + b[1], b[0] - a[1])

    @wp.func
    def psi_strip(lines: Tile, pair: int, e: int, t: int):
        below = wp.where(pair == 0, pairs - 1, pair - 1)
        above = wp.where(pair == pairs - 1, 0, pair + 1)
        w, j, o = t + west(e, t), t + here(e), t + east(e, t)
        at_w, at_j, at_o = get(lines, pair, w), get(lines, pair, j), get(lines, pair, o)
        north_w, north_j, north_o = get(lines, above, w), get(lines, above, j), get(lines, above, o)
        south_w, south_j, south_o = get(lines, below, w), get(lines, below, j), get(lines, below, o)
        return Strip(
            north_w[0],
            north_j[0],
            north_o[0],
            at_w[1],
            at_j[1],
            at_o[1],
            at_w[0],
            at_j[0],
            at_o[0],
            south_w[1],
            south_j[1],
            south_o[1],
        )

    @wp.func
    def strip(fields: Fields, start: int, pair: int, e: int, t: int):
        here_row = start + 2 * pair * pitch
        above = here_row + pitch
        below = start + wp.where(pair == 0, ny - 1, 2 * pair - 1) * pitch
        beyond = start + wp.where(pair == pairs - 1, 0, 2 * pair + 2) * pitch
        w, j, o = t + west(e, t), t + here(e), t + east(e, t)
        return Strip(
            value(fields, beyond + w),
            value(fields, beyond + j),
            value(fields, beyond + o),
            value(fields, above + w),
            value(fields, above + j),
            value(fields, above + o),
            value(fields, here_row + w),
            value(fields, here_row + j),
            value(fields, here_row + o),
            value(fields, below + w),
            value(fields, below + j),
            value(fields, below + o),
        )

    return types.SimpleNamespace(solve=solve, psi_strip=psi_strip, strip=strip, value=value, put=put_value)


@functools.cache
def coefficient(real, which: int):
    """``coefficient(stage)`` of `RK3`, counted in its rows."""
    first, second, third = (real(row[which]) for row in RK3)

    @wp.func
    def coefficient(stage: int):
        return wp.where(stage == 0, first, wp.where(stage == 1, second, third))

    return coefficient


@functools.cache
def advance_members(plan: Plan, scheme: str, forced: bool, keep: bool) -> wp.Kernel:
    """`steps` steps of SSP-RK3. With `keep`, what each stage leaves behind but the last one, and each stage's psi."""
    lines, columns, real = plan.member_lines, plan.member_columns, plan.real
    pitch, half, pairs = plan.member_pitch, plan.half, plan.shape[0] // 2
    forward, inverse, publish, get, size = lines.forward, lines.inverse, lines.publish, lines.get, lines.size
    held, threads, groups, Values = lines.values, lines.threads, lines.groups, lines.Values
    count, reach, sums_size, warps = columns.count, columns.powers, columns.size, plan.member_warps
    here, kit, by_line = row_functions(plan, lines).here, stencils(real), line_functions(plan)
    solve, psi_strip, strip, value, put = by_line.solve, by_line.psi_strip, by_line.strip, by_line.value, by_line.put
    Metric, south, north, shared = kit.Metric, kit.south, kit.north, kit.shared
    force, rate, field = memory.force(real, plan.shape), tendency(real, scheme), memory.lane(real, plan.shape)
    line, complex_line, mode_line = memory.line(real), memory.line(complex_type(real)), memory.line(columns.Mode)
    of_start, of_state, of_rate = (coefficient(real, which) for which in range(3))
    fields_size, one_field, parts = plan.member_fields, plan.member_fields // 2, -(-half // count)

    @memory.kernel(launch_bounds=plan.member_bounds)
    def advance_members(
        table: Table,
        steps: int,
        metric: Metric,
        viscosity_at: Place,
        drag_at: Place,
        dt_at: Place,
        forcing_at: Place,
        start_at: Place,
        modes_at: Place,
        roots_at: Place,
        out_at: Place,
        states_at: Place,
        psis_at: Place,
    ):
        roots = complex_line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, _, thread = locate(index, 1)
        group = thread // threads
        t = thread % threads
        c = thread % WARP % count
        column_t = thread % WARP // count
        nu = shared(line(table, viscosity_at), member)
        mu = shared(line(table, drag_at), member)
        dt = shared(line(table, dt_at), member)
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        fields = wp.tile_empty(shape=(fields_size,), dtype=real, storage="shared")
        sums = wp.tile_empty(shape=(sums_size,), dtype=real, storage="shared")
        follow()
        for pair in range(group, pairs, groups):
            start_i = field(table, start_at, member, 2 * pair, t)
            start_k = field(table, start_at, member, 2 * pair + 1, t)
            out_i = field(table, out_at, member, 2 * pair, t)
            out_k = field(table, out_at, member, 2 * pair + 1, t)
            for e in range(held):
                w_i = start_i[here(e)]
                w_k = start_k[here(e)]
                put(fields, 2 * pair * pitch + t + here(e), w_i)
                put(fields, (2 * pair + 1) * pitch + t + here(e), w_k)
                out_i[here(e)] = w_i
                out_k[here(e)] = w_k
        for turn in range(3 * steps):
            step = turn // 3
            stage = turn - 3 * step
            now = turn % 2 * one_field  # the state takes turns with the next one
            then = one_field - now
            a = of_start(stage)
            b = of_state(stage)
            h = of_rate(stage) * dt
            for pair in range(group, pairs, groups):
                values = Values()
                for e in range(held):
                    values[2 * e] = value(fields, now + 2 * pair * pitch + t + here(e))
                    values[2 * e + 1] = value(fields, now + (2 * pair + 1) * pitch + t + here(e))
                publish(forward(values, buffer, roots, pair, t), buffer, pair, t)
            barrier()
            for part in range(thread // WARP, parts, warps):
                k = wp.min(part * count + c, half - 1)  # the last one may be solved more than once
                mode = modes[k]
                solve(buffer, mode, reach(mode[0], column_t), sums, k, c, column_t)
            barrier()
            for pair in range(group, pairs, groups):
                values = Values()
                for e in range(held):
                    number = get(buffer, pair, t + here(e))
                    values[2 * e] = number[0]
                    values[2 * e + 1] = number[1]
                publish(inverse(values, buffer, roots, pair, t), buffer, pair, t)
            barrier()
            for pair in range(group, pairs, groups):
                i = 2 * pair
                out_i = field(table, out_at, member, i, t)
                out_k = field(table, out_at, member, i + 1, t)
                force_i = force(table, forcing_at, step, member, i, t)
                force_k = force(table, forcing_at, step, member, i + 1, t)
                new = Values()
                if stage > 0:  # the start of the step lies where its result will
                    for e in range(held):
                        new[2 * e] = a * out_i[here(e)]
                        new[2 * e + 1] = a * out_k[here(e)]
                for e in range(held):
                    p = psi_strip(buffer, pair, e, t)
                    w = strip(fields, now, pair, e, t)
                    f_i = real(0.0)
                    f_k = real(0.0)
                    if forced:
                        f_i = force_i[here(e)]
                        f_k = force_k[here(e)]
                    r_i = rate(south(p), south(w), metric, nu, mu, f_i)
                    r_k = rate(north(p), north(w), metric, nu, mu, f_k)
                    new[2 * e] += b * w[7] + h * r_i
                    new[2 * e + 1] += b * w[4] + h * r_k
                for e in range(held):
                    put(fields, then + i * pitch + t + here(e), new[2 * e])
                    put(fields, then + (i + 1) * pitch + t + here(e), new[2 * e + 1])
                if stage == 2:
                    for e in range(held):
                        out_i[here(e)] = new[2 * e]
                        out_k[here(e)] = new[2 * e + 1]
                if keep:
                    psi_i = field(table, Place(psis_at[0], turn, psis_at[2]), member, i, t)
                    psi_k = field(table, Place(psis_at[0], turn, psis_at[2]), member, i + 1, t)
                    for e in range(held):
                        number = get(buffer, pair, t + here(e))
                        psi_i[here(e)] = number[0]
                        psi_k[here(e)] = number[1]
                    if turn + 1 < 3 * steps:
                        state_i = field(table, Place(states_at[0], turn + 1, states_at[2]), member, i, t)
                        state_k = field(table, Place(states_at[0], turn + 1, states_at[2]), member, i + 1, t)
                        for e in range(held):
                            state_i[here(e)] = new[2 * e]
                            state_k[here(e)] = new[2 * e + 1]
            barrier()

    return advance_members


def advance(plan: Plan, scheme, metric, steps, tables, parameters, forcing, omega, targets, psis, spectra):
    """As `advance.advance`, in one launch without scratch. The last target may be `omega`; the others are successive
    slices of one array, and not used without `psis`."""
    plan = plan.on(omega.on_cpu)
    (modes, roots), keep, metric = tables, psis is not None, stencils(plan.real).Metric(*metric)
    kernel = advance_members(plan, scheme, forcing != NONE, keep)
    kept = (targets[0], psis[0]) if keep else (NONE, NONE)
    arguments = [steps, metric, *parameters, forcing, omega, modes, roots, targets[-1], *kept]
    launch(kernel, omega.shape[0], arguments, plan.member_bounds[0])
