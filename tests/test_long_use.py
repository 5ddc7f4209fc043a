"""Memory does not grow with use."""

import long_use
import pytest

KIB = 1024


@pytest.mark.full
@pytest.mark.parametrize("backend", ["xla", "warp"])
def test_calls_and_solvers_leave_nothing_behind(backend, capsys):
    figures = long_use.main(["--share", "0.03", "--use", "calls", "gradients", "--backend", backend])
    for name, result in figures.items():
        few = 1024 * KIB / result["count"]  # pages that have nothing to do with uses
        assert result["bytes a use"] < max(0.5 * KIB, few), name
    assert "calls" in capsys.readouterr().out
