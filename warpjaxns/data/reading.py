"""Reads files of `generate`, and two-dimensional files of The Well."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checks import check_count, check_key, check_processes
from .._discretisation import from_dict
from .._grid import Grid

Batch = dict[str, Array]


def open(path: str | os.PathLike) -> "Flows":
    """Open a file of flows: `Flows.dataset` is an `xarray.Dataset`, `Flows.batches` an iterator of JAX arrays.

    Args:
        path: an HDF5 file in the layout of The Well, with two periodic dimensions ``x`` and ``y``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another layout or is damaged; `warpjaxns.data.verify` finds damage.
    """
    return Flows(path)


class Flows:
    """An open file of flows. It is a context manager; `close` closes the file.

    Attributes:
        grid: the grid of the frames.
        time: times of the frames, ``(frames,)`` float32 [time].
        parameters: parameters of the trajectories, such as `viscosity`, each float32 ``(trajectories,)``.
        fields: names of the fields, ``vorticity`` and ``velocity``.
        members: the numbers of the trajectories within their ensemble, ``(trajectories,)``.
        failed: `member`, `time` and the parameters of the members that became non-finite and are not in the file, each
            ``(failed,)``. Empty for files that `generate` did not write.
        provenance: the ``ensemble`` and the ``software`` of the file, as dicts. Empty for files that `generate` did not
            write.
        discretisation: the `FiniteDifference` or `Spectral` with which the flows were computed. None where the file
            does not say.
    """

    def __init__(self, path: str | os.PathLike):
        import h5py

        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        try:
            self._file: Any = h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{path} is not an HDF5 file: {error}") from error
        try:
            self._read_layout()
        except (KeyError, AttributeError, OSError, RuntimeError, TypeError, json.JSONDecodeError) as error:
            self.close()
            raise ValueError(f"{path} is not in the layout of The Well, or damaged: {error}") from error
        except ValueError:
            self.close()
            raise

    def _read_layout(self):
        file, dimensions = self._file, self._file["dimensions"]
        self._axes = [_text(name) for name in dimensions.attrs["spatial_dims"]]
        if sorted(self._axes) != ["x", "y"] or _text(file.attrs["grid_type"]) != "cartesian":
            raise ValueError(f"{self.path} has the dimensions {self._axes}: expected x and y, Cartesian")
        x, y = dimensions["x"][:].astype(float), dimensions["y"][:].astype(float)
        self.time: np.ndarray = dimensions["time"][:]
        self._count = int(file.attrs["n_trajectories"])
        self.parameters: dict[str, np.ndarray] = {}
        for name in file["scalars"].attrs["field_names"]:
            scalar = file["scalars"][name]
            if not scalar.attrs["time_varying"]:
                values = np.asarray(scalar[()], np.float32).reshape(-1)
                self.parameters[_text(name)] = np.broadcast_to(values, (self._count,))
        fields = {}
        for order in range(2):
            group = file[f"t{order}_fields"]
            fields |= {_text(name): group[name] for name in group.attrs["field_names"]}
        self._fields: dict[str, Any] = {name: field for name, field in fields.items() if _varies(field)}
        self.fields = tuple(self._fields)
        self.members: np.ndarray = np.arange(self._count)
        self.failed: dict[str, np.ndarray] = {}
        self.provenance: dict[str, dict[str, Any]] = {}
        self.discretisation = None
        sides = _side(y), _side(x)
        if "provenance" in file:
            provenance = file["provenance"]
            self.members = provenance["member"][:]
            self.failed = {name: values[:] for name, values in provenance["failed"].items()}
            self.provenance = {name: json.loads(text) for name, text in provenance.attrs.items()}
            ensemble = self.provenance["ensemble"]
            sides = tuple(ensemble["extent"])  # coordinates are float32
            if "discretisation" in ensemble:
                self.discretisation = from_dict(ensemble["discretisation"])
        self.grid = Grid((len(y), len(x)), sides)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        """Return the number of trajectories."""
        return self._count

    def __repr__(self):
        ny, nx = self.grid.shape
        fields = ", ".join(self.fields)
        return f"<Flows {str(self.path)!r}: {len(self)} trajectories of {len(self.time)} frames, {ny} x {nx}: {fields}>"

    def close(self) -> None:
        """Close the file. Values that `dataset` has not read yet can then not be read."""
        self._file.close()

    @property
    def dataset(self):
        """All trajectories as an `xarray.Dataset`, whose values are read from the file when they are used.

        Dimensions are ``member``, ``time``, ``x``, ``y`` and, for vectors, ``component``. Parameters are variables
        along ``member``. Needs xarray (the extra ``data``).
        """
        from .lazy import dataset

        coordinates = {"member": self.members, "time": self.time, "x": self.grid.x, "y": self.grid.y}
        return dataset(self._fields, self._axes, coordinates, self.parameters, dict(self._file.attrs))

    def batches(
        self,
        batch_size: int,
        *,
        key: Array | None = None,
        window: int = 1,
        stride: int = 1,
        fields: Sequence[str] = ("vorticity",),
        epochs: int | None = 1,
        drop_remainder: bool = True,
        process_index: int | None = None,
        process_count: int | None = None,
    ) -> Iterator[Batch]:
        """Iterate over windows of frames, in batches of JAX arrays.

        A sample is `window` frames of one trajectory, `stride` frames apart. Every frame from which the window fits
        begins a sample. Each epoch goes through all samples once, in an order drawn from ``fold_in(key, epoch)``. The
        order is the same in every process. Process p takes samples p, p + process_count, and so on. So all processes
        get the same number of batches, of the same sizes, and no sample twice.

        Args:
            batch_size: samples in a batch of this process.
            key: one key of `jax.random.key`; None for the order of the file.
            window: frames in a sample.
            stride: frames from one frame of a sample to the next.
            fields: which fields to read.
            epochs: number of epochs; None for no end.
            drop_remainder: whether to leave out the samples of an epoch that do not fill a batch. Otherwise they make a
                smaller last batch. Samples that the processes cannot share evenly are always left out.
            process_index: index of this process; by default `jax.process_index()`.
            process_count: number of processes; by default `jax.process_count()`.

        Yields:
            A dict: for each scalar field an array ``(batch, window, ny, nx)`` and for each vector field one
            ``(batch, window, 2, ny, nx)`` with components u, v; ``time`` ``(batch, window)``; each parameter
            ``(batch,)``. All are float32.

        Raises:
            TypeError: an argument has another type.
            ValueError: a number is out of range, a field unknown, or there are fewer samples than one batch takes.
        """
        index, count = check_processes(process_index, process_count)
        batch_size = check_count("batch_size", batch_size, least=1)
        window, stride = check_count("window", window, least=1), check_count("stride", stride, least=1)
        if key is not None:
            check_key("key", key)
        if epochs is not None:
            epochs = check_count("epochs", epochs, least=1)
        if isinstance(fields, str) or any(name not in self._fields for name in fields):
            raise ValueError(f"fields={fields!r}: expected some of {self.fields}, in a tuple")
        span = (window - 1) * stride + 1
        if span > len(self.time):
            raise ValueError(
                f"window={window} with stride={stride} spans {span} frames of the {len(self.time)} there are"
            )
        starts = len(self.time) - span + 1
        if drop_remainder and len(self) * starts < batch_size * count:
            raise ValueError(
                f"batch_size={batch_size} in each of {count} processes is more than the {len(self) * starts} samples; "
                "lower it, or set drop_remainder=False"
            )
        return self._epochs(batch_size, key, (span, stride), tuple(fields), epochs, drop_remainder, index, count)

    def _epochs(self, batch_size, key, window, fields, epochs, drop_remainder, index, count):
        starts = len(self.time) - window[0] + 1
        epoch = 0
        while epochs is None or epoch < epochs:
            order = np.arange(len(self) * starts)
            if key is not None:
                order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), len(order)))
            if drop_remainder:
                order = order[: len(order) // (batch_size * count) * batch_size * count]
            mine = order[: len(order) // count * count][index::count]
            for first in range(0, len(mine), batch_size):
                samples = [divmod(int(sample), starts) for sample in mine[first : first + batch_size]]
                yield self._batch(samples, window, fields)
            epoch += 1

    def _batch(self, samples, window, fields) -> Batch:
        span, stride = window
        batch = {}
        for name in fields:
            field = self._fields[name]
            values = np.stack([field[row, start : start + span : stride] for row, start in samples])
            batch[name] = jnp.asarray(self._in_our_axes(values, vector=field.ndim == 5), jnp.float32)
        batch["time"] = jnp.asarray(np.stack([self.time[start : start + span : stride] for _, start in samples]))
        rows = [row for row, _ in samples]
        return batch | {name: jnp.asarray(values[rows]) for name, values in self.parameters.items()}

    def _in_our_axes(self, values, *, vector):
        """Transpose (batch, window, *axes, component) to (batch, window, component, y, x)."""
        y, x = 2 + self._axes.index("y"), 2 + self._axes.index("x")
        if not vector:
            return values.transpose(0, 1, y, x)
        if self._axes[0] == "y":
            values = values[..., ::-1]  # components come in the order of the axes
        return values.transpose(0, 1, 4, y, x)


def _varies(field):
    """Return whether a field is stored for every trajectory, time and point."""
    return field.attrs["sample_varying"] and field.attrs["time_varying"] and all(field.attrs["dim_varying"])


def _side(points):
    """Return the side of the periodic box with these points."""
    return float(points[-1] - points[0]) * len(points) / (len(points) - 1)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)
