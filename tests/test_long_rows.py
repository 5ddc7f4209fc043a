"""Rows so long that no block has two lines of them: the streamfunction goes through memory."""

import pytest
import test_difference_terms
import test_mailboxes
from emulator import COMPILER, emulated
from layouts import NO_RESIDENTS, SATURATED, fast_cases, hand_in
from test_advance import ALL, Case, check
from test_divided import check_steps, forward, functions, gradient_of_control, gradient_of_parameters, tangent

from warpjaxns import Grid
from warpjaxns._finite_difference import calls
from warpjaxns._finite_difference.divided import calls as divided_calls
from warpjaxns._finite_difference.divided import peers
from warpjaxns._kernels.finite_difference.planner import make_divided_plan, make_plan

CASES = [
    Case(grid=Grid((24, 32), (2.0, 3.5)), per_member=ALL, forcing="per step"),
    Case(grid=Grid((9, 30), (2.0, 3.5)), scheme="central", steps=2, dtype="float32", forcing="none", direct=True),
    Case(grid=Grid((5, 12), (0.7, 1.9)), per_member=("viscosity",), direct=True, batch=3),
]


@pytest.fixture
def emulator(monkeypatch, emulated_kernels):
    return emulated(monkeypatch, emulated_kernels)


def with_memory(monkeypatch, nbytes):
    for module in (calls, divided_calls, peers):
        monkeypatch.setattr(module, "shared_memory", lambda: nbytes)


@pytest.mark.parametrize("case", fast_cases(CASES, 0), ids=str)
def test_value_jvp_and_vjp(case, monkeypatch):
    with_memory(monkeypatch, 256)
    plan = make_plan(case.grid.shape, case.dtype, case.batch, 256)
    assert all(p.through_memory for p in (plan, plan.for_tangent, plan.for_source, plan.for_adjoint))
    check(case)


@pytest.mark.full
@pytest.mark.parametrize(("points", "dtype"), [(32768, "float32"), (16384, "float64")])
def test_the_longest_rows(points, dtype):
    check(Case(grid=Grid((4, points), (0.001, 3.5)), dtype=dtype, steps=1, batch=1))


@pytest.mark.full
def test_tangents_go_through_memory_first(monkeypatch):
    """A block has two lines for a stage, and no four for a state and its tangent."""
    case = Case(grid=Grid((15, 20), (2.0, 3.5)), steps=2, per_member=ALL)
    two = make_plan(case.grid.shape, case.dtype, case.batch).row_lines(2, 1)
    plan = make_plan(case.grid.shape, case.dtype, case.batch, two.nbytes + 8)
    assert not plan.through_memory
    assert plan.for_tangent.through_memory
    with_memory(monkeypatch, plan.shared_memory)
    check(case)


def test_rows_that_fit():
    """On a saturated device they are faster through memory. On a divided grid blocks solve for their own rows."""
    shapes = [(4096, 8192), (64, 8192), (8192, 4096)]
    assert [make_plan(shape, "float32").through_memory for shape in shapes] == [True, False, False]
    assert not make_divided_plan(shapes[0], "float32").through_memory


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_that_fit_through_memory(case, monkeypatch):
    hand_in(monkeypatch, {**SATURATED, "LONGEST_ROW": case.grid.shape[1] - 1})
    plan = make_plan(case.grid.shape, case.dtype, case.batch)
    assert all(p.through_memory for p in (plan, plan.for_tangent, plan.for_source, plan.for_adjoint))
    check(case)


@pytest.mark.full
@pytest.mark.parametrize("longest", [4, 4096], ids=["parts", "columns"])
@pytest.mark.parametrize(
    "names", [test_difference_terms.WITH_MEDIUM, tuple(test_difference_terms.WITH_RADIUS)], ids=len
)
def test_further_terms(names, longest, monkeypatch):
    hand_in(monkeypatch, {"LONGEST_COLUMN": longest, "ROWS_OF_PART": 8})
    with_memory(monkeypatch, 256)
    held = ("deformation_radius",) if "deformation_radius" in names else ()
    case = test_difference_terms.Case(grid=Grid((24, 20), (2.0, 3.3)), per_member=True, steps=1, names=names, held=held)
    test_difference_terms.check(case)


@pytest.mark.covering(1, 2)
@functions([forward, tangent, gradient_of_parameters, gradient_of_control], [tangent])
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", fast_cases([1, 2, 4], 1))
@pytest.mark.parametrize("lines", fast_cases([1, 2], 0))
def test_slabs_of_a_divided_grid(function, dtype, parts, lines, monkeypatch):
    """Blocks have room for one line, and so one row, or for two."""
    grid = Grid((24, 32), (2.0, 3.5))
    line = make_plan(grid.shape, dtype, 1, 1).stage_bytes
    with_memory(monkeypatch, lines * line)
    plans = [
        make_divided_plan((24 // parts, 32), dtype, 1, lines * line, kind) for kind in ("state", "tangent", "sweep")
    ]
    assert all(plan.through_memory and plan.rows == lines for plan in plans)
    check_steps("warp", function, dtype, parts, "arakawa", True, grid)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("check", "given"),
    [
        (test_mailboxes.test_steps, {"repeats": 2}),
        (test_mailboxes.test_what_is_kept_and_the_sweep, {"scheme": "arakawa"}),
        (test_mailboxes.test_tangent, {}),
    ],
    ids=["steps", "sweep", "tangent"],
)
def test_messages_by_kernels(check, given, dtype, monkeypatch):
    """The two rows of psi around a slab are those of the other device."""
    with_memory(monkeypatch, 256)
    check(dtype=dtype, parts=2, grid=test_mailboxes.GRID, monkeypatch=monkeypatch, **given)


@pytest.mark.full
@pytest.mark.skipif(COMPILER is None, reason="needs g++")
@pytest.mark.parametrize(
    "case",
    [
        Case(grid=Grid((6, 512), (0.2, 3.5)), steps=2, per_member=ALL, forcing="per step"),
        Case(grid=Grid((5, 96), (2.0, 3.5)), scheme="central", dtype="float32", direct=True),
    ],
    ids=str,
)
def test_all_threads_of_a_block(case, emulator, monkeypatch):
    with_memory(monkeypatch, 256)
    check(case)
    assert {"forward_rows", "inverse_rows", "stage_points", "source_points", "sweep_points"} <= set(emulator.launched)


@pytest.mark.parametrize("case", fast_cases(CASES, 0), ids=str)
@pytest.mark.parametrize("through_memory", fast_cases([True, False], 1))
def test_columns_in_parts(case, through_memory, monkeypatch):
    hand_in(monkeypatch, {**NO_RESIDENTS, "LONGEST_COLUMN": 4, "ROWS_OF_PART": 8})
    with_memory(monkeypatch, 256 if through_memory else None)
    plan = make_plan(case.grid.shape, case.dtype, case.batch, 256 if through_memory else None)
    assert all(p.in_parts and p.through_memory == through_memory for p in (plan, plan.for_tangent, plan.for_adjoint))
    check(case)
