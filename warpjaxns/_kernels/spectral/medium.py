"""Kernels of rows with a medium, by which velocities are multiplied at each point (`_spectral.medium`).

A medium is a complex number at each point: its real part is the resistance r, its imaginary part the topography h, and
``m = r - i h``. Kernels are like those of `rows`. Blocks without a body in any of their rows leave out its transforms.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import warp as wp

from ..fft.transforms import line_functions
from ..hardware.address_table import Buffer, Place, Table, kernel
from ..hardware.intrinsics import synchronise_dependent_launch
from ..hardware.views import complex_access, row_view, vector_view
from .plan import Plan
from .rows import launch_on_rows, row_functions


@functools.cache
def occupied_rows(plan: Plan) -> Callable:
    """``occupied(table, place, first, rows)`` tells whether a block has a row with a medium: one of those from `first`.

    The place has a 1 for each row with a medium, and a 0 for each other one. All threads of a block have the same
    result, so a transform may depend on it.
    """
    ny, groups, real = plan.shape[0], plan.row_lines.groups, plan.real
    flags = row_view(real, (ny, 1))

    @wp.func
    def occupied(table: Table, place: Place, first: int, rows: int):
        total = real(0.0)
        for r in range(groups):
            row = wp.min(first + r, rows - 1)
            flag = flags(table, place, 0, wp.where(place[2] == 1, row % ny, row), 0)
            total += flag[0]
        return total > real(0.0)

    return occupied


@functools.cache
def square_and_resist(plan: Plan) -> wp.Kernel:
    """Make the kernel from a velocity z to ``z^2`` and ``m z``. A block makes both, or one (`Plan.apart`)."""
    (ny, nx), lines, real, Values = plan.shape, plan.row_lines, plan.real, plan.row_lines.Values
    held, threads, size = lines.values, lines.threads, lines.size
    by_line, by_row = line_functions(lines), row_functions(plan)
    share, half, load, store = by_row.share, by_row.half, by_row.load, by_row.store
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    complex_view, at_points = vector_view(plan.complex), row_view(plan.complex, (ny, nx))
    (get_complex, _), occupied = complex_access(real), occupied_rows(plan)

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def square_and_resist(
        table: Table,
        rows: int,
        # in
        medium_at: Place,
        occupied_at: Place,
        roots_at: Place,
        fresh: int,
        z_at: Place,
        # out
        square_at: Place,
        resisted_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        kind, first, line, t = share(index, rows)  # products: 0, the flow's; 1, the medium's
        row = first + line
        wanted = row < rows
        factors = load_factors(complex_view(table, roots_at), t)
        medium = at_points(table, medium_at, 0, wp.where(medium_at[2] == 1, row % ny, row), 0)
        some = kind != 0 and occupied(table, occupied_at, first, rows)
        y = Values()
        if wanted and some:  # it is older than the previous kernel
            for e in range(held):
                number = get_complex(medium, t + threads * e)
                y[2 * e] = number[0]
                y[2 * e + 1] = number[1]
        synchronise_dependent_launch()
        z = Values()
        if some or kind <= 0:
            z = inverse(load(half(table, z_at, 0, row, 0), wanted, t), buffer, factors, line, t)
        for e in range(held):
            zr, zi = z[2 * e], z[2 * e + 1]
            r, h = y[2 * e], y[2 * e + 1]
            z[2 * e] = zr * zr - zi * zi
            z[2 * e + 1] = real(2.0) * zr * zi
            y[2 * e] = r * zr + h * zi
            y[2 * e + 1] = r * zi - h * zr
        if kind <= 0:
            store(forward(z, buffer, factors, line, t), half(table, square_at, 0, row, 0), wanted, t)
        if some:
            y = forward(y, buffer, factors, line, t)
        if some or (kind != 0 and fresh == 1):  # where there is no medium zeros stay
            store(y, half(table, resisted_at, 0, row, 0), wanted, t)

    return square_and_resist


@functools.cache
def pull_back(plan: Plan, by_medium: bool) -> wp.Kernel:
    """Make the kernel of the sweep: ``conj(z) D* q + conj(m) E* q / 2``, from a velocity z and both images of q.

    With `by_medium` it adds ``conj(z) E* q`` to the cotangent of the medium, whose imaginary part is that of h. A block
    makes all of it, or one product (`Plan.apart`), of which the second takes the place of ``E* q``.
    """
    (ny, nx), lines, real, Values = plan.shape, plan.row_lines, plan.real, plan.row_lines.Values
    held, threads, size = lines.values, lines.threads, lines.size
    by_line, by_row = line_functions(lines), row_functions(plan)
    share, half, load, store = by_row.share, by_row.half, by_row.load, by_row.store
    forward, inverse, load_factors = by_line.forward, by_line.inverse, by_line.factors
    complex_view, at_points = vector_view(plan.complex), row_view(plan.complex, (ny, nx))
    (get_complex, put_complex), Complex, occupied = complex_access(real), plan.complex, occupied_rows(plan)

    @kernel(launch_bounds=plan.bounds(lines, plan.rows))
    def pull_back(
        table: Table,
        rows: int,
        # in
        medium_at: Place,
        occupied_at: Place,
        velocity_at: Place,
        roots_at: Place,
        fresh: int,
        # in and out
        lifted_at: Place,
        strain_at: Place,
        cotangent_at: Place,
    ):
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        index, _ = wp.tid()
        kind, first, line, t = share(index, rows)  # products: 0, the flow's; 1, the medium's
        row = first + line
        wanted = row < rows
        factors = load_factors(complex_view(table, roots_at), t)
        medium = at_points(table, medium_at, 0, wp.where(medium_at[2] == 1, row % ny, row), 0)
        cotangent = at_points(table, cotangent_at, 0, row, 0)
        some = kind != 0 and (by_medium or occupied(table, occupied_at, first, rows))
        synchronise_dependent_launch()
        z, s, p = Values(), Values(), Values()
        if by_medium or kind <= 0:
            z = inverse(load(half(table, velocity_at, 0, row, 0), wanted, t), buffer, factors, line, t)
        if kind <= 0:
            s = inverse(load(half(table, strain_at, 0, row, 0), wanted, t), buffer, factors, line, t)
        if some:
            p = inverse(load(half(table, lifted_at, 0, row, 0), wanted, t), buffer, factors, line, t)
        for e in range(held):
            sr, si = s[2 * e], s[2 * e + 1]
            s[2 * e] = z[2 * e] * sr + z[2 * e + 1] * si
            s[2 * e + 1] = z[2 * e] * si - z[2 * e + 1] * sr
        if some and wanted:
            for e in range(held):
                n = t + threads * e
                zr, zi = z[2 * e], z[2 * e + 1]
                pr, pi = p[2 * e], p[2 * e + 1]
                number = get_complex(medium, n)
                r, h = real(0.5) * number[0], real(0.5) * number[1]
                s[2 * e] += r * pr - h * pi
                s[2 * e + 1] += r * pi + h * pr
                if by_medium:
                    total = Complex(zr * pr + zi * pi, zi * pr - zr * pi)
                    if fresh == 0:
                        total += get_complex(cotangent, n)
                    put_complex(cotangent, n, total)
        if some or kind <= 0:
            s = forward(s, buffer, factors, line, t)
        made_at = strain_at
        if kind == 1:
            made_at = lifted_at
        store(s, half(table, made_at, 0, row, 0), wanted, t)

    return pull_back


class Medium(NamedTuple):
    """A medium, ``(batch or 1, ny, nx)``, and the rows where it is not 0, ``(batch or 1, ny)`` (`occupied_rows`)."""

    values: Buffer
    occupied: Buffer


def launch_resist(plan: Plan, roots, medium: Medium, half, square, resisted, fresh: bool):
    """Launch the products of half-transformed velocities. `square` is another array than `half` if `Plan.apart`.

    `fresh`: whether `resisted` has no value yet.
    """
    arguments = [*medium, roots, int(fresh), half, square, resisted]
    launch_on_rows(plan, square_and_resist(plan), half.table, half.shape[0], arguments, 1 + plan.apart)


def launch_pull_back(plan: Plan, roots, medium: Medium, velocity, lifted, strain, by_medium, fresh: bool):
    """Launch the products of the sweep. Their sum takes the place of the strain; if `Plan.apart`, one that of `lifted`.

    `by_medium`: the cotangent of the medium, ``(members, ny, nx)``, or None. `fresh`: whether it has no value yet.
    """
    arguments = [*medium, velocity, roots, int(fresh), lifted, strain, strain if by_medium is None else by_medium]
    kernel = pull_back(plan, by_medium is not None)
    launch_on_rows(plan, kernel, strain.table, strain.shape[0], arguments, 1 + plan.apart)
