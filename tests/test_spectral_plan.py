"""Plans of the spectral kernels: every size has one that devices can run."""

import itertools

import pytest
from layouts import hand_in_spectral
from spectral_cases import ALL, DEALIASINGS, DTYPES, WIDE, Case
from test_spectral_advance import check

from warpjaxns._kernels import tuning
from warpjaxns._kernels.fft.lines import smooth
from warpjaxns._kernels.hardware.limits import CPU_MEMORY, LARGEST_BLOCK, SHARED_MEMORY
from warpjaxns._kernels.spectral.planner import make_plan, unsupported
from warpjaxns._kernels.spectral.resident.layout import Resident
from warpjaxns._spectral import calls

KIB = 1024
LONGEST = {"float32": 8192, "float64": 4096}
BATCHES = [1, 64, 1024]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def sizes(dtype):
    return [n for n in range(4, LONGEST[dtype] + 1) if smooth(n)]


def plans(dtype, limit=None, batches=BATCHES):
    """Return a plan for each size along either axis, and for the number of members."""
    lengths = sizes(dtype)
    shapes = [*((n, 60) for n in lengths), *((60, n) for n in lengths), (lengths[-1], lengths[-1])]
    for shape, dealiasing, batch in itertools.product(shapes, DEALIASINGS, batches):
        yield make_plan(shape, dtype, dealiasing, batch, limit)


def check_block(plan, lines, cut, limit):
    assert lines.block_dim <= LARGEST_BLOCK
    assert lines.nbytes <= limit
    assert lines.block_dim % lines.threads == 0
    threads, blocks = plan.bounds(lines, cut)
    assert threads == lines.block_dim
    assert blocks == 1 or threads * blocks <= cut.occupancy


@every_dtype
def test_every_size_has_a_plan(dtype):
    """A block fits 227 KiB and 1024 threads, in the steps, the tangent and the sweep."""
    assert SHARED_MEMORY <= 227 * KIB
    for plan in plans(dtype):
        check_block(plan, plan.row_lines, plan.rows, SHARED_MEMORY)
        check_block(plan, plan.column_lines(plan.advance), plan.advance, SHARED_MEMORY)
        check_block(plan, plan.column_lines(plan.sweep, 4 if plan.sweeps_together else 2), plan.sweep, SHARED_MEMORY)
        assert unsupported(plan, SHARED_MEMORY) is None
        lines = plan.column_lines(plan.tangent, 4)
        if lines.nbytes <= SHARED_MEMORY:  # else the tangent is not fused
            check_block(plan, lines, plan.tangent, SHARED_MEMORY)
            assert plan.fits(plan.tangent, 4)


@pytest.mark.full
@every_dtype
def test_the_columns_of_all_blocks(dtype):
    """Blocks have all columns of a state, and threads that wait for each other take as many turns."""
    for plan in plans(dtype, batches=[1, 1024]):
        (width, rows), (ny, nx) = plan.modes, plan.shape
        assert 3 * plan.highest[0] < ny or plan.dealiasing == "smooth"
        assert 2 * plan.highest[1] < nx
        assert width <= plan.pitch
        assert plan.pitch * 2 * (4 if dtype == "float32" else 8) % 32 == 0  # whole sectors
        for cut, count in ((plan.advance, 2), (plan.tangent, 4), (plan.sweep, 4), (plan.sweep, 2)):
            lines = plan.column_lines(cut, count)
            assert (plan.parts(cut) - 1) * cut.columns < width <= plan.parts(cut) * cut.columns
            assert lines.count == count * cut.columns
            assert lines.count % lines.groups == 0
            assert lines.threads * lines.values == ny
        # the sweep transforms two columns of each kx forward and four back: no thread may miss a barrier of all
        lines = plan.column_lines(plan.sweep, 4)
        assert lines.alone or lines.groups <= 2 * lines.interleaved
        assert plan.row_lines.threads * plan.row_lines.values == nx
        assert rows == 2 * plan.highest[0] + 1


@pytest.mark.parametrize("limit", [48 * KIB, 99 * KIB, 163 * KIB])
@every_dtype
def test_devices_with_less_memory(dtype, limit):
    """A plan fits, or says that it does not."""
    seen = {True: 0, False: 0}
    for plan in plans(dtype, limit, [1]):
        problem = unsupported(plan, limit)
        seen[problem is None] += 1
        rows, columns = plan.row_lines.nbytes, max(plan.need(plan.advance)[1], plan.need(plan.sweep)[1])
        assert (max(rows, columns) <= limit) == (problem is None)
        assert problem is None or "shared memory" in problem
        # it gives up only where a single row, or a single kx, is too long
        assert rows <= limit or plan.rows.rows == 1
        assert columns <= limit or 1 in (plan.advance.columns, plan.sweep.columns)
    assert seen[True] > 300
    assert seen[False] > 0 or limit > 99 * KIB


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.full)])
def test_resident_members(dtype):
    """A block has room for a member and all threads, and its lines do not wait for each other."""
    lengths, seen = [n for n in range(4, 129) if smooth(n)], set()
    for shape, batch in itertools.product(itertools.product(lengths, lengths), [1, 1024]):
        plan = make_plan(shape, dtype, "two-thirds", batch)
        for fields, cut in ((1, plan.resident), (2, plan.resident_tangent), (2, plan.resident_sweep)):
            if cut:
                seen.add((fields, max(shape) > 64, batch))
                check_resident(Resident(plan, cut, fields), Resident(plan.on(cpu=True), cut, fields))
    assert {(fields, False, batch) for fields in (1, 2) for batch in (1, 1024)} <= seen
    assert dtype == "float64" or (1, True, 1024) in seen


def check_resident(resident, on_cpu):
    (ny, _), width = resident.plan.shape, resident.plan.modes[0]
    assert resident.nbytes <= SHARED_MEMORY
    assert on_cpu.nbytes <= CPU_MEMORY
    assert (resident.block_dim <= LARGEST_BLOCK, on_cpu.block_dim) == (True, 1)
    assert (resident.chunks - 1) * resident.columns < width <= resident.chunks * resident.columns
    assert resident.points * resident.block_dim >= resident.plan.modes[1] * resident.columns
    count = 2 * resident.columns * resident.fields
    for lines, most in ((resident.row_lines, ny), (resident.column_lines, count)):
        assert lines.alone
        assert lines.groups <= most
        assert lines.groups * lines.threads <= resident.block_dim
        assert resident.block_dim % lines.threads == 0
        assert lines.size <= resident.size
        # no two lines of threads have the same line
        assert lines.groups == min(resident.block_dim // lines.threads, most)


def test_on_the_cpu_a_thread_holds_a_line():
    for shape in ((5, 6), (45, 64), (2048, 96)):
        plan = make_plan(shape, "float64", "smooth").on(cpu=True)
        cuts = [(plan.advance, 2), (plan.tangent, 4), (plan.sweep, 4)]
        lines = [plan.row_lines, *(plan.column_lines(*cut) for cut in cuts)]
        assert {line.block_dim for line in lines} == {1}
        assert [line.values for line in lines] == [shape[1], shape[0], shape[0], shape[0]]
        plan = make_plan(shape, "float64", "smooth")
        assert plan.on(cpu=False) == plan


@pytest.mark.parametrize("table", ["SPECTRAL_COLUMNS", "SPECTRAL_TANGENT", "SPECTRAL_SWEEP"])
def test_entries_are_what_a_square_grid_gets(table):
    """In float32, and on the device of the tables, no entry is reduced."""
    name = {"SPECTRAL_COLUMNS": "advance", "SPECTRAL_TANGENT": "tangent", "SPECTRAL_SWEEP": "sweep"}[table]
    for n, entries in getattr(tuning, table).items():
        for saturated, wanted in enumerate(entries):
            members = 1 + saturated * (tuning.SATURATED_ENSEMBLE_POINTS // n**2 + 1)
            plan = make_plan((n, n), "float32", "two-thirds", members)
            if saturated or n * n <= tuning.SATURATED_POINTS:
                assert getattr(plan, name) == wanted, (n, saturated)
                assert plan.rows == tuning.entry(tuning.SPECTRAL_ROWS, n)[saturated]


def test_long_lines():
    """The longest columns of which four do not fit a block have a sweep that takes turns, and no fused tangent."""
    for dtype, longest in LONGEST.items():
        plan = make_plan((longest, longest), dtype, "two-thirds")
        assert not plan.sweeps_together
        assert not plan.fits(plan.tangent, 4)
        half = make_plan((longest // 2, longest // 2), dtype, "two-thirds")
        assert half.sweeps_together
        assert half.fits(half.tangent, 4)
    assert "use a smaller grid or float32" in unsupported(make_plan((8192, 8192), "float64", "smooth"), SHARED_MEMORY)


IN_TURN = [Case(WIDE, per_member=ALL, forcing="per step", direct=1), Case(dealiasing="smooth")]


@pytest.mark.full
@pytest.mark.parametrize("case", IN_TURN, ids=str)
def test_a_sweep_where_memory_is_short(case, monkeypatch):
    """Strain and velocity take turns, and JAX composes the tangent."""
    shape, where = case.grid.shape, (case.dtype, case.dealiasing)
    plan = make_plan(shape, *where).on(cpu=True)
    memory = plan.need(plan.sweep, 2)[1]
    hand_in_spectral(monkeypatch, (8, 1, 1), memory=memory)
    monkeypatch.setattr(calls, "CPU_MEMORY", memory)
    assert not make_plan(shape, *where, shared_memory=memory).sweeps_together
    assert plan.sweeps_together
    check(case)
