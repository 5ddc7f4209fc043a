"""Blocks that share a member: a cluster, each of which can write to the shared memory of the others.

They do not read there: what a neighbour needs is on its way before it is waited for.
"""

import functools
from collections.abc import Callable

import warp as wp

from .accesses import FAR, MEET
from .fft import c_name


@wp.func_native(MEET)
def meet():
    """All threads of the cluster wait for each other, and see what each has written."""
    ...


@functools.cache
def far(real, size: int) -> Callable:
    """``far(tile, there)``: where block `there` has the tile of that size, for `put_far`."""
    Tile = wp.tile(dtype=real, shape=(size,))

    @wp.func_native(FAR)
    def far(tile: Tile, there: int) -> wp.uint64: ...

    return far


@functools.cache
def put_far(real) -> Callable:
    """``put_far(where, i, value)``: the i-th number of a tile of some block."""

    @wp.func_native(f"(({c_name(real)}*)where)[i] = value;")
    def put_far(where: wp.uint64, i: int, value: real): ...

    return put_far
