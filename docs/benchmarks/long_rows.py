"""Measures finite differences with long rows, where the streamfunction goes through memory, against XLA.

    python docs/benchmarks/long_rows.py --output docs/benchmarks/long_rows.json

Results and derivatives of few rows are compared first. Then each backend is timed in turn on the same grids. The files
join runs of some grids and tasks: `long_rows.json` and `long_rows_float64.json`, whose tangents' errors (and all in
float64) were noted with two digits. `long_rows_before.json` has earlier states, and at 8192² blocks that hold psi
(``--longest-row 8192``).
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns._kernels import tuning

COMPARED = [(64, 16384), (64, 32768)]
TIMED = [(8192, 8192), (16384, 16384), (4096, 32768)]
STEPS = 4


def functions(size, backend):
    """Return the rollout, the gradient of its mean square, and its tangent along the state itself."""
    grid = wns.Grid(size, (2 * np.pi * size[0] / size[1], 2 * np.pi))
    solver = wns.NavierStokes2D(grid, viscosity=1e-4, dt=1e-4, backend=backend, check_finite=False)

    def rollout(omega):
        return solver.rollout(omega, steps=STEPS)

    return {
        "forward": rollout,
        "gradient": jax.grad(lambda omega: jnp.mean(rollout(omega) ** 2)),
        "tangent": lambda omega: jax.jvp(rollout, (omega,), (omega,))[1],
    }


def start(size, dtype):
    """Return a vorticity of long waves, with noise of single points beside them."""
    y, x = (jnp.arange(n, dtype=dtype) * (2 * np.pi / n) for n in size)
    waves = jnp.sin(2 * x)[None, :] * jnp.cos(y)[:, None] + jnp.sin(3 * y + 1)[:, None]
    return waves + 0.1 * jax.random.normal(jax.random.key(0), size, dtype)


def error(size, dtype):
    """Return the relative differences of Warp from XLA."""
    omega, made = jax.jit(lambda: start(size, dtype))(), {}
    for backend in ("warp", "xla"):
        made[backend] = {name: jax.jit(f)(omega) for name, f in functions(size, backend).items()}
    return {
        name: float(jnp.linalg.norm(made["warp"][name] - exact) / jnp.linalg.norm(exact))
        for name, exact in made["xla"].items()
    }


def measure(size, dtype, backend, task, repeat):
    """Return the microseconds a step, and nanoseconds a point."""
    omega = jax.jit(lambda: start(size, dtype))()
    program = jax.jit(functions(size, backend)[task]).lower(omega).compile()
    jax.block_until_ready(program(omega))
    samples = []
    for _ in range(repeat):
        before = time.perf_counter()
        jax.block_until_ready(program(omega))
        samples.append(1e6 * (time.perf_counter() - before) / STEPS)
    median = statistics.median(samples)
    return {"microseconds_a_step": median, "nanoseconds_a_point": 1e3 * median / (size[0] * size[1])}


def main():
    """Compare, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compared", nargs="*", type=lambda text: tuple(map(int, text.split("x"))), default=COMPARED)
    parser.add_argument("--timed", nargs="*", type=lambda text: tuple(map(int, text.split("x"))), default=TIMED)
    parser.add_argument("--tasks", nargs="+", default=["forward", "gradient"])
    parser.add_argument("--backends", nargs="+", default=["warp", "xla"])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--longest-row", type=int, help="points of a row above which psi goes through memory")
    parser.add_argument("--longest-column", type=int, help="points of a column that is not solved in parts")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", given.dtype == "float64")
    tuning.LONGEST_ROW = given.longest_row or tuning.LONGEST_ROW
    tuning.LONGEST_COLUMN = given.longest_column or tuning.LONGEST_COLUMN
    found = {"device": jax.devices()[0].device_kind, "dtype": given.dtype, "errors": {}, "times": {}}
    found |= {"longest_row": given.longest_row, "longest_column": given.longest_column}
    for size in given.compared:
        found["errors"]["{}x{}".format(*size)] = error(size, given.dtype)
        print(size, found["errors"]["{}x{}".format(*size)], flush=True)
    for size in given.timed:
        for task in given.tasks:
            for backend in given.backends:
                name = "{}x{} {} {}".format(*size, task, backend)
                found["times"][name] = measure(size, given.dtype, backend, task, given.repeat)
                print(name, found["times"][name], flush=True)
                if given.output:
                    given.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
