"""The Poisson equation along y for resident members.

``solve(lines, first, modes, sums, mbarriers, turn, rank, thread)`` turns spectra of omega into those of psi, in the
lines from `first` on. All threads of a block call it. `turn` is the number of earlier solves.

A warp solves a few columns at a time. It reads them from the lines and writes them back. Wavenumbers k and -k of a line
hold both rows at k, so no thread needs numbers that another one writes. A thread has consecutive rows of a column and
solves for them as a slab of a large grid does (`slabs` has the equations). It needs two sums over all other rows. These
come from the warp, and from the other blocks of the member, each of which stores its own sums to all.

The mean over x, where r = 1 without screening, is one real column, which a warp solves by `recursions`. Blocks that
share a member store all its rows to each other, and each block solves all of it.
"""

import functools
from collections.abc import Callable

import warp as wp

from ...fft.real_rows import real_row_functions
from ...fft.transforms import line_functions
from ...hardware.clusters import Mbarrier, mbarrier_functions, remote_address, remote_store
from ...hardware.intrinsics import warp_barrier
from ...hardware.limits import WARP
from ...hardware.numbers import complex_type
from ...hardware.views import tile_access
from ..further import is_screened
from ..recursions import column_functions
from .layout import Resident


@functools.cache
def solve_function(resident: Resident, centre: bool) -> Callable:
    """Make ``solve``. Unless `centre`, psi may have a mean, which its derivatives do not see."""
    return _by_one_thread(resident, centre) if resident.serial else _by_warps(resident, centre)


@functools.cache
def _by_one_thread(resident: Resident, centre: bool) -> Callable:
    lines, columns, count_of_fields, pairs = resident.lines, resident.columns, resident.fields, resident.pairs
    nx, half, Complex = resident.shape[1], resident.shape[1] // 2 + 1, complex_type(resident.real)
    Values, Mode, Sums, Tile = columns.Values, columns.Mode, columns.Tile, lines.Tile
    by_column, by_pair, get = column_functions(columns), real_row_functions(lines), line_functions(lines).get
    northward, southward, centred, reach = by_column.northward, by_column.southward, by_column.centred, by_column.powers
    split, put_pair, screened = by_pair.split, by_pair.put_pair, is_screened(resident.terms)

    @wp.func
    def solve(
        lines: Tile,
        first: int,
        modes: wp.array(dtype=Mode),
        sums: Sums,
        mbarriers: wp.tile(dtype=Mbarrier, shape=(resident.mbarriers,)),
        turn: int,
        rank: int,
        thread: int,
    ):
        for column in range(count_of_fields * half):
            k = column % half
            start = first + column // half * pairs
            mode = modes[k]
            powers = reach(mode[0], 0)
            mirror = wp.where(k == 0, 0, nx - k)
            values = Values()
            for e in range(pairs):  # two rows a line
                a, b = split(get(lines, start + e, k), get(lines, start + e, mirror))
                values[4 * e] = a[0]
                values[4 * e + 1] = a[1]
                values[4 * e + 2] = b[0]
                values[4 * e + 3] = b[1]
            if screened:  # noqa: SIM102 (known when the kernel is compiled)
                if k == 0:  # the means over y have no flow, and would grow by 1 / (1 - r)
                    values = centred(values, sums, 0, 0)
            values = northward(values, mode, powers, sums, 0, 0)
            if screened:  # noqa: SIM102
                if k == 0:
                    values = centred(values, sums, 0, 0)
            values = southward(values, mode, powers, sums, 0, 0)
            if centre and k == 0:
                values = centred(values, sums, 0, 0)
            for e in range(pairs):
                a = mode[3] * Complex(values[4 * e], values[4 * e + 1])
                b = mode[3] * Complex(values[4 * e + 2], values[4 * e + 3])
                put_pair(lines, start + e, k, mirror, a, b)

    return solve


@functools.cache
def _by_warps(resident: Resident, centre: bool) -> Callable:
    lines, columns, means, blocks = resident.lines, resident.columns, resident.means, resident.blocks
    real, count_of_fields, stride, pairs = resident.real, resident.fields, resident.stride, resident.pairs
    parts, mean_part, warps, own_sums = resident.parts, resident.parts - 1, resident.warps, resident.sums
    sets, nx, last, rows = resident.sets, resident.shape[1], resident.shape[1] // 2, 2 * resident.pairs
    Values, Mode, Sums, Tile = columns.Values, columns.Mode, columns.Tile, lines.Tile
    held, count, threads = columns.values, columns.count, columns.threads
    MeanValues, mean_held, mean_threads = means.Values, means.values, means.threads
    by_column, by_mean = column_functions(columns), column_functions(means)
    by_line, by_pair = line_functions(lines), real_row_functions(lines)
    reach, (scan_north, scan_south) = by_column.powers, by_column.scans
    northward, southward, centred, mean_reach = by_mean.northward, by_mean.southward, by_mean.centred, by_mean.powers
    Complex, get, offset = complex_type(real), by_line.get, by_line.offset
    split, put_pair = by_pair.split, by_pair.put_pair
    remote_sums, store_there = remote_address(real, columns.size), remote_store(real)
    number, _ = tile_access(real, columns.size)
    remote_mbarrier, by_mbarrier = remote_address(Mbarrier, resident.mbarriers), mbarrier_functions(resident.mbarriers)
    bytes_each = wp.types.type_size_in_bytes(real)
    expect, wait, Mbarriers = by_mbarrier.expect, by_mbarrier.wait, wp.tile(dtype=Mbarrier, shape=(resident.mbarriers,))
    get_value, put_value = tile_access(real, lines.size)
    Modes = wp.array(dtype=Mode)
    to_mean, screened = 4 * blocks * (last + 1), is_screened(resident.terms)

    @wp.func
    def sums_of(block: int, k: int):
        """Return where the sums of a block at wavenumber k lie."""
        return 4 * (block * (last + 1) + k)

    @wp.func
    def solve_columns(
        lines: Tile,
        first: int,
        modes: Modes,
        sums: Sums,
        mbarriers: Mbarriers,
        start: int,
        mbarrier: int,
        turn: int,
        rank: int,
        column: int,
        t: int,
    ):
        k = wp.min(column, last)  # past the last wavenumber there is padding; its solution is discarded
        c = (column - 1) % count  # the column's number in the warp
        mode = modes[k]
        loss = mode[1]
        mirror = nx - k
        line = first + t * (held // 2)
        values = Values()
        for e in range(held // 2):
            a, b = split(get(lines, line + e, k), get(lines, line + e, mirror))
            values[4 * e] = a[0]
            values[4 * e + 1] = a[1]
            values[4 * e + 2] = b[0]
            values[4 * e + 3] = b[1]
        north = Complex()
        south = Complex()
        weight = real(1.0)
        for j in range(held):
            z = Complex(values[2 * j], values[2 * j + 1])
            north = north + (z - loss * north)
            south += weight * z
            weight = weight - loss * weight
        powers = reach(mode[0], t)
        from_south = scan_north(north, powers, real(0.0), sums, c, t)
        from_north = scan_south(south, powers, real(0.0), sums, c, t)
        to_south = wp.exp(-mode[0] * real(t * held))
        to_north = wp.exp(-mode[0] * real((threads - 1 - t) * held))
        p = Complex(from_south[2], from_south[3])
        q = Complex(from_north[2], from_north[3])
        if blocks > 1:
            at = start + sums_of(rank, k)
            for block in range(t, blocks, threads):
                if column <= last:
                    there = remote_sums(sums, at, block)
                    mbarrier_there = remote_mbarrier(mbarriers, mbarrier, block)
                    store_there(there, 0, p[0], mbarrier_there)
                    store_there(there, 1, p[1], mbarrier_there)
                    store_there(there, 2, q[0], mbarrier_there)
                    store_there(there, 3, q[1], mbarrier_there)
            if c == 0 and t == 0:
                expect(mbarriers, mbarrier, 4 * bytes_each * blocks * wp.min(count, last + 1 - column))
            over = wp.exp(-mode[0] * real(rows))
            wait(mbarriers, mbarrier, turn)
            p = Complex()
            q = Complex()
            for s in range(blocks):  # the block itself comes first: once around the box, it is the farthest
                south_of = start + sums_of((rank + s) % blocks, k)
                north_of = start + sums_of((rank + blocks - s) % blocks, k)
                p = over * p + Complex(number(sums, south_of), number(sums, south_of + 1))
                q = over * q + Complex(number(sums, north_of + 2), number(sums, north_of + 3))
        p = Complex(from_south[0], from_south[1]) + (to_south * mode[2]) * p
        q = Complex(from_north[0], from_north[1]) + (to_north * mode[2]) * q
        for j in range(held):
            p = p + (Complex(values[2 * j], values[2 * j + 1]) - loss * p)
            values[2 * j] = p[0]
            values[2 * j + 1] = p[1]
        q = mode[4] * (q + (p - loss * p))
        for i in range(held // 2):
            j = held - 1 - 2 * i
            b = Complex(values[2 * j], values[2 * j + 1]) + (q - loss * q)
            q = Complex(values[2 * j - 2], values[2 * j - 1]) + (b - loss * b)
            if column <= last:
                put_pair(lines, line + held // 2 - 1 - i, k, mirror, mode[3] * q, mode[3] * b)

    @wp.func
    def solve_mean(
        lines: Tile,
        first: int,
        mode: Mode,
        sums: Sums,
        mbarriers: Mbarriers,
        start: int,
        mbarrier: int,
        turn: int,
        rank: int,
        lane: int,
    ):
        t = lane % mean_threads
        powers = mean_reach(mode[0], t)
        if blocks > 1:
            for i in range(lane, pairs * blocks, WARP):
                block = i // pairs
                pair = i - block * pairs
                z = real(2.0) * get(lines, first + pair, 0)
                there = remote_sums(sums, start + to_mean + rank * rows + 2 * pair, block)
                mbarrier_there = remote_mbarrier(mbarriers, mbarrier, block)
                store_there(there, 0, z[0], mbarrier_there)
                store_there(there, 1, z[1], mbarrier_there)
            warp_barrier()  # lanes write their rows below, which other lanes have sent to other blocks
            if lane == 0:
                expect(mbarriers, mbarrier, bytes_each * blocks * rows)
            wait(mbarriers, mbarrier, turn)
        values = MeanValues()
        for e in range(mean_held):
            j = t * mean_held + e
            if blocks > 1:
                values[2 * e] = number(sums, start + to_mean + j)
            else:
                values[2 * e] = real(2.0) * get_value(lines, 2 * offset(first + j // 2) + j % 2)
        if screened:  # the means over y have no flow, and would grow by 1 / (1 - r)
            values = centred(values, sums, 0, t)
        values = northward(values, mode, powers, sums, 0, t)
        if screened:
            values = centred(values, sums, 0, t)
        values = southward(values, mode, powers, sums, 0, t)
        if centre:
            values = centred(values, sums, 0, t)
        for e in range(mean_held):
            j = t * mean_held + e - rank * rows  # the row's number in the block
            if lane < mean_threads and j >= 0 and j < rows:
                put_value(lines, 2 * offset(first + j // 2) + j % 2, mode[3] * values[2 * e])

    @wp.func
    def solve_part(
        lines: Tile,
        first: int,
        modes: Modes,
        sums: Sums,
        mbarriers: Mbarriers,
        turn: int,
        which: int,
        part: int,
        rank: int,
        lane: int,
    ):
        line = first + which * stride
        start = (turn % sets * count_of_fields + which) * own_sums
        mbarrier = (turn % 2 * count_of_fields + which) * parts + part
        if part < mean_part:
            column = 1 + part * count + lane % count
            solve_columns(lines, line, modes, sums, mbarriers, start, mbarrier, turn, rank, column, lane // count)
        elif part == mean_part:
            solve_mean(lines, line, modes[0], sums, mbarriers, start, mbarrier, turn, rank, lane)

    @wp.func
    def solve(
        lines: Tile, first: int, modes: Modes, sums: Sums, mbarriers: Mbarriers, turn: int, rank: int, thread: int
    ):
        warp = thread // WARP
        lane = thread % WARP
        if blocks > 1:
            for which in range(count_of_fields):
                solve_part(lines, first, modes, sums, mbarriers, turn, which, warp, rank, lane)
        else:
            for part in range(warp, count_of_fields * parts, warps):
                solve_part(lines, first, modes, sums, mbarriers, turn, part // parts, part % parts, rank, lane)

    return solve
