"""The pages for developers name files and functions that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("warpjaxns", "tests", "docs", "examples")
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts]
PATHS = ["/" + path.relative_to(ROOT).as_posix() for path in FILES]
WORDS = set(re.findall(r"\w+", "\n".join(path.read_text() for path in FILES if path.suffix in (".py", ".h"))))


def unknown(text: str) -> list[str]:
    """Return names in backticks, outside of blocks of code, that are neither of a file nor in any."""
    names = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    files = [name for name in names if re.fullmatch(r"[\w/.]+(\.(py|h|txt|json|md)|/)", name)]
    dotted = [name for name in names if re.fullmatch(r"[A-Za-z_][\w.]*", name) and name not in files]
    missing = [name for name in files if not any(f"/{name}" in path for path in PATHS)]
    ours = [name for name in dotted if name.split(".")[0] not in ("wp", "jax", "jnp")]
    return missing + [name for name in ours if not WORDS.issuperset(name.split("."))]


@pytest.mark.parametrize("page", ["developer/kernels.md", "design.md"])
def test_names_exist(page):
    text = (ROOT / "docs" / page).read_text()
    assert text.count("`") > 100
    assert unknown(text) == []


def test_a_name_that_is_gone_is_seen():
    gone = "STAGE" + "COACH"  # this file is searched too
    text = f"`stencils.py` and `_kernels/gone.py`, `tuning.STAGE` and `tuning.{gone}`, `1/3`\n```text\n`{gone}`\n```\n"
    assert unknown(text) == ["_kernels/gone.py", f"tuning.{gone}"]
