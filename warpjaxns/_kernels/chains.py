"""Kernels of an ensemble in chains beside each other.

A kernel waits for all blocks of the one before it: multiprocessors run dry at its end, and have little to do while
`between_bands` runs. But members do not depend on each other. So parts of an ensemble go through all steps of a call on
streams of their own, and what one leaves idle another one takes.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable

import warp as wp

from . import tuning
from .memory import Buffer
from .plan import Plan


@dataclasses.dataclass(frozen=True)
class Chains:
    """A `batch` of members in `count` parts, a chain of kernels each."""

    batch: int
    count: int = 1

    @property
    def parts(self) -> list[tuple[int, int]]:
        """The first member of each, and how many it has."""
        bounds = [-(-self.batch * p // self.count) for p in range(self.count + 1)]
        return [(first, last - first) for first, last in itertools.pairwise(bounds)]

    @property
    def members(self) -> int:
        """Of the largest part."""
        return max(members for _, members in self.parts)

    def scratch(self, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """The shapes of scratch for all chains, given those for the largest part: chains along the first axis too."""
        return [(self.count * copies, *rest) for copies, *rest in shapes]

    def launch(self, run: Callable, buffers: tuple, scratch: tuple) -> None:
        """``run(*buffers, *scratch)`` for every part. `buffers` may be nested, and have None in the place of some."""
        if self.count == 1:
            run(*buffers, *scratch)
            return
        with _beside_each_other(self.count) as places:
            for chain, ((first, members), place) in enumerate(zip(self.parts, places, strict=True)):
                with place:
                    mine = (self._of_chain(buffer, chain, members) for buffer in scratch)
                    run(*self._of_part(buffers, first, members), *mine)

    def _of_part(self, buffers, first, members):
        if isinstance(buffers, tuple | list):
            return type(buffers)(self._of_part(buffer, first, members) for buffer in buffers)
        return buffers.part(first, members, self.batch) if isinstance(buffers, Buffer) else buffers

    def _of_chain(self, buffer, chain, members):
        copies, most, *rest = buffer.shape
        copies //= self.count
        return dataclasses.replace(buffer, shape=(copies, members, *rest), first=chain * copies * most)


def make_chains(plan: Plan, batch: int, whole: bool, tangent: bool = False) -> Chains:
    """The chains for a batch; one if members stay in shared memory, as `whole` says, or points are few."""
    (ny, nx), (most, points) = plan.shape, tuning.entry(tuning.CHAINS, plan.shape[1])
    if whole or not plan.many or (tangent and batch * ny * nx < points):
        return Chains(batch)
    return Chains(batch, next(c for c in range(most, 0, -1) if -(-batch // c) * c <= tuning.UNEVEN * batch))


@contextlib.contextmanager
def _beside_each_other(count):
    """Places to launch in, which begin after what has been launched, and end before what will be: streams, or nothing
    on the CPU, where a launch is done when it returns."""
    device = wp.get_device()
    if device.is_cpu:
        yield [contextlib.nullcontext()] * count
        return
    main, others = wp.get_stream(device), _streams(device.alias, count - 1)
    before = main.record_event()
    for stream in others:
        stream.wait_event(before)
    try:
        yield [wp.ScopedStream(stream, sync_enter=False) for stream in (main, *others)]
    finally:  # or the capture could not end
        for stream in others:
            main.wait_event(stream.record_event())


@functools.cache
def _streams(alias, count):
    return [wp.Stream(alias) for _ in range(count)]
