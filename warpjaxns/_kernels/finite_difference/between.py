"""The kernel between two stages, which carries sums through the slabs of a member (`slabs`)."""

import functools
import types

import warp as wp

from ..hardware.address_table import Place, Table, kernel
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view, vector_view
from .further import member_modes
from .plan import Plan
from .recursions import column_functions


@functools.cache
def over_slab(real, rows: int):
    """``over_slab(loss)`` is 1 - r^m for the m rows of a slab, given 1 - r. Small numbers keep their digits."""
    bits = rows.bit_length()

    @wp.func
    def over_slab(loss: real):
        result = real(0.0)
        power = loss
        for bit in range(bits):
            if (rows >> bit) % 2 == 1:
                result = result + power - result * power
            power = power * (real(2.0) - power)
        return result

    return over_slab


@functools.cache
def carrier(plan: Plan, centre: bool) -> types.SimpleNamespace:
    """Make the functions of a block that carries the sums of `count` wavenumbers through the slabs of a member.

    - ``constants(table, modes_at, member, k, t)``: those of a row, those of a slab, and powers for the t-th thread.
    - ``carry(table, sums_at, member, first, c, t, given, mode, powers, sums)`` turns the sums into the values that
      enter each slab, in place. `first`: the block's first wavenumber; c: the thread's number among its wavenumbers.

    `centre`: as in `between`.
    """
    columns, half, pitch, rows = plan.column_chunks, plan.half, plan.pitch, plan.rows
    real, held, Values = columns.real, columns.values, columns.Values
    by_column, Tile = column_functions(columns), columns.Tile
    (northward, southward), reach, mean_of = by_column.exclusive, by_column.powers, by_column.mean
    Complex, Mode, lost_in_slab = complex_type(real), columns.Mode, over_slab(real, rows)
    row, mode_line = row_view(Complex, (2 * columns.n, pitch)), vector_view(Mode)
    (get_complex, put_complex), over, m = complex_access(real), real(rows), float(rows)
    screened, modes_of, Powers = plan.screened, member_modes(Mode, half), columns.Powers
    by_mean, triangle, by_rows = real((m + 1) / 2), real(m * (m + 1) / 2), real(1 / m)
    mean_triangle = real((m + 1) / 2 - (m * m - 1) / (6 * m))  # the mean over j of (m (m + 1) - j (j + 1)) / 2m

    @wp.func
    def constants(table: Table, modes_at: Place, member: int, k: int, t: int):
        if screened:
            given = modes_of(table, modes_at, member)[wp.min(k, half - 1)]
        else:
            given = mode_line(table, modes_at)[wp.min(k, half - 1)]
        mode = Mode(over * given[0], lost_in_slab(given[1]), given[2], given[3], given[4])
        return given, mode, reach(mode[0], t)

    @wp.func
    def carry(
        table: Table,
        sums_at: Place,
        member: int,
        first: int,
        c: int,
        t: int,
        given: Mode,
        mode: Mode,
        powers: Powers,
        sums: Tile,
    ):
        k = first + c  # past the last wavenumber there is padding; its sums are discarded
        column = row(table, sums_at, member, 2 * t * held, k)
        north = Values()
        south = Values()
        for e in range(held):
            x = get_complex(column, 2 * pitch * e)
            y = get_complex(column, 2 * pitch * e + pitch)
            north[2 * e] = x[0]
            north[2 * e + 1] = x[1]
            south[2 * e] = y[0]
            south[2 * e + 1] = y[1]
        if screened:
            if first == 0:
                mean = by_rows * mean_of(north, sums, c, t)[1]
                # what a slab of ones would write, and the sum of r^(2j+1)
                of_ones = Complex()
                over_ones = real(0.0)
                doubled = real(0.0)
                weight = real(1.0)
                for _ in range(rows):
                    over_ones = over_ones + (real(1.0) - given[1] * over_ones)
                    of_ones += Complex(over_ones, weight * over_ones)
                    doubled += weight * (weight - given[1] * weight)
                    weight = weight - given[1] * weight
                if k == 0:
                    for e in range(held):
                        north[2 * e] -= mean * over_ones
                barrier()  # the tile of the sums is free again
                north = northward(north, mode, powers, sums, c, t)
                barrier()
                moments = Values()
                for e in range(held):
                    moments[2 * e] = (over_ones - given[1] * over_ones) * north[2 * e]
                    moments[2 * e] += south[2 * e] - mean * of_ones[0]
                p_mean = by_rows * mean_of(moments, sums, c, t)[0]
                if k == 0:
                    for e in range(held):
                        south[2 * e] = doubled * north[2 * e] + south[2 * e + 1] - mean * of_ones[1]
                        south[2 * e] -= p_mean * over_ones
                        south[2 * e + 1] = real(0.0)
                south = southward(south, mode, powers, sums, c, t)
                if k == 0:
                    for e in range(held):
                        north[2 * e] -= p_mean
                        north[2 * e + 1] = mean + given[1] * p_mean
            else:
                north = northward(north, mode, powers, sums, c, t)
                south = southward(south, mode, powers, sums, c, t)
        elif first == 0:
            mean = mean_of(north, sums, c, t)[0]  # of s_0
            moments = Values()
            for e in range(held):
                moments[2 * e] = over * north[2 * e] - south[2 * e] - by_mean * mean
                moments[2 * e + 1] = triangle * north[2 * e] - real(0.5) * (south[2 * e] + south[2 * e + 1])
                moments[2 * e + 1] -= over * mean_triangle * mean
            barrier()  # the tile of the sums is free again
            north = northward(north, mode, powers, sums, c, t)
            barrier()
            for e in range(held):
                moments[2 * e] += over * north[2 * e]
            p_mean = by_rows * mean_of(moments, sums, c, t)[0]
            if k == 0:
                for e in range(held):
                    south[2 * e] = moments[2 * e]
                    south[2 * e + 1] = real(0.0)
            south = southward(south, mode, powers, sums, c, t)
            if k == 0:
                for e in range(held):
                    north[2 * e] -= p_mean
                    north[2 * e + 1] = by_rows * mean
            if centre:
                for e in range(held):
                    moments[2 * e] = over * south[2 * e] + triangle * north[2 * e] + moments[2 * e + 1]
                psi_mean = by_rows * mean_of(moments, sums, c, t)[0]
                if k == 0:
                    for e in range(held):
                        south[2 * e] -= psi_mean
        else:
            north = northward(north, mode, powers, sums, c, t)
            south = southward(south, mode, powers, sums, c, t)
        for e in range(held):
            put_complex(column, 2 * pitch * e, Complex(north[2 * e], north[2 * e + 1]))
            put_complex(column, 2 * pitch * e + pitch, Complex(south[2 * e], south[2 * e + 1]))

    return types.SimpleNamespace(constants=constants, carry=carry)


@functools.cache
def between(plan: Plan, centre: bool) -> wp.Kernel:
    """Make the kernel that turns the sums ``(batch, 2 slabs, pitch)`` into the values that enter each slab, in place.

    These are p_(-1) and S. For the mean over x they are (p_(-1), mean of omega) and (q_m, 0). Unless `centre`, psi may
    have a mean, which its derivatives do not see.
    """
    columns, blocks, by_block = plan.column_chunks, plan.column_blocks, carrier(plan, centre)
    real, size, count, constants, carry = columns.real, columns.size, columns.count, by_block.constants, by_block.carry

    @kernel(launch_bounds=plan.bounds(columns))
    def between_slabs(table: Table, modes_at: Place, sums_at: Place):
        index, _ = wp.tid()
        member, part, thread = locate(index, blocks)
        first = part * count
        c = thread % count
        t = thread // count
        sums = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        given, mode, powers = constants(table, modes_at, member, first + c, t)
        synchronise_dependent_launch()
        carry(table, sums_at, member, first, c, t, given, mode, powers, sums)

    return between_slabs
