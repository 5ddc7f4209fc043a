"""Launches of the kernels by which devices exchange messages (`exchange`)."""

import dataclasses
from typing import Any, cast

import warp as wp

from ..hardware.address_table import Buffer, launch
from ..hardware.groups import Group, mailboxes
from ..hardware.mailboxes import RECEIVE, SEND
from .exchange import SIDES, between_devices, blocks_of_row, exchange_rows
from .operators import ROW_BLOCK
from .places import Fields, fields, from_others
from .plan import Plan
from .poisson import Spectra

AT_ONCE = 512  # threads that a multiprocessor has room for, by the bounds of the kernels (`Plan.bounds`)


def mailboxes_of(plan: Plan, batch: int, group: Group):
    """Return the mailboxes for rows and those for sums, of the slabs of a group of devices."""
    (_, nx), parts, members = plan.shape, len(group.numbers), plan.fields * batch
    word = wp.types.type_size_in_bytes(plan.real)
    rows, sums = members * blocks_of_row(nx), members * plan.column_blocks
    size = 2 * SIDES * members * nx
    both = size + nx + 2 * parts * members * 4 * plan.half
    return (
        mailboxes("rows", group, size * word, 2 * SIDES * rows, rows),
        mailboxes("sums", group, both * word, 2 * parts * sums, sums),
    )


def message_kernels(plan: Plan, centre: bool, parts: int) -> list[tuple[wp.Kernel, int]]:
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

    def surround(self, *states):
        batch, others = states[0].shape[0], self.others
        blocks = len(states) * batch * blocks_of_row(self.plan.shape[1])
        given = [others.rows, fields(*states), batch]
        self._exchange(exchange_rows(self.plan, others.parts), blocks, ROW_BLOCK, given, [])

    def solve(self, *states, centre: bool = False):
        self._out, self._ready = self._ready, self._out
        sums, others = cast(Buffer, self._sums).merged, self.others
        kernel = between_devices(self.plan, centre, others.parts, with_rows=bool(states))
        members, places = sums.shape[0], fields(*states) if states else Fields()
        given = [self.tables.modes, sums, others.sums, others.weights, members, places]
        blocks, block_dim = members * self.plan.column_blocks, self.plan.column_chunks.block_dim
        self._exchange(kernel, blocks, block_dim, given, [others.entering.merged])

    def _exchange(self, kernel, blocks, block_dim, given, made):
        table = self.tables.modes.table
        # a block that waits for one that has not started would keep it from starting
        at_once = blocks * block_dim <= AT_ONCE * table.device.sm_count
        for does in [SEND + RECEIVE] if at_once else [SEND, RECEIVE]:
            launch(kernel, table, blocks, [*given, does, *made], block_dim)
