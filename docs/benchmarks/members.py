"""Measures ensembles over several devices of one process: plain `jit` of a sharded batch, `shard_map`, and one device.

    python docs/benchmarks/members.py --output docs/benchmarks/members.json

A case is the members of each device, so that one device does the same work in every way. First another process, with an
empty cache of kernels, runs a program that communicates: it must not hang. To try all of it on the CPU:

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python docs/benchmarks/members.py --cases 4x16 --steps 10
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLLECTIVES = ["all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter", "collective-broadcast"]
PATIENCE = 300  # seconds for the first use of kernels


def solver(size: int, discretisation, backend: str = "auto"):
    """Return the solver of a case of `warpjaxns.benchmarks`."""
    import warpjaxns as wns

    case = wns.benchmarks.Case(size)
    how = {"discretisation": discretisation, "backend": backend, "check_finite": False}
    return wns.NavierStokes2D(case.grid, viscosity=case.viscosity, dt=case.dt, **how)


def flows(size: int, members: int):
    """Return the flows of all devices, as a NumPy array."""
    import numpy as np

    from warpjaxns import benchmarks

    return np.asarray(benchmarks.Case(size, members).initial_state())


def tasks(solver, steps: dict[str, int]) -> dict:
    """Return the functions of an ensemble ``(members, ny, nx)``, by name. Members do not depend on each other."""
    import jax
    import jax.numpy as jnp

    def forward(omega, steps=steps["forward"]):
        return jax.vmap(lambda one: solver.rollout(one, steps=steps))(omega)

    def loss(omega, steps=steps["gradient"]):
        return jnp.sum(jnp.mean(jnp.sin(forward(omega, steps)), (-2, -1)))

    def along(function):
        return lambda omega: jax.jvp(function, (omega,), (jnp.cos(omega),))[1]

    return {
        "forward": forward,
        "gradient": jax.grad(loss),
        "jvp": along(functools.partial(forward, steps=steps["jvp"])),
        "hvp": along(jax.grad(functools.partial(loss, steps=steps["hvp"]))),
    }


def collectives(program) -> dict[str, int]:
    """Return the numbers of collectives in a compiled program. Asynchronous ones count once."""
    text = program.as_text()
    counts = {name: text.count(f" {name}(") + text.count(f" {name}-start(") for name in COLLECTIVES}
    return {name: count for name, count in counts.items() if count}


def compare(function, omega, mesh, steps: int, repeat: int) -> dict:
    """Return times and results of a function in three ways: microseconds a step, collectives, and what agrees."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    spec, devices = PartitionSpec("members"), mesh.devices.ravel()
    everywhere = jax.device_put(omega, NamedSharding(mesh, spec))
    parts = [jax.device_put(part, devices[0]) for part in np.split(omega, len(devices))]
    per_device = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec)
    ways = {"jit": (function, everywhere), "shard_map": (per_device, everywhere), "one device": (function, parts[0])}
    programs, record, seconds = {}, {}, {way: [] for way in ways}
    for way, (f, x) in ways.items():
        programs[way] = jax.jit(f).lower(x).compile()
        start = time.perf_counter()
        jax.block_until_ready(programs[way](x))
        record[way] = {"collectives": collectives(programs[way]), "first seconds": time.perf_counter() - start}
        record[way]["temporary bytes"] = programs[way].memory_analysis().temp_size_in_bytes
    for _ in range(repeat):
        for way, (_, x) in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(programs[way](x))
            seconds[way].append(time.perf_counter() - start)
    for way in ways:
        record[way]["microseconds a step"] = [1e6 * value / steps for value in seconds[way]]
    expected = np.concatenate([np.asarray(programs["one device"](part)) for part in parts])
    assert np.isfinite(expected).all()
    for way in ("jit", "shard_map"):
        actual = programs[way](everywhere)
        assert actual.sharding.shard_shape(actual.shape)[0] == len(parts[0])
        record[way]["equal bits"] = bool(np.array_equal(actual, expected))
        record[way]["largest difference"] = float(np.max(np.abs(np.asarray(actual) - expected)))
    record["largest value"] = float(np.max(np.abs(expected)))
    record["speed of jit over shard_map"] = min(seconds["shard_map"]) / min(seconds["jit"])
    return record


def first_use(size: int, devices: int) -> dict:
    """Take the gradient of a viscosity that all members share, which is summed over the devices."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    import warpjaxns as wns

    mesh = members_mesh(devices)
    report = {}
    for discretisation in (wns.FiniteDifference(), wns.Spectral()):
        s = solver(size, discretisation)

        def loss(viscosity, omega, s=s):
            there = eqx.tree_at(lambda s: s.viscosity, s, viscosity)
            return jnp.mean(jax.vmap(lambda one: there.rollout(one, steps=10))(omega) ** 2)

        omega, viscosity = flows(size, 4 * devices), jnp.float32(s.viscosity)
        placed = jax.device_put(omega, NamedSharding(mesh, PartitionSpec("members")))
        start = time.perf_counter()
        program = jax.jit(jax.grad(loss)).lower(viscosity, placed).compile()
        value = float(program(viscosity, placed))
        found = {"seconds": time.perf_counter() - start, "collectives": collectives(program), "jit": value}
        found["one device"] = float(jax.jit(jax.grad(loss))(viscosity, omega))
        assert np.isclose(value, found["one device"], rtol=1e-4)
        report[type(discretisation).__name__] = found
    return report


def members_mesh(devices: int):
    """Return a mesh of the first devices."""
    import jax

    return jax.make_mesh((devices,), ("members",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices])


def first_use_elsewhere(size: int, devices: int) -> dict:
    """Run `first_use` in another process, without any kernel in Warp's cache."""
    command = [sys.executable, __file__, "--first-use", str(size), "--devices", str(devices)]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"WARP_CACHE_PATH": cache}
        try:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {PATIENCE} seconds"}
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"error": f"exit {done.returncode}"}


def main(argv: list[str] | None = None):
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["64x512", "1024x64"], help="MEMBERSxSIZE of a device")
    parser.add_argument("--steps", type=int, default=500, help="of a rollout; gradients take a fifth, Hessians few")
    parser.add_argument("--repeat", type=int, default=5, help="timings of each, in turns")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--first-use", type=int, metavar="SIZE", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    if options.first_use:
        return print(json.dumps(first_use(options.first_use, options.devices)))

    report: dict = {"devices": options.devices, "first use": first_use_elsewhere(64, options.devices), "cases": []}
    print("first use", report["first use"], flush=True)
    import jax

    import warpjaxns as wns

    report |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    mesh, engines = members_mesh(options.devices), (wns.FiniteDifference(), wns.Spectral())
    steps = {"forward": options.steps, "gradient": max(options.steps // 5, 1), "jvp": 10, "hvp": 5}
    small = min((case.split("x") for case in options.cases), key=lambda case: int(case[1]))
    jobs = [(*map(int, case.split("x")), task, "auto") for case in options.cases for task in ("forward", "gradient")]
    jobs += [(min(int(small[0]), 64), int(small[1]), "jvp", "auto")]
    jobs += [(*map(int, case.split("x")), "hvp", backend) for case in options.cases for backend in ("auto", "xla")]
    for members, size, task, backend in jobs:
        omega = flows(size, members * options.devices)
        for discretisation in engines:
            function = tasks(solver(size, discretisation, backend), steps)[task]
            name = type(discretisation).__name__
            case = {"members": members, "size": size, "task": task, "discretisation": name, "backend": backend}
            case |= {"steps": steps[task]}
            try:
                case |= compare(function, omega, mesh, steps[task], options.repeat)
            except Exception as error:
                case["error"] = f"{type(error).__name__}: {error}"[:500]
            report["cases"].append(case)
            print(case, flush=True)
            if options.output:
                options.output.write_text(json.dumps(report) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
