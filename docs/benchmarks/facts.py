"""Measures accuracy, double precision, the host's share, compilation and long gradients, beside `warpjaxns bench`.

python docs/benchmarks/facts.py --output docs/benchmarks/facts.json
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

FIRST_CALL = """
import time; start = time.perf_counter()
import jax, jax.numpy as jnp
import warpjaxns as wns
grid = wns.Grid(({size}, {size}))
solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, backend="warp")
omega = jnp.zeros(grid.shape); jnp.sum(omega).block_until_ready()
imported = time.perf_counter()
jax.jit(lambda w: {what})(omega).block_until_ready()
print(time.perf_counter() - imported)
"""
CALLS = {
    "rollout": "solver.rollout(w, steps=100)",
    "gradient": "jax.grad(lambda w: jnp.mean(solver.rollout(w, steps=100) ** 2))(w)",
}


def first_calls(size: int) -> dict:
    """Return the seconds from a started JAX to the first result, with empty and with full caches of kernels."""
    seconds = {}
    for name, what in CALLS.items():
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                program = FIRST_CALL.format(size=size, what=what)
                caches = {"WARP_CACHE_PATH": f"{cache}/warp", "CUDA_CACHE_PATH": f"{cache}/cuda"}  # NVIDIA's compiler's
                command = [sys.executable, "-c", program]
                done = subprocess.run(command, env=os.environ | caches, capture_output=True, text=True, check=True)
                message = any(line.startswith("warpjaxns: compiling") for line in done.stderr.splitlines())
                seconds[f"{name}, {state} cache"] = {"seconds": float(done.stdout.split()[-1]), "message": message}
    return seconds


def record(case, task: str = "forward", **options):
    """Measure one task of Warp, as `warpjaxns bench` does."""
    from warpjaxns.benchmarks import backends, measure

    (of_warp,) = measure(case, backends("warp"), [task], **options)
    if of_warp.error:
        raise RuntimeError(of_warp.error)
    return of_warp


def microseconds(case, steps: int = 500, repeat: int = 5) -> float:
    """Return the microseconds of a step, the median of a few rollouts."""
    return 1e6 * cast(float, record(case, steps=steps, repeat=repeat).seconds_per_step)


def last_state(case, backend: str, steps: int, omega):
    """Return the last state of a rollout."""
    import jax

    import warpjaxns as wns

    settings = {"viscosity": case.viscosity, "dt": case.dt, "check_finite": False, "backend": backend}
    solver = wns.NavierStokes2D(case.grid, **settings)
    return jax.jit(lambda w: solver.rollout(w, steps=steps))(omega)


def accuracy(size: int) -> dict:
    """Return errors after 100 steps in float32 against float64, relative, in the Euclidean norm."""
    import jax.numpy as jnp

    from warpjaxns.benchmarks import Case

    case = Case(size, 1, "float64")
    omega = case.initial_state().astype("float32")
    exact = last_state(case, "xla", 100, omega.astype("float64"))

    def error(backend, dtype):
        actual = last_state(case, backend, 100, omega.astype(dtype))
        return float(jnp.linalg.norm(actual.astype("float64") - exact) / jnp.linalg.norm(exact))

    both = itertools.product(("warp", "xla"), ("float32", "float64"))
    return {f"{backend}, {dtype}": error(backend, dtype) for backend, dtype in both}


def host_share(size: int) -> dict:
    """Measure a step in rollouts of 100 and of 2000 steps, several in a row and a single one.

    The excess of the short rollouts is the host's time.
    """
    from warpjaxns.benchmarks import Case

    short, long = (record(Case(size), steps=steps, repeat=15) for steps in (100, 2000))
    in_a_row, kernels = (1e6 * cast(float, each.seconds_per_step) for each in (short, long))
    by_itself = 1e6 * statistics.median(short.lone_seconds) / short.steps
    share = 1 - kernels / in_a_row
    return {"100 steps": in_a_row, "100 steps by themselves": by_itself, "2000 steps": kernels, "share": share}


def double_precision(size: int) -> dict:
    """Measure a step in both float types."""
    from warpjaxns.benchmarks import Case

    single, double = (microseconds(Case(size, 1, dtype)) for dtype in ("float32", "float64"))
    return {"float32": single, "float64": double, "ratio": double / single}


def schemes(size: int) -> dict:
    """Measure a step with each advection scheme of the finite differences."""
    from warpjaxns import FiniteDifference
    from warpjaxns.benchmarks import Case

    return {name: microseconds(Case(size, discretisation=FiniteDifference(name))) for name in ("arakawa", "central")}


def long_gradient(size: int, steps: int) -> dict:
    """Measure value and gradient of the mean square of a late state with respect to the first."""
    from warpjaxns.benchmarks import Case

    case = Case(size)
    of_gradient = record(case, "gradient checkpointed", steps=steps, gradient_steps=steps, repeat=1)
    return {
        "seconds": of_gradient.median,
        "temporary MiB": of_gradient.memory["temporaries"] / 2**20,
        "norm of the gradient": (cast(float, of_gradient.mean_square) * case.points) ** 0.5,
    }


def main(argv: list[str] | None = None):
    """Measure everything and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", type=int, help="points a side (repeatable; default: 256, 512, 1024)")
    parser.add_argument("--long", type=int, nargs=2, default=(1024, 10_000), metavar=("SIZE", "STEPS"))
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    options = parser.parse_args(argv)
    sizes = options.size or [256, 512, 1024]
    import jax

    jax.config.update("jax_enable_x64", True)
    size, steps = options.long
    facts = {"device": jax.devices()[0].device_kind}
    facts[f"gradient through {steps} steps at {size}"] = long_gradient(size, steps)
    for measure in (accuracy, host_share, double_precision, schemes):
        facts[measure.__name__] = {str(size): measure(size) for size in sizes}
        options.output.write_text(json.dumps(facts, indent=1))
    facts["first call at 512"] = first_calls(512)
    options.output.write_text(json.dumps(facts, indent=1))
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
