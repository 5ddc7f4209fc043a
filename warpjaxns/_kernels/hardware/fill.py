"""The kernels that write addresses into a table.

They have their own file, since Warp compiles all plain kernels of one file together.

Indices are constants. With a variable index a thread would first copy all addresses to local memory.
"""

import warp as wp

from .limits import TABLE_SLOTS

FILL_BLOCK = 256  # threads, as Warp launches plain kernels
Addresses = wp.types.vector(length=TABLE_SLOTS, dtype=wp.uint64)
Entries = wp.types.vector(length=TABLE_SLOTS, dtype=wp.int32)


@wp.kernel(enable_backward=False)
def fill(addresses: Addresses, table: wp.array(dtype=wp.uint64)):
    """Write as many addresses as the table has room for. They are passed by value. One thread is enough."""
    for i in range(wp.static(TABLE_SLOTS)):
        if i < table.shape[0]:
            table[i] = addresses[i]


@wp.kernel(enable_backward=False)
def fill_moved(
    addresses: Addresses,
    at: wp.array(dtype=wp.int32),
    entries: Entries,
    slices: Addresses,
    table: wp.array(dtype=wp.uint64),
):
    """Write addresses, each moved on by a number of slices that is known on the device only.

    The i-th array begins with its slice ``at[entries[i]]``. `slices`: bytes of one; 0 for an array that does not move.
    """
    for i in range(wp.static(TABLE_SLOTS)):
        if i < table.shape[0]:
            table[i] = addresses[i] + wp.uint64(at[entries[i]]) * slices[i]
