"""Measures two checkouts of this package in one run, in turns, and writes ratios.

    python docs/benchmarks/compare.py OLD NEW --output docs/benchmarks/compare.json

OLD and NEW are folders that hold `warpjaxns/`. Each has its own process for all cases. A case is measured by one, then
by the other, `--rounds` times. Kernels are compiled before, by several processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def worker(tree: str) -> None:
    """Measure the cases that come in, a line of JSON each, and print a line of JSON for each."""
    sys.path.insert(0, tree)
    import jax

    jax.config.update("jax_enable_x64", True)
    from warpjaxns import benchmarks

    assert Path(benchmarks.__file__).is_relative_to(Path(tree).resolve())
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        size, members, dtype, steps, repeat = json.loads(line)
        case = benchmarks.Case(size, members, dtype)
        records = benchmarks.measure(case, benchmarks.backends("warp"), steps=steps, repeat=repeat)
        answer = {r.what: r.error or [1e6 * s / r.steps for s in r.seconds] for r in records}
        print(json.dumps(answer), file=answers, flush=True)


class Tree:
    """A checkout and the process that measures it."""

    def __init__(self, tree: str):
        command = [sys.executable, __file__, "--worker", str(Path(tree).resolve())]
        self.process: Any = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def measure(self, *case) -> dict:
        """Return the microseconds a step of each task: samples, or an error."""
        self.process.stdin.write(json.dumps(case) + "\n")
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def main(argv: list[str] | None = None):
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", metavar="FOLDER")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--cases", nargs="+", default=CASES, help="MEMBERSxSIZE, or MEMBERSxSIZE:float64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that compile at the same time")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    if options.worker:
        return worker(options.worker)
    cases = [parsed(case) for case in options.cases]

    def compile_one(job):
        tree, case = job
        Tree.measure(one := Tree(tree), *case, 4, 1)
        one.close()

    with ThreadPoolExecutor(options.processes) as threads:
        list(threads.map(compile_one, [(tree, case) for case in cases for tree in options.trees]))
    trees, report = [Tree(tree) for tree in options.trees], []
    for case in cases:
        samples: list[dict] = [{} for _ in trees]
        for _ in range(options.rounds):
            for mine, tree in zip(samples, trees, strict=True):
                for what, found in tree.measure(*case, STEPS, 3).items():
                    if isinstance(found, str):
                        raise RuntimeError(f"{case} {what}: {found}")
                    mine.setdefault(what, []).extend(found)
        for what in samples[0]:
            old, new = (statistics.median(mine[what]) for mine in samples)
            record = {"size": case[0], "members": case[1], "dtype": case[2], "what": what, "old": old, "new": new}
            report.append(record | {"ratio": new / old, "samples": [mine[what] for mine in samples]})
            print(*case, what, f"{old:.2f} {new:.2f} {new / old:.3f}", flush=True)
        if options.output:
            options.output.write_text(json.dumps(report, indent=1) + "\n")
    for tree in trees:
        tree.close()


def parsed(case: str) -> tuple[int, int, str]:
    """Return size, members and float type."""
    shape, _, dtype = case.partition(":")
    members, size = map(int, shape.split("x"))
    return size, members, dtype or "float32"


STEPS = 200  # of a forward sample; derivatives take a fifth, since both processes share the memory
CASES = ["1x64", "64x64", "1024x64", "64x128", "1024x128", "1x256", "16x256", "64x256", "1x512", "16x512", "64x512"]
CASES += ["1x1024", "16x1024", "1x2048", "1x4096", "64x64:float64", "1x512:float64", "1x1024:float64"]

if __name__ == "__main__":
    main()
