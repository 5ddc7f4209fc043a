"""An `xarray.Dataset` whose fields are read from their HDF5 file when they are used. Imports xarray."""

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing


class _Field(BackendArray):
    """An h5py dataset with the indexing interface of xarray, and its axes in another order.

    Args:
        field: the h5py dataset.
        order: the axis in the file of each axis of this array.
    """

    def __init__(self, field, order):
        self._field, self._order = field, order
        self.shape, self.dtype = tuple(field.shape[axis] for axis in order), field.dtype

    def __getitem__(self, key):
        support = indexing.IndexingSupport.OUTER_1VECTOR  # what h5py knows; xarray does the rest in memory
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key):
        stored = tuple(key[self._order.index(axis)] for axis in range(len(self._order)))
        values = self._field[tuple(list(part) if isinstance(part, np.ndarray) else part for part in stored)]
        kept = [axis for axis, part in enumerate(stored) if not isinstance(part, int | np.integer)]
        return values.transpose([kept.index(axis) for axis in self._order if axis in kept])


def dataset(fields, axes, coordinates, parameters, attributes) -> xarray.Dataset:
    """Return a dataset of the h5py datasets `fields`, stored along member, time, `axes` and, for vectors, component.

    Its own order is that of the package: member, time, component for vectors, y, x.
    """
    units = {"vorticity": "1/time", "velocity": "length/time", "viscosity": "length^2/time", "drag": "1/time"}
    variables = {}
    for name, field in fields.items():
        vector = ("component",) if field.ndim == 5 else ()
        stored, ours = ("member", "time", *axes, *vector), ("member", "time", *vector, "y", "x")
        values = indexing.LazilyIndexedArray(_Field(field, [stored.index(dimension) for dimension in ours]))
        variables[name] = xarray.Variable(ours, values, {"units": units[name]} if name in units else {})
    for name, values in parameters.items():
        variables[name] = xarray.Variable("member", np.array(values), {"units": units[name]} if name in units else {})
    coordinates = dict(coordinates)
    if any(field.ndim == 5 for field in fields.values()):
        coordinates["component"] = list(axes)
    return xarray.Dataset(variables, coordinates, attributes)
