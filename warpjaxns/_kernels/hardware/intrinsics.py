"""Intrinsics: numbers of threads and blocks, barriers, and programmatic dependent launch.

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
    """Return the block's number. `index` is the first result of `wp.tid`, which costs a division on CUDA.

    Blocks start one after the other. With `from_last` the first one to start has the last number.
    """
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  const int block = blockIdx.x + distance;
  return block >= gridDim.x ? -1 : from_last ? gridDim.x - 1 - block : block;
#else
  return -1;
#endif
""")
def later_block(distance: int, from_last: int) -> int:
    """Return the number of the block that starts `distance` blocks later, or -1 where there is none."""
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
    """Return the member of a block, the block's number among the `parts` of that member, and the thread.

    `index`: as in `block_index`.
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
#if defined(__CUDA_ARCH__)
  __syncwarp();
#endif
""")
def warp_barrier():
    """Wait for all threads of the warp."""
    ...


@wp.func_native("""
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
""")
def synchronise_dependent_launch():
    """Wait for the previous kernel of the graph, and let the next one start.

    Only after this call may a kernel read what the previous one wrote, or write what the previous one reads. Older
    results are visible from the start, since the previous kernel has waited for them.
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
