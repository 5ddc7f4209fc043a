"""What a rollout, its gradient and its directional derivative cost: microseconds a step and memory.

    python docs/benchmarks/gradient_cost.py --output docs/benchmarks/gradient_cost.json

Medians over repeated jitted calls through the public interface, in one process; XLA's backend beside Warp's.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp

import warpjaxns as wns

CASES = (  # size, members, steps, float type
    (64, 64, 400, "float32"),
    (128, 64, 400, "float32"),
    (256, 1, 400, "float32"),
    (512, 1, 400, "float32"),
    (1024, 1, 200, "float32"),
    (2048, 1, 100, "float32"),
    (4096, 1, 36, "float32"),
    (256, 64, 100, "float32"),
    (512, 16, 100, "float32"),
    (512, 1, 400, "float64"),
    (1024, 1, 200, "float64"),
)


def microseconds(function, omega, steps, repeats=5):
    """Median wall time of a call, a step."""
    jax.block_until_ready(function(omega))
    jax.block_until_ready(function(omega))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(omega))
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / steps


def temporaries(function, omega):
    """Bytes of temporary memory of a compiled call."""
    return jax.jit(function).lower(omega).compile().memory_analysis().temp_size_in_bytes


def measure(size, members, steps, dtype, backend):
    """One case on one backend."""
    grid = wns.Grid((size, size))
    omega = 3 * jax.vmap(lambda key: wns.initial.random_vorticity(grid, key=key, max_wavenumber=6, dtype=dtype))(
        jax.random.split(jax.random.key(0), members)
    )
    row = {"size": size, "members": members, "steps": steps, "dtype": dtype, "backend": backend}
    for name, adjoint in (("direct", wns.Direct()), ("checkpointed", wns.Checkpointed())):
        solver = wns.NavierStokes2D(
            grid, viscosity=1e-3, dt=2.5e-4, adjoint=adjoint, backend=backend, check_finite=False
        )

        def rollout(omega, solver=solver):
            return solver.rollout(omega, steps=steps)

        gradient = jax.value_and_grad(lambda omega, rollout=rollout: jnp.mean(rollout(omega) ** 2))
        row[f"forward {name}"] = microseconds(jax.jit(rollout), omega, steps)
        row[f"gradient {name}"] = microseconds(jax.jit(gradient), omega, steps)
        row[f"bytes {name}"] = temporaries(gradient, omega)
    row["jvp"] = microseconds(jax.jit(lambda omega: jax.jvp(rollout, (omega,), (omega,))), omega, steps)
    return row


def growth(size, backend):
    """Temporary memory of a checkpointed gradient over more and more steps."""
    grid = wns.Grid((size, size))
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, backend=backend, check_finite=False)
    omega = jnp.zeros(grid.shape, jnp.float32)
    bytes_of = {}
    for steps in (100, 1000, 10000):
        bytes_of[steps] = temporaries(jax.grad(lambda w, n=steps: jnp.mean(solver.rollout(w, steps=n) ** 2)), omega)
    return {"size": size, "backend": backend, "bytes of a field": omega.nbytes, "bytes by steps": bytes_of}


def summary(row):
    """A row in one line."""
    forward, direct, checkpointed = row["forward direct"], row["gradient direct"], row["gradient checkpointed"]
    memory = [f"{row[name] / 2**20:.0f}" for name in ("bytes direct", "bytes checkpointed")]
    return (
        f"{row['members']:3d} x {row['size']:4d} {row['dtype']} {row['backend']:5s} forward {forward:8.1f} gradient "
        f"{direct:8.1f} / {checkpointed:8.1f} = {direct / forward:.2f} / {checkpointed / forward:.2f} forwards, "
        f"jvp {row['jvp'] / forward:.2f}, MiB {' / '.join(memory)}"
    )


def main():
    """Measure all cases and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--backends", nargs="+", default=["warp", "xla"])
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    report = {
        "command": "python docs/benchmarks/gradient_cost.py",
        "device": jax.devices()[0].device_kind,
        "versions": wns.info().versions,
        "unit": "microseconds a step",
        "rows": [],
        "growth": [],
    }
    for case in CASES:
        for backend in options.backends:
            if backend == "xla" and case[3] == "float64":
                continue
            row = measure(*case, backend)
            report["rows"].append(row)
            options.output.write_text(json.dumps(report, indent=1))
            print(summary(row), flush=True)
    for backend in options.backends:
        report["growth"].append(growth(512, backend))
        print(report["growth"][-1])
    options.output.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
