import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ROLLOUT, assert_close, assert_trees_close

import warpjaxns as wns

pytest.importorskip("optax")
pytest.importorskip("matplotlib")

import train_closure as example

pytestmark = pytest.mark.full  # what examples do is tested elsewhere too
both = pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])


def small(key):
    """Return a solver, a model with random weights, and states on another box than the example's."""
    grid = wns.Grid((12, 16), (3.0, 4.0))
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=0.01)
    scale = jnp.asarray(1.0)
    model = example.Learned(solver, scale, every=2, channels=3, layers=2, key=key)
    return solver, model, jax.random.normal(key, (2, *grid.shape))


@pytest.mark.full
@both
def test_training_beats_the_uncorrected_run_on_held_out_flows(tmp_path, capsys, discretisation):
    whole = discretisation == "finite-difference"  # the other one is trained for a while, and only learns
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
        options = ["--quick", "--iterations", "150" if whole else "20", "--discretisation", discretisation]
        result = example.main([*options, "--output", str(tmp_path)])
    losses = result["losses"]
    if whole:
        assert losses[-30:].mean() < 0.8 * losses[:30].mean()
        assert result["learned"]["error"] < 0.9 * result["coarse"]["error"]
        assert result["learned"]["error"] < 0.95 * result["Smagorinsky"]["error"]
    assert losses[-5:].mean() < losses[:5].mean()
    assert "learned" in capsys.readouterr().out
    assert (tmp_path / "train_closure.png").stat().st_size > 10_000
    model = result["model"]
    loaded = eqx.tree_deserialise_leaves(tmp_path / "closure.eqx", jax.tree.map(jnp.zeros_like, model))
    assert_trees_close(eqx.filter(loaded, eqx.is_array), eqx.filter(model, eqx.is_array))
    # Training left the physics alone.
    assert model.solver.viscosity == example.QUICK.viscosity


def test_the_model_is_a_function_that_jax_transforms(key):
    solver, model, omega = small(key)
    alone = solver.rollout(omega[0], steps=2)
    expected = alone + model.correction(alone)
    assert_close(eqx.filter_jit(model)(omega[0]), expected, ROLLOUT)
    ahead = eqx.filter_jit(example.forecast)
    states = ahead(model, omega, 3)
    assert_close(states[0, 0], expected, ROLLOUT)
    assert_close(states, ahead(model, omega, 3, unroll=3), ROLLOUT)
    assert abs(float(model.correction(omega[0]).mean())) < 1e-15

    # Periodic convolutions: moving the flow moves the correction.
    moved = model.correction(jnp.roll(omega[0], (3, 5), (0, 1)))
    assert_close(moved, jnp.roll(model.correction(omega[0]), (3, 5), (0, 1)))

    # The gradient through three blocks, along one direction, against differences.
    def loss(step):
        weight = model.network[0].weight
        changed = eqx.tree_at(lambda m: m.network[0].weight, model, weight + step * jnp.sign(weight))
        return jnp.mean(example.forecast(changed, omega, 3) ** 2)

    loss, h = jax.jit(loss), 1e-5
    assert_close(jax.jit(jax.grad(loss))(0.0), (loss(h) - loss(-h)) / (2 * h), {"float64": 1e-5})


def test_every_setting_is_consistent():
    for settings in (example.QUICK, example.DEFAULT, example.FULL):
        assert settings.fine % settings.coarse == 0
        assert settings.waves < settings.coarse / 2
        assert settings.unroll <= settings.blocks // 2  # held-out forecasts are at least as long as training's


def test_windows_are_successive_states(key):
    times, members = 9, 3
    counted = jnp.arange(times)[:, None] + 100 * jnp.arange(members)
    trajectories = jnp.broadcast_to(counted[..., None, None].astype(float), (times, members, 4, 4))
    window = example.draw(trajectories, 4, 50, key)[..., 0, 0]
    assert window.shape == (4, 50)
    assert np.array_equal(np.diff(window, axis=0), np.ones((3, 50)))
    assert set(np.asarray(window[0]) % 100) == set(range(6))
    cut = example.windows(trajectories, 4)[..., 0, 0]
    assert np.array_equal(cut[:, 0], [0, 1, 2, 3, 4])
    assert np.array_equal(cut[:, -1], [204, 205, 206, 207, 208])
    assert cut.shape == (5, 6)
