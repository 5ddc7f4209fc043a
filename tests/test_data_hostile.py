"""Hostile files are refused with an error, before memory is taken for what they declare."""

import shutil
import tracemalloc
import zlib

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from warpjaxns import data  # noqa: E402
from warpjaxns.data import Ensemble, layout, stored, verify  # noqa: E402
from warpjaxns.data.manifest import manifest  # noqa: E402

ENSEMBLE = Ensemble((16, 24), count=3, steps=8, save_every=2, dt=0.02, viscosity=1e-3)
HUGE = 2**40
VORTICITY = "t0_fields/vorticity"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Return a file as `generate` writes it, of fields that are zero."""
    path = tmp_path_factory.mktemp("honest") / "a.h5"
    with h5py.File(path, "w") as file:
        for values in layout.create(file, ENSEMBLE, [0, 1, 2]).values():
            values[...] = 0
        layout.write_provenance(file, manifest(ENSEMBLE, _Device()), ENSEMBLE, [0, 1, 2], {})
    return path


class _Device:
    platform = device_kind = "cpu"


@pytest.fixture
def file(honest, tmp_path):
    """Return a copy of the honest file, open to be changed."""
    path = tmp_path / "b.h5"
    shutil.copy(honest, path)
    with h5py.File(path, "r+") as file:
        yield file


def refused(file, message):
    """Assert that reading raises ValueError, without memory for what the file declares."""
    path = file.filename
    file.close()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            data.open(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def replace(file, name, *args, **kwargs):
    """Put another dataset in the place of one, with its attributes."""
    attributes = dict(file[name].attrs)
    del file[name]
    dataset = file.create_dataset(name, *args, **kwargs)
    dataset.attrs.update(attributes)
    return dataset


def test_the_honest_file_is_read(honest):
    found = stored.read(honest)
    assert {name: field.shape for name, field in found.fields.items()} == {
        "vorticity": (3, 5, 24, 16),
        "velocity": (3, 5, 24, 16, 2),
    }
    with data.open(honest) as flows:
        (batch,) = flows.batches(3, window=5)
    assert not batch["vorticity"].any()


@pytest.mark.parametrize("count", [2**62, -1, 10**6])
def test_a_number_of_trajectories(count, file):
    file.attrs["n_trajectories"] = count
    refused(file, f"n_trajectories={count}|has the shape")


@pytest.mark.parametrize(
    "name",
    ["dimensions/x", "dimensions/time", "scalars/viscosity", "provenance/member", "provenance/failed/time"],
)
def test_values_that_are_not_in_the_file(name, file):
    replace(file, name, shape=(HUGE,), dtype="f4", chunks=(2**20,))
    refused(file, f"{name} (declares {4 * HUGE} bytes|has the shape)")


def test_a_field_that_is_not_in_the_file(file):
    replace(file, VORTICITY, shape=(3, 5, 2**20, 2**20), dtype="f4", chunks=(1, 1, 1024, 1024))
    for axis in "xy":
        replace(file, f"dimensions/{axis}", data=np.arange(2**20, dtype="f4"))
    refused(file, f"{VORTICITY} declares")


@pytest.mark.parametrize("shape", [(3, 5, 24, 15), (2, 5, 24, 16), (3, 5, 24, 16, 1), (3, 4, 24, 16)])
def test_a_field_of_another_shape(shape, file):
    replace(file, VORTICITY, data=np.zeros(shape, "f4"))
    refused(file, "has the shape")


def test_chunks_larger_than_the_field(file):
    replace(file, VORTICITY, data=np.zeros((3, 5, 24, 16), "f4"), chunks=(1, 2**10, 24, 16), maxshape=(3, None, 24, 16))
    refused(file, "which are larger")


def test_a_field_that_is_compressed_twice(file):
    space, properties = h5py.h5s.create_simple((3, 5, 24, 16)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, 5, 24, 16))
    properties.set_deflate(9)
    properties.set_deflate(9)
    attributes = dict(file[VORTICITY].attrs)
    del file[VORTICITY]
    h5py.h5d.create(file["t0_fields"].id, b"vorticity", h5py.h5t.IEEE_F32LE, space, properties)
    file[VORTICITY][...] = 0
    file[VORTICITY].attrs.update(attributes)
    refused(file, "passes a filter twice")


LINKS = {
    "external": lambda other: h5py.ExternalLink(str(other), f"/{VORTICITY}"),
    "soft": lambda other: h5py.SoftLink("/t1_fields/velocity"),
    "nowhere": lambda other: h5py.ExternalLink("/nowhere.h5", "/"),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("name", [VORTICITY, "t0_fields", "dimensions", "provenance/member"])
def test_links(link, name, file, honest):
    del file[name]
    file[name] = link(honest)
    refused(file, "is a link to another place")


def test_values_in_other_files(file, tmp_path, honest):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4 * 3 * 5 * 24 * 16))
    replace(file, VORTICITY, (3, 5, 24, 16), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    refused(file, "stands for values in other files")


def test_a_virtual_dataset(file, honest):
    virtual = h5py.VirtualLayout((3, 5, 24, 16), "f4")
    virtual[:] = h5py.VirtualSource(honest, VORTICITY, (3, 5, 24, 16))
    attributes = dict(file[VORTICITY].attrs)
    del file[VORTICITY]
    file.create_virtual_dataset(VORTICITY, virtual)
    file[VORTICITY].attrs.update(attributes)
    refused(file, "stands for values in other files")


@pytest.mark.parametrize("dtype", [h5py.ref_dtype, h5py.string_dtype(), h5py.vlen_dtype("f4")], ids=str)
def test_values_that_are_no_numbers(dtype, file):
    replace(file, "scalars/viscosity", shape=(3,), dtype=dtype)
    refused(file, "is no dataset of numbers")


def test_a_group_and_a_dataset_that_change_places(file):
    del file["dimensions/x"]
    file.create_group("dimensions/x")
    refused(file, "is no dataset of numbers")


@pytest.mark.parametrize("size", [2**26, 8], ids=["bomb", "short"])
def test_a_chunk_of_another_size(size, file):
    """A chunk may become a thousand times as large: no more is made of it than a chunk has."""
    path = file.filename
    payload = zlib.compress(bytes(size), 9)
    file[VORTICITY].id.write_direct_chunk((1, 0, 0, 0), payload)
    file.close()
    with data.open(path) as flows:
        windows = flows.windows(5)
        assert windows[0]["vorticity"].shape == (5, 16, 24)
        tracemalloc.start()
        try:
            with pytest.raises(OSError, match="vorticity of trajectory 1 cannot be read"):
                windows[1]
            assert tracemalloc.get_traced_memory()[1] < 2**22
        finally:
            tracemalloc.stop()


def test_checksums_that_are_not_in_the_file(file):
    path = file.filename
    group = file.create_group("provenance/checksums")
    group.create_dataset("rest", data=np.uint32(0))
    group.create_dataset("vorticity", shape=(2**20, 2**20), dtype="u4", chunks=(1024, 1024))
    file.close()
    (said,) = verify(path)
    assert "provenance/checksums/vorticity declares" in said
