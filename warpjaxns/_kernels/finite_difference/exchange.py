"""Messages between the slabs of devices, which kernels write into each other's memory (`hardware.mailboxes`).

The *sums* are the two numbers of each wavenumber that `between` gives to the first and to the last block. They go to
all others. The receiver makes of them what enters its slab (`entering`), as `_finite_difference.divided.entering`
derives it. The *rows* are the first and the last one of each field, which go to the two neighbours.

In the steps both are one message, and in the sweep two, since F(w, l) needs the rows of l before there are sums of it.
One kernel solves between slabs, sends, waits and receives. The next stage starts meanwhile, and transforms its rows.
"""

import functools

import warp as wp

from ..hardware.address_table import Place, Table, address, kernel
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.mailboxes import FLAG, RECEIVE, SEND, Mailbox, any_of_block, end_turn, is_late, raise_flag
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view
from .between import carrier
from .entering import mean_enters
from .operators import ROW_BLOCK
from .places import Fields
from .plan import Plan

SIDES = 2  # of a slab: its north, where row m is, and its south, where row -1 is


def blocks_of_row(n: int) -> int:
    """Return the blocks that share n numbers of a member."""
    return -(-n // ROW_BLOCK)


@functools.cache
def exchange_rows(plan: Plan, parts: int) -> wp.Kernel:
    """Make the kernel that writes rows m and -1 to the end of fields: those of the neighbours, to which it sends."""
    (ny, nx), real, m, several = plan.shape, plan.real, plan.shape[0] - plan.edges, plan.fields
    field, box, chunks = row_view(real, (ny, nx), upwards=True), row_view(real, (1, nx)), blocks_of_row(nx)

    @kernel(launch_bounds=ROW_BLOCK)
    def exchange_rows(table: Table, mailbox: Mailbox, state: Fields, batch: int, does: int):
        index, _ = wp.tid()
        member, part, thread = locate(index, chunks)
        count = several * batch
        block = member * chunks + part
        blocks = count * chunks
        addresses, here = mailbox.addresses, mailbox.here
        first = part * ROW_BLOCK
        last = wp.min(first + ROW_BLOCK, nx)
        place = state.state
        mine = member
        if member >= batch:
            place = state.tangent
            mine = member - batch
        row = field(table, place, mine, 0, 0)
        synchronise_dependent_launch()
        turn = mailbox.turns[2 * block] + 1
        gave_up = mailbox.turns[2 * block + 1]
        slot = SIDES * (turn & 1)  # turns may become negative, after days
        if does != RECEIVE:
            for side in range(SIDES):  # the first row goes to the north of the slab before
                to = wp.where(side == 0, here + parts - 1, here + 1) % parts
                there = box(addresses, Place(to, 0, 0, 0), (slot + side) * count + member, 0, 0)
                for j in range(first + thread, last, wp.block_dim()):
                    there[j] = row[side * (m - 1) * nx + j]
            barrier()
            for side in range(thread, SIDES, wp.block_dim()):
                to = wp.where(side == 0, here + parts - 1, here + 1) % parts
                at = (slot + side) * blocks + block
                raise_flag(address(addresses, parts + to) + wp.uint64(FLAG * at), turn)
        if does != SEND:
            late = int(0)  # noqa: UP018, RUF046 (a variable of Warp)
            for side in range(thread, SIDES, wp.block_dim()):
                at = (slot + side) * blocks + block
                flag = address(addresses, parts + here) + wp.uint64(FLAG * at)
                late += is_late(flag, turn, gave_up, mailbox.patience)
            late = any_of_block(late)
            for side in range(SIDES):
                given = box(addresses, Place(here, 0, 0, 0), (slot + side) * count + member, 0, 0)
                for j in range(first + thread, last, wp.block_dim()):
                    row[(m + side) * nx + j] = wp.where(late == 0, given[j], real(wp.nan))
            if thread == 0:
                end_turn(mailbox, block, turn, late)

    return exchange_rows


@functools.cache
def between_devices(plan: Plan, centre: bool, parts: int, with_rows: bool) -> wp.Kernel:
    """Make the kernel that does what `between.between` does, sends this device's sums, and writes what enters its slab.

    The latter is ``(fields batch, 2, half)``. `with_rows`: whether rows of states go with the sums, as in
    `exchange_rows`. `weights`: c_t, ``(parts, half)``.
    """
    columns, chunks, by_block, (ny, nx) = (
        plan.column_chunks,
        plan.column_blocks,
        carrier(plan, centre),
        plan.shape,
    )
    real, size, width, constants, carry = columns.real, columns.size, columns.count, by_block.constants, by_block.carry
    half, pitch, count, m, several = plan.half, plan.pitch, plan.slabs, plan.shape[0] - plan.edges, plan.fields
    Complex, (get, put), last_sum = complex_type(real), complex_access(real), (2 * count - 1) * pitch
    sums_row, both = row_view(Complex, (2 * count, pitch)), row_view(Complex, (2, half))
    weight, points = row_view(real, (1, half)), -(-nx // chunks)
    field, box = row_view(real, (ny, nx), upwards=True), row_view(real, (1, nx))
    Held, enters = wp.types.vector(length=parts, dtype=real), mean_enters(real, parts, m)

    @wp.func
    def own(table: Table, sums_at: Place, member: int, k: int):
        mine = sums_row(table, sums_at, member, 0, k)
        return get(mine, 0), get(mine, last_sum)

    @wp.func
    def message(table: Table, mailbox: Mailbox, sums_at: Place, item: int, member: int, slab: int, k: int):
        south, north = own(table, sums_at, member, k)
        if slab != mailbox.here:
            given = both(mailbox.addresses, Place(mailbox.here, 0, 0, 0), item, 0, k)
            south = get(given, 0)
            north = get(given, half)
        return south, north

    @kernel(launch_bounds=plan.bounds(columns))
    def between_devices(
        table: Table,
        modes_at: Place,
        sums_at: Place,
        mailbox: Mailbox,
        weights_at: Place,
        members: int,
        state: Fields,
        does: int,
        entering_at: Place,
    ):
        index, _ = wp.tid()
        member, part, thread = locate(index, chunks)
        block = member * chunks + part
        blocks = members * chunks
        addresses, here = mailbox.addresses, mailbox.here
        first = part * width
        last = wp.min(first + width, half)
        sums = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        c = thread % width
        t = thread // width
        given, mode, powers = constants(table, modes_at, member, first + c, t)
        if with_rows:
            place = state.state
            mine = member
            if member >= members // several:
                place = state.tangent
                mine = member - members // several
            row = field(table, place, mine, 0, 0)
            first_box = (2 * parts * members * 4 * half + nx - 1) // nx  # rows lie behind the sums
            first_point = part * points
            last_point = wp.min(first_point + points, nx)
        synchronise_dependent_launch()
        turn = mailbox.turns[2 * block] + 1
        gave_up = mailbox.turns[2 * block + 1]
        slot = turn & 1
        if does != RECEIVE:
            if with_rows:
                for side in range(SIDES):  # the first row goes to the north of the slab before
                    to = wp.where(side == 0, here + parts - 1, here + 1) % parts
                    at = first_box + (SIDES * slot + side) * members + member
                    beside = box(addresses, Place(to, 0, 0, 0), at, 0, 0)
                    for j in range(first_point + thread, last_point, wp.block_dim()):
                        beside[j] = row[side * (m - 1) * nx + j]
            carry(table, sums_at, member, first, c, t, given, mode, powers, sums)
            barrier()
            for k in range(first + thread, last, wp.block_dim()):
                south, north = own(table, sums_at, member, k)
                for to in range(parts):
                    if to != here:
                        at = (slot * parts + here) * members + member
                        there = both(addresses, Place(to, 0, 0, 0), at, 0, k)
                        put(there, 0, south)
                        put(there, half, north)
            barrier()
            for to in range(thread, parts, wp.block_dim()):
                if to != here:
                    at = (slot * parts + here) * blocks + block
                    raise_flag(address(addresses, parts + to) + wp.uint64(FLAG * at), turn)
        if does != SEND:
            late = int(0)  # noqa: UP018, RUF046 (a variable of Warp)
            for slab in range(thread, parts, wp.block_dim()):
                if slab != here:
                    at = (slot * parts + slab) * blocks + block
                    flag = address(addresses, parts + here) + wp.uint64(FLAG * at)
                    late += is_late(flag, turn, gave_up, mailbox.patience)
            late = any_of_block(late)
            for k in range(first + thread, last, wp.block_dim()):
                own_south, own_north = own(table, sums_at, member, k)
                south = -own_south
                north = -own_north
                if k == 0:
                    p = Held()
                    mean = Held()
                    q = Held()
                    for slab in range(parts):
                        at = (slot * parts + slab) * members + member
                        s, n = message(table, mailbox, sums_at, at, member, slab, k)
                        p[slab] = s[0]
                        mean[slab] = s[1]
                        q[slab] = n[0]
                    of_mean = enters(p, mean, q, here)
                    south = Complex(of_mean[0], of_mean[1])
                    north = Complex(of_mean[2], real(0.0))
                else:
                    for i in range(parts):
                        before = (here + 2 * parts - 1 - i) % parts
                        after = (here + 1 + i) % parts
                        w = weight(table, weights_at, i, 0, k)[0]
                        at = (slot * parts + before) * members + member
                        s, _n = message(table, mailbox, sums_at, at, member, before, k)
                        at = (slot * parts + after) * members + member
                        _s, n = message(table, mailbox, sums_at, at, member, after, k)
                        south += w * s
                        north += w * n
                if late != 0:
                    south = Complex(real(wp.nan), real(wp.nan))
                    north = south
                out = both(table, entering_at, member, 0, k)
                put(out, 0, south)
                put(out, half, north)
            if with_rows:
                for side in range(SIDES):
                    at = first_box + (SIDES * slot + side) * members + member
                    received = box(addresses, Place(here, 0, 0, 0), at, 0, 0)
                    for j in range(first_point + thread, last_point, wp.block_dim()):
                        row[(m + side) * nx + j] = wp.where(late == 0, received[j], real(wp.nan))
            if thread == 0:
                end_turn(mailbox, block, turn, late)

    return between_devices
