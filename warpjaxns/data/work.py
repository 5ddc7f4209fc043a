"""The folder beside an unfinished file, with its manifest and finished batches.

A crash leaves no broken file here: a file gets its name, by an atomic rename, once it is complete and on the disk. HDF5
files do not survive a crash while they are being written, so none is used here.

    train.hdf5.parts/
      lock                   held by the process at work; the operating system releases it when the process ends
      lock-0-of-2            the same, where several processes share the batches
      lock-turn              held by the process that begins the run, or assembles the parts
      manifest.json          the ensemble, and the software and device that compute it
      part-000000.chunks     the compressed chunks of a batch, one after another
      part-000000.json       index of the chunks; written last, so its existence means that the batch is done

Damage is detected. Both JSON files have a checksum. An index also has the checksum of its manifest, the number of its
batch, and a checksum of each chunk.

Process i of n computes the batches i, i + n, i + 2n and so on. It writes no file of another one's batches, and needs no
message from any of them: who finds all batches done assembles them.
"""

import contextlib
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from .locks import acquire
from .place import OptionsError, contents, folder_of, is_lock, remove
from .records import DamagedError, read_record, sync, write_record

TURN = "lock-turn"


@dataclass(frozen=True)
class Part:
    """A finished batch.

    Attributes:
        members: numbers of its members.
        failed: the first non-finite frame of each member that has one.
        chunks: ``(member, field, block, length, crc32)`` in the order of the file.
    """

    members: list[int]
    failed: dict[int, int]
    chunks: list[tuple[int, str, int, int, int]]


class WorkFolder:
    """The folder ``<output>.parts``. Its batches of one process are locked while this context manager is open.

    Args:
        output: the file.
        index: the number of this process.
        count: the number of processes that share the batches.

    Raises:
        OptionsError: another process computes some of these batches.
    """

    def __init__(self, output: Path, index: int = 0, count: int = 1):
        self.path = folder_of(output)
        self.index, self.count, self._run = index, count, 0
        own = self.path / ("lock" if count == 1 else f"lock-{index}-of-{count}")
        lock = acquire(own)
        if lock is None:
            who = "another process" if count == 1 else f"another process {index} of {count}"
            raise OptionsError(f"{output} is being written by {who}")
        self._lock = lock
        for path in contents(self.path)[0]:
            if is_lock(path) and path.name != TURN and _of(path) != _of(own):
                other = acquire(path, shared=True)
                if other is None:
                    os.close(lock)
                    raise OptionsError(f"{output} is being written by another process, one of {_of(path)}")
                os.close(other)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            for path in contents(self.path)[0]:
                part = re.match(r"part-(\d+)", path.name)
                if part and int(part[1]) % self.count == self.index and path.suffix == ".tmp":
                    path.unlink()  # makes room on a full disk
        finally:
            os.close(self._lock)

    @contextlib.contextmanager
    def turn(self):
        """Keep other processes from beginning or assembling the run. Waits for one that does."""
        lock = cast(int, acquire(self.path / TURN, wait=True))
        with contextlib.ExitStack() as ending:
            ending.callback(os.close, lock)
            for name in ("manifest.json.tmp", "assembled.tmp"):
                ending.callback((self.path / name).unlink, missing_ok=True)
            yield

    def mine(self, batches: int) -> range:
        """Return the batches of this process."""
        return range(self.index, batches, self.count)

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None if there is none yet. From now on only parts of its run count.

        Raises:
            DamagedError: the manifest is damaged.
        """
        path = self.path / "manifest.json"
        try:
            manifest, self._run = read_record(path)
        except FileNotFoundError:
            return None
        if manifest.keys() != {"ensemble", "software"}:
            raise DamagedError(f"{path} is not a manifest")
        return manifest

    def start(self, manifest: dict[str, Any]) -> None:
        """Delete all parts and begin with a new manifest."""
        for path in contents(self.path)[0]:
            if not is_lock(path) and path.name != "manifest.json":
                path.unlink()
        self._run = write_record(self.path / "manifest.json", manifest, indent=1)

    def part(self, batch: int) -> Part | None:
        """Return a batch that is done, or None.

        Warns:
            RuntimeWarning: the part is damaged, or belongs to another batch or run.
        """
        try:
            return self._read(batch)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            warnings.warn(f"{error}; batch {batch} is computed again", RuntimeWarning, stacklevel=2)
            return None

    def parts(self, batches: int) -> list[Part]:
        """Return all batches that are done.

        Raises:
            OSError: a batch of this process is not done.
        """
        parts = [self.part(batch) for batch in range(batches)]
        done = [part for part in parts if part is not None]
        if any(parts[batch] is None for batch in self.mine(batches)):
            raise OSError(f"{self.path} has only {len(done)} of {batches} parts; resume to compute the others")
        return done

    def payloads(self, batch: int, part: Part) -> Iterator[tuple[tuple[int, str, int, int], bytes]]:
        """Yield the chunks of a batch, ``((member, field, block, crc32), bytes)``.

        Raises:
            OSError: the file is damaged. The batch then no longer counts as done.
        """
        with self._path(batch, "chunks").open("rb") as file:
            for member, field, block, length, checksum in part.chunks:
                payload = file.read(length)
                if zlib.crc32(payload) != checksum:
                    self._path(batch, "json").unlink()
                    raise OSError(f"{file.name} is damaged, and its batch will be computed again when resumed")
                yield (member, field, block, checksum), payload

    def writer(self, batch: int) -> "PartWriter":
        """Return a writer for the chunks of a batch."""
        return PartWriter(self._path(batch, "chunks"), self._path(batch, "json"), self._run, batch)

    def remove(self) -> None:
        """Delete the folder once the file is complete. Files that no run has written stay, and the folder with them."""
        remove(self.path)

    def _read(self, batch):
        index, chunks = self._path(batch, "json"), self._path(batch, "chunks")
        values, _ = read_record(index)
        if (values.get("run"), values.get("batch")) != (self._run, batch):
            raise DamagedError(f"{index} is of another batch or run")
        part = Part(
            members=values["members"],
            failed={int(member): frame for member, frame in values["failed"].items()},
            chunks=[tuple(chunk) for chunk in values["chunks"]],
        )
        if not chunks.exists() or chunks.stat().st_size != sum(chunk[3] for chunk in part.chunks):
            raise DamagedError(f"{chunks} is damaged")
        return part

    def _path(self, batch, kind):
        return self.path / f"part-{batch:06d}.{kind}"


def _of(lock):
    """Return the number of processes that a lock is of, as text."""
    return lock.name.partition("-of-")[2] or "1"


class PartWriter:
    """A file to which the chunks of a batch are appended. `seal` makes it a `Part`."""

    def __init__(self, chunks_path: Path, index_path: Path, run: int, batch: int):
        self._chunks_path, self._index_path = chunks_path, index_path
        self._whose = {"run": run, "batch": batch}
        self._temporary = chunks_path.with_suffix(".tmp")
        self._temporary.unlink(missing_ok=True)
        self._chunks = []

    def append(self, chunks: Iterable[tuple[int, str, int, bytes]]) -> None:
        """Write chunks ``(member, field, block, bytes)``."""
        with self._temporary.open("ab") as file:
            for member, field, block, payload in chunks:
                file.write(payload)
                self._chunks.append((member, field, block, len(payload), zlib.crc32(payload)))

    def seal(self, members: list[int], failed: dict[int, int]) -> None:
        """Flush the chunks to the disk, and then write their index."""
        with self._temporary.open("ab") as file:
            sync(file)
        self._temporary.replace(self._chunks_path)
        write_record(self._index_path, self._whose | asdict(Part(members, failed, self._chunks)))
