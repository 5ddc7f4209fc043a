"""Shares of a grid for blocks and threads, where sizes have factors 3 and 5. Powers of two get what `tuning` says."""

from ..hardware.limits import WARP


def rows_of_slab(ny: int, wanted: int) -> int:
    """Return the rows, about `wanted`, of a slab: a number that divides ny, if there is one.

    The kernel between stages is fastest where slabs are a multiple of four.
    """
    near = range(wanted - wanted // 4 // 2 * 2, wanted + wanted // 4 + 1, 2)
    return min(near, key=lambda rows: (ny % rows != 0, ny // rows % 4 != 0, abs(rows - wanted), -rows))


def points_of_thread(n: int, wanted: int, count: int) -> int:
    """Return the points, about `wanted`, that each thread of a column of n holds, with `count` columns a block.

    More threads hold fewer points each. But a column's threads should lie in few warps, which are then full.
    """

    def instructions(points: int) -> int:
        threads = n // points
        lanes = min(threads & -threads, WARP // count)
        return 16 * points + 12 * (threads // lanes) + 200 * (lanes * count < WARP and threads > lanes)

    near = [points for points in range(wanted // 2 + 1, min(wanted + 1, 32) + 1) if n % points == 0]
    return min(near, key=instructions, default=wanted)
