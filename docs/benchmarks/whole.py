"""Small members as a whole and by bands, for candidates of `plan.WHOLE`: where its entries come from.

python docs/benchmarks/whole.py --size 64 --members 64 --members 1024

Prints microseconds a step. An entry is (blocks that share a member, radix, threads that are to share a multiprocessor);
None: by bands.
"""

import argparse

import jax

import warpjaxns as wns
from warpjaxns import _ffi
from warpjaxns._kernels import plan
from warpjaxns.benchmarks import TASKS, Case, backends, measure

ENTRIES = {
    64: [None, (1, 8, 576), (2, 8, 320), (2, 8, 640), (2, 4, 512), (4, 4, 256), (8, 4, 128)],
    128: [None, (1, 16, 544), (2, 16, 288), (2, 8, 512), (2, 8, 1024), (4, 8, 256), (4, 8, 768), (8, 8, 256)],
    256: [None, (8, 16, 256), (8, 8, 512), (8, 8, 1024), (16, 16, 128), (16, 8, 256), (16, 8, 1024), (16, 4, 512)],
    512: [None, (16, 16, 512)],
}


def use(size: int, entry: tuple[int, int, int] | None):
    """Make all later calls use that entry, whatever the number of members."""
    plan.WHOLE = {kind: {size: [(*entry, 1)] if entry else []} for kind in plan.WHOLE}
    wns.clear_caches()
    jax.clear_caches()
    _ffi._callables.clear()  # which know the plan of their first call


def main(argv: list[str] | None = None):
    """Measure all entries of all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", type=int, choices=tuple(ENTRIES), help="(default: all)")
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
