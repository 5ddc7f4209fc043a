"""Locks on files. The operating system releases them when a process ends."""

import contextlib
import os
from pathlib import Path


def acquire(path: Path, *, wait: bool = False, shared: bool = False) -> int | None:
    """Lock a file, which is made if need be, and its folder too.

    Args:
        path: the file.
        wait: whether to wait while another process has it.
        shared: whether other processes may hold shared locks too.

    Returns:
        A descriptor of the file, which holds the lock until it is closed; None if another process has it.
    """
    import fcntl  # not on Windows, where the rest of this package works

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process removes the folder when the run is complete
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            break
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
