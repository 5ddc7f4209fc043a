"""The kernel that writes addresses into a table, in a file for itself: Warp compiles all plain kernels of one together.

Indices are constants: a thread that looked an address up by a number would first copy them all to memory of its own.
"""

import warp as wp

COUNT = 32  # of addresses at most
Addresses = wp.types.vector(length=COUNT, dtype=wp.uint64)


@wp.kernel(enable_backward=False)
def fill(addresses: Addresses, table: wp.array(dtype=wp.uint64)):
    """Write as many addresses as the table has room for. They are given by value, and one thread is enough."""
    for i in range(wp.static(COUNT)):
        if i < table.shape[0]:
            table[i] = addresses[i]
