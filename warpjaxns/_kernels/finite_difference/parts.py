"""Long columns, solved in parts: a thread holds some rows of one column, as a block of `slabs` holds those of its slab.

A block has no registers for several columns of more than `tuning.LONGEST_COLUMN` points, and fewer columns would be
less than a sector of memory. So three kernels solve along y. `part_sums` writes the two sums over each part,
`between.between` carries them through all parts, and `solve_parts` solves for the rows of a part.
"""

import functools
import types

import warp as wp

from ..hardware.address_table import Place, Table, kernel
from ..hardware.intrinsics import locate, synchronise_dependent_launch
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view, vector_view
from .further import member_modes
from .plan import Plan

BLOCK = 128  # threads, each of which has a wavenumber
BLOCKS = 4  # that are to share a multiprocessor


@functools.cache
def part_functions(plan: Plan) -> types.SimpleNamespace:
    """Make the functions of a wavenumber's numbers in the rows of a part or slab, in a vector of type ``Held``.

    - ``sums(held, loss, k)``: the two sums of omega that `between.between` takes.
    - ``solve(held, p, q, mode, k)``: psi, given omega and the results of `between.between`.
    """
    real, rows, screened = plan.real, plan.rows, plan.screened
    Complex, Held, Mode = complex_type(real), wp.types.vector(length=2 * rows, dtype=real), plan.column_chunks.Mode

    @wp.func
    def sums(held: Held, loss: real, k: int):
        north = Complex()
        south = Complex()
        weight = real(1.0)
        for j in range(rows):
            x = Complex(held[2 * j], held[2 * j + 1])
            north = north + (x - loss * north)
            south += weight * x
            weight = weight - loss * weight
        if k == 0:  # real numbers, and what `slabs` says
            total = real(0.0)
            moments = Complex()
            over = real(0.0)
            weight = real(1.0)
            away = real(0.0)
            for j in range(rows):
                x_0 = held[2 * j]
                if screened:
                    total += x_0
                    over = over + (x_0 - loss * over)
                    moments += Complex(over, weight * over)
                    weight = weight - loss * weight
                else:
                    moments += Complex(away * x_0, away * away * x_0)
                    away += real(1.0)
            north = Complex(north[0], total)
            south = moments
        return north, south

    @wp.func
    def solve(held: Held, p: Complex, q: Complex, mode: Mode, k: int):
        loss = mode[1]
        if k == 0:  # real numbers: the imaginary part is the mean of omega
            for j in range(rows):
                held[2 * j] -= p[1]
            p[1] = real(0.0)
        for j in range(rows):
            p = Complex(p[0] + (held[2 * j] - loss * p[0]), p[1] + (held[2 * j + 1] - loss * p[1]))
            held[2 * j] = p[0]
            held[2 * j + 1] = p[1]
        if k > 0:
            q = mode[4] * (q + (p - loss * p))
        for i in range(rows):
            j = rows - 1 - i
            q = Complex(held[2 * j], held[2 * j + 1]) + (q - loss * q)
            held[2 * j] = mode[3] * q[0]
            held[2 * j + 1] = mode[3] * q[1]
        return held

    return types.SimpleNamespace(Held=Held, sums=sums, solve=solve)


def blocks(plan: Plan) -> int:
    """Return the blocks of the kernels here, for each member of a plan of parts (`Plan.of_parts`)."""
    return plan.slabs * -(-plan.half // BLOCK)


@functools.cache
def part_sums(plan: Plan) -> wp.Kernel:
    """Make the kernel that writes the sums ``(batch, 2 parts, pitch)`` of the spectra ``(batch, ny, pitch)``."""
    return _kernel(plan, False)


@functools.cache
def solve_parts(plan: Plan) -> wp.Kernel:
    """Make the kernel that turns the spectra of omega into those of psi, in place, given the results of `between`."""
    return _kernel(plan, True)


def _kernel(plan, solves):
    real, rows, half, pitch, count = plan.real, plan.rows, plan.half, plan.pitch, plan.slabs
    by_part, Complex, total, wide = part_functions(plan), complex_type(plan.real), blocks(plan), -(-half // BLOCK)
    Held, sums_of, solve, Mode = by_part.Held, by_part.sums, by_part.solve, plan.column_chunks.Mode
    spectrum, sums_row = row_view(Complex, (plan.shape[0], pitch)), row_view(Complex, (2 * count, pitch))
    (get, put), modes_view = complex_access(real), vector_view(Mode)
    screened, modes_of = plan.screened, member_modes(Mode, half)

    @kernel(launch_bounds=(BLOCK, BLOCKS))
    def part(table: Table, modes_at: Place, sums_at: Place, spectrum_at: Place):
        index, _ = wp.tid()
        member, block, thread = locate(index, total)
        row = block // wide * rows
        first = block % wide * BLOCK
        modes = modes_view(table, modes_at)
        if screened:
            modes = modes_of(table, modes_at, member)
        synchronise_dependent_launch()
        for k in range(first + thread, wp.min(first + BLOCK, half), wp.block_dim()):
            mode = modes[k]
            column = spectrum(table, spectrum_at, member, row, k)
            sums = sums_row(table, sums_at, member, 2 * (row // rows), k)
            held = Held()
            for j in range(rows):
                z = get(column, pitch * j)
                held[2 * j] = z[0]
                held[2 * j + 1] = z[1]
            if solves:
                held = solve(held, get(sums, 0), get(sums, pitch), mode, k)
                for j in range(rows):
                    put(column, pitch * j, Complex(held[2 * j], held[2 * j + 1]))
            else:
                north, south = sums_of(held, mode[1], k)
                put(sums, 0, north)
                put(sums, pitch, south)

    return part
