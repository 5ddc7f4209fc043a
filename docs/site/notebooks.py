"""Runs the notebooks of `examples/notebooks`, and writes their outputs into them.

python docs/site/notebooks.py
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "examples/notebooks"


def executed(path: Path, folder: Path):
    """Return a notebook after running all its cells in `folder`.

    Raises:
        CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}, record_timing=False).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}  # nothing of this machine
    return notebook


def main() -> None:
    """Run and write all notebooks."""
    import tempfile

    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)
        print(f"{path.name}: {path.stat().st_size / 2**10:.0f} KiB")


if __name__ == "__main__":
    main()
