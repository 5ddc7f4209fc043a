"""Runs the examples, and writes what they print and draw.

    python docs/benchmarks/run_examples.py            # as they are: examples_default.txt, and pictures to docs/images
    python docs/benchmarks/run_examples.py --large    # at sizes for a GPU: examples.txt
    python docs/benchmarks/run_examples.py stirring   # one of them; the others stay

`tables.py` puts what they printed into docs/examples.md.
"""

import argparse
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
DEFAULT = (
    *("stirring", "generate_dataset", "recover_viscosity", "singular_vectors", "control_enstrophy"),
    *("assimilate_initial_vorticity", "mixing", "bubble", "cylinder", "zonal_jets", "recurrent_flow"),
)
LARGE = {
    "train_closure": "--full",
    "recover_viscosity": "--size 256 --steps 200",
    "assimilate_initial_vorticity": "--size 256 --steps 240",
    "control_enstrophy": "--size 256 --steps 200",
    "singular_vectors": "--size 192 --steps 240 --spin-up 6000",
    "stirring": "--size 256 --steps 1000",
    "mixing": "--size 128 --steps 400 --iterations 200",
    "bubble": "--size 128 --steps 640",
    "zonal_jets": "--size 256 --time 400",
    "generate_dataset": "--size 256 --count 32 --steps 1200",
    "cylinder": "--points 24 --height 16 --length 32 --time 200 --iterations 20",
}
PICTURES = {"train_closure"}  # drawn at the larger size


def sections(path: Path) -> dict[str, str]:
    """Return what each command of a file printed, by command."""
    text = path.read_text() if path.is_file() else ""
    return {
        command: printed.strip("\n") for command, printed in re.findall(r"^\$ (.*)\n((?:(?!^\$ ).*\n?)*)", text, re.M)
    }


def run(name: str, options: str, picture: bool) -> str:
    """Run an example, copy its picture if asked for, and return what it printed, without the path of the picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / f"examples/{name}.py"), *shlex.split(options)]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        if picture:
            (found,) = Path(folder).rglob(f"{name}.png")
            shutil.copy(found, ROOT / "docs/images")
    return "\n".join(line for line in done.stdout.splitlines() if not line.lower().startswith("picture"))


def device() -> str:
    """Return the device and the versions, in a sentence."""
    import jax

    import warpjaxns as wns

    versions = wns.info().versions
    kind = jax.devices()[0].device_kind
    kind = f"a CPU ({platform.machine()})" if kind == "cpu" else f"an {kind}"
    return f"What the examples print on {kind}, with JAX {versions['jax']} and Warp {versions['warp-lang']}."


def main(argv: list[str] | None = None) -> None:
    """Run the examples that are named, or all, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of examples; all if none is given")
    parser.add_argument("--large", action="store_true", help="at sizes for a GPU")
    options = parser.parse_args(argv)
    settings = LARGE if options.large else dict.fromkeys(DEFAULT, "")
    if unknown := set(options.names) - set(settings):
        parser.error(f"NAME={', '.join(sorted(unknown))}: expected some of {', '.join(settings)}")
    path = FOLDER / ("examples.txt" if options.large else "examples_default.txt")
    for name in options.names or settings:
        command = f"python examples/{name}.py {settings[name]}".strip()
        print(f"$ {command}", flush=True)
        printed = run(name, settings[name], picture=not options.large or name in PICTURES)
        parts = [f"$ {each}\n{text}\n" for each, text in (sections(path) | {command: printed}).items()]
        path.write_text("\n".join([device() + "\n", *parts]))


if __name__ == "__main__":
    main()
