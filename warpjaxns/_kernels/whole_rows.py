"""Transforms and neighbourhoods where blocks hold a whole member (`whole` says how)."""

import functools
import types

import warp as wp

from . import memory
from .clusters import Gates, far, gate_functions, meet, send
from .fft import barrier, complex_type, line_functions
from .pairs import pair_functions
from .stencils import stencils
from .whole import Whole


@functools.cache
def whole_functions(whole: Whole) -> types.SimpleNamespace:
    """What kernels that hold a whole member are made of. `rank`: of a block among those that share one.

    By all threads of a block:

    - ``rows_to_lines(fields, start, lines, roots, thread)``: spectra of the rows of the fields from `start` on.
    - ``lines_back(lines, roots, gates, turn, rank, thread)``: spectra back to rows.
    - ``forward_lines(lines, first, roots, thread)`` and ``inverse_lines(lines, first, roots, thread)``: the same of one
        field in the lines from `first` on, in place, and not for neighbours.
    - ``gather(gates, turn, rows, thread)``: they wait for each other, and for so many rows of neighbours, before these
        are read. `turn` counts how often that was done before; whoever sends a row says in which turn it is needed.
    - ``begin(gates, thread)`` and ``end(gates, turn, rows, thread)``: blocks that share a member wait until all are
        there, and until nothing is on its way any more, the last rows included; one that is alone does not wait.

    Points are shared out otherwise than for transforms: a thread walks up a column, j, with those west and east of it,
    w and o, and reads every number once. ``path(walk)`` has j, w, o and the row pair at which a walk begins. Of a field
    in the lines from `first` on:

    - ``line_window(lines, first, pair, w, j, o)``: the rows of the pair it begins at, and the one south of them.
    - ``line_ahead(lines, first, pair, w, j, o)``: the next two.
    - ``line_strip(window, ahead)``: the four rows around a pair, as `stencils` has them.
    - ``line_next(window, ahead)``: the window of the next pair.
    - ``to_line(lines, first, gates, turn, rank, pair, j, i, k)``: its rows, i and k, at j.

    Of a field in rows, which starts there:

    - ``row_window(fields, start, pair, w, j, o)``: the pair's southern row, and the one south of it.
    - ``row_strip(window, fields, start, pair, w, j, o)``, and ``row_next(strip)``: the window of the next pair.
    - ``to_rows(fields, start, gates, turn, rank, pair, j, i, k)``, as `to_line`, and back
        ``of_rows(fields, start, pair, j)``.

    What is put at the edge of a block goes to the neighbour as well.
    """
    lines, real, size, pairs = whole.lines, whole.real, whole.size, whole.pairs
    blocks, ring, stride = whole.blocks, whole.ring, whole.stride
    copies, pitch, field, by_line = whole.copies, lines.row_pitch, whole.field, line_functions(lines)
    forward, inverse, publish, get, put = by_line.forward, by_line.inverse, by_line.publish, by_line.get, by_line.put
    load_factors, held, threads, groups = by_line.factors, lines.values, lines.threads, lines.groups
    here, place, Values, Tile = by_line.here, by_line.start, lines.Values, lines.Tile
    Complex, Strip, Fields = complex_type(real), stencils(real).Strip, wp.tile(dtype=real, shape=(size,))
    Three, Six, Nine = (wp.types.vector(length=n, dtype=real) for n in (3, 6, 9))
    Roots, of_line, last = wp.array(dtype=Complex), pair_functions(lines).of_line, pairs - 1
    value, put_row = memory.of_tile(real, size), memory.to_tile(real, size)
    far_lines, far_fields, far_gate = far(real, lines.size), far(real, size), far(Gates, whole.gates)
    send_there, by_gate, GateTile = send(real), gate_functions(whole.gates), wp.tile(dtype=Gates, shape=(whole.gates,))
    make, expect, go_through = by_gate.make, by_gate.expect, by_gate.go_through
    first_gate, row_bytes = whole.gates - 2, whole.shape[1] * wp.types.type_size_in_bytes(real)
    south_line, north_line = (pairs, pairs) if ring else (last, 0)  # beside the first pair, and the last one
    south_row, north_row = (0, 2 * pairs + 1) if ring else (2 * last + 1, 0)
    nx, climb = whole.shape[1], whole.climb

    @wp.func
    def row_gate(turn: int):
        return first_gate + turn % 2

    @wp.func
    def begin(gates: GateTile, thread: int):
        if blocks > 1:
            if thread == 0:
                make(gates)
            meet()

    @wp.func
    def gather(gates: GateTile, turn: int, rows: int, thread: int):
        barrier()
        if blocks > 1:
            if thread == 0:
                expect(gates, row_gate(turn), rows * row_bytes)
            go_through(gates, row_gate(turn), turn)

    @wp.func
    def end(gates: GateTile, turn: int, rows: int, thread: int):
        if blocks > 1:
            if rows > 0:
                gather(gates, turn, rows, thread)
            meet()

    @wp.func
    def path(walk: int):
        j = walk % nx
        return j, wp.where(j == 0, nx - 1, j - 1), wp.where(j == nx - 1, 0, j + 1), walk // nx * climb

    @wp.func
    def rows_to_lines(fields: Fields, start: int, lines: Tile, roots: Roots, thread: int):
        t = thread % threads
        factors = load_factors(roots, t)
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                at = start + which * field + (ring + 2 * pair) * pitch + t
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
                publish(transform(of_line(lines, line, t), lines, factors, line, t), lines, line, t)

        return each_line

    @wp.func
    def lines_back(lines: Tile, roots: Roots, gates: GateTile, turn: int, rank: int, thread: int):
        t = thread % threads
        factors = load_factors(roots, t)
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                start = which * stride
                values = inverse(of_line(lines, start + pair, t), lines, factors, start + pair, t)
                publish(values, lines, start + pair, t)
                # as `to_line`, but tested once for all points: a test for each takes 3 % more instructions
                if blocks > 1 and pair == 0:
                    block = (rank + blocks - 1) % blocks
                    there = far_lines(lines, 2 * (place(start + north_line) + t), block)
                    gate = far_gate(gates, row_gate(turn), block)
                    for e in range(held):
                        send_there(there, 2 * here(e), values[2 * e], gate)
                if blocks > 1 and pair == last:
                    block = (rank + 1) % blocks
                    there = far_lines(lines, 2 * (place(start + south_line) + t) + 1, block)
                    gate = far_gate(gates, row_gate(turn), block)
                    for e in range(held):
                        send_there(there, 2 * here(e), values[2 * e + 1], gate)

    @wp.func
    def two_rows(lines: Tile, line: int, w: int, j: int, o: int):
        at_w, at_j, at_o = get(lines, line, w), get(lines, line, j), get(lines, line, o)
        return Six(at_w[1], at_j[1], at_o[1], at_w[0], at_j[0], at_o[0])

    @wp.func
    def line_window(lines: Tile, first: int, pair: int, w: int, j: int, o: int):
        at = two_rows(lines, first + pair, w, j, o)
        below = two_rows(lines, first + wp.where(pair == 0, south_line, pair - 1), w, j, o)
        return Nine(at[0], at[1], at[2], at[3], at[4], at[5], below[0], below[1], below[2])

    @wp.func
    def line_ahead(lines: Tile, first: int, pair: int, w: int, j: int, o: int):
        return two_rows(lines, first + wp.where(pair == last, north_line, pair + 1), w, j, o)

    @wp.func
    def line_strip(a: Nine, ahead: Six):
        return Strip(ahead[3], ahead[4], ahead[5], a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8])

    @wp.func
    def line_next(a: Nine, ahead: Six):
        return Nine(ahead[0], ahead[1], ahead[2], ahead[3], ahead[4], ahead[5], a[0], a[1], a[2])

    @wp.func
    def to_line(
        lines: Tile,
        first: int,
        gates: GateTile,
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
            there = far_lines(lines, 2 * (place(first + north_line) + j), block)
            send_there(there, 0, i, far_gate(gates, row_gate(turn), block))
        if blocks > 1 and pair == last:
            block = (rank + 1) % blocks
            there = far_lines(lines, 2 * (place(first + south_line) + j) + 1, block)
            send_there(there, 0, k, far_gate(gates, row_gate(turn), block))

    @wp.func
    def three(fields: Fields, at: int, w: int, j: int, o: int):
        return Three(value(fields, at + w), value(fields, at + j), value(fields, at + o))

    @wp.func
    def row_window(fields: Fields, start: int, pair: int, w: int, j: int, o: int):
        i = three(fields, start + (ring + 2 * pair) * pitch, w, j, o)
        s = three(fields, start + wp.where(pair == 0, south_row, ring + 2 * pair - 1) * pitch, w, j, o)
        return Six(i[0], i[1], i[2], s[0], s[1], s[2])

    @wp.func
    def row_strip(a: Six, fields: Fields, start: int, pair: int, w: int, j: int, o: int):
        k = three(fields, start + (ring + 2 * pair + 1) * pitch, w, j, o)
        n = three(fields, start + wp.where(pair == last, north_row, ring + 2 * pair + 2) * pitch, w, j, o)
        return Strip(n[0], n[1], n[2], k[0], k[1], k[2], a[0], a[1], a[2], a[3], a[4], a[5])

    @wp.func
    def row_next(a: Strip):
        return Six(a[0], a[1], a[2], a[3], a[4], a[5])

    @wp.func
    def to_rows(
        fields: Fields,
        start: int,
        gates: GateTile,
        turn: int,
        rank: int,
        pair: int,
        j: int,
        i: real,
        k: real,
    ):
        at = start + (ring + 2 * pair) * pitch + j
        put_row(fields, at, i)
        put_row(fields, at + pitch, k)
        if blocks > 1 and pair == 0:
            block = (rank + blocks - 1) % blocks
            there = far_fields(fields, start + north_row * pitch + j, block)
            send_there(there, 0, i, far_gate(gates, row_gate(turn), block))
        if blocks > 1 and pair == last:
            block = (rank + 1) % blocks
            there = far_fields(fields, start + south_row * pitch + j, block)
            send_there(there, 0, k, far_gate(gates, row_gate(turn), block))

    @wp.func
    def of_rows(fields: Fields, start: int, pair: int, j: int):
        at = start + (ring + 2 * pair) * pitch + j
        return value(fields, at), value(fields, at + pitch)

    return types.SimpleNamespace(
        rows_to_lines=rows_to_lines,
        forward_lines=each_line(forward),
        inverse_lines=each_line(inverse),
        lines_back=lines_back,
        begin=begin,
        gather=gather,
        end=end,
        path=path,
        line_window=line_window,
        line_ahead=line_ahead,
        line_strip=line_strip,
        line_next=line_next,
        to_line=to_line,
        row_window=row_window,
        row_strip=row_strip,
        row_next=row_next,
        to_rows=to_rows,
        of_rows=of_rows,
    )
