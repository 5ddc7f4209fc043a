"""The Poisson equation ``-Lap(psi) = omega``: rows forward, solved along y, rows back."""

import functools

import warp as wp

from . import memory, tuning
from .bands import between
from .fft import barrier, complex_type, line_functions
from .memory import NONE, Place, Table, follow, launch, locate
from .plan import Plan
from .recursions import column_functions
from .rows import row_functions, wait
from .spectra import spectra_functions


@functools.cache
def forward_rows(plan: Plan) -> wp.Kernel:
    """Spectra of the rows of a field."""
    lines, ny, real, rows, bands = plan.band_lines, plan.shape[0], plan.real, plan.rows, plan.bands
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    by_line, spectra = line_functions(lines), spectra_functions(plan, lines)
    forward, load_factors, here, Values = by_line.forward, by_line.factors, by_line.here, lines.Values
    keep, leave, mode_line, by_bands = spectra.keep, spectra.leave, spectra.line, plan.by_bands
    field, line = memory.lane(real, plan.shape), memory.line(complex_type(real))

    @memory.kernel(launch_bounds=plan.bounds(lines))
    def forward_rows(
        table: Table,
        field_at: Place,
        modes_at: Place,
        roots_at: Place,
        spectrum_out_at: Place,
        sums_out_at: Place,
        from_last: int,
        ahead: int,
    ):
        roots = line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, band_index, thread = locate(index, bands, from_last)
        row = band_index * rows
        t = thread % threads
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        factors = load_factors(roots, t)
        follow()
        for pair in range(thread // threads, pairs, groups):
            field_i = field(table, field_at, member, (row + 2 * pair) % ny, t)
            field_k = field(table, field_at, member, (row + 2 * pair + 1) % ny, t)
            values = Values()
            for e in range(held):
                values[2 * e] = field_i[here(e)]
                values[2 * e + 1] = field_k[here(e)]
            values = forward(values, buffer, factors, pair, t)
            keep(values, buffer, 0, pair, t, table, spectrum_out_at, member, row + 2 * pair, True)
        if by_bands:
            barrier()
            leave(buffer, 0, table, spectrum_out_at, sums_out_at, modes, member, band_index, thread)

    return forward_rows


@functools.cache
def inverse_rows(plan: Plan) -> wp.Kernel:
    """Rows of psi."""
    lines, real, rows, bands = plan.band_lines, plan.real, plan.rows, plan.bands
    size, held, threads, groups, pairs = lines.size, lines.values, lines.threads, lines.groups, rows // 2
    by_line, by_row, spectra = line_functions(lines), row_functions(plan, lines), spectra_functions(plan, lines)
    inverse, load_factors, here, line_barrier = by_line.inverse, by_line.factors, by_line.here, by_line.barrier
    arrive, load, mode_line, present = spectra.arrive, spectra.load, spectra.line, by_row.present
    field, line, by_bands = memory.lane(real, plan.shape), memory.line(complex_type(real)), plan.by_bands

    @memory.kernel(launch_bounds=plan.bounds(lines))
    def inverse_rows(
        table: Table,
        spectrum_at: Place,
        sums_at: Place,
        modes_at: Place,
        roots_at: Place,
        field_out_at: Place,
        from_last: int,
        ahead: int,
    ):
        roots = line(table, roots_at)
        modes = mode_line(table, modes_at)
        index, _ = wp.tid()
        member, band_index, thread = locate(index, bands, from_last)
        row = band_index * rows
        t = thread % threads
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        factors = load_factors(roots, t)
        follow()
        arrive(table, spectrum_at, sums_at, modes, member, band_index, buffer, 0, thread)
        wait()
        if by_bands:
            barrier()
        for pair in range(thread // threads, pairs, groups):
            i = row + 2 * pair
            line_barrier()
            values = inverse(load(buffer, pair, t), buffer, factors, pair, t)
            out_i = field(table, field_out_at, member, i, t)
            out_k = field(table, field_out_at, member, i + 1, t)
            for e in range(held):
                if present(i):
                    out_i[here(e)] = values[2 * e]
                if present(i + 1):
                    out_k[here(e)] = values[2 * e + 1]

    return inverse_rows


@functools.cache
def solve_columns(plan: Plan, centre: bool) -> wp.Kernel:
    """Turn the rows' spectra ``(batch, ny, pitch)`` of omega into those of psi, in place. Unless `centre`, psi may have
    a mean, which its derivatives do not see."""
    columns, ny, real = plan.column_chunks, plan.shape[0], plan.real
    by_column, size, held = column_functions(columns), columns.size, columns.values
    count, Values = columns.count, columns.Values
    northward, southward, centred, reach = by_column.northward, by_column.southward, by_column.centred, by_column.powers
    Complex, spectrum = complex_type(real), memory.lane(complex_type(real), (ny, plan.pitch))
    (number, set_number), mode_line = memory.numbers(real), memory.line(columns.Mode)
    wavenumbers, pitch, blocks = plan.half, plan.pitch, plan.column_blocks

    @memory.kernel(launch_bounds=plan.bounds(columns))
    def solve_columns(table: Table, modes_at: Place, spectrum_at: Place, from_last: int):
        index, _ = wp.tid()
        member, part, thread = locate(index, blocks, from_last)
        first = part * count
        c = thread % count
        t = thread // count
        k = first + c  # what lies past the last wavenumber is solved for nobody
        mode = mode_line(table, modes_at)[wp.min(k, wavenumbers - 1)]
        sums = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        column = spectrum(table, spectrum_at, member, t * held, k)
        powers = reach(mode[0], t)
        values = Values()
        follow()
        for e in range(held):
            value = number(column, pitch * e)
            values[2 * e] = value[0]
            values[2 * e + 1] = value[1]
        values = southward(northward(values, mode, powers, sums, c, t), mode, powers, sums, c, t)
        if centre and first == 0:
            less = centred(values, sums, c, t)
            if k == 0:
                values = less
        for e in range(held):
            set_number(column, pitch * e, mode[3] * Complex(values[2 * e], values[2 * e + 1]))

    return solve_columns


class Spectra:
    """The spectra of one or more fields on their way from a kernel that makes rows to the one that needs psi of them.

    For every field in turn, `ready` has the spectra of omega, of psi where columns have a kernel of their own, or NONE
    where rows are transformed again; and what bands need to know of each other. The next kernel writes to `out`.
    `arrays`: `Plan.scratch`.
    """

    def __init__(self, plan: Plan, tables, arrays):
        self.plan, self.tables = plan, tables
        self._sums, spectra = (arrays[0], arrays[1:]) if plan.by_bands else (None, arrays)
        self._out, self._ready = (spectra[0], spectra[-1]) if spectra else (None, None)
        self._from_last = False

    def _fields(self, spectrum):
        fields = range((spectrum or self._sums).shape[0])
        return [array[i] if array else NONE for i in fields for array in (spectrum, self._sums)]

    @property
    def out(self):
        return self._fields(self._out)

    @property
    def ready(self):
        return self._fields(self._ready)

    def begin(self, *fields, centre: bool = False):
        """With the rows of the fields."""
        for which, field in enumerate(fields):
            arguments = [field, *self.tables, *self.out[2 * which : 2 * which + 2]]
            self.launch(self.plan, forward_rows(self.plan), field.shape[0], arguments)
        self.turn(centre)

    def turn(self, centre: bool = False):
        """What was written to `out` is ready, once it is solved along y. `centre`: `solve_columns`."""
        self._out, self._ready = self._ready, self._out
        if self.plan.by_bands:
            kernel, array, way = between(self.plan, centre), self._sums, []
        else:
            kernel, array, way = solve_columns(self.plan, centre), self._ready, [self._way()]
        blocks = array.shape[0] * array.shape[1] * self.plan.column_blocks
        launch(kernel, blocks, [self.tables[0], array.merged, *way], self.plan.column_chunks.block_dim)

    def launch(self, plan: Plan, kernel, batch: int, arguments, lines=None):
        """Launch a kernel that works on bands of rows. Its last arguments: which end it begins at, and how many blocks
        later the block starts whose rows are announced."""
        block_dim, blocks = plan.bounds(lines or plan.band_lines, plan.resident)
        ahead = max(1, int(tuning.AHEAD * blocks * self.tables[0].table.device.sm_count))  # a CPU counts none
        launch(kernel, batch * plan.bands, [*arguments, self._way(), ahead], block_dim)

    def _way(self) -> int:
        """Many points are taken from first to last and from last to first in turn: what the kernel ahead was at last is
        in the cache still."""
        self._from_last = self.plan.many and not self._from_last
        return int(self._from_last)


def poisson(plan: Plan, tables, omega, psi, *scratch):
    """``psi = (-Lap)^-1 omega``. `scratch`: that of `Plan.for_poisson`."""
    plan = plan.for_poisson.on(omega.on_cpu)
    spectra = Spectra(plan, tables, scratch)
    spectra.begin(omega, centre=True)
    spectra.launch(plan, inverse_rows(plan), omega.shape[0], [*spectra.ready, *tables, psi])
