import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layouts import fast_cases

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, diagnostics, experiments, initial, plotting
from warpjaxns.experiments import developed_turbulence, gain, optimal_perturbation, random_perturbation

pytest.importorskip("optax")
GRID = Grid((24, 20), (3.0, 2.5))
STEPS, RADIUS = 12, 0.1


def make_solver(**options):
    return NavierStokes2D(GRID, **{"viscosity": 1e-3, "dt": 2e-2, **options})


@pytest.fixture(scope="module")
def fields():
    of_flow, of_noise = jax.random.split(jax.random.key(1))
    flow = initial.decaying_turbulence(GRID, key=of_flow, peak_wavenumber=5)
    return flow, random_perturbation(flow, norm=RADIUS / 2, key=of_noise)


@pytest.fixture(scope="module")
def result(fields):
    return optimal_perturbation(make_solver(), *fields, steps=STEPS, radius=RADIUS, learning_rate=0.05, iterations=40)


def relative_norm(result):
    return float(jnp.linalg.norm(result.perturbation) / jnp.linalg.norm(result.base))


def test_the_loss_falls(result):
    assert result.losses.shape == result.norms.shape == result.seconds.shape == (40,)
    assert np.all(np.diff(result.losses[:10]) < 0)
    assert result.loss <= result.losses[-1] < 3 * result.losses[0] < 0


def test_the_first_loss_is_that_of_the_given_perturbation(result, fields):
    base, perturbation = fields
    roll = jax.jit(lambda omega: make_solver().rollout(omega, steps=STEPS))
    apart = roll(base + perturbation) - roll(base)
    np.testing.assert_allclose(result.losses[0], -jnp.mean(apart**2), rtol=1e-12)
    np.testing.assert_allclose(result.final_base, roll(base), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.final_perturbed, roll(base + result.perturbation), rtol=0, atol=1e-12)


def test_the_projection_keeps_the_norm(result):
    assert np.all(result.norms <= RADIUS * (1 + 1e-12))
    assert result.norms[0] < RADIUS  # starts inside
    assert result.norms[-1] == pytest.approx(RADIUS, rel=1e-12)
    assert relative_norm(result) == pytest.approx(RADIUS, rel=1e-12)


@pytest.mark.full
def test_one_iteration_is_adam_and_a_projection(fields):
    base, start = fields
    rate, radius = 0.3, 0.06
    result = optimal_perturbation(make_solver(), base, start, steps=2, radius=radius, learning_rate=rate, iterations=1)

    def loss(delta):
        solver = make_solver()
        return -jnp.mean((solver.rollout(base + delta, steps=2) - solver.rollout(base, steps=2)) ** 2)

    gradient = jax.jit(jax.grad(loss))(start)
    moved = start - rate * gradient / (jnp.abs(gradient) + 1e-8)  # Adam's first step, its bias corrected
    assert jnp.linalg.norm(moved) > radius * jnp.linalg.norm(base)
    expected = moved * radius * jnp.linalg.norm(base) / jnp.linalg.norm(moved)
    np.testing.assert_allclose(result.perturbation, expected, rtol=1e-7, atol=1e-9)


def test_it_beats_noise_of_the_same_norm(result):
    solver, base = result.solver, result.base
    keys = jax.random.split(jax.random.key(5), 3)
    noise = [random_perturbation(base, norm=RADIUS, key=key) for key in keys]
    assert result.gain > 5 * max(gain(solver, base, delta, steps=STEPS) for delta in noise)
    found = gain(solver, base, result.perturbation, steps=STEPS)
    assert result.gain == pytest.approx(float(found), rel=1e-9)
    assert result.lead_time == pytest.approx(STEPS * 2e-2)


def test_the_same_input_gives_the_same_result(result, fields):
    again = optimal_perturbation(make_solver(), *fields, steps=STEPS, radius=RADIUS, learning_rate=0.05, iterations=40)
    np.testing.assert_array_equal(again.losses, result.losses)
    np.testing.assert_array_equal(again.perturbation, result.perturbation)


def test_the_callers_arrays_survive_and_progress_is_reported(fields):
    base, perturbation = fields
    before, calls = np.array(perturbation), []
    report = lambda *call: calls.append(call)  # noqa: E731
    result = optimal_perturbation(make_solver(), base, perturbation, steps=2, iterations=3, report=report)
    np.testing.assert_array_equal(perturbation, before)
    assert calls == list(zip(range(3), result.losses, result.norms, strict=True))
    assert result.memory is None or result.memory > 4 * base.nbytes
    assert result.seconds_per_iteration > 0


@pytest.fixture(scope="module")
def short(fields):
    return lambda **options: optimal_perturbation(make_solver(**options), *fields, steps=6, radius=1.0, iterations=3)


@pytest.fixture(scope="module")
def short_losses(short):
    return short(backend="xla").losses


@pytest.mark.full
@pytest.mark.parametrize(
    "options", fast_cases([{"adjoint": Direct()}, {"adjoint": Checkpointed(3)}, {"backend": "warp"}], 1)
)
def test_adjoints_and_backends_agree(options, short, short_losses):
    np.testing.assert_allclose(short(**options).losses, short_losses, rtol=1e-9)


@pytest.mark.full
def test_float32(fields):
    base, perturbation = (field.astype(np.float32) for field in fields)
    result = optimal_perturbation(make_solver(), base, perturbation, steps=4, iterations=5)
    assert result.perturbation.dtype == result.final_perturbed.dtype == np.float32
    assert result.losses[-1] < result.losses[0]


def test_turbulence_depends_on_the_key_and_fits_the_grid():
    solver = make_solver()
    one, other = (developed_turbulence(solver, key=jax.random.key(seed), spin_up=3) for seed in (0, 1))
    assert not jnp.allclose(one, other)
    assert 0.4 < diagnostics.energy(GRID, one) < 0.5
    assert experiments.peak_wavenumber(Grid((512, 512))) == 12
    assert experiments.peak_wavenumber(Grid((64, 128))) == pytest.approx(4)


def test_bad_input_raises(fields):
    base, perturbation = fields
    solver = make_solver()

    def run(base=base, perturbation=perturbation, **options):
        optimal_perturbation(solver, base, perturbation, **{"steps": 2, "iterations": 1, **options})

    for name in ("steps", "iterations"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            run(**{name: 0})
    for name in ("radius", "learning_rate"):
        with pytest.raises(ValueError, match=f"{name}=-1"):
            run(**{name: -1.0})
    with pytest.raises(ValueError, match="perturbation has shape"):
        run(perturbation=perturbation[None])
    with pytest.raises(ValueError, match="base has shape"):
        run(base=base[:-1])
    with pytest.raises(TypeError, match="dtype"):
        run(perturbation=perturbation.astype(np.float32))
    with pytest.raises(ValueError, match="perturbation is zero"):
        run(perturbation=jnp.zeros_like(base))
    with pytest.raises(ValueError, match="norm"):
        random_perturbation(base, norm=0.0, key=jax.random.key(0))


@pytest.mark.full
def test_a_result_that_is_not_finite_raises(fields):
    base, perturbation = fields
    for check in (True, False):
        unstable = make_solver(dt=10.0, check_finite=check)
        with pytest.raises(FloatingPointError, match="unperturbed rollout is not finite: try a shorter dt"):
            optimal_perturbation(unstable, base, perturbation, steps=20, iterations=1)
    with pytest.raises(FloatingPointError, match=r"Iteration \d"):
        optimal_perturbation(make_solver(), base, perturbation, steps=20, iterations=3, radius=1e30, learning_rate=1e25)


def test_the_picture_shows_every_field(result):
    pytest.importorskip("matplotlib")
    figure = plotting.optimal_perturbation(result)
    titles = [axes.get_title() for axes in figure.axes]
    for word in ("Base", "Optimal", "Unperturbed", "Perturbed", "Difference", "Divergence"):
        assert sum(title.startswith(word) for title in titles) == 1
    figure.draw_without_rendering()  # warns, and so fails, where labels find no room


@pytest.mark.full
def test_the_example_runs(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    import optimal_perturbation as example

    folder = tmp_path / "new" / "folder"
    result = example.main(["--size", "16", "--steps", "5", "--iterations", "4", "--output", str(folder)])
    assert result.losses[-1] < result.losses[0]
    assert (folder / "optimal_perturbation.png").stat().st_size > 10_000
    assert "gain" in capsys.readouterr().out
