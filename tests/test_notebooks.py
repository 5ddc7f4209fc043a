"""The notebooks run from the first cell to the last, and are committed with small outputs of a run."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples/notebooks"
every_notebook = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(notebook):
    """Return the kinds of the outputs of each cell."""
    return [{kind for output in cell["outputs"] for kind in output.get("data", ["text"])} for cell in code(notebook)]


@every_notebook
def test_outputs_are_committed_and_small(path):
    text = path.read_text()
    notebook = json.loads(text)
    assert [cell["execution_count"] for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    shown = [kind for cell in kinds(notebook) for kind in cell]
    assert shown.count("image/png") == 2
    assert "text" in shown
    assert len(text) < 500_000
    assert "Error" not in text
    assert "/home" not in text


@pytest.mark.full
@every_notebook
def test_notebooks_run(path, tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("optax")
    import notebooks

    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    for flags in ("XLA_FLAGS", "JAX_ENABLE_X64"):  # as readers have them, not as the tests do
        monkeypatch.delenv(flags, raising=False)
    assert kinds(notebooks.executed(path, tmp_path)) == kinds(json.loads(path.read_text()))
