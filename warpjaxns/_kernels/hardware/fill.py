"""The kernel that writes addresses into a table.

It has a file for itself, since Warp compiles all plain kernels of one file together.

Indices are constants: a thread that looked an address up by a number would first copy them all to memory of its own.
"""

import warp as wp

from .limits import TABLE_SLOTS

Addresses = wp.types.vector(length=TABLE_SLOTS, dtype=wp.uint64)


@wp.kernel(enable_backward=False)
def fill(addresses: Addresses, table: wp.array(dtype=wp.uint64)):
    """Write as many addresses as the table has room for. They are given by value, and one thread is enough."""
    for i in range(wp.static(TABLE_SLOTS)):
        if i < table.shape[0]:
            table[i] = addresses[i]
