"""Training sets as `xarray.Dataset`: the engine "warpjaxns", other processes, other formats."""

import copy
import os
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")
xarray = pytest.importorskip("xarray")

import warpjaxns as wns  # noqa: E402
from warpjaxns.data.xarray_backend import FlowsBackend  # noqa: E402

ENSEMBLE = wns.data.Ensemble(
    (16, 24), count=3, steps=4, save_every=2, dt=0.02, viscosity=wns.data.Range(1e-3, 1e-1), extent=(2.0, 3.5)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.hdf5"
    wns.data.generate(path, ENSEMBLE)
    return path


@pytest.fixture
def expected(path):
    """The dataset in memory."""
    with wns.data.open(path) as flows:
        return flows.dataset.load()


def declared(folder):
    """Install the entry points of pyproject.toml into a folder."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    lines = [f"{name} = {place}" for name, place in project["entry-points"]["xarray.backends"].items()]
    (folder / "declared-1.dist-info").mkdir()
    (folder / "declared-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n")
    (folder / "declared-1.dist-info" / "entry_points.txt").write_text("\n".join(["[xarray.backends]", *lines]) + "\n")


def in_another_process(program, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.full
def test_another_process_reads_by_name_and_by_pickle(path, tmp_path, expected):
    declared(tmp_path)
    pickled = tmp_path / "dataset.pickle"
    with wns.data.open(path) as flows:
        pickled.write_bytes(pickle.dumps((flows.dataset, flows)))
    program = (
        "import pathlib, pickle, sys, numpy, xarray\n"
        "by_name = xarray.open_dataset(sys.argv[1], engine='warpjaxns')\n"
        "by_pickle, flows = pickle.loads(pathlib.Path(sys.argv[2]).read_bytes())\n"
        "assert by_name.identical(by_pickle) and by_name.identical(flows.dataset)\n"
        "numpy.save(sys.argv[3], by_pickle.vorticity.isel(member=1))\n"
    )
    in_another_process(program, tmp_path, path, pickled, tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected.vorticity[1])


def test_what_xarray_does_with_a_backend(path, expected):
    with xarray.open_dataset(path, engine=FlowsBackend, drop_variables=["velocity"]) as dataset:
        assert set(dataset.data_vars) == {"vorticity", "viscosity", "drag", "forcing_amplitude"}
        assert dataset.identical(expected.drop_vars("velocity"))
        assert dataset.vorticity.encoding["preferred_chunks"] == {"member": 1, "time": 3, "x": 24, "y": 16}
    with pytest.raises(FileNotFoundError, match=r"none\.hdf5: no such file"):
        xarray.open_dataset("none.hdf5", engine=FlowsBackend)


def test_a_dataset_outlives_its_flows_and_its_copies_each_other(path, expected):
    with wns.data.open(path) as flows:
        dataset = flows.dataset
    deep = copy.deepcopy(dataset)
    assert dataset.identical(expected)
    dataset.close()
    assert deep.identical(expected)
    assert dataset.vorticity.isel(time=1).identical(expected.vorticity.isel(time=1))  # opened again


def test_chunks_of_dask(path, expected):
    pytest.importorskip("dask")
    with xarray.open_dataset(path, engine=FlowsBackend, chunks={}) as dataset:
        assert dataset.vorticity.chunksizes["member"] == (1, 1, 1)
        np.testing.assert_array_equal((dataset.vorticity * 2).compute(scheduler="threads"), expected.vorticity * 2)


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_netcdf(engine, path, tmp_path, expected):
    pytest.importorskip(engine)
    with wns.data.open(path) as flows:
        flows.dataset.to_netcdf(tmp_path / "flows.nc", engine=engine)
    with xarray.open_dataset(tmp_path / "flows.nc", engine=engine) as dataset:
        assert dataset.equals(expected)
        names = "drag, forcing_amplitude, forcing_wavenumber, dt, save_every"
        assert dataset.attrs["simulation_parameters"] == expected.attrs["simulation_parameters"] == names
        assert dataset.attrs["dt"] == 0.02
        assert dataset.vorticity.attrs["units"] == "1/time"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*Zarr:UserWarning", "ignore:The data type")
def test_zarr(path, tmp_path, expected):
    pytest.importorskip("zarr")
    with wns.data.open(path) as flows:
        flows.dataset.to_zarr(tmp_path / "flows.zarr", consolidated=False)
    with xarray.open_zarr(tmp_path / "flows.zarr", consolidated=False, chunks=None) as dataset:
        assert dataset.equals(expected)
        assert dataset.attrs["n_trajectories"] == 3


def test_components_in_the_other_order(path, tmp_path, expected):
    other = tmp_path / "other.hdf5"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        file["dimensions"].attrs["spatial_dims"] = ["y", "x"]
        file.attrs["more"] = np.array([True, False])
        for name in ("t0_fields/vorticity", "t1_fields/velocity"):
            values, attributes = file[name][:].swapaxes(2, 3), dict(file[name].attrs)
            del file[name]
            file[name] = values[..., ::-1] if values.ndim == 5 else values
            file[name].attrs.update(attributes)
    with xarray.open_dataset(other, engine=FlowsBackend) as dataset:
        assert list(dataset.component) == ["x", "y"]
        assert dataset.equals(expected)
        assert dataset.attrs["more"] == [1, 0]
