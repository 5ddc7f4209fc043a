"""Memory over long use: calls, gradients, traces of new shapes and of the same one, solvers made and dropped.

    python docs/benchmarks/long_use.py --output docs/benchmarks/long_use.json
    python docs/benchmarks/long_use.py --share 0.01 --use calls solvers

Each use runs in a process of its own. Its memory is read after the first tenth and at the end, so that what is made
once does not count, and once more after `jax.clear_caches`. The allocator gives back what is free before each reading:
glibc would keep it. ``--output`` adds figures to a file, so that several runs can go side by side.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

import warpjaxns as wns

COUNTS = {"calls": 100_000, "gradients": 10_000, "solvers": 1_000, "traces": 1_000, "shapes": 1_000}


def solver_of(shape: tuple[int, int], backend: str, viscosity: float = 1e-3) -> wns.NavierStokes2D:
    """Return a solver of few points."""
    return wns.NavierStokes2D(wns.Grid(shape), viscosity=viscosity, dt=1e-3, backend=backend, check_finite=False)


def calls(backend: str) -> Callable[[int], None]:
    """Call one compiled rollout."""
    run, omega = jax.jit(lambda w: solver_of((16, 16), backend).rollout(w, steps=2)), jnp.ones((16, 16))
    return lambda i: jax.block_until_ready(run(omega))


def gradients(backend: str) -> Callable[[int], None]:
    """Call one compiled gradient."""

    def loss(omega):
        return jnp.mean(solver_of((16, 16), backend).rollout(omega, steps=4) ** 2)

    run, omega = jax.jit(jax.value_and_grad(loss)), jnp.ones((16, 16))
    return lambda i: jax.block_until_ready(run(omega))


def solvers(backend: str) -> Callable[[int], None]:
    """Make a solver with another viscosity, use it, and drop it."""
    omega = jnp.ones((16, 16))
    return lambda i: jax.block_until_ready(solver_of((16, 16), backend, 1e-3 + 1e-6 * i).rollout(omega, steps=2))


def traces(backend: str) -> Callable[[int], None]:
    """Trace and compile a new function of the same shape, and drop it."""
    omega = jnp.ones((16, 16))
    return lambda i: jax.block_until_ready(
        jax.jit(lambda w: solver_of((16, 16), backend).rollout(w, steps=2) + i)(omega)
    )


def shapes(backend: str) -> Callable[[int], None]:
    """Trace and compile for another number of members."""
    return lambda i: jax.block_until_ready(solver_of((8, 8), backend).rollout(jnp.ones((1 + i, 8, 8)), steps=1))


def plain_traces(backend: str) -> Callable[[int], None]:
    """Trace and compile a function of JAX alone, for comparison."""
    omega = jnp.ones((16, 16))
    return lambda i: jax.block_until_ready(jax.jit(lambda w: jnp.fft.irfft2(jnp.fft.rfft2(w)) + i)(omega))


def plain_shapes(backend: str) -> Callable[[int], None]:
    """Trace and compile a function of JAX alone for another number of members, for comparison."""
    run = jax.jit(lambda w: jnp.fft.irfft2(jnp.fft.rfft2(w)) + jnp.roll(w, 1))
    return lambda i: jax.block_until_ready(run(jnp.ones((1 + i, 8, 8))))


USES = {use.__name__: use for use in (calls, gradients, solvers, traces, shapes, plain_traces, plain_shapes)}


def resident() -> int:
    """Return the bytes of this process in memory, without those that are free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


def measure(name: str, backend: str, count: int, results) -> None:
    """Use it so many times, and put bytes a use and seconds into `results`."""
    use, tenth, begin = USES[name](backend), max(count // 10, 1), time.perf_counter()
    for i in range(tenth):
        use(i)
    before = resident()
    for i in range(tenth, count):
        use(i)
    grown = resident() - before
    seconds = time.perf_counter() - begin
    jax.clear_caches()
    left = resident() - before
    each = {"bytes a use": grown, "bytes a use after jax.clear_caches()": left}
    each = {what: round(number / max(count - tenth, 1)) for what, number in each.items()}
    results.put({"count": count, **each, "seconds": seconds})


def main(argv: list[str] | None = None) -> dict:
    """Measure all, and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="the share of all uses")
    parser.add_argument("--backend", choices=("warp", "xla"), default=["warp", "xla"], nargs="+")
    parser.add_argument("--use", choices=list(USES), default=list(USES), nargs="+")
    parser.add_argument("--output", type=Path, help="a JSON file, to which the figures are added")
    options = parser.parse_args(argv)
    context, figures = multiprocessing.get_context("spawn"), {}
    for backend in options.backend:
        for name in options.use:
            count, results = max(int(options.share * COUNTS.get(name, 1_000)), 20), context.SimpleQueue()
            process = context.Process(target=measure, args=(name, backend, count, results))
            process.start()
            process.join()
            if process.exitcode:
                raise RuntimeError(f"{name} by {backend} ended with {process.exitcode}")
            figures[f"{name}, {backend}"] = result = results.get()
            print(f"{name:13} {backend:5}", *(f"{key} {value:.6g}" for key, value in result.items()), flush=True)
    if options.output:
        kept = json.loads(options.output.read_text()) if options.output.is_file() else {}
        device = f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, Python {platform.python_version()}"
        kept.setdefault(device, {}).update(figures)
        options.output.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return figures


if __name__ == "__main__":
    main()
