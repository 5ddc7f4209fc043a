"""Display in notebooks: figures that pyplot does not know, and films."""

import base64
import dataclasses
import io
import os
import sys
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Film:
    """A film on disk. A notebook shows it, and functions that take a path take it.

    Attributes:
        path: the file, a GIF or an MP4.
    """

    path: Path

    def __fspath__(self) -> str:
        """Return the path as text, for `open` and its kin."""
        return os.fspath(self.path)

    def _repr_html_(self) -> str:
        """Return the film as HTML with its bytes inside, so that a notebook keeps it."""
        data = base64.b64encode(self.path.read_bytes()).decode()
        if self.path.suffix.lower() == ".gif":
            return f'<img alt="{self.path.name}" src="data:image/gif;base64,{data}">'
        return f'<video controls loop src="data:video/mp4;base64,{data}"></video>'


def show_figures() -> None:
    """Let IPython show figures, where it runs. It would do so by itself for figures of pyplot only."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["image/png"]
    if "matplotlib.figure.Figure" not in formatter:
        formatter.for_type_by_name("matplotlib.figure", "Figure", _png)


def _png(figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", bbox_inches="tight")
    return out.getvalue()
