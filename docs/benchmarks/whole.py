"""Small members as a whole and by bands, for candidates of `plan.WHOLE`: where its entries come from.

python docs/benchmarks/whole.py --size 64 --members 64 --members 1024

Prints microseconds a step. An entry is (radix, threads that are to share a multiprocessor); None: by bands.
"""

import argparse

import jax

import warpjaxns as wns
from warpjaxns import _ffi
from warpjaxns._kernels import plan
from warpjaxns.benchmarks import TASKS, Case, backends, measure

ENTRIES = {64: [None, (8, 288), (8, 576), (8, 864), (8, 1152), (4, 1024)], 128: [None, (16, 544), (8, 1024)]}


def use(size: int, entry: tuple[int, int] | None):
    """Make all later calls use that entry, whatever the number of members."""
    plan.WHOLE = {size: (*entry, 1, 1) if entry else (8, 512, 10**9, 10**9)}
    wns.clear_caches()
    jax.clear_caches()
    _ffi._callables.clear()  # which know the plan of their first call


def main(argv: list[str] | None = None):
    """Measure all entries of all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", type=int, choices=tuple(ENTRIES), help="(default: both)")
    parser.add_argument("--members", action="append", type=int, help="(default: 1, 64, 1024)")
    parser.add_argument("--what", nargs="+", choices=TASKS, default=TASKS)
    options = parser.parse_args(argv)
    for size in options.size or ENTRIES:
        for members in options.members or (1, 64, 1024):
            for entry in ENTRIES[size]:
                use(size, entry)
                records = measure(Case(size, members), backends("warp"), options.what, repeat=3)
                times = [f"{r.what} {r.error or round(1e6 * r.seconds_per_step, 1)}" for r in records]
                print(f"{members} x {size}²  {entry}  {', '.join(times)}", flush=True)


if __name__ == "__main__":
    main()
