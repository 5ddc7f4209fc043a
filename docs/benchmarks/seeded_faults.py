"""Seeded faults, and the tier of the tests that finds each of them.

    python docs/benchmarks/seeded_faults.py --output docs/benchmarks/seeded_faults.json
    python docs/benchmarks/seeded_faults.py --output docs/benchmarks/seeded_faults.json --coverage fast .coverage

The second command adds to the report which lines ran, from the data of ``coverage run --source=warpjaxns -m pytest``.
Lines of kernels and of device functions are compiled, and never run by Python.

Each fault is one replacement of text in `warpjaxns`, made in a copy of the tree. The tests of the files it concerns
run until the first one fails: the fast tier, and where that finds nothing, all cases (``--full``). A fault is found if
a test fails; a suite that does not start finds nothing.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
KERNELS, PHYSICS = "_kernels/finite_difference", "_finite_difference"
SPECTRAL = "_kernels/spectral"


class Fault(NamedTuple):
    """A replacement of text that occurs once in a file, and the files of tests that it concerns."""

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = [
    Fault(
        "wrong sign in the Laplacian's stencil",
        f"{KERNELS}/stencils.py",
        "(a[7] - two * a[4] + a[1])",
        "(a[7] - two * a[4] - a[1])",
        ("test_operators",),
    ),
    Fault(
        "wrong sign in the central Jacobian's stencil",
        f"{KERNELS}/stencils.py",
        "- (a[1] - a[7]) * (b[5] - b[3])",
        "+ (a[1] - a[7]) * (b[5] - b[3])",
        ("test_operators",),
    ),
    Fault(
        "wrong sign in Arakawa's stencil",
        f"{KERNELS}/stencils.py",
        "total -= a[3] * (b[0] - b[6])",
        "total += a[3] * (b[0] - b[6])",
        ("test_operators",),
    ),
    Fault(
        "wrong sign in the stencil of a transpose",
        f"{KERNELS}/stencils.py",
        "return -plus_cross(b, a) * metric[2]",
        "return plus_cross(b, a) * metric[2]",
        ("test_operators",),
    ),
    Fault(
        "wrong sign in the stencil that XLA uses, oracle included",
        f"{PHYSICS}/reference.py",
        "        + shift(a, -1, 0) * (se - sw)",
        "        - shift(a, -1, 0) * (se - sw)",
        ("test_operators",),
    ),
    Fault(
        "missing factor in the metric of all stencils",
        "_coefficients.py",
        "1 / (4 * dx * dy)",
        "1 / (2 * dx * dy)",
        ("test_operators",),
    ),
    Fault(
        "wrong transpose of the central Jacobian",
        "_coefficients.py",
        '"central": "cross_plus"',
        '"central": "plus_cross"',
        ("test_operators",),
    ),
    Fault(
        "swapped coefficients of a Runge-Kutta stage",
        "_coefficients.py",
        "(1 / 3, 2 / 3, 2 / 3)",
        "(2 / 3, 1 / 3, 1 / 3)",
        ("test_advance",),
    ),
    Fault(
        "wrong sign of the drag in kernels",
        f"{KERNELS}/tendency.py",
        "jacobian(psi, w, terms.metric) - terms.drag * w[4]",
        "jacobian(psi, w, terms.metric) + terms.drag * w[4]",
        ("test_advance",),
    ),
    Fault(
        "missing term in the tangent of the drag",
        f"{KERNELS}/tendency.py",
        "result.drag = result.h * given.drag + h * direction.drag",
        "result.drag = result.h * given.drag",
        ("test_advance",),
    ),
    Fault(
        "swapped viscosity and drag in kernels",
        "_kernels/parameters.py",
        "result.viscosity, result.drag, result.dt, result.forcing = viscosity.place, drag.place,",
        "result.viscosity, result.drag, result.dt, result.forcing = drag.place, viscosity.place,",
        ("test_advance",),
    ),
    Fault(
        "swapped cotangents of viscosity and drag",
        f"{KERNELS}/tendency.py",
        "Sums(h * sums[0], h * sums[1], c * product)",
        "Sums(h * sums[1], h * sums[0], c * product)",
        ("test_advance",),
    ),
    Fault(
        "missing term in the cotangent of dt",
        f"{KERNELS}/tendency.py",
        "given.viscosity * sums[0] + given.drag * sums[1] + sums[2]",
        "given.viscosity * sums[0] + sums[2]",
        ("test_advance",),
    ),
    Fault(
        "swapped coefficients in the backward sweep",
        f"{KERNELS}/sweep.py",
        "out, a3, a2, l, late)",
        "out, a2, a3, l, late)",
        ("test_advance",),
    ),
    Fault(
        "cotangents of a forcing per step added up over steps",
        f"{KERNELS}/sweep.py",
        "(turn == last or not steady))",
        "(turn == last))",
        ("test_advance",),
    ),
    Fault(
        "missing factor in XLA's adjoint",
        f"{PHYSICS}/algebra.py",
        "dt=c * inner(l, rate)",
        "dt=inner(l, rate)",
        ("test_advance",),
    ),
    Fault(
        "missing term in XLA's tangent",
        f"{PHYSICS}/algebra.py",
        "c * (dt * drate + ddt * rate)",
        "c * dt * drate",
        ("test_algebra",),
    ),
    Fault(
        "wrong batch axis of the forcing",
        "_primitives/operands.py",
        "dt=0, forcing=1, ",
        "dt=0, forcing=0, ",
        ("test_advance_vmap",),
    ),
    Fault(
        "members and mapped axis folded in the wrong order",
        "_primitives/folding.py",
        "jnp.broadcast_to(x, (*head, size, inner, *tail))",
        "jnp.moveaxis(jnp.broadcast_to(x, (*head, size, inner, *tail)), axis, axis + 1)",
        ("test_operators", "test_advance_vmap"),
    ),
    Fault(
        "swapped transposes of state and tangent",
        "_primitives/steps.py",
        "[None] * len(x) + results + [None]",
        "[None] * len(x) + [results[0], results[2], results[1], *results[3:]] + [None]",
        ("test_advance",),
    ),
    Fault(
        "psi keeps a mean",
        f"{KERNELS}/poisson.py",
        "            if k == 0:\n                values = less",
        "            if k < 0:\n                values = less",
        ("test_operators",),
    ),
    Fault(
        "wrong sign in the solve of slabs",
        f"{KERNELS}/slabs.py",
        "q = mode[4] * (q + (p - loss * p))",
        "q = mode[4] * (q - (p - loss * p))",
        ("test_slabs",),
    ),
    Fault(
        "missing factor in the sums of slabs",
        f"{KERNELS}/between.py",
        "mean_triangle = real((m + 1) / 2 - (m * m - 1) / (6 * m))",
        "mean_triangle = real((m + 1) / 2 - (m * m - 1) / (3 * m))",
        ("test_slabs",),
    ),
    Fault(
        "wrong start of a step in resident members",
        f"{KERNELS}/resident/stage.py",
        "then = (stage + 1) % 3 * one_field",
        "then = (stage + 2) % 3 * one_field",
        ("test_resident",),
    ),
    Fault(
        "wrong sign in the transform of rows",
        "_kernels/fft/real_rows.py",
        "Complex(a[0] - b[1], a[1] + b[0])",
        "Complex(a[0] + b[1], a[1] + b[0])",
        ("test_slabs",),
    ),
    Fault(
        "a stream begins with the wrong member",
        "_kernels/hardware/address_table.py",
        "first=first * each, length=length",
        "first=first, length=length",
        ("test_streams",),
    ),
    Fault(
        "repeated calls begin from the same state",
        "_ffi.py",
        "addresses[program.feed[0]] = addresses[program.feed[1]]",
        "pass",
        ("test_repeats",),
    ),
    Fault(
        "dependencies between streams made programmatic",
        "_kernels/hardware/dependent_launch.py",
        "if leaving[starts[i]] == entering[ends[i]] == 1",
        "if leaving[starts[i]] == 1",
        ("test_dependent_launch",),
    ),
    Fault(
        "lost barrier between transforms back and a stage",
        f"{KERNELS}/stage.py",
        "publish(inverse(load(buffer, line, roots, t), buffer, factors, line, t), buffer, line, t)\n        barrier()",
        "publish(inverse(load(buffer, line, roots, t), buffer, factors, line, t), buffer, line, t)",
        ("test_threads",),
    ),
    Fault(
        "lost barrier at the end of a resident stage",
        f"{KERNELS}/resident/stage.py",
        "                    state = row_next(w)\n            barrier()",
        "                    state = row_next(w)",
        ("test_threads",),
    ),
    Fault(
        "lost barrier in the sweep of a resident member",
        f"{KERNELS}/resident/sweep.py",
        "            barrier()\n            forward_lines(buffer, then, roots, thread)",
        "            forward_lines(buffer, then, roots, thread)",
        ("test_threads",),
    ),
    Fault(
        "an mbarrier expects too few bytes",
        f"{KERNELS}/resident/rows.py",
        "expect(mbarriers, row_mbarrier(turn), rows * row_bytes)",
        "expect(mbarriers, row_mbarrier(turn), rows * row_bytes - 8)",
        ("test_threads",),
    ),
    Fault(
        "lanes of the mean's warp that do not wait",
        f"{KERNELS}/resident/columns.py",
        "warp_barrier()  # lanes",
        "# lanes",
        ("test_threads",),
    ),
    Fault(
        "a copy that is not waited for",
        f"{KERNELS}/sweep.py",
        "            wait()\n            barrier()\n        for pair in range(thread // threads, pairs, groups):",
        "            barrier()\n        for pair in range(thread // threads, pairs, groups):",
        ("test_threads",),
    ),
    Fault(
        "stages of the wrong repetitions kept",
        "_adjoint.py",
        "return min(wanted, segments - 1)",
        "return min(wanted, segments)",
        ("test_repeats",),
    ),
    Fault(
        "wrong sign in the pullback of spectral kernels",
        f"{SPECTRAL}/symbols.py",
        "x * total[0] - y * rest[1])",
        "x * total[0] + y * rest[1])",
        ("test_spectral_algebra",),
    ),
    Fault(
        "filter left out of the spectral sweep",
        f"{SPECTRAL}/sweep.py",
        "strain(mode_here, filtering * m)",
        "strain(mode_here, m)",
        ("test_spectral_advance",),
    ),
    Fault(
        "integrating factor of the wrong stage",
        f"{SPECTRAL}/stage.py",
        "stage.a, stage.b, stage.duration = stages[number]",
        "(stage.a, stage.b, _), stage.duration = stages[number], stages[number - 1][2]",
        ("test_spectral_advance",),
    ),
    Fault(
        "missing term in the spectral cotangent of dt",
        f"{SPECTRAL}/sweep.py",
        "rest += wp.dot(w1, moved)",
        "rest += real(0.0)",
        ("test_spectral_advance",),
    ),
    Fault(
        "an operand that members share read as one of each",
        f"{SPECTRAL}/rows.py",
        "wp.where(y_at[2] == 1, row % ny, row)",
        "row",
        ("test_spectral_algebra",),
    ),
]


def copied(folder: Path) -> Path:
    """Copy what the tests need."""
    tree = folder / "tree"
    for name in ("warpjaxns", "tests", "examples", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    return tree


@contextlib.contextmanager
def seeded(tree: Path, fault: Fault):
    """Put a fault into a tree, for a while."""
    path = tree / "warpjaxns" / fault.path
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: {path.name} has its text {text.count(fault.old)} times")
    path.write_text(text.replace(fault.old, fault.new))
    try:
        yield
    finally:
        path.write_text(text)


def first_failure(tree: Path, tests: tuple[str, ...], *options: str) -> str | None:
    """Return the first test that fails, or None where none does.

    Raises:
        RuntimeError: the tests did not run.
    """
    files = [f"tests/{name}.py" for name in tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *options, *files]
    done = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True)
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) tests/([^\s[]+)", done.stdout, re.M)
    if done.returncode != 1 or not found:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    return found[1]


def environment(tree: Path) -> dict:
    """Return the environment in which the tree's own package is imported."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def covered(data: str) -> dict[str, str]:
    """Return how many statements ran, of how many, by the part of the package."""
    command = [sys.executable, "-m", "coverage", "json", f"--data-file={data}", "-o", "/dev/stdout", "-q"]
    files = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["files"]
    parts: dict = {}
    for name, record in files.items():
        inside = Path(name.split("warpjaxns/")[-1]).parent
        ran, all_of_them = parts.get(str(inside), (0, 0))
        summary = record["summary"]
        parts[str(inside)] = ran + summary["covered_lines"], all_of_them + summary["num_statements"]
    parts["all"] = tuple(map(sum, zip(*parts.values(), strict=True)))
    return {part: f"{ran} of {count}" for part, (ran, count) in sorted(parts.items()) if count}


def main(argv: list[str] | None = None):
    """Seed the faults one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="results of other faults in it are kept")
    parser.add_argument("--only", nargs="+", default=[""], help="faults whose name has one of these texts")
    parser.add_argument("--coverage", nargs=2, metavar=("TIER", "DATA"), help="seed none; report which lines ran")
    options = parser.parse_args(argv)
    report: dict = {"faults": {}, "coverage": {}}
    if options.output and options.output.exists():
        report = json.loads(options.output.read_text())
    if options.coverage:
        tier, data = options.coverage
        report["coverage"][tier] = covered(data)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
        return
    chosen = [fault for fault in FAULTS if any(text in fault.name for text in options.only)]
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        for fault in chosen:
            start = time.perf_counter()
            with seeded(tree, fault):
                test = first_failure(tree, fault.tests)
                tier = "fast" if test else None
                if not test and (test := first_failure(tree, fault.tests, "--full")):
                    tier = "full"
            record = {"file": fault.path, "found by": tier, "test": test, "tests run": fault.tests}
            report["faults"][fault.name] = record
            print(f"{tier}: {fault.name}  ({test}, {time.perf_counter() - start:.0f} s)", flush=True)
            if options.output:
                options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
