"""The script for NVIDIA's sanitizer launches every kernel, on the CPU too."""

import pytest
import sanitize
import sanitize_physics


@pytest.mark.full
@pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])
def test_a_case_runs(discretisation, capsys):
    case = {"finite-difference": 18, "spectral": 5}[discretisation]  # small, with two members or one
    sanitize.main(["--device", "cpu", "--start", str(case), "--every", "100", "--discretisation", discretisation])
    *_, largest = capsys.readouterr().out.split()
    assert 0 < float(largest) < 100


@pytest.mark.full
def test_a_case_with_further_physics_runs(capsys, monkeypatch):
    monkeypatch.setattr(sanitize_physics, "CASES", [((12, 18), 2, "float64")])
    sanitize_physics.main(["--backend", "warp"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2] for line in lines].count("scalars") == 2
    assert all(0 < float(line.split()[-1]) < 100 for line in lines)
