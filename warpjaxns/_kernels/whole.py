"""Blocks that hold a whole member, each or several together, and what their kernels are made of.

Line p of a member has rows 2p and 2p + 1 as its real and imaginary parts: first their spectra, then their
streamfunction. A warp solves a few columns at a time, out of the lines and back into them: as wavenumbers k and -k of a
line hold all there is of either row at k, no thread needs what another one writes.

Where several blocks share a member (`clusters`), each has as many row pairs as the others, transforms them, and applies
the equation to them. Columns they share out as well, and solve them in each other's memory.
"""

import dataclasses
import functools
import math
import types

import warp as wp

from . import memory
from .clusters import barrier_of, line_access, of_block, value_access
from .columns import WARP, Columns
from .fft import Lines, complex_type
from .memory import Place, Table
from .pairs import pair_functions
from .stencils import stencils

LARGEST_BLOCK = 1024  # threads


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

    @functools.cached_property
    def lines(self) -> Lines:
        """All at the same time, or as many as fit a block and can go ahead without each other."""
        count = (1 + self.in_lines) * self.copies * self.pairs
        lines = Lines(self.shape[1], count, 1 if self.serial else self.pairs, self.real, self.radix, self.serial)
        while lines.groups > 1 and not (lines.alone and lines.block_dim <= LARGEST_BLOCK):
            lines = dataclasses.replace(lines, groups=lines.groups // 2)
        return lines

    @property
    def spare(self) -> int:
        """Warps of all blocks that transform rows, and one more, which a block can have where all lines are transformed
        at the same time."""
        return self.blocks * -(-self.lines.block_dim // WARP) + (self.lines.groups == self.pairs)

    @functools.cached_property
    def columns(self) -> Columns:
        """Columns that a warp solves at a time. A thread holds lines of two points each, all of one block; no more than
        16 points of a long column, and fewer where there are warps for more turns."""
        ny, half = self.shape[0], self.shape[1] // 2 + 1
        most = min(WARP, 2 ** max(3, (ny - 1).bit_length() - 4))
        threads = max(self.blocks, math.gcd(ny // 2, most))
        while 2 * threads <= WARP and ny % (4 * threads) == 0 and half * 2 * threads <= WARP * self.spare:
            threads *= 2
        return Columns(ny, 1 if self.serial else WARP // threads, ny // threads, self.real, self.serial)

    @property
    def parts(self) -> int:
        """Turns of a warp that all columns of a field take."""
        return -(-(self.shape[1] // 2 + 1) // self.columns.count)

    @property
    def warps(self) -> int:
        """As many as transforms need, and one more where a single turn of columns would be left over."""
        warps = -(-self.lines.block_dim // WARP)
        return warps + (self.blocks * warps < self.parts == self.spare)

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
        return 2 * self.pairs * self.lines.row_pitch

    @property
    def size(self) -> int:
        """Numbers of all fields in rows: those transformed twice, as new values are written while neighbours need old
        ones."""
        return (self.beside if self.in_lines else 2 * self.copies) * self.field

    def fits(self, shared_memory: int) -> bool:
        """Whether blocks of that much shared memory can hold a member."""
        if self.shape[0] % (2 * self.blocks):
            return False  # row pairs do not go round
        if self.shape[0] % (2 * self.columns.threads) or self.columns.threads % self.blocks:
            return False  # a thread would have lines of several blocks
        if self.lines.groups < self.pairs and self.lines.block_dim % WARP:
            return False  # threads that are left over would be taken for those of one more line
        nbytes = self.lines.nbytes + self.columns.nbytes + self.size * wp.types.type_size_in_bytes(self.real)
        return nbytes <= shared_memory and self.block_dim <= LARGEST_BLOCK and self.lines.alone


@functools.cache
def whole_functions(whole: Whole, centre: bool) -> types.SimpleNamespace:
    """What kernels that hold a whole member are made of. `rank`: of a block among those that share one.

    By all threads of a block:

    - ``rows_to_lines(fields, start, lines, roots, thread)``: spectra of the rows of the fields from `start` on.
    - ``solve(lines, first, modes, sums, rank, thread)``: spectra of omega to those of psi, in the lines from `first` on
        of all blocks. Unless `centre`, psi may have a mean, which its derivatives do not see.
    - ``lines_back(lines, roots, thread)``: spectra back to rows.
    - ``meet()``: all threads of a member wait for each other.

    What a thread t holds of a row pair, from and to elsewhere:

    - ``of_line(lines, line, t)``. Of the field that starts there: ``of_rows(fields, start, pair, t)``,
        ``to_rows(values, fields, start, pair, t)``. In memory, where pairs are counted through the member:
        ``read(table, place, member, pair, t)``, ``write(values, table, place, member, pair, t)``.
    - ``psi_strip(lines, first, rank, pair, e, t)`` and ``strip(fields, start, rank, pair, e, t)``: four rows around its
        e-th points, as `stencils` has them, out of the lines from `first` on and of the field at `start`.
    - ``put(fields, i, value)``: a single number.
    """
    lines, columns, real, nx, pairs = whole.lines, whole.columns, whole.real, whole.shape[1], whole.pairs
    blocks, meet = whole.blocks, barrier_of(whole.blocks)
    copies, parts, warps, pitch, field = whole.copies, whole.parts, whole.warps, lines.row_pitch, whole.field
    forward, inverse, publish, get, Tile = lines.forward, lines.inverse, lines.publish, lines.get, lines.Tile
    held, threads, groups, Values = lines.values, lines.threads, lines.groups, lines.Values
    west, here, east = lines.west, lines.here, lines.east
    Complex, Strip, Fields = complex_type(real), stencils(real).Strip, wp.tile(dtype=real, shape=(whole.size,))
    Three, row = wp.types.vector(length=3, dtype=real), memory.lane(real, whole.shape)
    value = memory.of_tile(real, whole.size)
    lines_of, fields_of = of_block(real, lines.size, blocks), of_block(real, whole.size, blocks)
    (get_of, put_of), value_of = line_access(lines, blocks), value_access(real, whole.size, blocks)
    ColumnValues, Mode, Sums = columns.Values, columns.Mode, columns.Tile
    chunk, northward, southward, reach = columns.values // 2, columns.northward, columns.southward, columns.powers
    centred, count, last, by_pair = columns.centred, columns.count, nx // 2, pair_functions(lines)
    apart, joined, of_line = by_pair.apart, by_pair.joined, by_pair.of_line

    @wp.func_native("fields.data.ptr[i] = value;")
    def put(fields: Fields, i: int, value: real): ...

    @wp.func
    def of_rows(fields: Fields, start: int, pair: int, t: int):
        at = start + 2 * pair * pitch + t
        values = Values()
        for e in range(held):
            values[2 * e] = value(fields, at + here(e))
            values[2 * e + 1] = value(fields, at + pitch + here(e))
        return values

    @wp.func
    def to_rows(values: Values, fields: Fields, start: int, pair: int, t: int):
        at = start + 2 * pair * pitch + t
        for e in range(held):
            put(fields, at + here(e), values[2 * e])
            put(fields, at + pitch + here(e), values[2 * e + 1])

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
    def rows_to_lines(fields: Fields, start: int, lines: Tile, roots: wp.array(dtype=Complex), thread: int):
        t = thread % threads
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                values, line = of_rows(fields, start + which * field, pair, t), which * pairs + pair
                publish(forward(values, lines, roots, line, t), lines, line, t)

    @wp.func
    def lines_back(lines: Tile, roots: wp.array(dtype=Complex), thread: int):
        t = thread % threads
        for which in range(copies):
            for pair in range(thread // threads, pairs, groups):
                line = which * pairs + pair
                publish(inverse(of_line(lines, line, t), lines, roots, line, t), lines, line, t)

    @wp.func
    def solve_columns(lines: Tile, mode: Mode, sums: Sums, first: int, rank: int, k: int, c: int, t: int):
        powers = reach(mode[0], t)
        mirror = wp.where(k == 0, 0, nx - k)
        holder = 0  # of all lines that the thread works on
        if blocks > 1:
            holder = t * chunk // pairs
        start = first + t * chunk - holder * pairs
        where = lines_of(lines, rank, holder)
        values = ColumnValues()
        for e in range(chunk):  # two rows a line
            a, b = apart(get_of(lines, where, start + e, k), get_of(lines, where, start + e, mirror))
            values[4 * e] = a[0]
            values[4 * e + 1] = a[1]
            values[4 * e + 2] = b[0]
            values[4 * e + 3] = b[1]
        values = southward(northward(values, mode, powers, sums, c, t), mode, powers, sums, c, t)
        if centre:
            less = centred(values, sums, c, t)
            if k == 0:
                values = less
        for e in range(chunk):
            a = mode[3] * Complex(values[4 * e], values[4 * e + 1])
            b = mode[3] * Complex(values[4 * e + 2], values[4 * e + 3])
            p, q = joined(a, b)
            put_of(lines, where, start + e, k, p)
            put_of(lines, where, start + e, mirror, q)

    @wp.func
    def solve(lines: Tile, first: int, modes: wp.array(dtype=Mode), sums: Sums, rank: int, thread: int):
        c = thread % WARP % count
        t = thread % WARP // count
        for turn in range(thread // WARP * blocks + rank, copies * parts, warps * blocks):
            which = turn // parts
            k = wp.min((turn - which * parts) * count + c, last)  # the last one may be solved more than once
            solve_columns(lines, modes[k], sums, first + which * pairs, rank, k, c, t)

    @wp.func
    def south_of(rank: int, pair: int):
        """The block and its row pair that lie south of a pair; below, those north of it."""
        there = rank
        if blocks > 1 and pair == 0:
            there = (rank + blocks - 1) % blocks
        return there, wp.where(pair == 0, pairs - 1, pair - 1)

    @wp.func
    def north_of(rank: int, pair: int):
        there = rank
        if blocks > 1 and pair == pairs - 1:
            there = (rank + 1) % blocks
        return there, wp.where(pair == pairs - 1, 0, pair + 1)

    @wp.func
    def psi_strip(lines: Tile, first: int, rank: int, pair: int, e: int, t: int):
        south, below = south_of(rank, pair)
        north, above = north_of(rank, pair)
        south_lines, north_lines = lines_of(lines, rank, south), lines_of(lines, rank, north)
        line, below, above = first + pair, first + below, first + above
        w = t + west(e, t)
        j = t + here(e)
        o = t + east(e, t)
        at_w, at_j, at_o = get(lines, line, w), get(lines, line, j), get(lines, line, o)
        n_w, n_j = get_of(lines, north_lines, above, w), get_of(lines, north_lines, above, j)
        s_w, s_j = get_of(lines, south_lines, below, w), get_of(lines, south_lines, below, j)
        n_o, s_o = get_of(lines, north_lines, above, o), get_of(lines, south_lines, below, o)
        return Strip(
            n_w[0], n_j[0], n_o[0], at_w[1], at_j[1], at_o[1], at_w[0], at_j[0], at_o[0], s_w[1], s_j[1], s_o[1]
        )

    @wp.func
    def three(fields: Fields, rank: int, there: int, start: int, e: int, t: int):
        where = fields_of(fields, rank, there)
        w = value_of(fields, where, start + t + west(e, t))
        j = value_of(fields, where, start + t + here(e))
        return Three(w, j, value_of(fields, where, start + t + east(e, t)))

    @wp.func
    def own_three(fields: Fields, start: int, e: int, t: int):
        at = start + t
        return Three(value(fields, at + west(e, t)), value(fields, at + here(e)), value(fields, at + east(e, t)))

    @wp.func
    def strip(fields: Fields, start: int, rank: int, pair: int, e: int, t: int):
        south, below = south_of(rank, pair)
        north, above = north_of(rank, pair)
        at = start + 2 * pair * pitch
        n = three(fields, rank, north, start + 2 * above * pitch, e, t)
        k = own_three(fields, at + pitch, e, t)
        i = own_three(fields, at, e, t)
        s = three(fields, rank, south, start + (2 * below + 1) * pitch, e, t)
        return Strip(n[0], n[1], n[2], k[0], k[1], k[2], i[0], i[1], i[2], s[0], s[1], s[2])

    return types.SimpleNamespace(
        rows_to_lines=rows_to_lines,
        solve=solve,
        lines_back=lines_back,
        meet=meet,
        of_line=of_line,
        of_rows=of_rows,
        to_rows=to_rows,
        read=read,
        write=write,
        psi_strip=psi_strip,
        strip=strip,
        put=put,
    )
