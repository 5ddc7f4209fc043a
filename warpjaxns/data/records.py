"""Files that are written atomically, and small ones with a checksum."""

import json
import os
import zlib
from pathlib import Path
from typing import Any


class DamagedError(ValueError):
    """A damaged file. The message names it."""


def write_record(path: Path, values: dict[str, Any], indent: int | None = None) -> int:
    """Write a dict as JSON with its checksum, and return the checksum."""
    checksum = _checksum(values)
    write_atomically(path, json.dumps({**values, "crc32": checksum}, indent=indent).encode())
    return checksum


def read_record(path: Path) -> tuple[dict[str, Any], int]:
    """Return the dict that `write_record` wrote, and its checksum.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: the file holds something else.
    """
    content = path.read_bytes()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged") from error
    if not isinstance(values, dict):
        raise DamagedError(f"{path} is damaged")
    if "crc32" not in values:
        raise DamagedError(f"{path} has no checksum: it is damaged, or of an earlier version of warpjaxns")
    checksum = values.pop("crc32")
    if checksum != _checksum(values):
        raise DamagedError(f"{path} is damaged")
    return values, checksum


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: after a crash it has either its old content or all of the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        sync(file)
    temporary.replace(path)
    sync_folder(path.parent)


def sync(file) -> None:
    """Flush an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder's files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(values):
    return zlib.crc32(json.dumps(values).encode())
