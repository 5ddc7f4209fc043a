"""Times Hessian products of rollouts, forward over reverse, beside gradients.

    python docs/benchmarks/hessian.py --output docs/benchmarks/hessian.json    # one NVIDIA GPU, or two

Members are divided over the devices under plain `jit`. To compare two states of the package, run the script with each
of them first on PYTHONPATH, and give them a `--label`.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import warpjaxns as wns

CASES = ((1, 64), (1, 256), (1, 1024), (16, 256))  # members of a device, points a side


def measure(members: int, n: int, devices: int, steps: int, repeat: int) -> dict:
    """Return microseconds a step of a gradient and of a Hessian product."""
    grid = wns.Grid((n, n))
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, check_finite=False)
    omega = jax.random.normal(jax.random.key(0), (members * devices, n, n), jnp.float32)
    mesh = Mesh(np.array(jax.devices()[:devices]), ("members",), axis_types=(AxisType.Auto,))
    omega = jax.device_put(omega, NamedSharding(mesh, PartitionSpec("members")))

    def gradient(omega):
        return jax.grad(lambda w: jnp.mean(solver.rollout(w, steps=steps) ** 2))(omega)

    def product(omega):
        return jax.jvp(gradient, (omega,), (jnp.cos(omega),))[1]

    record = {"members": members, "points": n, "devices": devices, "device": jax.devices()[0].device_kind}
    for name, function in (("gradient", gradient), ("product", product)):
        program = jax.jit(jax.vmap(function)).lower(omega).compile()
        samples, result = [], omega
        for _ in range(repeat + 1):
            began = time.perf_counter()
            result = jax.block_until_ready(program(omega))
            samples.append(1e6 * (time.perf_counter() - began) / steps)
        record |= {name: statistics.median(samples[1:]), f"{name} sum": float(jnp.sum(jnp.abs(result)))}
    return record


def main(argv: list[str] | None = None):
    """Measure all cases, print each, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", default="now", help="the state of the package")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--devices", type=int, nargs="+", default=[1])
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--output", type=Path, help="records of other labels in it are kept")
    options = parser.parse_args(argv)
    records = json.loads(options.output.read_text()) if options.output and options.output.exists() else []
    for devices in options.devices:
        for members, n in (CASES[i] for i in options.cases):
            record = measure(members, n, devices, options.steps, options.repeat)
            records.append({"state": options.label, "steps": options.steps, **record})
            print(records[-1], flush=True)
            if options.output:
                options.output.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
