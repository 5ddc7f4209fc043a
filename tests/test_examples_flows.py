"""The examples on stirring, jets, singular vectors and control, each at a tiny setting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import assert_close

from warpjaxns import Grid, NavierStokes2D, initial

pytest.importorskip("matplotlib")
pytest.importorskip("optax")

import control_enstrophy
import cylinder
import singular_vectors
import stirring
import zonal_jets

pytestmark = pytest.mark.full  # what examples do is tested elsewhere too
both = pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])


@both
def test_stirring(tmp_path, capsys, discretisation):
    folder = tmp_path / "new" / "folder"
    options = ["--size", "24", "--steps", "40", "--output", str(folder), "--discretisation", discretisation]
    measured = stirring.main(options)
    assert measured["energy"] > 1e-3
    assert abs(measured["gradient"]) > 1e-3
    assert measured["gradient"] == pytest.approx(measured["differences"], rel=0.05)  # of float32, over a wide step
    assert (folder / "stirring.png").stat().st_size > 10_000
    assert "by finite differences" in capsys.readouterr().out


def test_zonal_jets(tmp_path):
    measured = zonal_jets.main(["--size", "96", "--time", "4", "--output", str(tmp_path)])
    injected = zonal_jets.ENERGY_RATE * 4  # before drag and hyperviscosity take much of it
    assert 0.5 * injected < measured["energy"] < injected
    assert 0 < measured["share of the jets"] < 0.5
    assert (tmp_path / "zonal_jets.png").stat().st_size > 10_000
    profile = 2.0 + np.cos(3 * np.linspace(0, 2 * np.pi, 48, endpoint=False))
    assert zonal_jets.count_jets(profile) == 3
    curvature = zonal_jets.second_derivative(profile, 2 * np.pi / 48)
    np.testing.assert_allclose(curvature, -9 * (profile - 2.0), atol=0.2)


def test_singular_vectors_are_those_of_the_dense_matrix():
    grid = Grid((8, 10), (3.0, 2.0))
    solver = NavierStokes2D(grid, viscosity=0.01, dt=0.05)
    base = 8 * initial.random_vorticity(grid, key=jax.random.key(0), max_wavenumber=2)
    values, first, evolved, history = singular_vectors.singular_vectors(
        solver, base, steps=12, count=3, iterations=60, key=jax.random.key(1)
    )
    matrix = jax.jit(jax.jacfwd(lambda w: solver.rollout(w, steps=12)))(base).reshape(80, 80)
    left, exact, right = np.linalg.svd(matrix)
    assert exact[0] > 1.5
    assert_close(values, exact[:3], {"float64": 1e-9})
    for v, w, expected_v, expected_w in zip(first, evolved, right, left.T, strict=False):
        sign = np.sign(np.vdot(v, expected_v))
        assert_close(sign * v.ravel(), expected_v, {"float64": 1e-4})
        assert_close(sign * w.ravel(), expected_w, {"float64": 1e-4})
    assert np.all(np.diff(history[:, 0]) > -1e-12)  # the leading one only rises


@both
def test_singular_vectors(tmp_path, discretisation):
    options = {"size": 16, "steps": 10, "spin-up": 100, "count": 2, "power-iterations": 12, "iterations": 40}
    options |= {"output": tmp_path, "discretisation": discretisation}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    measured = singular_vectors.main([*arguments, "--radii", "0.001", "0.3"])
    growth, leading = measured["growth"], measured["values"][0]
    # Small: nothing grows more than the first singular vector, and the ascent finds it.
    assert growth["singular vector"][0] == pytest.approx(leading, rel=0.01)
    assert growth["Adam"][0] < leading * 1.001
    assert leading * 0.99 < growth["ascent"][0] < leading * 1.001
    # The ascent only rises, from Adam's.
    assert np.all(np.array(growth["ascent"]) >= np.array(growth["Adam"]) * (1 - 1e-9))
    assert measured["history"].shape == (12, 2)
    assert (tmp_path / "singular_vectors.png").stat().st_size > 10_000


@both
def test_control(tmp_path, discretisation):
    options = ["--size", "16", "--steps", "20", "--iterations", "15", "--output", str(tmp_path)]
    options += ["--discretisation", discretisation]
    with jax.numpy_dtype_promotion("standard"):  # Optax's line search mixes types
        measured = control_enstrophy.main(options)
    losses = measured["losses"]
    assert losses.shape == (16,)
    assert np.all(np.diff(losses) <= 0)
    assert measured["misfit"] < 0.01
    assert measured["misfit"] + 0.02 * measured["cost"] == pytest.approx(losses[-1])
    assert measured["gradient"] == pytest.approx(measured["differences"], rel=1e-5)  # of a step of 1e-3
    # The straight line reaches the target too, at a higher cost.
    assert measured["misfit of straight line"] < 0.01
    assert measured["cost"] < 0.5 * measured["cost of straight line"]
    assert (tmp_path / "control_enstrophy.png").stat().st_size > 10_000


def test_the_straight_line_is_followed():
    grid = Grid((16, 16))
    solver = NavierStokes2D(grid, viscosity=0.01, dt=0.02)
    start = initial.taylor_green(grid)
    target = initial.vortex_merger(grid)
    control = control_enstrophy.straight_line(solver, start, target, steps=20)
    states = jax.jit(lambda f: solver.rollout(start, steps=20, save_every=10, forcing=f))(control)
    for state, place in zip(states, (0.5, 1.0), strict=True):
        error = jnp.linalg.norm(state - start - place * (target - start)) / jnp.linalg.norm(target - start)
        assert error < 1e-3


def test_cylinder(tmp_path, capsys):
    options = {"points": 4, "height": 8, "length": 14, "time": 24, "window": 2, "iterations": 3, "output": tmp_path}
    measured = cylinder.main([f"--{name}={value}" for name, value in options.items()])
    assert measured["blockage"] == 1 / 8
    assert 0.1 < measured["strouhal"] < 0.25  # four points a diameter
    assert 1 < measured["least drag"] < 0.97 * measured["drag"]
    assert (tmp_path / "cylinder.png").stat().st_size > 10_000
    assert capsys.readouterr().out.count("by the outline") == 3


def test_the_frequency_of_an_oscillation():
    times = np.arange(400) * 0.1
    assert cylinder.frequency(3 + np.sin(2 * np.pi * 0.17 * times + 0.4), 0.1) == pytest.approx(0.17, rel=1e-3)
    assert np.isnan(cylinder.frequency(times, 0.1))
