"""Rows of real fields to and from their spectra.

Two real rows a and b make one complex line a + ib, so one transform serves both:
``2 A[k] = Z[k] + conj Z[n-k]`` and ``2 B[k] = (Z[k] - conj Z[n-k]) / i``. Spectra are ``(batch, ny, pitch)`` complex
numbers, of which the first ``nx//2 + 1`` are used; those of vorticity keep the factor 2, which the solution of the
columns takes out. Rows are taken modulo ny, so that a band may reach over the
edge; what lies past the last row is computed and dropped.

A thread of a line holds the points ``j = t + threads * e``. It sees its rows from its first point (`memory.lane`), and
loops over e are unrolled, so that every address is a constant away from the first.
"""

import functools
import types
from collections.abc import Callable

import warp as wp

from . import memory
from .accesses import ANNOUNCE, FETCH, FETCH_PAIR, WAIT
from .fft import c_name, complex_type, line_functions
from .lines import Lines
from .memory import Place, Table
from .plan import Plan
from .stencils import stencils, tile_strip


@functools.cache
def row_functions(plan: Plan, lines: Lines) -> types.SimpleNamespace:
    """What kernels that work on row pairs are made of.

    - ``fetch_pair`` starts to copy the spectra of a row pair to the place of a line; when they are there, ``load``
      makes of them what a thread holds. ``store``: back to spectra.
    - ``field_strip``: four rows of a field around a thread's e-th points of a row pair, as `stencils` has them: out of
      the band where the plan has one, else out of the rows in memory, those ``around`` the pair. ``psi_strip`` has the
      same of psi out of a published line and the next one. ``field_pair``: only the points themselves, two numbers.
    - ``present``: whether a row of a band is one of the grid.
    """
    (ny, nx), half, real = plan.shape, plan.half, plan.real
    by_line, held, threads = line_functions(lines), lines.values, lines.threads
    get, publish = by_line.get, by_line.publish
    Complex, Tile, Values, kit = complex_type(real), lines.Tile, lines.Values, stencils(real)
    Strip, Rows, strip, of_band, at = kit.Strip, kit.Rows, kit.strip, band_functions(plan), memory.at(real)
    band_strip, band_pair = of_band.strip, of_band.pair
    Band = wp.tile(dtype=real, shape=(plan.band_size,))
    field, spectrum = memory.lane(real, (ny, nx)), memory.lane(Complex, (ny, plan.pitch))
    second, (_, set_number) = lines.half_spectrum, memory.numbers(real)
    west, here, east = by_line.west, by_line.here, by_line.east
    whole, kept, sure = ny % plan.rows == 0, (half - 1) // threads + 1, half // threads

    @wp.func
    def around(table: Table, place: Place, member: int, i: int, t: int):
        rows = Rows()
        rows.below = field(table, place, member, wp.where(i == 0, ny - 1, i - 1), t)
        rows.here = field(table, place, member, i, t)
        rows.above = field(table, place, member, (i + 1) % ny, t)
        rows.beyond = field(table, place, member, (i + 2) % ny, t)
        return rows

    @wp.func
    def present(row: int):
        return whole or row < ny

    @wp.func
    def mirrored(e: int, t: int):
        """Whether a thread's e-th wavenumber is beyond the half that is kept."""
        beyond = 2 * e >= held
        if 2 * e + 1 == held:
            beyond = 2 * (t + threads * e) > nx
        return beyond

    @wp.func_native(
        FETCH_PAIR.format(half=lines.half_spectrum, threads=threads, padded=lines.padded, real=c_name(real))
    )
    def fetch_lines(a: wp.array(dtype=Complex), b: wp.array(dtype=Complex), lines: Tile, line: int, t: int): ...

    @wp.func
    def fetch_pair(table: Table, place: Place, member: int, row: int, buffer: Tile, line: int, t: int):
        i = (row + ny) % ny
        k = wp.where(i == ny - 1, 0, i + 1)
        a = spectrum(table, place, member, i, 0)
        b = spectrum(table, place, member, k, 0)
        fetch_lines(a, b, buffer, line, t)

    @wp.func
    def load(buffer: Tile, line: int, t: int):
        values = Values()
        for e in range(held):
            n = t + threads * e
            sign = real(1.0)
            if mirrored(e, t):
                n = nx - n
                sign = real(-1.0)
            # spectra of real rows are real at wavenumber 0 and at the last one: drop what rounding left there
            if (e == 0 or 2 * e == held) and t == 0:
                sign = real(0.0)
            p = get(buffer, line, n)
            q = get(buffer, line, n + second)
            values[2 * e] = p[0] - sign * q[1]
            values[2 * e + 1] = sign * p[1] + q[0]
        return values

    @wp.func
    def store(
        values: Values, buffer: Tile, line: int, t: int, table: Table, place: Place, member: int, row: int, wanted: bool
    ):
        """By all threads of a block together, for there is a barrier in it; nothing is written unless `wanted`."""
        publish(values, buffer, line, t)
        if wanted:
            a = spectrum(table, place, member, row, t)
            b = spectrum(table, place, member, row + 1, t)
            for e in range(kept):
                k = t + threads * e
                if e < sure or k < half:
                    mirror = nx - k
                    if e == 0 and t == 0:
                        mirror = 0
                    q = get(buffer, line, mirror)
                    x, y = values[2 * e], values[2 * e + 1]
                    if present(row):
                        set_number(a, here(e), Complex(x + q[0], y - q[1]))
                    if present(row + 1):
                        set_number(b, here(e), Complex(y + q[1], q[0] - x))

    @wp.func
    def psi_strip(buffer: Tile, line: int, e: int, t: int):
        sw = get(buffer, line, t + west(e, t))
        s = get(buffer, line, t + here(e))
        se = get(buffer, line, t + east(e, t))
        nw = get(buffer, line + 1, t + west(e, t))
        n = get(buffer, line + 1, t + here(e))
        ne = get(buffer, line + 1, t + east(e, t))
        return Strip(nw[1], n[1], ne[1], nw[0], n[0], ne[0], sw[1], s[1], se[1], sw[0], s[0], se[0])

    if plan.banded:

        @wp.func
        def field_strip(band: Band, rows: Rows, pair: int, e: int, t: int):
            return band_strip(band, pair, t + west(e, t), t + here(e), t + east(e, t))

        @wp.func
        def field_pair(band: Band, rows: Rows, pair: int, e: int, t: int):
            return band_pair(band, pair, t + here(e))

    else:

        @wp.func
        def field_strip(band: Band, rows: Rows, pair: int, e: int, t: int):
            return strip(rows, west(e, t), here(e), east(e, t))

        @wp.func
        def field_pair(band: Band, rows: Rows, pair: int, e: int, t: int):
            return Complex(at(rows.here, here(e)), at(rows.above, here(e)))

    return types.SimpleNamespace(
        around=around,
        field_strip=field_strip,
        field_pair=field_pair,
        present=present,
        fetch_pair=fetch_pair,
        load=load,
        store=store,
        psi_strip=psi_strip,
    )


@wp.func_native(WAIT)
def wait():
    """Until what the thread has fetched is there; a barrier must follow before others read it."""
    ...


@functools.cache
def fetcher(lines: Lines, shape: tuple[int, int], count: int, pitch: int, size: int) -> Callable:
    """``fetch(rows, start, field, row, thread)`` starts to copy `count` rows of a member to a tile of that size, by the
    threads of a block that are there for such lines."""
    real, threads = lines.real, lines.threads
    ny, nx = shape
    Rows = wp.tile(dtype=real, shape=(size,))

    @wp.func_native(FETCH.format(rows=count, ny=ny, nx=nx, pitch=pitch, threads=threads, real=c_name(real)))
    def fetch(rows: Rows, start: int, field: wp.array(dtype=real), row: int, thread: int): ...

    return fetch


@functools.cache
def announcer(real, shape: tuple[int, int], count: int) -> Callable:
    """``announce(field, row, thread)`` has the second-level cache load `count` rows of a member."""
    ny, nx = shape

    @wp.func_native(ANNOUNCE.format(rows=count, ny=ny, nx=nx, real=c_name(real)))
    def announce(field: wp.array(dtype=real), row: int, thread: int): ...

    return announce


@functools.cache
def band_announcers(plan: Plan) -> tuple[Callable, Callable]:
    """``announce(table, place, block, thread)`` has the second-level cache load what a block reads of a field, and the
    same of spectra, but for rows of its neighbours. Of a block -1, nothing."""
    (ny, nx), pitch, real, bands, rows = plan.shape, plan.pitch, plan.real, plan.bands, plan.rows

    def announcer_of(width):
        lane, announce_rows = memory.lane(real, (ny, width)), announcer(real, (ny, width), rows)

        @wp.func
        def announce(table: Table, place: Place, block: int, thread: int):
            if block >= 0:
                member = block // bands
                announce_rows(lane(table, place, member, 0, 0), (block - member * bands) * rows, thread)

        return announce

    return announcer_of(nx), announcer_of(2 * pitch)


@functools.cache
def band_functions(plan: Plan) -> types.SimpleNamespace:
    """``fetch(band, field, row, thread)`` starts to copy rows of a member into a tile: those of a block and those
    around it, the first being `row`. ``strip`` has the neighbourhoods of a row pair out of it, ``pair`` a point of each
    row; the first pair are rows 1 and 2."""
    pitch, real = plan.row_pitch, plan.real
    Band, strip_of = wp.tile(dtype=real, shape=(plan.band_size,)), tile_strip(real, plan.band_size)
    Complex, value = complex_type(real), memory.of_tile(real, plan.band_size)
    fetch_rows = fetcher(plan.row_lines(1, 1), plan.shape, plan.rows + 2 * plan.margin, pitch, plan.band_size)

    @wp.func
    def fetch(band: Band, field: wp.array(dtype=real), row: int, thread: int):
        fetch_rows(band, 0, field, row, thread)

    @wp.func
    def strip(band: Band, pair: int, west: int, j: int, east: int):
        below = 2 * pair * pitch
        return strip_of(band, below, below + pitch, below + 2 * pitch, below + 3 * pitch, west, j, east)

    @wp.func
    def pair(band: Band, pair: int, j: int):
        at = (2 * pair + 1) * pitch + j
        return Complex(value(band, at), value(band, at + pitch))

    return types.SimpleNamespace(fetch=fetch, strip=strip, pair=pair)
