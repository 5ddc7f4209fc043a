"""Simulated devices on the CPU, whose kernels write messages to each other.

Each device is a thread, and they launch in lock step: launch k of all devices, then launch k + 1. So real kernels run,
and those that receive find what the others have sent. Foreign calls are made at once, on arrays of Warp.
"""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import warp as wp

from warpjaxns import _ffi
from warpjaxns._finite_difference.divided import peers
from warpjaxns._kernels.hardware import address_table, groups

TIMEOUT = 120.0  # seconds


class Lockstep:
    """So many simulated devices, with mailboxes of their own. `monkeypatch` makes launches theirs.

    `launcher`: what launches kernels, and the name of its method.
    """

    def __init__(self, count: int, monkeypatch, launcher=(wp, "launch_tiled")):
        self.count, self._local, self._lock = count, threading.local(), threading.Lock()
        self.launched = set()  # kernels, with the threads of their blocks
        self._barrier, launch, local = threading.Barrier(count, timeout=TIMEOUT), getattr(*launcher), self._local
        groups.mailboxes.cache_clear()

        def in_step(*args, **kwargs):
            launch(*args, **kwargs)
            self.launched.add((args[0], kwargs.get("block_dim", args[-1])))
            self._lock.release()
            try:
                self._barrier.wait()
            finally:
                self._lock.acquire()

        monkeypatch.setattr(*launcher, in_step)
        monkeypatch.setattr(_ffi, "call", _call)
        group = groups.Group(tuple(range(count)), ("cpu",) * count)
        monkeypatch.setattr(peers, "device_groups", lambda _: [group])
        monkeypatch.setattr(groups.Mailboxes, "of", lambda self, _: self.mailboxes[local.here])

    def __call__(self, function, operands, axes) -> list[tuple]:
        """Return each result of ``function(*operands)``, one a device, with operands cut along `axes` (None: not)."""
        parts = [
            [x] * self.count if axis is None or x.shape[axis] == 1 else jnp.split(x, self.count, axis)
            for x, axis in zip(operands, axes, strict=True)
        ]
        self._barrier.reset()
        with ThreadPoolExecutor(self.count) as pool:
            run = functools.partial(self._run, function)
            made = list(pool.map(run, range(self.count), zip(*parts, strict=True)))
        return list(zip(*made, strict=True))

    def _run(self, function, here, operands):
        self._local.here = here
        with self._lock:  # one thread at a time runs
            try:
                return function(*operands)
            except BaseException:
                self._barrier.abort()
                raise


def _call(launch, *operands, key, outputs, inputs=None, repeats=1, aliases=None, feed=(0, 0), together=None, **_):
    """Make the foreign call `_ffi.call` at once. What it does not write is not a number."""
    if together:
        together.check()
    types = inputs or [wp.dtype_from_jax(x.dtype) for x in operands]
    arrays = [wp.array(np.array(x), dtype=t, device="cpu") for x, t in zip(operands, types, strict=True)]
    made = [wp.full(shape, float("nan"), dtype=t, device="cpu") for t, shape in outputs]
    for operand, output in (aliases or {}).items():
        made[output] = arrays[operand]
    addresses = [array.ptr or 0 for array in (*arrays, *made)]
    for _ in range(repeats):
        table = wp.array(addresses, dtype=wp.uint64, device="cpu")
        launch(*address_table.buffers(table, [*arrays, *made]))
        addresses[feed[0]] = addresses[feed[1]]
    return tuple(jnp.asarray(array.numpy()) for array in made)
