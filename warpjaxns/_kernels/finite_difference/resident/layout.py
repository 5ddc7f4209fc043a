"""Layout of a resident member: its rows, lines and columns in the shared memory of one or several blocks.

Line p of a member has rows 2p and 2p + 1 as its real and imaginary parts. It holds their spectra first, and then their
streamfunction.

Several blocks may share a member (`clusters`), with the same number of row pairs each. Of each field a block then also
holds the row before its own and the row after them, which its neighbours store there. Among rows these come first and
last. Among lines they are the imaginary and the real part of one more line at the end.
"""

import dataclasses
import functools
import math

import warp as wp

from ... import tuning
from ...fft.lines import MOST_VALUES, Lines
from ...hardware.clusters import Mbarrier
from ...hardware.limits import LARGEST_BLOCK, SHARED_MEMORY, WARP
from ...hardware.numbers import REALS
from ..columns import Columns


@dataclasses.dataclass(frozen=True)
class Resident:
    """A member in the shared memory of its blocks.

    Args:
        shape: of the grid; an even number of rows.
        dtype: "float32" or "float64".
        radix: the largest radix of the transforms of rows.
        occupancy: threads that are to share a multiprocessor.
        fields: fields that are transformed: 1, or 2 with a tangent.
        beside: room for fields that are only read.
        blocks: blocks that share a member; a divisor of its row pairs.
        in_lines: whether values stay in two sets of lines, and not in rows.
        start: whether the start of a step also stays in rows, and not in device memory.
        serial: for the CPU, where a block has one thread.
        terms: coefficients of further linear terms, as in `Plan`.
        medium: whether there are obstacles or topography. Their fields are read from device memory.
    """

    shape: tuple[int, int]
    dtype: str
    radix: int
    occupancy: int
    fields: int = 1
    beside: int = 0
    blocks: int = 1
    in_lines: bool = False
    start: bool = False
    serial: bool = False
    terms: int = 0
    medium: bool = False

    def on(self, cpu: bool) -> "Resident":
        """Return the layout for the CPU where `cpu`, else this layout."""
        return dataclasses.replace(self, serial=True, blocks=1) if cpu else self

    @property
    def real(self) -> type:
        """Warp's float type."""
        return REALS[self.dtype]

    @property
    def with_tangent(self) -> "Resident":
        return dataclasses.replace(self, fields=2)

    def with_stage(self, at_once: bool) -> "Resident":
        """Return the layout of the backward sweep, which reads a stage's input and streamfunction.

        `at_once`: whether there is room for both at the same time.
        """
        return dataclasses.replace(self, beside=2 if at_once else 1, in_lines=True)

    @property
    def with_start(self) -> "Resident":
        return dataclasses.replace(self, start=True)

    @property
    def pairs(self) -> int:
        """Row pairs of a block."""
        return self.shape[0] // 2 // self.blocks

    @property
    def halo(self) -> int:
        """Rows of a neighbour on either side of a block's own, if blocks share a member."""
        return int(self.blocks > 1)

    @property
    def stride(self) -> int:
        """Lines of a field."""
        return self.pairs + self.halo

    @functools.cached_property
    def lines(self) -> Lines:
        """Lines in the buffer. A block that has a member to itself keeps them in bundles, one a chunk of a column.

        The skew keeps threads of a warp off the same memory bank. In a cluster only half as many threads would meet
        there, and the arithmetic costs more than it saves.
        """
        if self.serial or self.halo:
            return self.dense_lines
        return dataclasses.replace(self.dense_lines, bundle=self.columns.values // 2, skew=self.columns.count)

    @functools.cached_property
    def dense_lines(self) -> Lines:
        """Lines without bundles. As many go at the same time as fit a block and need not wait for other lines."""
        count = (1 + self.in_lines) * self.fields * self.stride
        groups = 1 if self.serial else self.pairs
        lines = Lines(self.shape[1], count, groups, self.real, self.radix, self.serial, narrow=True)
        while lines.groups > 1 and not (lines.alone and lines.block_dim <= LARGEST_BLOCK):
            lines = dataclasses.replace(lines, groups=lines.groups // 2)
        return lines

    @property
    def line_warps(self) -> int:
        """Warps that transforms need."""
        return -(-self.dense_lines.block_dim // WARP)

    @property
    def spare(self) -> int:
        """Most warps of a block: those that transforms need, and one more if all lines go at the same time."""
        return self.line_warps + (self.dense_lines.groups == self.pairs)

    @functools.cached_property
    def columns(self) -> Columns:
        """Columns that a warp solves at a time, or the block's part of them.

        A thread holds the two points of each of its lines, and at most 16 points of a long column. It holds fewer where
        there are warps for more rounds.
        """
        rows = 2 * self.pairs
        if self.serial:
            return Columns(rows, 1, rows, self.real, serial=True)
        least = max(0 if self.halo else 3, (rows - 1).bit_length() - 4)
        threads = math.gcd(self.pairs, 2**least, WARP)
        while 2 * threads <= WARP and self.pairs % (2 * threads) == 0 and self.rounds(2 * threads) <= self.spare:
            threads *= 2
        return Columns(rows, WARP // threads, rows // threads, self.real, room=self.room)

    def rounds(self, threads: int) -> int:
        """Return the rounds of a warp for all columns of a field, given the threads of a column.

        The mean over x takes one round.
        """
        return -(-(self.shape[1] // 2) * threads // WARP) + 1

    @property
    def parts(self) -> int:
        """Rounds of a warp for all columns of a field, the mean last."""
        return self.rounds(self.columns.threads)

    @property
    def means(self) -> Columns:
        """Layout of the mean over x, which a warp of every block solves."""
        ny = self.shape[0]
        return Columns(ny, 1, ny // math.gcd(ny, WARP), self.real, room=self.room)

    @property
    def sums(self) -> int:
        """Numbers that blocks exchange for a field: two complex ones a block and wavenumber, and the mean over x."""
        return 2 * 2 * self.blocks * (self.shape[1] // 2 + 1) + self.shape[0]

    @property
    def room(self) -> int:
        """Numbers of the tile for these sums, which is never empty."""
        return max(self.halo * self.sets * self.fields * self.sums, 4 * WARP)

    @property
    def sets(self) -> int:
        """Sets of sums: two, for even and odd turns, where some blocks are not neighbours.

        A neighbour cannot store sums of the next turn too early: they come after its rows, which it sends only when it
        has read the sums of this turn.
        """
        return 2 if self.blocks > 3 else 1

    @property
    def mbarriers(self) -> int:
        """Mbarriers: one for the sums of each round of columns and one for rows, each twice (`clusters`).

        A block that has a member to itself has one, which it never uses.
        """
        return 2 * (self.fields * self.parts + 1) if self.halo else 1

    @property
    def warps(self) -> int:
        """Warps of a block: those that transforms need, and one more where it saves a round of columns.

        In a cluster each round of columns has a warp of its own, since columns stay in registers while blocks wait.
        There are threads for two walks up each column, too. (Powers of two have as many as were measured.)
        """
        if self.halo:
            nx = self.shape[1]
            return max(self.line_warps, self.parts, math.ceil(2 * nx / WARP) if nx & (nx - 1) else 0)
        return self.line_warps + (self.line_warps < self.parts == self.spare)

    @property
    def block_dim(self) -> int:
        return 1 if self.serial else WARP * self.warps

    @property
    def pairs_per_walk(self) -> int:
        """Row pairs that a thread takes on its way up a column, such that all threads have work."""
        shares = [d for d in range(1, self.pairs + 1) if self.pairs % d == 0]
        least = max(d for d in shares if d == 1 or d * self.shape[1] <= self.block_dim)
        most = tuning.PAIRS_PER_WALK[self.dtype]
        return next(self.pairs // d for d in shares if d >= least and self.pairs // d <= most)

    @property
    def walks(self) -> int:
        """Walks of a block. Walk w goes up column ``w % nx``."""
        return self.pairs // self.pairs_per_walk * self.shape[1]

    @property
    def wanted(self) -> int:
        """Blocks that are to share a multiprocessor."""
        return max(1, self.occupancy // self.block_dim)

    @property
    def bounds(self) -> tuple[int, int]:
        """Threads of a block, and the fewest blocks for which a multiprocessor must have registers.

        The latter are no more than its shared memory holds.
        """
        return self.block_dim, max(1, min(self.wanted, SHARED_MEMORY // self.nbytes))

    @property
    def field_size(self) -> int:
        """Numbers of a block's rows of a field."""
        return 2 * self.stride * self.lines.row_pitch

    @property
    def size(self) -> int:
        """Numbers of all fields in rows. Each has old and new values, since neighbours of a new value need old ones."""
        return (self.beside if self.in_lines else (2 + self.start) * self.fields) * self.field_size

    @property
    def nbytes(self) -> int:
        """Shared memory of a block."""
        numbers = self.size * wp.types.type_size_in_bytes(self.real)
        return (
            self.lines.nbytes + self.columns.nbytes + numbers + wp.types.type_size_in_bytes(Mbarrier) * self.mbarriers
        )

    def fits(self, shared_memory: int) -> bool:
        """Return whether blocks of so much shared memory can hold a member."""
        if self.shape[0] % (2 * self.blocks):
            return False  # blocks would not have the same number of row pairs
        if max(self.columns.values, self.means.values) > MOST_VALUES:
            return False
        if self.lines.groups < self.pairs and self.lines.block_dim % WARP:
            return False  # threads left over would take part as those of one more line
        if (self.start or self.fields > 1) and self.nbytes * self.wanted > shared_memory:
            return False  # blocks that are to share a multiprocessor could not
        return self.nbytes <= shared_memory and self.block_dim <= LARGEST_BLOCK and self.lines.alone
