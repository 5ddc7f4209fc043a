// CUDA on the CPU, as far as the kernels of this package need it: each thread of a block is a fiber, and fibers change
// where a thread waits for others. In between a thread runs alone, and so does a block, or a cluster. So a kernel in which
// a barrier is missing, or that needs what another of its blocks writes, gives other results in another order, and one
// in which threads wait for each other for ever is found out.
//
// It follows Warp's headers in a translation unit, and goes ahead of the kernel's text (`emulator.py`).

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#define __CUDA_ARCH__ 900
#define __global__
#define __launch_bounds__(...)
#define __builtin_assume(x)
#define __isGlobal(x) true
#undef WP_CLUSTER_DIMS
#define WP_CLUSTER_DIMS(x, y, z)
using std::fma;
struct float2 { float x, y; };
struct double2 { double x, y; };
template <class T> static T __ldg(const T* p) { return *p; }
static int min(int a, int b) { return a < b ? a : b; }

namespace emulator {
constexpr int LANES = 32, MOST_THREADS = 1024, MOST_BLOCKS = 16, MOST_IDLE = 100;
constexpr size_t STACK = 256 * 1024;
using Storage = wp::tile_shared_storage_t;
// of the tiles in it, after a pointer and a number a thread; they are to be aligned
constexpr size_t ALIGNMENT = 128, OFFSET = sizeof(void*) + sizeof(unsigned) * WP_TILE_BLOCK_DIM;
constexpr size_t SIZE = (sizeof(Storage) / ALIGNMENT + 2) * ALIGNMENT;

struct Index { unsigned x, y, z; };
struct Copy { void* to; const void* from; };
struct Fiber {
  ucontext_t context;
  void* stack = nullptr;
  int thread, rank;  // in the block, and of the block among those that run together
  bool done;
  std::vector<Copy> copies;  // started, not waited for
};
struct Barrier { int arrived = 0; long generation = 0; };
struct Sent { char* to; char bytes[8]; int size; };
struct Mbarrier { bool expected = false; int bytes = 0; long generation = 0; std::vector<Sent> sent; };

static Index grid = {1, 1, 1}, block = {1, 1, 1};
static int first_block, together;
static std::vector<Fiber> fibers;
static Fiber* now;
static ucontext_t scheduler;
static long events;  // what has happened; nothing in a whole round is a deadlock
static long releases;  // those of them for which others may have waited
static std::map<std::tuple<int, int, unsigned>, Barrier> barriers;
static std::map<unsigned, Mbarrier> mbarriers;  // by address in the cluster
static Storage* storage[MOST_BLOCKS];
static double exchanged[MOST_BLOCKS][MOST_THREADS];
static uint64_t random_state;

static unsigned random_number() {  // xorshift
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned)(random_state >> 16);
}

template <class T> static void shuffle(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random_number() % i]);
}

static void wait_for(int rank, int id, unsigned mask, int count) {
  Barrier& barrier = barriers[{rank, id, mask}];
  const long generation = barrier.generation;
  ++events;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
    ++releases;
  }
  do swapcontext(&now->context, &scheduler);
  while (barrier.generation == generation);
}
static void block_barrier() { wait_for(now->rank, 0, 0, block.x); }
static int block_barrier_or(int value) {
  static bool any[MOST_BLOCKS];
  block_barrier();
  any[now->rank] = false;
  block_barrier();
  any[now->rank] |= value != 0;
  block_barrier();
  return any[now->rank];
}
static unsigned long long time() {  // no other device works meanwhile, so waiting is of no use
  static unsigned long long ns;
  return ns += 1000000000000;
}
static void named_barrier(int id, int count) { wait_for(now->rank, id, 0, count); }
static void warp_barrier(unsigned mask) {
  wait_for(now->rank, LANES + now->thread / LANES, mask, __builtin_popcount(mask));
}
static void cluster_barrier() { wait_for(-1, 0, 0, block.x * together); }

template <class T> static T lane_value(unsigned mask, T x, int lane) {
  if (!(mask >> lane & 1)) {
    fprintf(stderr, "a thread reads from lane %d, which takes no part\n", lane);
    abort();
  }
  double* values = exchanged[now->rank];
  values[now->thread] = x;
  warp_barrier(mask);
  x = (T)values[now->thread / LANES * LANES + lane];
  warp_barrier(mask);
  return x;
}

static char* shared_memory(int rank) { return (char*)storage[rank] + OFFSET; }
static unsigned shared_address(const void* p) { return (unsigned)((const char*)p - shared_memory(now->rank)); }
static void start_copy(unsigned to, const void* from) {
  if (to % 16 || (uintptr_t)from % 16) {
    fprintf(stderr, "a copy of 16 bytes is not aligned\n");
    abort();
  }
  now->copies.push_back({shared_memory(now->rank) + to, from});
}
static void finish_copies() {
  for (const Copy& copy : now->copies) memcpy(copy.to, copy.from, 16);
  now->copies.clear();
}
static unsigned in_block(unsigned address, int rank) { return (unsigned)rank << 24 | address; }

static Mbarrier& mbarrier_at(unsigned address) {
  auto found = mbarriers.find(address);
  if (found != mbarriers.end()) return found->second;
  fprintf(stderr, "an mbarrier that nobody has initialised\n");
  abort();
}
static void initialise_mbarrier(unsigned address) { mbarriers[in_block(address, now->rank)] = Mbarrier(); }
static void complete_if_all_came(Mbarrier& mbarrier) {  // what was sent is seen no earlier
  if (!mbarrier.expected || mbarrier.bytes) return;
  for (const Sent& sent : mbarrier.sent) memcpy(sent.to, sent.bytes, sent.size);
  mbarrier.sent.clear();
  mbarrier.expected = false;
  ++mbarrier.generation;
  ++events;
  ++releases;
}
template <class T> static void send(unsigned where, T value, unsigned address) {
  Mbarrier& mbarrier = mbarrier_at(address);
  Sent sent = {shared_memory(where >> 24) + (where & 0xffffff), {}, sizeof(T)};
  memcpy(sent.bytes, &value, sizeof(T));
  mbarrier.sent.push_back(sent);
  mbarrier.bytes -= sizeof(T);
  complete_if_all_came(mbarrier);
}
static void expect(unsigned address, int bytes) {
  Mbarrier& mbarrier = mbarrier_at(in_block(address, now->rank));
  if (mbarrier.expected) {
    fprintf(stderr, "an mbarrier expects bytes twice in a phase\n");
    abort();
  }
  mbarrier.expected = true;
  mbarrier.bytes += bytes;
  complete_if_all_came(mbarrier);
}
static unsigned has_completed(unsigned address, unsigned parity) {
  const Mbarrier& mbarrier = mbarrier_at(in_block(address, now->rank));
  if (mbarrier.generation % 2 != parity) return 1;
  swapcontext(&now->context, &scheduler);
  return 0;
}

template <class... A, size_t... I> static void call(void (*kernel)(A...), void** p, std::index_sequence<I...>) {
  kernel(*(A*)p[I]...);
}
template <class... A> static void call(void (*kernel)(A...), void** p) { call(kernel, p, std::index_sequence_for<A...>()); }

static void (*body)(void**);
static void** arguments;
static void run_thread() {
  body(arguments);
  now->done = true;
  ++events;
  swapcontext(&now->context, &scheduler);
}

static int warp_of(const Fiber* fiber) { return fiber->rank * MOST_THREADS + fiber->thread / LANES; }
static void run_on(Fiber* fiber) {
  if (fiber->done) return;
  now = fiber;
  Storage::bind(storage[fiber->rank]);
  swapcontext(&scheduler, &fiber->context);
}

static const char* run_blocks(int order) {
  barriers.clear();
  mbarriers.clear();
  for (int rank = 0; rank < together; ++rank) {
    if (!storage[rank]) storage[rank] = (Storage*)((char*)aligned_alloc(ALIGNMENT, SIZE) + ALIGNMENT - OFFSET % ALIGNMENT);
    memset((void*)storage[rank], 0xff, sizeof(Storage));  // not a number
    Storage::bind(storage[rank]);
    Storage::init();
  }
  std::vector<Fiber*> waiting;
  for (Fiber& fiber : fibers) {
    const int i = (int)(&fiber - fibers.data());
    if (!fiber.stack) fiber.stack = malloc(STACK);
    fiber.thread = i % block.x;
    fiber.rank = i / block.x;
    fiber.done = false;
    fiber.copies.clear();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    makecontext(&fiber.context, run_thread, 0);
    waiting.push_back(&fiber);
  }
  if (order == 1) std::reverse(waiting.begin(), waiting.end());
  if (order == 4) shuffle(waiting);
  const auto done = [](Fiber* fiber) { return fiber->done; };
  for (int idle = 0; !waiting.empty();) {
    const long before = events;
    if (order < 2) {
      for (size_t first = 0, last; first < waiting.size(); first = last) {  // a warp as far as it comes alone
        for (last = first; last < waiting.size() && warp_of(waiting[last]) == warp_of(waiting[first]);) ++last;
        long so_far;
        do {
          so_far = events;
          for (size_t i = first; i < last; ++i) run_on(waiting[i]);
        } while (events != so_far);
      }
    } else if (order < 4) {
      shuffle(waiting);
      for (Fiber* fiber : waiting)
        if (order == 2 || random_number() % 2) run_on(fiber);
    } else {
      for (size_t i = 0; i < waiting.size();) {
        const long so_far = releases;
        run_on(waiting[i]);
        i = releases == so_far ? i + 1 : 0;
      }
    }
    for (Fiber* fiber : waiting)
      if (fiber->done && !fiber->copies.empty()) return "a thread ends before its copies have";
    waiting.erase(std::remove_if(waiting.begin(), waiting.end(), done), waiting.end());
    idle = events == before ? idle + 1 : 0;
    if (idle > MOST_IDLE) return "threads wait for each other for ever";
  }
  for (const auto& mbarrier : mbarriers)
    if (!mbarrier.second.sent.empty()) return "blocks end before all has come that was sent to them";
  return nullptr;
}

// Blocks, and the warps of each, in order (0) or backwards (1), each warp as far as it comes without the others; or
// shuffled: all threads keep step from barrier to barrier (2), any of them rest for a while (3), or each rests until
// those before it can do nothing without it (4). Returns what went wrong, or null.
static const char* run(int blocks, int threads, int cluster, int order, void (*kernel)(void**), void** given) {
  grid.x = blocks;
  block.x = threads;
  together = cluster;
  body = kernel;
  arguments = given;
  random_state = 0x9e3779b97f4a7c15 * (order + 1);
  if ((int)fibers.size() < threads * cluster) fibers.resize(threads * cluster);
  std::vector<int> starts;
  for (int first = 0; first < blocks; first += cluster) starts.push_back(first);
  if (order == 1) std::reverse(starts.begin(), starts.end());
  if (order > 1) shuffle(starts);
  for (int first : starts) {
    first_block = first;
    if (const char* problem = run_blocks(order)) return problem;
  }
  return nullptr;
}
}  // namespace emulator

#define gridDim emulator::grid
#define blockDim emulator::block
#define blockIdx (emulator::Index{(unsigned)(emulator::first_block + emulator::now->rank), 0, 0})
#define threadIdx (emulator::Index{(unsigned)emulator::now->thread, 0, 0})
#define __syncthreads emulator::block_barrier
#define __syncthreads_or emulator::block_barrier_or
#define __cvta_generic_to_shared emulator::shared_address
static void __syncwarp(unsigned mask = 0xffffffffu) { emulator::warp_barrier(mask); }
template <class T> static T __shfl_sync(unsigned mask, T x, int lane, int width) {
  const int me = threadIdx.x % emulator::LANES;
  return emulator::lane_value(mask, x, me / width * width + lane % width);
}
template <class T> static T __shfl_up_sync(unsigned mask, T x, int by, int width) {
  const int me = threadIdx.x % emulator::LANES;
  return emulator::lane_value(mask, x, me % width < by ? me : me - by);
}
template <class T> static T __shfl_down_sync(unsigned mask, T x, int by, int width) {
  const int me = threadIdx.x % emulator::LANES;
  return emulator::lane_value(mask, x, me % width + by < width ? me + by : me);
}

// What Warp's headers expect of its runtime.
extern "C" int wp_cpu_get_thread_idx() { return emulator::now->thread; }
extern "C" void wp_cpu_tile_sync() { emulator::block_barrier(); }
extern "C" int wp_cpu_get_active_count() { return emulator::block.x; }
extern "C" int wp_cpu_get_first_active_lane() { return 0; }
extern "C" int _wp_isfinite(double x) { return std::isfinite(x); }
extern "C" int _wp_isnan(double x) { return std::isnan(x); }
extern "C" int _wp_isinf(double x) { return std::isinf(x); }
extern "C" void _wp_assert(const char* message, const char* file, unsigned line) {
  fprintf(stderr, "%s:%u: %s\n", file, line, message);
  abort();
}
