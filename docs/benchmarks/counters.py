"""Counts instructions of kernels by NVIDIA's profiler: a rollout, a gradient and a directional derivative of two steps.

    python docs/benchmarks/counters.py --output docs/benchmarks/counters.json
    python docs/benchmarks/counters.py --discretisation spectral --output docs/benchmarks/counters_spectral.json

Needs `ncu`, and the right to use it. `ncu` runs one kernel after the other, with a fixed clock and empty caches. Counts
are those of a rollout, times are not. A launch of a kernel for resident members is six stages.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CASES = ["1x2048", "1x4096", "16x1024", "64x256", "16x512", "1024x64", "1024x128"]
SPECTRAL_CASES = ["64x128", "64x256", "64x512", "16x1024", "1x2048", "1x4096", "1024x128", "1024x64"]
COUNTERS = {
    "microseconds": ("gpu__time_duration.sum", 1e-3),
    "million instructions": ("smsp__inst_executed.sum", 1e-6),
    "issue slots, %": ("smsp__issue_active.avg.pct_of_peak_sustained_elapsed", 1),
    "shared memory and first-level cache, %": ("l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed", 1),
    "device memory, MB": ("dram__bytes.sum", 1e-6),
    "warps a multiprocessor": ("sm__warps_active.avg.per_cycle_active", 1),
    "registers a thread": ("launch__registers_per_thread", 1),
}


def run(case: str, discretisation: str) -> None:
    """Run two steps of each task."""
    from warpjaxns import FiniteDifference, Spectral
    from warpjaxns.benchmarks import Case, backends

    how = Spectral("rk3") if discretisation == "spectral" else FiniteDifference()

    members, size = map(int, case.split("x"))
    (warp,) = backends("warp")
    for task in ("forward", "gradient direct", "jvp"):
        program = warp.build(Case(size, members, discretisation=how), task, 2)
        program.wait(program.start())


def this(case: str, discretisation: str) -> list[str]:
    """Return the command line that runs a case."""
    return [sys.executable, __file__, "--case", case, "--discretisation", discretisation]


def profile(case: str, discretisation: str) -> list[dict]:
    """Return a record for each kernel, in the order of first launches. The second stage kernel keeps psi."""
    names = ",".join(counter for counter, _ in COUNTERS.values())
    ncu = ["ncu", "--graph-profiling", "node", "--csv", "--metrics", names]
    command = [*ncu, "--kernel-name", "regex:cuda_kernel_forward", *this(case, discretisation)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ncu failed: {(done.stdout + done.stderr)[-1000:]}")
    return summary(done.stdout)


def summary(text: str) -> list[dict]:
    """Return means over the launches of each kernel, from the output of `ncu`."""
    kernels: dict = {}
    for row in csv.DictReader(line for line in text.splitlines() if line.startswith('"')):
        key = row["Kernel Name"], row["Grid Size"], row["Block Size"]
        values = kernels.setdefault(key, {}).setdefault(row["Metric Name"], [])
        values.append(float(row["Metric Value"].replace(",", "")))
    records = []
    for (name, grid, block), metrics in kernels.items():
        if "fill" in name:
            continue
        counts = {title: sum(metrics[m]) / len(metrics[m]) * scale for title, (m, scale) in COUNTERS.items()}
        short = re.sub(r"__locals__.*", "", name)
        sizes = {"blocks": int(re.findall(r"\d+", grid)[0]), "threads": int(re.findall(r"\d+", block)[0])}
        launches = len(next(iter(metrics.values())))
        records.append({"kernel": short, "launches": launches, **sizes, **{k: round(v, 3) for k, v in counts.items()}})
    return records


def main(argv: list[str] | None = None):
    """Profile all cases. Kernels are compiled before, by several processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--discretisation", choices=("finite-difference", "spectral"), default="finite-difference")
    parser.add_argument("--case", help="run its steps, which ncu is to look at")
    options = parser.parse_args(argv)
    how = options.discretisation
    if options.case:
        return run(options.case, how)
    cases = SPECTRAL_CASES if how == "spectral" else CASES
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda case: subprocess.run(this(case, how), check=True), cases))
    report = {}
    for case in cases:
        report[case] = profile(case, how)
        print(case, *(" ".join(map(str, record.values())) for record in report[case]), sep="\n  ", flush=True)
        if options.output:
            options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
