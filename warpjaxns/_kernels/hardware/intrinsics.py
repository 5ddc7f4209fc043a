"""Intrinsics: which thread and block this is, barriers, and programmatic dependent launch.

Each has a branch for the CPU, where a block is one thread.
"""

import warp as wp


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return from_last ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
#else
  return index;
#endif
""")
def block_index(index: int, from_last: int) -> int:
    """Return the block's number, given what `wp.tid` says: Warp divides 64-bit numbers for it, which CUDA knows.

    Blocks start one after the other. With `from_last` the one that starts first has the last number.
    """
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  const int block = blockIdx.x + ahead;
  return block >= gridDim.x ? -1 : from_last ? gridDim.x - 1 - block : block;
#else
  return -1;
#endif
""")
def later_block(ahead: int, from_last: int) -> int:
    """Return the number of the block that starts `ahead` places later; -1 where there is none."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return threadIdx.x;
#else
  return 0;
#endif
""")
def thread_index() -> int:
    """Return the thread's number in its block."""
    ...


@wp.func
def locate(index: int, parts: int, from_last: int = 0):
    """Return the member that a block works for, which of the member's `parts` it has, and the thread.

    `index` is the block's, by `wp.tid`.
    """
    block = block_index(index, from_last)
    member = block // parts
    return member, block - member * parts, thread_index()


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __syncthreads();
#endif
""")
def barrier():
    """Wait for all threads of the block."""
    ...


@wp.func_native("""
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
""")
def synchronise_dependent_launch():
    """Wait for the previous kernel of the graph, and let the next one start.

    From here on what the previous kernel wrote may be read, and what it reads may be written. What came before that
    kernel is there from the start, for it waited likewise.
    """
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal((const void*)address));
  return address;
#else
  return address;
#endif
""")
def in_global_memory(address: wp.uint64) -> wp.uint64:
    """Return the same address, known to the compiler as global memory: accesses are cheaper and can be reordered."""
    ...
