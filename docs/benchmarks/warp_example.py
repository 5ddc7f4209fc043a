"""Measures the optimal perturbation by Warp's own example and by warpjaxns, from the same fields, on one GPU.

    python docs/benchmarks/warp_example.py --output docs/benchmarks/warp_example.json

Warp's `example_navier_stokes_perturbation` runs first and saves its base field and first perturbation (transposed: its
first axis is x). Both then take the same steps of Adam, with the same projection. Each side runs in its own process, so
that peak memory is measured apart. For sizes other than 512, Warp's example runs from a copy with another constant.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast


def example_of(size: int, folder: Path):
    """Return Warp's example as a module, on a grid of a given size."""
    original = cast(Any, importlib.util.find_spec("warp.examples.optim.example_navier_stokes_perturbation")).origin
    source, constant = Path(original).read_text(), "\nN_GRID = 512\n"
    if source.count(constant) != 1:
        raise RuntimeError(f"{original} does not set N_GRID = 512: this script was written for the one of Warp 1.19")
    copy = folder / "example.py"
    copy.write_text(source.replace(constant, f"\nN_GRID = {size}\n"))
    spec = cast(Any, importlib.util.spec_from_file_location("example", copy))
    module = importlib.util.module_from_spec(spec)
    sys.modules["example"] = module
    spec.loader.exec_module(module)
    return module


def warp_side(folder: Path, size: int, steps: int, iterations: int) -> dict:
    """Run Warp's example, and save its fields in `folder`."""
    import numpy as np
    import warp as wp

    wp.init()
    device, module = wp.get_device("cuda:0"), example_of(size, folder)
    with wp.ScopedDevice(device):
        example = module.Example(lead_steps=steps)
        np.savez(folder / "fields.npz", base=example.omega_0.numpy().T, delta=example.delta_omega.numpy().T)
        losses, seconds = [], []
        for _ in range(iterations):
            wp.synchronize_device()
            start = time.perf_counter()
            example.step()
            losses.append(float(example.loss.numpy()[0]))  # waits for the device
            seconds.append(time.perf_counter() - start)
    return {
        "size": module.N_GRID,
        "dt": module.DT,
        "reynolds": module.RE,
        "losses": losses,
        "milliseconds": 1e3 * float(np.median(seconds)),
        "peak_bytes": wp.get_mempool_used_mem_high(device),
        "warp": wp.__version__,
    }


def our_side(folder: Path, size: int, steps: int, iterations: int, adjoint: str, backend: str) -> dict:
    """Run warpjaxns from the fields in `folder`."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import warpjaxns as wns
    from warpjaxns.experiments import optimal_perturbation

    fields = np.load(folder / "fields.npz")
    solver = wns.NavierStokes2D(
        wns.Grid((size, size)),
        viscosity=1e-3,
        dt=1e-3,
        discretisation=wns.FiniteDifference("central"),
        adjoint={"direct": wns.Direct(), "checkpointed": wns.Checkpointed()}[adjoint],
        backend=backend,
    )
    base, delta = (jnp.asarray(fields[name], jnp.float32) for name in ("base", "delta"))
    result = optimal_perturbation(
        solver, base, delta, steps=steps, radius=0.2, learning_rate=0.01, iterations=iterations
    )
    return {
        "adjoint": adjoint,
        "backend": backend,
        "losses": result.losses.tolist(),
        "milliseconds": 1e3 * result.seconds_per_iteration,
        "compile_seconds": result.compile_seconds,
        "peak_bytes": jax.devices()[0].memory_stats()["peak_bytes_in_use"],
        "compiled_bytes": result.memory,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }


def main():
    """Run all sides and write the JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)  # of a child process: side, folder, size, ...
    options = parser.parse_args()
    if options.side:
        side, folder, size, steps, *rest = options.side
        run = {"warp": warp_side, "ours": our_side}[side]
        options.output.write_text(json.dumps(run(Path(folder), int(size), int(steps), options.iterations, *rest)))
        return

    def child(iterations, *side):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "out.json"
            command = [sys.executable, __file__, "--output", str(out), "--iterations", str(iterations), "--side", *side]
            subprocess.run(command, check=True, env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"})
            return json.loads(out.read_text())

    report: dict[str, Any] = {"command": "python docs/benchmarks/warp_example.py"}
    with tempfile.TemporaryDirectory() as folder:
        for size, steps, iterations in ((512, 80, options.iterations), (512, 160, 5), (1024, 80, 20)):
            case = folder, str(size), str(steps)
            runs = {"warp example": child(iterations, "warp", *case)}
            for adjoint in ("direct", "checkpointed"):
                runs[f"warpjaxns {adjoint}"] = child(iterations, "ours", *case, adjoint, "warp")
            runs["warpjaxns xla checkpointed"] = child(min(iterations, 50), "ours", *case, "checkpointed", "xla")
            report[f"{steps} steps at {size} x {size}"] = runs
    options.output.write_text(json.dumps(report, indent=1))
    for case, runs in report.items():
        for name, run in runs.items() if isinstance(runs, dict) else ():
            at = [f"{run['losses'][i]:.4f}" for i in (0, 49, 299) if i < len(run["losses"])]
            print(f"{case}  {name:28s} {run['milliseconds']:8.2f} ms  {run['peak_bytes'] / 2**20:8.0f} MiB  loss {at}")


if __name__ == "__main__":
    main()
