"""Figures of the README and of the pages are those of the JSON files that were measured."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "docs/benchmarks/tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_data(tables, capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_table_is_on_a_page(tables):
    found = {name for page in tables.PAGES for _, name, _ in tables.MARKED.findall(page.read_text())}
    assert found == set(tables.TABLES)


def test_a_figure_that_was_changed_by_hand_is_seen(tables, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: selection -->\n<!-- end -->\n")
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "PAGES", [page])
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == tables.main(["--check"]) == 0
    page.write_text(page.read_text().replace("| 13 |", "| 12 |", 1))
    assert tables.main(["--check"]) == 1
    assert "page.md" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "digits"), [(7.546, "7.5"), (59.64, "59.6"), (99.94, "99.9"), (99.96, "100"), (1362.39, "1362")]
)
def test_figures_have_three_digits(tables, value, digits):
    assert tables.figure(value) == digits
