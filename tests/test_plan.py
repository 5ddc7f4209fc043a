"""Plans: every entry of the tables gives plans that devices can run."""

import itertools

import jax
import pytest
from oracle import normal
from tolerances import ROLLOUT, assert_trees_close

from warpjaxns import Grid, NavierStokes2D
from warpjaxns._kernels import tuning
from warpjaxns._kernels.fft.lines import MOST_VALUES
from warpjaxns._kernels.finite_difference.planner import make_plan, unsupported
from warpjaxns._kernels.finite_difference.shares import points_of_thread, rows_of_slab
from warpjaxns._kernels.hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY

KIB = 1024
# either side of every boundary in the tables, powers of two, odd, and with threes and fives; the smallest
SIZES = [4, 5, 6, 9, 15, 27, 45, 60, 64, 75, 96, 100, 125, 128, 135, 243, 256, 320, 500, 512, 540, 625, 1000, 1024]
SIZES += [1080, 1200, 1536, 2048, 2160, 2187, 2500, 3888, 4096, 5625, 6075]
EXTREMES = [4, 45, 100, 512, 2048]
SHAPES = [(n, n) for n in SIZES] + [shape for shape in itertools.product(EXTREMES, SIZES) if shape[0] != shape[1]]
BATCHES = [1, 7, 64, 1024]
LIMITS = [None, 48 * KIB, 99 * KIB, 163 * KIB, 227 * KIB]  # of devices old and new


def every_plan(dtype):
    """Return plans that a device can run."""
    for shape, batch, limit in itertools.product(SHAPES, BATCHES, LIMITS):
        plan = make_plan(shape, dtype, batch, limit)
        if unsupported(plan, limit) is None:
            yield plan, limit or SHARED_MEMORY


def in_step(lines, pairs):
    """Return whether threads that wait for all of their block take as many rounds as all others."""
    return lines.alone or pairs % lines.groups == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_plan_fits(dtype):
    seen = 0
    for plan, limit in every_plan(dtype):
        seen += 1
        ny, nx = plan.shape
        pairs, through_memory = plan.pairs, plan.through_memory
        assert plan.rows == pairs * plan.rows_of_line
        assert plan.rows_of_line <= plan.rows <= ny
        assert (plan.slabs - 1) * plan.rows < ny <= plan.slabs * plan.rows
        # blocks
        assert plan.stage_lines.count == (pairs if through_memory else pairs + 1)
        assert pairs % (plan.concurrent or pairs) == 0
        assert plan.stage_lines.groups == (plan.concurrent or plan.stage_lines.count)
        assert plan.stage_lines.block_dim == plan.stage_lines.groups * plan.stage_lines.threads <= LARGEST_BLOCK
        assert plan.slab_lines.block_dim == pairs * plan.slab_lines.threads <= LARGEST_BLOCK
        assert in_step(plan.stage_lines, plan.stage_lines.count)
        assert plan.column_chunks.block_dim == plan.columns * plan.column_chunks.threads <= LARGEST_BLOCK
        assert plan.stage_bytes <= limit
        assert plan.column_chunks.nbytes <= 48 * KIB
        # the columns of all blocks are there, in whole sectors of 32 bytes
        assert plan.column_blocks * plan.columns <= plan.pitch
        assert plan.half <= plan.column_blocks * plan.columns
        assert plan.pitch * 2 * (4 if dtype == "float32" else 8) % 32 == 0
        lines, chunks = plan.stage_lines, plan.column_chunks
        assert lines.threads * lines.values == nx * plan.rows_of_line // 2
        assert lines.values <= MOST_VALUES
        assert lines.values % lines.passes[0][0] == lines.values % lines.passes[-1][0] == 0
        assert chunks.lane_groups * chunks.lanes * chunks.values == chunks.n
        assert chunks.n == (plan.of_parts.slabs if plan.in_parts else plan.slabs if plan.by_slabs else ny)
        assert plan.rows * plan.slabs == ny or not plan.by_slabs
        assert 32 % (chunks.lanes * chunks.count) == 0
    assert seen > 1000


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.full)])
def test_derivatives_fit_where_the_steps_do(dtype):
    for plan, limit in every_plan(dtype):
        for other in (plan.for_source, plan.for_adjoint, plan.for_tangent):
            assert other.rows == other.pairs * other.rows_of_line
            assert other.rows <= plan.rows
            assert other.slab_lines.block_dim <= LARGEST_BLOCK
            assert other.column_chunks.block_dim <= LARGEST_BLOCK
            assert other.rows * other.slabs == plan.shape[0] or not other.by_slabs
            assert other.column_blocks * other.columns <= other.pitch
        source, adjoint, tangent = plan.for_source, plan.for_adjoint, plan.for_tangent
        assert source.column_chunks == adjoint.column_chunks  # they share spectra
        assert source.rows == adjoint.rows or not source.by_slabs
        assert (source.by_slabs, source.pitch) == (adjoint.by_slabs, adjoint.pitch)
        for other in (source, adjoint):
            assert other.sweep_bytes <= limit or not other.copies_rows
            assert other.sweep_lines.block_dim <= LARGEST_BLOCK
        assert not source.fused
        assert adjoint.copies_rows or not adjoint.fused
        assert tangent.stage_lines.block_dim <= LARGEST_BLOCK
        assert in_step(tangent.stage_lines, tangent.stage_lines.count // 2) or tangent.through_memory
        assert tangent.stage_lines.nbytes <= min(SHARED_MEMORY, limit) or plan.shape[1] % 2


@pytest.mark.full
@pytest.mark.parametrize(
    ("shape", "dtype"), [pytest.param((128, 80), "float64", marks=pytest.mark.full), ((128, 128), "float32")]
)
def test_members_that_only_a_cluster_has_room_for(shape, dtype):
    """On the CPU one block holds a member, or members are not resident."""
    plan = make_plan(shape, dtype, 16)
    assert max(way.on(cpu=True).nbytes for way in (plan.resident, plan.resident_tangent) if way) > CPU_MEMORY
    ways = plan.on_cpu_too.resident, plan.on_cpu_too.resident_adjoint, plan.on_cpu_too.resident_tangent
    assert all(way.on(cpu=True).nbytes <= CPU_MEMORY for way in ways if way)
    omega = normal(0, (16, *shape)).astype(dtype)

    def along(backend):
        solver = NavierStokes2D(Grid(shape, (2.0, 3.5)), viscosity=0.01, dt=1e-3, backend=backend, check_finite=False)
        return jax.jit(lambda w: jax.jvp(solver.step, (w,), (w,)))(omega)

    assert_trees_close(along("warp"), along("xla"), ROLLOUT)


def test_threads_of_a_multiprocessor():
    for plan, _ in every_plan("float32"):
        threads, blocks = plan.bounds(plan.stage_lines, plan.occupancy)
        assert threads == plan.stage_lines.block_dim
        assert blocks >= 1
        assert blocks == 1 or threads * blocks <= plan.occupancy


def test_entries_serve_lines_up_to_their_own():
    table = {64: "a", 256: "b"}
    assert [tuning.entry(table, n) for n in (4, 64, 65, 256, 257, 10**5)] == ["a", "a", "b", "b", "b", "b"]


@pytest.mark.parametrize("table", [tuning.STAGE, tuning.COLUMNS], ids=["stage", "columns"])
def test_entries_are_what_a_square_grid_gets(table):
    """In float32, and on the device of the tables, no entry is reduced."""
    for n, load in table.items():
        for saturated, wanted in enumerate(load):
            plan = make_plan((n, n), "float32", 1 + saturated * (1 + tuning.SATURATED_ENSEMBLE_POINTS // n**2))
            if saturated or n * n <= tuning.SATURATED_POINTS:
                chosen = (plan.radix, plan.rows) if table is tuning.STAGE else (plan.chunk, plan.columns)
                if table is tuning.COLUMNS and plan.by_slabs:
                    wanted = tuning.entry(tuning.SLABS, n)[saturated]
                assert chosen == wanted[:2], (n, saturated)


def test_sizes_with_threes_and_fives():
    """Slabs divide the rows of a grid, and their number suits the kernel between stages."""
    for n, members, rows in [(192, 16, 8), (384, 16, 8), (500, 16, 10), (1000, 1, 10), (1000, 16, 10), (1536, 1, 12)]:
        plan = make_plan((n, n), "float32", members)
        assert plan.by_slabs
        assert plan.rows == rows
        assert plan.column_chunks.threads <= 256
        assert plan.for_tangent.by_slabs
    for n, threads in [(160, 32), (192, 32), (320, 64), (384, 64)]:  # full warps solve columns
        plan = make_plan((n, n), "float32")
        assert not plan.by_slabs
        assert plan.column_chunks.threads == threads


def test_powers_of_two_get_what_the_tables_say():
    for k in range(3, 14):
        for wanted in (4, 8, 16):
            assert rows_of_slab(2**k, wanted) == wanted
            assert {points_of_thread(2**k, min(wanted, 2**k), count) for count in (1, 2, 8, 16)} == {min(wanted, 2**k)}


def test_registers_are_for_full_warps_of_threads_that_hold_more():
    for n, members in [(160, 16), (192, 16), (96, 64), (384, 16), (768, 16), (1000, 16), (1536, 1)]:
        plan = make_plan((n, n), "float32", members)
        lines = plan.stage_lines
        threads, blocks = plan.bounds(lines, plan.occupancy)
        assert blocks * 32 * -(-threads // 32) * max(1, lines.values / lines.radix) <= max(
            plan.occupancy, lines.counted_threads
        )


def test_when_a_device_is_saturated():
    assert not make_plan((1024, 1024), "float32").saturated  # a single one is few up to 2^20 points
    assert make_plan((1024, 1000), "float32", 2).saturated
    assert not make_plan((256, 256), "float32", 4).saturated
    assert make_plan((256, 256), "float32", 5).saturated
    assert make_plan((2048, 1024), "float32").saturated


def test_on_the_cpu_a_thread_holds_a_line():
    for shape in ((5, 6), (45, 64), (2048, 96)):
        plan = make_plan(shape, "float64").on(cpu=True)
        assert (plan.rows, plan.columns, plan.stage_lines.block_dim, plan.column_chunks.block_dim) == (2, 1, 1, 1)
        assert (plan.stage_lines.values, plan.column_chunks.values) == shape[::-1]
        assert make_plan(shape, "float64").on(cpu=False) == make_plan(shape, "float64")
    slabs = make_plan((64, 1024), "float32").on(cpu=True)
    assert (slabs.rows, slabs.columns, slabs.stage_lines.block_dim, slabs.column_chunks.values) == (8, 1, 1, 8)
