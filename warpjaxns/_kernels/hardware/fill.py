"""The kernel that writes addresses into a table.

It has its own file, since Warp compiles all plain kernels of one file together.

Indices are constants. With a variable index a thread would first copy all addresses to local memory.
"""

import warp as wp

from .limits import TABLE_SLOTS

Addresses = wp.types.vector(length=TABLE_SLOTS, dtype=wp.uint64)


@wp.kernel(enable_backward=False)
def fill(addresses: Addresses, table: wp.array(dtype=wp.uint64)):
    """Write as many addresses as the table has room for. They are passed by value. One thread is enough."""
    for i in range(wp.static(TABLE_SLOTS)):
        if i < table.shape[0]:
            table[i] = addresses[i]
