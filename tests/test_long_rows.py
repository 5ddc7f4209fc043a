"""Rows so long that no block has two lines of them: the streamfunction goes through memory."""

import pytest
from layouts import fast_cases
from test_advance import ALL, Case, check
from test_divided import check_steps, forward, functions, gradient_of_control, gradient_of_parameters, tangent

from warpjaxns import Grid
from warpjaxns._finite_difference import calls
from warpjaxns._finite_difference.divided import calls as divided_calls
from warpjaxns._kernels.finite_difference.planner import make_divided_plan, make_plan

CASES = [
    Case(grid=Grid((24, 32), (2.0, 3.5)), per_member=ALL, forcing="per step"),
    Case(grid=Grid((9, 30), (2.0, 3.5)), scheme="central", steps=2, dtype="float32", forcing="none", direct=True),
    Case(grid=Grid((5, 12), (0.7, 1.9)), per_member=("viscosity",), direct=True, batch=3),
]


def with_memory(monkeypatch, nbytes):
    for module in (calls, divided_calls):
        monkeypatch.setattr(module, "shared_memory", lambda: nbytes)


@pytest.mark.parametrize("case", fast_cases(CASES, 0), ids=str)
def test_value_jvp_and_vjp(case, monkeypatch):
    with_memory(monkeypatch, 256)
    plan = make_plan(case.grid.shape, case.dtype, case.batch, 256)
    assert all(p.through_memory for p in (plan, plan.for_tangent, plan.for_source, plan.for_adjoint))
    check(case)


@pytest.mark.covering(1, 2)
@functions([forward, tangent, gradient_of_parameters, gradient_of_control], [tangent])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parts", fast_cases([1, 2, 4], 1))
@pytest.mark.parametrize("lines", fast_cases([1, 2, 4], 0))
def test_slabs_of_a_divided_grid(function, dtype, parts, lines, monkeypatch):
    """Blocks have room for one line, and so one row; for two; for four, two of each field."""
    grid = Grid((24, 32), (2.0, 3.5))
    line = make_plan(grid.shape, dtype, 1, 1).stage_bytes
    with_memory(monkeypatch, lines * line)
    plans = [make_divided_plan((24 // parts, 32), dtype, 1, lines * line, kind) for kind in ("state", "tangent", "sweep")]
    assert [p.rows for p in plans] == {1: [1, 1, 1], 2: [2, 1, 2], 4: [2, 2, 2]}[lines]
    assert all(p.through_memory for p in plans)
    check_steps("warp", function, dtype, parts, "arakawa", True, grid)
