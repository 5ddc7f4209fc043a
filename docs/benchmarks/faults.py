"""Faults done to whole processes, and what came out.

    python docs/benchmarks/faults.py --output docs/benchmarks/faults.json
    python docs/benchmarks/faults.py --output docs/benchmarks/faults.json --only kill --kills 50

Each fault is a function of an empty folder in `faults_generate` or `faults_machine`. It does something to commands of
this package, and returns what came out and whether that is as it should be. `tables.py` writes the page from the JSON.
Tests do many more faults, to parts of the package (`TESTS`).
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import faults_generate  # noqa: F401  registers its faults, and so does the next one
import faults_machine  # noqa: F401
from processes import FAULTS

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


def main(argv: list[str] | None = None) -> int:
    """Do the faults, one after the other. Those of a GPU are left out where there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="results of other faults in it are kept")
    parser.add_argument("--only", nargs="+", default=[""], help="faults whose name has one of these texts")
    parser.add_argument("--kills", type=int, default=50)
    options = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do children
    report: dict = {}
    if options.output and options.output.exists():
        report = json.loads(options.output.read_text())
    gpu = shutil.which("nvidia-smi") is not None
    for name, fault in FAULTS.items():
        if not any(text in name for text in options.only) or (fault.gpu and not gpu):
            continue
        with tempfile.TemporaryDirectory() as folder:
            outcome = fault.run(Path(folder), options.kills)
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
