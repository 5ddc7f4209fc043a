"""Cells and tables of text, for `tables.py` and its like."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


def data(name: str) -> Any:
    """Return the contents of a JSON file here."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def figure(value: float | None) -> str:
    """Return a number as text with three digits, or more before the point; nothing for None."""
    if value is None:
        return ""
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def two_digits(value: float) -> str:
    """Return a number as text with two digits."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a Markdown table."""
    first, *others = ["| " + " | ".join(line) + " |" for line in (head, *body)]
    return "\n".join([first, "|" + "---|" * len(head), *others]).replace("|  |", "| |")
