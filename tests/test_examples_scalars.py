"""The examples on mixing and on a warm bubble, each at a tiny setting."""

import jax
import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("optax")

import bubble
import mixing

pytestmark = pytest.mark.full  # what examples do is tested elsewhere too


def test_mixing(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    with jax.numpy_dtype_promotion("standard"):  # as Optax needs
        measured = mixing.main(["--size", "20", "--steps", "40", "--iterations", "12", "--output", str(folder)])
    assert measured["losses"].shape == (13,)
    assert measured["losses"][-1] == pytest.approx(np.log(measured["mix-norm, optimal"]), rel=1e-6)
    assert measured["mix-norm, optimal"] < 0.9 * measured["mix-norm, steady"] < 0.9
    assert measured["gradient"] == pytest.approx(measured["differences"], rel=1e-2)  # over a wide step
    assert measured["largest residual"] < 1e-12
    assert measured["production"] > measured["dissipation"] > 0
    assert (folder / "mixing.png").stat().st_size > 10_000
    assert "iteration    0" in capsys.readouterr().out


def test_bubble(tmp_path):
    measured = bubble.main(["--size", "24", "--steps", "40", "--output", str(tmp_path)])
    assert measured["kinetic energy"] + measured["taken by viscosity"] == pytest.approx(measured["released"], rel=1e-2)
    assert measured["not accounted for"] < 0.01 * measured["released"]
    assert measured["height"] > bubble.BOTTOM + 0.2
    assert measured["by buoyancy"] == pytest.approx(measured["by buoyancy, differences"], rel=1e-2)  # over a wide step
    assert (tmp_path / "bubble.png").stat().st_size > 10_000


@pytest.mark.parametrize(("example", "steps"), [(mixing, "45"), (bubble, "50")])
def test_steps_that_the_saves_do_not_divide_are_refused(example, steps, capsys):
    with pytest.raises(SystemExit):
        example.main(["--steps", steps])
    assert "expected a multiple" in capsys.readouterr().err
