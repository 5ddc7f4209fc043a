"""Writes into a page what its code prints and draws.

    python docs/site/outputs.py            # of all pages that show it

A block of text after a block of Python and `<!-- output -->` is what that code prints. `<!-- picture: flow.png -->`
after code that saves `flow.png` copies it to `docs/images`, from where the page shows it. The tests run the pages too,
and compare what is printed with what is shown.
"""

import contextlib
import io
import re
import shutil
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
CODE = re.compile(r"^```python\n(.*?)^```\n", re.M | re.S)
OUTPUT = re.compile(r"\A\n<!-- output -->\n```text\n(.*?)^```\n", re.M | re.S)
PICTURE = re.compile(r"<!-- picture: (\S+) -->")


def shown(rest: str) -> str | None:
    """Return the output that a page shows at the start of `rest`, the text after a block of code, or None."""
    found = OUTPUT.match(rest)
    return found and found[1]


def written(text: str, run) -> str:
    """Return a page with the outputs that ``run(code)`` returns for its blocks."""
    parts, end = [], 0
    for block in CODE.finditer(text):
        printed = run(block[1])
        output = OUTPUT.match(text[block.end() :])
        if output:
            parts += [text[end : block.end() + output.start(1)], printed]
            end = block.end() + output.end(1)
    return "".join(parts) + text[end:]


def main() -> None:
    """Write the outputs and pictures of all pages that show some."""
    for page in sorted(DOCS.rglob("*.md")):
        text, names = page.read_text(), {"__name__": "page"}
        if "<!-- output -->" not in text and not PICTURE.search(text):
            continue

        def run(code, names=names):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, names)
            return out.getvalue()

        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            page.write_text(written(text, run))
            for name in PICTURE.findall(text):
                shutil.copy(name, DOCS / "images" / f"{page.stem}_{name}")
        print(page.relative_to(DOCS))


if __name__ == "__main__":
    main()
