"""Commands of this package in processes of their own, and what came out, for `faults.py`."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
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
"""  # whom permissions bind


class Outcome(NamedTuple):
    """Outcome of a fault: what came out, in a sentence, and whether it is as it should be."""

    said: str
    right: bool


class Fault(NamedTuple):
    """Fault: a function of an empty folder and the number of kills, and whether it needs a GPU."""

    run: Callable[[Path, int], Outcome]
    gpu: bool


FAULTS: dict[str, Fault] = {}


def fault(name: str, gpu: bool = False):
    """Register a fault under what is done."""

    def add(function):
        FAULTS[name] = Fault(function, gpu)
        return function

    return add


def start(*arguments, code: str | None = None, command: tuple = (), **environment) -> subprocess.Popen:
    """Start a command of the package, some code, or another command, with changes to the environment.

    None takes a variable away.
    """
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": PATH, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    first = command or (sys.executable, *(("-m", "warpjaxns.cli") if code is None else ("-c", code)))
    words = [*first, *map(str, arguments)]
    return subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Return the exit code, and the first line of this package, or the last one of an error, or of all.

    They are lines of standard error, or of standard output after a success.
    """
    out, errors = process.communicate(timeout=600)
    lines = [line for line in (errors if process.returncode else out).splitlines() if "compiling kernels" not in line]
    ours = [line for line in lines if line.startswith("warpjaxns")]
    named = [line for line in lines if re.match(r"[\w.]*Error\b", line)]
    return process.returncode, (ours[:1] or named[-1:] or lines[-1:] or [""])[0]


def ran(*arguments, **more) -> tuple[int, str]:
    """Run to the end: exit code and last line."""
    return finish(start(*arguments, **more))


def quoted(code: int, said: str) -> str:
    """Return an exit code and the beginning of what was said."""
    said = " ".join(said.split())
    return f"exit code {code}: {said[:160]}" if said else f"exit code {code}"
