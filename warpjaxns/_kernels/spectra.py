"""How spectra come to a block and leave it, with the Poisson equation solved along y in between: by a kernel for whole
columns (`poisson.solve_columns`), or by the blocks themselves (`bands`).
"""

import functools
import types

import warp as wp

from . import memory
from .bands import band_solver
from .fft import line_functions
from .lines import Lines
from .memory import Place, Table
from .pairs import pair_functions
from .plan import Plan
from .rows import row_functions


@functools.cache
def spectra_functions(plan: Plan, lines: Lines, halo: bool = False) -> types.SimpleNamespace:
    """What a block's threads do together, for a field whose lines start at `first`:

    - ``arrive(table, spectrum_at, sums_at, modes, member, band, buffer, first, thread)``: the spectra of a band's rows
      are fetched, with `halo` those of one row more on either side; or they are solved for, if `plan.by_bands`, and a
      barrier has to follow. After `rows.wait` a line's threads ``load(buffer, line, t)`` what they transform back.
    - ``keep(values, buffer, first, pair, t, table, spectrum_at, member, row, wanted)`` for every row pair, then, if
      `plan.by_bands`, a barrier and ``leave(buffer, first, table, spectrum_at, sums_at, modes, member, band, thread)``.
    - ``transform(band, table, field_at, member, row, buffer, first, factors, thread)``: if `plan.again`, before
      ``arrive`` and with a barrier in between. The rows of a band are transformed once more, out of the field.

    ``line(table, place)`` has the modes.
    """
    by_line, by_row, by_band = line_functions(lines), row_functions(plan, lines), band_solver(plan, lines, halo)
    forward, publish, fetch_pair, store = by_line.forward, by_line.publish, by_row.fetch_pair, by_row.store
    ny, rows, by_bands, around, field_pair = plan.shape[0], plan.rows, plan.by_bands, by_row.around, by_row.field_pair
    held, threads, groups, pairs, ring = lines.values, lines.threads, lines.groups, rows // 2, int(halo)
    turns, as_one = lines.turns(pairs), not lines.alone
    Band, Factors = wp.tile(dtype=plan.real, shape=(plan.band_size,)), lines.Factors
    load = pair_functions(lines).of_line if by_bands else by_row.load
    Tile, Values, Mode, solve = lines.Tile, lines.Values, plan.column_chunks.Mode, by_band.solve
    Modes = wp.array(dtype=Mode)

    @wp.func
    def arrive(
        table: Table,
        spectrum_at: Place,
        sums_at: Place,
        modes: Modes,
        member: int,
        band: int,
        buffer: Tile,
        first: int,
        thread: int,
    ):
        if by_bands:
            solve(table, spectrum_at, sums_at, modes, member, band, buffer, first, thread)
        else:
            for pair in range(thread // threads, pairs + ring, groups):
                row = band * rows - ring + 2 * pair
                fetch_pair(table, spectrum_at, member, row, buffer, first + pair, thread % threads)

    @wp.func
    def keep(
        values: Values,
        buffer: Tile,
        first: int,
        pair: int,
        t: int,
        table: Table,
        spectrum_at: Place,
        member: int,
        row: int,
        wanted: bool,
    ):
        if by_bands:
            publish(values, buffer, first + pair, t)
        else:
            store(values, buffer, first + pair, t, table, spectrum_at, member, row, wanted)

    @wp.func
    def transform(
        band: Band,
        table: Table,
        field_at: Place,
        member: int,
        row: int,
        buffer: Tile,
        first: int,
        factors: Factors,
        thread: int,
    ):
        t = thread % threads
        for pair in range(thread // threads, turns, groups):
            values = Values()
            if pair < pairs:
                field = around(table, field_at, member, (row + 2 * pair) % ny, t)
                for e in range(held):
                    z = field_pair(band, field, pair, e, t)
                    values[2 * e] = z[0]
                    values[2 * e + 1] = z[1]
            if pair < pairs or as_one:
                publish(forward(values, buffer, factors, first + pair, t), buffer, first + pair, t)

    return types.SimpleNamespace(
        arrive=arrive, load=load, keep=keep, leave=by_band.leave, transform=transform, line=memory.line(Mode)
    )
