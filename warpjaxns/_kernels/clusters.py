"""Blocks that share a member: a cluster, each of which can read and write the shared memory of the others.

A block alone is a cluster of one, and has nothing but its own.
"""

import functools
from collections.abc import Callable

import warp as wp

from .accesses import FAR, MEET, NUMBER
from .fft import Lines, barrier, c_name, complex_type


@wp.func_native(MEET)
def meet():
    """All threads of the cluster wait for each other, and see what each has written."""
    ...


def barrier_of(blocks: int) -> Callable:
    """The barrier of a cluster of so many blocks."""
    return barrier if blocks == 1 else meet


@functools.cache
def of_block(real, size: int, blocks: int) -> Callable:
    """``of_block(tile, here, there)``: where that block has a tile of that size, for the functions below."""
    Tile = wp.tile(dtype=real, shape=(size,))

    @wp.func_native(FAR if blocks > 1 else "return 0;")
    def of_block(tile: Tile, here: int, there: int) -> wp.uint64: ...

    return of_block


@functools.cache
def line_access(lines: Lines, blocks: int) -> tuple[Callable, Callable]:
    """``get(lines, where, line, i)`` and ``put(lines, where, line, i, value)``: a number of a line of a block."""
    Complex, Tile, number = complex_type(lines.real), lines.Tile, NUMBER.format(real=c_name(lines.real))
    at = f"((Number*){'where' if blocks > 1 else 'lines.data.ptr'})[line * {lines.padded} + i]"

    @wp.func_native(f"{number} const Number a = {at}; return {{a.x, a.y}};")
    def get(lines: Tile, where: wp.uint64, line: int, i: int) -> Complex: ...

    @wp.func_native(f"{number} Number p; p.x = value[0]; p.y = value[1]; {at} = p;")
    def put(lines: Tile, where: wp.uint64, line: int, i: int, value: Complex): ...

    return get, put


@functools.cache
def value_access(real, size: int, blocks: int) -> Callable:
    """``value(fields, where, i)``: a number of a tile of that size of a block."""
    Fields = wp.tile(dtype=real, shape=(size,))

    @wp.func_native(f"return ((const {c_name(real)}*){'where' if blocks > 1 else 'fields.data.ptr'})[i];")
    def value(fields: Fields, where: wp.uint64, i: int) -> real: ...

    return value
