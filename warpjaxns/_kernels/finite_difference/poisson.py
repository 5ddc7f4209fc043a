"""The Poisson equation ``-Lap(psi) = omega``: transform rows, solve along y, transform back."""

import functools

import warp as wp

from .. import tuning
from ..fft.transforms import line_functions
from ..hardware.address_table import Place, Table, kernel, launch
from ..hardware.copies import wait
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view, vector_view
from .between import between
from .further import member_modes
from .pairs import pair_functions
from .parts import BLOCK, part_sums, solve_parts
from .parts import blocks as blocks_of_parts
from .places import Spectrum, TablePlaces, Tables, spectrum, table_places
from .plan import Plan
from .recursions import column_functions
from .spectra import spectra_functions


@functools.cache
def forward_rows(plan: Plan) -> wp.Kernel:
    """Make the kernel that transforms the rows of a field."""
    lines, real, rows, slabs = plan.slab_lines, plan.real, plan.rows, plan.slabs
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, plan.pairs
    by_line, spectra = line_functions(lines), spectra_functions(plan, lines)
    forward, load_factors, Values, apart = by_line.forward, by_line.factors, lines.Values, lines.rows
    store, leave, modes_view, by_slabs = spectra.store, spectra.leave, spectra.modes, plan.by_slabs
    by_pair, complex_view = pair_functions(plan, lines), vector_view(complex_type(real))
    pair_at, take, screened, modes_of = by_pair.pair_at, by_pair.take, plan.screened, spectra.modes_of

    @kernel(launch_bounds=plan.slab_bounds)
    def forward_rows(
        table: Table,
        # in
        field_at: Place,
        tables: TablePlaces,
        # out
        out: Spectrum,
        # order of blocks
        from_last: int,
        distance: int,
    ):
        roots = complex_view(table, tables.roots)
        modes = modes_view(table, tables.modes)
        index, _ = wp.tid()
        member, slab, thread = locate(index, slabs, from_last)
        if screened:
            modes = modes_of(table, tables.modes, member)
        row = slab * rows
        t = thread % threads
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        factors = load_factors(roots, t)
        synchronise_dependent_launch()
        for pair in range(thread // threads, pairs, groups):
            i = row + apart * pair
            points = pair_at(table, field_at, member, i, t)
            values = Values()
            for e in range(held):
                z = take(points, e)
                values[2 * e] = z[0]
                values[2 * e + 1] = z[1]
            values = forward(values, buffer, factors, pair, t)
            store(values, buffer, 0, pair, roots, t, table, out, member, i, True)
        if by_slabs:
            barrier()
            leave(buffer, 0, table, out, roots, modes, member, slab, thread)

    return forward_rows


@functools.cache
def inverse_rows(plan: Plan) -> wp.Kernel:
    """Make the kernel that transforms spectra back to the rows of psi.

    On the slab of a device, whose lines have one row, a last block has the two rows around it.
    """
    lines, real, rows, slabs = plan.slab_lines, plan.real, plan.rows, plan.slabs
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, plan.pairs
    by_line, by_pair, spectra = line_functions(lines), pair_functions(plan, lines), spectra_functions(plan, lines)
    inverse, load_factors, line_barrier, apart = by_line.inverse, by_line.factors, by_line.barrier, lines.rows
    fetch, load, modes_view, pair_at, give = spectra.fetch, spectra.load, spectra.modes, by_pair.pair_at, by_pair.give
    complex_view, by_slabs = vector_view(complex_type(real)), plan.by_slabs
    screened, modes_of, ny, divided = plan.screened, spectra.modes_of, plan.shape[0], plan.edges > 0
    blocks, solve_edge = slabs + divided, spectra.solve_edge

    @kernel(launch_bounds=plan.slab_bounds)
    def inverse_rows(
        table: Table,
        # in
        given: Spectrum,
        tables: TablePlaces,
        # out
        field_out_at: Place,
        # order of blocks
        from_last: int,
        distance: int,
    ):
        roots = complex_view(table, tables.roots)
        modes = modes_view(table, tables.modes)
        index, _ = wp.tid()
        member, slab, thread = locate(index, blocks, from_last)
        if screened:
            modes = modes_of(table, tables.modes, member)
        row = slab * rows
        t = thread % threads
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        factors = load_factors(roots, t)
        synchronise_dependent_launch()
        if divided:  # noqa: SIM102 (known when the kernel is compiled)
            if slab == slabs:
                for side in range(2):
                    solve_edge(table, given, modes, member, side, buffer, 0, thread)
                    barrier()
                    values = inverse(load(buffer, 0, roots, t), buffer, factors, 0, t)
                    out = pair_at(table, field_out_at, member, ny - 2 + side, t)
                    for e in range(held):
                        give(out, e, values[2 * e], values[2 * e + 1], ny - 2 + side)
                    barrier()
                return
        fetch(table, given, modes, member, slab, buffer, 0, thread)
        wait()
        if by_slabs:
            barrier()
        for pair in range(thread // threads, pairs, groups):
            i = row + apart * pair
            line_barrier()
            values = inverse(load(buffer, pair, roots, t), buffer, factors, pair, t)
            out = pair_at(table, field_out_at, member, i, t)
            for e in range(held):
                give(out, e, values[2 * e], values[2 * e + 1], i)

    return inverse_rows


@functools.cache
def solve_columns(plan: Plan, centre: bool) -> wp.Kernel:
    """Make the kernel that turns the rows' spectra ``(batch, ny, pitch)`` of omega into those of psi, in place.

    Unless `centre`, psi may have a mean, which its derivatives do not see.
    """
    columns, ny, real = plan.column_chunks, plan.shape[0], plan.real
    by_column, size, held = column_functions(columns), columns.size, columns.values
    count, Values = columns.count, columns.Values
    northward, southward, centred, reach = by_column.northward, by_column.southward, by_column.centred, by_column.powers
    Complex, row = complex_type(real), row_view(complex_type(real), (ny, plan.pitch))
    (get_complex, put_complex), modes_view = complex_access(real), vector_view(columns.Mode)
    wavenumbers, pitch, blocks = plan.half, plan.pitch, plan.column_blocks
    screened, modes_of = plan.screened, member_modes(columns.Mode, plan.half)

    @kernel(launch_bounds=plan.bounds(columns))
    def solve_columns(table: Table, modes_at: Place, spectrum_at: Place, from_last: int):
        index, _ = wp.tid()
        member, part, thread = locate(index, blocks, from_last)
        first = part * count
        c = thread % count
        t = thread // count
        k = first + c  # past the last wavenumber there is padding; its solution is discarded
        if screened:
            mode = modes_of(table, modes_at, member)[wp.min(k, wavenumbers - 1)]
        else:
            mode = modes_view(table, modes_at)[wp.min(k, wavenumbers - 1)]
        sums = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        column = row(table, spectrum_at, member, t * held, k)
        powers = reach(mode[0], t)
        values = Values()
        synchronise_dependent_launch()
        for e in range(held):
            value = get_complex(column, pitch * e)
            values[2 * e] = value[0]
            values[2 * e + 1] = value[1]
        # the means over y have no flow, and would grow by 1 / (1 - r); where r is 1 the recursions leave them out
        if screened:  # noqa: SIM102 (known when the kernel is compiled)
            if first == 0:
                less = centred(values, sums, c, t)
                barrier()  # the tile of the sums is free again
                if k == 0:
                    values = less
        values = northward(values, mode, powers, sums, c, t)
        if screened:  # noqa: SIM102
            if first == 0:
                barrier()
                less = centred(values, sums, c, t)
                if k == 0:
                    values = less
        values = southward(values, mode, powers, sums, c, t)
        if centre and first == 0:
            less = centred(values, sums, c, t)
            if k == 0:
                values = less
        for e in range(held):
            put_complex(column, pitch * e, mode[3] * Complex(values[2 * e], values[2 * e + 1]))

    return solve_columns


class Spectra:
    """The spectra of one or more fields, between the kernel that writes them and the one that needs psi.

    The next kernel reads from `ready` and writes to `out`. By columns, `ready` holds the spectra of psi. By slabs it
    holds those of omega, and the sums that enter each slab. `scratch` has the shapes of `Plan.scratch`.
    """

    def __init__(self, plan: Plan, tables: Tables, scratch):
        self.plan, self.tables = plan, tables
        self._sums, spectra = (scratch[0], scratch[1:]) if plan.by_slabs or plan.in_parts else (None, scratch)
        self._out, self._ready = (spectra[0], spectra[-1]) if spectra else (None, None)
        self._from_last = False

    def _fields(self, array):
        count = (array or self._sums).shape[0]
        return [spectrum(array and array[i], self._sums and self._sums[i]) for i in range(count)]

    @property
    def out(self) -> list[Spectrum]:
        """Places to write to, one a field."""
        return self._fields(self._out)

    @property
    def ready(self) -> list[Spectrum]:
        """Places to read from, one a field."""
        return self._fields(self._ready)

    def surround(self, *states):
        """Write the rows around states, before kernels read them. Here there are none: fields are periodic."""

    def begin(self, *fields, centre: bool = False):
        """Transform the rows of the fields and solve along y."""
        self.transform(*fields)
        self.solve(*fields, centre=centre)

    def transform(self, *fields):
        """Transform the rows of the fields."""
        for field, out in zip(fields, self.out, strict=True):
            arguments = [field, table_places(self.tables), out]
            self.launch(self.plan, forward_rows(self.plan), field.shape[0], arguments)

    def solve(self, *states, centre: bool = False):
        """Exchange `out` and `ready`, and solve along y. `centre`: as in `solve_columns`. It may `surround` states."""
        self._out, self._ready = self._ready, self._out
        if self.plan.by_slabs:
            self._launch_columns(between(self.plan, centre), self._sums)
        elif self.plan.in_parts:
            parts = self.plan.of_parts
            self._launch_parts(part_sums(parts))
            self._launch_columns(between(parts, centre), self._sums)
            self._launch_parts(solve_parts(parts))
        else:
            self._launch_columns(solve_columns(self.plan, centre), self._ready, self._next_order())

    def _launch_columns(self, kernel, array, *order):
        blocks, block_dim = self.plan.column_blocks, self.plan.column_chunks.block_dim
        arguments = [self.tables.modes, array.merged, *order]
        launch(kernel, array.table, array.shape[0] * array.shape[1] * blocks, arguments, block_dim)

    def _launch_parts(self, kernel):
        sums, spectrum = self._sums.merged, self._ready.merged
        blocks = spectrum.shape[0] * blocks_of_parts(self.plan.of_parts)
        launch(kernel, sums.table, blocks, [self.tables.modes, sums, spectrum], BLOCK)

    def put_rows(self, fields, ready=None):
        """Transform the spectra in `ready` back, to the rows of psi of each field."""
        kernel, tables, divided = inverse_rows(self.plan), table_places(self.tables), self.plan.edges > 0
        for field, given in zip(fields, ready or self.ready, strict=True):
            self.launch(self.plan, kernel, field.shape[0], [given, tables, field], more=int(divided))

    def launch(self, plan: Plan, kernel, batch: int, arguments, lines=None, more: int = 0):
        """Launch a kernel that works on slabs, with `more` blocks a member than these.

        Its last arguments are the order of blocks (`from_last`), and the distance in blocks of prefetches.
        """
        block_dim, blocks = plan.bounds(lines or plan.slab_lines, plan.occupancy)
        table = self.tables.modes.table
        distance = max(1, int(tuning.PREFETCH_DISTANCE * blocks * table.device.sm_count))  # a CPU counts none
        launch(kernel, table, batch * (plan.slabs + more), [*arguments, self._next_order(), distance], block_dim)

    def _next_order(self) -> int:
        """Return the order of blocks: on a saturated device from first to last and from last to first in turn.

        The last blocks of the previous kernel have left their data in the cache.
        """
        self._from_last = self.plan.saturated and not self._from_last
        return int(self._from_last)


def poisson(plan: Plan, tables: Tables, omega, psi, *scratch):
    """Launch ``psi = (-Lap)^-1 omega``. `scratch`: `Plan.scratch` of `Plan.for_poisson`."""
    plan = plan.for_poisson.on(omega.on_cpu)
    spectra = Spectra(plan, tables, scratch)
    spectra.begin(omega, centre=True)
    spectra.put_rows([psi])
