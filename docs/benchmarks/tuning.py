"""Times every plan of every flow kernel on a CUDA device, each between its neighbours, and says which is fastest.

    python docs/benchmarks/tuning.py --output docs/benchmarks/tuning.json

Plans are compiled by several processes first. Then the kernels of a stage, one of them cut up as a plan says and the
others as they are, are launched 20 times in a CUDA graph, overlapping as they do in a rollout; the best of four replays
counts, so this compares kernels and says nothing about hosts. The constants of `warpjaxns/_kernels/tuning.py` come from
its answers.
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

from warpjaxns._kernels import adjoint, advance, bands, columns, memory, poisson, tangent
from warpjaxns._kernels.fft import complex_type, roots_of_unity
from warpjaxns._kernels.plan import LARGEST_BLOCK, Plan, make_plan
from warpjaxns._kernels.stencils import metric, stencils
from warpjaxns._overlap import overlap

CASES = [(64, 64), (64, 1024), (128, 64), (128, 1024), (256, 1), (256, 16), (256, 64), (512, 1), (512, 16), (512, 64)]
CASES += [(1024, 1), (1024, 16), (2048, 1), (4096, 1)]  # (points a side, members)
KINDS = ("columns", "stage", "source", "adjoint", "tangent")
# what runs with it, in order
STAGES = {
    "columns": ("columns", "stage"),
    "stage": ("columns", "stage"),
    "source": ("source", "columns", "adjoint"),
    "adjoint": ("source", "columns", "adjoint"),
    "tangent": ("columns", "tangent"),
}
LAUNCHES = 20
CUT = ("rows", "columns", "radix", "chunk", "groups", "resident", "banded")


def plans(n: int, members: int, kind: str):
    """All ways to cut a kernel's work that are worth a try; the first is the one in use."""
    default = in_use(n, members, kind)
    yield default
    if kind == "columns":
        for chunk, columns in itertools.product((8, 16, 32), (4, 8, 16)):
            yield dataclasses.replace(default, chunk=chunk, columns=columns)
        return
    radices = {64: (4, 8), 128: (4, 8), 256: (4, 8, 16)}.get(n, (8, 16))
    rows = (8, 16) if n <= 128 else (2, 4, 8)
    groups = (0, 1) if kind == "stage" and n > 256 else (0,)
    bands, residents = (True, False), (512, 640, 768, 1024)
    for radix, number, group, resident, banded in itertools.product(radices, rows, groups, residents, bands):
        if resident == (1024 if radix == 16 else 640) or (group == 1 and number == 8):
            continue  # too few registers; no better than the next one
        cut = {"radix": radix, "rows": number, "groups": group, "resident": resident, "banded": banded}
        yield dataclasses.replace(default, **cut)


def in_use(n: int, members: int, kind: str) -> Plan:
    """The plan of a kernel as it is."""
    plan = make_plan((n, n), "float32", members)
    return {"source": plan.for_source, "adjoint": plan.for_adjoint, "tangent": plan.for_tangent}.get(kind, plan)


def build(plan: Plan, kind: str):
    """A kernel and the threads of its blocks, or None where a block would need too much."""
    if kind == "columns":
        threads, solver = plan.column_chunks.block_dim, bands.between if plan.by_bands else poisson.solve_columns
        return (solver(plan, False), threads) if threads <= LARGEST_BLOCK else None
    lines, copied, make = {
        "stage": lambda: (plan.stage_lines, 1, lambda: advance.stage_rows(plan, "arakawa", False, False)),
        "source": lambda: (plan.band_lines, 2, lambda: adjoint.source_rows(plan, "arakawa")),
        "adjoint": lambda: (plan.band_lines, 2, lambda: adjoint.adjoint_rows(plan, "arakawa")),
        "tangent": lambda: (plan.tangent_lines, 2, lambda: tangent.tangent_rows(plan, "arakawa", False)),
    }[kind]()
    if lines.block_dim > LARGEST_BLOCK or lines.nbytes + copied * plan.band_bytes * plan.banded > 220 * 1024:
        return None
    return make(), lines.block_dim


def compile_one(job):
    """In a process of its own: what it compiles is found in the cache later."""
    built = build(*job)
    if built:
        built[0].module.load(wp.get_device("cuda:0"), built[1])


class Arrays:
    """What the kernels of one case work on; its contents do not matter."""

    def __init__(self, n: int, members: int):
        plan = make_plan((n, n), "float32", members)
        number = complex_type(plan.real)

        def values(x, dtype=wp.float32):
            return wp.array(np.asarray(x, np.float32), dtype=dtype)

        eigenvalues = np.arange(n // 2 + 1) ** 2
        mode = values(columns.modes(n, (0.01, 0.01), n, eigenvalues), plan.column_chunks.Mode)
        constants = [mode, values([1e-3]), values(roots_of_unity(n, "float32"), number)]
        fields = [wp.zeros((members, n, n), dtype=float) for _ in range(4)]
        spectra = [wp.zeros((2, members, n, plan.pitch), dtype=number) for _ in range(3)]
        self.arrays = [*constants, *fields, *spectra]
        table = wp.array(np.array([array.ptr for array in self.arrays], np.uint64), dtype=wp.uint64)
        buffers = memory.buffers(table, self.arrays)
        self.modes, self.parameter, self.roots, *self.fields = buffers[:7]
        *self.spectra, self.sums = buffers[7:]  # sums are no more than a spectrum, even those of bands of two rows
        self.members = members
        self.metric = stencils(plan.real).Metric(*metric((0.01, 0.01)))

    def launch(self, plan: Plan, kind: str, built):
        """One launch of a kernel, with which it hands on what the next one takes."""
        w, dw, out, dout = self.fields
        (z, dz), (y, dy), (s, ds) = ((array[0], array[1]) for array in (*self.spectra, self.sums))
        if plan.by_bands:  # which write where they read
            y, dy = z, dz
        physics, m, none, tables = [self.parameter] * 3, self.metric, memory.NONE, [self.modes, self.roots]
        weights, members = [0.75, 0.25, 0.25, m], self.members
        given, made = [z, s, dz, ds, *tables], [y, s, dy, ds]
        arguments = {
            "columns": [self.modes, s if plan.by_bands else z],
            "stage": [*weights, *physics, none, 0, w, dw, z, s, *tables, out, y, s, out],
            "source": [w, dw, m, *tables, y, s],
            "adjoint": [0.0, 0.0, 0.25, 0.25, m, *physics, dw, dw, dw, w, z, s, *tables, out],
            "tangent": [*weights, *physics, none, *physics, none, 0, w, w, dw, dw, *given, out, dout, *made],
        }[kind]
        blocks = members * (plan.column_blocks if kind == "columns" else plan.bands)
        kernel, block_dim = built
        memory.launch(kernel, blocks, arguments, block_dim)
        if kind in ("stage", "source", "tangent"):
            self.spectra.reverse()
        if kind in ("stage", "adjoint", "tangent"):
            self.fields = [w, out, dw, dout]


def microseconds(arrays, stage) -> float:
    """Of the kernels of a stage, given as the arguments of `Arrays.launch`."""
    with wp.ScopedCapture() as capture:
        for _ in range(LAUNCHES):
            for kernel in stage:
                arrays.launch(*kernel)
    overlap(capture.graph.graph.value)
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
    parser.add_argument("--best", type=int, default=1, help="how many to print of each, after the one in use")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that compile at the same time")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    options = parser.parse_args(argv)
    wp.config.quiet = True
    if not wp.is_cuda_available():
        parser.error("there is no CUDA device")
    cases = [case for case in CASES if options.size is None or case[0] in options.size]
    kinds = options.kind or KINDS
    jobs = [(case, plan, kind) for case in cases for kind in kinds for plan in dict.fromkeys(plans(*case, kind))]
    others = [(in_use(*case, other), other) for case in cases for kind in kinds for other in STAGES[kind]]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        list(pool.imap_unordered(compile_one, dict.fromkeys([*others, *(job[1:] for job in jobs)]), chunksize=2))
    records = []
    with wp.ScopedDevice("cuda:0"):
        for case, of_case in itertools.groupby(jobs, key=lambda job: job[0]):
            arrays = Arrays(*case)
            for _, plan, kind in of_case:
                if (built := build(plan, kind)) is None:
                    continue
                stage = []
                for other in STAGES[kind]:
                    cut = in_use(*case, other)
                    stage.append((plan, kind, built) if other == kind else (cut, other, build(cut, other)))
                time_ = microseconds(arrays, stage)
                cut = {name: getattr(plan, name) for name in CUT}
                records.append({"n": case[0], "members": case[1], "kernel": kind, "plan": cut, "microseconds": time_})
            for kind in kinds:
                of_kind = [r for r in records if (r["n"], r["members"], r["kernel"]) == (*case, kind)]
                for record in [of_kind[0], *sorted(of_kind, key=_time)[: options.best]]:
                    print(*case, kind, f"{record['microseconds']:.2f} us", *record["plan"].values(), flush=True)
    device = wp.get_device("cuda:0").name
    options.output.write_text(json.dumps({"device": device, "warp": wp.config.version, "records": records}, indent=1))


def _time(record):
    return record["microseconds"]


if __name__ == "__main__":
    main()
