"""Reads files of `generate`, and two-dimensional files of The Well."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Array

from .._checks import check_count, check_key, check_processes
from . import stored
from .batches import Batches
from .chunks import CACHE_BYTES, Chunks
from .config import arguments_of
from .ensemble import Ensemble
from .statistics import Statistics, write_yaml
from .windows import Windows, statistics_of


def open(path: str | os.PathLike, *, cache_bytes: int = CACHE_BYTES) -> "Flows":
    """Open a file of flows: `Flows.dataset` is an `xarray.Dataset`, `Flows.batches` an iterator of JAX arrays.

    Args:
        path: an HDF5 file in the layout of The Well, with two periodic dimensions ``x`` and ``y``.
        cache_bytes: bytes of frames that may stay in memory once they are read, for `Flows.batches` and
            `Flows.windows`; by default 1 GiB. A set that fits is read from disk once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has another layout or is damaged; `warpjaxns.data.verify` finds damage.
    """
    return Flows(path, cache_bytes)


class Flows:
    """An open file of flows. It is a context manager; `close` closes the file. A copy by pickle opens the file again.

    Attributes:
        grid: the grid of the frames.
        time: times of the frames, ``(frames,)`` float32 [time].
        parameters: parameters of the trajectories, such as `viscosity`, each float32 ``(trajectories,)``.
        fields: names of the fields, ``vorticity``, the scalars of the ensemble, and ``velocity``.
        members: the numbers of the trajectories within their ensemble, ``(trajectories,)``.
        failed: `member`, `time` and the parameters of the members that became non-finite and are not in the file, each
            ``(failed,)``. Empty for files that `generate` did not write.
        provenance: the ``ensemble`` and the ``software`` of the file, as dicts. Empty for files that `generate` did not
            write.
        discretisation: the `FiniteDifference` or `Spectral` with which the flows were computed. None where the file
            does not say.
    """

    def __init__(self, path: str | os.PathLike, cache_bytes: int = CACHE_BYTES):
        self._stored = stored.read(path)
        self.path, self.grid, self.time = self._stored.path, self._stored.grid, self._stored.time
        self.fields, self.parameters = tuple(self._stored.fields), self._stored.parameters
        self.members, self.failed = self._stored.members, self._stored.failed
        self.provenance, self.discretisation = self._stored.provenance, self._stored.discretisation
        self._chunks = Chunks(self._stored, check_count("cache_bytes", cache_bytes, least=0, most=2**63))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        """Return the number of trajectories."""
        return len(self.members)

    def __reduce__(self):
        return Flows, (self.path.absolute(), self._chunks.cache_bytes)

    def __repr__(self):
        ny, nx = self.grid.shape
        fields = ", ".join(self.fields)
        return f"<Flows {str(self.path)!r}: {len(self)} trajectories of {len(self.time)} frames, {ny} x {nx}: {fields}>"

    def close(self) -> None:
        """Close the file. Datasets that were taken from it open it again when they read."""
        self._chunks.close()

    @property
    def dataset(self):
        """All trajectories as an `xarray.Dataset`, whose values are read from the file when they are used.

        Dimensions are ``member``, ``time``, for vectors ``component``, ``y`` and ``x``, in this order. Parameters are
        variables along ``member``. The dataset opens the file by itself, so it can be pickled, and used when `Flows` is
        closed. ``xarray.open_dataset(path, engine="warpjaxns")`` is the same. Needs xarray (the extra ``data``).
        """
        from .xarray_backend import dataset_of

        return dataset_of(self._stored)

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
        normalise: str | None = None,
        prefetch: int = 2,
        device: Any = None,
    ) -> Batches:
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
            normalise: ``"standard"`` to subtract the mean of each field and divide by its standard deviation, ``"rms"``
                to divide by its root mean square, None for neither. Both follow from `statistics`.
            prefetch: batches that another thread reads ahead, and copies to the device.
            device: where the arrays go, a `jax.Device` or `jax.sharding.Sharding`; by default where JAX puts them.

        Returns:
            An iterator over dicts: for each scalar field an array ``(batch, window, ny, nx)`` and for each vector field
            one ``(batch, window, 2, ny, nx)`` with components u, v; ``time`` ``(batch, window)``; each parameter
            ``(batch,)``. All are float32. It has a length, and a state to go on from.

        Raises:
            TypeError: an argument has another type.
            ValueError: a number is out of range, a field unknown, or there are fewer samples than one batch takes.
        """
        process = check_processes(process_index, process_count)
        windows = self.windows(window, stride=stride, fields=fields, normalise=normalise)
        batch_size = check_count("batch_size", batch_size, least=1)
        prefetch = check_count("prefetch", prefetch, least=0)
        if key is not None:
            check_key("key", key)
        if epochs is not None:
            epochs = check_count("epochs", epochs, least=1)
        if drop_remainder and len(windows) < batch_size * process[1]:
            raise ValueError(
                f"batch_size={batch_size} in each of {process[1]} processes is more than the {len(windows)} samples; "
                "lower it, or set drop_remainder=False"
            )
        how = {"key": key, "epochs": epochs, "drop_remainder": drop_remainder, "prefetch": prefetch, "device": device}
        return Batches(windows, batch_size, process=process, **how)

    def windows(
        self,
        window: int = 1,
        *,
        stride: int = 1,
        fields: Sequence[str] = ("vorticity",),
        normalise: str | None = None,
    ) -> Windows:
        """Return windows of frames as a random-access source, for loaders of other packages.

        It has a length and takes indices, so Grain and PyTorch take it as it is. Its samples are those of `batches`, as
        NumPy arrays without the axis of the batch. It can be pickled.

        Args:
            window: frames in a sample.
            stride: frames from one frame of a sample to the next.
            fields: which fields to read.
            normalise: ``"standard"`` or ``"rms"``, as in `batches`.

        Raises:
            TypeError: an argument has another type.
            ValueError: a number is out of range, or a field unknown.
        """
        return Windows(self._chunks, window, stride, fields, normalise)

    @property
    def statistics(self) -> Statistics:
        """Statistics of each field over all trajectories, frames and points.

        ``statistics["vorticity"]`` has `mean`, `std` and `rms`, and of the differences from one frame to the next
        `mean_delta`, `std_delta` and `rms_delta`. Each is a number, or for a vector a list with one a component.
        `generate` writes them. Other files are read once for them.
        """
        return statistics_of(self._chunks)

    @property
    def ensemble(self) -> Ensemble | None:
        """The ensemble that the flows were made from, or None where the file does not say.

        Raises:
            ValueError: a function that it names cannot be found.
        """
        found = self.provenance.get("ensemble")
        return None if found is None else Ensemble(**arguments_of(found))

    def write_statistics(self, path: str | os.PathLike) -> None:
        """Write the statistics as The Well's ``stats.yaml``, which its reader normalises by."""
        write_yaml(Path(path), self.statistics)
