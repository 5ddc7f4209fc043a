"""Layout of a resident member: how blocks hold it in shared memory, each or several together.

Line p of a member has rows 2p and 2p + 1 as its real and imaginary parts: first their spectra, then their
streamfunction.

Where several blocks share a member (`clusters`), each has as many row pairs as the others. Of a field, and of what has
lines, it also holds the row before its own and the one after them, where its neighbours put them: in rows first and
last, in lines as the imaginary and the real part of a line after all others.
"""

import dataclasses
import functools
import math

import warp as wp

from ... import tuning
from ...fft.lines import Lines
from ...hardware.clusters import Mbarrier
from ...hardware.limits import LARGEST_BLOCK, SHARED_MEMORY, WARP
from ...hardware.numbers import REALS
from ..columns import Columns

MOST_VALUES = 24  # complex numbers that a thread holds, of a line or a column


@dataclasses.dataclass(frozen=True)
class Resident:
    """How blocks hold a member.

    Args:
        shape: of the grid; an even number of rows.
        dtype: "float32" or "float64".
        radix: the largest radix of the transforms of rows.
        occupancy: threads that are to share a multiprocessor.
        fields: fields that are transformed: 1, or 2 with a tangent.
        beside: room for fields that are only read.
        blocks: how many share a member; a divisor of its row pairs.
        in_lines: whether values stay in lines, of which there are two sets then, and not in rows of their own.
        start: whether the start of a step stays in rows too, and not in memory.
        serial: for the CPU, where a block has one thread.
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

    def on(self, cpu: bool) -> "Resident":
        """The same for kernels that run there."""
        return dataclasses.replace(self, serial=True, blocks=1) if cpu else self

    @property
    def real(self) -> type:
        """Warp's float type."""
        return REALS[self.dtype]

    @property
    def with_tangent(self) -> "Resident":
        return dataclasses.replace(self, fields=2)

    def with_stage(self, at_once: bool) -> "Resident":
        """For the backward sweep, which reads the input of a stage and its streamfunction, at once or in turn."""
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
        """Rows of a neighbour that a block holds on either side of its own, where blocks share a member."""
        return int(self.blocks > 1)

    @property
    def stride(self) -> int:
        """Lines of a field."""
        return self.pairs + self.halo

    @functools.cached_property
    def lines(self) -> Lines:
        """Where a block has a member to itself, they lie in bundles, which are what a thread has of a column, such that
        threads of a warp do not meet in a memory bank. (In a cluster half as many would, and arithmetic costs more.)"""
        if self.serial or self.halo:
            return self.dense_lines
        return dataclasses.replace(self.dense_lines, bundle=self.columns.values // 2, skew=self.columns.count)

    @functools.cached_property
    def dense_lines(self) -> Lines:
        """All at the same time, or as many as fit a block and can go ahead without each other."""
        count = (1 + self.in_lines) * self.fields * self.stride
        lines = Lines(self.shape[1], count, 1 if self.serial else self.pairs, self.real, self.radix, self.serial)
        while lines.groups > 1 and not (lines.alone and lines.block_dim <= LARGEST_BLOCK):
            lines = dataclasses.replace(lines, groups=lines.groups // 2)
        return lines

    @property
    def line_warps(self) -> int:
        """As many as transforms need."""
        return -(-self.dense_lines.block_dim // WARP)

    @property
    def spare(self) -> int:
        """Warps that transform rows, and one more, which a block can have where all lines are transformed at the same
        time."""
        return self.line_warps + (self.dense_lines.groups == self.pairs)

    @functools.cached_property
    def columns(self) -> Columns:
        """Columns that a warp solves at a time, or what a block has of them. A thread holds lines of two points each,
        no more than 16 points of a long column, and fewer where there are warps for more turns."""
        rows = 2 * self.pairs
        if self.serial:
            return Columns(rows, 1, rows, self.real, serial=True)
        least = max(0 if self.halo else 3, (rows - 1).bit_length() - 4)
        threads = math.gcd(self.pairs, 2**least, WARP)
        while 2 * threads <= WARP and self.pairs % (2 * threads) == 0 and self.turns(2 * threads) <= self.spare:
            threads *= 2
        return Columns(rows, WARP // threads, rows // threads, self.real, room=self.room)

    def turns(self, threads: int) -> int:
        """Turns of a warp that all columns of a field take, where so many threads share a column. The mean over x takes
        one of its own."""
        return -(-(self.shape[1] // 2) * threads // WARP) + 1

    @property
    def parts(self) -> int:
        """Turns of a warp that all columns of a field take, the mean last."""
        return self.turns(self.columns.threads)

    @property
    def means(self) -> Columns:
        """The mean over x, which a warp of every block solves."""
        ny = self.shape[0]
        return Columns(ny, 1, ny // math.gcd(ny, WARP), self.real, room=self.room)

    @property
    def sums(self) -> int:
        """Numbers by which blocks know each other's rows of a field: two complex ones of each, and the mean over x."""
        return 2 * 2 * self.blocks * (self.shape[1] // 2 + 1) + self.shape[0]

    @property
    def room(self) -> int:
        """Numbers of the tile for that, which is never empty."""
        return max(self.halo * self.sets * self.fields * self.sums, 4 * WARP)

    @property
    def sets(self) -> int:
        """Of sums: those of even and of odd turns, where a block has others than its two neighbours. From a neighbour
        the next ones come after rows that it only sends when it has read the last ones."""
        return 2 if self.blocks > 3 else 1

    @property
    def mbarriers(self) -> int:
        """What blocks wait at for each other's numbers: a gate for the sums of each turn of columns, and one for rows,
        each twice (`clusters`); one, if never used, where a block is alone."""
        return 2 * (self.fields * self.parts + 1) if self.halo else 1

    @property
    def warps(self) -> int:
        """As many as transforms need, and one more where a single turn of columns would be left over. In a cluster each
        turn has a warp of its own, since columns stay in registers while blocks wait for each other."""
        if self.halo:
            return max(self.line_warps, self.parts)
        return self.line_warps + (self.line_warps < self.parts == self.spare)

    @property
    def block_dim(self) -> int:
        return 1 if self.serial else WARP * self.warps

    @property
    def pairs_per_walk(self) -> int:
        """Row pairs that a thread walks up along a column, so that all columns take all threads."""
        shares = [d for d in range(1, self.pairs + 1) if self.pairs % d == 0]
        least = max(d for d in shares if d == 1 or d * self.shape[1] <= self.block_dim)
        most = tuning.PAIRS_PER_WALK[self.dtype]
        return next(self.pairs // d for d in shares if d >= least and self.pairs // d <= most)

    @property
    def walks(self) -> int:
        """How many such walks a block takes; walk w is up column ``w % nx``."""
        return self.pairs // self.pairs_per_walk * self.shape[1]

    @property
    def wanted(self) -> int:
        """Blocks that are to share a multiprocessor."""
        return max(1, self.occupancy // self.block_dim)

    @property
    def bounds(self) -> tuple[int, int]:
        """Threads of a block, and the fewest blocks of which a multiprocessor has to have registers for: no more than
        it has shared memory for."""
        return self.block_dim, max(1, min(self.wanted, SHARED_MEMORY // self.nbytes))

    @property
    def field_size(self) -> int:
        """Numbers of a block's rows of a field."""
        return 2 * self.stride * self.lines.row_pitch

    @property
    def size(self) -> int:
        """Numbers of all fields in rows: those transformed twice, as new values are written while neighbours need old
        ones."""
        return (self.beside if self.in_lines else (2 + self.start) * self.fields) * self.field_size

    @property
    def nbytes(self) -> int:
        """Shared memory of a block."""
        numbers = self.size * wp.types.type_size_in_bytes(self.real)
        return (
            self.lines.nbytes + self.columns.nbytes + numbers + wp.types.type_size_in_bytes(Mbarrier) * self.mbarriers
        )

    def fits(self, shared_memory: int) -> bool:
        """Whether blocks of that much shared memory can hold a member."""
        if self.shape[0] % (2 * self.blocks):
            return False  # row pairs do not go round
        if max(self.columns.values, self.means.values) > MOST_VALUES:
            return False
        if self.lines.groups < self.pairs and self.lines.block_dim % WARP:
            return False  # threads that are left over would be taken for those of one more line
        if (self.start or self.fields > 1) and self.nbytes * self.wanted > shared_memory:
            return False  # blocks that are to share a multiprocessor could not
        return self.nbytes <= shared_memory and self.block_dim <= LARGEST_BLOCK and self.lines.alone
