"""The folder beside an unfinished file: what it is being made from, and the batches that are done.

Nothing in it is ever in a state that a crash could leave broken: a file gets its name, by an atomic rename, once it
is complete and on the disk. HDF5 files do not survive a crash while they are being written, so none is used here.

    train.hdf5.parts/
      lock                   held by the process at work, released by the kernel when that ends in whatever way
      manifest.json          the ensemble, and the software and device that compute it
      part-000000.chunks     the compressed chunks of a batch, one after another
      part-000000.json       where they begin; written last, so that its existence says that the batch is done

Damage by others is noticed: both JSON files carry a checksum of their own, and an index the checksum of its manifest,
the number of its batch and a checksum of each chunk.
"""

import os
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .place import OptionsError, contents, folder_of, remove
from .records import DamagedError, read_record, sync, write_record


@dataclass(frozen=True)
class Part:
    """A finished batch.

    Attributes:
        members: the numbers of its members.
        failed: for those that became non-finite, the first frame that was.
        chunks: ``(member, field, block, length, crc32)`` in the order of the file.
    """

    members: list[int]
    failed: dict[int, int]
    chunks: list[tuple[int, str, int, int, int]]


class WorkFolder:
    """The folder ``<output>.parts``, locked while this object is open (a context manager).

    Raises:
        OptionsError: another process works in it.
    """

    def __init__(self, output: Path):
        import fcntl  # where there is none, all but this works

        self.path = folder_of(output)
        self.path.mkdir(parents=True, exist_ok=True)
        self._run = 0
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OptionsError(f"{output} is being written by another process") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in contents(self.path)[0]:
            if path.suffix == ".tmp":  # makes room, where the disk is full
                path.unlink()
        os.close(self._lock)

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest, or None where there is none yet. The parts that count from now on are of its run.

        Raises:
            DamagedError: it is not what was written.
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
        """Forget all parts and begin with a new manifest."""
        for path in contents(self.path)[0]:
            if path.name not in ("lock", "manifest.json"):
                path.unlink()
        self._run = write_record(self.path / "manifest.json", manifest, indent=1)

    def part(self, batch: int) -> Part | None:
        """A batch that is done, or None.

        Warns:
            RuntimeWarning: there is one, but it is damaged, or of another batch or run.
        """
        try:
            return self._read(batch)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            warnings.warn(f"{error}; batch {batch} is computed again", RuntimeWarning, stacklevel=2)
            return None

    def parts(self, batches: int) -> list[Part]:
        """All batches, which are done.

        Raises:
            OSError: one is not.
        """
        parts = [part for part in map(self.part, range(batches)) if part is not None]
        if len(parts) < batches:
            raise OSError(f"{self.path} has only {len(parts)} of {batches} parts; resume to compute the others")
        return parts

    def payloads(self, batch: int, part: Part) -> Iterator[tuple[tuple[int, str, int, int], bytes]]:
        """The chunks of a batch, ``((member, field, block, crc32), bytes)`` one after another.

        Raises:
            OSError: the file is damaged; the batch no longer counts as done.
        """
        with self._path(batch, "chunks").open("rb") as file:
            for member, field, block, length, checksum in part.chunks:
                payload = file.read(length)
                if zlib.crc32(payload) != checksum:
                    self._path(batch, "json").unlink()
                    raise OSError(f"{file.name} is damaged, and its batch will be computed again when resumed")
                yield (member, field, block, checksum), payload

    def writer(self, batch: int) -> "PartWriter":
        """Writes the chunks of a batch."""
        return PartWriter(self._path(batch, "chunks"), self._path(batch, "json"), self._run, batch)

    def remove(self) -> None:
        """Delete the folder, once the file is in its place. What no run has written stays, and the folder with it."""
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


class PartWriter:
    """Appends the chunks of a batch to its file; `seal` makes it a `Part`."""

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
        """Bring the chunks to the disk, then the index that says so."""
        with self._temporary.open("ab") as file:
            sync(file)
        self._temporary.replace(self._chunks_path)
        write_record(self._index_path, self._whose | asdict(Part(members, failed, self._chunks)))
