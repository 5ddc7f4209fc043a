"""The Poisson equation ``-Lap(psi) = omega``: rows forward, columns forward, divided and back, rows back."""

import functools

import warp as wp

from .fft import IN_FLIGHT, barrier, complex_type
from .plan import Plan
from .rows import forward_rows, identity_pair, inverse_rows
from .stencils import stencils


@functools.cache
def solve_columns(plan: Plan) -> wp.Kernel:
    """Divide spectra by the eigenvalues of -Lap, in place: FFT down the columns, Green function, inverse FFT."""
    lines, (ny, nx), real, columns = plan.column_lines, plan.shape, plan.real, plan.columns
    forward, inverse, get, put, size = lines.forward, lines.inverse, lines.get, lines.put, lines.size
    Complex = complex_type(real)
    Values = wp.types.vector(length=2 * IN_FLIGHT, dtype=real)
    normalisation = 1.0 / (nx * ny)

    @wp.kernel(module="unique", enable_backward=False, grid_stride=False, launch_bounds=lines.block_dim)
    def solve_columns(
        along_y: wp.array(dtype=real),
        along_x: wp.array(dtype=real),
        roots: wp.array(dtype=Complex),
        spectrum: wp.array3d(dtype=Complex),
    ):
        block, thread = wp.tid()
        wavenumbers = spectrum.shape[2]
        blocks = (wavenumbers + columns - 1) // columns
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
    along_y, along_x, roots_y, _ = tables
    batch, _, wavenumbers = spectrum.shape
    wp.launch_tiled(
        solve_columns(plan),
        dim=[plan.blocks(batch, wavenumbers)],
        inputs=[along_y, along_x, roots_y],
        outputs=[spectrum],
        block_dim=plan.column_lines.block_dim,
    )


def launch_rows(plan: Plan, kernel, batch: int, inputs, outputs, lines=None):
    """Launch a kernel that works on bands of rows."""
    lines = lines or plan.band_lines
    wp.launch_tiled(kernel, dim=[batch * plan.bands], inputs=inputs, outputs=outputs, block_dim=lines.block_dim)


def poisson(plan: Plan, tables, omega, psi, spectrum):
    """``psi = (-Lap)^-1 omega``. `spectrum` is scratch ``(batch, ny, nx//2 + 1)``."""
    roots, no_metric = tables[3], stencils(plan.real).Metric()
    to_spectrum = forward_rows(plan, identity_pair(plan.real))
    launch_rows(plan, to_spectrum, omega.shape[0], [omega, omega, no_metric, roots], [spectrum])
    launch_columns(plan, tables, spectrum)
    launch_rows(plan, inverse_rows(plan), omega.shape[0], [spectrum, roots], [psi])
