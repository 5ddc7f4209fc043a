"""Rows so long that no block has two lines of them: the streamfunction goes through memory."""

import pytest
from layouts import fast_cases
from test_advance import ALL, Case, check

from warpjaxns import Grid
from warpjaxns._finite_difference import calls
from warpjaxns._kernels.finite_difference.planner import make_plan

BYTES = 256  # of a block
CASES = [
    Case(grid=Grid((24, 32), (2.0, 3.5)), per_member=ALL, forcing="per step"),
    Case(grid=Grid((9, 30), (2.0, 3.5)), scheme="central", steps=2, dtype="float32", forcing="none", direct=True),
    Case(grid=Grid((5, 12), (0.7, 1.9)), per_member=("viscosity",), direct=True, batch=3),
]


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setattr(calls, "shared_memory", lambda: BYTES)


@pytest.mark.parametrize("case", fast_cases(CASES, 0), ids=str)
def test_value_jvp_and_vjp(case):
    plan = make_plan(case.grid.shape, case.dtype, case.batch, BYTES)
    assert all(p.through_memory for p in (plan, plan.for_tangent, plan.for_source, plan.for_adjoint))
    check(case)
