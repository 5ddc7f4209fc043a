"""Parts of an ensemble, each on its own CUDA stream.

A kernel waits for all blocks of the previous one, so multiprocessors are idle at its end. But members do not depend on
each other. So each part of an ensemble goes through all steps of a call on its own stream. One part then computes
while another one waits.
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
        """The first member of each part, and its number of members."""
        bounds = [-(-self.batch * p // self.count) for p in range(self.count + 1)]
        return [(first, last - first) for first, last in itertools.pairwise(bounds)]

    @property
    def members(self) -> int:
        """Members of the largest part."""
        return max(members for _, members in self.parts)

    def scratch(self, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Return the shapes of scratch for all streams, given those for the largest part.

        The streams' scratch arrays follow each other along the first axis.
        """
        return [(self.count * copies, *rest) for copies, *rest in shapes]

    def launch(self, run: Callable, buffers: tuple, scratch: tuple) -> None:
        """Call ``run(*buffers, *scratch)`` for every part.

        `buffers` may be nested. Values that are not buffers are passed on.
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
    """Yield `count` contexts to launch in, each with its own stream.

    The streams begin after all earlier launches of the current stream, which then waits for them. On the CPU the
    contexts do nothing, since a launch has finished when it returns.
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
    finally:  # a capture cannot end while a stream is forked
        for stream in others:
            main.wait_event(stream.record_event())


@functools.cache
def _more_streams(alias, count):
    return [wp.Stream(alias) for _ in range(count)]
