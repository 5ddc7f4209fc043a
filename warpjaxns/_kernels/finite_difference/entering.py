"""Entering sums: a slab's share from other devices, where a grid is divided (`divided`).

A wavenumber along x has a number at row -1 of the device and one at row m, which decay by r a row. They are those of
all devices less what entered in their place, as if the m rows were periodic. For the mean over x, where r is 1, there
are three real numbers (dp, D, dq), and at row j

    p + dp + (j + 1) D,     mean - D,     q + dq + (m - j) dp + (m (m + 1) - j (j + 1)) / 2 D
"""

import functools

import warp as wp

from ..hardware.address_table import Place, Table
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view
from .plan import Plan


@functools.cache
def entering(plan: Plan):
    """``entering(table, at, rate, member, slab, k)`` is what to add to the two results of `between.between`.

    `at`: ``(batch, 2, half)`` complex numbers, of the south and of the north. Those of the mean are (dp, D) and
    (dq, 0). `rate`: -log r.
    """
    real, half, rows, m = plan.real, plan.half, plan.rows, plan.shape[0] - plan.edges
    Complex, (get, _), row = complex_type(real), complex_access(real), row_view(complex_type(real), (2, half))
    triangle = real(m * (m + 1) / 2)

    @wp.func
    def entering(table: Table, at: Place, rate: real, member: int, slab: int, k: int):
        numbers = row(table, at, member, 0, k)
        before = real(slab * rows)  # rows of the device to the south of the slab
        beyond = real((slab + 1) * rows)
        south = get(numbers, 0)
        north = get(numbers, half)
        if k == 0:
            dp = south[0]
            excess = south[1]
            up = triangle - real(0.5) * beyond * (beyond + real(1.0))
            south = Complex(dp + before * excess, -excess)
            north = Complex(north[0] + (real(m) - beyond) * dp + up * excess, real(0.0))
        else:
            south = wp.exp(-rate * before) * south
            north = wp.exp(-rate * (real(m) - beyond)) * north
        return south, north

    return entering


@functools.cache
def mean_enters(real, parts: int, m: int):
    """``mean_enters(p, mean, q, here)`` is (dp, D, dq) of a slab of m rows, given (p_(-1), mean, q_m) of all."""
    Held, Mean = wp.types.vector(length=parts, dtype=real), wp.types.vector(length=3, dtype=real)
    rows, triangle, by_parts, by_all = real(m), real(m * (m + 1) / 2), real(1 / parts), real(1 / (parts * m))
    over = real(m * m * (m + 1) / 2 - (m - 1) * m * (m + 1) / 6)  # the sum over a slab of (m (m + 1) - j (j + 1)) / 2

    @wp.func
    def mean_enters(p: Held, mean: Held, q: Held, here: int):
        average = real(0.0)
        for d in range(parts):
            average += by_parts * mean[d]
        reached = real(0.0)  # p_(-1), up to a constant
        total = real(0.0)
        sums = Held()  # of p over each slab; alone it has none
        for d in range(parts):
            excess = mean[d] - average
            sums[d] = rows * (reached - p[d]) + triangle * excess
            total += sums[d]
            reached += rows * excess
        mean_p = by_all * total
        result = Mean()
        north = real(0.0)  # q_m
        psi = real(0.0)  # its sum over all rows
        for i in range(parts):
            d = parts - 1 - i
            excess = mean[d] - average
            reached -= rows * excess
            dp = reached - mean_p - p[d]
            dq = north - q[d]
            psi += rows * dq + triangle * dp + over * excess
            north += sums[d] - rows * mean_p
            if d == here:
                result = Mean(dp, excess, dq)
        result[2] = result[2] - by_all * psi
        return result

    return mean_enters
