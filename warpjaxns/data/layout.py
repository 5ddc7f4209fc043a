"""The HDF5 layout of The Well, for this package's flows.

The layout is published at https://polymathic-ai.org/the_well/data_format (Ohana et al. 2024, arXiv 2412.00568):

    /                   grid_type, n_spatial_dims, n_trajectories, dataset_name, simulation_parameters and one
                        attribute for each of these
    dimensions/         spatial_dims = x, y;  time, x, y
    boundary_conditions/x_periodic, y_periodic
    scalars/            viscosity, drag, forcing_amplitude and others: one number, or one a trajectory
    t0_fields/          vorticity and the scalars of the ensemble, each (trajectories, frames, nx, ny)
    t1_fields/          velocity   (trajectories, frames, nx, ny, 2)
    t2_fields/          none
    provenance/         of this package: see `write_provenance`, and `checksums`

Fields are float32, in chunks of one trajectory and a few frames, shuffled and gzipped. Nothing in a file depends on
when or where it was written.
"""

import json
import math
import zlib
from typing import Any

import numpy as np

from .ensemble import Ensemble

CHUNK_BYTES = 2**16  # about the size of a chunk of vorticity, such that windows of a few frames read little else
SHUFFLE, DEFLATE = 2, 1  # HDF5's numbers of these filters


def groups(ensemble: Ensemble) -> dict[str, str]:
    """Return the group of each field in the file, by the field's name."""
    scalars = dict.fromkeys(("vorticity", *(scalar.name for scalar in ensemble.scalars)), "t0_fields")
    return scalars | {"velocity": "t1_fields"}


def names_of(group) -> list[str]:
    """Return the names of fields that a group of a file says it has."""
    return [name.decode() if isinstance(name, bytes) else str(name) for name in group.attrs["field_names"]]


def frames_per_chunk(ensemble: Ensemble) -> int:
    """Return the number of frames of one member in a chunk."""
    ny, nx = ensemble.saved_grid.shape
    return min(max(CHUNK_BYTES // (4 * ny * nx), 1), ensemble.frames)


def compress(block: np.ndarray, level: int) -> bytes:
    """Return a float32 array as a chunk, after HDF5's filters "shuffle" and "gzip"."""
    planes = np.ascontiguousarray(block, "<f4").reshape(-1).view(np.uint8).reshape(-1, 4).T
    return zlib.compress(planes.tobytes(), level)


def decompress(payload: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 array of a chunk that `compress` made.

    Raises:
        zlib.error: the chunk is damaged, or is not of this shape. No more than its bytes are made of it.
    """
    length = 4 * math.prod(shape)
    content = zlib.decompressobj().decompress(payload, length + 1)
    if len(content) != length:
        raise zlib.error(f"a chunk of {length} bytes has {'more' if len(content) > length else 'less'}")
    planes = np.frombuffer(content, np.uint8).reshape(4, -1)
    values = np.empty(planes.shape[::-1], np.uint8)
    for byte, plane in enumerate(planes):  # three times as fast as a transposition
        values[:, byte] = plane
    return values.view("<f4").reshape(shape)


def packed(dataset) -> bool:
    """Return whether an HDF5 dataset has chunks of whole frames that `compress` could have made."""
    found = dataset.id.get_create_plist()
    filters = [found.get_filter(i)[0] for i in range(found.get_nfilters())]
    whole = dataset.chunks is not None and dataset.chunks == (1, dataset.chunks[1], *dataset.shape[2:])
    return whole and dataset.dtype == np.dtype("<f4") and filters == [SHUFFLE, DEFLATE]


def create(file, ensemble: Ensemble, members: list[int]) -> dict[str, Any]:
    """Write all of a file but the contents of its fields.

    Args:
        file: a new h5py.File.
        ensemble: the ensemble that was computed.
        members: numbers of the members in the file, in order.

    Returns:
        The datasets of the fields.
    """
    import h5py

    strings = h5py.string_dtype()
    parameters = ensemble.parameters(members)
    fixed = {name: ensemble.given(name) for name in parameters if not ensemble.varying(name)}
    if not ensemble.varying("forcing_wavenumber"):
        fixed["forcing_wavenumber"] = ensemble.forcing_wavenumber
    fixed |= {"dt": ensemble.dt, "save_every": ensemble.save_every}
    file.attrs["dataset_name"] = "navier_stokes_2d"
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = 2
    file.attrs["n_trajectories"] = len(members)
    file.attrs["simulation_parameters"] = np.array(list(fixed), strings)
    for name, value in fixed.items():
        file.attrs[name] = value

    grid = ensemble.saved_grid
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = np.array(["x", "y"], strings)
    for name, values in {"time": ensemble.times, "x": grid.x, "y": grid.y}.items():
        dataset = _dataset(dimensions, name, values.astype(np.float32))
        _varying(dataset, sample=False, time=False if name != "time" else None)

    boundaries = file.create_group("boundary_conditions")
    for axis, size in {"x": grid.shape[1], "y": grid.shape[0]}.items():
        boundary = boundaries.create_group(f"{axis}_periodic")
        boundary.attrs["associated_dims"] = np.array([axis], strings)
        boundary.attrs["associated_fields"] = np.array([], strings)
        boundary.attrs["bc_type"] = "PERIODIC"
        _varying(boundary, sample=False, time=False)
        mask = np.zeros(size, bool)
        mask[[0, -1]] = True
        _dataset(boundary, "mask", mask)

    scalars = file.create_group("scalars")
    scalars.attrs["field_names"] = np.array(list(parameters), strings)
    for name, values in parameters.items():
        varying = ensemble.varying(name)
        value = values if varying else np.float32(ensemble.given(name))
        _varying(_dataset(scalars, name, value), sample=varying, time=False)

    datasets = {}
    for order in range(3):
        names = [name for name, group in groups(ensemble).items() if group == f"t{order}_fields"]
        group = file.create_group(f"t{order}_fields")
        group.attrs["field_names"] = np.array(names, strings)
        for name in names:
            datasets[name] = _field(group, name, ensemble, len(members), components=(2,) * order)
    return datasets


def write_provenance(file, manifest: dict[str, Any], ensemble: Ensemble, members: list[int], failed: dict[int, int]):
    """Write the group ``provenance``, which The Well does not define.

    Attributes ``ensemble`` and ``software`` (JSON), dataset ``member`` (the number of each trajectory within its
    ensemble), and group ``failed``: ``member``, its parameters, and ``time`` of its first frame that was not finite.
    """
    provenance = file.create_group("provenance")
    for name, values in manifest.items():
        provenance.attrs[name] = json.dumps(values)
    _dataset(provenance, "member", np.array(members, np.int64))
    group = provenance.create_group("failed")
    failures = sorted(failed)
    _dataset(group, "member", np.array(failures, np.int64))
    _dataset(group, "time", ensemble.times[[failed[member] for member in failures]].astype(np.float32))
    for name, values in (ensemble.parameters(failures) if failures else {}).items():
        _dataset(group, name, values)


def write_statistics(file, statistics: dict[str, Any]) -> None:
    """Write the attribute ``statistics`` (JSON) of the group ``provenance``; see `warpjaxns.data.statistics`."""
    file["provenance"].attrs["statistics"] = json.dumps(statistics)


def write_chunk(dataset, row: int, block: int, payload: bytes) -> None:
    """Write a chunk that is already compressed."""
    first = block * dataset.chunks[1]
    dataset.id.write_direct_chunk((row, first, *(0,) * (dataset.ndim - 2)), payload)


def _field(group, name, ensemble, rows, components):
    ny, nx = ensemble.saved_grid.shape
    block = (frames_per_chunk(ensemble), nx, ny, *components)
    dataset = group.create_dataset(
        name,
        shape=(rows, ensemble.frames, *block[1:]),
        chunks=(1, *block) if rows else None,
        dtype="<f4",
        compression="gzip" if rows else None,
        compression_opts=ensemble.compression if rows else None,
        shuffle=bool(rows),
        track_times=False,
    )
    dataset.attrs["dim_varying"] = np.array([True, True])
    _varying(dataset, sample=True, time=True)
    return dataset


def _dataset(group, name, values):
    return group.create_dataset(name, data=values, track_times=False)


def _varying(item, *, sample, time):
    item.attrs["sample_varying"] = sample
    if time is not None:
        item.attrs["time_varying"] = time
