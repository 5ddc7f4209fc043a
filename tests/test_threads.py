"""Kernels with all the threads of a block, as on a GPU, run on the CPU (`emulator`)."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sanitize
import test_difference_terms
import warp as wp
from emulator import COMPILER, emulated
from layouts import NO_RESIDENTS, SATURATED, always, hand_in, shared_by
from oracle import normal
from test_advance import ALL, Case, check
from tolerances import ROLLOUT, assert_trees_close, relative_error

from warpjaxns import Grid, streamfunction
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.planner import make_plan

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++")

SLABS = {**SATURATED, "SLABS": {n: always(tuning.Slabs(4, 8, True, True, n == 128)) for n in (128, 4096)}}
SLABS["SWEEP"] = {128: always(tuning.Sweep(8, 512, True)), 4096: always(tuning.Sweep(4, 512, False))}  # fused, or not
# eight rows a block, two lines at a time, and rows not copied: by columns, and by slabs that transform them anew
SOME = {
    **SATURATED,
    "STAGE": {4096: always(tuning.Stage(8, 8, 512, 2))},
    "TANGENT": {4096: tuning.Tangent(8, 512, 2, False)},
}
SOME_BY_SLABS = {**SLABS, **SOME, "TANGENT": {4096: tuning.Tangent(8, 512, 1, True)}}
RESIDENTS, CLUSTERS_OF_2, CLUSTERS_OF_4 = map(shared_by, (1, 2, 4))
LONG = {"RESIDENT": {**NO_RESIDENTS["RESIDENT"], "advance": {512: [tuning.Resident(1, 16, 512, 1)]}}}
CASES = [
    # by columns, as single grids are; on a saturated device the sweep is not fused; 45 rows leave a slab that
    # overhangs, a line of 75 points has 15 threads, which wait for all of the block
    (SATURATED, Case(grid=Grid((45, 75), (2.0, 3.3)), steps=2, per_member=ALL, forcing="per step")),
    (NO_RESIDENTS, Case(grid=Grid((64, 96), (2.0, 3.4)), scheme="central", dtype="float32", direct=True)),
    # lines of 64 threads
    (NO_RESIDENTS, Case(grid=Grid((16, 1024), (0.2, 3.1)), steps=1, batch=1, dtype="float32")),
    (SLABS, Case(grid=Grid((48, 64), (2.0, 3.5)), steps=2, per_member=ALL, forcing="per step", direct=True)),
    (SLABS, Case(grid=Grid((64, 128), (2.0, 3.6)), scheme="central", dtype="float32")),
    (SLABS, Case(grid=Grid((24, 36), (2.0, 4.4)), scheme="central", steps=1, forcing="none")),  # 6 threads a line
    (SOME, Case(grid=Grid((20, 96), (2.0, 4.5)), forcing="per step", direct=True)),
    (SOME_BY_SLABS, Case(grid=Grid((24, 96), (2.0, 4.6)), per_member=ALL, forcing="per step", direct=True)),
    (SOME_BY_SLABS, Case(grid=Grid((16, 36), (2.0, 4.7)), steps=1, dtype="float32", forcing="none")),
    (RESIDENTS, Case(grid=Grid((64, 64), (2.0, 3.7)), steps=2, per_member=ALL, forcing="per step")),
    (RESIDENTS, Case(grid=Grid((128, 128), (2.0, 3.9)), steps=1, dtype="float32", forcing="none", direct=True)),
    (LONG, Case(grid=Grid((32, 512), (0.2, 4.0)), steps=1, batch=1, dtype="float32")),  # 8 of 16 lines, a warp each
    (CLUSTERS_OF_2, Case(grid=Grid((32, 64), (2.0, 4.1)), steps=2, per_member=ALL, forcing="per step")),
    (CLUSTERS_OF_2, Case(grid=Grid((128, 128), (2.0, 4.2)), steps=1, dtype="float32", scheme="central", direct=True)),
    (CLUSTERS_OF_4, Case(grid=Grid((64, 64), (2.0, 4.4)), steps=2, dtype="float32", per_member=ALL, direct=True)),
    (RESIDENTS, Case(grid=Grid((18, 40), (2.0, 4.5)), steps=1, per_member=ALL)),  # a thread has all of a column
    # passes that the threads of a line share unevenly; `test_fft` has more such lines
    (RESIDENTS, Case(grid=Grid((48, 48), (2.0, 4.6)), steps=1, dtype="float32", forcing="none")),
    (CLUSTERS_OF_4, Case(grid=Grid((80, 80), (2.0, 4.7)), steps=1, dtype="float32", direct=True)),
    (NO_RESIDENTS, Case(grid=Grid((20, 1000), (0.2, 5.1)), steps=1, batch=1, forcing="none")),
]


@pytest.fixture
def emulator(monkeypatch, emulated_kernels):
    return emulated(monkeypatch, emulated_kernels)


@pytest.mark.parametrize(
    ("tables", "case"),
    [pytest.param(*given, marks=pytest.mark.full, id=str(given[1])) for given in CASES],
)
def test_value_jvp_and_vjp(tables, case, emulator, monkeypatch):
    hand_in(monkeypatch, tables)
    chosen = make_plan(case.grid.shape, case.dtype, case.batch)
    for kind, way in (("advance", chosen.resident), ("adjoint", chosen.resident_adjoint)):
        blocks = [blocks for ways in tables["RESIDENT"][kind].values() for blocks, *_ in ways]
        assert way is None if not blocks else way.blocks == blocks[0]
    check(case)
    assert emulator.launched


RADIUS = {"names": tuple(test_difference_terms.WITH_RADIUS), "held": ("deformation_radius",)}
MEDIUM = {"names": test_difference_terms.WITH_MEDIUM}
TERMS = {
    "slabs": (SLABS, RADIUS, (32, 64)),
    "residents": (RESIDENTS, RADIUS, (32, 48)),
    "clusters": (CLUSTERS_OF_2, {**RADIUS, "dtype": "float32"}, (32, 64)),
    "residents with a medium": (
        RESIDENTS,
        {**MEDIUM, "held": tuple(name for name in test_difference_terms.WITH_MEDIUM)},
        (32, 48),
    ),
    "medium by columns": (SATURATED, MEDIUM, (45, 75)),
    "medium by slabs": (SLABS, {**MEDIUM, "scheme": "central"}, (32, 128)),
}


@pytest.mark.full
@pytest.mark.parametrize("kind", TERMS)
def test_further_terms(kind, emulator, monkeypatch):
    tables, options, shape = TERMS[kind]
    hand_in(monkeypatch, tables)
    case = test_difference_terms.Case(grid=Grid(shape, (2.0, 3.3)), per_member=True, steps=1, **options)
    wanted = jax.jit(lambda: test_difference_terms.derivatives(case.fused("xla"), case))()
    test_difference_terms.check(case, "warp", wanted)
    assert emulator.launched


KINDS = {"not fused": 0, "columns": 1, "slabs": 3, "some lines": 7, "residents": 9, "clusters": 12, "of four": 14}
ORDERS = {kind: CASES[i] for kind, i in KINDS.items()}
ORDERS["small slabs"] = SLABS, Case(grid=Grid((16, 64), (2.0, 5.2)), steps=1, forcing="none")
ORDERS["a mean of few lanes"] = CLUSTERS_OF_2, Case(grid=Grid((24, 64), (2.0, 5.3)), steps=1, forcing="none")
FAST = {"small slabs", "a mean of few lanes"}  # which are compiled without their tangents


@pytest.mark.parametrize(
    ("tables", "case"),
    [pytest.param(*given, marks=[pytest.mark.full] * (kind not in FAST), id=kind) for kind, given in ORDERS.items()],
)
def test_any_order_of_threads(tables, case, emulator, monkeypatch):
    """Blocks, and threads between two barriers, run in any order, and no bit depends on it."""
    hand_in(monkeypatch, tables)
    x, wrt = case.operands(), (0, 1) if case.forcing == "none" else (0, 1, 4)

    def gradient(f):
        return jax.jit(jax.value_and_grad(lambda *x: jnp.sum(jnp.sin(f(*x))), wrt))

    f, expected = gradient(case.fused("warp")), gradient(case.oracle)
    results = []
    for emulator.order in range(5):
        results.append(jax.tree.map(np.asarray, f(*x)))
    assert_trees_close(results[0][1], expected(*x)[1], ROLLOUT)
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)


@pytest.mark.full
@pytest.mark.parametrize(
    ("launch", "shape"), [(sanitize.one_step, (20, 36)), (sanitize.one_spectral_step, (18, 20))], ids=["slabs", "modes"]
)
def test_what_is_in_memory_before_has_no_effect(launch, shape, emulator, monkeypatch):
    """Padding of spectra is read before it is written, and discarded."""
    results = []
    for value in (0.0, np.nan):

        def empty(shape, dtype, device, value=value):
            made = wp.zeros(shape, dtype=dtype, device=device)
            made.numpy()[:] = value
            return made

        monkeypatch.setattr(sanitize.wp, "empty", empty)
        results.append(launch(shape, 2, "float32", "cpu"))
    assert results[0] > 0
    assert results[1] == results[0]
    assert emulator.launched


# The emulator finds seeded faults.


@pytest.mark.full
@pytest.mark.parametrize(
    "lost",
    [r"__syncthreads\(\);", pytest.param(r"__syncwarp\(.*\);", marks=pytest.mark.full)],
    ids=["of the block", "of the line"],
)
def test_a_lost_barrier_shows(lost, emulator, monkeypatch):
    hand_in(monkeypatch, shared_by(1))
    case = Case(grid=Grid((64, 128), (1.0, len(lost))), dtype="float32", steps=1, forcing="none")
    f, x = jax.jit(case.fused("warp")), case.operands()
    emulator.change = lambda text: re.sub(lost, "", text)
    emulator.order = 2
    assert not relative_error(f(*x), case.oracle(*x)) < ROLLOUT[case.dtype]


@pytest.mark.full
def test_an_mbarrier_that_nobody_waits_at_shows(emulator, monkeypatch):
    hand_in(monkeypatch, shared_by(2))
    case = Case(grid=Grid((32, 64), (1.0, 1.7)), dtype="float32", steps=1, forcing="none")
    f, x = jax.jit(case.fused("warp")), case.operands()
    emulator.change = lambda text: re.sub(r"emulator::has_completed\(.*\)", "1", text)
    assert not relative_error(f(*x), case.oracle(*x)) < ROLLOUT[case.dtype]


@pytest.mark.full
def test_an_mbarrier_that_expects_more_never_completes(emulator, monkeypatch):
    hand_in(monkeypatch, shared_by(2))
    case = Case(grid=Grid((32, 64), (1.0, 1.9)), dtype="float32", steps=1, forcing="none")
    emulator.change = lambda text: text.replace(
        "emulator::expect(mbarrier, bytes)", "emulator::expect(mbarrier, bytes + 4)"
    )
    with pytest.raises(Exception, match="wait for each other for ever"):
        jax.block_until_ready(jax.jit(case.fused("warp"))(*case.operands()))


@pytest.mark.full
@pytest.mark.parametrize(
    ("pattern", "replacement", "problem"),
    [
        pytest.param(
            r"emulator::finish_copies\(\);", "", "a thread ends before its copies have", marks=pytest.mark.full
        ),
        (r"__syncthreads\(\);", "if (threadIdx.x > 0) __syncthreads();", "wait for each other for ever"),
    ],
    ids=["copies", "deadlock"],
)
def test_threads_that_do_not_wait_rightly(pattern, replacement, problem, emulator, monkeypatch):
    hand_in(monkeypatch, NO_RESIDENTS)
    emulator.change = lambda text: re.sub(pattern, replacement, text)
    grid = Grid((64, 64), (2.0, len(problem)))
    with pytest.raises(Exception, match=problem):
        streamfunction(grid, normal(0, grid.shape), backend="warp").block_until_ready()
