"""Metadata of a file in the layout of The Well: all but the values of the fields."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._discretisation import Discretisation, from_dict
from .._grid import Grid
from . import claims, layout
from .statistics import Statistics


@dataclass(frozen=True)
class StoredField:
    """A field as it is stored, along trajectory, time, two axes of space and, for a vector, component."""

    path: str  # in the file
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    dtype: np.dtype
    packed: bool  # chunks are of whole frames, shuffled and gzipped

    @property
    def vector(self) -> bool:
        """True for a field of vectors."""
        return len(self.shape) == 5


@dataclass(frozen=True)
class Stored:
    """The contents of a file, without the values of its fields. It holds no open file, and can be pickled."""

    path: Path
    axes: tuple[str, ...]  # of space, in the order of the file
    grid: Grid
    time: np.ndarray
    fields: dict[str, StoredField]
    parameters: dict[str, np.ndarray]
    attributes: dict[str, Any]
    members: np.ndarray
    failed: dict[str, np.ndarray] = field(default_factory=dict)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    discretisation: Discretisation | None = None
    statistics: Statistics = field(default_factory=dict)


def read(path: str | os.PathLike) -> Stored:
    """Read what a file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another layout or is damaged, or declares what it does not hold (`claims`).
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file: {error}") from error
    with file:
        try:
            return _read(path, file)
        except (KeyError, AttributeError, OSError, RuntimeError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not in the layout of The Well, or damaged: {error}") from error


def _read(path: Path, file: Any) -> Stored:
    dimensions = claims.group(file, "dimensions")
    axes = tuple(_text(name) for name in dimensions.attrs["spatial_dims"])
    if sorted(axes) != ["x", "y"] or _text(file.attrs["grid_type"]) != "cartesian":
        raise ValueError(f"{path} has the dimensions {list(axes)}: expected x and y, Cartesian")
    count = int(file.attrs["n_trajectories"])
    if not 0 <= count <= path.stat().st_size:
        raise ValueError(f"{path} has n_trajectories={count}, more than it has bytes")
    x, y, time = (claims.values(dimensions, name, (None,)) for name in ("x", "y", "time"))
    parameters = {}
    scalars = claims.group(file, "scalars")
    for name in layout.names_of(scalars):
        scalar = claims.dataset(scalars, name)
        if not scalar.attrs["time_varying"]:
            values = np.asarray(scalar[()], np.float32).reshape(-1)
            parameters[name] = np.broadcast_to(values, (count,))
    fields = {}
    for order in range(2):
        group = claims.group(file, f"t{order}_fields")
        sizes = [{"x": len(x), "y": len(y)}[axis] for axis in axes]
        for name in layout.names_of(group):
            if _varies(claims.dataset(group, name)):
                values = claims.dataset(group, name, (count, len(time), *sizes, *(2,) * order))
                fields[name] = StoredField(
                    values.name, values.shape, values.chunks, values.dtype, layout.packed(values)
                )
    members, sides, more = np.arange(count), (_side(y.astype(float)), _side(x.astype(float))), {}
    if "provenance" in file:
        group = claims.group(file, "provenance")
        members, failed = claims.values(group, "member", (count,)), claims.group(group, "failed")
        provenance = {name: json.loads(text) for name, text in group.attrs.items()}
        ensemble = provenance["ensemble"]
        sides = tuple(ensemble["extent"])  # coordinates are float32
        more = {
            "failed": {name: claims.values(failed, name, (None,)) for name in failed},
            "statistics": provenance.pop("statistics", {}),
            "provenance": provenance,
            "discretisation": from_dict(ensemble["discretisation"]) if "discretisation" in ensemble else None,
        }
    grid = Grid((len(y), len(x)), sides)
    return Stored(path, axes, grid, time, fields, parameters, dict(file.attrs), members, **more)


def _varies(values):
    """Return whether a field is stored for every trajectory, time and point."""
    return values.attrs["sample_varying"] and values.attrs["time_varying"] and all(values.attrs["dim_varying"])


def _side(points):
    """Return the side of the periodic box with these points."""
    return float(points[-1] - points[0]) * len(points) / (len(points) - 1)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
