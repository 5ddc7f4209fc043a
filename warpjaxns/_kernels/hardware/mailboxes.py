"""Mailboxes: memory of a device, into which kernels on other devices write their messages.

A block writes its share of a message into another device's memory, and then raises a flag there, with release at the
scope of the system. The block of the same number there waits for the flag, with acquire. So a message needs no host.

Messages of a mailbox are counted by *turns*, in the memory of the device itself: each block has its own count, which a
graph can replay. A turn has one of two *slots*, for its numbers and its flags. Two are enough. A device sends turn
n + 2 after it has received turn n + 1 from all others. They sent that after they had received turn n, since kernels of
a stream run in order, and so no device still reads the slot.

A flag holds the number of its turn. No wait is endless. A block that has lost patience gives up, and does not wait any
more. What it should have received is not a number, which the solver's check finds. It also tells the host (`groups`).

On the CPU a kernel that waited would wait for ever, since kernels run one after the other. So there it does not.
"""

import warp as wp

from .address_table import Table

SEND, RECEIVE = 1, 2  # what a kernel does; their sum: both
FLAG = 4  # bytes


@wp.struct
class Mailbox:
    """A mailbox as kernels take it.

    Args:
        addresses: those of the mailboxes of all devices, and those of their flags.
        turns: for each block the turns so far, and whether it has given up.
        here: the number of this device.
        patience: nanoseconds that a block waits.
        broken: the address of a number in the host's memory, which a block that gives up sets to 1.
    """

    addresses: Table
    turns: wp.array(dtype=int)
    here: int
    patience: wp.uint64
    broken: wp.uint64


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  asm volatile("st.release.sys.global.u32 [%0], %1;" :: "l"(flag), "r"(turn) : "memory");
#else
  *(unsigned*)flag = turn;
#endif
""")
def raise_flag(flag: wp.uint64, turn: int):
    """Write a turn to a flag. It is seen after all that the block stored before its last barrier."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  unsigned seen;
  unsigned long long began, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(began) :: "memory");
  while (true) {
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
    if (seen == (unsigned)turn) return 0;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now) :: "memory");
    if (gave_up || now - began > patience) return 1;
  }
#else
  return *(const unsigned*)flag != (unsigned)turn;
#endif
""")
def is_late(flag: wp.uint64, turn: int, gave_up: int, patience: wp.uint64) -> int:
    """Wait for a turn of a flag. Return 1 if it has not come, after the patience or, with `gave_up`, at once."""
    ...


@wp.func_native("""
#if defined(__CUDA_ARCH__)
  return __syncthreads_or(value);
#else
  return value;
#endif
""")
def any_of_block(value: int) -> int:
    """Return whether any thread of the block has a value. It is a barrier."""
    ...


@wp.func_native("""
  *(volatile int*)broken = 1;
""")
def give_up(broken: wp.uint64):
    """Tell the host that a message has not come."""
    ...


@wp.func
def end_turn(mailbox: Mailbox, block: int, turn: int, late: int):
    """Count a turn of a block, by one of its threads. If the message was late, give up."""
    mailbox.turns[2 * block] = turn
    if late != 0:
        mailbox.turns[2 * block + 1] = 1
        give_up(mailbox.broken)
