"""Prints the microseconds of each kernel of a step by finite differences, and of its sweep, on a single large grid.

    python docs/benchmarks/kernel_times.py 16384x16384 8192x8192 4096x32768
    python docs/benchmarks/kernel_times.py 8192x8192 --through-memory
    python docs/benchmarks/kernel_times.py 4096x8192 --tasks solve --longest-column 2048    # columns in parts

Kernels are launched one after the other by Warp, without JAX and without graphs, and timed by its events.
"""

import argparse
import dataclasses

import numpy as np
import warp as wp

from warpjaxns import Grid
from warpjaxns._coefficients import STAGES, column_modes, metric
from warpjaxns._kernels import tuning
from warpjaxns._kernels.fft.transforms import roots_of_unity
from warpjaxns._kernels.finite_difference import stage, sweep
from warpjaxns._kernels.finite_difference.places import Tables
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.finite_difference.poisson import Spectra
from warpjaxns._kernels.finite_difference.setting import Setting
from warpjaxns._kernels.hardware.address_table import NO_ARRAY, buffers
from warpjaxns._kernels.hardware.numbers import complex_type
from warpjaxns._kernels.parameters import parameters


def launches(shape, task, dtype, device, **changes):
    """Return a function that launches a task: a step, the sweep over one, or three times the solve along y by columns.

    `changes` are those of the plan.
    """
    (ny, nx), spacing = shape, Grid(shape, (2 * np.pi * shape[0] / shape[1], 2 * np.pi)).spacing
    plan = make_plan(shape, dtype, shared_memory=device.max_shared_memory_per_block)
    through_memory = changes.pop("through_memory", False) or task == "solve"
    plan = dataclasses.replace(plan.by_memory if through_memory else plan, **changes)
    cut = plan.for_adjoint if task == "sweep" else plan
    omega = np.broadcast_to(np.random.default_rng(0).standard_normal(nx), (1, ny, nx))
    number, sides = complex_type(plan.real), {"sides": 1 + cut.fused} if task == "sweep" else {}
    arrays = [
        wp.array(column_modes(shape, spacing).astype(dtype), dtype=plan.column_chunks.Mode, device=device),
        wp.array(roots_of_unity(nx, dtype), dtype=number, device=device),
        *(wp.array([x], dtype=plan.real, device=device) for x in (1e-4, 0.0, 1e-4)),
        wp.array(omega.astype(dtype), dtype=plan.real, device=device),
        wp.zeros((1, ny, nx), dtype=plan.real, device=device),
        wp.zeros((4, 1, ny, nx), dtype=plan.real, device=device),
        *(wp.zeros(size, dtype=number, device=device) for size in cut.scratch(1, **sides)),
    ]
    table = wp.array(np.array([array.ptr for array in arrays], np.uint64), dtype=wp.uint64, device=device)
    modes, roots, viscosity, drag, dt, omega, out, work, *scratch = buffers(table, arrays)
    setting = Setting(plan, "arakawa", metric(spacing), 1, Tables(modes, roots))
    given, fields = parameters(viscosity, drag, dt, NO_ARRAY), [work[i] for i in range(4)]

    def step():
        psis = [fields[3]] * STAGES if plan.through_memory else None
        stage.advance(setting, given, omega, [fields[0], fields[1], out], psis, scratch)

    def back():
        kept, used = ([omega] * STAGES, [omega] * STAGES), fields[: 3 + cut.through_memory]
        sweep.adjoint(setting, given, dt, kept, omega, out, used, scratch, (None,) * 4)

    def solve():
        spectra = Spectra(cut, setting.tables, scratch)
        for _ in range(STAGES):
            spectra.solve()

    keep = arrays, table  # buffers know their addresses alone
    chosen = {"forward": step, "sweep": back, "solve": solve}[task]
    return lambda: (chosen(), keep)[0]


def times(launch) -> dict[str, list[int]]:
    """Return the microseconds of each launch of a kernel, by the kernel's name, the second time."""
    launch()
    wp.synchronize()
    wp.timing_begin(cuda_filter=wp.TIMING_KERNEL)
    launch()
    found: dict[str, list[int]] = {}
    for result in wp.timing_end():
        name = result.name.split("forward kernel ")[-1].split("__locals__")[-1]
        found.setdefault(name, []).append(round(1e3 * result.elapsed))
    return found


def main(argv: list[str] | None = None):
    """Print the times of all grids."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", type=lambda text: tuple(map(int, text.split("x"))), help="ROWSxPOINTS")
    parser.add_argument("--tasks", nargs="+", choices=["forward", "sweep", "solve"], default=["forward", "sweep"])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--through-memory", action="store_true", help="also where rows are short enough for lines")
    parser.add_argument("--longest-column", type=int, default=tuning.LONGEST_COLUMN, help="longer ones are in parts")
    parser.add_argument("--occupancy", type=int, help="threads that are to share a multiprocessor")
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args(argv)
    wp.config.log_level = wp.LOG_WARNING
    device, changes = wp.get_device(options.device), {"through_memory": options.through_memory}
    if options.occupancy:
        changes["occupancy"] = options.occupancy
    tuning.LONGEST_COLUMN = options.longest_column
    for size in options.sizes:
        for task in options.tasks:
            found = times(launches(size, task, options.dtype, device, **changes))
            how = options.dtype, changes, "longest column", tuning.LONGEST_COLUMN
            print(*size, task, *how, found, "sum", sum(map(sum, found.values())), flush=True)


if __name__ == "__main__":
    main()
