"""Layouts for tests: tables that replace those of `tuning`. A test that hands one in must jit anew."""

import pytest

from warpjaxns._kernels import tuning
from warpjaxns._kernels.spectral import planner
from warpjaxns._spectral import calls


def always(entry) -> tuning.Entries:
    """Return an entry for few points and for a saturated device alike."""
    return tuning.Entries(entry, entry)


def shared_by(blocks: int) -> dict:
    """Return tables by which so many blocks share every member that fits them."""
    layouts = tuning.RESIDENT["advance"]
    shared = {n: [entry._replace(blocks=blocks, members=1) for entry in entries] for n, entries in layouts.items()}
    return {"RESIDENT": dict.fromkeys(tuning.RESIDENT, shared)}


NO_RESIDENTS = {"RESIDENT": {kind: {} for kind in tuning.RESIDENT}}
# on a saturated device blocks prefetch what later ones will read
SATURATED = {**NO_RESIDENTS, "SATURATED_POINTS": 0, "SATURATED_ENSEMBLE_POINTS": 0, "APART_POINTS": 0}


def hand_in(monkeypatch, tables: dict) -> None:
    """Put tables in the place of those of `tuning` until the test ends."""
    for name, table in tables.items():
        monkeypatch.setattr(tuning, name, table)


def hand_in_spectral(monkeypatch, columns: tuple, rows: tuple = (8, 4), memory: int | None = None) -> None:
    """Cut all spectral kernels in one way until the test ends, and keep no members resident.

    `columns`: radix, columns and columns at once. `rows`: radix and rows. `memory`: bytes of the device's blocks.
    """
    cut = {4096: always(tuning.SpectralColumns(*columns, 512))}
    monkeypatch.setattr(planner, "KINDS", {name: (cut, count) for name, (_, count) in planner.KINDS.items()})
    tables = {"SPECTRAL_ROWS": {4096: always(tuning.SpectralRows(*rows, 512))}, "SPECTRAL_RESIDENT": {}}
    hand_in(monkeypatch, tables)
    if memory:
        monkeypatch.setattr(calls, "shared_memory", lambda: memory)


def fast_cases(cases: list, *numbers: int) -> list:
    """Return the cases with all but those of these numbers marked `full`."""
    return [case if i in numbers else pytest.param(case, marks=pytest.mark.full) for i, case in enumerate(cases)]


def fast_backends(cases: list, fast: dict) -> list:
    """Return cases of both backends, ("warp", case) and ("xla", case); `fast`: those numbers that stay in that tier."""
    return [
        pytest.param(backend, case, marks=[] if i in fast.get(backend, ()) else pytest.mark.full)
        for i, case in enumerate(cases)
        for backend in ("warp", "xla")
    ]
