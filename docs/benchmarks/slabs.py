"""Measures one grid divided over several devices against the same grid on one of them.

    python docs/benchmarks/slabs.py --size 8192 --devices 0 1 2 4 8 --output docs/benchmarks/slabs.json
    python docs/benchmarks/slabs.py --size 98304 8192 --steps 72 --every 4 --tasks gradient --devices 2 --repeat 1 \
        --output docs/benchmarks/slabs-memory.json    # for which one H200 (--devices 1) has no memory
    python docs/benchmarks/slabs.py --squares 1024 2048 4096 8192 --devices 0 2 --exchange gather peers --one-process \
        --output docs/benchmarks/slabs-peers.json    # messages by XLA and by kernels
    python docs/benchmarks/slabs.py --squares 2048 4096 8192 --devices 0 2 --exchange gather peers --process-a-device
    python docs/benchmarks/slabs.py --fake 4 --size 64 --steps 6 --repeat 2    # on a CPU

Each case is a process of its own, or with `--process-a-device` as many as it has devices: one that runs out of memory
leaves the others alone, and its peak of memory is its own, unless all share one process. With no devices (0) one of
them runs the grid as it is (`whole`). A single slab (1) shows what slabs cost.
"""

import argparse
import concurrent.futures
import functools
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

TASKS = ("forward", "gradient", "tangent")


def measure(
    task: str,
    size: tuple[int, int],
    devices: int,
    exchange: str,
    backend: str,
    dtype: str,
    steps: int,
    repeat: int,
    every: int | None,
    join: tuple[str, int] | None = None,
) -> dict:
    """Return times and memory of a case, of which this may be one of several processes.

    Args:
        task: one of `TASKS`.
        size: points of the grid.
        devices: their number; none: the grid is not divided.
        exchange: as in `Grid.over`.
        backend: of the solver.
        dtype: of the state.
        steps: of a call.
        repeat: timed calls.
        every: of `Checkpointed`.
        join: where processes meet, and the number of this one.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, Mesh

    import warpjaxns as wns

    jax.config.update("jax_enable_x64", dtype == "float64")
    if join:
        jax.distributed.initialize(join[0], devices, join[1], local_device_ids=[join[1]])
    grid, sharding = wns.Grid(size, (2 * np.pi * size[0] / size[1], 2 * np.pi)), None
    if devices:
        mesh = Mesh(np.array(jax.devices()[:devices]), ("y",), axis_types=(AxisType.Auto,))
        grid = grid.over(mesh, "y", exchange)
        sharding = grid.sharding()
    how = {"backend": backend, "check_finite": False, "adjoint": wns.Checkpointed(every)}
    solver = wns.NavierStokes2D(grid, viscosity=1e-4, dt=1e-4, **how)

    def start():  # made where it lives: one device may not hold it
        y = jnp.arange(size[0], dtype=dtype)[:, None] * (2 * np.pi / size[0])
        x = jnp.arange(size[1], dtype=dtype)[None, :] * (2 * np.pi / size[1])
        return jnp.sin(2 * x) * jnp.cos(y) + jnp.sin(3 * y + 1)

    def mean_square(omega):
        return jnp.mean(solver.rollout(omega, steps=steps) ** 2)

    def rollout(omega):
        return solver.rollout(omega, steps=steps)

    functions = {
        "forward": rollout,
        "gradient": jax.grad(mean_square),
        "tangent": lambda w: jax.jvp(rollout, (w,), (w,))[1],
    }
    omega = jax.jit(start, out_shardings=sharding)()
    began = time.perf_counter()
    program = jax.jit(functions[task]).lower(omega).compile()
    compiled = time.perf_counter()
    jax.block_until_ready(program(omega))
    first = time.perf_counter()
    samples, result = [], omega
    for _ in range(repeat):
        before = time.perf_counter()
        result = jax.block_until_ready(program(omega))
        samples.append(1e6 * (time.perf_counter() - before) / steps)
    text, used = program.as_text() or "", program.memory_analysis()
    assert used is not None
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()[: devices or 1]]
    return {
        "microseconds_a_step": samples,
        "median": statistics.median(samples),
        "compile_seconds": compiled - began,
        "first_seconds": first - compiled,
        "all_gathers": text.count(" all-gather(") + text.count(" all-gather-start("),
        "temporaries_a_device": used.temp_size_in_bytes,
        "arguments_a_device": used.argument_size_in_bytes,
        "peak_bytes": peaks,
        "mean_square": float(jnp.mean(result**2)),
        "device": jax.devices()[0].device_kind,
    }


def formula(task: str, size: tuple[int, int], devices: int, dtype: str, steps: int, every: int | None) -> float | None:
    """Return the bytes a device needs, by the formula of docs/guides/scaling.md, or None without `every`."""
    if task == "forward":
        fields = 4.0 if devices else 5.0
    elif every and task == "gradient":
        fields = steps / every + 6 * every + (6 if devices else 10)
    else:
        return None
    return fields * size[0] * size[1] / max(devices, 1) * (4 if dtype == "float32" else 8)


def main(argv: list[str] | None = None) -> int:
    """Measure all cases, print a table, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="+", default=[8192], help="points a side, or ny and nx")
    parser.add_argument("--squares", type=int, nargs="+", help="several sizes instead, each of points a side")
    parser.add_argument("--devices", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--exchange", nargs="+", default=["auto"], help="ways of messages, as in Grid.over")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS[:2]))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--every", type=int, help="steps between two states that a gradient keeps")
    parser.add_argument("--fake", type=int, default=0, help="this many devices on the CPU")
    parser.add_argument("--process-a-device", action="store_true", help="a process for each device of a case")
    parser.add_argument("--one-process", action="store_true", help="measure all cases in this process")
    parser.add_argument("--timeout", type=float, default=900, help="seconds of a case")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(measure(**json.loads(options.case))))
        return 0
    environment = dict(os.environ)
    if options.fake:
        flag = f"--xla_force_host_platform_device_count={options.fake}"
        environment |= {"XLA_FLAGS": f"{environment.get('XLA_FLAGS', '')} {flag}", "JAX_PLATFORMS": "cpu"}
    squares = options.squares or (options.size if len(options.size) == 1 else [])
    sizes = [[n, n] for n in squares] or [options.size]
    common = {name: getattr(options, name) for name in ("backend", "dtype", "steps", "repeat", "every")}
    records, failed = [], 0
    if options.one_process:
        os.environ.update(environment)
    for task, size in itertools.product(options.tasks, sizes):
        whole = None
        ways = [(n, exchange) for n in options.devices for exchange in (options.exchange if n else ["none"])]
        for devices, exchange in ways:
            case = {"task": task, "size": size, "devices": devices, "exchange": exchange, **common}
            result = (
                measure(**case)
                if options.one_process
                else _in_processes(case, environment, options.timeout, options.process_a_device and devices > 1)
            )
            how = size, devices, options.dtype, options.steps, options.every
            processes = {"processes": devices} if options.process_a_device and devices > 1 else {}
            records.append({**case, **processes, **result, "bytes_by_formula": formula(task, *how)})
            failed += "error" in result
            whole = result.get("median") if devices == 0 else whole
            print(_line(records[-1], whole), flush=True)
            if options.output:
                options.output.write_text(json.dumps(records, indent=1) + "\n")
    return int(failed > 0)


def _in_processes(case, environment, timeout, several):
    """Return the record of a case, or the last line of an error. `several`: by a process for each device."""
    cases = [case]
    if several:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        cases = [case | {"join": (address, rank)} for rank in range(case["devices"])]
    run = functools.partial(_run, environment, timeout)
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        found = list(pool.map(run, cases))
    return next((each for each in found if "error" in each), found[0])


def _run(environment, timeout, case):
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {timeout:g} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _line(result, whole):
    name = f"{result['task']:>9} {result['size'][0]:>6} {result['devices'] or 'whole'!s:>6} {result['exchange']:>6}"
    needed = result["bytes_by_formula"]
    by_formula = f" ({needed / 2**20:.1f} MiB by formula)" if needed else ""
    if "error" in result:
        return f"{name}  {result['error']}{by_formula}"
    efficiency = f"{whole / result['median'] / max(result['devices'], 1):7.1%}" if whole else "      -"
    memory = (result["temporaries_a_device"] + result["arguments_a_device"]) / 2**20
    seconds = f" {result['compile_seconds']:6.1f} s compiled, {result['first_seconds']:6.1f} s first"
    return f"{name} {result['median']:11.1f} us a step {efficiency} {memory:10.1f} MiB a device{by_formula}{seconds}"


if __name__ == "__main__":
    sys.exit(main())
