"""Members that stay in shared memory through all steps: the results are those of other layouts."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from layouts import fast_cases, hand_in, shared_by
from oracle import normal
from test_advance import ALL, Case, check, check_segments
from test_slabs import check_on_a_gpu

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.finite_difference.resident import stage, sweep
from warpjaxns._kernels.finite_difference.resident.layout import Resident
from warpjaxns._kernels.hardware import address_table

ODD, LONG, SQUARE = Grid((10, 15), (2.0, 3.1)), Grid((6, 24), (0.7, 2.9)), Grid((16, 16), (1.7, 1.9))
CASES = [
    Case(grid=SQUARE, steps=2, forcing="none"),
    Case(grid=ODD, scheme="central", per_member=ALL, forcing="per step"),
    Case(grid=LONG, per_member=ALL, forcing="per step", direct=True),
    Case(grid=LONG, scheme="central", per_member=("viscosity",), direct=True, batch=3),
    Case(grid=ODD, steps=1, per_member=("drag",), batch=1, forcing="steady"),
    Case(grid=SQUARE, scheme="central", dtype="float32", forcing="per step"),
    Case(grid=ODD, dtype="float32", per_member=ALL, direct=True),
]


@pytest.fixture(autouse=True)
def all_resident(monkeypatch):
    hand_in(monkeypatch, shared_by(1))


@pytest.mark.parametrize("case", fast_cases(CASES, 2), ids=str)
def test_value_jvp_and_vjp(case):
    assert make_plan(case.grid.shape, case.dtype, case.batch).resident_tangent
    check(case)


@pytest.mark.full
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(every=4)], ids=str)
def test_rollouts_that_repeat_a_segment(adjoint):
    check_segments(Grid((8, 12), (1.1, 1.3)), adjoint, viscosity=jnp.array([0.01, 0.02, 0.03]))


@pytest.mark.parametrize("what", fast_cases(["advance", "adjoint", "tangent"], 1))
def test_one_launch_for_all_steps(what, monkeypatch):
    launched = []

    def launch(kernel, *arguments):
        launched.append(kernel.key)
        address_table.launch(kernel, *arguments)

    for module in (stage, sweep):
        monkeypatch.setattr(module, "launch", launch)
    grid = Grid((8, 10), (1.0, 1.1))
    omega = normal(0, (2, *grid.shape))
    solver = NavierStokes2D(grid, viscosity=0.01, dt=0.01, adjoint=Direct(), backend="warp", check_finite=False)

    def roll(w):
        return solver.rollout(w, steps=7)

    functions = {
        "advance": roll,
        "adjoint": jax.grad(lambda w: jnp.sum(roll(w) ** 2)),
        "tangent": lambda w: jax.jvp(roll, (w,), (w,))[1],
    }
    jax.block_until_ready(functions[what](omega))
    assert len(launched) == {"advance": 1, "adjoint": 2, "tangent": 1}[what]


@pytest.mark.full
def test_stages_in_turn(monkeypatch):
    """Test the backward sweep of a block with room for one field beside the lines, which it uses in turn."""
    with_stage = Resident.with_stage
    monkeypatch.setattr(Resident, "with_stage", lambda layout, at_once: with_stage(layout, False))
    case = Case(grid=ODD, per_member=ALL, forcing="per step", direct=True)
    assert make_plan(case.grid.shape, case.dtype, case.batch).resident_adjoint.beside == 1
    check(case)


def test_which_members_are_resident(monkeypatch):
    monkeypatch.undo()

    def blocks(n, dtype, members):
        plan = make_plan((n, n), dtype, members)
        return [way and way.blocks for way in (plan.resident, plan.resident_adjoint, plan.resident_tangent)]

    assert blocks(64, "float32", 1) == [4, 4, 4]  # more multiprocessors at work
    assert blocks(64, "float32", 25) == [2, 2, 2]
    assert blocks(64, "float32", 67) == [1, 1, 1]
    assert blocks(64, "float32", 1024) == [1, 1, 1]
    assert blocks(64, "float64", 1024) == [1, 1, 2]  # two such blocks of state and tangent do not fit
    assert blocks(128, "float32", 1) == [4, 4, None]  # with a tangent, kernels that meet in memory are faster
    assert blocks(128, "float32", 24) == [4, 4, 4]
    assert blocks(128, "float32", 66) == [2, 2, 2]  # blocks for all multiprocessors of an H200
    assert blocks(128, "float32", 67) == [1, 1, 2]  # state and tangent do not fit one block
    assert blocks(128, "float64", 1024) == [2, 2, None]
    assert make_plan((64, 64), "float32", 1024).resident.start
    assert not make_plan((128, 128), "float32", 1024).resident.start  # it stays in memory
    assert make_plan((63, 64), "float32", 1024).resident is None  # rows do not go in pairs
    assert make_plan((62, 64), "float32", 1024).resident is None  # a thread would hold all of a column
    assert make_plan((56, 64), "float32", 1024).resident
    assert make_plan((64, 27), "float32", 1024).resident is None  # three threads a line, which only a block can hold up
    assert make_plan((256, 64), "float32", 1024).resident is None
    assert [make_plan((n, n), "float32", 1024).resident_adjoint.beside for n in (64, 128)] == [2, 1]


def test_the_block_of_a_member():
    resident = make_plan((64, 64), "float32", 1024).resident
    assert (resident.block_dim, resident.parts, resident.columns.lane_groups) == (288, 9, 1)
    serial = dataclasses.replace(resident, serial=True)
    assert (serial.block_dim, serial.columns.values) == (1, 64)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("n", "blocks"), [(64, 1), (64, 2), (64, 8), (128, 1), (128, 2), (128, 4), (256, 8), (256, 16)]
)
def test_rollouts_and_gradients_on_a_gpu(n, blocks, monkeypatch):
    monkeypatch.setattr(
        tuning, "RESIDENT", {kind: {n: [tuning.Resident(blocks, 16, 512, 1)]} for kind in tuning.RESIDENT}
    )
    assert make_plan((n, n), "float32", 2).resident.blocks == blocks
    check_on_a_gpu(Grid((n, n), (2.0, 3.6 + blocks)), "float32")


def test_which_plans_are_of_blocks_that_share_a_member(monkeypatch):
    entries = [tuning.Resident(blocks, 16, 512, 1) for blocks in (16, 8)]
    hand_in(monkeypatch, {"RESIDENT": {kind: {512: entries} for kind in tuning.RESIDENT}})
    large = make_plan((128, 512), "float32")
    resident = large.resident
    assert (resident.blocks, resident.pairs, resident.columns.threads, resident.pairs_per_walk) == (16, 4, 1, 4)
    assert resident.on(cpu=True).blocks == 1
    assert large.resident_adjoint.blocks == 16
    assert make_plan((144, 96), "float32").resident.blocks == 8  # 72 row pairs
    assert make_plan((100, 96), "float32").resident is None
    assert make_plan((16, 96), "float32").resident.blocks == 8  # a pair each
    assert make_plan((8, 96), "float32").resident is None
    assert make_plan((256, 256), "float32", shared_memory=163 * 1024).resident is None  # of a device without clusters
