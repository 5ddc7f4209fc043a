"""The example of training sets, and its claims."""

import pytest

pytest.importorskip("h5py")
pytest.importorskip("xarray")
pytest.importorskip("matplotlib")

import generate_dataset

pytestmark = pytest.mark.full  # what examples do is tested elsewhere too
both = pytest.mark.parametrize("discretisation", ["finite-difference", "spectral"])


@both
def test_the_example(tmp_path, discretisation):
    options = ["--size", "24", "--count", "5", "--steps", "40", "--output", str(tmp_path)]
    options += ["--discretisation", discretisation]
    results = generate_dataset.main(options)
    assert results["trajectories"] == 5
    assert results["error_of_the_next_frame"] < 1e-5
    assert results["falls_with_viscosity"]
    assert 0 < results["enstrophy_kept_at_most_viscosity"] < results["enstrophy_kept_at_least_viscosity"] < 1
    assert (tmp_path / "generate_dataset.png").stat().st_size > 10_000
    assert generate_dataset.main(options) == results  # from the file of the first time
