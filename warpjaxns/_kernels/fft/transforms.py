"""Fast Fourier transforms of lines of complex numbers that threads hold in registers.

This is a Stockham FFT. Each pass multiplies by twiddle factors and applies small DFTs to the numbers of a thread.
Between passes the threads of a line exchange numbers through a buffer in shared memory. The same code (`codelets`) runs
on the CPU, where one thread holds all of a line.
"""

import functools
import types
from collections.abc import Callable

import numpy as np
import warp as wp

from ..hardware.numbers import c_name, complex_type
from ..hardware.views import NUMBER
from .codelets import (
    COMPLEX,
    END,
    FACTORS,
    GIVE,
    IN_PLACE,
    KEPT,
    LOADED,
    MACROS,
    PASS,
    PRESENT,
    PUBLISH,
    READ,
    READ_BUTTERFLIES,
    ROOT,
    TAKE,
    TRANSFORM,
    TWIDDLES,
)
from .lines import Lines


def roots_of_unity(n: int, dtype) -> np.ndarray:
    """Return ``exp(-2 pi i m / n)``, m = 0..n-1, as real and imaginary parts: shape (n, 2), rounded once."""
    pi = np.arctan2(np.longdouble(0), np.longdouble(-1))
    angle = -2 * pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(dtype)


@functools.cache
def line_functions(lines: Lines) -> types.SimpleNamespace:
    """Make the functions of lines. t: a thread's number among those of its line.

    - ``factors(roots, t)``: the twiddle factors of a thread, or their table, as `lines.keep_factors` says.
    - ``forward(values, lines, factors, line, t)``: the transform of a line, by all its threads together. It overwrites
      the line's memory in the buffer, which may still be in use when it is called.
    - ``inverse``: the inverse transform, without its factor 1/n.
    - ``publish(values, lines, line, t)`` writes a line to the buffer, for its own threads to `get`. Threads of other
      lines need a `barrier` first.
    - ``get(lines, line, i)``: the i-th number of a published line as a 2-vector. ``put(lines, line, i, x, y)`` sets it.
    - ``offset(line)``: the complex numbers before a line in the buffer.
    - ``here(e)``: the index of a thread's e-th number, relative to its first. ``west(e, t)`` and ``east(e, t)``: the
      indices of the numbers before and after it, periodic in the line.
    - ``barrier()``: wait for the threads of a line. All threads of a block must call it.
    """
    n, held, threads, real, offset = lines.n, lines.values, lines.threads, lines.real, lines.offset
    Values, Tile, Complex, number = lines.Values, lines.Tile, complex_type(real), NUMBER.format(real=c_name(real))

    Factors = lines.Factors

    if lines.keep_factors:

        @wp.func_native(_native(lines, _factors(lines)))
        def factors(roots: wp.array(dtype=Complex), t: int) -> Factors: ...

    else:

        @wp.func
        def factors(roots: wp.array(dtype=Complex), t: int):
            return roots

    @wp.func_native(_native(lines, PUBLISH.format(**_numbers(lines))))
    def publish(values: Values, lines: Tile, line: int, t: int): ...

    @wp.func_native(f"{number} const Number a = ((const Number*)lines.data.ptr)[{offset} + i]; return {{a.x, a.y}};")
    def get(lines: Tile, line: int, i: int) -> Complex: ...

    @wp.func_native(f"{number} Number p; p.x = x; p.y = y; ((Number*)lines.data.ptr)[{offset} + i] = p;")
    def put(lines: Tile, line: int, i: int, x: real, y: real): ...

    @wp.func_native(f"return {offset};")
    def offset_of(line: int) -> int: ...

    @wp.func_native(_native(lines, "\n  BARRIER\n"))
    def line_barrier(): ...

    @wp.func
    def west(e: int, t: int):
        j = threads * e - 1
        if e == 0 and t == 0:
            j = n - 1
        return j

    @wp.func
    def here(e: int):
        return threads * e

    @wp.func
    def east(e: int, t: int):
        j = threads * e + 1
        if e == held - 1 and t == threads - 1:
            j = -t
        return j

    return types.SimpleNamespace(
        forward=_transform(lines, 1),
        inverse=_transform(lines, -1),
        factors=factors,
        publish=publish,
        get=get,
        put=put,
        offset=offset_of,
        here=here,
        west=west,
        east=east,
        barrier=line_barrier,
    )


def _numbers(lines: Lines) -> dict:
    """Return the sizes of a line, for the native code."""
    return {name: getattr(lines, name) for name in ("n", "threads", "values", "offset")}


def _native(lines: Lines, body: str) -> str:
    macros = MACROS.format(real=c_name(lines.real), padding=lines.padding, barrier=lines.barrier)
    return macros + COMPLEX + body + END


def _twiddled(lines: Lines) -> list[dict]:
    """Return the passes that have twiddle factors, and where a thread's factors are, for the native code."""
    passes, first = [], 0
    for radix, span in lines.passes[1:]:
        given = {"span": span, "stride": lines.points // span // radix, "threads": lines.threads, "first": first}
        given |= {"powers": lines.powers(radix), "count": lines.factors(radix, span)}
        passes.append({"butterflies": lines.butterflies(radix), **given})
        first += given["powers"] * given["count"]
    return passes


def _factors(lines: Lines) -> str:
    load = "".join(FACTORS.format(root=ROOT.format(q="q", **each), **each) for each in _twiddled(lines))
    return f"\n  wp::vec_t<{lines.Factors._length_}, real> result;{load}  return result;\n"


def _transform(lines: Lines, sign: int) -> Callable:
    source = KEPT if lines.keep_factors else LOADED.format(root=ROOT)
    twiddles = "".join(TWIDDLES.format(source=source.format(q="own", **each), **each) for each in _twiddled(lines))
    most = max(radix * lines.butterflies(radix) for radix, _ in lines.passes)
    in_place = most == lines.values
    body = TRANSFORM.format(
        **_numbers(lines),
        sign=sign,
        twiddles=twiddles,
        passes="".join(_pass(lines, number) for number in range(len(lines.passes))),
        take=IN_PLACE if in_place else TAKE.format(most=most),
        give="" if in_place else GIVE,
    )
    Values, Tile, Factors = lines.Values, lines.Tile, lines.Factors

    @wp.func_native(_native(lines, body))
    def transform(values: Values, lines: Tile, factors: Factors, line: int, t: int) -> Values: ...

    return transform


def _pass(lines: Lines, number: int) -> str:
    radix, span = lines.passes[number]
    powers = lines.powers(radix)
    dft = "F::dft(u, RADIX, SIGN);"
    if span > 1:
        if radix & (radix - 1):
            dft = f"F::twiddle(u, w{span}[q], {powers}, RADIX); {dft}"
        else:
            dft = f"F::twiddled_dft(u, w{span}[q], {powers}, RADIX, SIGN);"
    following = lines.passes[number + 1 :]
    read = READ
    if following and not lines.even(following[0][0]):
        read = READ_BUTTERFLIES.format(radix=following[0][0], count=lines.butterflies(following[0][0]))
    present = "" if lines.even(radix) else PRESENT
    return PASS.format(radix=radix, span=span, count=lines.butterflies(radix), present=present, dft=dft, read=read)
