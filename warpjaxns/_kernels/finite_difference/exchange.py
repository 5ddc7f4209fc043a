"""Messages between the slabs of devices, which kernels write into each other's memory (`hardware.mailboxes`).

The *sums* are the two numbers of each wavenumber that `slabs.between` gives to the first and to the last block. They go
to all others. The receiver makes of them what enters its slab (`entering`), as `_finite_difference.divided.entering`
derives it. The *rows* are the first and the last one of each field, which go to the two neighbours.

In the steps both are one message, and in the sweep two, since F(w, l) needs the rows of l before there are sums of it.
One kernel solves between slabs, sends, waits and receives. The next stage starts meanwhile, and transforms its rows.
"""

import dataclasses
import functools
from typing import Any

import warp as wp

from ..hardware.address_table import Buffer, Place, Table, address, kernel, launch
from ..hardware.intrinsics import barrier, locate, synchronise_dependent_launch
from ..hardware.mailboxes import FLAG, RECEIVE, SEND, Mailbox, any_of_block, give_up, is_late, mailboxes, raise_flag
from ..hardware.numbers import complex_type
from ..hardware.views import complex_access, row_view
from .operators import ROW_BLOCK
from .places import Fields, from_others
from .places import fields as places_of
from .plan import Plan
from .poisson import Spectra
from .slabs import carrier

SIDES = 2  # of a slab: its north, where row m is, and its south, where row -1 is
AT_ONCE = 512  # threads that a multiprocessor has room for, by the bounds of the kernels (`Plan.bounds`)


def _chunks(n: int) -> int:
    """Return the blocks that share n numbers of a member."""
    return -(-n // ROW_BLOCK)


@functools.cache
def exchange_rows(plan: Plan, parts: int) -> wp.Kernel:
    """Make the kernel that writes rows m and -1 to the end of fields: those of the neighbours, to which it sends."""
    (ny, nx), real, m, several = plan.shape, plan.real, plan.shape[0] - plan.edges, plan.fields
    field, box, chunks = row_view(real, (ny, nx), upwards=True), row_view(real, (1, nx)), _chunks(nx)

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
        slot = SIDES * (turn % 2)
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
                late += is_late(address(addresses, parts + here) + wp.uint64(FLAG * at), turn, gave_up)
            late = any_of_block(late)
            for side in range(SIDES):
                given = box(addresses, Place(here, 0, 0, 0), (slot + side) * count + member, 0, 0)
                for j in range(first + thread, last, wp.block_dim()):
                    row[(m + side) * nx + j] = wp.where(late == 0, given[j], real(wp.nan))
            if thread == 0:
                mailbox.turns[2 * block] = turn
                if late != 0:
                    mailbox.turns[2 * block + 1] = 1
                    give_up(mailbox.broken)

    return exchange_rows


@functools.cache
def mean_enters(real, parts: int, m: int):
    """``mean_enters(p, mean, q, here)`` is (dp, D, dq) of a slab of m rows, given (p_(-1), mean, q_m) of all."""
    Held, Mean = wp.types.vector(length=parts, dtype=real), wp.types.vector(length=3, dtype=real)
    rows, triangle, by_parts, by_all = real(m), real(m * (m + 1) / 2), real(1 / parts), real(1 / (parts * m))
    over = real(m * m * (m + 1) / 2 - (m - 1) * m * (m + 1) / 6)  # the sum over a slab of (m (m + 1) - j (j + 1)) / 2

    @wp.func
    def mean_enters(p: Held, mean: Held, q: Held, here: int):
        average = real(0.0)
        for d in range(parts):
            average += by_parts * mean[d]
        reached = real(0.0)  # p_(-1), up to a constant
        total = real(0.0)
        sums = Held()  # of p over each slab; alone it has none
        for d in range(parts):
            excess = mean[d] - average
            sums[d] = rows * (reached - p[d]) + triangle * excess
            total += sums[d]
            reached += rows * excess
        mean_p = by_all * total
        result = Mean()
        north = real(0.0)  # q_m
        psi = real(0.0)  # its sum over all rows
        for i in range(parts):
            d = parts - 1 - i
            excess = mean[d] - average
            reached -= rows * excess
            dp = reached - mean_p - p[d]
            dq = north - q[d]
            psi += rows * dq + triangle * dp + over * excess
            north += sums[d] - rows * mean_p
            if d == here:
                result = Mean(dp, excess, dq)
        result[2] = result[2] - by_all * psi
        return result

    return mean_enters


@functools.cache
def between_devices(plan: Plan, centre: bool, parts: int, with_rows: bool) -> wp.Kernel:
    """Make the kernel that does what `slabs.between` does, sends this device's sums, and writes what enters its slab.

    The latter is ``(fields batch, 2, half)``. `with_rows`: whether rows of states go with the sums, as in
    `exchange_rows`. `weights`: c_t, ``(parts, half)``.
    """
    columns, chunks, by_block, (ny, nx) = plan.column_chunks, plan.column_blocks, carrier(plan, centre), plan.shape
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
        slot = turn % 2
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
                    late += is_late(address(addresses, parts + here) + wp.uint64(FLAG * at), turn, gave_up)
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
                mailbox.turns[2 * block] = turn
                if late != 0:
                    mailbox.turns[2 * block + 1] = 1
                    give_up(mailbox.broken)

    return between_devices


def mailboxes_of(plan: Plan, batch: int, devices: tuple[str, ...]):
    """Return the mailboxes for rows and those for sums, of the slabs of some devices."""
    (_, nx), parts, members = plan.shape, len(devices), plan.fields * batch
    word = wp.types.type_size_in_bytes(plan.real)
    rows, sums = members * _chunks(nx), members * plan.column_blocks
    size = 2 * SIDES * members * nx
    both = size + nx + 2 * parts * members * 4 * plan.half
    return (
        mailboxes("rows", devices, size * word, 2 * SIDES * rows, rows),
        mailboxes("sums", devices, both * word, 2 * parts * sums, sums),
    )


def exchange_kernels(plan: Plan, centre: bool, parts: int) -> list[tuple[wp.Kernel, int]]:
    """Return the kernels of steps or, with `centre`, of the sweep, and the threads of their blocks."""
    both = between_devices(plan, centre, parts, with_rows=not centre), plan.column_chunks.block_dim
    return [both, (exchange_rows(plan, parts), ROW_BLOCK)] if centre else [both]


@dataclasses.dataclass(frozen=True)
class Others:
    """The other devices, as the launches of one of them see them.

    Args:
        parts: the number of devices.
        rows: the mailbox for rows.
        sums: the mailbox for sums, or both.
        weights: buffer of c_t.
        entering: buffer of what enters, ``(fields, batch, 2, half)``.
    """

    parts: int
    rows: Any
    sums: Any
    weights: Buffer
    entering: Buffer


class SlabSpectra(Spectra):
    """The spectra of fields on the slab of a device, which exchanges messages with the others."""

    def __init__(self, plan, tables, scratch, others: Others):
        super().__init__(plan, tables, scratch)
        self.others = others

    @property
    def ready(self):
        return [from_others(given, self.others.entering[i]) for i, given in enumerate(super().ready)]

    def surround(self, *fields):
        batch, others = fields[0].shape[0], self.others
        blocks = len(fields) * batch * _chunks(self.plan.shape[1])
        given = [others.rows, places_of(*fields), batch]
        self._exchange(exchange_rows(self.plan, others.parts), blocks, ROW_BLOCK, given, [])

    def solve(self, *fields, centre: bool = False):
        self._out, self._ready = self._ready, self._out
        sums, others = self._sums.merged, self.others
        kernel = between_devices(self.plan, centre, others.parts, with_rows=bool(fields))
        members, states = sums.shape[0], places_of(*fields) if fields else Fields()
        given = [self.tables.modes, sums, others.sums, others.weights, members, states]
        blocks, block_dim = members * self.plan.column_blocks, self.plan.column_chunks.block_dim
        self._exchange(kernel, blocks, block_dim, given, [others.entering.merged])

    def _exchange(self, kernel, blocks, block_dim, given, made):
        table = self.tables.modes.table
        # a block that waits for one that has not started would keep it from starting
        at_once = blocks * block_dim <= AT_ONCE * table.device.sm_count
        for does in [SEND + RECEIVE] if at_once else [SEND, RECEIVE]:
            launch(kernel, table, blocks, [*given, does, *made], block_dim)
