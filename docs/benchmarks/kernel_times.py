"""Prints the microseconds of each kernel of a step by finite differences, and of its sweep, on a single large grid.

    python docs/benchmarks/kernel_times.py 16384x16384 8192x8192 4096x32768
    python docs/benchmarks/kernel_times.py 8192x8192 --through-memory

Kernels are launched one after the other by Warp, without JAX and without graphs, and timed by its events.
"""

import argparse
import dataclasses

import numpy as np
import warp as wp

from warpjaxns import Grid
from warpjaxns._coefficients import STAGES, column_modes, metric
from warpjaxns._kernels.fft.transforms import roots_of_unity
from warpjaxns._kernels.finite_difference import stage, sweep
from warpjaxns._kernels.finite_difference.places import Tables
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.finite_difference.setting import Setting
from warpjaxns._kernels.hardware.address_table import NO_ARRAY, buffers
from warpjaxns._kernels.hardware.numbers import complex_type
from warpjaxns._kernels.parameters import parameters


def launches(shape, task, device, **changes):
    """Return a function that launches a step, or the sweep over one, for a plan with these `changes`."""
    (ny, nx), spacing = shape, Grid(shape, (2 * np.pi * shape[0] / shape[1], 2 * np.pi)).spacing
    plan = make_plan(shape, "float32", shared_memory=device.max_shared_memory_per_block)
    plan = dataclasses.replace(plan.by_memory if changes.pop("through_memory", False) else plan, **changes)
    cut = plan if task == "forward" else plan.for_adjoint
    omega = np.broadcast_to(np.random.default_rng(0).standard_normal(nx), (1, ny, nx))
    number, sides = complex_type(plan.real), {} if task == "forward" else {"sides": 1 + cut.fused}
    arrays = [
        wp.array(column_modes(shape, spacing).astype("float32"), dtype=plan.column_chunks.Mode, device=device),
        wp.array(roots_of_unity(nx, "float32"), dtype=number, device=device),
        *(wp.array([x], dtype=plan.real, device=device) for x in (1e-4, 0.0, 1e-4)),
        wp.array(omega.astype("float32"), dtype=plan.real, device=device),
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

    keep = arrays, table  # buffers know their addresses alone
    return lambda: (step() if task == "forward" else back(), keep)[0]


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
    parser.add_argument("--tasks", nargs="+", choices=["forward", "sweep"], default=["forward", "sweep"])
    parser.add_argument("--through-memory", action="store_true", help="also where rows are short enough for lines")
    parser.add_argument("--occupancy", type=int, help="threads that are to share a multiprocessor")
    parser.add_argument("--device", default="cuda:0")
    options = parser.parse_args(argv)
    wp.config.log_level = wp.LOG_WARNING
    device, changes = wp.get_device(options.device), {"through_memory": options.through_memory}
    if options.occupancy:
        changes["occupancy"] = options.occupancy
    for size in options.sizes:
        for task in options.tasks:
            found = times(launches(size, task, device, **changes))
            print(*size, task, changes, found, "sum", sum(map(sum, found.values())), flush=True)


if __name__ == "__main__":
    main()
