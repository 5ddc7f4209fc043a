"""Faults done to whole processes, and what came out.

    python docs/benchmarks/faults.py --output docs/benchmarks/faults.json
    python docs/benchmarks/faults.py --output docs/benchmarks/faults.json --only kill --kills 50

Each fault is a function of an empty folder. It does something to commands of this package, and returns what came out
and whether that is as it should be. `tables.py` writes the page from the JSON. Tests do many more faults, to parts of
the package (`TESTS`).
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GENERATE = ["generate", "--size", "32", "--count", "16", "--steps", "4000", "--save-every", "100", "--batch-size", "2"]
GENERATE += ["--dt", "0.005", "--viscosity", "0.1", "--backend", "xla", "--quiet"]
SOLVE = """
import sys, numpy as np, jax, warpjaxns as wns
grid = wns.Grid((12, 20))
def last(backend):
    solver = wns.NavierStokes2D(grid, viscosity=1e-2, dt=1e-2, backend=backend)
    return np.asarray(solver.rollout(wns.initial.taylor_green(grid), steps=3))
assert np.abs(last("warp") - last("xla")).max() < 1e-5
print("right")
"""
NOBODY = 65534
AS_NOBODY = f"""
import os, sys
import h5py, tqdm
from warpjaxns import NavierStokes2D, cli, data
data.generate
if os.geteuid() == 0:
    os.setgid({NOBODY}); os.setuid({NOBODY})
sys.exit(cli.main(sys.argv[1:]))
"""  # whom permissions bind


class Outcome(NamedTuple):
    """Outcome of a fault: what came out, in a sentence, and whether it is as it should be."""

    said: str
    right: bool


FAULTS: dict[str, Callable[..., Outcome]] = {}
TESTS = {
    "a crash, or a full disk, before and after every operation on files": "test_data_crash",
    "a file system that takes no more bytes; no room to assemble": "test_data_crash",
    "any damaged byte of a training set, of its parts or of its manifest": "test_data_damage",
    "links and files of others where parts are to be": "test_data_damage",
    "hostile HDF5 files": "test_data_hostile",
    "several processes on one training set, one of them killed": "test_processes",
    "Ctrl-C while XLA calls Python": "test_signals",
    "a driver that is too old": "test_runtime",
}


def fault(name: str):
    """Register a fault under what is done."""

    def add(function):
        FAULTS[name] = function
        return function

    return add


def start(*arguments, code: str | None = None, **environment) -> subprocess.Popen:
    """Start a command of the package, or some code, with changes to the environment; None takes a variable away."""
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    command = [sys.executable, *(["-m", "warpjaxns.cli"] if code is None else ["-c", code]), *map(str, arguments)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Return the exit code, and the first line of this package, or the last one of an error, or of all."""
    out, errors = process.communicate(timeout=600)
    lines = [line for line in (errors.strip() or out.strip()).splitlines() if "compiling kernels" not in line]
    ours = [line for line in lines if line.startswith("warpjaxns")]
    named = [line for line in lines if re.match(r"[\w.]*Error\b", line)]
    return process.returncode, (ours[:1] or named[-1:] or lines[-1:] or [""])[0]


def ran(*arguments, **more) -> tuple[int, str]:
    """Run to the end: exit code and last line."""
    return finish(start(*arguments, **more))


def whole(folder: Path) -> bytes:
    """Return the file of an undisturbed run."""
    code, said = ran(*GENERATE, "--output", folder / "whole.h5")
    assert code == 0, said
    return (folder / "whole.h5").read_bytes()


def resumed(folder: Path, expected: bytes) -> bool:
    """Return whether a run that goes on ends with the file of an undisturbed one, and nothing else."""
    code, _ = ran(*GENERATE, "--output", folder / "a.h5", "--resume")
    names = {path.name for path in folder.iterdir()}
    return code == 0 and (folder / "a.h5").read_bytes() == expected and names == {"whole.h5", "a.h5"}


@fault("`kill -9` during `generate`, at random moments, each time resumed")
def killed(folder: Path, kills: int) -> Outcome:
    """Kill a run, and the runs that resume it, until it ends; and again."""
    begun = time.monotonic()
    expected = whole(folder)
    length, done, wrong, generator = time.monotonic() - begun, 0, 0, random.Random(0)
    while done < kills:
        for _ in range(5):
            process = start(*GENERATE, "--output", folder / "a.h5", "--resume")
            time.sleep(generator.uniform(0.2, 1.0) * length)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += process.returncode == -signal.SIGKILL
            wrong += (folder / "a.h5").exists() and (folder / "a.h5").read_bytes() != expected
        wrong += not resumed(folder, expected)
        (folder / "a.h5").unlink(missing_ok=True)
    return Outcome(f"{done} kills: {wrong} files differ from that of an undisturbed run", not wrong)


@fault("Ctrl-C during `generate`")
def interrupted(folder: Path) -> Outcome:
    """Interrupt a run once it has a part."""
    expected = whole(folder)
    process = start(*GENERATE, "--output", folder / "a.h5")
    while not list(folder.glob("a.h5.parts/part-*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    return Outcome(_quoted(code, said), code == 130 and resumed(folder, expected))


@fault("`generate` into a folder that is read-only")
def read_only(folder: Path) -> Outcome:
    """Write where the user may not."""
    target = folder / "locked"
    target.mkdir(mode=0o555)
    folder.chmod(0o755)
    code, said = ran(*GENERATE, "--output", target / "a.h5", code=AS_NOBODY, HOME=folder)
    return Outcome(_quoted(code, said), code == 1 and "ermission denied" in said and not list(target.iterdir()))


@fault("two runs of `generate` for one file at once")
def both(folder: Path) -> Outcome:
    """Start two runs together."""
    expected = whole(folder)
    first = start(*GENERATE, "--output", folder / "a.h5")
    second = start(*GENERATE, "--output", folder / "a.h5", "--resume")
    results = [finish(process) for process in (first, second)]
    code, said = max(results)  # one of them is refused
    right = min(results)[0] == 0 and code == 2 and (folder / "a.h5").read_bytes() == expected
    return Outcome(_quoted(code, said), right)


@fault("two processes on one empty cache of kernels")
def one_cache(folder: Path) -> Outcome:
    """Compile the same kernels at the same time."""
    processes = [start(code=SOLVE, WARP_CACHE_PATH=str(folder)) for _ in range(2)]
    results = [finish(process) for process in processes]
    return Outcome(f"exit codes {[code for code, _ in results]}", all(code == 0 for code, _ in results))


@fault("a cache of kernels whose files are cut in half")
def damaged_cache(folder: Path) -> Outcome:
    """Compile kernels, damage what is kept of them, and run again."""
    assert ran(code=SOLVE, WARP_CACHE_PATH=str(folder))[0] == 0
    objects = list(folder.rglob("*.o"))
    for path in objects:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, said = ran(code=SOLVE, WARP_CACHE_PATH=str(folder))
    if code == 0:
        return Outcome(f"{len(objects)} kernels were compiled again", True)
    shutil.rmtree(folder)
    return Outcome(f"{_quoted(code, said)}; right once the cache is removed", ran(code=SOLVE)[0] == 0)


@fault("a cache of kernels that is read-only")
def locked_cache(folder: Path) -> Outcome:
    """Compile where the user may not write."""
    folder.chmod(0o555)
    code = AS_NOBODY.replace("sys.exit(cli.main(sys.argv[1:]))", SOLVE)
    code, said = ran(code=code, WARP_CACHE_PATH=str(folder), HOME=str(folder))
    return Outcome(_quoted(code, said), code == 0 or "ermission" in said)


@fault("no `HOME`")
def homeless(folder: Path) -> Outcome:
    """Solve by both backends without a home."""
    code, said = ran(code=SOLVE, HOME=None, XDG_CACHE_HOME=None)
    return Outcome(_quoted(code, said), code == 0)


@fault("`CUDA_VISIBLE_DEVICES=` and no `JAX_PLATFORMS`")
def no_devices(folder: Path) -> Outcome:
    """Solve on a machine whose GPUs are hidden."""
    code, said = ran(code=SOLVE, CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS=None)
    return Outcome(_quoted(code, said), code == 0)


@fault("`fork` and `spawn` after JAX has run; each child reads a training set")
def children(folder: Path) -> Outcome:
    """Read a file in children of both kinds."""
    whole(folder)
    (folder / "child.py").write_text(CHILDREN)
    process = subprocess.run(
        [sys.executable, str(folder / "child.py"), str(folder / "whole.h5")],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = (process.stdout.strip() or process.stderr.strip()).splitlines()[-1]
    return Outcome(_quoted(process.returncode, said), process.returncode == 0)


CHILDREN = """
import multiprocessing, sys, warnings
import jax.numpy as jnp, numpy as np
from warpjaxns import data

def read(windows, number):
    return float(windows[number]["vorticity"].sum())

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # JAX warns of fork
    jnp.ones(3).block_until_ready()
    windows = data.open(sys.argv[1]).windows(2)
    expected = [read(windows, i) for i in range(4)]
    for kind in ("fork", "spawn"):
        with multiprocessing.get_context(kind).Pool(2) as pool:
            assert pool.starmap(read, [(windows, i) for i in range(4)]) == expected, kind
    print("right")
"""


def _quoted(code: int, said: str) -> str:
    """Return an exit code and the beginning of what was said."""
    said = " ".join(said.split())
    return f"exit code {code}: {said[:160]}" if said else f"exit code {code}"


def main(argv: list[str] | None = None) -> int:
    """Do the faults, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="results of other faults in it are kept")
    parser.add_argument("--only", nargs="+", default=[""], help="faults whose name has one of these texts")
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do children
    report: dict = {}
    if options.output and options.output.exists():
        report = json.loads(options.output.read_text())
    for name, function in FAULTS.items():
        if not any(text in name for text in options.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            given = [Path(folder), options.kills] if function is killed else [Path(folder)]
            outcome = function(*given)
            Path(folder).mkdir(exist_ok=True)  # for what removes it
        said = outcome.said.replace(f"{folder}/", "")
        report[name] = {"came out": said, "as it should be": outcome.right}
        print(f"{'right' if outcome.right else 'WRONG'}: {name}: {said}", flush=True)
        if options.output:
            ordered = {key: report[key] for key in FAULTS if key in report}
            options.output.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    return int(any(not found["as it should be"] for found in report.values()))


if __name__ == "__main__":
    sys.exit(main())
