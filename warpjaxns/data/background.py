"""A background thread that runs calls in order."""

import collections
from concurrent.futures import ThreadPoolExecutor


class Background:
    """A thread that runs calls in the order they were submitted.

    A call that fails is the last one to run. The next `check`, `submit` or `finish` raises its exception.

    Args:
        depth: calls that may wait or run. More make `submit` block, so that a slow disk does not fill the memory.
    """

    def __init__(self, depth: int):
        self._depth = depth
        self._failed = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="warpjaxns-writer")
        self._pending = collections.deque()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        """Wait for all submitted calls, which are part of a result even after an exception; then stop."""
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(wait=True)

    def submit(self, function, *arguments):
        """Call `function` in the thread, after all calls submitted before."""
        self.check()
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._run, function, arguments))

    def check(self):
        """Raise the exception of a call that has failed by now."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def finish(self):
        """Wait for all calls, and raise the exception of one that failed."""
        while self._pending:
            self._pending.popleft().result()

    def _run(self, function, arguments):
        if self._failed:
            return  # later calls would write to the wrong place
        try:
            function(*arguments)
        except BaseException:
            self._failed = True
            raise
