"""One thread that does things in order, a few behind the caller."""

import collections
from concurrent.futures import ThreadPoolExecutor


class Background:
    """Runs calls in one thread, in the order they were submitted.

    A call that fails is the last one to run; what it raised is raised again by the next `check`, `submit` or `finish`.

    Args:
        depth: calls that may wait or run; `submit` blocks beyond, so that a slow disk does not fill the memory.
    """

    def __init__(self, depth: int):
        self._depth = depth
        self._failed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="warpjaxns-writer")
        self._pending = collections.deque()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        """Wait for what was submitted, as it is part of a result whatever happened elsewhere; then stop."""
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(wait=True)

    def submit(self, function, *arguments):
        """Call `function` in the thread, after all that was submitted before."""
        self.check()
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._run, function, arguments))

    def check(self):
        """Raise what a call has raised by now."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def finish(self):
        """Wait for all calls, and raise what one of them has raised."""
        while self._pending:
            self._pending.popleft().result()

    def _run(self, function, arguments):
        if self._failed:
            return  # what follows would be written in the wrong place
        try:
            function(*arguments)
        except BaseException:
            self._failed = True
            raise
