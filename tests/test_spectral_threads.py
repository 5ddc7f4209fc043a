"""Spectral kernels with all the threads of a block, as on a GPU, run on the CPU (`emulator`)."""

import re

import jax
import numpy as np
import pytest
import test_medium
import test_terms
from emulator import COMPILER, emulated
from layouts import SATURATED, fast_cases, hand_in, hand_in_spectral
from spectral_cases import ALL, Case
from test_spectral_advance import check
from tolerances import ROLLOUT, relative_error

from warpjaxns import Grid
from warpjaxns._kernels import tuning
from warpjaxns._kernels.spectral.planner import make_plan

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++")

EVERYTHING = {"per_member": ALL, "forcing": "per step"}
# columns (radix, columns, at once), rows (radix, rows), and the case; in float64 a block has half the columns
CASES = [
    # neighbours share threads; the last block has fewer columns; the last block of rows has fewer rows
    ((8, 4, 2), (8, 4), Case(Grid((18, 20), (2.0, 3.3)), "smooth", "rk3", "float32", **EVERYTHING, direct=1)),
    ((8, 8, 2), (8, 4), Case(Grid((45, 75), (2.0, 3.4)), **EVERYTHING)),
    ((4, 1, 1), (4, 1), Case(Grid((64, 96), (2.0, 3.5)), "smooth", "rk4", "float32", steps=1, forcing="none")),
    ((8, 2, 4), (4, 8), Case(Grid((64, 20), (2.0, 3.6)), dtype="float32", direct=1, batch=3)),
    ((16, 8, 1), (16, 3), Case(Grid((24, 36), (2.0, 3.7)), "smooth", dtype="float32", **EVERYTHING)),
    ((16, 2, 4), (16, 2), Case(Grid((16, 1024), (0.2, 3.1)), steps=1, batch=1)),
    ((16, 4, 2), (8, 5), Case(Grid((1024, 16), (3.1, 0.2)), dtype="float32", steps=1, batch=1, forcing="none")),
    ((8, 2, 2), (8, 4), Case(Grid((96, 10), (2.0, 3.8)), "smooth", direct=1, **EVERYTHING)),  # Kx + 1 = 5 columns
]
ids = [f"{columns}-{rows}-{case}" for columns, rows, case in CASES]
cases = pytest.mark.parametrize(
    ("columns", "rows", "case"),
    [pytest.param(*case, marks=pytest.mark.full, id=name) for case, name in zip(CASES, ids, strict=True)],
)


@pytest.fixture
def emulator(monkeypatch, emulated_kernels):
    return emulated(monkeypatch, emulated_kernels)


@cases
def test_value_jvp_and_vjp(columns, rows, case, emulator, monkeypatch):
    hand_in_spectral(monkeypatch, columns, rows)
    plan = make_plan(case.grid.shape, case.dtype, case.dealiasing, case.batch)
    assert plan.advance.columns == columns[1] // (2 if case.dtype == "float64" and columns[1] > 1 else 1)
    assert (plan.advance.at_once, plan.rows.rows) == (columns[2], rows[1])
    check(case)
    assert {"stage_columns", "sweep_columns", "products", "begin"} <= set(emulator.launched)


RESIDENTS = [  # (radix, threads, columns), and the case
    ((8, 64, 2), Case(Grid((16, 24), (2.0, 3.3)), "smooth", dtype="float32", **EVERYTHING, direct=1)),
    ((4, 32, 3), Case(Grid((20, 16), (2.0, 3.4)), integrator="rk4", repeats=2, steps=1, forcing="none")),
    ((8, 96, 32), Case(Grid((12, 48), (2.0, 3.5)), dtype="float32", per_member=ALL, batch=3)),
    ((8, 512, 32), Case(Grid((64, 64), (2.0, 3.6)), "smooth", dtype="float32", steps=1)),
    ((8, 512, 32), Case(Grid((60, 64), (2.0, 3.7)), dtype="float64", steps=1, **EVERYTHING)),
]


def hand_in_residents(monkeypatch, entry):
    hand_in_spectral(monkeypatch, (8, 2, 2))
    hand_in(monkeypatch, {"SPECTRAL_RESIDENT": {64: [tuning.SpectralResident(*entry, 512, 1)]}})


@pytest.mark.parametrize(
    ("entry", "case"), [pytest.param(*r, marks=[pytest.mark.full] * (i > 0)) for i, r in enumerate(RESIDENTS)], ids=str
)
def test_resident_members(entry, case, emulator, monkeypatch):
    hand_in_residents(monkeypatch, entry)
    plan = make_plan(case.grid.shape, case.dtype, case.dealiasing, case.batch)
    assert {way.threads for way in (plan.resident, plan.resident_tangent, plan.resident_sweep)} == {entry[1]}
    check(case)
    assert set(emulator.launched) == {"resident_stages", "resident_sweep"}


@pytest.mark.full
def test_a_sweep_where_memory_is_short(emulator, monkeypatch):
    """Columns of strain and velocity take turns, and the tangent is not fused."""
    case = Case(Grid((96, 20), (2.0, 3.3)), dtype="float32", **EVERYTHING)
    hand_in_spectral(monkeypatch, (8, 1, 1), memory=2000)
    plan = make_plan(case.grid.shape, case.dtype, case.dealiasing, case.batch, 2000)
    assert plan.fits(plan.advance, 2)
    assert not plan.sweeps_together
    check(case)


TERMS = [  # columns and rows, or the entry of resident members; bytes of memory; and the case
    ((8, 4, 2), (8, 4), None, {"grid": Grid((18, 20), (0.7, 1.1)), "dealiasing": "smooth", "dtype": "float32"}),
    ((8, 1, 1), (8, 4), 2000, {"grid": Grid((96, 20), (0.9, 1.2)), "dtype": "float32"}),
    ((8, 64, 2), None, None, {"grid": Grid((16, 24), (0.8, 1.1))}),
]


@pytest.mark.full
@pytest.mark.parametrize(("columns", "rows", "memory", "options"), TERMS, ids=["columns", "short", "resident"])
def test_further_terms(columns, rows, memory, options, emulator, monkeypatch):
    if rows is None:
        hand_in_residents(monkeypatch, columns)
    else:
        hand_in_spectral(monkeypatch, columns, rows, memory)
    test_terms.check(test_terms.Case(per_member=True, steps=2, **options))
    assert ("resident_sweep" if rows is None else "sweep_columns") in emulator.launched


MEDIA = [  # columns and rows, what else a plan depends on; and the case
    ((8, 4, 2), (8, 4), {}, {"grid": Grid((18, 20), (0.7, 1.1)), "dealiasing": "smooth", "dtype": "float32"}),
    ((8, 4, 2), (8, 4), SATURATED, {"grid": Grid((18, 20), (0.7, 1.1)), "dealiasing": "smooth", "dtype": "float32"}),
    (
        (8, 1, 4),
        (16, 3),
        {},
        {"grid": Grid((24, 36), (0.9, 1.2)), "names": ("dt", "mask", "permeability"), "rows": 0.4},
    ),
    (
        (8, 1, 4),
        (16, 3),
        SATURATED,
        {"grid": Grid((24, 36), (0.9, 1.2)), "names": ("dt", "mask", "permeability"), "rows": 0.4},
    ),
    (
        (4, 1, 2),
        (8, 3),
        {"memory": 2600},
        {"grid": Grid((36, 18), (0.9, 1.2)), "names": ("dt", "mask", "permeability"), "rows": 0.4},
    ),
]


@pytest.mark.full
@pytest.mark.parametrize(("columns", "rows", "more", "options"), MEDIA)
def test_a_medium(columns, rows, more, options, emulator, monkeypatch):
    """Its kernels, by which members are not resident; value, tangent and sweep."""
    hand_in_spectral(monkeypatch, columns, rows, more.get("memory"))
    hand_in(monkeypatch, {name: value for name, value in more.items() if name != "memory"})
    test_terms.check(test_medium.Case(per_member=True, steps=2, **options))
    assert {"square_and_resist", "pull_back", "stage_columns", "sweep_columns"} <= set(emulator.launched)


@pytest.mark.full
def test_any_order_of_threads_with_a_medium(emulator, monkeypatch):
    hand_in_spectral(monkeypatch, (8, 4, 2), (8, 4))
    case = test_medium.Case(grid=Grid((18, 20), (0.7, 1.1)), dtype="float32", per_member=True, steps=1)
    omega, values = case.operands()
    f = jax.jit(jax.grad(lambda *x: case.fused("warp")(*x).sum(), (0, 1)))
    results = []
    for emulator.order in range(5):
        results.append(jax.tree.map(np.asarray, f(omega, values)))
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


def check_any_order(case, emulator, sweep, launches):
    x = case.operands()
    f = jax.jit(jax.value_and_grad(lambda *x: case.fused("warp")(*x).sum(), (0, 1, 4)))
    results = []
    for emulator.order in range(5):
        results.append(jax.tree.map(np.asarray, f(*x)))
    assert emulator.launched.count(sweep) == len(results) * launches
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


@pytest.mark.full
@pytest.mark.parametrize("number", [0, 1, 3])
def test_any_order_of_threads(number, emulator, monkeypatch):
    """Blocks, and threads between two barriers, run in any order, and no bit depends on it."""
    columns, rows, case = CASES[number]
    hand_in_spectral(monkeypatch, columns, rows)
    check_any_order(case, emulator, "sweep_columns", 3 * case.steps + 1)


@pytest.mark.full
@pytest.mark.parametrize("number", [0, 2])
def test_any_order_of_threads_of_resident_members(number, emulator, monkeypatch):
    entry, case = RESIDENTS[number]
    hand_in_residents(monkeypatch, entry)
    check_any_order(case, emulator, "resident_sweep", 1)


# The emulator finds seeded faults.
@pytest.mark.parametrize("lost", fast_cases([r"__syncthreads\(\);", r"__syncwarp\(.*\);"]), ids=["block", "line"])
def test_a_lost_barrier_shows(lost, emulator, monkeypatch):
    hand_in_spectral(monkeypatch, (8, 1, 2))
    case = Case(Grid((64, 60), (1.0, float(len(lost)))), dtype="float32", steps=1, forcing="none")
    f, x = jax.jit(case.fused("warp")), case.operands()
    emulator.change = lambda text: re.sub(lost, "", text)
    emulator.order = 2
    assert not relative_error(f(*x), case.oracle(*x)) < ROLLOUT[case.dtype]
