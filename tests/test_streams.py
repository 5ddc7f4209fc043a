"""Ensembles whose parts have their own streams. On the CPU parts run one after the other."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import SATURATED, always, hand_in
from oracle import normal
from test_advance import ALL, Case, check

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, _ffi
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.plan import Plan
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.hardware.address_table import Buffer
from warpjaxns._kernels.hardware.streams import Streams


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (8, 4), (7, 3), (5, 5), (13, 8)])
def test_parts_cover_the_batch(batch, count):
    cut = Streams(batch, count)
    sizes = [members for _, members in cut.parts]
    assert [first for first, _ in cut.parts] == [0, *itertools.accumulate(sizes[:-1])]
    assert sum(sizes) == batch
    assert max(sizes) == cut.members
    assert max(sizes) - min(sizes) <= 1


def test_how_an_ensemble_is_cut(monkeypatch):
    entries = {512: tuning.Streams(2, 2**21), 1024: tuning.Streams(4, math.inf), 2048: tuning.Streams(1, math.inf)}
    monkeypatch.setattr(tuning, "STREAMS", entries)

    def count(shape, batch, resident=False, **how):
        return make_plan(shape, "float32", batch).streams(batch, resident, **how).count

    assert count((256, 256), 64) == 2
    assert count((256, 256), 64, resident=True) == 1
    assert count((256, 256), 2) == 1  # few points
    assert [count((256, 256), 16, tangent=tangent) for tangent in (False, True)] == [2, 1]
    assert [count((512, 512), 16, tangent=tangent) for tangent in (False, True)] == [2, 2]
    # 3 members in 2 streams would be 2 and 1; 9 in 4 streams, 3, 2, 2 and 2
    assert [count((1024, 1024), batch) for batch in (1, 3, 4, 9, 10, 11)] == [1, 3, 4, 3, 2, 4]
    assert count((2048, 2048), 4) == 1


def test_what_a_part_has():
    table = wp.zeros(1, dtype=wp.uint64, device="cpu")

    def place(buffer):
        return tuple(buffer.place)

    states = Buffer(table, 0, (3, 7, 4, 6)).part(5, 2, 7)
    assert states.shape == (3, 2, 4, 6)
    assert states[1].shape == (2, 4, 6)
    assert place(states[1]) == (0, 7 + 5, 7, 1)  # slice 1 of arrays of 7 members, from member 5 on
    assert place(Buffer(table, 0, (7, 4, 6)).part(5, 2, 7)) == (0, 5, 7, 1)
    assert place(Buffer(table, 0, (7,)).part(5, 2, 7)) == (0, 5, 7, 1)
    assert place(Buffer(table, 0, (7 * 12,)).part(5, 2, 7)) == (0, 60, 84, 1)
    shared = [Buffer(table, 0, shape) for shape in ((1,), (9, 1, 4, 6), (1, 4, 6))]
    assert [buffer.part(5, 2, 7) for buffer in shared] == shared
    forcing = Buffer(table, 0, (9, 7, 4, 6)).part(5, 2, 7)
    assert tuple(forcing.slices) == (0, 5, 7, 9)


def test_streams_have_scratch_of_their_own():
    table, seen = wp.zeros(1, dtype=wp.uint64, device="cpu"), []
    cut = Streams(7, 2)
    shapes = [(2, cut.members, 4, 6), (1, cut.members, 8, 6)]
    scratch = [Buffer(table, slot, shape) for slot, shape in enumerate(cut.scratch(shapes))]
    assert [buffer.shape for buffer in scratch] == [(4, 4, 4, 6), (2, 4, 8, 6)]
    with wp.ScopedDevice("cpu"):
        cut.launch(lambda *given: seen.append(given), (Buffer(table, 2, (7, 4, 6)), [None, "x"]), scratch)
    assert [(omega.first, omega.shape[0]) for omega, *_ in seen] == [(0, 4), (4, 3)]
    assert all(others == [None, "x"] for _, others, *_ in seen)
    assert [tuple(field[1].place) for *_, field, _ in seen] == [(0, 4, 4, 1), (0, 8 + 3, 3, 1)]
    assert [tuple(sums.merged.place)[1:3] for *_, sums in seen] == [(0, 4), (4, 3)]


IN_PARTS = [
    (None, Case(grid=Grid((10, 15), (2.0, 3.7)), batch=3, scheme="central", steps=1)),
    (
        tuning.Slabs(4, 4, True, True, True),
        Case(grid=Grid((16, 24), (2.0, 3.8)), batch=8, per_member=ALL, forcing="per step"),
    ),
]


@pytest.mark.full
@pytest.mark.parametrize(("slabs", "case"), IN_PARTS, ids=["columns", "slabs"])
def test_value_jvp_and_vjp(slabs, case, monkeypatch):
    hand_in(monkeypatch, {**SATURATED, "SLABS": {4096: always(slabs)}, "STREAMS": {4096: tuning.Streams(3, 1)}})
    cuts, streams = [], Plan.streams

    def watched(*given, **how):
        cuts.append(streams(*given, **how))
        return cuts[-1]

    monkeypatch.setattr(Plan, "streams", watched)
    check(case)
    assert {cut.count for cut in cuts} == {3}


@pytest.mark.gpu
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(4)], ids=str)
def test_streams_change_no_bit(adjoint, monkeypatch):
    grid = Grid((192, 256), (2.0, 3.5))
    options = {"backend": "warp", "adjoint": adjoint, "check_finite": False}
    solver = NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, drag=0.1, **options)
    omega, control = normal(0, (12, *grid.shape), "float32"), normal(1, (6, 12, *grid.shape), "float32")

    def derivatives(omega, control):
        def rollout(omega, control):
            return solver.rollout(omega, steps=6, forcing=control)

        gradient = jax.value_and_grad(lambda *x: jnp.mean(jnp.sin(rollout(*x))), (0, 1))(omega, control)
        return gradient, jax.jvp(rollout, (omega, control), (control[0], control))

    results, captured, make = [], [], _ffi.make_programmatic
    monkeypatch.setattr(_ffi, "make_programmatic", lambda graph: captured.append(make(graph)) or captured[-1])
    for count in (1, 4, 2):
        monkeypatch.setattr(tuning, "STREAMS", {4096: tuning.Streams(count, 0)})
        _ffi.clear()
        results.append(jax.tree.leaves(jax.jit(lambda *x: derivatives(*x))(omega, control)))  # traced anew each time
    assert min(captured) > 10  # dependencies within a stream are programmatic as before
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
