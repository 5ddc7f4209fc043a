"""The native text of accesses: in one piece, between the threads of a warp, and copies to shared memory for which
nobody waits.

Written once for CUDA and the CPU. `memory`, `rows` and `recursions` fill in what stands in braces. The other native
text, of transforms, is in `codelets`; elsewhere native code is a line.
"""

# Wait for the kernel before this one, and let the next one be started.
FOLLOW = """
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
"""

# What a thread of the same warp holds.
SHUFFLE = """
#if defined(__CUDA_ARCH__)
  return __shfl{kind}_sync({mask}, x, {lanes}, {width});
#else
  return x;
#endif
"""

# A complex number that is read and written in one access. (Tiles on the CPU are not aligned for that.)
NUMBER = """
#if defined(__CUDA_ARCH__)
  struct alignas(2 * sizeof({real})) Number {{ {real} x, y; }};
#else
  struct Number {{ {real} x, y; }};
#endif
"""
GLOBAL_NUMBER = """
  auto* at = (Number*)lane.data + i;
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
"""
GLOBAL_VALUE = """
  const auto* at = lane.data + i;
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(at));
#endif
  return *at;
"""

# Rows of a field into shared memory, past the registers: nothing waits for them until WAIT. As many threads as share a
# line copy a row, each a few chunks that are a fixed distance apart.
FETCH = """
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
# Rows of a field that will be read, to the second-level cache.
ANNOUNCE = """
#if defined(__CUDA_ARCH__)
  constexpr int SECTOR = 128 / sizeof({real});
  const int count = min({rows}, {ny} - row) * {nx} / SECTOR;
  for (int i = thread; i < count; i += blockDim.x)
    asm volatile("prefetch.global.L2 [%0];" :: "l"(field.data + (size_t)row * {nx} + i * SECTOR));
#endif
"""
# The half spectra of two rows into the place of a line, likewise, by the threads of the line.
FETCH_PAIR = """
  constexpr int COUNT = 2 * {half} * sizeof({real}) / 16, THREADS = {threads};
#if defined(__CUDA_ARCH__)
  struct alignas(16) Chunk {{ {real} numbers[16 / sizeof({real})]; }};
#else
  struct Chunk {{ {real} numbers[16 / sizeof({real})]; }};
#endif
  const Chunk* from[2] = {{(const Chunk*)a.data, (const Chunk*)b.data}};
  Chunk* to = (Chunk*)(lines.data.ptr + 2 * {padded} * line);
  for (int r = 0; r < 2; ++r)
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
WAIT = """
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
"""
# Where the i-th number of a tile lies in the shared memory of a block of the cluster.
FAR = """
#if __CUDA_ARCH__ >= 900
  unsigned far;
  const unsigned at = (unsigned)__cvta_generic_to_shared(tile.data.ptr + i);
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(far) : "r"(at), "r"(there));
  return far;
#else
  return 0;
#endif
"""
# A number on its way there, whose arrival a gate there counts, in bytes.
SEND = """
#if __CUDA_ARCH__ >= 900
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.{type} [%0], %1, [%2];"
    :: "r"(where + i * (int)sizeof(value)), "{constraint}"(value), "r"(gate) : "memory");
#endif
"""
# A gate opens once a thread of its block has said how many bytes are to come, and they have; then it is closed again.
MAKE_GATES = """
#if __CUDA_ARCH__ >= 900
  for (int i = 0; i < {count}; ++i) {{
    const unsigned gate = (unsigned)__cvta_generic_to_shared(gates.data.ptr + i);
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(gate) : "memory");
  }}
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
"""
# What one thread says of it in each turn,
EXPECT = """
#if __CUDA_ARCH__ >= 900
  const unsigned gate = (unsigned)__cvta_generic_to_shared(gates.data.ptr + which);
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(gate), "r"(bytes) : "memory");
#endif
"""
# and how the others wait until it has opened: turns of two gates alternate, and the phase of each has two parities.
PASS_GATE = """
#if __CUDA_ARCH__ >= 900
  const unsigned gate = (unsigned)__cvta_generic_to_shared(gates.data.ptr + which);
  unsigned open = 0;
  while (!open)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
      : "=r"(open) : "r"(gate), "r"(turn / 2 % 2) : "memory");
#endif
"""
# All threads of a cluster wait for each other.
MEET = """
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive;" ::: "memory");
  asm volatile("barrier.cluster.wait;" ::: "memory");
#endif
"""
