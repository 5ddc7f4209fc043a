"""The oldest packages that this one runs with, of those whose changes reach it."""

import importlib.metadata
import re

OLDEST = {"jax": "0.10.2", "warp-lang": "1.19", "equinox": "0.13.1"}  # as in pyproject.toml


def check_versions() -> None:
    """Check what is installed, since pip may have been told not to, and later errors would not name the reason.

    Raises:
        ImportError: a package is too old.
    """
    for name, oldest in OLDEST.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # its import says so
            continue
        if _numbers(found) < _numbers(oldest):
            wanted = f"{name}>={oldest}"
            raise ImportError(f"warpjaxns needs {wanted}, and found {found}: pip install --upgrade '{wanted}'")


def _numbers(version):
    """Return the numbers that a version begins with."""
    return [int(number) for number in re.findall(r"^\d+|(?<=\.)\d+", version)]
