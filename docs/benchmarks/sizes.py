"""Measures rollouts at sizes with factors 3 and 5, beside their neighbours that are powers of two.

    python docs/benchmarks/sizes.py --output docs/benchmarks/sizes.json
    python docs/benchmarks/sizes.py --quick --sizes 96 192 --members 1 16
    python docs/benchmarks/sizes.py --candidates

Prints microseconds a step, then nanoseconds a point and step as a ratio to the better of the two neighbours with as
many members. With `--candidates` it measures other entries of the tables too (`CANDIDATES`). Kernels are compiled
first, by several processes.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a device

import jax

import warpjaxns as wns
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns.benchmarks import Case, backends, measure

SIZES = {
    1: [48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1000, 1024, 1536, 2048],
    16: [160, 192, 256, 384, 512],
    64: [48, 64, 80, 96, 128, 160, 192, 256],
}
SLABS = {"SLABS": (4, 8, True, True, False)}
# Entries to try in a case: of `tuning.Stage`, `Slabs` (None: by columns), `Columns`, or `Resident` without its members
CANDIDATES = {
    (1, 48): [{"RESIDENT": entry} for entry in [(2, 8, 160), (3, 4, 160), (4, 16, 160), (6, 4, 160)]],
    (1, 80): [{"RESIDENT": entry} for entry in [None, (5, 8, 256), (8, 8, 256)]],
    (1, 96): [{"RESIDENT": entry} for entry in [None, (3, 8, 256), (6, 8, 256), (8, 8, 256), (4, 16, 256)]],
    (1, 160): [{"STAGE": entry} for entry in [(4, 2, 512, 0), (8, 4, 512, 0)]] + [{"RESIDENT": (5, 8, 288)}],
    (1, 192): [{"STAGE": entry} for entry in [(4, 2, 512, 0), (8, 4, 512, 0)]] + [{"RESIDENT": (6, 16, 288)}],
    (1, 320): [{"STAGE": entry} for entry in [(8, 8, 512, 0), (8, 4, 512, 0)]],
    (1, 384): [{"STAGE": entry} for entry in [(8, 8, 512, 0), (8, 4, 512, 0)]],
    (1, 640): [SLABS, {"STAGE": (16, 8, 512, 0), **SLABS}, {"STAGE": (8, 4, 512, 0)}, {"STAGE": (4, 4, 512, 0)}],
    (1, 768): [SLABS, {"STAGE": (16, 8, 512, 0), **SLABS}, {"STAGE": (8, 6, 512, 0)}, {"STAGE": (8, 4, 512, 0)}],
    (1, 1000): [{"SLABS": None}, {"STAGE": (16, 4, 512, 0)}],
    (1, 1536): [{"STAGE": entry} for entry in [(16, 8, 768, 0), (8, 8, 1024, 0), (16, 6, 768, 0)]],
    (16, 160): [{"STAGE": entry} for entry in [(16, 8, 768, 0), (8, 8, 768, 0), (8, 16, 1024, 0)]],
    (16, 192): [{"STAGE": entry} for entry in [(16, 8, 768, 0), (8, 8, 768, 0), (8, 6, 1024, 0), (8, 12, 1024, 0)]],
    (16, 384): [{"STAGE": entry} for entry in [(16, 8, 768, 0), (8, 8, 768, 0), (8, 6, 1024, 0)]],
    (64, 48): [{"RESIDENT": entry} for entry in [(1, 8, 288), (2, 16, 160)]],
    (64, 80): [{"RESIDENT": entry} for entry in [(1, 8, 544), (2, 16, 288)]],
    (64, 96): [{"RESIDENT": entry} for entry in [(1, 16, 544), (2, 8, 416), (3, 16, 288)]],
    (64, 192): [{"STAGE": entry} for entry in [(16, 8, 768, 0), (8, 12, 1024, 0)]],
}


def neighbours(size: int) -> list[int]:
    """Return the powers of two below and above a size, or none if it is one itself."""
    below = 2 ** (size.bit_length() - 1)
    return [below, 2 * below] if below != size else []


@contextlib.contextmanager
def entries(size: int, candidate: dict):
    """Make calls at a size use other entries, with any number of members."""
    before = {name: getattr(tuning, name) for name in candidate}
    for name, entry in candidate.items():
        if name == "RESIDENT":
            table = {kind: {size: [tuning.Resident(*entry, members=1)] if entry else []} for kind in tuning.RESIDENT}
        else:
            entry = entry and getattr(tuning, name.capitalize())(*entry)
            table = {**before[name], size: tuning.Entries(entry, entry)}
        setattr(tuning, name, table)
    wns.clear_caches()
    jax.clear_caches()
    try:
        yield
    finally:
        for name, table in before.items():
            setattr(tuning, name, table)


def layout(case: Case) -> str:
    """Return how the kernels of a case are cut, since an entry that does not fit is reduced."""
    plan = make_plan(case.grid.shape, case.dtype, case.members)
    if plan.resident:
        lines, columns = plan.resident.lines, plan.resident.columns
        how = f"resident in {plan.resident.blocks} of {plan.resident.block_dim} threads"
    else:
        lines, columns = plan.stage_lines, plan.column_chunks
        how = f"{'slabs' if plan.by_slabs else 'columns'}, {plan.rows} rows in {lines.block_dim} threads"
    radices = "·".join(str(radix) for radix, _ in lines.passes)
    return f"{how}, lines {lines.values} x {lines.threads} ({radices}), columns {columns.values} x {columns.threads}"


def time_case(job: tuple[Case, dict], steps: int = 500, repeat: int = 5) -> dict:
    """Return the microseconds of a step: the median, and the quartiles."""
    case, candidate = job
    result: dict = {"members": case.members, "size": case.size, "candidate": candidate}
    with entries(case.size, candidate):
        result["layout"] = layout(case)
        (record,) = measure(case, backends("warp"), ["forward"], steps=steps, repeat=repeat)
    if record.seconds_per_step is None or record.quartiles is None:
        return result | {"error": record.error}
    microseconds = 1e6 * record.seconds_per_step
    quartiles = [round(1e6 * quartile / record.steps, 3) for quartile in record.quartiles]
    nanoseconds = round(1e3 * microseconds / case.points, 5)
    return result | {"microseconds": round(microseconds, 3), "quartiles": quartiles, "nanoseconds a point": nanoseconds}


def compile_one(job: tuple[Case, dict]) -> None:
    """Compile the kernels of a case in another process, to be found in Warp's cache later."""
    with contextlib.suppress(Exception):  # the measurement will say so
        time_case(job, steps=1, repeat=1)


def main(argv: list[str] | None = None):
    """Measure all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, help="points a side (default: all in `SIZES`)")
    parser.add_argument("--members", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--quick", action="store_true", help="three samples each, not five")
    parser.add_argument("--candidates", action="store_true", help="measure `CANDIDATES` too")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that compile at the same time")
    parser.add_argument("--output", type=Path, help="a JSON file")
    options = parser.parse_args(argv)
    wanted = {(m, n) for m in options.members for n in SIZES[m] if not options.sizes or n in options.sizes}
    cases = sorted(wanted | {(m, beside) for m, n in wanted for beside in neighbours(n)})
    tried = CANDIDATES if options.candidates else {}
    jobs = [(Case(n, m), candidate) for m, n in cases for candidate in [{}, *tried.get((m, n), [])]]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        list(pool.imap_unordered(compile_one, jobs))
    results = []
    for job in jobs:
        results.append(time_case(job, repeat=3 if options.quick else 5))
        print(job[0].label, *([job[1]] if job[1] else []), results[-1].get("microseconds", results[-1]), flush=True)
    plain = {(r["members"], r["size"]): r.get("nanoseconds a point") for r in results if not r["candidate"]}
    for r in results:
        beside = [plain[r["members"], n] for n in neighbours(r["size"])]
        if beside and all(beside) and "microseconds" in r:
            r["ratio"] = round(r["nanoseconds a point"] / min(beside), 3)
            print(f"{r['members']} x {r['size']}²", r["candidate"] or "", r["microseconds"], "ratio", r["ratio"])
    if options.output:
        record = {"device": jax.devices()[0].device_kind, "results": results}
        options.output.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
