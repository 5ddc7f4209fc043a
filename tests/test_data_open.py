"""Ensembles with functions of a user, noise, drawn wavenumbers, an end time, a steady spin-up; configuration files."""

import dataclasses
import json

import flows_of_a_user as own
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ROLLOUT, assert_close, relative_error

import warpjaxns as wns
from warpjaxns import cli
from warpjaxns.data import Ensemble, Noise, Range, Steady
from warpjaxns.data.simulate import simulate, solver_of

SMALL = {"count": 5, "steps": 6, "save_every": 3, "dt": 0.02, "viscosity": 1e-2, "batch_size": 2, "extent": (2.0, 3.5)}


def ensemble(**changes):
    return Ensemble((16, 24), **{**SMALL, **changes})


def vorticity(of):
    """Return all frames of all members, (members, frames, ny, nx)."""
    frames = {}
    with jax.enable_x64(of.precision == "float64"):
        for batch, number, frame in simulate(of, range(of.batches), jax.devices()[:1]):
            for member, values in zip(of.members(batch), frame.fields["vorticity"], strict=False):
                frames[member, number] = values.T
    return np.array([[frames[member, number] for number in range(of.frames)] for member in range(of.count)])


@pytest.mark.parametrize(
    ("precision", "discretisation", "backend"),
    [
        ("float32", wns.FiniteDifference(), "xla"),
        pytest.param("float64", wns.FiniteDifference(), "warp", marks=pytest.mark.full),
        pytest.param("float32", wns.Spectral(), "warp", marks=pytest.mark.full),
        pytest.param("float64", wns.Spectral(), "xla", marks=pytest.mark.full),
    ],
)
def test_functions_make_fields_and_parameters(precision, discretisation, backend):
    """Follow each member by a solver of its own."""
    of = ensemble(
        initial=own.two_waves, forcing=own.push, terms=own.correlated, forcing_amplitude=0.25, forcing_wavenumber=2,
        precision=precision, discretisation=discretisation, backend=backend,
    )  # fmt: skip
    frames, parameters = vorticity(of), of.parameters(list(range(5)))
    assert np.ptp(parameters["drag"]) > 0.1
    np.testing.assert_allclose(parameters["viscosity"], parameters["drag"] / 10, rtol=1e-6)
    x, y = of.grid.x[None] * 2 * np.pi / 3.5, of.grid.y[:, None] * 2 * np.pi / 2.0
    unit = wns.forcing.kolmogorov(of.grid, 2, 1.0, discretisation=discretisation)
    phases, strengths = [], []
    for member in range(5):
        first = frames[member, 0]
        phase = np.arctan2(-np.mean(first * np.sin(x)), np.mean(first * np.cos(x)))
        np.testing.assert_allclose(first, np.cos(x + phase) * np.ones((16, 1)), atol=1e-5)
        phases.append(phase)
        push = np.asarray(solver_of(of, [member]).forcing)[0] - 0.25 * np.asarray(unit, precision)
        strengths.append(np.max(push))
        assert_close(push, (strengths[-1] * np.cos(np.asarray(y)) * np.ones((1, 24))).astype(push.dtype), ROLLOUT)
        solver = wns.NavierStokes2D(
            of.grid, viscosity=parameters["viscosity"][member], drag=parameters["drag"][member], dt=0.02,
            forcing=jnp.asarray(push + 0.25 * np.asarray(unit), "float32"),
            discretisation=discretisation, backend="xla",
        )  # fmt: skip
        expected = solver.rollout(jnp.asarray(first), steps=6, save_every=3)
        assert relative_error(frames[member, 1:], expected) < ROLLOUT["float32"]
    assert np.ptp(phases) > 0.5
    assert np.ptp(strengths) > 0.1


@pytest.mark.full
@pytest.mark.parametrize("backend", ["xla", pytest.param("warp", marks=pytest.mark.full)])
def test_members_do_not_depend_on_count_or_batches(backend):
    how = {"initial": own.turbulence_with_spectral_modes, "forcing": own.push, "terms": own.correlated}
    how |= {"backend": backend}
    how |= {"noise": Noise(0.2, 3), "spin_up": Steady(window=8, limit=32, tolerance=0.2)}
    one, other = ensemble(**how), ensemble(**how, count=3, batch_size=3)
    assert_close(vorticity(one)[:3], vorticity(other), ROLLOUT)


@pytest.mark.full
def test_noise_injects_its_energy():
    """Conserve energy but for the noise: what a frame has more than the one before is what the noise injected."""
    of = ensemble(
        initial=own.push, noise=Noise(0.5, 3), viscosity=0.0, count=40,
        batch_size=40, steps=80, save_every=40, dt=0.002,
    )  # fmt: skip
    energy = wns.diagnostics.energy(of.grid, jnp.asarray(vorticity(of)))
    gained = np.diff(np.asarray(energy).mean(0))
    standard_error = np.diff(np.asarray(energy), axis=1).std(0) / 40**0.5
    np.testing.assert_array_less(np.abs(gained - 0.5 * 40 * 0.002), 4 * standard_error)
    assert np.all(standard_error < 0.3 * gained)


@pytest.mark.full
def test_drawn_wavenumbers():
    of = ensemble(
        count=40, batch_size=40, forcing_amplitude=1.0, forcing_wavenumber=Range(2, 4), initial_wavenumber=Range(1, 1.4)
    )
    drawn = of.parameters(list(range(40)))
    assert set(drawn["forcing_wavenumber"]) == {2, 3, 4}
    assert np.ptp(drawn["initial_wavenumber"]) > 0.2
    forcing = np.abs(np.fft.rfft(np.asarray(solver_of(of, list(range(40))).forcing)[:, :, 0], axis=1))
    np.testing.assert_array_equal(np.argmax(forcing, axis=1), drawn["forcing_wavenumber"])
    few = dataclasses.replace(of, count=3, batch_size=3)
    starts = vorticity(few)[:, 0]
    for member, wavenumber in enumerate(few.parameters([0, 1, 2])["initial_wavenumber"]):
        alone = vorticity(dataclasses.replace(few, initial_wavenumber=float(wavenumber)))[member, 0]
        assert_close(starts[member], alone, ROLLOUT)


@pytest.mark.full
def test_linear_terms_of_members():
    of = ensemble(terms=own.planet, discretisation=wns.Spectral(), backend="xla", precision="float64")
    frames, parameters = vorticity(of), of.parameters(list(range(5)))
    assert parameters.pop("forcing_amplitude").max() == 0
    assert np.ptp(parameters["beta"]) > 0.5
    solver = wns.NavierStokes2D(of.grid, dt=0.02, discretisation=wns.Spectral(), backend="xla", **parameters)
    expected = jax.jit(lambda w: solver.rollout(w, steps=6, save_every=3))(jnp.asarray(frames[:, 0], float))
    assert_close(frames[:, 1:].swapaxes(0, 1), expected, ROLLOUT)  # frames are float32


@pytest.mark.full
@pytest.mark.parametrize(
    "discretisation", [pytest.param(wns.Spectral("rk3"), marks=pytest.mark.full), wns.FiniteDifference()], ids=str
)
def test_a_medium_of_members(discretisation):
    of = ensemble(count=3, medium=own.reef, discretisation=discretisation, backend="xla", precision="float64")
    assert of.as_dict()["medium"] == "flows_of_a_user:reef"
    frames = vorticity(of)
    with jax.enable_x64(True):
        solver = solver_of(of, [0, 1, 2])
        (body,) = solver.obstacle
        assert len({np.asarray(mask).tobytes() for mask in body.mask}) == 3
        for member in range(3):
            first = jnp.asarray(frames[member, :1], float)
            expected = solver_of(of, [member]).rollout(first, steps=6, save_every=3)
            assert_close(frames[member, 1:], np.asarray(expected[:, 0], frames.dtype), ROLLOUT)


def test_what_is_no_medium():
    with pytest.raises(ValueError, match=r"shore.*expected a dictionary with some of mean_flow, obstacle, topography"):
        vorticity(ensemble(medium=own.shore))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_what_is_recorded_is_what_was_computed_with(precision):
    """Draw the same numbers whether JAX has 64-bit types where they are drawn or not."""
    of = ensemble(terms=own.correlated, forcing=own.push, precision=precision)
    with jax.enable_x64(True):
        one = solver_of(of, [3]), of.parameters([3])
    with jax.enable_x64(precision == "float64"):  # as `generate` computes
        other = solver_of(of, [3]), of.parameters([3])
    np.testing.assert_array_equal(one[0].forcing, other[0].forcing)
    drags = [*(solver.drag for solver, _ in (one, other)), *(parameters["drag"] for _, parameters in (one, other))]
    assert len({float(drag[0]) for drag in drags}) == 1


def test_an_end_time():
    of = ensemble(steps=None, end_time=0.13)
    assert (of.steps, of.end_time, of.frames) == (9, None, 4)  # 0.18, the first frame at or after 0.13
    assert ensemble(steps=None, end_time=0.12) == ensemble(steps=6)
    for changes in ({"end_time": 1.0}, {"steps": None}):
        with pytest.raises(ValueError, match="expected one of them"):
            ensemble(**changes)


@pytest.mark.full
def test_a_spin_up_until_it_is_steady():
    """Relax to the steady flow of forcing and drag: the enstrophy approaches its limit as ``1 - exp(-t)``."""
    how = {"initial": own.still, "forcing": own.push, "drag": 1.0, "viscosity": 0.0, "dt": 0.05, "count": 3}
    steady = vorticity(ensemble(**how, spin_up=Steady(window=16, limit=320, tolerance=0.02)))
    start = np.mean(steady[:, 0] ** 2, axis=(1, 2))
    long = np.mean(vorticity(ensemble(**how, spin_up=320))[:, 0] ** 2, axis=(1, 2))
    assert np.all(np.abs(start / long - 1) < 0.03)
    assert np.all(np.abs(start / long - 1) > 1e-5)  # it ended long before
    with pytest.warns(RuntimeWarning, match="2 members were not steady after the 32 steps"):
        vorticity(ensemble(**how | {"count": 2}, spin_up=Steady(window=16, limit=32, tolerance=0.02)))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"initial": lambda grid, key: 0}, ValueError, "expected a function at the top of a module"),
        ({"initial": "flows_of_a_user:none"}, ValueError, "there is no such function"),
        ({"initial": "no_module:none"}, ValueError, "there is no such function"),
        ({"forcing": 1.0}, TypeError, "forcing=1.0: expected a function"),
        ({"noise": 1.0}, TypeError, "expected a warpjaxns.data.Noise"),
        ({"forcing_wavenumber": Range(0, 2)}, ValueError, "forcing_wavenumber=0.0"),
        ({"forcing_amplitude": 1.0, "forcing_wavenumber": Range(2, 9)}, ValueError, "=9: 16 points along y resolve"),
        ({"initial_wavenumber": Range(1, 20)}, ValueError, "initial_wavenumber=20.0: this grid resolves 1 to"),
        ({"end_time": -1.0, "steps": None}, ValueError, "end_time=-1.0"),
    ],
)
def test_wrong_arguments(changes, kind, message):
    with pytest.raises(kind) as error:
        ensemble(**changes)
    assert message in str(error.value)


def test_wrong_parts():
    for make, message in (
        (lambda: Noise(0.0, 3), "energy_rate=0.0"),
        (lambda: Steady(window=12, limit=24), "window=12: expected a multiple of 8"),
        (lambda: Steady(window=16, limit=16), "limit=16: expected a multiple of window=16, at least two"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(ValueError, match=r"wrong_shape returns arrays of shape \(24, 16\): expected \(16, 24\)"):
        vorticity(ensemble(initial=own.wrong_shape))
    with pytest.raises(ValueError, match="terms: dt is no argument"):
        ensemble(terms=own.wrong_name).parameters([0])


EVERYTHING = {
    "initial": own.two_waves, "forcing": own.push, "terms": own.correlated, "noise": Noise(1e-5, 3),
    "spin_up": Steady(window=8, limit=16, tolerance=0.5), "viscosity": Range(1e-5, 1e-2, log=True), "dt": 1e-5,
    "forcing_wavenumber": Range(2, 4), "discretisation": wns.Spectral("rk3"), "precision": "float64",
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, EVERYTHING])
def test_a_configuration_there_and_back(changes, tmp_path):
    pytest.importorskip("yaml")
    of = ensemble(**changes)
    wns.data.write_config(tmp_path / "flows.yaml", of)
    assert Ensemble(**wns.data.read_config(tmp_path / "flows.yaml")) == of
    assert Ensemble(**wns.data.config.arguments_of(json.loads(json.dumps(of.as_dict())))) == of  # as in provenance


def test_the_command_line(tmp_path, capsys):
    pytest.importorskip("h5py")
    pytest.importorskip("yaml")
    config, output = tmp_path / "flows.yaml", tmp_path / "a.h5"
    config.write_text(
        "shape: [16, 24]\ncount: 3\nend_time: 4e-2\nsave_every: 2\ndt: 1e-2\nviscosity: 1e-3:1e-2:log\n"
        "initial: flows_of_a_user:two_waves\nnoise: {energy_rate: 1e-3, wavenumber: 3}\ndiscretisation: spectral\n"
    )
    assert cli.main(["generate", "--config", str(config), "--output", str(output), "--seed", "7", "--quiet"]) == 0
    expected = Ensemble(
        (16, 24), count=3, steps=4, save_every=2, dt=1e-2, viscosity=Range(1e-3, 1e-2, log=True), seed=7,
        initial=own.two_waves, noise=Noise(1e-3, 3), discretisation=wns.Spectral(),
    )  # fmt: skip
    with wns.data.open(output) as flows:
        assert flows.ensemble == expected
        assert "source of flows_of_a_user:two_waves" in flows.provenance["software"]
    # A training set is a configuration as well, and options take precedence.
    again = ["generate", "--config", str(output), "--quiet", "--output"]
    assert cli.main([*again, str(tmp_path / "b.h5")]) == 0
    assert (tmp_path / "b.h5").read_bytes() == output.read_bytes()
    more = ["--steps", "2", "--integrator", "rk3"]  # of the discretisation in the file
    assert cli.main([*again, str(tmp_path / "c.h5"), *more]) == 0
    with wns.data.open(tmp_path / "c.h5") as flows:
        assert flows.ensemble == dataclasses.replace(expected, steps=2, discretisation=wns.Spectral("rk3"))
    for wrong, message in {"count: [": "is not YAML", "members: 3": "members: Ensemble has no such argument"}.items():
        config.write_text(wrong)
        with pytest.raises(SystemExit) as stop:
            cli.main(["generate", "--config", str(config), "--output", str(tmp_path / "d.h5")])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_a_function_that_changed_since(tmp_path, monkeypatch):
    """Refuse to resume with another source of the same name."""
    pytest.importorskip("h5py")

    def stop(done, total):
        if done > 6:
            raise KeyboardInterrupt

    of = ensemble(initial=own.two_waves)
    with pytest.raises(KeyboardInterrupt):
        wns.data.generate(tmp_path / "a.h5", of, report=stop)
    monkeypatch.setattr("warpjaxns.data.ensemble.checksum", lambda function: "another")
    with pytest.raises(wns.data.OptionsError, match=r"source of flows_of_a_user:two_waves: .*, now another"):
        wns.data.generate(tmp_path / "a.h5", of, resume=True)
