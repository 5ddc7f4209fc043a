"""The front of the package: names of the public modules, and a command line that answers at once."""

import importlib
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import warpjaxns
from warpjaxns import cli
from warpjaxns._requirements import OLDEST, check_versions

ROOT = Path(__file__).parent.parent
MODULES = ["benchmarks", "closures", "data", "diagnostics", "experiments", "forcing", "initial", "obstacles"]
MODULES += ["metrics", "plotting"]


def in_new_process(code):
    """Return the output of a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", MODULES)
def test_public_modules_show_public_names_only(name):
    module = getattr(warpjaxns, name)
    assert module is importlib.import_module(f"warpjaxns.{name}")
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [public for public in module.__all__ if public.startswith("_") or not hasattr(module, public)] == []


def test_the_package_shows_public_names_only():
    assert set(MODULES) < set(warpjaxns.__all__)
    assert dir(warpjaxns) == sorted(warpjaxns.__all__)
    assert [name for name in warpjaxns.__all__ if not hasattr(warpjaxns, name)] == []


def test_every_public_name_is_imported_when_it_is_first_used():
    code = """if True:
        import sys, warpjaxns
        assert not {"jax", "warp", "numpy"} & set(sys.modules)
        assert warpjaxns._HOMES.keys() < set(warpjaxns.__all__)
        for name in warpjaxns.__all__:
            value = getattr(warpjaxns, name)
            if name in warpjaxns._HOMES:
                assert value is getattr(sys.modules["warpjaxns." + warpjaxns._HOMES[name]], name)
            elif name != "__version__":
                assert value is sys.modules["warpjaxns." + name]
        from warpjaxns import *
        assert Grid is warpjaxns.Grid and initial is warpjaxns.initial
        """
    assert in_new_process(code) == ""


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'warpjaxns' has no attribute 'NavierStokes3D'"):
        _ = warpjaxns.NavierStokes3D
    with pytest.raises(ImportError, match="cannot import name 'NavierStokes3D'"):
        exec("from warpjaxns import NavierStokes3D")


def test_help_and_version_wait_for_neither_jax_nor_warp():
    code = f"""if True:
        import contextlib, io, sys
        from warpjaxns import cli
        for options in [["--help"], ["--version"], *([name, "--help"] for name in {sorted(commands())})]:
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
                cli.main(options)
            assert "warpjaxns" in out.getvalue()
        print(sorted({{"jax", "warp", "numpy", "equinox"}} & set(sys.modules)))
        """
    assert in_new_process(code) == "[]\n"


@pytest.mark.full
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("import warpjaxns", "import jax, equinox"),
        ("from warpjaxns import NavierStokes2D", "import jax, equinox, warp"),
    ],
    ids=["package", "solver"],
)
def test_imports_take_little_longer_than_those_of_what_is_needed(ours, theirs):
    """CPU time, the less of two runs each; Warp takes a third as long as JAX and Equinox, and the solver needs it."""

    def seconds(code):
        return min(float(in_new_process(f"import time\n{code}\nprint(time.process_time())")) for _ in range(2))

    assert seconds(ours) < 1.2 * seconds(theirs)


def commands():
    return [module.__name__.rpartition(".")[2] for module in cli.COMMANDS]


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"warpjaxns {warpjaxns.__version__}\n"


@pytest.mark.parametrize("name", OLDEST)
def test_what_is_too_old_is_named(name, monkeypatch):
    found = dict(OLDEST)
    monkeypatch.setattr(importlib.metadata, "version", found.__getitem__)
    for version in (OLDEST[name], f"{OLDEST[name]}.1rc2", "7.0"):
        found[name] = version
        check_versions()
    for version in ("0.9", "0.9.99.dev2026", "0"):
        found[name] = version
        with pytest.raises(ImportError, match=f"needs {name}>={OLDEST[name]}, and found {version}: pip install"):
            check_versions()


def test_a_package_without_versions_is_left_to_its_import(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: importlib.metadata.distribution("nothing here"))
    check_versions()


def test_the_oldest_versions_are_those_that_pip_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = dict(requirement.split(",")[0].split(">=") for requirement in project["dependencies"])
    assert OLDEST.items() <= wanted.items()


def test_pyright_leaves_out_kernel_language_only():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    others = {"examples/mosaic"}  # what it imports is not installed
    excluded = {path for path in settings["exclude"] if "import warp as wp" not in _text(ROOT / path)}
    assert excluded == others


def _text(path):
    return path.read_text() if path.is_file() else ""


def test_the_licence_is_at_the_root_and_in_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license-files"] == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()
