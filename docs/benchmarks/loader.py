"""Measure how fast windows of frames are loaded, beside a plain memory-mapped array.

    python docs/benchmarks/loader.py > docs/benchmarks/loader.txt

Every row takes random windows of two frames of vorticity, 16 to a batch, as JAX arrays on the CPU. "Memory-mapped" is
`numpy.load(..., mmap_mode="r")` of the same frames. "Chunk by chunk" is h5py's own indexing. Wall time and CPU time are
the least over repetitions, which other programs on the machine disturb least.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns

BATCH, WINDOW = 16, 2


def main():
    """Print one table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="points along each side of the box")
    parser.add_argument("--batches", type=int, default=60, help="batches of a repetition")
    parser.add_argument("--repetitions", type=int, default=5, help="repetitions of each row")
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPU cores, jax {jax.__version__}, h5py {h5py.__version__}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            table(Path(folder), size, options.batches, options.repetitions)


def table(folder: Path, size: int, batches: int, repetitions: int):
    """Write a set, and print how fast it is read in each way."""
    ensemble = wns.data.Ensemble(
        (size, size),
        count=16 if size <= 64 else 4,
        steps=300,
        save_every=5,
        dt=0.08 * 2 * np.pi / size,
        viscosity=5e-3,
        initial_wavenumber=6,
    )
    path = folder / "train.hdf5"
    wns.data.generate(path, ensemble)
    with h5py.File(path) as file:
        frames: Any = file["t0_fields/vorticity"]
        megabytes, frames_in_chunk = frames.size * 4 / 2**20, frames.chunks[1]
        np.save(folder / "frames.npy", np.ascontiguousarray(frames[:].swapaxes(2, 3)))
    print(f"\n{size} x {size}: {megabytes:.0f} MiB of vorticity, {frames_in_chunk} frames in a chunk")
    print(f"{'':34}{'samples/s':>12}{'ms a batch':>12}{'CPU ms a batch':>16}")
    key = jax.random.key(0)
    mapped = np.load(folder / "frames.npy", mmap_mode="r")
    ways: dict[str, Callable[[], Iterable[Any]]] = {
        "memory-mapped": lambda: of_array(mapped, batches),
        "h5py, chunk by chunk": lambda: of_h5py(path, batches),
    }
    with wns.data.open(path, cache_bytes=0) as nothing, wns.data.open(path) as cached:
        for _ in cached.batches(BATCH, window=WINDOW):
            pass  # the first epoch
        more = {"key": key, "window": WINDOW, "epochs": None}
        ways |= {
            "batches, nothing in memory": lambda: nothing.batches(BATCH, **more),
            "batches, no prefetch": lambda: cached.batches(BATCH, prefetch=0, **more),
            "batches": lambda: cached.batches(BATCH, **more),
            "batches, normalised": lambda: cached.batches(BATCH, normalise="rms", **more),
        }
        for name, way in ways.items():
            wall, cpu = measured(way, batches, repetitions)
            print(f"{name:34}{BATCH / wall:12,.0f}{wall * 1e3:12.2f}{cpu * 1e3:16.2f}")


def of_array(frames: np.ndarray, batches: int):
    """Yield batches of a plain array."""
    draw = np.random.default_rng(0)
    for _ in range(batches + 2):
        rows, starts = draw.integers(len(frames), size=BATCH), draw.integers(frames.shape[1] - 1, size=BATCH)
        windows = [frames[row, start : start + WINDOW] for row, start in zip(rows, starts, strict=True)]
        yield {"vorticity": jnp.asarray(np.stack(windows))}


def of_h5py(path: Path, batches: int):
    """Yield batches as h5py reads them."""
    with h5py.File(path) as file:
        frames: Any = file["t0_fields/vorticity"]
        for batch in of_array(frames, batches):
            yield {"vorticity": batch["vorticity"].swapaxes(2, 3)}


def measured(way: Callable[[], Iterable[Any]], batches: int, repetitions: int) -> tuple[float, float]:
    """Return wall and CPU seconds of a batch."""
    walls, cpus = [], []
    for _ in range(repetitions):
        iterator = iter(way())
        jax.block_until_ready(next(iterator))
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(batches):
            jax.block_until_ready(next(iterator))
        walls.append((time.perf_counter() - wall) / batches)
        cpus.append((time.process_time() - cpu) / batches)
    return min(walls), min(cpus)


if __name__ == "__main__":
    main()
