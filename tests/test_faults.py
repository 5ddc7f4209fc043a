"""The script that does faults to processes works, and the tests that its page names are there."""

from pathlib import Path

import faults
import pytest


@pytest.mark.full
def test_faults_come_out_as_they_should(capsys):
    assert faults.main(["--only", "a folder that is read-only", "cut in half"]) == 0
    assert capsys.readouterr().out.count("right: ") == 2


def test_files_of_tests_are_there():
    folder = Path(__file__).parent
    assert [name for name in faults.TESTS.values() if not (folder / f"{name}.py").is_file()] == []
