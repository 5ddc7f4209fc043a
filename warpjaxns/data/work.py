"""The folder beside an unfinished file: what it is being made from, and the batches that are done.

Nothing in it is ever in a state that a crash could leave broken: a file gets its name, by an atomic rename, once it
is complete and on the disk. HDF5 files do not survive a crash while they are being written, so none is used here.

    train.hdf5.parts/
      lock                   held by the process at work, released by the kernel when that ends in whatever way
      manifest.json          the ensemble, and the software and device that compute it
      part-000000.chunks     the compressed chunks of a batch, one after another
      part-000000.json       where they begin; written last, so that its existence says that the batch is done
"""

import dataclasses
import json
import os
import platform
import shutil
import zlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from .ensemble import Ensemble


class OptionsError(ValueError):
    """A request that does not fit what is on the disk. The message says what would."""


@dataclasses.dataclass(frozen=True)
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


def manifest(ensemble: Ensemble) -> dict[str, dict[str, Any]]:
    """What the bytes of a file follow from: the ensemble, and what computes and writes it."""
    import h5py

    from .. import __version__

    names = ("jax", "jaxlib", "warp-lang", "equinox", "numpy", "h5py")
    software = {
        "warpjaxns": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "hdf5": h5py.version.hdf5_version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "device": jax.devices()[0].device_kind,
    }
    return {"ensemble": ensemble.as_dict(), "software": software}


def differences(old: dict, new: dict) -> list[str]:
    """The entries of two manifests that differ, as ``name: old, now new``."""
    out = []
    for part in ("ensemble", "software"):
        before, now = old.get(part, {}), new.get(part, {})
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                out.append(f"{name}: {_shown(before.get(name))}, now {_shown(now.get(name))}")
    return out


class WorkFolder:
    """The folder ``<output>.parts``, locked while this object is open (a context manager).

    Raises:
        OptionsError: another process works in it.
    """

    def __init__(self, output: Path):
        import fcntl  # where there is none, all but this works

        self.path = folder_of(output)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OptionsError(f"{output} is being written by another process") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in self.path.glob("*.tmp"):  # makes room, where the disk is full
            path.unlink()
        os.close(self._lock)

    def read_manifest(self) -> dict[str, Any] | None:
        """The manifest, or None where there is none yet."""
        try:
            return json.loads((self.path / "manifest.json").read_text())
        except FileNotFoundError:
            return None

    def start(self, manifest: dict[str, Any]) -> None:
        """Forget all parts and begin with a new manifest."""
        for path in self.path.iterdir():
            if path.name != "lock":
                path.unlink()
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=1).encode())

    def part(self, batch: int) -> Part | None:
        """A batch that is done, or None."""
        try:
            values = json.loads(self._path(batch, "json").read_text())
            size = self._path(batch, "chunks").stat().st_size
        except FileNotFoundError:
            return None
        part = Part(
            members=values["members"],
            failed={int(member): frame for member, frame in values["failed"].items()},
            chunks=[tuple(chunk) for chunk in values["chunks"]],
        )
        return part if size == sum(chunk[3] for chunk in part.chunks) else None

    def parts(self, batches: int) -> list[Part]:
        """All batches, which are done.

        Raises:
            OSError: one is not.
        """
        parts = [part for part in map(self.part, range(batches)) if part is not None]
        if len(parts) < batches:
            raise OSError(f"{self.path} has only {len(parts)} of {batches} parts; resume to compute the others")
        return parts

    def payloads(self, batch: int, part: Part):
        """The chunks of a batch, ``((member, field, block), bytes)`` one after another.

        Raises:
            OSError: the file is damaged; the batch no longer counts as done.
        """
        with self._path(batch, "chunks").open("rb") as file:
            for member, field, block, length, checksum in part.chunks:
                payload = file.read(length)
                if zlib.crc32(payload) != checksum:
                    self._path(batch, "json").unlink()
                    raise OSError(f"{file.name} is damaged, and its batch will be computed again when resumed")
                yield (member, field, block), payload

    def writer(self, batch: int) -> "PartWriter":
        """Writes the chunks of a batch."""
        return PartWriter(self._path(batch, "chunks"), self._path(batch, "json"))

    def remove(self) -> None:
        """Delete the folder, once the file is in its place."""
        shutil.rmtree(self.path)

    def _path(self, batch, kind):
        return self.path / f"part-{batch:06d}.{kind}"


class PartWriter:
    """Appends the chunks of a batch to its file; `seal` makes it a `Part`."""

    def __init__(self, chunks_path: Path, index_path: Path):
        self._chunks_path, self._index_path = chunks_path, index_path
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
            _sync(file)
        self._temporary.replace(self._chunks_path)
        part = Part(members, failed, self._chunks)
        write_atomically(self._index_path, json.dumps(dataclasses.asdict(part)).encode())


def folder_of(output: Path) -> Path:
    """Where the parts of an unfinished file are."""
    return output.with_name(output.name + ".parts")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it has either its old content or all of the new one, whenever the machine stops."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        _sync(file)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def _shown(value):
    if isinstance(value, dict):  # a Range
        return f"{value['low']} to {value['high']}{' (log)' if value['log'] else ''}"
    return value
