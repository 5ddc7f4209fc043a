"""An iterator over batches of JAX arrays, which reads ahead and can be resumed."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Array

from .._checks import check_count
from .windows import Windows

Batch = dict[str, Array]


class Batches(Iterator[Batch]):
    """The batches of `Flows.batches`, an iterator. Another thread reads the next ones and copies them to the device.

    `len` is the number of batches of all epochs. `get_state` and `set_state` let a training run go on where it stopped.

    Attributes:
        per_epoch: batches in an epoch.
    """

    def __init__(
        self,
        windows: Windows,
        batch_size: int,
        *,
        key: Array | None,
        epochs: int | None,
        drop_remainder: bool,
        process: tuple[int, int],
        prefetch: int,
        device: Any,
    ):
        self._windows, self._size, self._key, self._epochs = windows, batch_size, key, epochs
        self._drop, (self._index, self._count) = drop_remainder, process
        self._device, self._default = device, cast(Any, jax.config).jax_default_device  # of this thread
        samples = len(windows) // self._count
        self.per_epoch = samples // batch_size if drop_remainder else -(-samples // batch_size)
        self._next = 0  # number of the batch, over all epochs
        self._order = None, np.arange(0)
        self._depth = prefetch
        self._reader, self._decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(cpu_count())
        self._waiting: deque = deque()

    def __len__(self):
        """Return the number of batches of all epochs, those handed out before included."""
        if self._epochs is None:
            raise TypeError("epochs=None: there is no end to these batches; per_epoch is the number in an epoch")
        return self._epochs * self.per_epoch

    def __next__(self) -> Batch:
        """Return the next batch."""
        while len(self._waiting) <= self._depth and not self._ended(ahead := self._next + len(self._waiting)):
            self._waiting.append(self._reader.submit(self._read, self._samples(ahead)))
        if not self._waiting:
            raise StopIteration
        batch = self._waiting.popleft().result()
        self._next += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Return where the iterator is, as numbers that JSON and Orbax can hold."""
        epoch, batch = divmod(self._next, self.per_epoch) if self.per_epoch else (0, 0)
        return {"epoch": epoch, "batch": batch, "per_epoch": self.per_epoch}

    def set_state(self, state: dict[str, int]) -> None:
        """Go on after the batch at which `get_state` was called, on an iterator with the same arguments.

        Raises:
            ValueError: the state is of other data or arguments: its number of batches in an epoch differs.
        """
        epoch, batch, per_epoch = (
            check_count(f"state[{name!r}]", state.get(name), least=0) for name in ("epoch", "batch", "per_epoch")
        )
        if per_epoch != self.per_epoch:
            raise ValueError(
                f"state={state!r}: expected that of an iterator with {self.per_epoch} batches in an epoch, as here"
            )
        self._waiting.clear()
        self._next = epoch * per_epoch + batch

    def _ended(self, number):
        return self.per_epoch == 0 or (self._epochs is not None and number >= self._epochs * self.per_epoch)

    def _samples(self, number):
        """Return the samples of a batch of this process."""
        epoch, batch = divmod(number, self.per_epoch)
        if self._order[0] != epoch:
            order = np.arange(len(self._windows))
            if self._key is not None:
                order = np.asarray(jax.random.permutation(jax.random.fold_in(self._key, epoch), len(order)))
            if self._drop:
                order = order[: self.per_epoch * self._size * self._count]
            self._order = epoch, order[: len(order) // self._count * self._count][self._index :: self._count]
        return self._order[1][batch * self._size : (batch + 1) * self._size]

    def _read(self, samples):
        values = self._windows.take(samples, self._decoders)
        with jax.default_device(self._default):  # otherwise that of the other thread
            return jax.device_put(values, self._device)
