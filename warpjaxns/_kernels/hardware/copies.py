"""Asynchronous copies to shared memory, which run until `wait`, and prefetches to the second-level cache."""

import functools
from collections.abc import Callable

import warp as wp

from .numbers import c_name

# The threads of a line copy a row. Each copies a few chunks of 16 bytes, a fixed distance apart.
_COPY_ROWS = """
  constexpr unsigned ROWS = {rows}, NY = {ny}, NX = {nx}, PITCH = {pitch}, TEAM = {threads};
  constexpr unsigned CHUNK = 16 / sizeof({real}), PER_ROW = NX / CHUNK;
#if __CUDA_ARCH__ >= 800
  if (NX % CHUNK == 0) {{
    const unsigned t = (unsigned)thread % TEAM;
    const unsigned to = (unsigned)__cvta_generic_to_shared(rows.data.ptr + start) + 16 * t;
    for (unsigned r = (unsigned)thread / TEAM; r < ROWS; r += blockDim.x / TEAM) {{
      const unsigned at = to + r * PITCH * sizeof({real});
      const auto* from = field.data + (size_t)((row + NY + r) % NY) * NX + CHUNK * t;
#pragma unroll
      for (unsigned i = 0; i < PER_ROW; i += TEAM)
        if (i + TEAM <= PER_ROW || i + t < PER_ROW) {{
          const auto* chunk = from + CHUNK * i;
          asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(at + 16 * i), "l"(chunk) : "memory");
        }}
    }}
    return;
  }}
#endif
#if defined(__CUDA_ARCH__)
  const unsigned THREADS = blockDim.x;
#else
  const unsigned THREADS = 1;
#endif
  for (unsigned i = thread; i < ROWS * NX; i += THREADS)
    rows.data.ptr[start + i / NX * PITCH + i % NX] = field.data[(size_t)((row + NY + i / NX) % NY) * NX + i % NX];
"""
_PREFETCH_ROWS = """
#if defined(__CUDA_ARCH__)
  constexpr int SECTOR = 128 / sizeof({real});
  const int count = min({rows}, {ny} - row) * {nx} / SECTOR;
  for (int i = thread; i < count; i += blockDim.x)
    asm volatile("prefetch.global.L2 [%0];" :: "l"(field.data + (size_t)row * {nx} + i * SECTOR));
#endif
"""
# The threads of a line copy half spectra, of two rows or of one, to the memory of the line.
COPY_SPECTRA = """
  constexpr int COUNT = 2 * {half} * sizeof({real}) / 16, THREADS = {threads}, ROWS = {rows};
#if defined(__CUDA_ARCH__)
  struct alignas(16) Chunk {{ {real} numbers[16 / sizeof({real})]; }};
#else
  struct Chunk {{ {real} numbers[16 / sizeof({real})]; }};
#endif
  const Chunk* from[2] = {{(const Chunk*)a.data, (const Chunk*)b.data}};
  Chunk* to = (Chunk*)(lines.data.ptr + 2 * {padded} * line);
  for (int r = 0; r < ROWS; ++r)
#if defined(__CUDA_ARCH__)
#pragma unroll 1
#endif
    for (int i = t; i < COUNT; i += THREADS) {{
#if __CUDA_ARCH__ >= 800
      const unsigned at = (unsigned)__cvta_generic_to_shared(to + r * COUNT + i);
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(at), "l"(from[r] + i) : "memory");
#else
      to[r * COUNT + i] = from[r][i];
#endif
    }}
"""


@wp.func_native("""
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
""")
def wait():
    """Wait for the copies that the thread has started. A barrier must follow before others read them."""
    ...


@functools.cache
def row_copier(real, threads: int, shape: tuple[int, int], count: int, pitch: int, size: int) -> Callable:
    """``copy(rows, start, field, row, thread)`` starts to copy `count` rows of a member to a tile of that size.

    All threads of the block take part, `threads` of them a row. Rows are `pitch` numbers apart in the tile, and are
    taken modulo ny.
    """
    ny, nx = shape
    Rows = wp.tile(dtype=real, shape=(size,))

    @wp.func_native(_COPY_ROWS.format(rows=count, ny=ny, nx=nx, pitch=pitch, threads=threads, real=c_name(real)))
    def copy(rows: Rows, start: int, field: wp.array(dtype=real), row: int, thread: int): ...

    return copy


@functools.cache
def row_prefetcher(real, shape: tuple[int, int], count: int) -> Callable:
    """``prefetch(field, row, thread)`` has the second-level cache load `count` rows of a member."""
    ny, nx = shape

    @wp.func_native(_PREFETCH_ROWS.format(rows=count, ny=ny, nx=nx, real=c_name(real)))
    def prefetch(field: wp.array(dtype=real), row: int, thread: int): ...

    return prefetch
