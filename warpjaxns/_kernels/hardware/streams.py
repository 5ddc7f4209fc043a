"""Parts of an ensemble on CUDA streams of their own.

A kernel waits for all blocks of the one before it: multiprocessors run dry at its end. But members do not depend on
each other. So parts of an ensemble go through all steps of a call on streams of their own, and what one leaves idle
another one takes.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable

import warp as wp

from .address_table import Buffer


@dataclasses.dataclass(frozen=True)
class Streams:
    """A `batch` of members in `count` parts, a stream each."""

    batch: int
    count: int = 1

    @property
    def parts(self) -> list[tuple[int, int]]:
        """The first member of each part, and how many it has."""
        bounds = [-(-self.batch * p // self.count) for p in range(self.count + 1)]
        return [(first, last - first) for first, last in itertools.pairwise(bounds)]

    @property
    def members(self) -> int:
        """Members of the largest part."""
        return max(members for _, members in self.parts)

    def scratch(self, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return the shapes of scratch for all streams, given those for the largest part.

        Streams come along the first axis too.
        """
        return [(self.count * copies, *rest) for copies, *rest in shapes]

    def launch(self, run: Callable, buffers: tuple, scratch: tuple) -> None:
        """Call ``run(*buffers, *scratch)`` for every part.

        `buffers` may be nested, and may hold what is not a buffer.
        """
        if self.count == 1:
            run(*buffers, *scratch)
            return
        with _forked(self.count) as places:
            for stream, ((first, members), place) in enumerate(zip(self.parts, places, strict=True)):
                with place:
                    mine = (self._of_stream(buffer, stream, members) for buffer in scratch)
                    run(*self._of_part(buffers, first, members), *mine)

    def _of_part(self, buffers, first, members):
        if isinstance(buffers, tuple | list):
            parts = (self._of_part(buffer, first, members) for buffer in buffers)
            return type(buffers)(*parts) if hasattr(buffers, "_fields") else type(buffers)(parts)
        return buffers.part(first, members, self.batch) if isinstance(buffers, Buffer) else buffers

    def _of_stream(self, buffer, stream, members):
        copies, most, *rest = buffer.shape
        copies //= self.count
        return dataclasses.replace(buffer, shape=(copies, members, *rest), first=stream * copies * most)


@contextlib.contextmanager
def _forked(count):
    """Give places to launch in, which begin after what has been launched and end before what will be.

    They are streams on CUDA. On the CPU they are nothing, for a launch is done when it returns.
    """
    device = wp.get_device()
    if device.is_cpu:
        yield [contextlib.nullcontext()] * count
        return
    main, others = wp.get_stream(device), _more_streams(device.alias, count - 1)
    before = main.record_event()
    for stream in others:
        stream.wait_event(before)
    try:
        yield [wp.ScopedStream(stream, sync_enter=False) for stream in (main, *others)]
    finally:  # or the capture could not end
        for stream in others:
            main.wait_event(stream.record_event())


@functools.cache
def _more_streams(alias, count):
    return [wp.Stream(alias) for _ in range(count)]
