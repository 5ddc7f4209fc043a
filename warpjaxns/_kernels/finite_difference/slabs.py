"""The Poisson equation along y, solved by blocks that hold a slab of rows each, and the sums that pass between them.

For one wavenumber along x, with r and the two `recursions`, psi follows from ``p_j = omega_j + r p_(j-1)``
and ``q_j = p_j + r q_(j+1)``. A block with the rows 0 ... m-1 needs p_(-1) and q_m, sums over all other rows. These
follow from two sums over each slab:

    north = sum_j r^(m-1-j) omega_j        south = sum_j r^j omega_j

So a slab writes two complex numbers for every wavenumber, instead of m. Between two stages a kernel (`between`) carries
them through all slabs of a member, by recursions over the slabs, with R = r^m:

    p_(-1) = sum_s R^(s-1) north_(b-s) / (1 - r^n)
    q_m = (S + r p_(m-1)) / (1 - r^2),    S = sum_s R^(s-1) south_(b+s) / (1 - r^n)

The mean over x has r = 1, and real numbers. There a slab writes its moments ``s_i = sum_j j^i omega_j``, i = 0, 1, 2,
as (s_0, 0) and (s_1, s_2). The means of omega, p and psi are subtracted. Then

- p_(-1) is the sum of s_0 over the slabs to the south;
- q_m is the sum over the slabs to the north of ``sum_j p_j = m p_(-1) + m s_0 - s_1``;
- the mean of psi follows from ``sum_j q_j = m q_m + sum_j (j + 1) p_j``.

With a deformation radius r < 1 there too, but near 1 where the radius is large. So the means of omega and p are still
subtracted, and q_m comes from a second recursion. With p from zero a slab writes ``(north, s_0)`` and ``(sum_j p_j,
sum_j r^j p_j)``.

**Rounding**: as in `recursions`. A value of psi, or of the velocity, is rounded as often as by a Fourier transform.
"""

import functools
import types

import warp as wp

from ..fft.lines import Lines
from ..fft.real_rows import one_row_functions, real_row_functions
from ..fft.transforms import line_functions
from ..hardware.address_table import Table
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view
from .entering import entering
from .parts import part_functions
from .places import Spectrum
from .plan import Plan


@functools.cache
def slab_solver(plan: Plan, lines: Lines, halo: bool) -> types.SimpleNamespace:
    """Make the functions of a block's threads, for a field whose lines start at `first`, two rows a line.

    - ``solve(table, given, modes, member, slab, buffer, first, thread)`` puts the transforms of psi's rows into the
      lines. It reads the results of `between`, and the spectra of omega's rows. With `plan.recompute` these are the
      transforms in the lines. With `halo`, psi has one more row on either side, and row -1 is the first one. A barrier
      must follow.
    - ``solve_edge(table, given, modes, member, side, buffer, first, thread)``, where lines have one row, puts the
      transform of row m (side 0) or -1 of a device's psi into a line. A barrier must follow.
    - ``leave(buffer, first, table, out, roots, modes, member, slab, thread)`` writes the sums of the rows whose
      transforms are in the lines, and unless `plan.recompute` their spectra. A barrier must come before.
    """
    (ny, nx), half, count, pitch, rows = plan.shape, plan.half, plan.slabs, plan.pitch, plan.rows
    real, pairs, block = lines.real, rows // 2, 1 if lines.serial else lines.block_dim
    Complex, Tile, of_row = complex_type(real), lines.Tile, real_row_functions(lines)
    get, split, put_pair, recompute = line_functions(lines).get, of_row.split, of_row.put_pair, plan.recompute
    Modes, Held = wp.array(dtype=plan.column_chunks.Mode), wp.types.vector(length=2 * rows, dtype=real)
    Roots = wp.array(dtype=Complex)
    get_complex, put_complex, screened = *complex_access(real), plan.screened
    spectrum, sums_row = row_view(Complex, (ny, pitch)), row_view(Complex, (2 * count, pitch))
    divided, beyond = plan.edges > 0, entering(plan)

    @wp.func
    def solve(
        table: Table,
        given: Spectrum,
        modes: Modes,
        member: int,
        slab: int,
        buffer: Tile,
        first: int,
        thread: int,
    ):
        for k in range(thread, half, block):
            sums = sums_row(table, given.sums, member, 2 * slab, k)
            p = get_complex(sums, 0)
            q = get_complex(sums, pitch)
            mode = modes[k]
            if divided:
                south, north = beyond(table, given.entering, mode[0], member, slab, k)
                p += south
                q += north
            mirror = wp.where(k == 0, 0, nx - k)
            held = Held()
            if recompute:
                for j in range(pairs):
                    x, y = split(get(buffer, first + j, k), get(buffer, first + j, mirror))
                    held[4 * j] = x[0]
                    held[4 * j + 1] = x[1]
                    held[4 * j + 2] = y[0]
                    held[4 * j + 3] = y[1]
            else:
                column = spectrum(table, given.values, member, slab * rows, k)
                for j in range(rows):
                    z = get_complex(column, pitch * j)
                    held[2 * j] = z[0]
                    held[2 * j + 1] = z[1]
            loss = mode[1]
            if k == 0:  # real numbers: the imaginary part is the mean of omega
                for j in range(rows):
                    held[2 * j] -= p[1]
                p[1] = real(0.0)
            entering = p
            for j in range(rows):
                p = Complex(p[0] + (held[2 * j] - loss * p[0]), p[1] + (held[2 * j + 1] - loss * p[1]))
                held[2 * j] = p[0]
                held[2 * j + 1] = p[1]
            if k > 0:
                q = mode[4] * (q + (p - loss * p))
            north = q  # psi of the row to the north; q and north still lack the factor of psi
            for i in range(pairs):
                j = rows - 1 - 2 * i
                q = Complex(held[2 * j], held[2 * j + 1]) + (q - loss * q)
                if halo:
                    put_pair(buffer, first + pairs - i, k, mirror, mode[3] * q, mode[3] * north)
                north = q
                q = Complex(held[2 * j - 2], held[2 * j - 1]) + (q - loss * q)
                if not halo:
                    put_pair(buffer, first + pairs - 1 - i, k, mirror, mode[3] * q, mode[3] * north)
                north = q
            if halo:
                q = entering + (q - loss * q)
                put_pair(buffer, first, k, mirror, mode[3] * q, mode[3] * north)

    @wp.func
    def leave(
        buffer: Tile,
        first: int,
        table: Table,
        out: Spectrum,
        roots: Roots,
        modes: Modes,
        member: int,
        slab: int,
        thread: int,
    ):
        for k in range(thread, half, block):
            loss = modes[k][1]
            mirror = wp.where(k == 0, 0, nx - k)
            column = spectrum(table, out.values, member, slab * rows, k)
            x, y = split(get(buffer, first, k), get(buffer, first, mirror))
            north = x + (y - loss * x)
            weight = real(1.0) - loss
            south = x + weight * y
            if not recompute:
                put_complex(column, 0, x)
                put_complex(column, pitch, y)
            for j in range(1, pairs):
                x, y = split(get(buffer, first + j, k), get(buffer, first + j, mirror))
                if not recompute:
                    put_complex(column, 2 * j * pitch, x)
                    put_complex(column, 2 * j * pitch + pitch, y)
                north = north + (x - loss * north)
                north = north + (y - loss * north)
                weight = weight - loss * weight
                south += weight * x
                weight = weight - loss * weight
                south += weight * y
            if screened:
                if k == 0:
                    total = real(0.0)
                    moments = Complex()
                    over = real(0.0)
                    weight = real(1.0)
                    for j in range(pairs):
                        z = real(2.0) * get(buffer, first + j, 0)
                        total += z[0] + z[1]
                        over = over + (z[0] - loss * over)
                        moments += Complex(over, weight * over)
                        weight = weight - loss * weight
                        over = over + (z[1] - loss * over)
                        moments += Complex(over, weight * over)
                        weight = weight - loss * weight
                    north = Complex(north[0], total)
                    south = moments
            elif k == 0:
                away = real(0.0)
                moments = Complex()
                for j in range(pairs):
                    z = get(buffer, first + j, 0)
                    moments += real(2.0) * Complex(away * z[0], away * away * z[0])
                    away += real(1.0)
                    moments += real(2.0) * Complex(away * z[1], away * away * z[1])
                    away += real(1.0)
                north = Complex(north[0], real(0.0))
                south = moments
            sums = sums_row(table, out.sums, member, 2 * slab, k)
            put_complex(sums, 0, north)
            put_complex(sums, pitch, south)

    if not lines.one_row:
        return types.SimpleNamespace(solve=solve, leave=leave)
    of_part, wavenumber, put = part_functions(plan), one_row_functions(lines).wavenumber, line_functions(lines).put
    solve_rows, sums_of, m = of_part.solve, of_part.sums, plan.own_rows
    span, above, triangle = real(m), real(m + 1), real(m * (m + 1) / 2)

    @wp.func
    def solve_one(
        table: Table,
        given: Spectrum,
        modes: Modes,
        member: int,
        slab: int,
        buffer: Tile,
        first: int,
        thread: int,
    ):
        for k in range(thread, half, block):
            sums = sums_row(table, given.sums, member, 2 * slab, k)
            column = spectrum(table, given.values, member, slab * rows, k)
            p = get_complex(sums, 0)
            q = get_complex(sums, pitch)
            mode = modes[k]
            if divided:
                south, north = beyond(table, given.entering, mode[0], member, slab, k)
                p += south
                q += north
            held = Held()
            for j in range(rows):
                z = get_complex(column, pitch * j)
                held[2 * j] = z[0]
                held[2 * j + 1] = z[1]
            held = solve_rows(held, p, q, mode, k)
            for j in range(rows):
                put(buffer, first + j, k, held[2 * j], held[2 * j + 1])

    @wp.func
    def solve_edge(
        table: Table,
        given: Spectrum,
        modes: Modes,
        member: int,
        side: int,
        buffer: Tile,
        first: int,
        thread: int,
    ):
        for k in range(thread, half, block):
            mode = modes[k]
            p = get_complex(sums_row(table, given.sums, member, 0, k), 0)
            q = get_complex(sums_row(table, given.sums, member, 2 * count - 1, k), 0)
            south, _north = beyond(table, given.entering, mode[0], member, 0, k)
            _south, north = beyond(table, given.entering, mode[0], member, count - 1, k)
            # alone the m rows are periodic, so that p and q are the same at either end
            through = wp.exp(-mode[0] * span)
            p_last = p + through * south
            q_first = q + through * north
            z = q + north + (p_last - mode[1] * p_last)
            if side == 1:
                z = p + south + (q_first - mode[1] * q_first)
            z = mode[4] * z
            if k == 0:  # as in `entering`, whose numbers for the slab's rows -1 and m are (dp, -D) and dq
                mean = q[0] + north[0]
                if side == 1:
                    mean += p[0] + above * south[0] - triangle * south[1]
                z = Complex(mean, real(0.0))
            put(buffer, first, k, mode[3] * z[0], mode[3] * z[1])

    @wp.func
    def leave_one(
        buffer: Tile,
        first: int,
        table: Table,
        out: Spectrum,
        roots: Roots,
        modes: Modes,
        member: int,
        slab: int,
        thread: int,
    ):
        for k in range(thread, half, block):
            column = spectrum(table, out.values, member, slab * rows, k)
            held = Held()
            for j in range(rows):
                z = wavenumber(buffer, first + j, roots, k)
                put_complex(column, pitch * j, z)
                held[2 * j] = z[0]
                held[2 * j + 1] = z[1]
            north, south = sums_of(held, modes[k][1], k)
            sums = sums_row(table, out.sums, member, 2 * slab, k)
            put_complex(sums, 0, north)
            put_complex(sums, pitch, south)

    return types.SimpleNamespace(solve=solve_one, solve_edge=solve_edge, leave=leave_one)
