"""Groups and datasets of an HDF5 file that anybody may have written, taken only if the file itself holds them.

HDF5 lets a file of some kilobytes declare any number of values, and lets a name stand for what is in another file. A
reader that believes it fills the memory, or shows a file of its user's as numbers. So links, virtual datasets and
external storage are refused, and what a dataset declares must be in the file, compressed at most as gzip can.
"""

import os
from typing import Any

import numpy as np

MOST_PACKED = 1100  # bytes that gzip makes of one are 1032 at most (zlib's technical details); room for a last block


def group(parent: Any, path: str) -> Any:
    """Return a group.

    Raises:
        KeyError: there is none of this name.
        ValueError: it is no group, or a link leads to it.
    """
    import h5py

    found = _item(parent, path)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{found.name} is no group")
    return found


def dataset(parent: Any, path: str, shape: tuple[int | None, ...] | None = None) -> Any:
    """Return a dataset of numbers that lies in the file.

    Args:
        parent: the file, or a group of it.
        path: names from there on.
        shape: the shape that it must have; None in it for any length, and None alone for any shape.

    Raises:
        KeyError: there is none of this name.
        ValueError: it is no dataset of numbers, has another shape, or is not in the file.
    """
    import h5py

    found = _item(parent, path)
    name = found.name
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "biuf":
        raise ValueError(f"{name} is no dataset of numbers")
    expected = found.shape if shape is None else shape
    if len(found.shape) != len(expected) or any(e not in (n, None) for n, e in zip(found.shape, expected, strict=True)):
        raise ValueError(f"{name} has the shape {found.shape}: expected {expected}")
    if found.is_virtual or found.external:
        raise ValueError(f"{name} stands for values in other files")
    declared, held, most = found.nbytes, found.id.get_storage_size(), os.path.getsize(found.file.filename)
    if held > most or declared > MOST_PACKED * held or (found.chunks is None and declared > held):
        raise ValueError(f"{name} declares {declared} bytes, of which the file, of {most} bytes, holds {held}")
    if found.chunks is not None:
        _check_chunks(found)
    return found


def _check_chunks(found):
    if any(length > max(n, 1) for length, n in zip(found.chunks, found.shape, strict=True)):
        raise ValueError(f"{found.name} of shape {found.shape} has chunks of {found.chunks}, which are larger")
    properties = found.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if len(set(filters)) < len(filters):  # compressed twice, it could be a million times as large
        raise ValueError(f"{found.name} passes a filter twice: {filters}")


def _item(parent, path):
    """Return what lies at a path, each part of which must be a name in the file, and no link."""
    import h5py

    for part in path.split("/"):
        link = parent.get(part, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise ValueError(f"{parent.name.rstrip('/')}/{part} is a link to another place")
        parent = parent[part]
    return parent


def values(parent: Any, path: str, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Return the values of a `dataset`."""
    return dataset(parent, path, shape)[()]
