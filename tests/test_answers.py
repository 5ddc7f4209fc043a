"""Reference runs give the numbers that are kept, and the same bits each time."""

import json
import subprocess
import sys

import answers
import jax
import numpy as np
import pytest

with jax.enable_x64(True):
    RUNS = answers.runs()
NAMES = list(RUNS)
KEPT = json.loads(answers.FILE.read_text())


FEW = ("gradient, float32", "gradient of Fourier modes", "a buoyant scalar")
FAST = [(name, "xla") for name in FEW]
MORE = [(name, "xla") for name in NAMES if name not in FEW] + [(name, "warp") for name in FEW]


@pytest.mark.parametrize(
    ("name", "backend"), [*FAST, *(pytest.param(*case, marks=pytest.mark.full) for case in MORE)], ids=str
)
def test_numbers(name, backend):
    made = answers.answer(name, backend)
    for device, kept in KEPT.items():
        assert answers.differ(made, kept["answers"][name][backend]) is None, device
    assert answers.answer(name, backend)["sha256"] == made["sha256"]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["xla", "warp"])
def test_another_process_has_the_same_bits(backend):
    names = FEW[:2]
    program = f"import answers; print(*(answers.answer(name, {backend!r})['sha256'] for name in {names!r}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=answers.FILE.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-2:] == [answers.answer(name, backend)["sha256"] for name in names]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["xla", "warp"])
@pytest.mark.parametrize("how", [{}, answers.SPECTRAL], ids=["finite-difference", "spectral"])
def test_a_member_alone(how, backend):
    """By Warp a member of a batch has the bits that it has alone. XLA vectorises another loop, and rounds elsewhere."""
    solver = answers.solver_of(backend, **how)
    omegas = answers.field(0, "float64", 3)
    together = np.asarray(solver.rollout(omegas, steps=5))
    for omega, last in zip(omegas, together, strict=True):
        alone = np.asarray(solver.rollout(omega, steps=5))
        if backend == "warp":
            np.testing.assert_array_equal(alone, last)
        else:
            np.testing.assert_allclose(alone, last, rtol=0, atol=1e-13 * np.abs(last).max())
