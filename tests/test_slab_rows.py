"""Slabs of rows around the edge of the grid, and the smallest grids."""

import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from layouts import fast_cases
from oracle import normal
from test_advance import Case, check

from warpjaxns import Grid, NavierStokes2D
from warpjaxns._kernels.finite_difference.plan import Plan
from warpjaxns._kernels.finite_difference.slab_rows import slab_functions
from warpjaxns._kernels.hardware import address_table, views
from warpjaxns._kernels.hardware.address_table import Place, Table
from warpjaxns._kernels.hardware.copies import wait
from warpjaxns._kernels.hardware.intrinsics import synchronise_dependent_launch


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "rows"), [((5, 6), 4), ((4, 4), 4), ((7, 9), 6), ((4, 5), 8), ((6, 32), 4)], ids=str
)  # fewer rows than a slab has with its halo; row lengths that are no multiple of 16 bytes; padded rows
def test_a_slab_and_its_strips(shape, rows, dtype):
    (ny, nx), members = shape, 2
    plan = Plan(shape, dtype, rows=rows, columns=1)
    assert (plan.row_pitch > nx) == (nx == 32)
    real, size, kit = plan.real, plan.slab_size, slab_functions(plan)
    fetch, strip, field_row = kit.copy, kit.strip, views.row_view(real, shape)
    at_rows = views.row_view(real, (rows // 2, 12))

    @address_table.kernel(launch_bounds=1)
    def strips(table: Table, member: int, row: int, field_at: Place, out_at: Place):
        _, thread = wp.tid()
        synchronise_dependent_launch()
        slab = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        fetch(slab, 0, field_row(table, field_at, member, 0, 0), row - 1, thread)
        wait()
        for pair in range(rows // 2):
            for j in range(nx):
                west = wp.where(j == 0, nx - 1, j - 1)
                east = wp.where(j == nx - 1, 0, j + 1)
                values = strip(slab, 0, pair, west, j, east)
                out = at_rows(table, out_at, j, pair, 0)
                for s in range(12):
                    out[s] = values[s]

    field = np.asarray(normal(0, (members, *shape), dtype))
    arrays = [wp.array(field, dtype=real, device="cpu"), wp.zeros((nx, rows // 2, 12), dtype=real, device="cpu")]
    table = wp.array(np.array([array.ptr for array in arrays], np.uint64), dtype=wp.uint64, device="cpu")
    for member in range(members):
        for row in range(0, ny, rows):
            address_table.launch(strips, table, 1, [member, row, *address_table.buffers(table, arrays)], 1)
            for pair, j in np.ndindex(rows // 2, nx):
                i = row + 2 * pair + np.array([2, 1, 0, -1])  # from the north
                around = field[member][np.ix_(i % ny, (j + np.array([-1, 0, 1])) % nx)]
                np.testing.assert_array_equal(arrays[1].numpy()[j, pair], around.ravel())


SMALLEST = [
    Case(grid=Grid((4, 4), (2.0, 3.5)), steps=2),
    Case(grid=Grid((5, 6), (2.0, 3.5)), steps=2, dtype="float32", forcing="per step"),
    Case(grid=Grid((9, 5), (0.7, 1.9)), steps=2, scheme="central", per_member=("forcing",)),
]


@pytest.mark.parametrize("case", fast_cases(SMALLEST), ids=str)
def test_the_smallest_grids(case):
    check(case)


def test_lines_too_long_for_the_cpu():
    """Warp ends the process if a block's tiles take more memory than it has for them."""
    with pytest.raises(ValueError, match="rows of 32768 points in float64 need 272 KiB of shared memory"):
        NavierStokes2D(Grid((4, 32768)), viscosity=1e-3, dt=1e-6, backend="warp").step(jnp.zeros((4, 32768)))
