"""Grids by columns and by bands, for candidates of `plan.BANDS`: where its entries come from.

python docs/benchmarks/bands.py --size 1024 --members 1 --members 16

Prints microseconds a step. An entry is (bands that a thread of the kernel in between holds, its columns, whether the
backward sweep goes by bands, whether kernels with a tangent do); None: by columns.
"""

import argparse
import itertools

import jax

import warpjaxns as wns
from warpjaxns import _ffi
from warpjaxns._kernels import plan
from warpjaxns.benchmarks import TASKS, Case, backends, measure

SIZES = 256, 512, 1024, 2048, 4096
ENTRIES = [None, *((chunk, columns, True, True) for chunk, columns in itertools.product((4, 8, 16), (4, 8, 16)))]


def use(size: int, entry: tuple[int, int, bool, bool] | None):
    """Make all later calls use that entry, whatever the number of members."""
    plan.BANDS = {**plan.BANDS, size: (entry, entry)}
    wns.clear_caches()
    jax.clear_caches()
    _ffi._callables.clear()  # which know the plan of their first call


def main(argv: list[str] | None = None):
    """Measure all entries of all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", type=int, choices=SIZES, help="(default: all)")
    parser.add_argument("--members", action="append", type=int, help="(default: 1, 16, 64)")
    parser.add_argument("--what", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args(argv)
    for size, members in itertools.product(options.size or SIZES, options.members or (1, 16, 64)):
        for entry in ENTRIES:
            use(size, entry)
            records = measure(Case(size, members), backends("warp"), options.what, repeat=3)
            times = [f"{r.what} {r.error or round(1e6 * r.seconds_per_step, 1)}" for r in records]
            print(f"{members} x {size}²  {entry}  {', '.join(times)}", flush=True)


if __name__ == "__main__":
    main()
