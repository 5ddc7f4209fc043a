"""A selection of the tests with the versions that are installed: both engines, by XLA and Warp, and data.

    python docs/benchmarks/versions.py --output docs/benchmarks/versions.json

Run it in an environment of each kind. A result replaces one with the same versions.
"""

import argparse
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("jax", "warp-lang", "numpy", "scipy", "equinox", "jaxtyping", "h5py", "xarray")
SELECTION = ("advance", "spectral_advance", "eager", "x64", "data_xarray")


def main(argv: list[str] | None = None) -> int:
    """Run the tests, and add how many passed to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="a JSON file, to which the result is added")
    options = parser.parse_args(argv)
    files = [f"tests/test_{name}.py" for name in SELECTION]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", *files]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    counts = dict.fromkeys(("passed", "failed", "error"), 0)
    for count, name in re.findall(r"(\d+) (passed|failed|error)", process.stdout.splitlines()[-1]):
        counts[name] = int(count)
    versions = {"python": platform.python_version()}
    versions |= {package: importlib.metadata.version(package) for package in PACKAGES}
    print(versions, process.stdout[-2000:] if process.returncode else counts)
    if options.output:
        kept = json.loads(options.output.read_text()) if options.output.is_file() else []
        kept = [each for each in kept if each["versions"] != versions]
        kept.append({"versions": versions, **counts})
        kept.sort(key=lambda each: [int(number) for number in re.findall(r"\d+", each["versions"]["jax"])])
        options.output.write_text(json.dumps(kept, indent=1) + "\n")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
