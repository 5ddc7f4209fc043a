"""Groups of devices that exchange messages: their mailboxes (`mailboxes`), and the calls that they make together.

All devices of a group belong to this process, or each belongs to a process of its own on the same host. In the latter
case a process maps the memory of others by the handles that CUDA has for it. A handle comes with a token, which lies at
the end of the memory, and is looked for there.

A kernel that has given up is out of step with other devices, so later calls are refused (`Mailboxes.check`). After
`reset` all begin anew.
"""

import collections
import dataclasses
import functools
import itertools
import os
import platform
from pathlib import Path
from typing import Any, Protocol, cast

import warp as wp

from .mailboxes import FLAG, Mailbox

MOST = 8  # devices that exchange messages
PATIENCE = 30  # seconds
PATIENCE_WITH_PROCESSES = 600  # another one may compile, or write a file, between two calls
TOKEN = 16  # bytes

all_made: list["Mailboxes"] = []
_resets = itertools.count()
_calls: collections.Counter = collections.Counter()  # that were made, by all devices of a group and one of them


class Processes(Protocol):
    """The processes of a group, in the order of its devices. `numbers`: theirs."""

    @property
    def numbers(self) -> tuple[int, ...]: ...

    def share(self, name: str, given: bytes) -> list[bytes]:
        """Give bytes to all, and return what each gives under this name, which is used once."""
        ...

    def meet(self, name: str) -> None:
        """Wait for all of them to get to this name, which is used once."""
        ...


@dataclasses.dataclass(frozen=True)
class Group:
    """Devices that exchange messages, in the order of their slabs.

    Args:
        numbers: those of the devices, the same in all processes.
        here: for each device Warp's name of it, or None where it belongs to another process.
        processes: None if there is no other process.
    """

    numbers: tuple[int, ...]
    here: tuple[str | None, ...] = dataclasses.field(compare=False)
    processes: Processes | None = dataclasses.field(compare=False, default=None)

    @property
    def own(self) -> list[str]:
        """Warp's names of the devices that belong to this process."""
        return [name for name in self.here if name]

    @property
    def patience(self) -> int:
        """The seconds that a kernel waits for a message."""
        return PATIENCE_WITH_PROCESSES if self.processes else PATIENCE

    def obstacle(self) -> str | None:
        """Return why these devices cannot write into each other's memory, or None."""
        if len(self.numbers) > MOST:
            return f"{len(self.numbers)} devices are more than {MOST}"
        if self.processes and len(set(self.processes.numbers)) < len(self.numbers):
            return "a process has several of its devices, and not all: use one process, or one for each device"
        for here, there in itertools.permutations(self.own, 2):
            if not wp.is_peer_access_supported(here, there):
                return f"{there} cannot access the memory of {here}"
        if self.processes and wp.get_device(self.own[0]).is_ipc_supported is False:
            return f"{self.own[0]} cannot share its memory with other processes"
        return _several_hosts(self) if self.processes else None


@functools.cache
def _several_hosts(group):
    try:
        host = Path("/proc/sys/kernel/random/boot_id").read_bytes()  # containers of a host have one, but other names
    except OSError:
        host = platform.node().encode()
    hosts = group.processes.share(f"hosts of {group.numbers}", host)
    return "its devices belong to several hosts" if len(set(hosts)) > 1 else None


@dataclasses.dataclass(frozen=True)
class Mailboxes:
    """The mailboxes of a group, and their memory. `mailboxes`: None for a device of another process."""

    group: Group
    name: str
    memory: list = dataclasses.field(compare=False, repr=False)
    mailboxes: tuple = dataclasses.field(compare=False, repr=False)
    broken: Any = dataclasses.field(compare=False, repr=False)

    def of(self, device: str) -> Any:
        """Return the mailbox of a device of this process."""
        return self.mailboxes[self.group.here.index(device)]

    def check(self) -> None:
        """Raise a RuntimeError if a block has given up."""
        if self.broken.numpy()[0]:
            numbers = ", ".join(map(str, self.group.numbers))
            everywhere = " in all processes" if self.group.processes else ""
            raise RuntimeError(
                f"a kernel has given up after {self.group.patience} s without a message between the devices "
                f"{numbers}: one of them did not run the same call, or was busy; call warpjaxns.clear_caches()"
                f"{everywhere} to begin anew"
            )

    def reset(self, turn: int) -> None:
        """Begin anew, for the time `turn`. No device may be at work, and all processes do it."""
        if self.group.processes:
            self.group.processes.meet(f"{self.name}, reset {turn}, at rest")
        for array in self.memory:
            array.zero_()
        for mailbox in filter(None, self.mailboxes):
            mailbox.turns.zero_()
        for device in self.group.own:
            wp.synchronize_device(device)
        self.broken.zero_()
        if self.group.processes:
            self.group.processes.meet(f"{self.name}, reset {turn}, done")


@functools.cache
def mailboxes(name: str, group: Group, size: int, flags: int, blocks: int) -> Mailboxes:
    """Return mailboxes of so many bytes and flags, for kernels of so many blocks. They are kept for good.

    It waits for the devices, and for the other processes, so call it before anything that depends on another device
    runs.

    Args:
        name: of what they are for; two kernels must not share them.
        group: the devices, of which this process has some.
        size: of the numbers of a device.
        flags: of a device.
        blocks: of the kernels.

    Raises:
        RuntimeError: CUDA cannot map the memory of another process, or that does not make the same mailboxes.
    """
    own = [wp.get_device(device) for device in group.own]
    for here, there in itertools.permutations(own, 2):
        if here.is_cuda:
            wp.set_peer_access_enabled(here, there, True)
    name = f"{name} of {group.numbers}, {size} {flags} {blocks}"
    memory, broken = [], wp.zeros(1, dtype=int, device="cpu", pinned=own[0].is_cuda)
    for device in own:
        with wp.ScopedMempool(device, False):  # memory that peers may map
            memory.append(wp.zeros(size + FLAG * flags + TOKEN, dtype=wp.uint8, device=device))
        wp.synchronize_device(device)
    everywhere = _mapped(name, group, memory[0]) if group.processes else memory
    addresses = [array.ptr + first for first in (0, size) for array in everywhere]
    made = []
    for here, device in enumerate(group.here):
        mailbox = cast(Any, Mailbox()) if device else None
        if mailbox:
            mailbox.addresses = wp.array(addresses, dtype=wp.uint64, device=device)
            mailbox.turns = wp.zeros(2 * blocks, dtype=int, device=device)
            mailbox.here, mailbox.patience, mailbox.broken = here, 10**9 * group.patience, broken.ptr
            wp.synchronize_device(device)
        made.append(mailbox)
    all_made.append(Mailboxes(group, name, everywhere, tuple(made), broken))
    return all_made[-1]


def _mapped(name, group, memory):
    """Return the memory of all devices, each of another process, given that of this process."""
    size, token = memory.shape[0], os.urandom(TOKEN)
    memory[size - TOKEN :].assign(list(token))
    wp.synchronize_device(memory.device)
    everywhere = []
    for number, device, given in zip(
        group.numbers, group.here, group.processes.share(name, memory.ipc_handle() + token), strict=True
    ):
        array = memory if device else wp.from_ipc_handle(given[:-TOKEN], wp.uint8, (size,), device=memory.device)
        if bytes(array[size - TOKEN :].numpy()) != given[-TOKEN:]:
            raise RuntimeError(
                f"the process of {memory.device} cannot map the memory of device {number}, which belongs to another: "
                'use exchange="gather"'
            )
        everywhere.append(array)
    return everywhere


def reset() -> None:
    """Begin anew with all mailboxes. No device may be at work. All processes do it."""
    _calls.clear()
    turn = next(_resets)
    for each in all_made:
        each.reset(turn)


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
        """Return whether another device of this process has yet to make calls that this one has made."""
        group = self._group(device)
        return any(_calls[group, other] < _calls[group, device] for other in group.own)

    def count(self, device: str) -> None:
        """Note that a device has made a call."""
        _calls[self._group(device), device] += 1

    def _group(self, device):
        return next(each.group for each in self.mailboxes if device in each.group.own)
