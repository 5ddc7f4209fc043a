"""The Poisson equation ``-Lap(psi) = omega``: rows forward, columns solved, rows back."""

import functools

import warp as wp

from . import memory
from .fft import complex_type
from .memory import Place, Table, follow, launch, locate
from .plan import Plan
from .rows import forward_rows, inverse_rows


@functools.cache
def solve_columns(plan: Plan, centre: bool) -> wp.Kernel:
    """Turn the rows' spectra ``(batch, ny, pitch)`` of omega into those of psi, in place. Unless `centre`, psi may have
    a mean, which its derivatives do not see."""
    columns, ny, real = plan.column_chunks, plan.shape[0], plan.real
    northward, southward, centred, size = columns.northward, columns.southward, columns.centred, columns.size
    reach = columns.powers
    held, count, Values = columns.values, columns.count, columns.Values
    Complex, spectrum = complex_type(real), memory.lane(complex_type(real), (ny, plan.pitch))
    (number, set_number), mode_line = memory.numbers(real), memory.line(columns.Mode)
    wavenumbers, pitch, blocks = plan.half, plan.pitch, column_blocks(plan)

    @memory.kernel(launch_bounds=plan.bounds(columns))
    def solve_columns(table: Table, modes_at: Place, spectrum_at: Place):
        index, _ = wp.tid()
        member, part, thread = locate(index, blocks)
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


def column_blocks(plan: Plan) -> int:
    """Blocks that share the columns of a member."""
    return -(-plan.half // plan.columns)


def launch_columns(plan: Plan, tables, spectrum, centre: bool = True):
    """Solve the spectra in place. `tables`: modes of the columns, roots of unity along x. `centre`: `solve_columns`."""
    blocks = spectrum.shape[0] * column_blocks(plan)
    launch(solve_columns(plan, centre), blocks, [tables[0], spectrum], plan.column_chunks.block_dim)


def launch_rows(plan: Plan, kernel, batch: int, arguments, lines=None):
    """Launch a kernel that works on bands of rows."""
    launch(kernel, batch * plan.bands, arguments, (lines or plan.band_lines).block_dim)


def poisson(plan: Plan, tables, omega, psi, spectrum):
    """``psi = (-Lap)^-1 omega``. `spectrum` is scratch ``(batch, ny, pitch)``."""
    plan = plan.on(omega.on_cpu)
    batch, roots = omega.shape[0], tables[1]
    launch_rows(plan, forward_rows(plan), batch, [omega, roots, spectrum])
    launch_columns(plan, tables, spectrum)
    launch_rows(plan, inverse_rows(plan), batch, [spectrum, roots, psi])
