"""Draws several runs of `warpjaxns bench` in one picture, with the roof of the first.

python docs/benchmarks/picture.py docs/benchmarks/bench.json docs/benchmarks/bench_xla.json \
    docs/benchmarks/bench_small.json --output docs/images/bench.png

Measurements of a case in the first run that has it are drawn.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from warpjaxns.benchmarks import Case, Record, least_bytes
from warpjaxns.benchmarks.plot import throughput


def records(path: Path) -> list[Record]:
    """Return the measurements in a JSON file of `warpjaxns bench`."""
    names = [field.name for field in dataclasses.fields(Record) if field.name != "case"]
    return [
        Record(Case(r["size"], r["members"], r["dtype"]), **{name: r[name] for name in names})
        for r in json.loads(path.read_text())["records"]
    ]


def main(argv: list[str] | None = None):
    """Read the files, draw them, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="JSON")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    options = parser.parse_args(argv)
    first, found = json.loads(options.runs[0].read_text()), {}
    for run in options.runs:
        for record in records(run):
            found.setdefault((record.case, record.contender, record.what), record)
    subtitle = f"{first['device']['kind']}, float32, Arakawa's scheme"
    roof = first["bandwidth"]["bytes_per_second"] / least_bytes()
    throughput([*found.values()], roof=roof, subtitle=subtitle).savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
