"""The suite starts with other plugins, options and settings."""

import os
import pathlib
import subprocess
import sys

import pytest

CONFIGURATION = pathlib.Path(__file__).parents[1] / "pyproject.toml"
PLUGIN = """
import warnings

def pytest_sessionstart(session):
    warnings.warn("Benchmarks are automatically disabled because xdist plugin is active.")
"""


@pytest.mark.full
def test_pytest_starts_beside_pytest_benchmark(tmp_path):
    package = tmp_path / "pytest_benchmark-0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-benchmark\nVersion: 0\n")
    (package / "entry_points.txt").write_text("[pytest11]\nbenchmark = warns_at_start\n")
    (tmp_path / "warns_at_start.py").write_text(PLUGIN)
    (tmp_path / "test_nothing.py").write_text("def test():\n    pass\n")
    options = ["-c", str(CONFIGURATION), "--rootdir", str(tmp_path), "-n", "0", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_workers_leave_memory_of_a_gpu_to_each_other():
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"]  # false, unless the user chose
