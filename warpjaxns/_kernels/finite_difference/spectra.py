"""Reading and writing of a block's spectra, with the solve along y between.

A kernel solves full columns (`poisson.solve_columns`), or each block solves for its own rows (`slabs`).
"""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..fft.real_rows import real_row_functions
from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table
from ..hardware.numbers import complex_type
from ..hardware.views import vector_view
from .further import member_modes
from .places import Spectrum
from .plan import Plan
from .rows import row_functions
from .slab_rows import slab_functions
from .slabs import slab_solver


@functools.cache
def spectra_functions(plan: Plan, lines: Lines, halo: bool = False) -> types.SimpleNamespace:
    """Make the functions that a block's threads call together, for a field whose lines start at `first`.

    - ``fetch(table, given, modes, member, slab, buffer, first, thread)`` puts the spectra of psi's rows into the lines,
      with `halo` those of one more row on either side. By columns it starts copies, for which `copies.wait` waits. By
      slabs it solves for psi, and a barrier must follow.
    - ``solve_edge``: as in `slabs`, where there is one.
    - ``load(buffer, line, roots, t)``: a thread's numbers of a line, to be transformed back.
    - ``store(values, buffer, first, pair, roots, t, table, out, member, row, wanted)`` writes the spectra of a line. By
      slabs a barrier must follow the last line, and then ``leave(buffer, first, table, out, roots, modes, member, slab,
      thread)``.
    - ``recompute(slab, table, field_at, member, row, buffer, first, factors, thread)`` transforms the rows of a field
      anew, with `plan.recompute`. A barrier must follow, and then ``fetch``.
    - ``modes(table, place)``: the array of modes. ``modes_of(table, place, member)``: that of a member, if the plan is
      screened.
    """
    by_line, by_row, by_slab = line_functions(lines), row_functions(plan, lines), slab_solver(plan, lines, halo)
    forward, publish, copy_spectra, store_rows = by_line.forward, by_line.publish, by_row.copy_spectra, by_row.store
    ny, rows, pairs, by_slabs, halo_lines = plan.shape[0], plan.rows, plan.pairs, plan.by_slabs, int(halo)
    rows_around, field_pair, Slab = by_row.rows_around, by_row.field_pair, slab_functions(plan).Slab
    held, threads, groups = lines.values, lines.threads, lines.groups
    pairs_in_step, as_one = lines.rounded_up(pairs), not lines.alone
    apart, load_line = lines.rows, real_row_functions(lines).load
    Tile, Values, Factors, solve = lines.Tile, lines.Values, lines.Factors, by_slab.solve
    Modes, Roots = wp.array(dtype=plan.column_chunks.Mode), wp.array(dtype=complex_type(lines.real))

    @wp.func
    def load_solved(buffer: Tile, line: int, roots: Roots, t: int):
        return load_line(buffer, line, t)

    @wp.func
    def fetch(
        table: Table, given: Spectrum, modes: Modes, member: int, slab: int, buffer: Tile, first: int, thread: int
    ):
        if by_slabs:
            solve(table, given, modes, member, slab, buffer, first, thread)
        else:
            for pair in range(thread // threads, pairs + halo_lines, groups):
                row = slab * rows - halo_lines + apart * pair
                copy_spectra(table, given.values, member, row, buffer, first + pair, thread % threads)

    @wp.func
    def store(
        values: Values,
        buffer: Tile,
        first: int,
        pair: int,
        roots: Roots,
        t: int,
        table: Table,
        out: Spectrum,
        member: int,
        row: int,
        wanted: bool,
    ):
        if by_slabs:
            publish(values, buffer, first + pair, t)
        else:
            store_rows(values, buffer, first + pair, roots, t, table, out.values, member, row, wanted)

    @wp.func
    def recompute(
        slab: Slab,
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
        for pair in range(thread // threads, pairs_in_step, groups):
            values = Values()
            if pair < pairs:
                around = rows_around(table, field_at, member, (row + 2 * pair) % ny, t)
                for e in range(held):
                    z = field_pair(slab, around, pair, e, t)
                    values[2 * e] = z[0]
                    values[2 * e + 1] = z[1]
            if pair < pairs or as_one:
                publish(forward(values, buffer, factors, first + pair, t), buffer, first + pair, t)

    modes = vector_view(plan.column_chunks.Mode)
    return types.SimpleNamespace(
        fetch=fetch,
        load=load_solved if by_slabs and not lines.one_row else by_row.load,
        store=store,
        leave=by_slab.leave,
        solve_edge=getattr(by_slab, "solve_edge", None),
        recompute=recompute,
        modes=modes,
        modes_of=member_modes(plan.column_chunks.Mode, plan.half),
    )
