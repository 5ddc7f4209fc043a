"""Python blocks of the README and of the site run in order, page by page, as a reader would run them.

A comment in the Markdown right before a block may change this:

- ``<!-- test: needs exponax -->``: skipped unless that package is installed;
- ``<!-- test: 512 -> 32 -->``: run on the CPU with 32 in place of 512;
- ``<!-- test: not run, because -->``: only compiled;
- ``<!-- test: run -->`` before a Bash block: its ``warpjaxns`` commands are run as well.

``<!-- output -->`` and a block of text after a block say what it prints (`docs/site/outputs.py` writes them).

``<!-- page needs h5py, xarray -->`` skips a page if these are missing.
"""

import contextlib
import importlib.util
import inspect
import io
import re
import shlex
from pathlib import Path

import jax
import jaxtyping
import outputs
import pytest
from layouts import fast_cases

import warpjaxns

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?:^[ ]*<!-- test: (?P<marker>[^\n]*?) -->\n+)?^(?P<indent> *)```(?P<language>python|bash)\n(?P<code>.*?)^ *```$",
    re.M | re.S,
)


def blocks(page):
    """Return ``(marker, line, code)`` of each block to run. Commands become Python."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        indent = found["indent"]
        code = "".join(line.removeprefix(indent) for line in found["code"].splitlines(keepends=True))
        marker, line = found["marker"] or "", text[: found.start("code")].count("\n")
        if found["language"] == "python":
            yield marker, line, code
        elif marker == "run":
            yield "", line, commands(code)


def commands(text):
    """Return the ``warpjaxns`` commands of a Bash block, as a program."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("warpjaxns ")]
    return "from warpjaxns import cli\n" + "".join(f"assert cli.main({arguments}) == 0\n" for arguments in found)


@contextlib.contextmanager
def as_it_comes():
    """Set JAX up as readers have it, not as the tests do. Pages may change it."""
    config = jax.config
    before = config.jax_enable_x64, config.jax_numpy_dtype_promotion, config.jax_numpy_rank_promotion
    _configure(False, "standard", "allow")
    try:
        yield
    finally:
        _configure(*before)


def _configure(x64, dtypes, ranks):
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_numpy_dtype_promotion", dtypes)
    jax.config.update("jax_numpy_rank_promotion", ranks)


def with_code(pages):
    return [page for page in pages if any(blocks(page))]


@pytest.mark.filterwarnings("default::RuntimeWarning")  # a page may show one
@pytest.mark.parametrize("page", fast_cases([ROOT / "README.md", *with_code(PAGES)], 0), ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    needed = re.search(r"<!-- page needs (.*?) -->", page.read_text())
    for package in ["matplotlib", "optax", *(needed[1].split(", ") if needed else [])]:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # readers have no annotations checked
    names = {"__name__": "page"}
    with as_it_comes():
        for marker, line, code in blocks(page):
            source = "\n" * line + _marked(marker, code)  # so that errors show the line of the page
            printed = io.StringIO()
            program = compile(source, str(page), "exec")
            needs = marker.removeprefix("needs ").split(", ") if marker.startswith("needs ") else []
            if not marker.startswith("not run") and all(map(importlib.util.find_spec, needs)):
                with contextlib.redirect_stdout(printed):
                    exec(program, names)
                check_output(printed.getvalue(), _shown(page, line, code))


def _shown(page, line, code):
    """Return the output that a page shows after a block, or None."""
    rest = page.read_text().splitlines(keepends=True)[line + code.count("\n") + 1 :]
    return outputs.shown("".join(rest))


def check_output(printed, shown):
    """Check that an output has the words that are shown, and its numbers to two per cent or their last digit."""
    print(printed, end="")
    if shown is None:
        return
    number = re.compile(r"-?\d+(?:\.\d+)?")
    assert number.sub("#", printed) == number.sub("#", shown)
    for one, other in zip(number.findall(printed), number.findall(shown), strict=True):
        last = 10.0 ** -len(other.partition(".")[2])
        assert abs(float(one) - float(other)) <= max(0.02 * abs(float(other)), 1.5 * last), (printed, shown)


def _marked(marker, code):
    old, arrow, new = marker.partition(" -> ")
    if not arrow:
        assert marker == "" or marker.startswith(("needs ", "not run, ")), f"unknown marker {marker!r}"
        return code
    assert old in code, f"{old!r} is not in the block"
    return code.replace(old, new)


def test_every_page_is_in_the_navigation():
    navigation = (DOCS / "site/mkdocs.yml").read_text().split("nav:")[1].split("theme:")[0]
    listed = set(re.findall(r": (\S+\.md)$", navigation, re.M))
    assert listed == {str(page.relative_to(DOCS)) for page in PAGES}


def test_every_example_is_in_the_gallery_with_its_picture():
    gallery = (DOCS / "examples.md").read_text()
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert len(scripts) > 8
    for script in scripts:
        assert f"`{script.name}`" in gallery, script
        if "def main(" in script.read_text():
            assert f"](images/{script.stem}.png)" in gallery, script
            assert (DOCS / f"images/{script.stem}.png").is_file(), script


def test_every_public_name_is_in_the_reference():
    documented = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    public = []
    for name in set(warpjaxns.__all__) - {"__version__"}:
        value = getattr(warpjaxns, name)
        members = value.__all__ if inspect.ismodule(value) else []
        public += [f"{name}.{member}" for member in members if not member.isupper()] or [name]
    assert len(public) > 50
    assert [name for name in public if not re.search(rf"^::: warpjaxns\.{name}$", documented, re.M)] == []


def test_commands_run_too(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- test: run -->\n```bash\npip list\nwarpjaxns \\\n  info  # versions\n```\n\n```bash\nwarpjaxns fly\n```\n"
    )
    ((_, _, program),) = blocks(page)
    exec(program)
    assert "backend" in capsys.readouterr().out


def test_outputs_are_compared():
    check_output("energy 0.500 -> 0.297\n", "energy 0.501 -> 0.298\n")
    check_output("anything", None)
    for wrong in ("energy 0.500 -> 0.397\n", "energy 0.500\n", "enstrophy 0.500 -> 0.297\n"):
        with pytest.raises(AssertionError):
            check_output("energy 0.500 -> 0.297\n", wrong)


def test_outputs_are_written_and_found_again():
    text = "a\n\n```python\nx = 1\n```\n\n<!-- output -->\n```text\nold\n```\n\n```python\ny = 2\n```\n"
    new = outputs.written(text, lambda code: f"ran {code}")
    assert new == text.replace("old\n", "ran x = 1\n")
    assert outputs.shown(new.partition("x = 1\n```\n")[2]) == "ran x = 1\n"


def test_the_tutorial_shows_what_it_prints_and_draws():
    text = (DOCS / "tutorial.md").read_text()
    assert text.count("<!-- output -->") == len(re.findall(r"^```python\n(?:(?!```).)*?print\(", text, re.M | re.S)) > 4
    for name in outputs.PICTURE.findall(text):
        assert f"](images/tutorial_{name})" in text
        assert (DOCS / f"images/tutorial_{name}").is_file()
    long = [line for line in text.splitlines() if len(line) > 88 and "](" not in line]
    assert long == []


def test_formulas_and_pictures_of_a_page():
    pages = pytest.importorskip("pages")
    pytest.importorskip("latex2mathml")
    html = r'<p><span class="arithmatex">\(a &lt; b\)</span> <img alt="A flow" src="flow.png" /></p>'
    made = pages.on_page_content(html)
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">' in made
    assert "arithmatex" not in made
    assert '<a class="picture" href="flow.png" title="Full size"><img alt="A flow" src="flow.png" /></a>' in made
    assert 'display="block"' in pages.on_page_content(r'<div class="arithmatex">\[x^2\]</div>')


def test_a_block_that_fails_is_seen(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n```\n\n  ```python\n  assert x == 2\n  ```\n")
    with pytest.raises(AssertionError):
        test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch)
