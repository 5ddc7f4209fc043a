"""Rows of resident members (`layout`): their transforms, and neighbourhoods of points."""

import functools
import types

import warp as wp

from ...fft.real_rows import real_row_functions
from ...fft.transforms import line_functions
from ...hardware.clusters import Mbarrier, cluster_barrier, mbarrier_functions, remote_address, remote_store
from ...hardware.intrinsics import barrier
from ...hardware.numbers import complex_type
from ...hardware.views import tile_access
from ..stencils import stencils
from .layout import Resident


@functools.cache
def resident_functions(resident: Resident) -> types.SimpleNamespace:
    """Make the functions of kernels that hold a member. `rank`: a block's number among those that share a member.

    Functions that all threads of a block call:

    - ``rows_to_lines(fields, start, lines, roots, thread)`` transforms the rows of the fields from `start` on.
    - ``lines_to_rows(lines, roots, mbarriers, turn, rank, thread)`` transforms spectra back, and stores the edge rows
        to the neighbours.
    - ``forward_lines(lines, first, roots, thread)`` and ``inverse_lines(lines, first, roots, thread)`` transform one
        field, in the lines from `first` on, in place. They store nothing to neighbours.
    - ``wait_for_rows(mbarriers, turn, rows, thread)`` waits for the block, and for `rows` rows of neighbours. `turn` is
        the number of earlier waits. A store to a neighbour names the turn in which the row is needed.
    - ``begin_cluster(mbarriers, thread)`` waits until all blocks of the member run. ``end_cluster(mbarriers, turn,
        rows, thread)`` waits until all stores have come, those of the last `rows` rows included. Neither waits if a
        block has the member to itself.

    For points, each thread walks up a column j and reads every number once, also of the columns west and east of it.
    ``path(walk)`` gives j, west, east and the row pair at which a walk begins.

    Functions of a field in the lines from `first` on:

    - ``line_window(lines, first, pair, west, j, east)``: the rows of a pair, and the row south of them.
    - ``line_ahead(lines, first, pair, west, j, east)``: the next two rows.
    - ``line_strip(window, ahead)``: the four rows around a pair, as `stencils` has them.
    - ``line_next(window, ahead)``: the window of the next pair.
    - ``put_in_line(lines, first, mbarriers, turn, rank, pair, j, i, k)`` sets the values i and k of a pair's rows at j.

    Functions of a field in rows, from `start` on:

    - ``row_window(fields, start, pair, west, j, east)``: a pair's southern row, and the row south of it.
    - ``row_strip(window, fields, start, pair, west, j, east)``, and ``row_next(strip)``: the window of the next pair.
    - ``put_rows(fields, start, mbarriers, turn, rank, pair, j, i, k)`` sets values, as `put_in_line` does.
        ``get_rows(fields, start, pair, j)`` returns them.

    A value put at the edge of a block is also stored to the neighbour's halo.
    """
    lines, real, size, pairs = resident.lines, resident.real, resident.size, resident.pairs
    blocks, halo, stride = resident.blocks, resident.halo, resident.stride
    count_of_fields, pitch, field, by_line = (
        resident.fields,
        lines.row_pitch,
        resident.field_size,
        line_functions(lines),
    )
    forward, inverse, publish, get, put = by_line.forward, by_line.inverse, by_line.publish, by_line.get, by_line.put
    load_factors, held, threads, groups = by_line.factors, lines.values, lines.threads, lines.groups
    here, offset, Values, Tile = by_line.here, by_line.offset, lines.Values, lines.Tile
    Complex, Strip, Fields = complex_type(real), stencils(real).Strip, wp.tile(dtype=real, shape=(size,))
    Three, Six, Nine = (wp.types.vector(length=n, dtype=real) for n in (3, 6, 9))
    Roots, load, last = wp.array(dtype=Complex), real_row_functions(lines).load, pairs - 1
    value, put_row = tile_access(real, size)
    remote_lines, remote_fields, remote_mbarrier = (
        remote_address(real, lines.size),
        remote_address(real, size),
        remote_address(Mbarrier, resident.mbarriers),
    )
    store_there, by_mbarrier, Mbarriers = (
        remote_store(real),
        mbarrier_functions(resident.mbarriers),
        wp.tile(dtype=Mbarrier, shape=(resident.mbarriers,)),
    )
    initialise, expect, wait = by_mbarrier.initialise, by_mbarrier.expect, by_mbarrier.wait
    first_mbarrier, row_bytes = resident.mbarriers - 2, resident.shape[1] * wp.types.type_size_in_bytes(real)
    south_line, north_line = (pairs, pairs) if halo else (last, 0)  # beside the first pair, and the last one
    south_row, north_row = (0, 2 * pairs + 1) if halo else (2 * last + 1, 0)
    nx, pairs_per_walk = resident.shape[1], resident.pairs_per_walk

    @wp.func
    def row_mbarrier(turn: int):
        return first_mbarrier + turn % 2

    @wp.func
    def begin_cluster(mbarriers: Mbarriers, thread: int):
        if blocks > 1:
            if thread == 0:
                initialise(mbarriers)
            cluster_barrier()

    @wp.func
    def wait_for_rows(mbarriers: Mbarriers, turn: int, rows: int, thread: int):
        barrier()
        if blocks > 1:
            if thread == 0:
                expect(mbarriers, row_mbarrier(turn), rows * row_bytes)
            wait(mbarriers, row_mbarrier(turn), turn)

    @wp.func
    def end_cluster(mbarriers: Mbarriers, turn: int, rows: int, thread: int):
        if blocks > 1:
            if rows > 0:
                wait_for_rows(mbarriers, turn, rows, thread)
            cluster_barrier()

    @wp.func
    def path(walk: int):
        j = walk % nx
        return j, wp.where(j == 0, nx - 1, j - 1), wp.where(j == nx - 1, 0, j + 1), walk // nx * pairs_per_walk

    @wp.func
    def rows_to_lines(fields: Fields, start: int, lines: Tile, roots: Roots, thread: int):
        t = thread % threads
        factors = load_factors(roots, t)
        for which in range(count_of_fields):
            for pair in range(thread // threads, pairs, groups):
                at = start + which * field + (halo + 2 * pair) * pitch + t
                values = Values()
                for e in range(held):
                    values[2 * e] = value(fields, at + here(e))
                    values[2 * e + 1] = value(fields, at + pitch + here(e))
                line = which * stride + pair
                publish(forward(values, lines, factors, line, t), lines, line, t)

    def each_line(transform):
        @wp.func
        def each_line(lines: Tile, first: int, roots: Roots, thread: int):
            t = thread % threads
            factors = load_factors(roots, t)
            for pair in range(thread // threads, pairs, groups):
                line = first + pair
                publish(transform(load(lines, line, t), lines, factors, line, t), lines, line, t)

        return each_line

    @wp.func
    def lines_to_rows(lines: Tile, roots: Roots, mbarriers: Mbarriers, turn: int, rank: int, thread: int):
        t = thread % threads
        factors = load_factors(roots, t)
        for which in range(count_of_fields):
            for pair in range(thread // threads, pairs, groups):
                start = which * stride
                values = inverse(load(lines, start + pair, t), lines, factors, start + pair, t)
                publish(values, lines, start + pair, t)
                # as in `put_in_line`, but with one test for all points: one for each takes 3 % more instructions
                if blocks > 1 and pair == 0:
                    block = (rank + blocks - 1) % blocks
                    there = remote_lines(lines, 2 * (offset(start + north_line) + t), block)
                    mbarrier = remote_mbarrier(mbarriers, row_mbarrier(turn), block)
                    for e in range(held):
                        store_there(there, 2 * here(e), values[2 * e], mbarrier)
                if blocks > 1 and pair == last:
                    block = (rank + 1) % blocks
                    there = remote_lines(lines, 2 * (offset(start + south_line) + t) + 1, block)
                    mbarrier = remote_mbarrier(mbarriers, row_mbarrier(turn), block)
                    for e in range(held):
                        store_there(there, 2 * here(e), values[2 * e + 1], mbarrier)

    @wp.func
    def two_rows(lines: Tile, line: int, west: int, j: int, east: int):
        at_west, at_j, at_east = get(lines, line, west), get(lines, line, j), get(lines, line, east)
        return Six(at_west[1], at_j[1], at_east[1], at_west[0], at_j[0], at_east[0])

    @wp.func
    def line_window(lines: Tile, first: int, pair: int, west: int, j: int, east: int):
        at = two_rows(lines, first + pair, west, j, east)
        below = two_rows(lines, first + wp.where(pair == 0, south_line, pair - 1), west, j, east)
        return Nine(at[0], at[1], at[2], at[3], at[4], at[5], below[0], below[1], below[2])

    @wp.func
    def line_ahead(lines: Tile, first: int, pair: int, west: int, j: int, east: int):
        return two_rows(lines, first + wp.where(pair == last, north_line, pair + 1), west, j, east)

    @wp.func
    def line_strip(a: Nine, ahead: Six):
        return Strip(ahead[3], ahead[4], ahead[5], a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8])

    @wp.func
    def line_next(a: Nine, ahead: Six):
        return Nine(ahead[0], ahead[1], ahead[2], ahead[3], ahead[4], ahead[5], a[0], a[1], a[2])

    @wp.func
    def put_in_line(
        lines: Tile,
        first: int,
        mbarriers: Mbarriers,
        turn: int,
        rank: int,
        pair: int,
        j: int,
        i: real,
        k: real,
    ):
        put(lines, first + pair, j, i, k)
        if blocks > 1 and pair == 0:
            block = (rank + blocks - 1) % blocks
            there = remote_lines(lines, 2 * (offset(first + north_line) + j), block)
            store_there(there, 0, i, remote_mbarrier(mbarriers, row_mbarrier(turn), block))
        if blocks > 1 and pair == last:
            block = (rank + 1) % blocks
            there = remote_lines(lines, 2 * (offset(first + south_line) + j) + 1, block)
            store_there(there, 0, k, remote_mbarrier(mbarriers, row_mbarrier(turn), block))

    @wp.func
    def three(fields: Fields, at: int, west: int, j: int, east: int):
        return Three(value(fields, at + west), value(fields, at + j), value(fields, at + east))

    @wp.func
    def row_window(fields: Fields, start: int, pair: int, west: int, j: int, east: int):
        i = three(fields, start + (halo + 2 * pair) * pitch, west, j, east)
        s = three(fields, start + wp.where(pair == 0, south_row, halo + 2 * pair - 1) * pitch, west, j, east)
        return Six(i[0], i[1], i[2], s[0], s[1], s[2])

    @wp.func
    def row_strip(a: Six, fields: Fields, start: int, pair: int, west: int, j: int, east: int):
        k = three(fields, start + (halo + 2 * pair + 1) * pitch, west, j, east)
        n = three(fields, start + wp.where(pair == last, north_row, halo + 2 * pair + 2) * pitch, west, j, east)
        return Strip(n[0], n[1], n[2], k[0], k[1], k[2], a[0], a[1], a[2], a[3], a[4], a[5])

    @wp.func
    def row_next(a: Strip):
        return Six(a[0], a[1], a[2], a[3], a[4], a[5])

    @wp.func
    def put_rows(
        fields: Fields,
        start: int,
        mbarriers: Mbarriers,
        turn: int,
        rank: int,
        pair: int,
        j: int,
        i: real,
        k: real,
    ):
        at = start + (halo + 2 * pair) * pitch + j
        put_row(fields, at, i)
        put_row(fields, at + pitch, k)
        if blocks > 1 and pair == 0:
            block = (rank + blocks - 1) % blocks
            there = remote_fields(fields, start + north_row * pitch + j, block)
            store_there(there, 0, i, remote_mbarrier(mbarriers, row_mbarrier(turn), block))
        if blocks > 1 and pair == last:
            block = (rank + 1) % blocks
            there = remote_fields(fields, start + south_row * pitch + j, block)
            store_there(there, 0, k, remote_mbarrier(mbarriers, row_mbarrier(turn), block))

    @wp.func
    def get_rows(fields: Fields, start: int, pair: int, j: int):
        at = start + (halo + 2 * pair) * pitch + j
        return value(fields, at), value(fields, at + pitch)

    return types.SimpleNamespace(
        rows_to_lines=rows_to_lines,
        forward_lines=each_line(forward),
        inverse_lines=each_line(inverse),
        lines_to_rows=lines_to_rows,
        begin_cluster=begin_cluster,
        wait_for_rows=wait_for_rows,
        end_cluster=end_cluster,
        path=path,
        line_window=line_window,
        line_ahead=line_ahead,
        line_strip=line_strip,
        line_next=line_next,
        put_in_line=put_in_line,
        row_window=row_window,
        row_strip=row_strip,
        row_next=row_next,
        put_rows=put_rows,
        get_rows=get_rows,
    )
