"""The rows of a slab in shared memory: copies, prefetches for a later block, and neighbourhoods of points."""

import functools
import types
from collections.abc import Callable

import warp as wp

from ..hardware.address_table import Place, Table
from ..hardware.copies import row_copier, row_prefetcher
from ..hardware.numbers import complex_type
from ..hardware.views import row_view, tile_access
from .plan import Plan
from .stencils import tile_strip


@functools.cache
def slab_functions(plan: Plan) -> types.SimpleNamespace:
    """Make the functions of a tile of type ``Slab``, which holds `plan.fields` slabs. `start`: where one begins.

    - ``copy(slab, start, field, row, thread)`` starts to copy the rows of a slab and of its halo, from `row` on.
    - ``copy_row(slab, start, field, row, thread)`` starts to copy one row.
    - ``strip(slab, start, pair, west, j, east)``: the strip of a row pair. The first pair is rows 1 and 2.
    - ``pair(slab, pair, j)``: a point of each row of a pair, of the first slab.
    """
    pitch, real, size = plan.row_pitch, plan.real, plan.fields * plan.slab_size
    Slab, strip_of = wp.tile(dtype=real, shape=(size,)), tile_strip(real, size)
    Complex, (value, _) = complex_type(real), tile_access(real, size)
    threads = plan.row_lines(1, 1).threads
    counts = plan.rows + 2 * plan.halo, 1
    copy, copy_row = (row_copier(real, threads, plan.shape, count, pitch, size) for count in counts)

    @wp.func
    def strip(slab: Slab, start: int, pair: int, west: int, j: int, east: int):
        below = start + 2 * pair * pitch
        return strip_of(slab, below, below + pitch, below + 2 * pitch, below + 3 * pitch, west, j, east)

    @wp.func
    def pair(slab: Slab, pair: int, j: int):
        at = (2 * pair + 1) * pitch + j
        return Complex(value(slab, at), value(slab, at + pitch))

    return types.SimpleNamespace(Slab=Slab, copy=copy, copy_row=copy_row, strip=strip, pair=pair)


@functools.cache
def slab_prefetchers(plan: Plan) -> tuple[Callable, Callable]:
    """``prefetch(table, place, block, thread)`` has the second-level cache load the slab of a block.

    The first function is for fields, the second one for spectra. Halo rows are left out. Block -1 does nothing.
    """
    (ny, nx), pitch, real, slabs, rows = plan.shape, plan.pitch, plan.real, plan.slabs, plan.rows

    def prefetcher_of(width):
        row, prefetch_rows = row_view(real, (ny, width)), row_prefetcher(real, (ny, width), rows)

        @wp.func
        def prefetch(table: Table, place: Place, block: int, thread: int):
            if block >= 0:
                member = block // slabs
                prefetch_rows(row(table, place, member, 0, 0), (block - member * slabs) * rows, thread)

        return prefetch

    return prefetcher_of(nx), prefetcher_of(2 * pitch)
