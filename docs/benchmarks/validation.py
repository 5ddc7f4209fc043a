"""Compares the package with published values and closed forms: docs/validation.md.

    python docs/benchmarks/validation.py                  # all cases: validation.json, and pictures in docs/images
    python docs/benchmarks/validation.py kolmogorov       # some; the others stay

It runs on the CPU in some minutes. `tables.py` puts the figures into the page.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

FOLDER = Path(__file__).resolve().parent
IMAGES = FOLDER.parent / "images"
FILE = FOLDER / "validation.json"
CASES = ("convergence", "kolmogorov", "decay", "budgets", "gradients", "recurrent_flow")


def measure(case: str) -> dict[str, Any]:
    """Run a case, save its picture if it has one, and return what it found."""
    import validation_flows as flows
    import validation_pictures as pictures
    import validation_turbulence as turbulence

    picture = None
    if case == "convergence":
        found = {"taylor_green": flows.taylor_green(), "space": flows.in_space(), "time": flows.in_time()}
        picture = pictures.convergence(found["space"], found["time"])
    elif case == "kolmogorov":
        found = flows.kolmogorov()
        picture = pictures.kolmogorov(found, flows.kolmogorov_rate, flows.critical_reynolds)
    elif case == "decay":
        found, states = turbulence.decay()
        picture = pictures.decay(found, states)
    elif case == "budgets":
        found = turbulence.budgets()
    elif case == "gradients":
        found = turbulence.gradients()
        picture = pictures.gradients(found)
    else:
        found = recurrent_flow()
    if picture is not None:
        picture.savefig(IMAGES / f"validation_{case}.png", dpi=90)
    return found


def recurrent_flow() -> dict[str, Any]:
    """Return the orbit that the example finds, the same with more points and shorter steps, and a travelling wave."""
    import sys

    sys.path.insert(0, str(FOLDER.parents[1] / "examples"))
    import recurrent_flow as example

    found, orbit = [], None
    for size, dt in ((32, 0.05), (48, 0.05), (64, 0.025)):
        if orbit is None:
            solver = example.solver_of(size, example.REYNOLDS, dt, example.COARSE)
            guess = example.nearest_recurrence(solver)
        else:
            solver = example.solver_of(size, example.REYNOLDS, dt)
            guess = dataclasses.replace(orbit, omega=example.resampled(orbit.omega, size))
        orbit = example.newton(solver, guess, report=example.show)
        rate, _ = example.around(solver, orbit)
        values = {"period": orbit.period, "shift": orbit.shift, "residual": orbit.residual}
        values |= {"dissipation": float(rate.mean()), "range": [float(rate.min()), float(rate.max())]}
        found.append({"size": size, "dealiasing": solver.discretisation.dealiasing, "dt": dt, **values})
    growing = [[float(m.real), float(m.imag)] for m in example.multipliers(solver, orbit, 6)]

    # a travelling wave is an orbit of any period, with a shift in proportion
    solver = example.solver_of(32, example.REYNOLDS, 0.05, example.COARSE)
    guess = example.nearest_recurrence(solver, seed=0, shortest=8.0, longest=10.4)
    wave = example.newton(solver, guess, report=example.show)
    solver = example.solver_of(48, example.REYNOLDS, 0.05)
    wave = example.newton(solver, dataclasses.replace(wave, omega=example.resampled(wave.omega, 48)))
    rate, _ = example.around(solver, wave)
    values = {"size": 48, "speed": abs(wave.shift) / wave.period, "residual": wave.residual}
    values |= {"dissipation": float(rate.mean()), "range": [float(rate.min()), float(rate.max())]}
    return {"orbits": found, "multipliers": growing, "wave": values}


def main(argv: list[str] | None = None) -> None:
    """Run the cases that are named, or all, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if none is given")
    options = parser.parse_args(argv)
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"CASE={', '.join(sorted(unknown))}: expected some of {', '.join(CASES)}")
    jax.config.update("jax_enable_x64", True)
    for case in options.cases or CASES:
        print(case, flush=True)
        found = measure(case)
        everything = json.loads(FILE.read_text()) if FILE.is_file() else {}
        FILE.write_text(json.dumps(everything | {case: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
