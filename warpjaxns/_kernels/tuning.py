"""Tuning constants: how kernels are cut into blocks, one table a kernel.

Each entry was the fastest one on an H200 (docs/developer/optimisation-log.md). A table is keyed by the longest line
that an entry serves. The last entry also serves longer lines. Few points leave multiprocessors idle and want small
blocks. A *saturated* device has enough points for all multiprocessors. It wants few halo rows and many threads.
"""

import math
from typing import NamedTuple


class Stage(NamedTuple):
    """Blocks of a Runge-Kutta stage.

    Args:
        radix: the largest radix of the transforms of rows.
        rows: grid rows of a block.
        occupancy: threads that are to share a multiprocessor.
        concurrent: lines that the block transforms at the same time; 0 for all of them, where it also copies its rows
            to shared memory.
    """

    radix: int
    rows: int
    occupancy: int
    concurrent: int


class Columns(NamedTuple):
    """Blocks of the kernel that solves along y: points of a column that a thread holds, and columns of a block."""

    points: int
    columns: int


class Slabs(NamedTuple):
    """Blocks that solve the Poisson equation of their own rows.

    Args:
        points: slabs that a thread of the kernel between two stages holds.
        columns: columns of a block of that kernel.
        sweep: whether the backward sweep works by slabs too.
        tangent: whether kernels with a tangent work by slabs too.
        recompute: whether stages transform the rows of their state anew and read no spectra.
    """

    points: int
    columns: int
    sweep: bool
    tangent: bool
    recompute: bool


class Source(NamedTuple):
    """Blocks of the backward sweep's first kernel: most rows, occupancy, whether rows are copied to shared memory."""

    rows: int
    occupancy: int
    copies_rows: bool


class Sweep(NamedTuple):
    """Blocks of the backward sweep's last kernel: most rows, occupancy, and whether it also begins the next stage.

    A kernel that does so works on two more rows.
    """

    rows: int
    occupancy: int
    fused: bool


class Tangent(NamedTuple):
    """Blocks of kernels that carry a tangent.

    Args:
        rows: most grid rows of a block.
        occupancy: threads that are to share a multiprocessor. On a device that is not saturated a block has all its
            registers.
        concurrent: lines of the state, and of the tangent, that are transformed at the same time; 0 for all.
        copies_rows: whether rows are copied to shared memory.
    """

    rows: int
    occupancy: int
    concurrent: int
    copies_rows: bool


class Streams(NamedTuple):
    """Streams for the parts of an ensemble, and the fewest points of an ensemble with a tangent that is split."""

    parts: int
    tangent_points: float


class Resident(NamedTuple):
    """Members that stay in shared memory.

    Args:
        blocks: blocks that share a member.
        radix: the largest radix of the transforms of rows.
        occupancy: threads that are to share a multiprocessor.
        members: fewest members. With at most 132 members an H200 has a multiprocessor for each block, which may then
            use all its registers.
    """

    blocks: int
    radix: int
    occupancy: int
    members: int


class SpectralRows(NamedTuple):
    """Blocks of the spectral kernels that work on rows.

    Args:
        radix: the largest radix of the transforms.
        rows: grid rows of a block.
        occupancy: threads that are to share a multiprocessor.
    """

    radix: int
    rows: int
    occupancy: int


class SpectralColumns(NamedTuple):
    """Blocks of the spectral kernels that work on columns.

    Args:
        radix: the largest radix of the transforms.
        columns: wavenumbers kx of a block, which has the columns of kx and -kx of each field.
        at_once: columns of each kx that are transformed at the same time.
        occupancy: threads that are to share a multiprocessor.
    """

    radix: int
    columns: int
    at_once: int
    occupancy: int


class SpectralResident(NamedTuple):
    """Spectral members that stay in a block.

    Args:
        radix: the largest radix of the transforms.
        threads: threads of the block.
        columns: columns that are transformed at the same time, each with that of the opposite wavenumber.
        occupancy: threads that are to share a multiprocessor.
        members: fewest members.
    """

    radix: int
    threads: int
    columns: int
    occupancy: int
    members: int


class Entries(NamedTuple):
    """Two entries: for few points, and for a saturated device."""

    few: tuple | None
    saturated: tuple | None


SATURATED_POINTS = 2**20  # of a single member; more points saturate the device
SATURATED_ENSEMBLE_POINTS = 2**18  # of several members together
APART_POINTS = 2**16  # of all members; up to here, products at the same points have blocks of their own
STAGE = {
    64: Entries(Stage(4, 8, 768, 0), Stage(4, 16, 768, 0)),
    128: Entries(Stage(8, 16, 512, 0), Stage(8, 16, 512, 0)),
    256: Entries(Stage(4, 4, 512, 0), Stage(8, 8, 1024, 0)),
    384: Entries(Stage(4, 4, 512, 0), Stage(8, 8, 1024, 0)),
    512: Entries(Stage(8, 8, 512, 0), Stage(8, 8, 1024, 0)),
    768: Entries(Stage(8, 8, 512, 0), Stage(16, 8, 768, 0)),
    1024: Entries(Stage(16, 8, 512, 0), Stage(16, 8, 768, 0)),
    1536: Entries(Stage(16, 8, 768, 0), Stage(16, 12, 768, 0)),
    2048: Entries(Stage(16, 8, 768, 0), Stage(16, 8, 768, 0)),
    4096: Entries(Stage(16, 8, 512, 2), Stage(16, 8, 512, 2)),
}
# On a saturated device a block prefetches what a later block reads. The distance between the two is a share of the
# blocks that run at the same time. Stages that do not copy their rows, or that transform them anew, do not prefetch.
PREFETCH_DISTANCE = 0.5
STREAMS = {
    512: Streams(2, 2**21),
    1024: Streams(2, math.inf),
    2048: Streams(1, math.inf),
}
UNEVEN = 1.15  # how much more than its share the largest part of an ensemble may have
COLUMNS = {
    64: Entries(Columns(8, 8), Columns(8, 8)),
    128: Entries(Columns(8, 4), Columns(16, 16)),
    256: Entries(Columns(8, 4), Columns(16, 8)),
    512: Entries(Columns(8, 4), Columns(32, 8)),
    768: Entries(Columns(8, 4), Columns(32, 8)),
    1024: Entries(Columns(16, 8), Columns(32, 8)),
    2048: Entries(Columns(32, 8), Columns(32, 8)),
    4096: Entries(Columns(32, 4), Columns(32, 4)),
}
SLABS = {  # None: columns are solved by a kernel of their own
    128: Entries(None, None),
    256: Entries(None, Slabs(8, 8, True, True, False)),
    512: Entries(None, Slabs(8, 16, True, True, False)),
    768: Entries(Slabs(4, 8, True, True, False), Slabs(8, 16, False, True, False)),
    1024: Entries(Slabs(4, 8, True, True, False), Slabs(8, 16, False, True, False)),
    2048: Entries(Slabs(8, 8, False, True, True), Slabs(8, 8, False, True, True)),
    4096: Entries(Slabs(16, 8, False, False, True), Slabs(16, 8, False, False, True)),
}
LONGEST_ROW = 4096  # points; on a saturated device psi of longer ones goes through memory, also where it fits a block
LONGEST_COLUMN = 4096  # points; longer ones are solved in parts
ROWS_OF_PART = 32  # the most, in float32
FEW_SLABS = Slabs(8, 8, True, True, True)  # where a grid of so few columns is divided over devices
SOURCE = {
    64: Entries(Source(16, 512, True), Source(8, 1024, True)),
    128: Entries(Source(8, 512, True), Source(8, 768, True)),
    256: Entries(Source(4, 512, True), Source(8, 768, True)),
    512: Entries(Source(8, 512, True), Source(8, 768, True)),
    1024: Entries(Source(8, 512, True), Source(4, 512, True)),
    2048: Entries(Source(4, 512, False), Source(4, 512, False)),
    4096: Entries(Source(2, 512, True), Source(2, 512, True)),
}
SWEEP = {
    64: Entries(Sweep(16, 512, True), Sweep(8, 768, False)),
    128: Entries(Sweep(16, 512, True), Sweep(8, 512, False)),
    256: Entries(Sweep(4, 512, True), Sweep(8, 512, False)),
    512: Entries(Sweep(4, 512, True), Sweep(8, 768, False)),
    1024: Entries(Sweep(8, 512, True), Sweep(4, 512, False)),
    2048: Entries(Sweep(4, 512, False), Sweep(4, 512, False)),
    4096: Entries(Sweep(2, 256, False), Sweep(2, 256, False)),
}
TANGENT = {
    128: Tangent(16, 512, 0, True),
    256: Tangent(8, 640, 0, True),
    512: Tangent(8, 768, 0, True),
    1024: Tangent(8, 512, 0, True),
    2048: Tangent(8, 256, 2, False),
    4096: Tangent(2, 256, 1, True),
}
# Keyed by the most points a side, for a rollout, for the backward sweep, and with a tangent. The first entry that fits
# is taken.
_64 = [Resident(1, 8, 576, 133), Resident(1, 8, 288, 67), Resident(2, 8, 160, 25), Resident(4, 4, 160, 1)]
_80 = [Resident(1, 8, 544, 67), Resident(2, 8, 288, 25), Resident(4, 8, 256, 1)]
_128 = [Resident(1, 16, 544, 67), Resident(2, 16, 288, 25), Resident(4, 8, 256, 1)]
_96 = [*_128[:2], Resident(6, 8, 256, 1), _128[2]]
RESIDENT = {
    "advance": {64: _64, 80: _80, 96: _96, 128: _128},
    "adjoint": {64: _64, 80: _80, 128: _128},
    "tangent": {64: _64, 80: _80[1:], 128: [Resident(2, 16, 288, 25), Resident(4, 8, 256, 2)]},
    "tangent float64": {64: [Resident(2, 8, 160, 25), Resident(4, 4, 160, 1)]},
}
PAIRS_PER_WALK = {"float32": 16, "float64": 8}  # most row pairs that a thread of a resident member walks through


SPECTRAL_ROWS = {
    64: Entries(SpectralRows(8, 8, 512), SpectralRows(8, 8, 512)),
    128: Entries(SpectralRows(8, 4, 512), SpectralRows(16, 8, 512)),
    256: Entries(SpectralRows(8, 2, 512), SpectralRows(16, 4, 512)),
    512: Entries(SpectralRows(8, 1, 512), SpectralRows(8, 1, 1024)),
    1024: Entries(SpectralRows(16, 1, 512), SpectralRows(16, 1, 512)),
}
# for a state alone, for a state and its tangent, and for the backward sweep
SPECTRAL_COLUMNS = {
    64: Entries(SpectralColumns(8, 4, 2, 512), SpectralColumns(8, 8, 1, 256)),
    128: Entries(SpectralColumns(8, 2, 2, 512), SpectralColumns(16, 8, 2, 256)),
    256: Entries(SpectralColumns(8, 2, 2, 512), SpectralColumns(16, 8, 1, 256)),
    512: Entries(SpectralColumns(8, 2, 2, 512), SpectralColumns(8, 4, 2, 1024)),
    1024: Entries(SpectralColumns(16, 4, 2, 512), SpectralColumns(16, 4, 1, 512)),
    2048: Entries(SpectralColumns(16, 4, 1, 512), SpectralColumns(16, 4, 1, 512)),
    4096: Entries(SpectralColumns(16, 2, 1, 512), SpectralColumns(16, 2, 1, 512)),
}
SPECTRAL_TANGENT = {
    64: Entries(SpectralColumns(8, 4, 4, 512), SpectralColumns(8, 8, 4, 1024)),
    128: Entries(SpectralColumns(8, 2, 4, 512), SpectralColumns(16, 8, 2, 512)),
    256: Entries(SpectralColumns(16, 2, 4, 512), SpectralColumns(16, 8, 2, 512)),
    512: Entries(SpectralColumns(8, 2, 4, 1024), SpectralColumns(8, 4, 1, 512)),
    1024: Entries(SpectralColumns(16, 4, 4, 1024), SpectralColumns(16, 4, 2, 512)),
    2048: Entries(SpectralColumns(16, 2, 2, 512), SpectralColumns(16, 2, 2, 512)),
    4096: Entries(SpectralColumns(16, 1, 2, 512), SpectralColumns(16, 1, 2, 512)),
}
SPECTRAL_SWEEP = {
    64: Entries(SpectralColumns(8, 8, 4, 512), SpectralColumns(8, 8, 4, 512)),
    128: Entries(SpectralColumns(8, 2, 4, 512), SpectralColumns(16, 8, 4, 1024)),
    256: Entries(SpectralColumns(8, 2, 4, 512), SpectralColumns(8, 8, 2, 1024)),
    512: Entries(SpectralColumns(8, 2, 4, 1024), SpectralColumns(8, 4, 2, 1024)),
    1024: Entries(SpectralColumns(16, 4, 4, 1024), SpectralColumns(16, 4, 4, 1024)),
    2048: Entries(SpectralColumns(16, 2, 4, 1024), SpectralColumns(16, 2, 4, 1024)),
    4096: Entries(SpectralColumns(16, 1, 4, 1024), SpectralColumns(16, 1, 4, 1024)),
}
# Keyed by the most points a side. The first entry that fits is taken.
SPECTRAL_RESIDENT = {
    64: [SpectralResident(8, 512, 32, 1024, 133), SpectralResident(8, 512, 32, 512, 1)],
    128: [SpectralResident(16, 512, 22, 512, 133)],
}


def entry(table: dict, n: int):
    """Return the entry of a table for lines of n points."""
    return table[min((longest for longest in table if n <= longest), default=max(table))]
