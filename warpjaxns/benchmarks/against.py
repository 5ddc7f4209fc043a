"""Comparison of a run with an earlier one, of which the JSON file is left.

On the same machine seconds are compared. On another one they say nothing, and what is compared is the time beside that
of XLA, which both runs measured in turns with Warp.
"""

import json
import platform
from pathlib import Path
from typing import NamedTuple

STANDARD = "xla"  # its programs are those of plain `jax.numpy`
COLUMNS = ("case", "solver", "task", "now", "earlier", "ratio")
WIDTHS = (12, 15, 22, 12, 12, 8)


class Change(NamedTuple):
    """A figure now and earlier. It is None where it was not measured, and `error` then says why."""

    case: str
    contender: str
    what: str
    now: float | None
    earlier: float
    error: str | None = None

    @property
    def ratio(self) -> float | None:
        """Now over earlier: above 1 it is slower."""
        return None if self.now is None else self.now / self.earlier

    def over(self, threshold: float) -> bool:
        """Return whether it is slower than so many times, or does not run any more."""
        return self.now is None or self.now > threshold * self.earlier


def read(path: Path) -> dict:
    """Return the figures of an earlier run.

    Raises:
        ValueError: the file cannot be read, or is none of ``warpjaxns bench``.
    """
    try:
        figures = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(figures, dict) or not figures.get("records") or "device" not in figures:
        raise ValueError(f"{path}: expected a file that warpjaxns bench wrote, with records")
    return figures


def machine(figures: dict) -> dict:
    """Return what must be equal for seconds to be compared: the device, and of a CPU its model and cores."""
    device = figures["device"]
    names = ("platform", "kind") if device["platform"] != "cpu" else ("platform", "kind", "cpus", "processor")
    return {name: device.get(name) for name in names}


def same_machine(now: dict, earlier: dict) -> bool:
    """Return whether two runs were on the same kind of machine, as far as is known."""
    return machine(now) == machine(earlier) and None not in machine(now).values()


def compare(now: dict, earlier: dict, absolute: bool) -> list[Change]:
    """Return the changes of all records that both runs have: of seconds a step, or of times over that of XLA."""
    figures, standards = _by_key(now), _by_key(earlier)
    changes = []
    for key, record in figures.items():
        before, after = (_figure(key, records, absolute) for records in (standards, figures))
        if before is None or (after is None and not record["error"]):
            continue
        if record["error"] and "time was up" in record["error"]:
            continue
        changes.append(Change(key[0], record["contender"], record["what"], after, before, record["error"]))
    return changes


def lines(now: dict, earlier: dict, changes: list[Change], absolute: bool, threshold: float):
    """Yield the lines of a report on what `compare` found."""
    for name, value in machine(now).items():
        if (was := earlier["device"].get(name)) != value:
            yield f"another machine: {name} was {was}, and is {value}"
    for name, version in now["versions"].items():
        if (was := earlier["versions"].get(name)) not in (version, None):
            yield f"{name} was {was}, and is {version}"
    yield f"Compared: {'µs a step' if absolute else 'time over that of XLA'}"
    yield _line(COLUMNS)
    scale = 1e6 if absolute else 1
    for change in changes:
        figures = (change.now, change.earlier)
        numbers = ["" if figure is None else f"{scale * figure:.4g}" for figure in figures]
        ratio = change.error if change.ratio is None else f"{change.ratio:.2f}"
        mark = f"  over {threshold:g}" if change.ratio is not None and change.over(threshold) else ""
        yield _line((*change[:3], *numbers, ratio)) + mark


def processor() -> str | None:
    """Return the model of the CPU, or None where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or None


def _by_key(figures: dict) -> dict[tuple, dict]:
    return {_key(record): record for record in figures["records"]}


def _key(record: dict) -> tuple:
    """Return what identifies a record. Runs before there were two discretisations do not name theirs."""
    kind = record.get("discretisation") or {
        "name": "finite-difference",
        "advection": record.get("advection", "arakawa"),
    }
    return record["case"], record["contender"], record["what"], record["dtype"], tuple(sorted(kind.items()))


def _figure(key: tuple, records: dict[tuple, dict], absolute: bool) -> float | None:
    """Return the seconds a step of a record, or its time over that of XLA; None where one of them was not measured."""
    seconds = records.get(key, {}).get("seconds_per_step")
    if absolute or not seconds:
        return seconds
    case, contender, *rest = key
    standard = records.get((case, STANDARD, *rest), {}).get("seconds_per_step")
    return seconds / standard if standard and contender != STANDARD else None


def _line(cells) -> str:
    pairs = zip(cells, WIDTHS, strict=True)
    return "".join(f"{cell:<{w}}" if i < 3 else f"{cell:>{w}}" for i, (cell, w) in enumerate(pairs)).rstrip()
