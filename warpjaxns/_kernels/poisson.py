"""The Poisson equation ``-Lap(psi) = omega``: rows forward, columns forward, divided and back, rows back."""

import functools

import warp as wp

from . import memory
from .fft import IN_FLIGHT, barrier, complex_type
from .memory import Place, Table, launch
from .plan import Plan
from .rows import forward_rows, identity_pair, inverse_rows
from .stencils import stencils


@functools.cache
def solve_columns(plan: Plan) -> wp.Kernel:
    """Divide spectra ``(batch, ny, nx//2 + 1)`` by the eigenvalues of -Lap, in place: FFT down the columns, Green
    function, inverse FFT."""
    lines, (ny, nx), real, columns = plan.column_lines, plan.shape, plan.real, plan.columns
    forward, inverse, get, put, size = lines.forward, lines.inverse, lines.get, lines.put, lines.size
    Complex = complex_type(real)
    Values = wp.types.vector(length=2 * IN_FLIGHT, dtype=real)
    normalisation = 1.0 / (nx * ny)
    line, complex_line = memory.line(real), memory.line(Complex)
    spectra = memory.stack(Complex, (ny, plan.half))
    wavenumbers = plan.half
    blocks = -(-wavenumbers // columns)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
    def solve_columns(table: Table, along_y_at: Place, along_x_at: Place, roots_at: Place, spectrum_at: Place):
        along_y = line(table, along_y_at)
        along_x = line(table, along_x_at)
        roots = complex_line(table, roots_at)
        spectrum = spectra(table, spectrum_at)
        block, thread = wp.tid()
        member = block // blocks
        first = (block - member * blocks) * columns
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        # Indices are clamped, not tested: a few threads do the last ones twice, and all loads can be in flight.
        for base in range(thread, columns * ny, IN_FLIGHT * wp.block_dim()):
            values = Values()
            for u in range(IN_FLIGHT):
                item = wp.min(base + u * wp.block_dim(), columns * ny - 1)
                i = item // columns
                value = spectrum[member, i, wp.min(first + item - i * columns, wavenumbers - 1)]
                values[2 * u] = value[0]
                values[2 * u + 1] = value[1]
            for u in range(IN_FLIGHT):
                item = wp.min(base + u * wp.block_dim(), columns * ny - 1)
                i = item // columns
                put(buffer, item - i * columns, i, Complex(values[2 * u], values[2 * u + 1]))
        barrier()
        forward(buffer, roots, thread, 0, columns)
        for item in range(thread, columns * ny, wp.block_dim()):
            i = item // columns
            c = item - i * columns
            green = real(0.0)  # the mean of psi is zero
            k = wp.min(first + c, wavenumbers - 1)
            if i + k > 0:
                green = real(normalisation) / (along_y[i] + along_x[k])
            put(buffer, c, i, green * get(buffer, c, i))
        barrier()
        inverse(buffer, roots, thread, 0, columns)
        for item in range(thread, columns * ny, wp.block_dim()):
            i = item // columns
            c = item - i * columns
            if first + c < wavenumbers:
                spectrum[member, i, first + c] = get(buffer, c, i)

    return solve_columns


def launch_columns(plan: Plan, tables, spectrum):
    """Solve the spectra in place. `tables`: eigenvalues along y and x, roots of unity along y and x."""
    along_y, along_x, roots_y, _ = tables
    blocks = spectrum.shape[0] * -(-plan.half // plan.columns)
    launch(solve_columns(plan), blocks, [along_y, along_x, roots_y, spectrum], plan.column_lines.block_dim)


def launch_rows(plan: Plan, kernel, batch: int, arguments, lines=None):
    """Launch a kernel that works on bands of rows."""
    launch(kernel, batch * plan.bands, arguments, (lines or plan.band_lines).block_dim)


def poisson(plan: Plan, tables, omega, psi, spectrum):
    """``psi = (-Lap)^-1 omega``. `spectrum` is scratch ``(batch, ny, nx//2 + 1)``."""
    batch, roots, no_metric = omega.shape[0], tables[3], stencils(plan.real).Metric()
    to_spectrum = forward_rows(plan, identity_pair(plan.real))
    launch_rows(plan, to_spectrum, batch, [omega, omega, no_metric, roots, spectrum])
    launch_columns(plan, tables, spectrum)
    launch_rows(plan, inverse_rows(plan), batch, [spectrum, roots, psi])
