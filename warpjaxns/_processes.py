"""Processes of `jax.distributed`: what they tell each other before their devices run."""

import dataclasses
from typing import Any, cast

import jax
from jax._src import distributed  # whose store of keys and values JAX does not export

PATIENCE = 600  # seconds


@dataclasses.dataclass(frozen=True)
class Processes:
    """Some processes of `jax.distributed`, this one among them. Each knows the others by the same numbers."""

    numbers: tuple[int, ...]

    def share(self, name: str, given: bytes) -> list[bytes]:
        """Give bytes to all of them, and return what each gives. A name is used once.

        Raises:
            RuntimeError: a process has given nothing for `PATIENCE`.
        """
        store = _client()
        store.key_value_set_bytes(self._key(name, jax.process_index()), given)
        found = []
        for number in self.numbers:
            try:
                found.append(store.blocking_key_value_get_bytes(self._key(name, number), 1000 * PATIENCE))
            except Exception as error:  # of jaxlib, under a name that changes
                raise RuntimeError(_late(f"process {number} has", name)) from error
        return found

    def meet(self, name: str) -> None:
        """Wait for all of them to get here. A name is used once.

        Raises:
            RuntimeError: they have not for `PATIENCE`.
        """
        try:
            _client().wait_at_barrier(self._key(name, self.numbers), 1000 * PATIENCE, list(self.numbers))
        except Exception as error:
            raise RuntimeError(_late(f"one of the processes {self.numbers} has", name)) from error

    def _key(self, name, of):
        return f"warpjaxns/{name}/{of}"


def _client():
    return cast(Any, distributed.global_state.client)


def _late(who, name):
    return f"{who} not come to the same point within {PATIENCE} s ({name}): all must run the same program"
