"""Ensembles whose flows carry scalars: frames, files, configurations and errors."""

import dataclasses
import json

import flows_of_a_user as own
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_data_ensemble import trajectories
from test_data_generate import interrupt_after
from tolerances import ROLLOUT, assert_close

h5py = pytest.importorskip("h5py")

import warpjaxns as wns  # noqa: E402
from warpjaxns import cli, data  # noqa: E402
from warpjaxns.data import Ensemble, Range, Scalar  # noqa: E402
from warpjaxns.data.drawing import member_key  # noqa: E402

HEAT = Scalar(
    "heat",
    diffusivity=Range(1e-3, 1e-1, log=True),
    mean_gradient=(0.0, Range(1.0, 3.0)),
    buoyancy=(0.0, 0.5),
    forcing=own.stove,
)
DYE = Scalar("dye", diffusivity=0.01, initial="flows_of_a_user:layers")
ODD = Scalar("dye_diffusivity", diffusivity=0.1)
ENSEMBLE = Ensemble(
    (16, 24),
    **{"count": 3, "steps": 4, "save_every": 2, "dt": 0.02, "viscosity": 1e-2, "batch_size": 2, "extent": (2.0, 3.5)},
    scalars=(HEAT, DYE),
    discretisation=wns.Spectral("rk3"),
)
NUMBERS = ["heat_diffusivity", "heat_mean_gradient_x", "heat_mean_gradient_y", "heat_buoyancy_x", "heat_buoyancy_y"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.hdf5"
    assert data.generate(path, ENSEMBLE) == data.Summary(path, 3, ())
    return path


@pytest.mark.parametrize(
    ("precision", "spin_up", "how"),
    [
        pytest.param("float32", 2, wns.Spectral("rk3"), marks=pytest.mark.full),
        pytest.param("float64", 0, wns.FiniteDifference(), marks=pytest.mark.full),
    ],
    ids=str,
)
def test_frames_are_those_of_the_solver(precision, spin_up, how):
    of = dataclasses.replace(ENSEMBLE, precision=precision, spin_up=spin_up, discretisation=how)
    omega, _, heat, dye, finite = trajectories(of)
    assert finite.all()
    starts = trajectories(dataclasses.replace(of, spin_up=0, steps=2))[0][:, 0] if spin_up else omega[:, 0]
    numbers = of.parameters([0, 1, 2])
    for member in (0, 2):
        with jax.enable_x64(precision == "float64"):
            streams = jax.random.fold_in(member_key(of.seed, member), 9), jax.random.fold_in(member_key(0, member), 8)
            source = own.stove(of.grid, jax.random.fold_in(streams[0], 0))
            layers = own.layers(of.grid, jax.random.fold_in(streams[1], 1))
        kappa, gradient = (numbers[f"heat_{name}"][member] for name in ("diffusivity", "mean_gradient_y"))
        heated = wns.Scalar(diffusivity=kappa, mean_gradient=(0, gradient), buoyancy=(0, 0.5), forcing=source)
        solver = wns.NavierStokes2D(
            of.grid,
            dt=of.dt,
            viscosity=1e-2,
            scalars=(heated, wns.Scalar(diffusivity=np.float32(0.01))),
            discretisation=of.discretisation,
        )
        state = wns.State(jnp.asarray(starts[member], precision), (jnp.zeros_like(layers), layers))
        states = jax.jit(lambda s, solver=solver: solver.rollout(s, steps=4 + spin_up, save_every=2))(state)
        first = 1 - spin_up // 2
        for found, expected in zip((omega, heat, dye), jax.tree.leaves(states), strict=True):
            assert jnp.linalg.norm(expected) > 0.1
            assert_close(found[member, first:], np.asarray(expected, "float32"), ROLLOUT)


def test_further_scalars_do_not_change_those_before_them():
    one = dataclasses.replace(ENSEMBLE, scalars=(HEAT,), count=7).parameters([0, 1, 2])
    for name, values in one.items():
        np.testing.assert_array_equal(values, ENSEMBLE.parameters([0, 1, 2])[name])
    assert np.ptp(one["heat_diffusivity"]) > 0
    drawn = (one[name] for name in ("heat_diffusivity", "heat_mean_gradient_y"))
    assert abs(np.corrcoef(*map(np.log, drawn))[0, 1]) < 0.999  # of different random numbers


def test_the_file(path):
    with h5py.File(path) as file:
        assert list(file["t0_fields"].attrs["field_names"]) == ["vorticity", "heat", "dye"]
        assert file["t0_fields/dye"].shape == file["t0_fields/vorticity"].shape == (3, 3, 24, 16)
        assert list(file["scalars"].attrs["field_names"])[3:] == [*NUMBERS, "dye_diffusivity"]
        assert file["scalars/heat_diffusivity"].shape == (3,)
        assert file["scalars/dye_diffusivity"][()] == np.float32(0.01)
        assert file.attrs["heat_buoyancy_y"] == 0.5
        recorded = json.loads(file["provenance"].attrs["ensemble"])["scalars"]
        assert recorded[1] == {"name": "dye", "diffusivity": 0.01, "initial": "flows_of_a_user:layers"}
        assert "source of flows_of_a_user:stove" in json.loads(file["provenance"].attrs["software"])
    assert data.verify(path) == ()


def test_reading(path):
    _, _, heat, dye, _ = trajectories(ENSEMBLE)
    with data.open(path) as flows:
        assert flows.fields == ("vorticity", "heat", "dye", "velocity")
        assert flows.ensemble == ENSEMBLE
        window = flows.windows(2, fields=("heat", "dye"), normalise="standard")[1]
        mean, std = (flows.statistics["dye"][name] for name in ("mean", "std"))
        np.testing.assert_allclose([mean, std], [dye.mean(), dye.std()], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(window["dye"], (dye[0, 1:] - mean) / std, rtol=1e-5, atol=1e-6)
        (batch,) = flows.batches(3, window=3, fields=("heat",))
        np.testing.assert_array_equal(batch["heat"], heat)
        np.testing.assert_array_equal(batch["heat_buoyancy_y"], np.full(3, 0.5))
        if pytest.importorskip("xarray"):
            np.testing.assert_array_equal(flows.dataset.dye, dye)
            assert flows.dataset.heat_diffusivity.attrs["units"] == "length^2/time"


def test_resuming_and_damage(path, tmp_path):
    output = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        data.generate(output, ENSEMBLE, report=interrupt_after(8))
    other = dataclasses.replace(ENSEMBLE, scalars=(HEAT,))
    with pytest.raises(data.OptionsError, match="scalars: "):
        data.generate(output, other, resume=True)
    assert data.generate(output, ENSEMBLE, resume=True) == data.Summary(output, 3, ())
    assert output.read_bytes() == path.read_bytes()
    with h5py.File(output) as file:
        place = file["t0_fields/dye"].id.get_chunk_info_by_coord((1, 0, 0, 0)).byte_offset
    content = bytearray(output.read_bytes())
    content[place + 9] ^= 1
    output.write_bytes(content)
    assert data.verify(output) == ("dye of trajectory 1, frames 0 to 2, is damaged",)


def test_configuration(path, tmp_path):
    pytest.importorskip("yaml")
    config, output = tmp_path / "flows.yaml", tmp_path / "again.h5"
    data.write_config(config, ENSEMBLE)
    assert Ensemble(**data.read_config(config)) == ENSEMBLE
    assert cli.main(["generate", "--config", str(config), "--output", str(output), "--quiet"]) == 0
    assert output.read_bytes() == path.read_bytes()
    config.write_text("scalars: [{name: salt, diffusivity: 1e-3:1e-2:log, mean_gradient: [0, '1:2']}]")
    salt = Scalar("salt", diffusivity=Range(1e-3, 1e-2, log=True), mean_gradient=(0.0, Range(1.0, 2.0)))
    assert data.read_config(config) == {"scalars": (salt,)}


def test_a_scalar_that_blows_up_is_recorded(tmp_path):
    grow = Scalar("heat", diffusivity=0.0, mean_gradient=(0.0, -1e4), buoyancy=(0.0, Range(1.0, 1e30, log=True)))
    summary = data.generate(tmp_path / "a.h5", dataclasses.replace(ENSEMBLE, scalars=(grow,), steps=40))
    with data.open(tmp_path / "a.h5") as flows:
        assert len(summary.failed) > 0
        assert list(flows.failed["member"]) == list(summary.failed)
        assert flows.failed["heat_buoyancy_y"].shape == flows.failed["member"].shape


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: Scalar("vorticity", diffusivity=0.1), ValueError, "name='vorticity': .* as 'salt'"),
        (lambda: Scalar("red dye", diffusivity=0.1), ValueError, "name='red dye'"),
        (lambda: Scalar(3, diffusivity=0.1), ValueError, "name=3"),
        (lambda: Scalar("a", diffusivity=-1.0), ValueError, "diffusivity=-1.0"),
        (lambda: Scalar("a", diffusivity="thick"), TypeError, "diffusivity='thick'"),
        (lambda: Scalar("a", diffusivity=1.0, buoyancy=1.0), TypeError, "buoyancy=1.0.*pair"),
        (lambda: Scalar("a", diffusivity=1.0, initial=lambda grid, key: 0), ValueError, "top of a module"),
        (lambda: dataclasses.replace(ENSEMBLE, scalars=0.1), TypeError, "scalars=0.1: .*data.Scalar"),
        (lambda: dataclasses.replace(ENSEMBLE, scalars=(DYE, DYE)), ValueError, "names dye, dye"),
        (lambda: dataclasses.replace(ENSEMBLE, scalars=(DYE, ODD)), ValueError, "names dye, dye_diffusivity"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
