"""Blocks that solve the Poisson equation of their own rows: the results are those of columns and of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import NO_RESIDENTS, always, fast_cases, hand_in
from oracle import normal
from test_advance import ALL, Case, check, check_segments
from tolerances import (
    COLUMNS,
    GPU,
    GPU_GRADIENT,
    RELATIVE,
    SUMS,
    relative_error,
)

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, streamfunction
from warpjaxns._kernels import tuning
from warpjaxns._kernels.finite_difference.planner import make_plan

# One slab, of four rows; four of four; three of eight; the same with an odd row length
ONE, FOUR, EIGHT, ODD = (Grid(shape, (2.1, 3.3)) for shape in ((4, 6), (16, 10), (24, 128), (16, 15)))
CASES = [
    Case(grid=ONE, steps=2, forcing="none"),
    Case(grid=FOUR, scheme="central", per_member=ALL, forcing="per step", steps=2),
    Case(grid=EIGHT, per_member=ALL, forcing="per step", direct=True),
    Case(grid=ODD, scheme="central", per_member=("viscosity",), direct=True, batch=3),
    Case(grid=FOUR, dtype="float32", forcing="per step"),
    Case(grid=ODD, dtype="float32", per_member=ALL, direct=True),
]


@pytest.fixture(autouse=True)
def all_by_slabs(monkeypatch):
    """Cut every grid into slabs, of four rows up to 64 points a row and from 1024 on; no member is resident.

    Rows are transformed anew where they have up to 8 points, 13 to 128, or more than 512.
    """
    recompute = {8: True, 12: False, 128: True, 512: False, 4096: True}
    tables = {**NO_RESIDENTS, "TANGENT": {4096: tuning.Tangent(4, 512, 0, True)}}
    tables["SLABS"] = {n: always(tuning.Slabs(4, 4, True, True, anew)) for n, anew in recompute.items()}
    cut = {64: (4, 4), 512: (8, 8), 4096: (16, 4)}  # radix, rows
    tables["STAGE"] = {n: always(tuning.Stage(radix, rows, 512, 0)) for n, (radix, rows) in cut.items()}
    fused = {64: False, 512: True, 4096: False}
    tables["SWEEP"] = {n: always(tuning.Sweep(rows, 512, fused[n])) for n, (_, rows) in cut.items()}
    hand_in(monkeypatch, tables)


@pytest.mark.parametrize("case", fast_cases(CASES, 1), ids=str)
def test_value_jvp_and_vjp(case):
    chosen = make_plan(case.grid.shape, case.dtype, case.batch)
    assert all(p.by_slabs for p in (chosen, chosen.for_source, chosen.for_adjoint, chosen.for_tangent))
    assert chosen.recompute == (case.grid is not FOUR)
    check(case)


@pytest.mark.full
@pytest.mark.parametrize("adjoint", [Direct(), Checkpointed(every=4)], ids=str)
def test_rollouts_that_repeat_a_segment(adjoint):
    check_segments(Grid((8, 20), (1.1, 1.3)), adjoint)


# from waves that reach around the box many times to waves that end within a row
@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("extent", [(1.0, 1000.0), (2.0, 3.0), (1000.0, 1.0)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", fast_cases([(4, 8), (48, 20), (64, 9), (96, 72)], 1, 3), ids=str)
def test_streamfunctions(shape, dtype, extent):
    check_streamfunction(Grid(shape, extent), dtype, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("extent", [(1.0, 1000.0), (2.0, 3.0), (1000.0, 1.0)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 8), (48, 20), (96, 72), (1000, 256), (2048, 512), (64, 2048)], ids=str)
def test_streamfunctions_by_many_threads(shape, dtype, extent):
    check_streamfunction(Grid(shape, extent), dtype, "gpu")


def check_streamfunction(grid, dtype, platform):
    """Compare streamfunctions. omega has a mean over x as large as the rest, and a small mean, which psi has not."""
    assert make_plan(grid.shape, dtype, 2).by_slabs
    with jax.default_device(jax.devices(platform)[0]):
        omega = normal(0, (2, *grid.shape), dtype) + normal(1, (2, grid.shape[0], 1), dtype) + 0.1
        psi = jax.jit(lambda w: streamfunction(grid, w, backend="warp"))(omega)
        exact = streamfunction(grid, omega.astype("float64"), backend="xla")
    assert psi.dtype == dtype
    table = RELATIVE if platform == "cpu" else GPU  # one thread adds up in double precision
    assert relative_error(psi, exact) < table[dtype]
    assert abs(float(psi.mean())) < SUMS[dtype] * float(jnp.abs(exact).max())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(64, 96), (256, 128), (512, 512), (1000, 500), (64, 2048)], ids=str)
def test_rollouts_and_gradients_on_a_gpu(shape, dtype):
    check_on_a_gpu(Grid(shape, (2.0, 3.5)), dtype)


def check_on_a_gpu(grid, dtype):
    """Compare six steps of two members, their gradient and their derivative in a direction, with XLA."""
    shape = grid.shape
    omega = streamfunction(grid, normal(0, (2, *shape), dtype), backend="xla")
    omega = omega / jnp.std(omega)
    where = {"viscosity": 0.01 * min(grid.spacing), "dt": 0.1 * min(grid.spacing), "check_finite": False}
    pair = [NavierStokes2D(grid, **where, backend=name, adjoint=Direct()) for name in ("warp", "xla")]

    def both(function, table):
        actual, expected = (jax.jit(function(lambda w, s=s: s.rollout(w, steps=6)))(omega) for s in pair)
        for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            assert relative_error(a, e) < table[dtype]

    both(lambda f: f, GPU)
    both(lambda f: jax.grad(lambda w: jnp.mean(jnp.sin(f(w)))), GPU_GRADIENT)
    both(lambda f: lambda w: jax.jvp(f, (w,), (jnp.cos(w),)), GPU)


@pytest.mark.full
def test_rounding_is_that_of_a_transform():
    """Compare rounding in float32, of the velocity too, in which a streamfunction's rounding shows."""
    grid = Grid((256, 256))
    k = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256, 1 / 256)] * 2))
    phase = np.exp(2j * np.pi * np.random.default_rng(0).random(k.shape))
    omega = np.fft.ifft2(np.where(k > 0, np.maximum(k, 1) ** -1.5, 0) * phase).real
    omega = jnp.asarray(omega / omega.std(), "float32")
    exact = np.asarray(streamfunction(grid, omega.astype("float64"), backend="xla"))
    errors = {}
    for backend in ("warp", "xla"):
        error = np.asarray(streamfunction(grid, omega, backend=backend), "float64") - exact
        along_y = (np.roll(error, -1, 0) - np.roll(error, 1, 0)) / (np.roll(exact, -1, 0) - np.roll(exact, 1, 0)).std()
        errors[backend] = along_y.std()
        assert error.std() < COLUMNS["float32"] * exact.std()
    assert errors["warp"] < 1.5 * errors["xla"], errors


def test_where_slabs_are_used(monkeypatch):
    monkeypatch.undo()
    for shape, members, expected in [((512, 512), 1, False), ((512, 512), 16, True), ((1024, 1024), 1, True)]:
        assert make_plan(shape, "float32", members).by_slabs is expected
    assert make_plan((1020, 1024), "float32").rows == 10
    assert not make_plan((1022, 1024), "float32").by_slabs  # no multiple of rows near eight
    assert not make_plan((1023, 1024), "float32").by_slabs
    large = make_plan((2048, 2048), "float32")
    assert large.by_slabs
    assert large.recompute
    assert not any(plan.recompute for plan in (large.for_poisson, large.for_adjoint, large.for_tangent))
    assert large.for_tangent.by_slabs
    assert large.scratch(3) == [(1, 3, 512, large.pitch)]  # sums only
    assert large.for_poisson.scratch(3) == [*large.scratch(3), (1, 3, 2048, large.pitch)]
    assert not large.for_adjoint.by_slabs
    assert large.for_adjoint.column_chunks.n == 2048
    assert large.column_chunks.n == large.slabs == 256
