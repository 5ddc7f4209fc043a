"""Training sets, read back."""

import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import RELATIVE, relative_error

h5py = pytest.importorskip("h5py")

import warpjaxns as wns  # noqa: E402

ENSEMBLE = wns.data.Ensemble(
    (16, 24),
    count=5,
    steps=8,
    save_every=2,
    dt=0.02,
    viscosity=wns.data.Range(1e-3, 1e-1),
    extent=(2.0, 3.5),
    batch_size=2,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.hdf5"
    wns.data.generate(path, ENSEMBLE)
    return path


@pytest.fixture
def flows(path):
    with wns.data.open(path) as flows:
        yield flows


def stored(path):
    """Return the fields in the package's axes."""
    with h5py.File(path) as file:
        vorticity, velocity = file["t0_fields/vorticity"][:], file["t1_fields/velocity"][:]
    return vorticity.swapaxes(2, 3), velocity.transpose(0, 1, 4, 3, 2)


def test_importing_the_package_imports_no_extra():
    program = "import sys, warpjaxns; print(sorted({'h5py', 'xarray', 'tqdm', 'optax', 'matplotlib'} & {*sys.modules}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_what_a_file_says(flows):
    assert flows.discretisation == ENSEMBLE.discretisation == wns.FiniteDifference()
    assert len(flows) == 5
    assert flows.grid == wns.Grid((16, 24), (2.0, 3.5))
    assert flows.fields == ("vorticity", "velocity")
    assert list(flows.members) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(flows.time, 0.04 * np.arange(5), rtol=1e-6)
    np.testing.assert_array_equal(flows.parameters["viscosity"], ENSEMBLE.parameters(list(range(5)))["viscosity"])
    assert flows.parameters["drag"].shape == (5,)
    assert flows.provenance["ensemble"]["count"] == 5
    assert "5 trajectories of 5 frames, 16 x 24" in repr(flows)


def test_an_xarray_dataset_that_reads_what_is_asked_for(path, flows, monkeypatch):
    pytest.importorskip("xarray")
    vorticity, velocity = stored(path)
    read = []
    original = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: read.append(self.name) or original(self, key))
    dataset = flows.dataset
    assert dict(dataset.sizes) == {"member": 5, "time": 5, "y": 16, "x": 24, "component": 2}
    assert dataset.vorticity.dims == ("member", "time", "y", "x")
    assert dataset.velocity.dims == ("member", "time", "component", "y", "x")
    assert not read  # nothing of the fields yet
    at = dataset.vorticity.isel(member=3, time=slice(1, 4))
    np.testing.assert_array_equal(at, vorticity[3, 1:4])
    assert set(read) == {"/t0_fields/vorticity"}
    # Indices of every kind: unsorted lists, negative steps, masks.
    np.testing.assert_array_equal(
        dataset.vorticity.isel(member=[4, 1, 1], time=slice(None, None, -2), x=slice(20, 3, -3), y=[2, 0]),
        vorticity[[4, 1, 1]][:, ::-2, :, 20:3:-3][:, :, [2, 0]],
    )
    np.testing.assert_array_equal(dataset.velocity.sel(component="y").isel(time=2), velocity[:, 2, 1])
    np.testing.assert_array_equal(dataset.velocity.isel(member=[2, 0], x=3), velocity[[2, 0], ..., 3])
    np.testing.assert_array_equal(dataset.velocity, velocity)
    assert dataset.viscosity.attrs["units"] == "length^2/time"
    np.testing.assert_array_equal(dataset.viscosity, flows.parameters["viscosity"])
    np.testing.assert_allclose(dataset.x, flows.grid.x)
    assert float((dataset.vorticity**2).mean()) == pytest.approx(float((vorticity**2).mean()), rel=1e-5)


def test_xarray_draws_the_picture_of_the_package(flows):
    """Draw a frame both ways. The rows of the arrays in the pictures are those of y."""
    pytest.importorskip("xarray")
    figure = pytest.importorskip("matplotlib.figure")
    ours, theirs = figure.Figure().subplots(), figure.Figure().subplots()
    frame = flows.dataset.vorticity.isel(member=1, time=2)
    mesh = frame.plot(ax=theirs, add_colorbar=False)
    picture = wns.plotting.vorticity(ours, flows.grid, frame.values, units=None)
    drawn = np.reshape(picture.get_array(), (17, 25))[:16, :24]  # without the points that the period repeats
    np.testing.assert_array_equal(np.reshape(mesh.get_array(), (16, 24)), drawn)
    assert (theirs.get_xlabel(), theirs.get_ylabel()) == ("x [length]", "y [length]")
    assert np.ptp(theirs.get_xlim()) == pytest.approx(3.5)  # extent is (2, 3.5)


def test_batches_are_what_the_solver_takes(path, flows):
    vorticity, velocity = stored(path)
    batch = next(flows.batches(3, window=3, fields=("vorticity", "velocity")))
    assert all(isinstance(value, jax.Array) and value.dtype == jnp.float32 for value in batch.values())
    np.testing.assert_array_equal(batch["vorticity"], np.stack([vorticity[0, i : i + 3] for i in range(3)]))
    np.testing.assert_array_equal(batch["velocity"], np.stack([velocity[0, i : i + 3] for i in range(3)]))
    np.testing.assert_allclose(batch["time"], 0.04 * np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]]), rtol=1e-6)
    np.testing.assert_array_equal(batch["viscosity"], flows.parameters["viscosity"][[0, 0, 0]])
    solver = wns.NavierStokes2D(flows.grid, viscosity=batch["viscosity"], dt=ENSEMBLE.dt)
    u, v = solver.velocity(batch["vorticity"][:, 0])
    assert relative_error(batch["velocity"][:, 0], jnp.stack((u, v), 1)) < RELATIVE["float32"]
    later = solver.rollout(batch["vorticity"][:, 0], steps=4, save_every=2)
    assert relative_error(later.swapaxes(0, 1), batch["vorticity"][:, 1:]) < 1e-5


def samples(batches):
    """Return the (member, first time) of all samples, in order."""
    members = {}

    def number(viscosity):
        return members.setdefault(float(viscosity), len(members))

    return [
        (number(nu), round(float(time[0]) / 0.04))
        for b in batches
        for nu, time in zip(b["viscosity"], b["time"], strict=True)
    ]


def test_every_sample_once_an_epoch(flows, key):
    expected = {(member, time) for member in range(5) for time in range(4)}
    in_order = samples(flows.batches(4, window=2))
    assert in_order == sorted(expected)
    shuffled = samples(flows.batches(4, window=2, key=key, epochs=2))
    one, two = shuffled[:20], shuffled[20:]
    assert len(set(one)) == len(set(two)) == 20
    assert one != two
    assert one != in_order
    assert sorted(one) == sorted(two) == sorted(expected)
    again = samples(flows.batches(4, window=2, key=key, epochs=2))
    assert again == shuffled
    forever = samples(itertools.islice(flows.batches(4, window=2, key=key, epochs=None), 15))
    assert forever[:40] == shuffled


def test_strides(flows):
    batch = next(flows.batches(2, window=2, stride=3))
    np.testing.assert_allclose(batch["time"], [[0, 0.12], [0.04, 0.16]], rtol=1e-6)


@pytest.mark.parametrize("drop", [True, False])
def test_processes_share_the_samples(flows, key, drop):
    """Share 25 samples among 4 processes in batches of 3: two full rounds, and one sample left out."""
    options = {"key": key, "process_count": 4, "drop_remainder": drop}
    shares = [list(flows.batches(3, process_index=index, **options)) for index in range(4)]
    assert {tuple(len(b["time"]) for b in share) for share in shares} == {(3, 3)}
    fields = [np.asarray(b["vorticity"]).reshape(len(b["time"]), -1) for share in shares for b in share]
    assert len(np.unique(np.concatenate(fields), axis=0)) == 24


def test_remainders(flows):
    count = lambda **options: [len(b["time"]) for b in flows.batches(4, process_index=0, **options)]  # noqa: E731
    assert count(process_count=1) == [4] * 6
    assert count(process_count=1, drop_remainder=False) == [4] * 6 + [1]
    assert count(process_count=2) == [4] * 3
    assert count(process_count=2, drop_remainder=False) == [4] * 3  # 24 and one that two cannot share
    assert count(process_count=3, drop_remainder=False) == [4, 4]
    assert [len(b["time"]) for b in flows.batches(9, drop_remainder=False, process_index=1, process_count=2)] == [9, 3]


def test_a_file_in_the_other_order_of_axes(path, tmp_path, flows):
    """Read axes y, x and components in that order, as other datasets of The Well may have them."""
    other = tmp_path / "other.hdf5"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        del file["provenance"]
        file["dimensions"].attrs["spatial_dims"] = ["y", "x"]
        for name in ("t0_fields/vorticity", "t1_fields/velocity"):
            values, attributes = file[name][:].swapaxes(2, 3), dict(file[name].attrs)
            del file[name]
            file[name] = values[..., ::-1] if values.ndim == 5 else values
            file[name].attrs.update(attributes)
    fields = ("vorticity", "velocity")
    with wns.data.open(other) as swapped:
        assert swapped.grid.shape == flows.grid.shape
        np.testing.assert_allclose(swapped.grid.extent, flows.grid.extent, rtol=1e-6)
        assert swapped.provenance == {}
        for one, two in zip(swapped.batches(5, fields=fields), flows.batches(5, fields=fields), strict=True):
            for name in fields:
                np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"batch_size": 26}, ValueError, "batch_size=26 in each of 1 processes is more than the 25 samples"),
        ({"window": 6}, ValueError, "window=6 with stride=1 spans 6 frames of the 5"),
        ({"window": 3, "stride": 3}, ValueError, "spans 7 frames"),
        ({"fields": ("pressure",)}, ValueError, "expected some of ('vorticity', 'velocity')"),
        ({"fields": "vorticity"}, ValueError, "in a tuple"),
        ({"key": 0}, TypeError, "key=0: expected a key"),
        ({"epochs": 0}, ValueError, "epochs=0"),
        ({"process_index": 2, "process_count": 2}, ValueError, "process_index=2: expected less than"),
    ],
)
def test_wrong_options(flows, options, kind, message):
    with pytest.raises(kind) as error:
        flows.batches(**{"batch_size": 2, **options})  # at once, not when the first batch is asked for
    assert message in str(error.value)


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        wns.data.open(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        wns.data.open(tmp_path / "text.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(ValueError, match="not in the layout of The Well"):
        wns.data.open(tmp_path / "empty.h5")
