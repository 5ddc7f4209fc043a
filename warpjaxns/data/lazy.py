"""An `xarray.Dataset` whose fields are read from their HDF5 file when they are used. Imports xarray."""

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing


class _Field(BackendArray):
    """An h5py dataset with the indexing interface of xarray."""

    def __init__(self, field):
        self._field = field
        self.shape, self.dtype = field.shape, field.dtype

    def __getitem__(self, key):
        support = indexing.IndexingSupport.OUTER_1VECTOR  # what h5py knows; xarray does the rest in memory
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key):
        return self._field[tuple(list(part) if isinstance(part, np.ndarray) else part for part in key)]


def dataset(fields, axes, coordinates, parameters, attributes) -> xarray.Dataset:
    """Return a dataset of the h5py datasets `fields` along member, time, `axes` and, for vectors, component."""
    units = {"vorticity": "1/time", "velocity": "length/time", "viscosity": "length^2/time", "drag": "1/time"}
    variables = {}
    for name, field in fields.items():
        dimensions = ("member", "time", *axes, *(("component",) if field.ndim == 5 else ()))
        values = indexing.LazilyIndexedArray(_Field(field))
        variables[name] = xarray.Variable(dimensions, values, {"units": units[name]} if name in units else {})
    for name, values in parameters.items():
        variables[name] = xarray.Variable("member", np.array(values), {"units": units[name]} if name in units else {})
    coordinates = dict(coordinates)
    if any(field.ndim == 5 for field in fields.values()):
        coordinates["component"] = list(axes)
    return xarray.Dataset(variables, coordinates, attributes)
