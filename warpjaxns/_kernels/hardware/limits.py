"""Limits of the hardware that kernels are cut for."""

WARP = 32  # threads that run in lockstep and exchange registers
BANKS = 32  # of shared memory
LARGEST_BLOCK = 1024  # threads
LARGEST_CLUSTER = 16  # blocks
SHARED_MEMORY = 216 * 1024  # bytes a block may use, where the device has more
CPU_MEMORY = 256 * 1024  # bytes of tiles that Warp has for a block on the CPU
TABLE_SLOTS = 32  # addresses of a table at most
