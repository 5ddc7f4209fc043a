"""Sizes of blocks, and of what goes between them, that follow from a plan (`plan`)."""

import dataclasses
import functools
from typing import Self

import warp as wp

from .. import tuning
from ..fft.lines import Lines
from ..hardware.limits import LARGEST_BLOCK, SHARED_MEMORY
from ..hardware.numbers import REALS, complex_type
from ..hardware.streams import Streams
from .columns import Columns
from .further import has_hypodrag, is_screened
from .resident.layout import Resident
from .shares import points_of_thread

MOST_COLUMNS = 8  # columns to which the pitch of a spectrum is rounded up
POINTS = 4  # of a row, about, that a thread has where psi goes through memory


@dataclasses.dataclass(frozen=True)
class Sizes:
    """A grid shape and float type ("float32" or "float64") for which kernels are compiled, and how work is cut up.

    A *slab* is the rows of one block, with a *halo* of rows on either side that belong to others.

    Args:
        rows: grid rows of a slab; even, since two real rows make one complex line.
        radix: the largest radix of the transforms of rows, and about the number of values that a thread holds.
        columns: spectrum columns of a block of the kernel that solves along y.
        chunk: the most points of a column, or slabs, that a thread of it holds.
        occupancy: threads that are to share a multiprocessor; more have fewer registers each.
        concurrent: lines that a stage transforms at the same time, a divisor of rows/2; 0 for all lines of a block.
            With a tangent: of either field.
        copies_rows: whether a block copies the rows it works on to shared memory before it needs them.
        by_slabs: whether a block solves the Poisson equation of its own rows.
        recompute: whether such a block transforms the rows of a state anew, so that their spectra never go to memory.
        fused: whether a stage of the backward sweep also begins the next one.
        saturated: whether there are enough points to fill the device.
        fields: fields that a stage carries: 1, or 2 with a tangent.
        edges: rows at the end of a field that no block has: those around the slab of a device (`divided`).
        through_memory: whether psi goes through memory, since no block holds two lines of it. A line then has one row.
        resident: how blocks keep a member in shared memory through all its steps; None where they do not.
        resident_adjoint: the same for the backward sweep.
        resident_tangent: the same with a tangent.
        shared_memory: bytes that a block may use.
        serial: for the CPU, where a block has one thread.
        terms: coefficients of further linear terms: 0 for none, 4, or 3 with a deformation radius (`further`).
        medium: whether there are obstacles or topography (`medium`).
    """

    shape: tuple[int, int]
    dtype: str
    rows: int
    radix: int = 16
    columns: int = 8
    chunk: int = 16
    occupancy: int = 512
    concurrent: int = 0
    copies_rows: bool = True
    by_slabs: bool = False
    recompute: bool = False
    fused: bool = False
    saturated: bool = False
    fields: int = 1
    edges: int = 0
    through_memory: bool = False
    resident: Resident | None = None
    resident_adjoint: Resident | None = None
    resident_tangent: Resident | None = None
    shared_memory: int = SHARED_MEMORY
    serial: bool = False
    terms: int = 0
    medium: bool = False

    @property
    def screened(self) -> bool:
        """True with a deformation radius. Modes of columns then differ from member to member."""
        return is_screened(self.terms)

    @property
    def centres(self) -> bool:
        """True where a term depends on the mean of the streamfunction."""
        return has_hypodrag(self.terms)

    # ------------------------------------------------------------------------------------------ sizes

    @property
    def real(self):
        """Warp's float type."""
        return REALS[self.dtype]

    @property
    def half(self) -> int:
        """Wavenumbers kept of a real row."""
        return self.shape[1] // 2 + 1

    @property
    def pitch(self) -> int:
        """Numbers from one row of a spectrum to the next: full sectors of memory, and full blocks of columns."""
        full = max(MOST_COLUMNS, self.columns)
        return -(-self.half // full) * full

    @property
    def rows_of_line(self) -> int:
        """Rows of a line."""
        return 1 if self.through_memory else 2

    @property
    def pairs(self) -> int:
        """Lines of a slab: its row pairs, or through memory its rows."""
        return self.rows // self.rows_of_line

    @property
    def slabs(self) -> int:
        """Slabs of a member."""
        return -(-self.own_rows // self.rows)

    @property
    def halo(self) -> int:
        """Rows on either side of a slab that its block also works on."""
        return 1 + self.fused

    @property
    def row_pitch(self) -> int:
        """Numbers from one row of a slab in shared memory to the next."""
        return self.row_lines(1, 1).row_pitch

    @property
    def slab_size(self) -> int:
        """Numbers of a slab in shared memory, with its halo."""
        return (self.rows + 2 * self.halo) * self.row_pitch if self.copies_rows else 1

    @property
    def slab_bytes(self) -> int:
        """Bytes of a slab in shared memory."""
        return self.slab_size * wp.types.type_size_in_bytes(self.real)

    @property
    def stage_bytes(self) -> int:
        """Bytes of shared memory of a block of a stage."""
        return self.stage_lines.nbytes + self.fields * self.slab_bytes

    @property
    def sweep_bytes(self) -> int:
        """Bytes of shared memory of a block of the sweep: cotangent, streamfunction, and the state if fused."""
        state = dataclasses.replace(self, fused=False).slab_bytes if self.fused else 0
        return self.sweep_lines.nbytes + 2 * self.slab_bytes + state

    # ------------------------------------------------------------------------------------------ threads

    def row_lines(self, count: int, groups: int) -> Lines:
        """Return the layout of `count` lines of rows, of which `groups` are transformed at the same time."""
        groups = 1 if self.serial else groups
        keep = not (self.saturated or self.serial)  # a saturated device wants registers, another one no waiting
        n, one_row = self.shape[1] * self.rows_of_line // 2, self.through_memory
        return Lines(n, count, groups, self.real, self.radix, self.serial, keep, one_row=one_row)

    @functools.cached_property
    def stage_lines(self) -> Lines:
        """Lines of psi in a slab and one row on either side, two rows a line. Those of a tangent follow.

        Through memory psi is not in lines. They are those of the slab.
        """
        if self.through_memory:
            return self.slab_lines
        count = self.pairs + 1
        lines = self.row_lines(self.fields * count, self.concurrent or count)
        fits = self.fields == 1 or lines.block_dim <= LARGEST_BLOCK
        return lines if fits else self.row_lines(self.fields * count, 1)

    @functools.cached_property
    def slab_lines(self) -> Lines:
        """Lines of the rows of a slab, two rows a line."""
        groups = self.concurrent if self.edges else 0
        return self.row_lines(self.pairs, groups or self.pairs)

    @property
    def own_rows(self) -> int:
        """Rows of a field that blocks have."""
        return self.shape[0] - self.edges

    @property
    def point_lines(self) -> Lines:
        """Threads of two rows, where psi goes through memory; a block has a part of them (`points`)."""
        return Lines(self.shape[1], 1, 1, self.real, POINTS, self.serial)

    @property
    def sweep_lines(self) -> Lines:
        """Lines of a slab in the sweep. A fused one has the cotangent of one more row on either side."""
        return self.stage_lines if self.fused else self.slab_lines

    @property
    def in_parts(self) -> bool:
        """True where full columns are solved in parts (`parts`)."""
        return not self.by_slabs and self.shape[0] > tuning.LONGEST_COLUMN

    @property
    def of_parts(self) -> Self:
        """The plan in which the slabs are parts of columns: as many rows as a thread holds numbers of a column."""
        most = tuning.ROWS_OF_PART // (1 + (self.dtype == "float64"))
        rows = max(n for n in range(1, most + 1) if self.shape[0] % n == 0)
        return dataclasses.replace(self, rows=rows, by_slabs=True, through_memory=False, fields=1)

    @functools.cached_property
    def column_chunks(self) -> Columns:
        """Layout of the kernel that solves along y: full columns, or the sums of slabs or of parts."""
        n = self.of_parts.slabs if self.in_parts else self.slabs if self.by_slabs else self.shape[0]
        chunk = points_of_thread(n, self.chunk, self.columns)
        return Columns(n, self.columns, chunk, self.real, self.serial)

    @property
    def column_blocks(self) -> int:
        """Blocks of the kernel that solves along y, for each member."""
        return -(-self.half // self.columns)

    @property
    def row_threads(self) -> int:
        """Threads of the largest block that works on rows."""
        return max(self.stage_lines.block_dim, self.slab_lines.block_dim)

    @property
    def slab_bounds(self) -> tuple[int, int]:
        """The `bounds` of kernels that only transform the rows of slabs."""
        return self.bounds(self.slab_lines, *[self.occupancy] * self.through_memory)

    @staticmethod
    def bounds(lines: Lines | Columns, occupancy: int = 512) -> tuple[int, int]:
        """Return the threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, occupancy // lines.counted_threads)

    # ------------------------------------------------------------------------------------------ scratch

    def scratch(self, batch: int, sides: int = 2) -> list[tuple[int, ...]]:
        """Return the shapes of the complex arrays in which spectra go from kernel to kernel.

        `sides` is their number without slabs: two where a kernel writes to one while other blocks read the other one. A
        slab reads only its own spectra, so one array is enough, and one for the sums. With `recompute` only the sums
        are left. Columns that are solved in parts have sums too. Through memory no kernel reads spectra and writes
        others.
        """
        rows = self.shape[0], 2 * (self.of_parts if self.in_parts else self).slabs
        spectrum, sums = ((self.fields, batch, n, self.pitch) for n in rows)
        if self.by_slabs:
            return [sums] if self.recompute else [sums, spectrum]
        return [sums] * self.in_parts + [spectrum] * (1 if self.through_memory else sides)

    def typed_scratch(self, streams: Streams, **how) -> list[tuple[type, tuple[int, ...]]]:
        """Return Warp types and shapes of `scratch`, for all streams."""
        return [(complex_type(self.real), shape) for shape in streams.scratch(self.scratch(streams.members, **how))]
