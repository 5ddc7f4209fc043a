"""Runs experiments of Mosaic's suite `ns-grid` on this solver, in this process and without containers.

    python examples/mosaic/run.py PATH_OF_MOSAIC            # a clone of pasteurlabs/mosaic, installed with its extras
    python examples/mosaic/run.py PATH_OF_MOSAIC gradient/fd_check --output mosaic.json

It copies `tesseract_api.py` and `tesseract_config.yaml` to the clone, where its harness finds solvers.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
EXPERIMENTS = (
    *("forward/baseline", "forward/agreement", "forward/tgv_nu_sweep"),
    *("gradient/fd_check", "gradient/param_sweep", "gradient/horizon_sweep"),
)


def main(argv: list[str] | None = None) -> dict:
    """Run the experiments, and return what the harness returned for this solver, by experiment."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("mosaic", type=Path, metavar="PATH_OF_MOSAIC")
    parser.add_argument("experiments", nargs="*", default=EXPERIMENTS, metavar="EXPERIMENT")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    options = parser.parse_args(argv)
    place = options.mosaic / "mosaic/tesseracts/navier-stokes-grid/warpjaxns"
    place.mkdir(exist_ok=True)
    for name in ("tesseract_api.py", "tesseract_config.yaml", "tesseract_requirements.txt"):
        shutil.copy(FOLDER / name, place)
    os.environ.setdefault("MOSAIC_RESULTS_DIR", tempfile.mkdtemp())
    sys.path.insert(0, str(options.mosaic))

    from mosaic.benchmarks.problems import get_config

    problem = get_config("ns-grid")
    tags = {name: f"inprocess:{place / 'tesseract_api.py'}" for name in problem.solver_names if name == "warpjaxns"}
    if not tags:
        raise SystemExit(f"{options.mosaic}: its harness does not find the solver, only {problem.solver_names}")
    # those with several initial flows are one experiment for each
    names = [n for n in problem.experiments if any(n == e or n.startswith(f"{e}/") for e in options.experiments)]
    found = {}
    for name in names:
        print(name, flush=True)
        found[name] = problem.experiments[name].fn(problem, tags)
        if options.output:
            options.output.write_text(json.dumps(found, indent=1, default=str) + "\n")
    return found


if __name__ == "__main__":
    main()
