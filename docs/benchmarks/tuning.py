"""Times every plan of every flow kernel alone, on a CUDA device, and says which is fastest.

    python docs/benchmarks/tuning.py --output docs/benchmarks/tuning.json

Plans are compiled by several processes first. Then each kernel is launched 20 times in a CUDA graph; the best of four
replays counts, so this compares kernels and says nothing about hosts. The constants of `warpjaxns/_kernels/plan.py`
come from its answers.
"""

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import warp as wp

from warpjaxns._kernels import adjoint, advance, memory, poisson, tangent
from warpjaxns._kernels.fft import complex_type, roots_of_unity
from warpjaxns._kernels.plan import LARGEST_BLOCK, Plan, make_plan
from warpjaxns._kernels.stencils import metric, stencils

CASES = [(64, 64), (64, 1024), (128, 64), (128, 1024), (256, 1), (256, 16), (256, 64), (512, 1), (512, 16), (512, 64)]
CASES += [(1024, 1), (1024, 16), (2048, 1), (4096, 1)]  # (points a side, members)
KINDS = ("columns", "stage", "source", "adjoint", "tangent")
LAUNCHES = 20


def plans(n: int, members: int, kind: str):
    """All ways to cut a kernel's work that are worth a try."""
    default = make_plan((n, n), "float32", members)
    radices = (4, 8, 16) if n <= 256 else (8, 16)
    if kind == "columns":
        for radix, columns in itertools.product(radices, (2, 4, 8)):
            yield dataclasses.replace(default, radices=(16, radix), columns=columns)
    else:
        rows = (4, 8, 16) if n <= 128 else (2, 4, 8)
        bands = (True, False) if kind != "tangent" else (False,)
        for radix, number, resident, banded in itertools.product(radices, rows, (256, 512, 768, 1024), bands):
            yield dataclasses.replace(default, radices=(radix, 16), rows=number, resident=resident, banded=banded)


def build(plan: Plan, kind: str):
    """A kernel and the lines that its blocks transform, or None where a block would need too much."""
    lines, bands = {
        "columns": (plan.column_lines, 0),
        "stage": (plan.stage_lines, 1),
        "source": (plan.band_lines, 2),
        "adjoint": (plan.band_lines, 2),
        "tangent": (plan.tangent_lines, 0),
    }[kind]
    if lines.block_dim > LARGEST_BLOCK or lines.nbytes + bands * plan.band_bytes * plan.banded > 220 * 1024:
        return None
    make = {
        "columns": lambda: poisson.solve_columns(plan),
        "stage": lambda: advance.stage_rows(plan, "arakawa", forced=False, keep_psi=False),
        "source": lambda: adjoint.source_rows(plan, "arakawa"),
        "adjoint": lambda: adjoint.adjoint_rows(plan, "arakawa"),
        "tangent": lambda: tangent.tangent_rows(plan, "arakawa", forced=False),
    }
    return make[kind](), lines


def compile_one(job):
    """In a process of its own: what it compiles is found in the cache later."""
    plan, kind = job
    built = build(plan, kind)
    if built:
        built[0].module.load(wp.get_device("cuda:0"), built[1].block_dim)


class Arrays:
    """What the kernels of one case work on; its contents do not matter."""

    def __init__(self, n: int, members: int):
        plan = make_plan((n, n), "float32", members)
        number = complex_type(plan.real)

        def values(x, dtype=wp.float32):
            return wp.array(np.asarray(x, np.float32), dtype=dtype)

        constants = [values(np.linspace(1, 2, n)), values([1e-3]), values(roots_of_unity(n, "float32"), number)]
        fields = [wp.zeros((members, n, n), dtype=float) for _ in range(4)]
        spectra = [wp.zeros((2 * members, n, plan.pitch), dtype=number) for _ in range(2)]
        self.arrays = [*constants, *fields, *spectra]
        table = wp.array(np.array([array.ptr for array in self.arrays], np.uint64), dtype=wp.uint64)
        buffers = memory.buffers(table, self.arrays)
        self.eigenvalues, self.parameter, self.roots, *self.fields = buffers[:7]
        self.spectra = buffers[7:]
        self.metric = stencils(plan.real).Metric(*metric((0.01, 0.01)))

    def arguments(self, plan: Plan, kind: str, members: int):
        """The arguments of a launch, and how many blocks it has."""
        w, dw, out, dout = self.fields
        (z, dz), (y, dy) = (spectrum.halves() for spectrum in self.spectra)
        physics, m, r, none = [self.parameter] * 3, self.metric, self.roots, memory.NONE
        blocks = members * (poisson.column_blocks(plan) if kind == "columns" else plan.bands)
        weights = [0.75, 0.25, 0.25, m]
        return {
            "columns": [self.eigenvalues, self.eigenvalues, r, z],
            "stage": [*weights, *physics, none, 0, w, dw, z, r, out, y, out],
            "source": [w, dw, m, r, y],
            "adjoint": [0.0, 0.0, 0.25, 0.25, m, *physics, dw, dw, dw, w, z, r, out],
            "tangent": [*weights, *physics, none, *physics, none, 0, w, w, dw, dw, z, dz, r, out, dout, y, dy],
        }[kind], blocks


def microseconds(kernel, arguments, blocks, block_dim) -> float:
    """Of one launch."""
    with wp.ScopedCapture() as capture:
        for _ in range(LAUNCHES):
            memory.launch(kernel, blocks, arguments, block_dim)
    wp.capture_launch(capture.graph)
    wp.synchronize()
    samples = []
    for _ in range(4):
        start = time.perf_counter()
        for _ in range(4):
            wp.capture_launch(capture.graph)
        wp.synchronize()
        samples.append((time.perf_counter() - start) / (4 * LAUNCHES))
    return 1e6 * min(samples)


def main(argv: list[str] | None = None):
    """Time what the options ask for and write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=KINDS, help="a kernel (repeatable; default: all)")
    parser.add_argument("--size", action="append", type=int, help="points a side (repeatable; default: all)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that compile at the same time")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    options = parser.parse_args(argv)
    wp.config.quiet = True
    if not wp.is_cuda_available():
        parser.error("there is no CUDA device")
    cases = [case for case in CASES if options.size is None or case[0] in options.size]
    jobs = [(c, plan, kind) for c in cases for kind in options.kind or KINDS for plan in plans(*c, kind)]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        list(pool.imap_unordered(compile_one, [job[1:] for job in jobs], chunksize=4))
    records = []
    with wp.ScopedDevice("cuda:0"):
        for case, of_case in itertools.groupby(jobs, key=lambda job: job[0]):
            arrays = Arrays(*case)
            for _, plan, kind in of_case:
                built = build(plan, kind)
                if built is None:
                    continue
                kernel, lines = built
                arguments, blocks = arrays.arguments(plan, kind, case[1])
                time_ = microseconds(kernel, arguments, blocks, lines.block_dim)
                cut = {name: getattr(plan, name) for name in ("rows", "columns", "radices", "resident", "banded")}
                records.append({"n": case[0], "members": case[1], "kernel": kind, "plan": cut, "microseconds": time_})
            for kind in options.kind or KINDS:
                best = min((r for r in records if (r["n"], r["members"], r["kernel"]) == (*case, kind)), key=_time)
                print(*case, kind, f"{best['microseconds']:.2f} us", best["plan"], flush=True)
    device = wp.get_device("cuda:0").name
    options.output.write_text(json.dumps({"device": device, "warp": wp.config.version, "records": records}, indent=1))


def _time(record):
    return record["microseconds"]


if __name__ == "__main__":
    main()
