"""Layouts for tests: tables that replace those of `tuning`. A test that hands one in must jit anew."""

import pytest

from warpjaxns._kernels import tuning


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
SATURATED = {**NO_RESIDENTS, "SATURATED_POINTS": 0, "SATURATED_ENSEMBLE_POINTS": 0}


def hand_in(monkeypatch, tables: dict) -> None:
    """Put tables in the place of those of `tuning` until the test ends."""
    for name, table in tables.items():
        monkeypatch.setattr(tuning, name, table)


def fast_cases(cases: list, *numbers: int) -> list:
    """Return the cases with all but those of these numbers marked `full`."""
    return [case if i in numbers else pytest.param(case, marks=pytest.mark.full) for i, case in enumerate(cases)]
