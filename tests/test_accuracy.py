"""The measurement of error against time: its reference solution, what it keeps, and what it draws."""

import dataclasses
import json

import accuracy
import accuracy_codes
import accuracy_flows as flows
import accuracy_picture as picture
import jax
import numpy as np
import pytest
from tolerances import assert_close

FLOW = flows.Flow("random", viscosity=0.02, time=0.4, drag=0.3, amplitude=1.5)
STILL = flows.Flow("shear", viscosity=0.05, time=0.5, drag=0.2)


@pytest.fixture(autouse=True)
def smaller(monkeypatch):
    """Draw initial fields on fewer points, and start as a script does."""
    monkeypatch.setattr(flows, "FINE", 64)
    drawn = flows.initial_state
    drawn.cache_clear()
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    drawn.cache_clear()


def test_samples_of_a_series_alias_what_the_points_cannot_tell(key):
    coefficients = np.zeros((16, 16), complex)
    coefficients[3, -2], coefficients[-3, 2] = 0.5 + 1j, 0.5 - 1j
    for size in (6, 11, 16, 40):
        y, x = np.meshgrid(*[2 * np.pi * np.arange(size) / size] * 2, indexing="ij")
        assert_close(flows.sample(coefficients, size), np.cos(3 * y - 2 * x) - 2 * np.sin(3 * y - 2 * x))


def test_the_reference_decays_as_a_layer_without_waves(monkeypatch):
    """A flow whose vorticity depends on y alone decays mode by mode."""
    start = flows.initial_state(STILL.kind).copy()
    start[:, 1:] = 0
    monkeypatch.setattr(flows, "initial_state", lambda kind: start)
    modes = np.abs(np.fft.fftfreq(64, 1 / 64))
    decay = np.exp(-(STILL.viscosity * modes[:, None] ** 2 + STILL.drag) * STILL.time)
    expected = flows.sample(np.where(modes[:, None] < 32, start * decay, 0), 64)
    assert_close(flows.sample(flows.solve(STILL, 64, 20), 64), expected)


@pytest.mark.full
def test_the_reference_is_of_fourth_order_and_balances_its_forcing():
    exact = flows.solve(FLOW, 32, 320)
    errors = [flows.error(flows.sample(flows.solve(FLOW, 32, steps), 32), exact) for steps in (20, 40)]
    assert 3.7 < np.log2(errors[0] / errors[1]) < 4.3
    k = 2 * np.pi * flows.WAVES / flows.SIDE  # a mode that nothing else moves: the mean along x, to first order in time
    short = flows.Flow(FLOW.kind, FLOW.viscosity, 1e-4, FLOW.drag, FLOW.amplitude)
    unforced = flows.Flow(FLOW.kind, FLOW.viscosity, 1e-4, FLOW.drag)
    gained = flows.solve(short, 32, 1) - flows.solve(unforced, 32, 1)
    assert abs(gained[flows.WAVES, 0] / 1e-4 + FLOW.amplitude * k / 2) < 1e-3
    coarse, fine = (flows.resolved(FLOW, modes, 80)[1] for modes in (32, 64))
    assert fine < coarse / 50


@pytest.mark.full
@pytest.mark.covering(1)
@pytest.mark.parametrize("code", accuracy_codes.CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("flow", [FLOW, STILL], ids=["forced", "free"])
def test_every_code_solves_the_same_equations(code, flow):
    """Compare with the reference, to what each code's order leaves: a wrong sign is an error of tens of per cent."""
    pytest.importorskip({"Exponax": "exponax", "JAX-CFD": "jax_cfd"}.get(code.family, "numpy"))
    size, steps = 48, 100
    omega = np.asarray(flows.sample(flows.initial_state(flow.kind), size), "float32")
    reference = flows.solve(flow, 64, 100)
    limit = 0.05 if code.family == picture.SECOND_ORDER else 2e-3
    rollout = code.rollout(flow, size, flow.time / steps, steps)
    assert flows.error(jax.jit(rollout)(omega), reference) < limit
    assert flows.error(omega, reference) > 2 * limit  # so that the comparison means something
    if code.family in ("finite differences", "spectral"):
        return  # `Checkpointed` has tests of its own
    recomputed = code.rollout(flow, size, flow.time / steps, steps, recompute=True)
    slopes = [jax.jit(jax.grad(lambda w, f=f: (f(w) ** 2).mean()))(omega) for f in (rollout, recomputed)]
    assert_close(*slopes, {"float32": 1e-4})


@pytest.mark.full
def test_a_run_goes_on_and_is_merged_and_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(flows, "FLOWS", {"kolmogorov": FLOW})
    monkeypatch.setattr(accuracy, "TRIES", 2)
    small = [dataclasses.replace(code, sizes=(16, 32)) for code in accuracy_codes.CODES]
    monkeypatch.setattr(accuracy, "CODES", small)
    first, second, both = (tmp_path / f"{name}.json" for name in ("a", "b", "both"))
    for path, size in ((first, "16"), (second, "32")):
        what = ["--flows", "kolmogorov", "--output", str(path), "--codes", "finite", "spectral, rk4, t"]
        accuracy.main(["errors", *what, "--sizes", size, "--modes", "32"])
        accuracy.main(["times", *what, "--members", "1", "2"])
    accuracy.main(["merge", str(first), str(second), "--output", str(both)])
    data = json.loads(both.read_text())
    assert {r["size"] for r in data["errors"]} == {16, 32}
    assert {(r["task"], r["members"]) for r in data["times"]} == {(t, m) for t in accuracy.TASKS for m in (1, 2)}
    assert all(r["seconds"] > 0 and not r["failed"] for r in data["times"])
    capsys.readouterr()
    accuracy.main(["errors", *what, "--output", str(both), "--sizes", "32"])
    accuracy.main(["times", *what, "--members", "1", "2", "--output", str(second)])
    assert capsys.readouterr().out == ""  # nothing was missing
    picture.main([str(both), "--output", str(tmp_path / "accuracy.png")])
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000


def record(size, error, cost, **more):
    return {"flow": "shear", "code": "spectral, rk3", "size": size, "error": error, "cost": cost} | more


def test_the_cheapest_run_of_each_level_is_timed():
    runs = [record(32, 0.08, 1.0), record(64, 0.02, 2.0), record(64, 0.009, 3.0), record(96, 0.008, 2.5)]
    chosen = accuracy.best(runs, (1e-1, 1e-2, 5e-3))
    assert chosen == [runs[0], runs[3]]


def test_times_and_points_to_an_error():
    family = picture.SECOND_ORDER
    common = {"flow": "shear", "family": family, "task": "forward", "members": 1, "samples": [], "failed": ""}
    runs = [(1.0, 0.1), (8.0, 0.03), (9.0, 0.04)]
    data = {"times": [common | {"seconds": seconds, "error": error} for seconds, error in runs], "errors": []}
    assert picture.front(data, "shear", family, "forward", 1) == [(1.0, 0.1), (8.0, 0.03)]
    assert picture.time_to(data, "shear", family, "forward", 1, 0.05) == (8.0, False)
    seconds, extrapolated = picture.time_to(data, "shear", family, "forward", 1, 0.0075)
    assert (seconds, extrapolated) == (pytest.approx(64.0), True)
    assert picture.time_to(data, "shear", family, "forward", 1, 0.0005) is None  # too far away
    assert picture.time_to(data, "shear", "spectral", "forward", 1, 0.05) is None
    data["errors"] = [record(n, e, 1.0, code=f"{family}, x") for n, e in ((64, 0.1), (128, 0.2), (128, 0.02))]
    assert picture.points_to(data, "shear", family, 0.05) == (128, False)
    assert picture.points_to(data, "shear", family, 0.005) == (256, True)
    assert picture.points_to(data, "shear", family, 0.0005) is None
    assert picture.points_to(data, "shear", "spectral", 0.05) is None
