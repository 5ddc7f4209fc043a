"""Measures rollouts and derivatives with candidates for a table of `_kernels/tuning.py`.

    python docs/benchmarks/candidates.py SLABS --size 1024 --members 1 16
    python docs/benchmarks/candidates.py SWEEP --size 256 512 --members 1 4 16 --what "gradient direct"
    python docs/benchmarks/candidates.py RESIDENT --size 64 --members 64 1024

`tuning.py` explains the entries. For `SLABS`, None means by columns. Entries of `RESIDENT` leave out the fewest
members; None means that members do not stay in shared memory. `PREFETCH_DISTANCE` is one number; with 1000 no block
starts so much later, and nothing is prefetched. An entry that does not fit is reduced until it does, or acts as None.

Prints microseconds a step, and the distance of results from those of the first candidate, relative to their norm.
Kernels are compiled first, by several processes at the same time.
"""

import argparse
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
from typing import Any, cast

import jax
import jax.numpy as jnp

import warpjaxns as wns
from warpjaxns._kernels import tuning
from warpjaxns.benchmarks import TASKS, Case, backends, measure

_cut = itertools.product((4, 8, 16), (4, 8, 16), (False, True))
_slabs = [None, *((points, columns, True, True, recompute) for points, columns, recompute in _cut)]
_columns = list(itertools.product((8, 16, 32), (4, 8, 16)))
_distances = [1000.0, 0.5, 1.0]
CANDIDATES = {
    "STAGE": {
        1024: [(16, 8, 768, 0), (16, 16, 512, 4), (16, 8, 512, 4), (8, 8, 1024, 0), (8, 8, 1024, 4), (8, 16, 1024, 8)],
        2048: [(16, 8, 768, 0), (16, 16, 512, 4), (16, 8, 512, 4), (8, 8, 1024, 2), (8, 8, 1024, 4), (8, 4, 768, 0)],
        4096: [(16, 4, 512, 1), (16, 8, 512, 2), (16, 4, 512, 2), (8, 4, 1024, 1), (8, 4, 1024, 2), (8, 8, 1024, 2)],
    },
    "COLUMNS": dict.fromkeys((128, 256, 512), _columns),
    "SOURCE": {
        128: [(8, 768, True), (8, 512, True), (16, 512, True)],
        256: [(8, 768, True), (8, 512, True), (8, 1024, True), (4, 512, True)],
        512: [(8, 768, True), (8, 512, True), (8, 1024, True), (4, 512, True)],
        1024: [(4, 512, True), (4, 768, True), (8, 512, True), (4, 512, False)],
        2048: [(4, 512, False), (4, 512, True), (2, 512, True)],
        4096: [(2, 512, True), (2, 512, False)],
    },
    "SWEEP": {
        128: [(8, 512, False), (16, 512, True), (8, 512, True), (4, 512, True)],
        256: [(8, 512, False), (8, 768, True), (8, 512, True), (4, 512, True), (2, 512, True)],
        512: [(8, 768, False), (8, 768, True), (8, 512, True), (4, 512, True)],
        1024: [(4, 512, False), (8, 512, False), (8, 512, True), (4, 512, True)],
        2048: [(4, 512, False), (2, 512, False)],
        4096: [(2, 256, False), (2, 512, False)],
    },
    "TANGENT": {
        256: [(8, 640, 0, True), (8, 512, 0, True), (8, 768, 0, True)],
        512: [(8, 768, 0, True), (8, 512, 0, True), (8, 1024, 0, True)],
        1024: [(8, 512, 0, True), (8, 256, 1, True), (4, 512, 0, True)],
        2048: [(8, 256, 2, False), (8, 256, 1, False), (4, 512, 0, True)],
        4096: [(2, 256, 1, True), (2, 512, 0, True), (4, 256, 1, False)],
    },
    "PREFETCH_DISTANCE": dict.fromkeys((512, 1024, 2048), _distances),
    "SLABS": dict.fromkeys((256, 512, 1024, 2048, 4096), _slabs),
    "RESIDENT": {
        64: [None, (1, 8, 576), (2, 8, 320), (2, 8, 640), (2, 4, 288), (2, 4, 576), (4, 4, 160), (8, 4, 96)],
        128: [None, (1, 16, 544), (2, 16, 288), (2, 8, 512), (2, 8, 1088), (4, 8, 256), (4, 8, 864), (8, 8, 320)],
        256: [None, (8, 16, 256), (8, 8, 512), (8, 8, 1088), (16, 16, 128), (16, 8, 256), (16, 8, 1152), (16, 4, 512)],
    },
}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An entry of a table, and a case to try it in."""

    table: str
    entry: Any  # a tuple, a number or None
    case: Case

    def __str__(self):
        return f"{self.case.label}  {self.entry}"

    def use(self):
        """Make all later calls use the entry, with any number of members."""
        size, entry = self.case.size, self.entry
        if self.table == "RESIDENT":
            entries = [tuning.Resident(*entry, members=1)] if entry else []
            tuning.RESIDENT = {kind: {size: entries} for kind in tuning.RESIDENT}
        elif self.table == "PREFETCH_DISTANCE":
            tuning.PREFETCH_DISTANCE = entry
        else:
            entry = entry and getattr(tuning, self.table.capitalize())(*entry)
            entry = entry if self.table == "TANGENT" else tuning.Entries(entry, entry)
            setattr(tuning, self.table, {**getattr(tuning, self.table), size: entry})
        wns.clear_caches()
        jax.clear_caches()


def compile_one(job):
    """Compile the kernels of a candidate in another process, to be found in Warp's cache later."""
    candidate, what = job
    candidate.use()
    with contextlib.suppress(Exception):  # the measurement will say so
        results(candidate, what, steps=1)


def results(candidate, what, steps: int) -> list[jax.Array]:
    """Return the results of all tasks."""
    (warp,) = backends("warp")
    programs = [warp.build(candidate.case, task, steps) for task in what]
    return [program.outcome(program.wait(program.start())) for program in programs]


def main(argv: list[str] | None = None):
    """Measure all candidates in all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=CANDIDATES)
    parser.add_argument("--size", nargs="+", type=int, help="points a side (default: all there are candidates for)")
    parser.add_argument("--members", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--what", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that compile at the same time")
    options = parser.parse_args(argv)
    entries = CANDIDATES[options.table]
    cases = [Case(size, members) for size in options.size or entries for members in options.members]
    candidates = [Candidate(options.table, entry, case) for case in cases for entry in entries[case.size]]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        list(pool.imap_unordered(compile_one, [(candidate, options.what) for candidate in candidates]))
    for _, of_case in itertools.groupby(candidates, key=lambda candidate: candidate.case):
        first = None
        for candidate in of_case:
            candidate.use()
            try:
                found = results(candidate, options.what, steps=20)
            except Exception as error:  # say, a cluster that the device cannot hold
                print(candidate, str(error).splitlines()[0], sep="  ", flush=True)
                continue
            first = first or found
            apart = [float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for a, b in zip(found, first, strict=True)]
            records = measure(candidate.case, backends("warp"), options.what, repeat=3)
            times = [f"{r.what} {r.error or round(1e6 * cast(float, r.seconds_per_step), 1)}" for r in records]
            print(candidate, *(f"{t} ({a:.0e})" for t, a in zip(times, apart, strict=True)), sep="  ", flush=True)


if __name__ == "__main__":
    main()
