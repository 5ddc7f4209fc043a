"""The example of training sets, and its claims."""

import runpy
from pathlib import Path

import pytest

for name in ("h5py", "xarray", "matplotlib"):
    pytest.importorskip(name)

EXAMPLE = Path(__file__).parents[1] / "examples" / "generate_dataset.py"


def test_the_example(tmp_path):
    main = runpy.run_path(str(EXAMPLE))["main"]
    options = ["--size", "24", "--count", "5", "--steps", "40", "--output", str(tmp_path)]
    results = main(options)
    assert results["trajectories"] == 5
    assert results["error_of_the_next_frame"] < 1e-5
    assert results["falls_with_viscosity"]
    assert 0 < results["enstrophy_kept_at_most_viscosity"] < results["enstrophy_kept_at_least_viscosity"] < 1
    assert (tmp_path / "generate_dataset.png").stat().st_size > 10_000
    assert main(options) == results  # from the file of the first time
