"""Files of `generate`: contents, layout and failures."""

import dataclasses
import importlib.util
import json
import warnings

import jax
import numpy as np
import pytest
from tolerances import ROLLOUT, assert_close

h5py = pytest.importorskip("h5py")

from warpjaxns import FiniteDifference, NavierStokes2D, Spectral, cli, data  # noqa: E402
from warpjaxns.data import Ensemble, Range, generate  # noqa: E402
from warpjaxns.data.simulate import simulate  # noqa: E402

module = importlib.import_module("warpjaxns.data.generate")  # the package has a function of its name
ENSEMBLE = Ensemble(
    (16, 24), count=5, steps=8, save_every=2, dt=0.02, viscosity=Range(1e-3, 1e-1), extent=(2.0, 3.5), batch_size=2
)
TINY = ["generate", "--size", "16x24", "--count", "5", "--steps", "8", "--save-every", "2", "--batch-size", "2"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "new" / "train.hdf5"
    assert generate(path, ENSEMBLE) == data.Summary(path, 5, ())
    return path


def test_the_layout_of_the_well(path):
    """Check the layout of https://polymathic-ai.org/the_well/data_format."""
    with h5py.File(path) as file:
        assert set(file) >= {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
        assert file.attrs["grid_type"] == "cartesian"
        assert file.attrs["n_spatial_dims"] == 2
        assert file.attrs["n_trajectories"] == 5
        assert isinstance(file.attrs["dataset_name"], str)
        for name in file.attrs["simulation_parameters"]:
            assert np.isscalar(file.attrs[name]), name
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        assert dict(zip(file["dimensions"], map(np.shape, file["dimensions"].values()), strict=True)) == {
            "time": (5,), "x": (24,), "y": (16,)
        }  # fmt: skip
        for name, dimension in file["dimensions"].items():
            assert dimension.dtype == np.float32
            assert not dimension.attrs["sample_varying"]
            assert name == "time" or not dimension.attrs["time_varying"]
        np.testing.assert_allclose(file["dimensions/time"], 0.04 * np.arange(5), rtol=1e-6)
        np.testing.assert_allclose(file["dimensions/x"], 3.5 / 24 * np.arange(24), rtol=1e-6)
        for axis, size in {"x": 24, "y": 16}.items():
            boundary = file[f"boundary_conditions/{axis}_periodic"]
            assert boundary.attrs["bc_type"] == "PERIODIC"
            assert list(boundary.attrs["associated_dims"]) == [axis]
            assert len(boundary.attrs["associated_fields"]) == 0
            assert not boundary.attrs["sample_varying"] | boundary.attrs["time_varying"]
            assert boundary["mask"].dtype == bool
            np.testing.assert_array_equal(np.flatnonzero(boundary["mask"]), [0, size - 1])
        assert set(file["scalars"].attrs["field_names"]) == set(file["scalars"])
        for name, shape in {"viscosity": (5,), "drag": (), "forcing_amplitude": ()}.items():
            scalar = file["scalars"][name]
            assert (scalar.shape, scalar.dtype) == (shape, np.float32)
            assert bool(scalar.attrs["sample_varying"]) == bool(shape)
            assert not scalar.attrs["time_varying"]
        for order, shapes in enumerate(({"vorticity": (5, 5, 24, 16)}, {"velocity": (5, 5, 24, 16, 2)}, {})):
            group = file[f"t{order}_fields"]
            assert list(group.attrs["field_names"]) == list(group) == list(shapes)
            for name, shape in shapes.items():
                field = group[name]
                assert (field.shape, field.dtype) == (shape, np.float32)
                assert list(field.attrs["dim_varying"]) == [True, True]
                assert field.attrs["sample_varying"]
                assert field.attrs["time_varying"]
                assert field.chunks[0] == 1
                assert (field.compression, field.compression_opts, field.shuffle) == ("gzip", 1, True)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_wells_own_reader(path):
    well = pytest.importorskip("the_well.data", reason="the_well is not installed")
    dataset = well.WellDataset(path=str(path.parent), n_steps_input=2, n_steps_output=1)
    assert len(dataset) == 5 * 3
    assert dataset.metadata.spatial_resolution == (24, 16)
    assert dataset.metadata.field_names == {0: ["vorticity"], 1: ["velocity_x", "velocity_y"], 2: []}
    assert dataset.metadata.boundary_condition_types == ["PERIODIC"]
    sample = dataset[4]  # trajectory 1, from frame 1
    with h5py.File(path) as file:
        np.testing.assert_array_equal(sample["input_fields"][..., 0], file["t0_fields/vorticity"][1, 1:3])
        np.testing.assert_array_equal(sample["output_fields"][..., 1:], file["t1_fields/velocity"][1, 3:4])
        assert sample["constant_scalars"][0] == file["scalars/viscosity"][1]
    assert (sample["boundary_conditions"] == 2).all()  # PERIODIC at both ends of both axes
    assert dataset.to_xarray("numpy").sizes["sample"] == 5
    with data.open(path) as flows:
        ours = flows.windows(3, fields=("vorticity", "velocity"))[4]  # the same sample, in the axes of the package
    np.testing.assert_array_equal(sample["input_fields"][..., 0].swapaxes(1, 2), ours["vorticity"][:2])
    np.testing.assert_array_equal(sample["input_fields"][..., 1:].permute(0, 3, 2, 1), ours["velocity"][:2])


@pytest.mark.parametrize("normalisation", ["ZScoreNormalization", "RMSNormalization"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_wells_own_normalisation(path, normalisation):
    well = pytest.importorskip("the_well.data", reason="the_well is not installed")
    kind = getattr(importlib.import_module("the_well.data.normalization"), normalisation)
    with data.open(path) as flows:
        flows.write_statistics(path.parent / "stats.yaml")
        by = {"ZScoreNormalization": "standard", "RMSNormalization": "rms"}[normalisation]
        ours = flows.windows(3, fields=("vorticity", "velocity"), normalise=by)[4]
    how = {"n_steps_input": 2, "n_steps_output": 1, "use_normalization": True, "normalization_type": kind}
    sample = well.WellDataset(path=str(path.parent), **how)[4]["input_fields"]
    np.testing.assert_allclose(sample[..., 0].swapaxes(1, 2), ours["vorticity"][:2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(sample[..., 1:].permute(0, 3, 2, 1), ours["velocity"][:2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 2**12, 2**18])
def test_every_frame_is_where_it_belongs(path, tmp_path, monkeypatch, limit):
    """Check chunks of one frame, of two (which do not divide five), and of all."""
    monkeypatch.setattr("warpjaxns.data.layout.CHUNK_BYTES", limit)
    generate(tmp_path / "a.h5", ENSEMBLE)
    frames = [frame for *_, frame in simulate(ENSEMBLE, range(3), jax.devices()[:1])]
    with h5py.File(tmp_path / "a.h5") as file:
        vorticity, velocity = file["t0_fields/vorticity"], file["t1_fields/velocity"]
        assert vorticity.chunks[1] == {1: 1, 2**12: 2, 2**18: 5}[limit]
        for member in range(5):
            for time in range(5):
                frame = frames[member // 2 * 5 + time]
                np.testing.assert_array_equal(vorticity[member, time], frame.fields["vorticity"][member % 2])
                np.testing.assert_array_equal(velocity[member, time], frame.fields["velocity"][member % 2])


def test_provenance(path):
    with h5py.File(path) as file:
        provenance = file["provenance"]
        np.testing.assert_array_equal(provenance["member"], range(5))
        recorded = json.loads(provenance.attrs["ensemble"])
        assert recorded["viscosity"] == {"low": 1e-3, "high": 1e-1, "log": False}
        assert recorded["shape"] == [16, 24]
        software = json.loads(provenance.attrs["software"])
        assert {"warpjaxns", "jax", "warp-lang", "h5py", "hdf5", "device"} <= set(software)
        assert provenance["failed/member"].shape == (0,)


def test_a_member_that_blows_up_is_recorded_and_left_out(tmp_path, path):
    """Viscosities above 0.28 are unstable with this step. Larger ones fail sooner."""
    mixed = dataclasses.replace(ENSEMBLE, count=6, batch_size=3, steps=60, viscosity=Range(0.01, 40.0, log=True))
    assert mixed.largest_viscosity == pytest.approx(0.283, rel=0.01)
    with pytest.warns(RuntimeWarning, match=r"members are unstable: dt=0.02 allows viscosities up to 0.283"):
        summary = generate(tmp_path / "mixed.h5", mixed)
    viscosity = mixed.parameters(list(range(6)))["viscosity"]
    assert set(summary.failed) == set(np.flatnonzero(viscosity > mixed.largest_viscosity))
    assert 0 < len(summary.failed) < 6
    kept = [member for member in range(6) if member not in summary.failed]
    frames = [frame for *_, frame in simulate(mixed, range(2), jax.devices()[:1])]
    with data.open(tmp_path / "mixed.h5") as flows, h5py.File(tmp_path / "mixed.h5") as file:
        assert summary.trajectories == len(flows) == len(kept)
        assert list(flows.members) == kept
        np.testing.assert_array_equal(flows.parameters["viscosity"], viscosity[kept])
        assert list(flows.failed["member"]) == list(summary.failed)
        np.testing.assert_array_equal(flows.failed["viscosity"], viscosity[list(summary.failed)])
        assert (flows.failed["time"] > 0).all()
        assert len(set(flows.failed["time"])) > 1
        for row, member in enumerate(kept):  # the others went on as if nothing had been
            last = frames[member // 3 * 31 + 30].fields["vorticity"][member % 3]
            assert np.isfinite(last).all()
            np.testing.assert_array_equal(file["t0_fields/vorticity"][row, -1], last)
        for group in ("t0_fields/vorticity", "t1_fields/velocity"):
            assert np.isfinite(file[group][:]).all()


@pytest.mark.full
@pytest.mark.filterwarnings("always:the flow is not resolved")
def test_a_flow_without_enough_points_is_noticed(tmp_path, capsys):
    with pytest.warns(RuntimeWarning, match=r"finite differences on 16 x 24 points .* in the worst frame"):
        generate(tmp_path / "coarse.h5", ENSEMBLE)
    thick = dataclasses.replace(ENSEMBLE, viscosity=0.1, initial="random_vorticity", initial_wavenumber=1)
    with warnings.catch_warnings(record=True) as caught:
        generate(tmp_path / "fine.h5", thick)
    assert not caught
    assert cli.main([*TINY, "--output", str(tmp_path / "again.h5"), "--quiet"]) == 0
    assert "warpjaxns: the flow is not resolved" in capsys.readouterr().err


@pytest.mark.full
def test_spectral_flows(tmp_path, monkeypatch):
    """They are computed, read back and resumed as what they are, and large viscosities are no cause for a warning."""
    discretisation, output = Spectral("rk3"), tmp_path / "a.h5"
    ensemble = dataclasses.replace(ENSEMBLE, discretisation=discretisation, viscosity=Range(0.01, 40.0), count=3)
    assert ensemble.largest_viscosity == float("inf")
    assert generate(output, ensemble) == data.Summary(output, 3, ())
    with data.open(output) as flows:
        assert flows.discretisation == discretisation
        solver = NavierStokes2D(
            flows.grid, viscosity=flows.parameters["viscosity"], dt=0.02, discretisation=discretisation
        )
        (frames,) = flows.batches(3, window=5, fields=("vorticity", "velocity"))
        first = frames["vorticity"][:, 0]
        assert_close(solver.rollout(first, steps=0), first)  # the first frame has no other modes either
        assert_close(frames["vorticity"][:, 1:].swapaxes(0, 1), solver.rollout(first, steps=8, save_every=2), ROLLOUT)
        assert_close(frames["velocity"][:, 0].swapaxes(0, 1), np.stack(solver.velocity(first)), ROLLOUT)
    assert generate(output, ensemble, resume=True) == data.Summary(output, 3, ())
    other = dataclasses.replace(ensemble, discretisation=FiniteDifference(), viscosity=0.01)
    with pytest.raises(data.OptionsError, match=r"spectral \(rk3, two-thirds\), now finite-difference \(arakawa\)"):
        generate(output, other, resume=True)


def test_when_all_members_blow_up(tmp_path, capsys):
    """Make advection unstable by a step ten times too long."""
    output = tmp_path / "none.h5"
    code = cli.main([*TINY, "--output", str(output), "--dt", "20", "--viscosity", "0", "--steps", "40", "--quiet"])
    assert code == 1
    assert "5 of 5 members became non-finite and were left out (0, 1, 2, 3, 4)" in capsys.readouterr().err
    with data.open(output) as flows:
        assert len(flows) == 0
        assert list(flows.failed["member"]) == [0, 1, 2, 3, 4]
        if importlib.util.find_spec("xarray"):
            assert flows.dataset.sizes["member"] == 0


class TestRefusals:
    def test_an_existing_file(self, path, monkeypatch):
        monkeypatch.setattr(module, "simulate", None)  # nothing runs
        before = path.read_bytes()
        with pytest.raises(data.OptionsError, match=r"it exists; overwrite it \(--overwrite\)"):
            generate(path, ENSEMBLE)
        with pytest.raises(data.OptionsError, match=r"made from other options, .* overwrite it"):
            generate(path, dataclasses.replace(ENSEMBLE, seed=1), resume=True)
        assert path.read_bytes() == before
        assert not (path.parent / "train.hdf5.parts").exists()

    def test_overwriting(self, path, tmp_path):
        old = tmp_path / "a.h5"
        old.write_bytes(b"something else")
        generate(old, ENSEMBLE, overwrite=True)
        assert old.read_bytes() == path.read_bytes()

    def test_resuming_what_is_complete(self, path, monkeypatch):
        monkeypatch.setattr(module, "simulate", None)
        assert generate(path, ENSEMBLE, resume=True) == data.Summary(path, 5, ())

    def test_other_options(self, tmp_path):
        output = tmp_path / "a.h5"
        with pytest.raises(KeyboardInterrupt):
            generate(output, ENSEMBLE, report=interrupt_after(11))
        with pytest.raises(data.OptionsError, match=r"holds the batches .* continue it \(--resume\)"):
            generate(output, ENSEMBLE)
        other = dataclasses.replace(ENSEMBLE, viscosity=2e-3, batch_size=3)
        with pytest.raises(data.OptionsError) as error:
            generate(output, other, resume=True)
        assert "batch_size: 2, now 3; viscosity: 0.001 to 0.1, now 0.002" in str(error.value)
        generate(output, other, overwrite=True)
        with h5py.File(output) as file:
            assert json.loads(file["provenance"].attrs["ensemble"])["batch_size"] == 3

    def test_other_software(self, tmp_path, monkeypatch):
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "a.h5", ENSEMBLE, report=interrupt_after(11))
        monkeypatch.setattr("warpjaxns.data.manifest.VERSION", "9.9")
        with pytest.raises(data.OptionsError, match=r"warpjaxns: .*, now 9.9"):
            generate(tmp_path / "a.h5", ENSEMBLE, resume=True)

    def test_two_at_once(self, tmp_path):
        def report(done, total):
            with pytest.raises(data.OptionsError, match="written by another process"):
                generate(tmp_path / "a.h5", ENSEMBLE, resume=True)

        generate(tmp_path / "a.h5", ENSEMBLE, report=report)

    def test_a_name_that_no_reader_finds(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends in \.hdf5 or \.h5"):
            generate(tmp_path / "train.npz", ENSEMBLE)


def interrupt_after(frames):
    def report(done, total):
        if done >= frames:
            raise KeyboardInterrupt

    return report


def test_the_report_counts_all_frames(tmp_path):
    seen = []
    generate(tmp_path / "a.h5", ENSEMBLE, report=lambda *numbers: seen.append(numbers))
    assert seen == [(n, 25) for n in [0, *range(2, 11, 2), *range(12, 21, 2), *range(21, 26)]]


class TestCommand:
    def test_options_reach_the_ensemble(self, tmp_path, capsys):
        output = tmp_path / "a.h5"
        more = "--viscosity 1e-3:1e-2:log --drag 0.1 --forcing-amplitude=-1:1 --forcing-wavenumber 2 --extent 2x3.5"
        more += " --initial random_vorticity --initial-wavenumber 3 --shared-initial --spin-up 1 --seed 7 --coarsen 2"
        more += " --compression 3 --advection central --precision float64 --backend xla --dt 0.01"
        assert cli.main([*TINY, "--output", str(output), *more.split()]) == 0
        assert "5 x 5 frames of 8 x 12" in capsys.readouterr().out
        with data.open(output) as flows:
            assert flows.provenance["ensemble"] == Ensemble(
                (16, 24), count=5, steps=8, save_every=2, batch_size=2, dt=0.01, viscosity=Range(1e-3, 1e-2, log=True),
                drag=0.1, forcing_amplitude=Range(-1, 1), forcing_wavenumber=2, extent=(2.0, 3.5), seed=7, spin_up=1,
                initial="random_vorticity", initial_wavenumber=3.0, shared_initial=True, coarsen=2, compression=3,
                discretisation=FiniteDifference("central"), precision="float64", backend="xla",
            ).as_dict()  # fmt: skip

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--viscosity", "1:2:cubic"], "LOW:HIGH:log"),
            (["--viscosity", "2:1"], "the lower one first"),
            (["--viscosity", "-1"], "expected a finite number at least 0"),
            (["--size", "3"], "expected an integer at least 4"),
            (["--size", "8x8x8"], "expected one number, or two"),
            (["--save-every", "3"], "steps=8 is not a multiple of save_every=3"),
            (["--coarsen", "5"], "coarsen=5"),
            (["--output", "flow.npz"], "argument --output"),
            (["--initial-wavenumber", "99"], "initial_wavenumber=99.0: this grid resolves 1 to 8"),
        ],
    )
    def test_wrong_options(self, options, message, capsys, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            cli.main([*TINY, *options])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    def test_an_output_that_cannot_be_made(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        with pytest.raises(SystemExit) as stop:
            cli.main([*TINY, "--output", str(tmp_path / "file" / "a.h5")])
        assert stop.value.code == 2
        assert "argument --output" in capsys.readouterr().err
