"""Loading of training sets: random access, batches, statistics."""

import dataclasses
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

import warpjaxns as wns  # noqa: E402
from warpjaxns.data.chunks import Block, Chunks  # noqa: E402

ENSEMBLE = wns.data.Ensemble(
    (16, 24), count=4, steps=8, save_every=2, dt=0.02, viscosity=wns.data.Range(1e-3, 1e-1), extent=(2.0, 3.5),
    batch_size=3,
)  # fmt: skip
BOTH = ("vorticity", "velocity")
FRAME = 4 * 16 * 24


full = pytest.mark.full


@pytest.fixture(scope="module", params=[pytest.param("frames", marks=full), "pairs", pytest.param("whole", marks=full)])
def path(request, tmp_path_factory):
    """A file whose chunks have one frame, two of the five, or all."""
    path = tmp_path_factory.mktemp("data") / "train.hdf5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warpjaxns.data.layout.CHUNK_BYTES", {"frames": 1, "pairs": 2, "whole": 9}[request.param] * FRAME)
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
    return {"vorticity": vorticity.swapaxes(2, 3), "velocity": velocity.transpose(0, 1, 4, 3, 2)}


@pytest.fixture
def reads(monkeypatch):
    """The blocks that are read from disk, in order."""
    blocks, original = [], Chunks.read
    monkeypatch.setattr(Chunks, "read", lambda self, block: blocks.append(block) or original(self, block))
    return blocks


def test_every_sample(path, flows):
    fields = stored(path)
    windows = flows.windows(2, stride=2, fields=BOTH)
    assert len(windows) == 4 * 3
    assert "12 samples of 2 frames, stride 2: vorticity, velocity" in repr(windows)
    for number, sample in enumerate(windows):
        row, start = divmod(number, 3)
        for name in BOTH:
            assert sample[name].dtype == np.float32
            np.testing.assert_array_equal(sample[name], fields[name][row, start : start + 3 : 2])
        np.testing.assert_allclose(sample["time"], [0.04 * start, 0.04 * (start + 2)], rtol=1e-6)
        assert sample["viscosity"] == flows.parameters["viscosity"][row]
    np.testing.assert_array_equal(windows[np.int64(-1)]["vorticity"], windows[11]["vorticity"])
    for number in (12, -13):
        with pytest.raises(IndexError, match=f"sample {number} of 12"):
            windows[number]
    windows[0]["vorticity"][...] = 0  # a copy: what stays in memory is not changed
    np.testing.assert_array_equal(windows[0]["vorticity"], fields["vorticity"][0, :3:2])


def test_a_set_that_fits_is_read_once(flows, reads):
    for _ in flows.batches(3, window=2, fields=BOTH, key=jax.random.key(0), epochs=3):
        pass
    assert len(reads) == len(set(reads)) == 4 * (blocks(flows, "vorticity") + blocks(flows, "velocity"))
    list(flows.batches(3, window=2))  # another iterator of the same file
    assert len(reads) == len(set(reads))


def blocks(flows, name):
    with h5py.File(flows.path) as file:
        (field,) = (group[name] for group in (file["t0_fields"], file["t1_fields"]) if name in group)
        return math.ceil(5 / field.chunks[1])


@pytest.mark.parametrize("frames", [0, 5])
def test_a_set_that_does_not_fit(path, frames, reads):
    """Keep no more than the memory allows, forget the oldest, and read the same values."""
    fields = stored(path)
    with wns.data.open(path, cache_bytes=frames * FRAME) as flows:
        windows = flows.windows(3)
        counts = []
        for number in (0, 0, 5, 11, 0):
            row, start = divmod(number, 3)
            np.testing.assert_array_equal(windows[number]["vorticity"], fields["vorticity"][row, start : start + 3])
            kept = windows._chunks._blocks
            assert sum(block.nbytes for block in kept.values()) == windows._chunks._bytes <= frames * FRAME
            counts.append(len(reads))
        assert (counts[1] == counts[0]) == (frames == 5)
        assert counts[4] > counts[3]  # forgotten, and read again


def test_threads_read_at_once(flows):
    """HDF5 is not safe with threads, and h5py 3.11 does not guard the call that reads a chunk as it lies."""
    chunks = Chunks(flows._chunks.stored, 0)
    rows, numbers = len(flows.members), blocks(flows, "vorticity")
    every = [Block("vorticity", row, number) for row in range(rows) for number in range(numbers)]
    alone = [chunks.read(block) for block in every]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            for found, expected in zip(pool.map(chunks.read, every), alone, strict=True):
                np.testing.assert_array_equal(found, expected)
    chunks.close()


def test_fields_that_are_stored_otherwise(path, tmp_path):
    """Read contiguous fields, and chunks of part of a frame, as other files of The Well have them."""
    fields = stored(path)
    other = tmp_path / "other.hdf5"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        for name, how in {"t0_fields/vorticity": {}, "t1_fields/velocity": {"chunks": (2, 2, 5, 7, 1)}}.items():
            values, attributes = file[name][:], dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, data=values, **how).attrs.update(attributes)
    with wns.data.open(other) as flows:
        (batch,) = flows.batches(4, window=5, fields=BOTH)
        for name in BOTH:
            np.testing.assert_array_equal(batch[name], fields[name])


def values(batches):
    return [np.asarray(batch["vorticity"]) for batch in batches]


@pytest.mark.parametrize("prefetch", [0, 3])
def test_going_on_where_it_stopped(flows, key, prefetch):
    def begin():
        return flows.batches(3, key=key, window=2, epochs=3, prefetch=prefetch)

    batches = begin()
    assert len(batches) == 3 * batches.per_epoch == 3 * 5
    every = values(batches)
    assert batches.get_state() == {"epoch": 3, "batch": 0, "per_epoch": 5}
    batches = begin()
    first = values(next(batches) for _ in range(7))
    state = json.loads(json.dumps(batches.get_state()))
    assert state == {"epoch": 1, "batch": 2, "per_epoch": 5}
    other = begin()
    next(other)
    other.set_state(state)
    np.testing.assert_array_equal(np.concatenate([*first, *values(other)]), np.concatenate(every))
    with pytest.raises(ValueError, match="5 batches in an epoch"):
        other.set_state({"epoch": 0, "batch": 0, "per_epoch": 4})
    with pytest.raises(TypeError, match="epochs=None"):
        len(flows.batches(3, epochs=None))


def test_where_the_arrays_go(flows):
    device = jax.devices()[-1]
    (batch, *_) = flows.batches(4, device=device)
    assert batch["vorticity"].devices() == {device}
    assert batch["vorticity"].committed
    with jax.default_device(device):
        batches = flows.batches(4)
    batch = next(batches)  # the device is that of where they were asked for
    assert batch["vorticity"].devices() == {device}
    assert not batch["vorticity"].committed
    mesh = jax.make_mesh((1,), ("batch",))
    sharding = jax.sharding.NamedSharding(mesh, jax.P("batch"))
    assert next(flows.batches(4, device=sharding))["viscosity"].sharding == sharding


def test_an_error_while_reading_ahead(path, tmp_path):
    copy = tmp_path / "a.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy) as file:
        chunk = file["t0_fields/vorticity"].id.get_chunk_info_by_coord((2, 0, 0, 0))
    content = bytearray(copy.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    copy.write_bytes(content)
    with wns.data.open(copy) as flows:
        batches = flows.batches(1, window=5)
        assert len(values(next(batches) for _ in range(2))) == 2
        with pytest.raises(OSError, match=r"a\.h5: vorticity of trajectory 2 cannot be read .*verify says what"):
            next(batches)


def test_what_was_closed(path):
    with wns.data.open(path) as flows:
        windows = flows.windows()
        copy = pickle.loads(pickle.dumps(windows))
    with pytest.raises(ValueError, match="was closed; read it inside the with block"):
        windows[0]
    np.testing.assert_array_equal(copy[1]["vorticity"], stored(path)["vorticity"][0, 1:2])  # opens it by itself


def expected(values):
    """Return the statistics of a field (members, frames, [component,] y, x) in float64."""
    values = values.astype(float) if values.ndim == 5 else values.astype(float)[:, :, None]
    out = {}
    for suffix, of in {"": values, "_delta": np.diff(values, axis=1)}.items():
        axes = (0, 1, 3, 4)
        found = {"mean": of.mean(axes), "std": of.std(axes), "rms": np.sqrt((of**2).mean(axes))}
        out |= {f"{name}{suffix}": value for name, value in found.items()}
    return out


def test_statistics(path, flows, tmp_path, reads):
    fields = stored(path)
    for name in BOTH:
        wanted = expected(fields[name])
        assert set(flows.statistics[name]) == set(wanted)
        for key, value in wanted.items():
            found = np.reshape(flows.statistics[name][key], -1)
            np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-14, err_msg=f"{name} {key}")
    assert not reads  # `generate` wrote them
    assert set(flows.provenance) == {"ensemble", "software"}
    older = tmp_path / "older.h5"
    older.write_bytes(path.read_bytes())
    with h5py.File(older, "r+") as file:
        del file["provenance"].attrs["statistics"]
    with wns.data.open(older) as without:
        for name in BOTH:
            for key, value in flows.statistics[name].items():
                np.testing.assert_allclose(without.statistics[name][key], value, rtol=1e-12, atol=1e-14)


def test_statistics_leave_out_members_that_failed(tmp_path):
    mixed = dataclasses.replace(ENSEMBLE, count=6, steps=60, viscosity=wns.data.Range(0.01, 40.0, log=True))
    with pytest.warns(RuntimeWarning, match="members are unstable"):
        summary = wns.data.generate(tmp_path / "a.h5", mixed)
    assert 0 < len(summary.failed) < 6
    with wns.data.open(tmp_path / "a.h5") as flows:
        wanted = expected(stored(tmp_path / "a.h5")["vorticity"])
        np.testing.assert_allclose(flows.statistics["vorticity"]["rms"], wanted["rms"][0], rtol=1e-12)


def test_normalised_batches(flows):
    (plain,) = flows.batches(4, window=5, fields=BOTH)
    (standard,) = flows.batches(4, window=5, fields=BOTH, normalise="standard")
    (by_rms,) = flows.batches(4, window=5, fields=BOTH, normalise="rms")
    for name, axes in {"vorticity": (0, 1, 2, 3), "velocity": (0, 1, 3, 4)}.items():
        np.testing.assert_allclose(np.mean(standard[name], axes), 0, atol=1e-5)
        np.testing.assert_allclose(np.std(standard[name], axes), 1, rtol=1e-5)
        rms = np.reshape(flows.statistics[name]["rms"], (-1, 1, 1)).astype(np.float32)
        scaled = np.asarray(by_rms[name]) * (rms if name == "velocity" else rms[0])
        np.testing.assert_allclose(scaled, plain[name], rtol=1e-6)
    np.testing.assert_array_equal(by_rms["viscosity"], plain["viscosity"])
    with pytest.raises(ValueError, match="normalise='max': expected one of 'standard', 'rms'"):
        flows.batches(4, normalise="max")


def test_a_fluid_at_rest(tmp_path):
    """Divide by one where the root mean square is zero: u of a flow along y."""
    from warpjaxns.data.statistics import Sums, scaling, statistics

    sums = Sums((0, 2, 3))
    sums.add(np.stack([np.zeros((3, 4, 6)), np.ones((3, 4, 6))], axis=1))
    found = {"velocity": statistics([sums.totals], 3, 24)}
    assert found["velocity"]["rms"] == [0, 1]
    _, scale = scaling(found, ["velocity"], "rms")["velocity"]
    np.testing.assert_array_equal(scale, np.ones((2, 1, 1)))


def test_the_yaml_of_the_well(flows, tmp_path):
    yaml = pytest.importorskip("yaml")
    flows.write_statistics(tmp_path / "stats.yaml")
    found = yaml.safe_load((tmp_path / "stats.yaml").read_text())
    assert set(found) == {"mean", "std", "rms", "mean_delta", "std_delta", "rms_delta"}
    for key, of_fields in found.items():
        assert of_fields == {name: flows.statistics[name][key] for name in BOTH}


def test_pytorch(flows):
    utilities = pytest.importorskip("torch.utils.data")
    loader = utilities.DataLoader(flows.windows(2), batch_size=4)
    one, ours = next(iter(loader)), next(flows.batches(4, window=2))
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor.numpy(), ours[name])


def test_grain(flows):
    grain = pytest.importorskip("grain")
    source = grain.MapDataset.source(flows.windows(2, fields=BOTH))
    one, ours = source.batch(4)[0], next(flows.batches(4, window=2, fields=BOTH))
    for name, value in one.items():
        np.testing.assert_array_equal(value, ours[name])
