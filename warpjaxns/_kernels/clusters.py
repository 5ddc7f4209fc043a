"""Blocks that share a member: a cluster, each of which can write to the shared memory of the others.

They do not read there: what a neighbour needs is on its way before it is waited for. Nor do they wait for each other,
but for what they need. It is sent number by number, and at the receiver's end a gate counts the bytes (an mbarrier). A
barrier of the whole cluster would have each thread wait until all it ever wrote is visible everywhere, and the
first-level cache emptied; it is only used before the first number is sent and after the last one has come.

Each gate is there twice, for even and for odd turns: a neighbour may be a turn ahead.
"""

import functools
import types

import warp as wp

from .accesses import EXPECT, FAR, MAKE_GATES, MEET, PASS_GATE, SEND

Gates = wp.uint64


@wp.func_native(MEET)
def meet():
    """All threads of the cluster wait for each other, and see what each has written."""
    ...


@functools.cache
def far(dtype, size: int):
    """``far(tile, i, there)``: where block `there` has the i-th number of the tile of that size."""
    Tile = wp.tile(dtype=dtype, shape=(size,))

    @wp.func_native(FAR)
    def far(tile: Tile, i: int, there: int) -> int: ...

    return far


@functools.cache
def send(real):
    """``send(where, i, value, gate)`` puts a number i places behind `where`, and tells the gate; both by `far`."""
    double = real is wp.float64

    @wp.func_native(SEND.format(type="f64" if double else "f32", constraint="d" if double else "f"))
    def send(where: int, i: int, value: real, gate: int): ...

    return send


@functools.cache
def gate_functions(count: int) -> types.SimpleNamespace:
    """Of a tile of `count` gates:

    - ``make(gates)``, by one thread, before a `meet`.
    - ``expect(gates, which, bytes)``, by one thread in each turn of the gate: how many will come.
    - ``go_through(gates, which, turn)``, by whoever needs them; turn: how many turns there were, of even and odd ones
      together.
    """
    Tile = wp.tile(dtype=Gates, shape=(count,))

    @wp.func_native(MAKE_GATES.format(count=count))
    def make(gates: Tile): ...

    @wp.func_native(EXPECT)
    def expect(gates: Tile, which: int, bytes: int): ...

    @wp.func_native(PASS_GATE)
    def go_through(gates: Tile, which: int, turn: int): ...

    return types.SimpleNamespace(make=make, expect=expect, go_through=go_through)
