"""Measures messages that kernels write into the memory of another GPU, against the all-gather of XLA.

    python docs/benchmarks/mailboxes.py --output docs/benchmarks/mailboxes.json    # two NVIDIA GPUs with peer access

Each of two devices has a *mailbox*, to which the other one writes. A block writes its share of a message, and then
raises a flag there, with release at the scope of the system. Its counterpart waits for the flag with acquire, and
checks each number. Four ways are timed:

- ``one kernel``: all turns in one kernel on each device, whose blocks run at the same time;
- ``graph``: a CUDA graph, in which a turn is a kernel that sends and one that receives;
- ``all-gather``: the same message by ``jax.lax.all_gather`` in a scan;
- ``calls``: that graph as a foreign call of JAX, on both devices under one `jit`.

A kernel that has waited for a second gives up, counts a failure, and does not wait any more.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import warp as wp

BLOCK = 256
SIZES = tuple(2**k for k in (16, 17, 18, 19, 20, 21))  # bytes
OPTIONS = {"module": "unique", "enable_backward": False, "grid_stride": False}


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


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return ((const volatile float*)address)[i];
#else
  return 0.0f;
#endif
""")
def get(address: wp.uint64, i: int) -> float:
    """Return a number of an array that another device writes."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  ((float*)address)[i] = value;
#endif
""")
def put(address: wp.uint64, i: int, value: float):
    """Store a number, on this device or another one."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __syncthreads();
  if (threadIdx.x == 0)
    asm volatile("st.release.sys.global.u32 [%0], %1;" :: "l"((unsigned*)flags + block), "r"(turn) : "memory");
#endif
""")
def signal(flags: wp.uint64, block: int, turn: int):
    """Raise a flag of another device, after all stores of this block."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  __shared__ int late;
  if (threadIdx.x == 0) {
    unsigned seen = 0;
    unsigned long long began, now;
    late = 0;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(began));
    while (true) {
      asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"((unsigned*)flags + block) : "memory");
      if ((int)(seen - turn) >= 0) break;
      asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
      if (now - began > 1000000000ull) { late = 1; break; }
    }
  }
  __syncthreads();
  return late;
#else
  return 0;
#endif
""")
def late(flags: wp.uint64, block: int, turn: int) -> int:
    """Wait until the flag of this block has reached a turn. Return 1 if it has not within a second."""
    ...


@wp.struct
class Ends:
    """Addresses of the mailbox and flags of the other device, and of this one."""

    far_box: wp.uint64
    far_flags: wp.uint64
    box: wp.uint64
    flags: wp.uint64


@wp.func
def send(ends: Ends, turn: int, block: int, count: int, share: int):
    """Write the share of a block."""
    half = (turn % 2) * count
    for i in range(thread_index(), share, BLOCK):
        k = block * share + i
        put(ends.far_box, half + k, float(turn + k % 1000))
    signal(ends.far_flags, block, turn)


@wp.func
def receive(ends: Ends, turn: int, block: int, count: int, share: int, failures: wp.array(dtype=int)):
    """Wait for the share of a block, and count wrong numbers."""
    if failures[0] == 0 and late(ends.flags, block, turn) == 1:
        wp.atomic_add(failures, 0, 1)
    half = (turn % 2) * count
    wrong = int(0)  # noqa: UP018, RUF046 (a variable of Warp)
    for i in range(thread_index(), share, BLOCK):
        k = block * share + i
        if get(ends.box, half + k) != float(turn + k % 1000):
            wrong += 1
    if wrong > 0:
        wp.atomic_add(failures, 1, wrong)


@wp.kernel(**OPTIONS)
def one_kernel(ends: Ends, first: int, turns: int, count: int, share: int, failures: wp.array(dtype=int)):
    """Take all turns."""
    block, _ = wp.tid()
    for turn in range(first, first + turns):
        send(ends, turn, block, count, share)
        receive(ends, turn, block, count, share, failures)


@wp.kernel(**OPTIONS)
def sending(ends: Ends, count: int, share: int, turn: wp.array(dtype=int)):
    """Send in a turn."""
    block, _ = wp.tid()
    send(ends, turn[0], block, count, share)


@wp.kernel(**OPTIONS)
def receiving(ends: Ends, count: int, share: int, turn: wp.array(dtype=int), failures: wp.array(dtype=int)):
    """Receive in a turn."""
    block, _ = wp.tid()
    receive(ends, turn[0], block, count, share, failures)


@wp.kernel(**OPTIONS)
def counting(turn: wp.array(dtype=int)):
    """Count turns."""
    turn[0] = turn[0] + 1


class Pair:
    """Mailboxes of two devices, for messages of so many bytes."""

    def __init__(self, size: int, blocks: int):
        self.count, self.blocks, self.share = size // 4, blocks, size // 4 // blocks
        self.devices, arrays = [wp.get_device(f"cuda:{i}") for i in range(2)], []
        for device in self.devices:
            with wp.ScopedDevice(device), wp.ScopedMempool(device, False):  # cudaMalloc, which peers may map
                box, flags = wp.zeros(2 * self.count, dtype=float), wp.zeros(blocks, dtype=wp.uint32)
                arrays.append((box, flags, wp.zeros(2, dtype=int), wp.ones(1, dtype=int)))
        self.arrays, self.ends, self.graphs, self.turn = arrays, [], [], 1
        for here, there in ((0, 1), (1, 0)):
            ends = Ends()
            ends.box, ends.flags = arrays[here][0].ptr, arrays[here][1].ptr
            ends.far_box, ends.far_flags = arrays[there][0].ptr, arrays[there][1].ptr
            self.ends.append(ends)
            for kernel in (one_kernel, sending, receiving, counting):
                kernel.module.load(self.devices[here], 1 if kernel is counting else BLOCK)
        for device in self.devices:
            wp.synchronize_device(device)

    def launch(self, kernel, here, arguments, blocks=None, block_dim=BLOCK):
        """Launch a kernel on a device."""
        blocks = blocks or self.blocks
        wp.launch_tiled(kernel, dim=[blocks], inputs=arguments, block_dim=block_dim, device=self.devices[here])

    def in_one_kernel(self, turns: int):
        """Launch all turns, on both devices."""
        for here in range(2):
            failures = self.arrays[here][2]
            self.launch(one_kernel, here, [self.ends[here], self.turn, turns, self.count, self.share, failures])
        self.turn += turns

    def capture(self, turns: int):
        """Make graphs of so many turns."""
        for here, device in enumerate(self.devices):
            _, _, failures, turn = self.arrays[here]
            turn.fill_(self.turn)
            with wp.ScopedDevice(device), wp.ScopedCapture() as capture:
                for _ in range(turns):
                    self.launch(sending, here, [self.ends[here], self.count, self.share, turn])
                    self.launch(receiving, here, [self.ends[here], self.count, self.share, turn, failures])
                    self.launch(counting, here, [turn], 1, 1)
            self.graphs.append(capture.graph)

    def in_graphs(self):
        """Launch the graphs, on both devices."""
        for here, device in enumerate(self.devices):
            with wp.ScopedDevice(device):
                wp.capture_launch(self.graphs[here])

    def failures(self) -> list[int]:
        """Return how often a kernel gave up, and how many numbers were wrong."""
        return [sum(int(each[2].numpy()[i]) for each in self.arrays) for i in range(2)]

    def wait(self):
        """Wait for both devices."""
        for device in self.devices:
            wp.synchronize_device(device)


def microseconds(run, wait, turns: int, repeat: int = 5) -> float:
    """Return the median time of a turn."""
    samples = []
    for _ in range(repeat + 1):
        wait()
        began = time.perf_counter()
        run()
        wait()
        samples.append(1e6 * (time.perf_counter() - began) / turns)
    return statistics.median(samples[1:])


def by_xla(size: int, turns: int) -> float:
    """Return the time of an all-gather."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((2,), ("y",), axis_types=(jax.sharding.AxisType.Auto,))

    def turn(x, _):
        everyone = jax.lax.all_gather(x, "y")
        return everyone[1 - jax.lax.axis_index("y")] + 1, None

    spec = PartitionSpec("y")
    program = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.scan(turn, x, length=turns)[0], mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
    )
    x = jax.device_put(jnp.zeros(2 * size // 4, jnp.float32), NamedSharding(mesh, spec))
    return microseconds(lambda: jax.block_until_ready(program(x)), lambda: None, turns)


def by_calls(pair: Pair, turns: int, calls: int) -> float:
    """Return the time of a turn in graphs that JAX launches: both devices under one program."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    def exchange(x: wp.array(dtype=float), y: wp.array(dtype=float)):
        wp.copy(y, x)
        wp.capture_launch(pair.graphs[x.device.ordinal], stream=x.device.stream)

    call = wp.jax_callable(
        exchange, graph_mode=wp.JaxCallableGraphMode.NONE, module_preload_mode=wp.JaxModulePreloadMode.NONE
    )
    mesh = jax.make_mesh((2,), ("y",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("y")

    def several(x):
        return jax.lax.scan(lambda x, _: (call(x)[0], None), x, length=calls)[0]

    program = jax.jit(jax.shard_map(several, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    x = jax.device_put(jnp.zeros(64, jnp.float32), NamedSharding(mesh, spec))
    return microseconds(lambda: jax.block_until_ready(program(x)), lambda: None, turns * calls)


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes, print each, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--blocks", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    wp.init()
    devices = [wp.get_device(f"cuda:{i}") for i in range(2)]
    for here, there in (devices, devices[::-1]):
        if not wp.is_peer_access_supported(here, there):
            print(f"{there} cannot access the memory of {here}")
            return 1
        wp.set_peer_access_enabled(here, there, True)
    records = []

    def note(record):
        records.append(record)
        print(record, flush=True)
        if options.output:
            options.output.write_text(json.dumps(records, indent=1) + "\n")

    for size in SIZES:
        for blocks in options.blocks:
            pair = Pair(size, blocks)
            took = microseconds(lambda pair=pair: pair.in_one_kernel(options.turns), pair.wait, options.turns)
            gave_up, wrong = pair.failures()
            common = {"bytes": size, "blocks": blocks}
            note({"way": "one kernel", **common, "microseconds": took, "gave_up": gave_up, "wrong": wrong})
            pair.capture(options.turns)
            took = microseconds(pair.in_graphs, pair.wait, options.turns)
            gave_up, wrong = pair.failures()
            note({"way": "graph", **common, "microseconds": took, "gave_up": gave_up, "wrong": wrong})
    for size in SIZES:
        note({"way": "all-gather", "bytes": size, "microseconds": by_xla(size, options.turns)})
    pair = Pair(SIZES[2], 16)
    pair.capture(options.turns)
    took = by_calls(pair, options.turns, 10)
    gave_up, wrong = pair.failures()
    common = {"bytes": SIZES[2], "blocks": 16, "calls": 10}
    note({"way": "calls", **common, "microseconds": took, "gave_up": gave_up, "wrong": wrong})
    return 0


if __name__ == "__main__":
    sys.exit(main())
