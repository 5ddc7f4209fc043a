"""The script for NVIDIA's sanitizer launches every kernel, on the CPU too."""

import pytest
import sanitize


@pytest.mark.full
@pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])
def test_a_case_runs(discretisation, capsys):
    case = {"finite-difference": 18, "spectral": 5}[discretisation]  # small, with two members or one
    sanitize.main(["--device", "cpu", "--start", str(case), "--every", "100", "--discretisation", discretisation])
    *_, largest = capsys.readouterr().out.split()
    assert 0 < float(largest) < 100
