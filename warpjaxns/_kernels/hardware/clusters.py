"""Clusters: blocks that share a member and write to each other's shared memory.

A block does not read a neighbour's memory. It stores there what the neighbour needs. Numbers are stored one by one, and
an mbarrier at the receiver counts their bytes. The receiver waits for these bytes only.

A barrier of the cluster is dearer: each thread waits until all its stores are visible everywhere, and the first-level
cache is emptied. It is used only before the first store and after the last one.

There are two of each mbarrier, for even and for odd turns, since a neighbour may have begun the next turn already.
"""

import functools
import types

import warp as wp

Mbarrier = wp.uint64

_REMOTE_ADDRESS = """
#if __CUDA_ARCH__ >= 900
  unsigned far;
  const unsigned at = (unsigned)__cvta_generic_to_shared(tile.data.ptr + i);
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(far) : "r"(at), "r"(rank));
  return far;
#else
  return 0;
#endif
"""
_STORE_REMOTE = """
#if __CUDA_ARCH__ >= 900
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.{type} [%0], %1, [%2];"
    :: "r"(where + i * (int)sizeof(value)), "{constraint}"(value), "r"(mbarrier) : "memory");
#endif
"""
_INITIALISE = """
#if __CUDA_ARCH__ >= 900
  for (int i = 0; i < {count}; ++i) {{
    const unsigned mbarrier = (unsigned)__cvta_generic_to_shared(mbarriers.data.ptr + i);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(mbarrier) : "memory");
  }}
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
"""
_EXPECT_BYTES = """
#if __CUDA_ARCH__ >= 900
  const unsigned mbarrier = (unsigned)__cvta_generic_to_shared(mbarriers.data.ptr + which);
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(mbarrier), "r"(bytes) : "memory");
#endif
"""
# Turns of two mbarriers alternate, and the phase of each has two parities.
_WAIT = """
#if __CUDA_ARCH__ >= 900
  const unsigned mbarrier = (unsigned)__cvta_generic_to_shared(mbarriers.data.ptr + which);
  unsigned open = 0;
  while (!open)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
      : "=r"(open) : "r"(mbarrier), "r"(turn / 2 % 2) : "memory");
#endif
"""


@wp.func_native("""
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive;" ::: "memory");
  asm volatile("barrier.cluster.wait;" ::: "memory");
#endif
""")
def cluster_barrier():
    """Wait for all threads of the cluster, and make their stores visible."""
    ...


@functools.cache
def remote_address(dtype, size: int):
    """``remote(tile, i, rank)``: the address of the i-th number of that tile in the block of that rank."""
    Tile = wp.tile(dtype=dtype, shape=(size,))

    @wp.func_native(_REMOTE_ADDRESS)
    def remote(tile: Tile, i: int, rank: int) -> int: ...

    return remote


@functools.cache
def remote_store(real):
    """``store(where, i, value, mbarrier)`` puts a number i places behind `where`, and has the mbarrier count it.

    `where` and `mbarrier` are addresses that `remote_address` gave.
    """
    double = real is wp.float64

    @wp.func_native(_STORE_REMOTE.format(type="f64" if double else "f32", constraint="d" if double else "f"))
    def store(where: int, i: int, value: real, mbarrier: int): ...

    return store


@functools.cache
def mbarrier_functions(count: int) -> types.SimpleNamespace:
    """Make the functions of a tile of `count` mbarriers.

    - ``initialise(mbarriers)``: called by one thread, before a `cluster_barrier`.
    - ``expect(mbarriers, which, bytes)``: called by one thread in each turn, with the number of bytes that will come.
    - ``wait(mbarriers, which, turn)``: called by all threads that need these bytes. `turn` counts all turns so far.
    """
    Tile = wp.tile(dtype=Mbarrier, shape=(count,))

    @wp.func_native(_INITIALISE.format(count=count))
    def initialise(mbarriers: Tile): ...

    @wp.func_native(_EXPECT_BYTES)
    def expect(mbarriers: Tile, which: int, bytes: int): ...

    @wp.func_native(_WAIT)
    def wait(mbarriers: Tile, which: int, turn: int): ...

    return types.SimpleNamespace(initialise=initialise, expect=expect, wait=wait)
