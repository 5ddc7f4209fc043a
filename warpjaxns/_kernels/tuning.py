"""The tuning constants, all of them."""

import math

# What was fastest on an H200 (docs/performance.md), by the longest line an entry is for; the last entry is for all
# beyond. Few points leave multiprocessors idle and want small blocks; many want few halo rows, and many threads.
FEW_POINTS = 2**18, 2**20  # of all members, of a single one
# (radix, rows of a block, threads that are to share a multiprocessor, lines that the block transforms at the same time;
# 0 for all of them, where it also copies its rows to shared memory), with few points and with many
STAGE = {
    64: ((4, 8, 768, 0), (4, 16, 768, 0)),
    128: ((8, 16, 512, 0), (8, 16, 512, 0)),
    256: ((4, 4, 512, 0), (8, 8, 1024, 0)),
    512: ((8, 8, 512, 0), (8, 8, 1024, 0)),
    1024: ((16, 8, 512, 0), (16, 8, 768, 0)),
    2048: ((16, 8, 768, 0), (16, 8, 768, 0)),
    4096: ((16, 8, 512, 2), (16, 8, 512, 2)),
}
# With many points, a block has the second-level cache load what a later one reads: how many blocks start in between, as
# a share of those that run at the same time. Not in stages that do not copy their rows, or transform them again.
AHEAD = 0.5
# With many points of several members: how many chains of kernels go beside each other, and the fewest points with which
# those that carry a tangent along do.
CHAINS = {
    512: (2, 2**21),
    1024: (2, math.inf),
    2048: (1, math.inf),
}
UNEVEN = 1.15  # how much more than its share the longest chain may have
# (points of a column that a thread holds, columns of a block), likewise
COLUMNS = {
    64: ((8, 8), (8, 8)),
    128: ((8, 4), (16, 16)),
    256: ((8, 4), (16, 8)),
    512: ((8, 4), (32, 8)),
    1024: ((16, 8), (32, 8)),
    2048: ((32, 8), (32, 8)),
    4096: ((32, 4), (32, 4)),
}
# Where blocks solve the Poisson equation of their rows themselves (`bands`): (bands that a thread of the kernel in
# between holds, its columns, whether the backward sweep does so too, whether kernels with a tangent do, whether stages
# transform the rows of their state again and read no spectra), likewise. None: whole columns are solved by a kernel of
# their own.
BANDS = {
    128: (None, None),
    256: (None, (8, 8, True, True, False)),
    512: (None, (8, 16, True, True, False)),
    1024: ((4, 8, True, True, False), (8, 16, False, True, False)),
    2048: ((8, 8, False, True, True), (8, 8, False, True, True)),
    4096: ((16, 8, False, False, True), (16, 8, False, False, True)),
}
# (most rows of a block, threads, whether it copies its rows) of the backward sweep's first kernel, likewise
SOURCE = {
    64: ((16, 512, True), (8, 1024, True)),
    128: ((8, 512, True), (8, 768, True)),
    256: ((4, 512, True), (8, 768, True)),
    512: ((8, 512, True), (8, 768, True)),
    1024: ((8, 512, True), (4, 512, True)),
    2048: ((4, 512, False), (4, 512, False)),
    4096: ((2, 512, True), (2, 512, True)),
}
# (most rows of a block, threads, whether it begins the next stage too, for which it works on two rows more) of its last
# kernel, likewise
ADJOINT = {
    64: ((16, 512, True), (8, 768, False)),
    128: ((16, 512, True), (8, 512, False)),
    256: ((4, 512, True), (8, 512, False)),
    512: ((4, 512, True), (8, 768, False)),
    1024: ((8, 512, True), (4, 512, False)),
    2048: ((4, 512, False), (4, 512, False)),
    4096: ((2, 256, False), (2, 256, False)),
}
# (most rows of a block, threads, lines of state and of tangent that it transforms at the same time, 0 for all of them,
# whether it copies its rows) of kernels that carry a tangent along, with few points or many; with few, a block has a
# multiprocessor's registers for itself
TANGENT = {
    128: (16, 512, 0, True),
    256: (8, 640, 0, True),
    512: (8, 768, 0, True),
    1024: (8, 512, 0, True),
    2048: (8, 256, 2, False),
    4096: (2, 256, 1, True),
}
# Where members of at most so many points a side stay in shared memory: the first that fits of (blocks that share a
# member, radix, threads that are to share a multiprocessor, fewest members), in a rollout, in the backward sweep, and
# where a tangent is carried along. (Up to 132 members a multiprocessor has one block, of as many registers as can be.)
_64 = [(1, 8, 576, 133), (1, 8, 288, 67), (2, 8, 160, 25), (4, 4, 160, 1)]
_128 = [(1, 16, 544, 67), (2, 16, 288, 25), (4, 8, 256, 1)]
WHOLE = {
    "advance": {64: _64, 128: _128},
    "adjoint": {64: _64, 128: _128},
    "tangent": {64: _64, 128: [(2, 16, 288, 25), (4, 8, 256, 2)]},
    "tangent float64": {64: [(2, 8, 160, 25), (4, 4, 160, 1)]},
}
# Row pairs that a thread of such a member walks up at a time, at most: in float32, in float64
CLIMB = 16, 8


def entry(table: dict, n: int):
    """What a table has for lines of n points."""
    return table[min((longest for longest in table if n <= longest), default=max(table))]
