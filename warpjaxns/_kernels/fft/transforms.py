"""Fast Fourier transforms of lines of complex numbers that a group of threads holds in registers.

This is a Stockham FFT: each pass multiplies by twiddle factors and applies small DFTs to what a thread holds; between
passes the group trades numbers through a buffer in shared memory. The same text (`codelets`) runs on the CPU, where the
group is one thread that holds the whole line.
"""

import functools
import types
from collections.abc import Callable

import numpy as np
import warp as wp

from ..hardware.numbers import c_name, complex_type
from ..hardware.views import NUMBER
from .codelets import COMPLEX, END, FACTORS, KEPT, LOADED, MACROS, PASS, PUBLISH, TRANSFORM, TWIDDLES
from .lines import PADDING, Lines


def roots_of_unity(n: int, dtype) -> np.ndarray:
    """``exp(-2 pi i m / n)``, m = 0..n-1, as real and imaginary parts: shape (n, 2), rounded once."""
    pi = np.arctan2(np.longdouble(0), np.longdouble(-1))
    angle = -2 * pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(dtype)


@functools.cache
def line_functions(lines: Lines) -> types.SimpleNamespace:
    """What is done with lines. t: a thread among those of its line.

    - ``factors(roots, t)``: the twiddle factors of a thread, or their table, as `lines.keep` says.
    - ``forward(values, lines, factors, line, t)``: the transform of a line, by all its threads t together. The line's
      place in the buffer is overwritten; what is there may still be in use when this is called.
    - ``inverse``: the same for the inverse transform without its factor 1/n.
    - ``publish(values, lines, line, t)`` writes a line to its place, for its own threads to `get`. Threads of other
      lines must be behind a `barrier`.
    - ``get(lines, line, i)``: the i-th number of a published line as a 2-vector. ``put(lines, line, i, x, y)`` sets it.
    - ``start(line)``: where a line starts in the buffer, in complex numbers.
    - ``here(e)``: a thread's e-th number of a line, counted from its first. ``west(e, t)``: the one before that, around
      the line; ``east(e, t)``: the one after it.
    - ``barrier()``: the threads of a line wait for each other; all threads of a block have to take part.
    """
    n, held, threads, real, place = lines.n, lines.values, lines.threads, lines.real, lines.place
    Values, Tile, Complex, number = lines.Values, lines.Tile, complex_type(real), NUMBER.format(real=c_name(real))

    Factors = lines.Factors

    if lines.keep:

        @wp.func_native(_native(lines, _factors(lines)))
        def factors(roots: wp.array(dtype=Complex), t: int) -> Factors: ...

    else:

        @wp.func
        def factors(roots: wp.array(dtype=Complex), t: int):
            return roots

    @wp.func_native(_native(lines, PUBLISH.format(**_numbers(lines))))
    def publish(values: Values, lines: Tile, line: int, t: int): ...

    @wp.func_native(f"{number} const Number a = ((const Number*)lines.data.ptr)[{place} + i]; return {{a.x, a.y}};")
    def get(lines: Tile, line: int, i: int) -> Complex: ...

    @wp.func_native(f"{number} Number p; p.x = x; p.y = y; ((Number*)lines.data.ptr)[{place} + i] = p;")
    def put(lines: Tile, line: int, i: int, x: real, y: real): ...

    @wp.func_native(f"return {place};")
    def start(line: int) -> int: ...

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
        start=start,
        here=here,
        west=west,
        east=east,
        barrier=line_barrier,
    )


def _numbers(lines: Lines) -> dict:
    """What the native text needs to know."""
    return {name: getattr(lines, name) for name in ("n", "threads", "values", "place")}


def _native(lines: Lines, body: str) -> str:
    macros = MACROS.format(real=c_name(lines.real), padding=PADDING, barrier=lines.barrier)
    return macros + COMPLEX + body + END


def _twiddled(lines: Lines) -> list[dict]:
    """What the native text needs to know of the passes that have twiddle factors, and where those of a thread are."""
    passes, first = [], 0
    for radix, span in lines.passes[1:]:
        count, stride = lines.factors(radix, span), lines.n // span // radix
        passes.append({"radix": radix, "span": span, "count": count, "first": first, "stride": stride})
        first += count
    return passes


def _factors(lines: Lines) -> str:
    load = "".join(FACTORS.format(threads=lines.threads, **each) for each in _twiddled(lines))
    return f"\n  wp::vec_t<{lines.Factors._length_}, real> result;{load}  return result;\n"


def _transform(lines: Lines, sign: int) -> Callable:
    source = KEPT if lines.keep else LOADED
    passes = ""
    twiddles = "".join(TWIDDLES.format(source=source.format(**each), **each) for each in _twiddled(lines))
    for radix, span in lines.passes:
        dft = "F::dft(u, RADIX, SIGN);"
        if span > 1:
            if radix & (radix - 1):
                dft = f"F::twiddle(u, w{span}[q], RADIX); {dft}"
            else:
                dft = f"F::twiddled_dft(u, w{span}[q], RADIX, SIGN);"
        passes += PASS.format(radix=radix, span=span, dft=dft)
    body = TRANSFORM.format(**_numbers(lines), sign=sign, passes=passes, twiddles=twiddles)
    Values, Tile, Factors = lines.Values, lines.Tile, lines.Factors

    @wp.func_native(_native(lines, body))
    def transform(values: Values, lines: Tile, factors: Factors, line: int, t: int) -> Values: ...

    return transform
