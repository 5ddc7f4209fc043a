"""The Poisson equation along y, for one wavenumber along x: ``(2 + dy^2 lambda - E - 1/E) psi = dy^2 omega``.

E shifts by one row, periodically. With ``r + 1/r = 2 + dy^2 lambda``, ``0 < r <= 1``, the operator is
``(1 - r/E) (1 - r E) / r``. Two recursions of first order solve it: northwards, ``p_j = omega_j + r p_(j-1)``, and
southwards, ``q_j = p_j + r q_(j+1)``. They take a tenth of the arithmetic of two Fourier transforms.

A thread holds a chunk of consecutive points. It runs the recursion over its chunk from zero. A scan over the threads
then gives the value that enters the chunk (`scan`), and the thread runs the recursion again. The first chunk receives
the value that leaves the last one. Once around the box, r^n of a value is left, so the periodic solution starts from
``total / (1 - r^n)``. The mean over x has r = 1. There the mean over y is subtracted instead, before each recursion and
after both.

**Rounding.** ``p + (omega - (1 - r) p)`` keeps the digits of 1 - r, which is small for long waves. Powers of r are
``exp(m log r)``, with an error of a rounding or two for any m.
"""

import functools
import types
from collections.abc import Callable

import warp as wp

from ..hardware.intrinsics import barrier
from ..hardware.limits import WARP
from ..hardware.numbers import c_name, complex_type
from .columns import Columns

# Reads a register of another thread of the warp.
SHUFFLE = """
#if defined(__CUDA_ARCH__)
  return __shfl{kind}_sync({mask}, x, {lanes}, {width});
#else
  return x;
#endif
"""


@functools.cache
def column_functions(columns: Columns) -> types.SimpleNamespace:
    """Make the functions of columns, which all threads of a block call. c: the column; t: a thread's number in it.

    - ``powers(decay, t)``: the powers of r by which a thread weighs the sums of others. `decay` is -log r.
    - ``northward(values, mode, powers, sums, c, t)`` and ``southward``: the two recursions.
    - ``exclusive``: the two recursions without a point's own value, as in an exclusive scan.
    - ``scans``: ``scan(own, powers, around, sums, c, t)`` for either recursion.
    - ``mean(values, sums, c, t)``: the mean of the column. ``centred(values, sums, c, t)``: the values less their mean.
    """
    ways = False, True
    northward, southward = (_recursion(columns, way) for way in ways)
    return types.SimpleNamespace(
        powers=_powers(columns),
        northward=northward,
        southward=southward,
        exclusive=[_recursion(columns, way, own=False) for way in ways],
        scans=[_scan(columns, way) for way in ways],
        mean=_mean(columns),
        centred=_centred(columns),
    )


def _neighbours(columns: Columns) -> tuple[str, int]:
    """Return the threads of a warp that exchange registers, as a mask, and their number."""
    width = columns.lanes * columns.count
    return "0xffffffffu" if width == WARP else f"{(1 << width) - 1:#x}u << (threadIdx.x & {WARP - width})", width


@functools.cache
def _shift(columns: Columns, southward: bool) -> Callable:
    """``shift(x, places)`` is x of the thread that comes `places` threads earlier in the recursion."""
    real, (mask, width) = columns.real, _neighbours(columns)
    kind = "_down" if southward else "_up"

    @wp.func_native(SHUFFLE.format(kind=kind, mask=mask, lanes=f"{columns.count} * places", width=width))
    def shift(x: real, places: int) -> real: ...

    return shift


@functools.cache
def _last(columns: Columns, southward: bool) -> Callable:
    """``last(x, c)`` is x of the last thread of a column in the recursion, among those of the warp."""
    real, (mask, width) = columns.real, _neighbours(columns)
    lane = 0 if southward else (columns.lanes - 1) * columns.count

    @wp.func_native(SHUFFLE.format(kind="", mask=mask, lanes=f"{lane} + c", width=width))
    def last(x: real, c: int) -> real: ...

    return last


@functools.cache
def _access(columns: Columns) -> tuple[Callable, Callable]:
    """``get(sums, i)`` and ``put(sums, i, value)`` for complex numbers in the tile."""
    Complex, Tile, name = complex_type(columns.real), columns.Tile, c_name(columns.real)

    @wp.func_native(f"const {name}* p = sums.data.ptr + 2 * i; return {{p[0], p[1]}};")
    def get(sums: Tile, i: int) -> Complex: ...

    @wp.func_native(f"{name}* p = sums.data.ptr + 2 * i; p[0] = value[0]; p[1] = value[1];")
    def put(sums: Tile, i: int, value: Complex): ...

    return get, put


@functools.cache
def _threads_before(columns: Columns, southward: bool) -> Callable:
    """``threads_before(t)`` is the number of threads of the column that come earlier in the recursion."""
    threads = columns.threads

    @wp.func
    def threads_before(t: int):
        before = t
        if southward:
            before = threads - 1 - t
        return before

    return threads_before


@functools.cache
def _powers(columns: Columns) -> Callable:
    """``powers(decay, t)``: r^m for the m points of 1, 2, 4, ... `lanes` chunks, and of a thread's earlier chunks.

    The latter are two powers for either recursion: over earlier chunks in the warp, and over earlier lane groups.
    """
    real, held, lanes, Powers = columns.real, columns.values, columns.lanes, columns.Powers
    steps, north, south = lanes.bit_length() - 1, _threads_before(columns, False), _threads_before(columns, True)

    @wp.func
    def power(decay: real, chunks: int):
        return wp.exp(-decay * real(chunks * held))

    @wp.func
    def powers(decay: real, t: int):
        result = Powers()
        for s in range(steps + 1):
            result[s] = power(decay, 1 << s)
        result[steps + 1] = power(decay, north(t) % lanes)
        result[steps + 2] = power(decay, north(t) - north(t) % lanes)
        result[steps + 3] = power(decay, south(t) % lanes)
        result[steps + 4] = power(decay, south(t) - south(t) % lanes)
        return result

    return powers


@functools.cache
def _scan(columns: Columns, southward: bool) -> Callable:
    """``scan(own, powers, around, sums, c, t)``: the values that enter a thread's chunk and leave the last chunk.

    `own` is the value that leaves the chunk if none enters it. The result holds two complex numbers.
    """
    real, count, threads_before = columns.real, columns.count, _threads_before(columns, southward)
    lanes, lane_groups, steps = columns.lanes, columns.lane_groups, columns.lanes.bit_length() - 1
    by_group, by_lane, by_distance = steps, steps + 1 + 2 * southward, steps + 2 + 2 * southward
    Complex, Tile, shift, (get, put) = complex_type(real), columns.Tile, _shift(columns, southward), _access(columns)
    last = _last(columns, southward)
    Powers, Pair, part = columns.Powers, wp.types.vector(length=4, dtype=real), lane_groups * count if southward else 0

    @wp.func
    def scan(own: Complex, powers: Powers, around: real, sums: Tile, c: int, t: int):
        lane = threads_before(t) % lanes
        group = threads_before(t) // lanes
        for s in range(steps):  # own becomes the sum over all chunks up to this one
            d = 1 << s
            weight = wp.where(lane >= d, powers[s], real(0.0))
            own = own + weight * Complex(shift(own[0], d), shift(own[1], d))
        if lane_groups > 1 and lane == lanes - 1:
            put(sums, part + group * count + c, own)
        entering = Complex(shift(own[0], 1), shift(own[1], 1))
        if lane == 0:
            entering = Complex()
        reached = Complex()
        total = Complex()
        if lane_groups == 1:
            total = Complex(last(own[0], c), last(own[1], c))
        else:
            barrier()
            for g in range(lane_groups):
                if g == group:
                    reached = total
                total = powers[by_group] * total + get(sums, part + g * count + c)
        weight = around
        if lane_groups > 1:
            weight = powers[by_distance] * around
        reached += weight * total
        entering += powers[by_lane] * reached
        return Pair(entering[0], entering[1], total[0], total[1])

    return scan


@functools.cache
def _recursion(columns: Columns, southward: bool, own: bool = True) -> Callable:
    real, wide, held, n, threads_before = (
        columns.real,
        columns.wide,
        columns.values,
        columns.n,
        _threads_before(columns, southward),
    )
    Values, Mode, Tile, Complex = columns.Values, columns.Mode, columns.Tile, complex_type(columns.real)
    Powers = columns.Powers
    scan = _scan(columns, southward)
    first, onward = (held - 1, -1) if southward else (0, 1)

    @wp.func
    def recursion(values: Values, mode: Mode, powers: Powers, sums: Tile, c: int, t: int):
        loss = wide(mode[1])
        x = wide(0.0)
        y = wide(0.0)
        for e in range(held):
            i = first + onward * e
            x = x + (wide(values[2 * i]) - loss * x)
            y = y + (wide(values[2 * i + 1]) - loss * y)
        entering = scan(Complex(real(x), real(y)), powers, mode[2], sums, c, t)
        x = wide(entering[0])
        y = wide(entering[1])
        if mode[2] == real(0.0):  # the mean over x
            before = threads_before(t)
            mean_x = wide(entering[2]) / wide(n)
            mean_y = wide(entering[3]) / wide(n)
            x = x - wide(held * before) * mean_x
            y = y - wide(held * before) * mean_y
            for e in range(held):  # nothing is lost yet
                values[2 * e] = real(wide(values[2 * e]) - mean_x)
                values[2 * e + 1] = real(wide(values[2 * e + 1]) - mean_y)
        for e in range(held):
            i = first + onward * e
            next_x = x + (wide(values[2 * i]) - loss * x)
            next_y = y + (wide(values[2 * i + 1]) - loss * y)
            if own:
                values[2 * i] = real(next_x)
                values[2 * i + 1] = real(next_y)
            else:
                values[2 * i] = real(x)
                values[2 * i + 1] = real(y)
            x = next_x
            y = next_y
        return values

    return recursion


@functools.cache
def _mean(columns: Columns) -> Callable:
    real, wide, held, n = columns.real, columns.wide, columns.values, columns.n
    Values, Tile, Complex, scan = columns.Values, columns.Tile, complex_type(columns.real), _scan(columns, False)
    powers = _powers(columns)

    @wp.func
    def mean(values: Values, sums: Tile, c: int, t: int):
        x = wide(0.0)
        y = wide(0.0)
        for e in range(held):
            x = x + wide(values[2 * e])
            y = y + wide(values[2 * e + 1])
        total = scan(Complex(real(x), real(y)), powers(real(0.0), t), real(0.0), sums, c, t)
        return Complex(total[2] / real(n), total[3] / real(n))

    return mean


@functools.cache
def _centred(columns: Columns) -> Callable:
    held, mean, Values, Tile = columns.values, _mean(columns), columns.Values, columns.Tile

    @wp.func
    def centred(values: Values, sums: Tile, c: int, t: int):
        less = mean(values, sums, c, t)
        for e in range(held):
            values[2 * e] -= less[0]
            values[2 * e + 1] -= less[1]
        return values

    return centred
