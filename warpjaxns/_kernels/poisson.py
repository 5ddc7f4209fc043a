"""The Poisson equation ``-Lap(psi) = omega``: rows forward, columns forward, divided and back, rows back."""

import functools

import warp as wp

from . import memory
from .fft import complex_type, fast_quotient
from .memory import Place, Table, launch
from .plan import Plan
from .rows import forward_rows, inverse_rows


@functools.cache
def solve_columns(plan: Plan) -> wp.Kernel:
    """Divide spectra ``(batch, ny, pitch)`` by the eigenvalues of -Lap, in place: FFT down the columns, Green
    function, inverse FFT."""
    lines, (ny, nx), real, columns = plan.column_lines, plan.shape, plan.real, plan.columns
    forward, inverse, size, held, threads = lines.forward, lines.inverse, lines.size, lines.values, lines.threads
    Complex, Values = complex_type(real), lines.Values
    normalisation = 1.0 / (nx * ny)
    line, complex_line = memory.line(real), memory.line(Complex)
    spectrum = memory.lane(Complex, (ny, plan.pitch))
    (number, set_number), quotient = memory.numbers(real), fast_quotient(real)
    wavenumbers, pitch = plan.half, plan.pitch
    blocks = column_blocks(plan)

    @memory.kernel(launch_bounds=plan.bounds(lines))
    def solve_columns(table: Table, along_y_at: Place, along_x_at: Place, roots_at: Place, spectrum_at: Place):
        along_y = line(table, along_y_at)
        roots = complex_line(table, roots_at)
        block, thread = wp.tid()
        member = block // blocks
        c = thread % columns
        t = thread // columns
        k = (block - member * blocks) * columns + c  # what lies past the last wavenumber is solved for nobody
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        column = spectrum(table, spectrum_at, member, t, k)
        values = Values()
        for e in range(held):
            value = number(column, threads * pitch * e)
            values[2 * e] = value[0]
            values[2 * e + 1] = value[1]
        eigenvalue = line(table, along_x_at)[wp.min(k, wavenumbers - 1)]
        values = forward(values, buffer, roots, c, t)
        for e in range(held):
            green = quotient(real(normalisation), along_y[t + threads * e] + eigenvalue)
            if e == 0 and t == 0 and k == 0:
                green = real(0.0)  # the mean of psi is zero
            values[2 * e] *= green
            values[2 * e + 1] *= green
        values = inverse(values, buffer, roots, c, t)
        for e in range(held):
            set_number(column, threads * pitch * e, Complex(values[2 * e], values[2 * e + 1]))

    return solve_columns


def column_blocks(plan: Plan) -> int:
    """Blocks that share the columns of a member."""
    return -(-plan.half // plan.columns)


def launch_columns(plan: Plan, tables, spectrum):
    """Solve the spectra in place. `tables`: eigenvalues along y and x, roots of unity along y and x."""
    along_y, along_x, roots_y, _ = tables
    blocks = spectrum.shape[0] * column_blocks(plan)
    launch(solve_columns(plan), blocks, [along_y, along_x, roots_y, spectrum], plan.column_lines.block_dim)


def launch_rows(plan: Plan, kernel, batch: int, arguments, lines=None):
    """Launch a kernel that works on bands of rows."""
    launch(kernel, batch * plan.bands, arguments, (lines or plan.band_lines).block_dim)


def poisson(plan: Plan, tables, omega, psi, spectrum):
    """``psi = (-Lap)^-1 omega``. `spectrum` is scratch ``(batch, ny, pitch)``."""
    plan = plan.on(omega.on_cpu)
    batch, roots = omega.shape[0], tables[3]
    launch_rows(plan, forward_rows(plan), batch, [omega, roots, spectrum])
    launch_columns(plan, tables, spectrum)
    launch_rows(plan, inverse_rows(plan), batch, [spectrum, roots, psi])
