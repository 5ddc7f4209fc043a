"""Blocks that hold a whole member, each or several together, and what their kernels are made of.

Line p of a member has rows 2p and 2p + 1 as its real and imaginary parts: first their spectra, then their
streamfunction.

Where several blocks share a member (`clusters`), each has as many row pairs as the others. Of a field, and of what has
lines, it also holds the row before its own and the one after them, where its neighbours put them: in rows first and
last, in lines as the imaginary and the real part of a line after all others.
"""

import dataclasses
import functools
import math
import types

import warp as wp

from . import memory
from .clusters import far, meet, put_far
from .columns import WARP, Columns
from .fft import Lines, barrier, complex_type
from .memory import Place, Table
from .pairs import pair_functions
from .stencils import stencils

LARGEST_BLOCK = 1024  # threads
MOST_VALUES = 24  # complex numbers that a thread holds, of a line or a column


@dataclasses.dataclass(frozen=True)
class Whole:
    """How blocks hold a member.

    Args:
        shape: of the grid; an even number of rows.
        real: ``wp.float32`` or ``wp.float64``.
        radix: the largest radix of the transforms of rows.
        resident: threads that are to share a multiprocessor.
        copies: fields that are transformed: 1, or 2 where a tangent is carried along.
        beside: room for fields that are only read.
        blocks: how many share a member; a divisor of its row pairs.
        in_lines: whether values stay in lines, of which there are two sets then, and not in rows of their own.
        serial: for the CPU, where a block has one thread.
    """

    shape: tuple[int, int]
    real: type
    radix: int
    resident: int
    copies: int = 1
    beside: int = 0
    blocks: int = 1
    in_lines: bool = False
    serial: bool = False

    def on(self, cpu: bool) -> "Whole":
        """The same for kernels that run there."""
        return dataclasses.replace(self, serial=True, blocks=1) if cpu else self

    @property
    def with_tangent(self) -> "Whole":
        return dataclasses.replace(self, copies=2)

    def with_stage(self, at_once: bool) -> "Whole":
        """For the backward sweep, which reads the input of a stage and its streamfunction, at once or in turn."""
        return dataclasses.replace(self, beside=2 if at_once else 1, in_lines=True)

    @property
    def pairs(self) -> int:
        """Row pairs of a block."""
        return self.shape[0] // 2 // self.blocks

    @property
    def ring(self) -> int:
        """Rows of a neighbour that a block holds on either side of its own, where blocks share a member."""
        return int(self.blocks > 1)

    @property
    def stride(self) -> int:
        """Lines of a field."""
        return self.pairs + self.ring

    @functools.cached_property
    def lines(self) -> Lines:
        """All at the same time, or as many as fit a block and can go ahead without each other."""
        count = (1 + self.in_lines) * self.copies * self.stride
        lines = Lines(self.shape[1], count, 1 if self.serial else self.pairs, self.real, self.radix, self.serial)
        while lines.groups > 1 and not (lines.alone and lines.block_dim <= LARGEST_BLOCK):
            lines = dataclasses.replace(lines, groups=lines.groups // 2)
        return lines

    @property
    def line_warps(self) -> int:
        """As many as transforms need."""
        return -(-self.lines.block_dim // WARP)

    @property
    def spare(self) -> int:
        """Warps that transform rows, and one more, which a block can have where all lines are transformed at the same
        time."""
        return self.line_warps + (self.lines.groups == self.pairs)

    @functools.cached_property
    def columns(self) -> Columns:
        """Columns that a warp solves at a time, or what a block has of them. A thread holds lines of two points each, no
        more than 16 points of a long column, and fewer where there are warps for more turns."""
        rows = 2 * self.pairs
        most = min(WARP, 2 ** max(0 if self.ring else 3, (rows - 1).bit_length() - 4))
        threads = math.gcd(self.pairs, most)
        while 2 * threads <= WARP and self.pairs % (2 * threads) == 0 and self.turns(2 * threads) <= self.spare:
            threads *= 2
        columns = Columns(rows, 1 if self.serial else WARP // threads, rows // threads, self.real, self.serial)
        return dataclasses.replace(columns, room=self.room)

    def turns(self, threads: int) -> int:
        """Turns of a warp that all columns of a field take, where so many threads share one. In a cluster the mean over
        x takes one of its own."""
        count = 1 if self.serial else WARP // threads
        return -(-(self.shape[1] // 2 + 1 - self.ring) // count) + self.ring

    @property
    def parts(self) -> int:
        """Turns of a warp that all columns of a field take."""
        return self.turns(self.columns.threads)

    @property
    def means(self) -> Columns:
        """The mean over x, which a warp of every block solves for all of them."""
        ny = self.shape[0]
        return Columns(ny, 1, ny // math.gcd(ny, WARP), self.real, room=self.room)

    @property
    def sums(self) -> int:
        """Numbers by which blocks know each other's rows of a field: two complex ones of each, and the mean over x."""
        return 2 * 2 * self.blocks * (self.shape[1] // 2 + 1) + self.shape[0]

    @property
    def room(self) -> int:
        return self.ring * self.copies * self.sums

    @property
    def warps(self) -> int:
        """As many as transforms need, and one more where a single turn of columns would be left over. In a cluster each
        turn has a warp of its own, since columns stay in registers while blocks wait for each other."""
        if self.ring:
            return max(self.line_warps, self.parts)
        return self.line_warps + (self.line_warps < self.parts == self.spare)

    @property
    def block_dim(self) -> int:
        return 1 if self.serial else WARP * self.warps

    @property
    def bounds(self) -> tuple[int, int]:
        """Threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return self.block_dim, max(1, self.resident // self.block_dim)

    @property
    def field(self) -> int:
        """Numbers of a block's rows of a field."""
        return 2 * self.stride * self.lines.row_pitch

    @property
    def size(self) -> int:
        """Numbers of all fields in rows: those transformed twice, as new values are written while neighbours need old
        ones."""
        return (self.beside if self.in_lines else 2 * self.copies) * self.field

    def fits(self, shared_memory: int) -> bool:
        """Whether blocks of that much shared memory can hold a member."""
        if self.shape[0] % (2 * self.blocks):
            return False  # row pairs do not go round
        if max(self.columns.values, self.ring * self.means.values) > MOST_VALUES:
            return False
        if self.lines.groups < self.pairs and self.lines.block_dim % WARP:
            return False  # threads that are left over would be taken for those of one more line
        nbytes = self.lines.nbytes + self.columns.nbytes + self.size * wp.types.type_size_in_bytes(self.real)
        return nbytes <= shared_memory and self.block_dim <= LARGEST_BLOCK and self.lines.alone


@functools.cache
def whole_functions(whole: Whole) -> types.SimpleNamespace:
    """What kernels that hold a whole member are made of. `rank`: of a block among those that share one.

    By all threads of a block:

    - ``rows_to_lines(fields, start, lines, roots, thread)``: spectra of the rows of the fields from `start` on.
    - ``lines_back(lines, roots, rank, thread)``: spectra back to rows.
    - ``meet()``: they wait for each other; all threads of a member do, before neighbours' rows are read.

    What a thread t holds of a row pair, from and to elsewhere:

    - ``of_line(lines, line, t)`` and ``to_line(values, lines, first, rank, pair, t)``, of what lies in the lines from
        `first` on.
    - ``of_rows(fields, start, pair, t)`` and ``to_rows(values, fields, start, rank, pair, t)``, of the field that starts
        there; number by number ``put(fields, i, value)``, and then ``share``, as `to_rows`, for neighbours.
    - In memory, where pairs are counted through the member: ``read(table, place, member, pair, t)``,
        ``write(values, table, place, member, pair, t)``.
    - ``psi_strip(lines, first, pair, e, t)`` and ``strip(fields, start, pair, e, t)``: four rows around its e-th points,
        as `stencils` has them, likewise.

    A pair at the edge of a block goes to the neighbour as well.
    """
    lines, real, pairs, size = whole.lines, whole.real, whole.pairs, whole.size
    Roots = wp.array(dtype=complex_type(real))
    blocks, ring, stride, meet_all = whole.blocks, whole.ring, whole.stride, meet if whole.ring else barrier
    copies, pitch, padded, field = whole.copies, lines.row_pitch, lines.padded, whole.field
    forward, inverse, publish, get, Tile = lines.forward, lines.inverse, lines.publish, lines.get, lines.Tile
    held, threads, groups, Values = lines.values, lines.threads, lines.groups, lines.Values
    west, here, east = lines.west, lines.here, lines.east
    Strip, Fields = stencils(real).Strip, wp.tile(dtype=real, shape=(size,))
    Three, row = wp.types.vector(length=3, dtype=real), memory.lane(real, whole.shape)
    value, put = memory.of_tile(real, size), memory.to_tile(real, size)
    far_lines, far_fields, put_there = far(real, lines.size), far(real, size), put_far(real)
    of_line, last = pair_functions(lines).of_line, pairs - 1
    south_line, north_line = (pairs, pairs) if ring else (last, 0)  # beside the first pair, and the last one
    south_row, north_row = (0, 2 * pairs + 1) if ring else (2 * last + 1, 0)

    @wp.func
    def of_rows(fields: Fields, start: int, pair: int, t: int):
        at = start + (ring + 2 * pair) * pitch + t
        values = Values()
        for e in range(held):
            values[2 * e] = value(fields, at + here(e))
            values[2 * e + 1] = value(fields, at + pitch + here(e))
        return values

    @wp.func
    def share(values: Values, fields: Fields, start: int, rank: int, pair: int, t: int):
        if blocks > 1 and pair == 0:
            there = far_fields(fields, (rank + blocks - 1) % blocks)
            for e in range(held):
                put_there(there, start + north_row * pitch + t + here(e), values[2 * e])
        if blocks > 1 and pair == last:
            there = far_fields(fields, (rank + 1) % blocks)
            for e in range(held):
                put_there(there, start + south_row * pitch + t + here(e), values[2 * e + 1])

    @wp.func
    def to_rows(values: Values, fields: Fields, start: int, rank: int, pair: int, t: int):
        at = start + (ring + 2 * pair) * pitch + t
        for e in range(held):
            put(fields, at + here(e), values[2 * e])
            put(fields, at + pitch + here(e), values[2 * e + 1])
        share(values, fields, start, rank, pair, t)

    @wp.func
    def to_line(values: Values, lines: Tile, first: int, rank: int, pair: int, t: int):
        publish(values, lines, first + pair, t)
        if blocks > 1 and pair == 0:
            there = far_lines(lines, (rank + blocks - 1) % blocks)
            for e in range(held):
                put_there(there, 2 * ((first + north_line) * padded + t + here(e)), values[2 * e])
        if blocks > 1 and pair == last:
            there = far_lines(lines, (rank + 1) % blocks)
            for e in range(held):
                put_there(there, 2 * ((first + south_line) * padded + t + here(e)) + 1, values[2 * e + 1])

    @wp.func
    def read(table: Table, place: Place, member: int, pair: int, t: int):
        row_i = row(table, place, member, 2 * pair, t)
        row_k = row(table, place, member, 2 * pair + 1, t)
        values = Values()
        for e in range(held):
            values[2 * e] = row_i[here(e)]
            values[2 * e + 1] = row_k[here(e)]
        return values

    @wp.func
    def write(values: Values, table: Table, place: Place, member: int, pair: int, t: int):
        row_i = row(table, place, member, 2 * pair, t)
        row_k = row(table, place, member, 2 * pair + 1, t)
        for e in range(held):
            row_i[here(e)] = values[2 * e]
            row_k[here(e)] = values[2 * e + 1]

    @wp.func
    def rows_to_lines(fields: Fields, start: int, lines: Tile, roots: Roots, thread: int):
        t = thread % threads
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                values, line = of_rows(fields, start + which * field, pair, t), which * stride + pair
                publish(forward(values, lines, roots, line, t), lines, line, t)

    @wp.func
    def lines_back(lines: Tile, roots: Roots, rank: int, thread: int):
        t = thread % threads
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                line = which * stride + pair
                values = inverse(of_line(lines, line, t), lines, roots, line, t)
                to_line(values, lines, which * stride, rank, pair, t)

    @wp.func
    def psi_strip(lines: Tile, first: int, pair: int, e: int, t: int):
        line = first + pair
        below = first + wp.where(pair == 0, south_line, pair - 1)
        above = first + wp.where(pair == last, north_line, pair + 1)
        w = t + west(e, t)
        j = t + here(e)
        o = t + east(e, t)
        at_w, at_j, at_o = get(lines, line, w), get(lines, line, j), get(lines, line, o)
        n_w, n_j, n_o = get(lines, above, w), get(lines, above, j), get(lines, above, o)
        s_w, s_j, s_o = get(lines, below, w), get(lines, below, j), get(lines, below, o)
        return Strip(
            n_w[0], n_j[0], n_o[0], at_w[1], at_j[1], at_o[1], at_w[0], at_j[0], at_o[0], s_w[1], s_j[1], s_o[1]
        )

    @wp.func
    def three(fields: Fields, start: int, e: int, t: int):
        at = start + t
        return Three(value(fields, at + west(e, t)), value(fields, at + here(e)), value(fields, at + east(e, t)))

    @wp.func
    def strip(fields: Fields, start: int, pair: int, e: int, t: int):
        below = wp.where(pair == 0, south_row, 2 * pair - 1 + ring)
        above = wp.where(pair == last, north_row, 2 * pair + 2 + ring)
        at = start + (ring + 2 * pair) * pitch
        n = three(fields, start + above * pitch, e, t)
        k = three(fields, at + pitch, e, t)
        i = three(fields, at, e, t)
        s = three(fields, start + below * pitch, e, t)
        return Strip(n[0], n[1], n[2], k[0], k[1], k[2], i[0], i[1], i[2], s[0], s[1], s[2])

    return types.SimpleNamespace(
        rows_to_lines=rows_to_lines,
        lines_back=lines_back,
        meet=meet_all,
        of_line=of_line,
        to_line=to_line,
        of_rows=of_rows,
        to_rows=to_rows,
        put=put,
        share=share,
        read=read,
        write=write,
        psi_strip=psi_strip,
        strip=strip,
    )
