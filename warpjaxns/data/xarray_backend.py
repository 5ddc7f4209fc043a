"""The engine "warpjaxns" of `xarray.open_dataset`: fields are read from their file when they are used. Imports xarray.

The entry point ``xarray.backends`` in ``pyproject.toml`` names `FlowsBackend`. Its datasets hold the path of their
file and no open h5py object, so they can be pickled, copied and read by other processes.
"""

from typing import Any

import numpy as np
import xarray
from xarray.backends import BackendArray, BackendEntrypoint, CachingFileManager
from xarray.core import indexing

from . import stored
from .stored import Stored

UNITS = {
    **{"vorticity": "1/time", "velocity": "length/time", "viscosity": "length^2/time", "drag": "1/time"},
    **{"time": "time", "y": "length", "x": "length", "forcing_amplitude": "length/time^2"},
}


class FlowsBackend(BackendEntrypoint):
    """The backend of files in the layout of The Well with two periodic dimensions. It is never guessed, only named."""

    description = "Flows of warpjaxns, and two-dimensional files of The Well, in the axes (member, time, y, x)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xarray.Dataset:
        """Return the dataset of a file; see `warpjaxns.data.Flows.dataset`."""
        return dataset_of(stored.read(filename_or_obj)).drop_vars(drop_variables or (), errors="ignore")


def dataset_of(flows: Stored) -> xarray.Dataset:
    """Return the dataset of a file. It opens the file when values are read."""
    import h5py

    manager = CachingFileManager(h5py.File, flows.path.absolute(), mode="r")
    variables = {name: _field(manager, name, field, flows.axes) for name, field in flows.fields.items()}
    for name, values in flows.parameters.items():
        variables[name] = xarray.Variable("member", np.array(values), _attributes(name))
    coordinates = {
        name: xarray.Variable(name, np.array(values), _attributes(name))
        for name, values in {"member": flows.members, "time": flows.time, "y": flows.grid.y, "x": flows.grid.x}.items()
    }
    dataset = xarray.Dataset(variables, coordinates, {name: _plain(value) for name, value in flows.attributes.items()})
    if "component" in dataset.dims:
        dataset = dataset.assign_coords(component=list(flows.axes))
        if flows.axes[0] == "y":  # components are stored in the order of the axes
            dataset = dataset.isel(component=slice(None, None, -1))
    dataset.set_close(manager.close)
    return dataset


def _field(manager, name, field, axes):
    """Return a variable with the axes of the package: member, time, component for vectors, y, x."""
    vector = ("component",) if field.vector else ()
    stored, ours = ("member", "time", *axes, *vector), ("member", "time", *vector, "y", "x")
    order = [stored.index(dimension) for dimension in ours]
    values = indexing.LazilyIndexedArray(_Field(manager, field, order))
    chunks = {"preferred_chunks": dict(zip(stored, field.chunks, strict=True))} if field.chunks else {}  # for Dask
    return xarray.Variable(ours, values, _attributes(name), encoding=chunks)


class _Field(BackendArray):
    """A field of a file, with its axes in another order.

    Args:
        manager: what opens the file.
        field: how it is stored.
        order: the axis in the file of each axis of this array.
    """

    def __init__(self, manager, field, order):
        self._manager, self._name, self._order = manager, field.path, order
        self.shape, self.dtype = tuple(field.shape[axis] for axis in order), field.dtype

    def __getitem__(self, key):
        support = indexing.IndexingSupport.OUTER_1VECTOR  # what h5py knows; xarray does the rest in memory
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key):
        stored = tuple(key[self._order.index(axis)] for axis in range(len(self._order)))
        with self._manager.acquire_context() as file:
            field: Any = file[self._name]
            values = field[tuple(list(part) if isinstance(part, np.ndarray) else part for part in stored)]
        kept = [axis for axis, part in enumerate(stored) if not isinstance(part, int | np.integer)]
        return values.transpose([kept.index(axis) for axis in self._order if axis in kept])


def _attributes(name):
    unit = UNITS["viscosity"] if name.endswith("_diffusivity") else UNITS.get(name)
    return {} if unit is None else {"units": unit}


def _plain(value):
    """Return an attribute of HDF5 as a number, a string or a list of numbers, which every format can hold."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and any(isinstance(part, str | bytes) for part in value):
        return ", ".join(map(str, map(_plain, value)))
    return int(value) if isinstance(value, bool) else value
