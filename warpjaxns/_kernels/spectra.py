"""How spectra come to a block and leave it, with the Poisson equation solved along y in between: by a kernel for whole
columns (`poisson.solve_columns`), or by the blocks themselves (`bands`).
"""

import functools
import types

import warp as wp

from . import memory
from .bands import band_solver
from .fft import Lines
from .memory import Place, Table
from .plan import Plan
from .rows import row_functions


@functools.cache
def spectra_functions(plan: Plan, lines: Lines, halo: bool = False) -> types.SimpleNamespace:
    """What a block's threads do together, for a field whose lines start at `first`:

    - ``arrive(table, spectrum_at, sums_at, member, band, buffer, first, thread)`` has the spectra of a band fetched, with
      `halo` those of one row more on either side. Then `rows.wait`, and where `plan.by_bands` a barrier,
      ``solve(modes, buffer, first, thread)`` and another barrier.
    - ``keep(values, buffer, first, pair, t, table, spectrum_at, member, row, wanted)`` for every row pair, then, where
      `plan.by_bands`, a barrier and ``leave(buffer, first, table, spectrum_at, sums_at, modes, member, band, thread)``.

    ``line(table, place)`` has the modes.
    """
    by_row, rows, by_bands, Mode = row_functions(plan, lines), plan.rows, plan.by_bands, plan.column_chunks.Mode
    fetch_pair, fetch_sums, store, publish = by_row.fetch_pair, by_row.fetch_sums, by_row.store, lines.publish
    threads, groups, pairs, ring, Tile, Values = lines.threads, lines.groups, rows // 2, int(halo), lines.Tile, lines.Values
    solver = band_solver(plan, lines, halo)

    @wp.func
    def arrive(
        table: Table, spectrum_at: Place, sums_at: Place, member: int, band: int, buffer: Tile, first: int, thread: int
    ):
        t = thread % threads
        if by_bands:
            for pair in range(thread // threads, pairs, groups):
                fetch_pair(table, spectrum_at, member, band * rows + 2 * pair, buffer, first + pair, t)
            if thread // threads == pairs % groups:
                fetch_sums(table, sums_at, member, band, buffer, first + pairs, t)
        else:
            for pair in range(thread // threads, pairs + ring, groups):
                fetch_pair(table, spectrum_at, member, band * rows - ring + 2 * pair, buffer, first + pair, t)

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

    return types.SimpleNamespace(
        arrive=arrive, solve=solver.solve, keep=keep, leave=solver.leave, line=memory.line(Mode)
    )
