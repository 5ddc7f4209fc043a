"""Reports of a run: a JSON file that is complete after every case, and a table."""

import contextlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .timing import Record

COLUMNS = ("case", "solver", "task", "µs a step", "quartiles", "Gpoint steps/s", "of roof", "compile s", "MiB")


def write(path: Path, figures: dict) -> None:
    """Replace `path` by the figures as JSON, atomically. A run that is cut off leaves the last complete file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(figures, file, indent=1)
            file.write("\n")
        os.chmod(name, 0o644)  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def header() -> str:
    """Return the table's first lines."""
    line = _line(COLUMNS)
    return f"{line}\n{'-' * len(line)}"


def rows(records: Iterable[Record], roof: float | None = None) -> str:
    """Return the table's lines for some records.

    Args:
        records: of `measure`.
        roof: throughput [points steps / s] that the memory's bandwidth allows a forward step; None leaves it out.
    """
    return "\n".join(_row(record, roof) for record in records)


def _row(record, roof):
    name = (record.case.label, record.contender, record.what)
    if record.median is None:
        return f"{_line((*name, '', '', '', '', '', '')).rstrip()}  {record.error}"
    low, high = (1e6 * quartile / record.steps for quartile in record.quartiles)
    share = f"{100 * record.throughput / roof:.0f} %" if roof and record.what == "forward" else ""
    compiled = f"{record.compile_seconds:.1f}" if record.compile_seconds is not None else ""
    memory = f"{sum(record.memory.values()) / 2**20:.0f}" if record.memory else ""
    speed = (f"{1e6 * record.seconds_per_step:.1f}", f"{low:.1f} - {high:.1f}", f"{record.throughput / 1e9:.3f}")
    return _line((*name, *speed, share, compiled, memory))


def _line(cells):
    widths = (12, 15, 22, 10, 21, 15, 8, 10, 8)
    pairs = zip(cells, widths, strict=True)
    return "".join(f"{cell:<{w}}" if i < 3 else f"{cell:>{w}}" for i, (cell, w) in enumerate(pairs))


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
