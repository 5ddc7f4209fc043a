"""Mailboxes: memory of a device, into which kernels on other devices write their messages.

A block writes its share of a message into another device's memory, and then raises a flag there, with release at the
scope of the system. The block of the same number there waits for the flag, with acquire. So a message needs no host.

Messages of a mailbox are counted by *turns*, in the memory of the device itself: each block has its own count, which a
graph can replay. A turn has one of two *slots*, for its numbers and its flags. Two are enough. A device sends turn
n + 2 after it has received turn n + 1 from all others. They sent that after they had received turn n, since kernels of
a stream run in order, and so no device still reads the slot.

A flag holds the number of its turn. No wait is endless. A block that has waited for `LIMIT` gives up, and does not wait
any more. What it should have received is not a number, which the solver's check finds. It also tells the host, which
refuses later calls (`Mailboxes.check`), since a device that has left out a call is out of step. After `reset` all begin
anew.

On the CPU a kernel that waited would wait for ever, since kernels run one after the other. So there it does not.
"""

import collections
import dataclasses
import functools
import itertools
from typing import Any, cast

import warp as wp

from .address_table import Table

LIMIT = 30_000_000_000  # ns
MOST = 8  # devices that exchange messages
SEND, RECEIVE = 1, 2  # what a kernel does; their sum: both
FLAG = 4  # bytes

all_made: list["Mailboxes"] = []
_calls: collections.Counter = collections.Counter()  # that were made, by all devices of a group and one of them


@wp.struct
class Mailbox:
    """A mailbox as kernels take it.

    Args:
        addresses: those of the mailboxes of all devices, and those of their flags.
        turns: for each block the turns so far, and whether it has given up.
        here: the number of this device.
        broken: the address of a number in the host's memory, which a block that gives up sets to 1.
    """

    addresses: Table
    turns: wp.array(dtype=int)
    here: int
    broken: wp.uint64


@dataclasses.dataclass(frozen=True)
class Mailboxes:
    """The mailboxes of some devices, and their memory."""

    devices: tuple[str, ...]
    memory: list = dataclasses.field(compare=False, repr=False)
    mailboxes: tuple = dataclasses.field(compare=False, repr=False)
    broken: Any = dataclasses.field(compare=False, repr=False)

    def of(self, device: str) -> Any:
        """Return the mailbox of a device."""
        return self.mailboxes[self.devices.index(device)]

    def check(self) -> None:
        """Raise a RuntimeError if a block has given up."""
        if self.broken.numpy()[0]:
            raise RuntimeError(
                f"a kernel has given up after {LIMIT // 10**9} s without a message between {', '.join(self.devices)}: "
                "one of them did not run the same call, or was busy; call warpjaxns.clear_caches() to begin anew"
            )

    def reset(self) -> None:
        """Begin anew. No device may be at work."""
        for array in (array for arrays in self.memory for array in arrays):
            array.zero_()
        for mailbox in self.mailboxes:
            mailbox.turns.zero_()
        for device in self.devices:
            wp.synchronize_device(device)
        self.broken.zero_()


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


@wp.func_native(f"""
#if defined(__CUDA_ARCH__)
  unsigned seen;
  unsigned long long began, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(began) :: "memory");
  while (true) {{
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
    if (seen == (unsigned)turn) return 0;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now) :: "memory");
    if (gave_up || now - began > {LIMIT}ull) return 1;
  }}
#else
  return *(const unsigned*)flag != (unsigned)turn;
#endif
""")
def is_late(flag: wp.uint64, turn: int, gave_up: int) -> int:
    """Wait for a turn of a flag. Return 1 if it has not come, after the limit or, with `gave_up`, at once."""
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


def obstacle(devices: tuple[str, ...]) -> str | None:
    """Return why these devices cannot write into each other's memory, or None."""
    if len(devices) > MOST:
        return f"{len(devices)} devices are more than {MOST}"
    for here, there in itertools.permutations(devices, 2):
        if not wp.is_peer_access_supported(here, there):
            return f"{there} cannot access the memory of {here}"
    return None


@functools.cache
def mailboxes(name: str, devices: tuple[str, ...], size: int, flags: int, blocks: int) -> Mailboxes:
    """Return mailboxes of so many bytes and flags, for kernels of so many blocks. They are kept for good.

    `name`: of what they are for; two kernels must not share them. It may wait for the devices, so call it before
    anything that depends on another device runs.
    """
    places = [wp.get_device(device) for device in devices]
    for here, there in itertools.permutations(places, 2):
        if here.is_cuda:
            wp.set_peer_access_enabled(here, there, True)
    memory, broken = [], wp.zeros(1, dtype=int, device="cpu", pinned=places[0].is_cuda)
    for place in places:
        with wp.ScopedMempool(place, False):  # memory that peers may map
            memory.append([wp.zeros(n, dtype=t, device=place) for n, t in ((size, wp.uint8), (flags, wp.uint32))])
    made = []
    for here, place in enumerate(places):
        mailbox = cast(Any, Mailbox())
        addresses = [array.ptr for kind in zip(*memory, strict=True) for array in kind]
        mailbox.addresses = wp.array(addresses, dtype=wp.uint64, device=place)
        mailbox.turns = wp.zeros(2 * blocks, dtype=int, device=place)
        mailbox.here, mailbox.broken = here, broken.ptr
        made.append(mailbox)
    for place in places:
        wp.synchronize_device(place)
    all_made.append(Mailboxes(devices, memory, tuple(made), broken))
    return all_made[-1]


def reset() -> None:
    """Begin anew with all mailboxes. No device may be at work."""
    _calls.clear()
    for each in all_made:
        each.reset()


@dataclasses.dataclass(frozen=True)
class Together:
    """The calls of a program, which devices make together: their kernels wait for those of other devices.

    `mailboxes`: all that these calls use. A device has those of one group.
    """

    mailboxes: list[Mailboxes]

    def check(self) -> None:
        """Raise a RuntimeError if a block has given up."""
        for each in self.mailboxes:
            each.check()

    def ahead(self, device: str) -> bool:
        """Return whether another device has yet to make calls that this one has made."""
        group = self._group(device)
        return any(_calls[group, other] < _calls[group, device] for other in group)

    def count(self, device: str) -> None:
        """Note that a device has made a call."""
        _calls[self._group(device), device] += 1

    def _group(self, device):
        return next(each.devices for each in self.mailboxes if device in each.devices)
