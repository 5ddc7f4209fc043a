"""What `warpjaxns bench` does not measure: accuracy, double precision, the host's share, compilation, long gradients.

python docs/benchmarks/facts.py --output docs/benchmarks/facts.json
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    """Seconds from a started JAX to the first result, with an empty kernel cache and with a full one."""
    seconds = {}
    for name, what in CALLS.items():
        with tempfile.TemporaryDirectory() as cache:
            for state in ("cold", "warm"):
                program = FIRST_CALL.format(size=size, what=what)
                environment = os.environ | {"WARP_CACHE_PATH": cache}
                command = [sys.executable, "-c", program]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                message = any(line.startswith("warpjaxns: compiling") for line in done.stderr.splitlines())
                seconds[f"{name}, {state} cache"] = {"seconds": float(done.stdout.split()[-1]), "message": message}
    return seconds


def microseconds(function, *arguments, steps: int, repeat: int = 5) -> float:
    """Of a step, the median of a few calls."""
    import jax
    import numpy as np

    jax.block_until_ready(function(*arguments))
    samples = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        samples.append(1e6 * (time.perf_counter() - start) / steps)
    return float(np.median(samples))


def rollouts(case, backend: str, steps: int, **options):
    """A jitted rollout and its first state."""
    import jax

    import warpjaxns as wns

    settings = {"viscosity": 1e-3, "dt": case.dt, "check_finite": False, "backend": backend} | options
    solver = wns.NavierStokes2D(case.grid, **settings)
    return jax.jit(lambda w: solver.rollout(w, steps=steps)), solver


def accuracy(size: int) -> dict:
    """Errors after 100 steps in float32 against float64, relative, in the Euclidean norm."""
    import jax.numpy as jnp

    from warpjaxns.benchmarks import Case

    case = Case(size, 1, "float64")
    omega = case.initial_state().astype("float32")
    exact = rollouts(case, "xla", 100)[0](omega.astype("float64"))

    def error(backend, dtype):
        actual = rollouts(case, backend, 100)[0](omega.astype(dtype))
        return float(jnp.linalg.norm(actual.astype("float64") - exact) / jnp.linalg.norm(exact))

    both = itertools.product(("warp", "xla"), ("float32", "float64"))
    return {f"{backend}, {dtype}": error(backend, dtype) for backend, dtype in both}


def host_share(size: int) -> dict:
    """Time of a step in rollouts of 100 and of 2000 steps; what is over in the short one is the host's."""
    from warpjaxns.benchmarks import Case

    case = Case(size)
    omega = case.initial_state()
    short, long = (microseconds(rollouts(case, "warp", n)[0], omega, steps=n, repeat=15) for n in (100, 2000))
    return {"100 steps": short, "2000 steps": long, "share": 1 - long / short}


def double_precision(size: int) -> dict:
    """Time of a step in both float types."""
    from warpjaxns.benchmarks import Case

    cases = [Case(size, 1, dtype) for dtype in ("float32", "float64")]
    single, double = (microseconds(rollouts(c, "warp", 500)[0], c.initial_state(), steps=500) for c in cases)
    return {"float32": single, "float64": double, "ratio": double / single}


def schemes(size: int) -> dict:
    """Time of a step with each advection scheme."""
    from warpjaxns.benchmarks import Case

    case = Case(size)
    names = ("arakawa", "central")
    return {
        name: microseconds(rollouts(case, "warp", 500, advection=name)[0], case.initial_state(), steps=500)
        for name in names
    }


def long_gradient(size: int, steps: int) -> dict:
    """Value and gradient of the mean square of a late state with respect to the first."""
    import jax
    import jax.numpy as jnp

    from warpjaxns.benchmarks import Case

    case = Case(size)
    _, solver = rollouts(case, "warp", steps)
    loss = jax.value_and_grad(lambda w: jnp.mean(solver.rollout(w, steps=steps) ** 2))
    omega = case.initial_state()
    compiled = jax.jit(loss).lower(omega).compile()
    compiled(omega)
    start = time.perf_counter()
    value, gradient = jax.block_until_ready(compiled(omega))
    return {
        "seconds": time.perf_counter() - start,
        "temporary MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
        "value": float(value),
        "norm of the gradient": float(jnp.linalg.norm(gradient)),
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
