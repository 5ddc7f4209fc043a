"""The tuning constants: how kernels are cut up, one table a kernel.

Entries are what was fastest on an H200 (docs/developer/optimisation-log.md). A table is keyed by the longest line that
an entry serves; the last one serves all beyond. Few points leave multiprocessors idle and want small blocks. A
*saturated* device has enough points for all multiprocessors, and wants few halo rows and many threads.
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
    """Blocks that solve the Poisson equation of their rows themselves.

    Args:
        points: slabs that a thread of the kernel in between holds.
        columns: columns of a block of that kernel.
        sweep: whether the backward sweep does so too.
        tangent: whether kernels with a tangent do.
        recompute: whether stages transform the rows of their state anew, and read no spectra.
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
    """Blocks of the backward sweep's last kernel: most rows, occupancy, and whether it begins the next stage too.

    For that it works on two rows more.
    """

    rows: int
    occupancy: int
    fused: bool


class Tangent(NamedTuple):
    """Blocks of kernels that carry a tangent: most rows, occupancy, lines of either at the same time (0 for all),
    and whether rows are copied to shared memory. With few points a block has a multiprocessor's registers for itself.
    """

    rows: int
    occupancy: int
    concurrent: int
    copies_rows: bool


class Streams(NamedTuple):
    """Parts of an ensemble on streams of their own, and the fewest points with which those with a tangent are split."""

    parts: int
    tangent_points: float


class Resident(NamedTuple):
    """Members that stay in shared memory.

    Args:
        blocks: blocks that share a member.
        radix: the largest radix of the transforms of rows.
        occupancy: threads that are to share a multiprocessor.
        members: fewest members. (Up to 132 members a multiprocessor has one block, of as many registers as can be.)
    """

    blocks: int
    radix: int
    occupancy: int
    members: int


class Load(NamedTuple):
    """Entries for few points, and for a saturated device."""

    few: tuple | None
    saturated: tuple | None


SATURATED_POINTS = 2**20  # of a single member; more saturate the device
SATURATED_ENSEMBLE_POINTS = 2**18  # of several members together
STAGE = {
    64: Load(Stage(4, 8, 768, 0), Stage(4, 16, 768, 0)),
    128: Load(Stage(8, 16, 512, 0), Stage(8, 16, 512, 0)),
    256: Load(Stage(4, 4, 512, 0), Stage(8, 8, 1024, 0)),
    512: Load(Stage(8, 8, 512, 0), Stage(8, 8, 1024, 0)),
    1024: Load(Stage(16, 8, 512, 0), Stage(16, 8, 768, 0)),
    2048: Load(Stage(16, 8, 768, 0), Stage(16, 8, 768, 0)),
    4096: Load(Stage(16, 8, 512, 2), Stage(16, 8, 512, 2)),
}
# On a saturated device a block prefetches to the second-level cache what a later one reads: how many blocks start in
# between, as a share of those that run at the same time. Stages that do not copy their rows, or transform them anew, do
# not prefetch.
PREFETCH_DISTANCE = 0.5
STREAMS = {
    512: Streams(2, 2**21),
    1024: Streams(2, math.inf),
    2048: Streams(1, math.inf),
}
UNEVEN = 1.15  # how much more than its share the largest part of an ensemble may have
COLUMNS = {
    64: Load(Columns(8, 8), Columns(8, 8)),
    128: Load(Columns(8, 4), Columns(16, 16)),
    256: Load(Columns(8, 4), Columns(16, 8)),
    512: Load(Columns(8, 4), Columns(32, 8)),
    1024: Load(Columns(16, 8), Columns(32, 8)),
    2048: Load(Columns(32, 8), Columns(32, 8)),
    4096: Load(Columns(32, 4), Columns(32, 4)),
}
SLABS = {  # None: columns are solved by a kernel of their own
    128: Load(None, None),
    256: Load(None, Slabs(8, 8, True, True, False)),
    512: Load(None, Slabs(8, 16, True, True, False)),
    1024: Load(Slabs(4, 8, True, True, False), Slabs(8, 16, False, True, False)),
    2048: Load(Slabs(8, 8, False, True, True), Slabs(8, 8, False, True, True)),
    4096: Load(Slabs(16, 8, False, False, True), Slabs(16, 8, False, False, True)),
}
SOURCE = {
    64: Load(Source(16, 512, True), Source(8, 1024, True)),
    128: Load(Source(8, 512, True), Source(8, 768, True)),
    256: Load(Source(4, 512, True), Source(8, 768, True)),
    512: Load(Source(8, 512, True), Source(8, 768, True)),
    1024: Load(Source(8, 512, True), Source(4, 512, True)),
    2048: Load(Source(4, 512, False), Source(4, 512, False)),
    4096: Load(Source(2, 512, True), Source(2, 512, True)),
}
SWEEP = {
    64: Load(Sweep(16, 512, True), Sweep(8, 768, False)),
    128: Load(Sweep(16, 512, True), Sweep(8, 512, False)),
    256: Load(Sweep(4, 512, True), Sweep(8, 512, False)),
    512: Load(Sweep(4, 512, True), Sweep(8, 768, False)),
    1024: Load(Sweep(8, 512, True), Sweep(4, 512, False)),
    2048: Load(Sweep(4, 512, False), Sweep(4, 512, False)),
    4096: Load(Sweep(2, 256, False), Sweep(2, 256, False)),
}
TANGENT = {
    128: Tangent(16, 512, 0, True),
    256: Tangent(8, 640, 0, True),
    512: Tangent(8, 768, 0, True),
    1024: Tangent(8, 512, 0, True),
    2048: Tangent(8, 256, 2, False),
    4096: Tangent(2, 256, 1, True),
}
# Members of at most so many points a side: the first way that fits, in a rollout, in the backward sweep, and with a
# tangent.
_64 = [Resident(1, 8, 576, 133), Resident(1, 8, 288, 67), Resident(2, 8, 160, 25), Resident(4, 4, 160, 1)]
_128 = [Resident(1, 16, 544, 67), Resident(2, 16, 288, 25), Resident(4, 8, 256, 1)]
RESIDENT = {
    "advance": {64: _64, 128: _128},
    "adjoint": {64: _64, 128: _128},
    "tangent": {64: _64, 128: [Resident(2, 16, 288, 25), Resident(4, 8, 256, 2)]},
    "tangent float64": {64: [Resident(2, 8, 160, 25), Resident(4, 4, 160, 1)]},
}
PAIRS_PER_WALK = {"float32": 16, "float64": 8}  # row pairs that a thread of a resident member takes at a time, at most


def entry(table: dict, n: int):
    """Return the entry of a table for lines of n points."""
    return table[min((longest for longest in table if n <= longest), default=max(table))]
