"""Twelve reference runs: checksums of their bits, and the numbers themselves at a few points.

    python docs/benchmarks/answers.py            # run them, and compare with answers.json
    python docs/benchmarks/answers.py --write    # keep the answers of this kind of device

Bits depend on the kind of device, on a CPU also on its model, on the versions of JAX and Warp, and on XLA's flags.
Numbers do not depend on any, but for rounding. `tests/test_answers.py` compares them.
"""

import argparse
import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns

FILE = Path(__file__).with_name("answers.json")
GRID = wns.Grid((48, 64), extent=(1.5, 2.0))
STEPS, POINTS = 20, 5
ROUNDING = {"float32": 1e-5, "float64": 1e-11}  # of the largest number of an answer
SPECTRAL: dict[str, Any] = {"discretisation": wns.Spectral()}


def field(seed: int, dtype: str, members: int | None = None) -> jax.Array:
    """Return waves with phases of NumPy's generator, whose numbers are the same everywhere."""
    random, (ny, nx) = np.random.default_rng(seed), GRID.shape
    y, x = 2 * np.pi * np.arange(ny)[:, None] / ny, 2 * np.pi * np.arange(nx) / nx
    count = members or 1
    waves = np.sum(
        [
            random.standard_normal((count, 1, 1)) * np.cos(ky * y + kx * x + 2 * np.pi * random.random((count, 1, 1)))
            for ky in range(4)
            for kx in range(-3, 4)
        ],
        axis=0,
    )
    return jnp.asarray(waves if members else waves[0], dtype)


def solver_of(backend: str, **options) -> wns.NavierStokes2D:
    """Return a solver, with the given options in place of these."""
    return wns.NavierStokes2D(GRID, **{"viscosity": 2e-3, "dt": 5e-3, "drag": 0.1, "backend": backend, **options})


def rollout(dtype: str, members: int | None = None, **options) -> Callable[[str], jax.Array]:
    """Return the run of a state: its last one."""
    return lambda backend: solver_of(backend, **options).rollout(field(0, dtype, members), steps=STEPS)


def gradient(dtype: str, **options) -> Callable[[str], jax.Array]:
    """Return the run of a gradient with respect to the initial state."""

    def run(backend):
        def loss(omega):
            return jnp.mean(solver_of(backend, **options).rollout(omega, steps=STEPS) ** 2)

        return jax.grad(loss)(field(0, dtype))

    return run


def tangent(dtype: str, **options) -> Callable[[str], jax.Array]:
    """Return the run of a derivative in a direction."""

    def run(backend):
        def final(omega):
            return solver_of(backend, **options).rollout(omega, steps=STEPS)

        return jax.jvp(final, (field(0, dtype),), (field(1, dtype),))[1]

    return run


def carried(backend: str) -> jax.Array:
    """Return vorticity and scalar of a buoyant flow, one above the other."""
    scalars = (wns.Scalar(diffusivity=1e-3, mean_gradient=(0.0, 1.0), buoyancy=(0.0, 1.0)),)
    state = wns.State(field(0, "float64"), (field(1, "float64"),))
    last = solver_of(backend, scalars=scalars, **SPECTRAL).rollout(state, steps=STEPS)
    return jnp.concatenate([last.vorticity, *last.scalars])


def body() -> wns.Obstacle:
    """Return a cylinder."""
    return wns.obstacles.cylinder(GRID, centre=(0.7, 0.9), radius=0.2, permeability=0.02)


def runs() -> dict[str, Callable[[str], jax.Array]]:
    """Return all runs by name. Each takes a backend."""
    return {
        "finite differences, float32": rollout("float32"),
        "finite differences, float64": rollout("float64"),
        "central advection, three members": rollout("float64", 3, discretisation=wns.FiniteDifference("central")),
        "gradient, float32": gradient("float32"),
        "derivative in a direction, forced": tangent("float64", forcing=field(2, "float64")),
        "Fourier modes, float32": rollout("float32", **SPECTRAL),
        "Fourier modes, float64, three members": rollout("float64", 3, **SPECTRAL),
        "rk3 with the smooth filter": rollout("float64", discretisation=wns.Spectral("rk3", "smooth")),
        "gradient of Fourier modes": gradient("float64", **SPECTRAL),
        "beta plane with a deformation radius": rollout(
            "float64", beta=20.0, mean_flow=(0.5, 0.0), deformation_radius=0.4, **SPECTRAL
        ),
        "a cylinder in a stream": rollout("float64", mean_flow=(1.0, 0.0), obstacle=body(), **SPECTRAL),
        "a buoyant scalar": carried,
    }


def kind() -> str:
    """Return the kind of device that the runs take."""
    device = jax.devices()[0]
    return platform.machine() if device.platform == "cpu" else device.device_kind


def processor() -> str:
    """Return the model of the CPU, whose instructions XLA uses."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def answer(name: str, backend: str) -> dict:
    """Run one, and return its checksum and a few of its numbers."""
    with jax.enable_x64(True):
        values = np.asarray(runs()[name](backend))
    flat = values.ravel()
    places = np.linspace(0, flat.size - 1, POINTS).astype(int)
    return {
        "sha256": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
        "dtype": values.dtype.name,
        "largest": float(np.abs(flat).max()),
        "numbers": [float(flat[place]) for place in places],
    }


def differ(one: dict, other: dict) -> str | None:
    """Return how the numbers of two answers differ by more than rounding, or None."""
    if one["dtype"] != other["dtype"]:
        return f"{one['dtype']} instead of {other['dtype']}"
    scale = ROUNDING[one["dtype"]] * other["largest"]
    given = zip((*one["numbers"], one["largest"]), (*other["numbers"], other["largest"]), strict=True)
    worst = max(abs(a - b) for a, b in given)
    return None if worst <= scale else f"numbers differ by {worst:.1e}, more than {scale:.1e}"


def versions() -> dict[str, str]:
    """Return those on which bits depend."""
    return {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "warp-lang")}


def main(argv: list[str] | None = None) -> int:
    """Run all, by both backends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the answers of this kind of device")
    options = parser.parse_args(argv)
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    here: dict = {"versions": versions(), "processor": processor(), "answers": {}}
    failed = 0
    with jax.enable_x64(True):
        names = list(runs())
    for name in names:
        for backend in ("xla", "warp"):
            made = here["answers"].setdefault(name, {})[backend] = answer(name, backend)
            again = answer(name, backend)["sha256"] == made["sha256"]
            known = kept.get(kind(), {}).get("answers", {}).get(name, {}).get(backend)
            problem = None if known is None else differ(made, known)
            bits = known is not None and known["sha256"] == made["sha256"]
            failed += bool(problem) or not again
            said = problem or ("same bits" if bits else "same numbers" if known else "new")
            print(f"{name:40} {backend:5} {said}{'' if again else '; not the same bits again'}", flush=True)
    if options.write:
        FILE.write_text(json.dumps({**kept, kind(): here}, indent=1, sort_keys=True) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
