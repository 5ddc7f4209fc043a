"""Ensembles of training sets: fields, parameters and random numbers."""

import dataclasses

import flows_of_a_user as own
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ROLLOUT, assert_close, relative_error

import warpjaxns as wns
from warpjaxns.data import Ensemble, Range
from warpjaxns.data.drawing import member_key
from warpjaxns.data.simulate import simulate

SMALL = {"count": 5, "steps": 6, "save_every": 3, "dt": 0.02, "viscosity": 1e-2, "batch_size": 2}


def ensemble(**changes):
    return Ensemble((16, 24), **{"extent": (2.0, 3.5), **SMALL, **changes})


def trajectories(ensemble):
    """Return all frames of all members, (members, frames, ...), in the axes of the package."""
    frames = [frame for *_, frame in simulate(ensemble, range(ensemble.batches), jax.devices()[:1])]
    length = ensemble.frames
    batches = [frames[i : i + length] for i in range(0, len(frames), length)]
    assert len(batches) == ensemble.batches

    def join(of):
        return np.concatenate([np.stack([of(f) for f in b], 1) for b in batches])[: ensemble.count]

    names = "vorticity", "velocity", *(scalar.name for scalar in ensemble.scalars)
    fields = {name: join(lambda f, name=name: f.fields[name]).swapaxes(2, 3) for name in names}
    return *fields.values(), join(lambda f: f.finite)


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.full)])
def test_frames_are_those_of_the_solver(precision):
    drawn = {"viscosity": Range(1e-3, 1e-1, log=True), "drag": Range(0.0, 0.5), "forcing_amplitude": Range(-1.0, 1.0)}
    of = ensemble(**drawn, precision=precision, forcing_wavenumber=2)
    vorticity, velocity, finite = trajectories(of)
    assert vorticity.shape == (5, 3, 16, 24)
    assert velocity.shape == (5, 3, 16, 24, 2)
    assert vorticity.dtype == velocity.dtype == np.float32
    assert finite.all()
    # The forcing again: the curl of (A sin(k y), 0) in centred differences.
    parameters, fx = of.parameters(list(range(5))), np.sin(2 * np.pi * 2 * of.grid.y / 2.0)
    unit = (np.roll(fx, 1) - np.roll(fx, -1))[:, None] / (2 * of.grid.spacing[0]) * np.ones((1, 24))
    forcing = parameters.pop("forcing_amplitude")[:, None, None] * unit
    solver = wns.NavierStokes2D(of.grid, dt=0.02, forcing=forcing.astype(precision), **parameters)
    start = jnp.asarray(vorticity[:, 0], precision)
    expected = jax.jit(lambda omega: solver.rollout(omega, steps=6, save_every=3))(start)
    u, v = jax.jit(solver.velocity)(start)
    assert relative_error(vorticity[:, 1:].swapaxes(0, 1), expected) < ROLLOUT["float32"]
    assert relative_error(velocity[:, 0, ..., 0], u) < ROLLOUT["float32"]
    assert relative_error(velocity[:, 0, ..., 1], v) < ROLLOUT["float32"]


def test_spin_up_shifts_the_frames():
    vorticity, shifted = trajectories(ensemble())[0], trajectories(ensemble(spin_up=3))[0]
    assert_close(shifted[:, :2], vorticity[:, 1:], ROLLOUT)
    assert relative_error(vorticity[:, 1], vorticity[:, 0]) > 0.05


def test_members_do_not_depend_on_count_or_batches():
    varied = ensemble(viscosity=Range(1e-3, 1e-1, log=True), count=5, batch_size=2)
    other = dataclasses.replace(varied, count=7, batch_size=3)
    for name, values in varied.parameters(list(range(5))).items():
        np.testing.assert_array_equal(values, other.parameters(list(range(7)))[name][:5])
    one, same = trajectories(varied)[0], trajectories(other)[0][:5]
    assert_close(same, one, ROLLOUT)  # to rounding: XLA may order operations by shape
    assert np.ptp(varied.parameters(list(range(5)))["viscosity"]) > 0
    assert relative_error(one[1, 0], one[0, 0]) > 0.5


def test_the_seed_makes_another_ensemble():
    one, other = (ensemble(viscosity=Range(0.0, 0.1), seed=seed) for seed in (0, 2**32 - 1))
    assert not np.any(one.parameters([0, 1])["viscosity"] == other.parameters([0, 1])["viscosity"])
    assert relative_error(trajectories(other)[0], trajectories(one)[0]) > 0.5


def test_a_shared_initial_field():
    vorticity, _, _ = trajectories(ensemble(shared_initial=True, viscosity=Range(1e-3, 1e-1)))
    for member in range(1, 5):
        np.testing.assert_array_equal(vorticity[member, 0], vorticity[0, 0])
        assert np.any(vorticity[member, 1] != vorticity[0, 1])


def test_initial_fields():
    random, _, _ = trajectories(ensemble(initial="random_vorticity", initial_wavenumber=3))
    np.testing.assert_allclose(np.mean(random[:, 0] ** 2, axis=(1, 2)), 1, rtol=1e-5)
    turbulence, _, _ = trajectories(ensemble(initial_wavenumber=2))
    energy = wns.diagnostics.energy(ensemble().grid, jnp.asarray(turbulence[:, 0]))
    np.testing.assert_allclose(energy, 0.5, rtol=1e-5)


def test_ranges_are_uniform():
    members = list(range(1000))
    drawn = ensemble(viscosity=Range(1e-4, 1e-2, log=True), drag=Range(1.0, 3.0), count=1000).parameters(members)
    assert np.log10(drawn["viscosity"]).mean() == pytest.approx(-3, abs=0.06)  # three standard errors
    assert drawn["drag"].mean() == pytest.approx(2, abs=0.06)
    assert drawn["drag"].min() >= 1
    assert drawn["drag"].max() <= 3
    assert abs(np.corrcoef(drawn["viscosity"], drawn["drag"])[0, 1]) < 0.1
    np.testing.assert_array_equal(drawn["forcing_amplitude"], 0)


def test_frames_are_coarse_versions_of_the_flow():
    fine, velocity, _ = trajectories(ensemble())
    coarse, coarse_velocity, _ = trajectories(ensemble(coarsen=2))
    assert coarse.shape == (5, 3, 8, 12)
    assert ensemble(coarsen=2).saved_grid == wns.Grid((8, 12), (2.0, 3.5))
    half = jax.jit(lambda f: wns.coarsen(ensemble().grid, f, (8, 12)))
    assert_close(coarse, half(fine), ROLLOUT)
    assert_close(coarse_velocity, np.stack([half(velocity[..., i]) for i in (0, 1)], -1), ROLLOUT)


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"count": 0}, ValueError, "count=0: expected at least 1"),
        ({"count": 1.5}, TypeError, "count=1.5"),
        ({"save_every": 4}, ValueError, "steps=6 is not a multiple of save_every=4"),
        ({"dt": 0.0}, ValueError, "dt=0.0: expected a positive"),
        ({"dt": "short"}, TypeError, "dt='short'"),
        ({"viscosity": -1.0}, ValueError, "viscosity=-1.0"),
        ({"viscosity": Range(-1.0, 1.0)}, ValueError, "viscosity=-1.0"),
        ({"viscosity": (0.0, 1.0)}, TypeError, "viscosity=(0.0, 1.0): expected one real number, or a Range(low, high)"),
        ({"drag": nan}, ValueError, "drag=nan"),
        ({"forcing_amplitude": inf}, ValueError, "forcing_amplitude=inf"),
        ({"forcing_amplitude": 1.0, "forcing_wavenumber": 8}, ValueError, "=8: 16 points along y resolve up to 7"),
        (
            {"forcing_amplitude": 1.0, "forcing_wavenumber": 6, "discretisation": wns.Spectral()},
            ValueError,
            "=6: 16 points along y resolve up to 5",
        ),
        ({"initial_wavenumber": 7.5, "discretisation": wns.Spectral()}, ValueError, "=7.5: this grid resolves 1 to 7"),
        ({"seed": 2**32}, ValueError, "seed=4294967296: expected at most"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"compression": 10}, ValueError, "compression=10: expected at most 9"),
        ({"coarsen": 3}, ValueError, "coarsen=3: expected a divisor of both"),
        ({"coarsen": 8}, ValueError, "leaves at least 4 points"),
        ({"initial": "still"}, ValueError, "initial='still'"),
        ({"precision": "half"}, ValueError, "precision='half'"),
        ({"discretisation": "spectral"}, TypeError, "discretisation='spectral'"),
        ({"backend": "numpy"}, ValueError, "backend='numpy'"),
        ({"shared_initial": 1}, TypeError, "shared_initial=1"),
        ({"extent": (0.0, 1.0)}, ValueError, "extent"),
    ],
)
def test_wrong_arguments(changes, kind, message):
    with pytest.raises(kind) as error:
        ensemble(**changes)
    assert message in str(error.value)


@pytest.mark.full
def test_a_forcing_may_be_a_law():
    """Its clock starts with the spin-up, and goes on from frame to frame."""
    of = ensemble(forcing=own.gusts, initial=own.still, spin_up=2, steps=4, save_every=2, count=3)
    vorticity, *_ = trajectories(of)
    for member in (0, 2):
        with jax.enable_x64(False):
            law = own.gusts(of.grid, jax.random.fold_in(member_key(of.seed, member), 2))
        solver = wns.NavierStokes2D(of.grid, dt=of.dt, viscosity=1e-2, forcing=law)
        states = solver.rollout(jnp.zeros(of.grid.shape, "float32"), steps=6, save_every=2)
        assert jnp.linalg.norm(states[0]) > 0.1
        assert_close(vorticity[member], states, ROLLOUT)


def test_numbers_of_any_kind():
    number = jnp.asarray(0.25)
    with pytest.raises(ValueError, match="viscosity=nan"):
        ensemble(viscosity=nan * number)
    assert ensemble(viscosity=number, dt=number, drag=np.float32(0.25)) == ensemble(viscosity=0.25, dt=0.25, drag=0.25)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((1.0, 1.0), ValueError, "the lower one first"),
        ((1.0, inf), ValueError, "finite"),
        ((0.0, 1.0, True), ValueError, "between positive numbers"),
        (("a", 1.0), TypeError, "low='a'"),
        ((0.0, 1.0, "log"), TypeError, "log='log'"),
    ],
)
def test_wrong_ranges(arguments, kind, message):
    with pytest.raises(kind) as error:
        Range(*arguments)
    assert message in str(error.value)
