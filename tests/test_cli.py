import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest

import warpjaxns
from warpjaxns import _support, cli
from warpjaxns._commands import generate
from warpjaxns._commands import options as command_options

pytest.importorskip("optax")
pytest.importorskip("tqdm")
TINY = ["demo", "--size", "16", "--steps", "5", "--iterations", "4", "--spin-up", "3"]
OPTIONS = [
    "--size", "--steps", "--iterations", "--spin-up", "--viscosity", "--dt", "--radius", "--learning-rate",
    "--discretisation", "--advection", "--integrator", "--dealiasing", "--backend", "--adjoint", "--precision",
    "--seed", "--output", "--no-plot", "--quiet",
]  # fmt: skip


def demo(folder, *options):
    assert cli.main([*TINY, "--output", str(folder), *options]) == 0
    return json.loads((folder / "optimal_perturbation.json").read_text())


def rejected(capsys, *options):
    """Return the message of a command line that must fail, which is one line before some help."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(options))
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "usage:" not in message
    return message.splitlines()[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    demo(folder, "--quiet")
    return folder


@pytest.mark.full
def test_figures(folder):
    figures = json.loads((folder / "optimal_perturbation.json").read_text())
    parameters, result = figures["parameters"], figures["result"]
    of_discretisation = {"advection", "integrator", "dealiasing"}  # the parameter `discretisation` has those it uses
    assert set(parameters) == {option[2:].replace("-", "_") for option in OPTIONS[:16]} - of_discretisation
    assert parameters["discretisation"] == {"name": "finite-difference", "advection": "arakawa"}
    assert (parameters["size"], parameters["dt"], parameters["adjoint"]) == (16, 0.032, "checkpointed")
    assert len(figures["history"]["loss"]) == len(figures["history"]["relative_norm"]) == 4
    assert result["loss_last"] < result["loss_first"] < 0
    assert result["relative_norm"] == pytest.approx(result["perturbation_norm"] / result["base_norm"], rel=1e-5)
    assert result["gain"] > 0
    assert result["seconds_per_iteration"] > 0
    assert {"warpjaxns", "jax", "warp-lang", "optax", "python"} <= set(figures["versions"])
    assert figures["versions"]["warpjaxns"] == warpjaxns.__version__
    assert figures["device"]["platform"] in ("cpu", "gpu")


def test_the_picture_is_not_blank(folder):
    from matplotlib.image import imread

    pixels = imread(folder / "optimal_perturbation.png")[..., :3]
    assert pixels.shape[0] > 600
    assert pixels.shape[1] > 1000
    assert np.mean(np.ptp(pixels, axis=-1) > 0.1) > 0.05  # coloured, as the fields are
    assert np.mean(pixels.min(axis=-1) > 0.99) > 0.2  # on white


def test_the_seed_decides(tmp_path):
    one, same, other = (demo(tmp_path, "--quiet", "--no-plot", "--seed", seed)["history"] for seed in ("3", "3", "4"))
    assert one == same
    assert one != other
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.full
def test_options_reach_the_solver(tmp_path, capsys):
    options = ["--no-plot", "--advection", "central", "--adjoint", "direct", "--precision", "float64"]
    figures = demo(tmp_path, *options, "--backend", "xla", "--radius", "0.05", "--learning-rate", "5")
    assert figures["result"]["relative_norm"] == pytest.approx(0.05, rel=1e-12)
    assert figures["parameters"]["discretisation"] == {"name": "finite-difference", "advection": "central"}
    out = capsys.readouterr().out
    assert "float64" in out
    assert "grows" in out


@pytest.mark.full
def test_a_spectral_flow(tmp_path):
    figures = demo(tmp_path, "--no-plot", "--quiet", "--discretisation", "spectral", "--integrator", "rk3")
    expected = {"name": "spectral", "integrator": "rk3", "dealiasing": "two-thirds"}
    assert figures["parameters"]["discretisation"] == expected
    assert "integrator" not in figures["parameters"]
    assert figures["result"]["gain"] > figures["result"]["gain_of_noise_of_the_same_norm"] > 0


@pytest.mark.full
def test_quiet_is_quiet(tmp_path, capsys):
    # long waves only, so that there is no warning either
    demo(tmp_path, "--quiet", "--no-plot", "--size", "32", "--viscosity", "0.5", "--spin-up", "80")
    assert capsys.readouterr() == ("", "")


def test_a_flow_without_enough_points_is_noticed(tmp_path, capsys):
    demo(tmp_path, "--quiet", "--no-plot")
    out, message = capsys.readouterr()
    assert out == ""
    assert message.startswith("warpjaxns: the flow is not resolved: finite differences on 16 x 16 points")
    assert len(message.splitlines()) == 1


def test_help_mentions_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", "--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.split("options:")[1]
    for option in OPTIONS:
        assert f"  {option}" in lines
    assert lines.count("(default:") == len(OPTIONS) - 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "3"], "argument --size: '3': expected an integer at least 4"),
        (["--steps", "1.5"], "argument --steps: '1.5': expected an integer"),
        (["--iterations", "0"], "argument --iterations"),
        (["--viscosity", "-1"], "argument --viscosity"),
        (["--dt", "0"], "argument --dt: '0': expected a finite number greater than 0"),
        (
            ["--seed", "4294967296"],
            "argument --seed: '4294967296': expected an integer at least 0 and at most 4294967295",
        ),
        (["--radius", "nan"], "argument --radius"),
        (["--learning-rate", "inf"], "argument --learning-rate"),
        (["--discretisation", "upwind"], "argument --discretisation"),
        (["--advection", "upwind"], "argument --advection"),
        (["--integrator", "rk3"], "argument --integrator: rk3 is an option of --discretisation spectral, and not of"),
        (["--discretisation", "spectral", "--advection", "central"], "--advection: central is an option of"),
        (["--precision", "half"], "argument --precision"),
        (["--colour"], "unrecognized arguments"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_options(options, message, capsys):
    assert message in rejected(capsys, "demo", *options)


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (["demo", "--size", "3"], "--size N"),
        (["generate", "--save-every", "3", "--steps", "8"], "--steps N"),
        (["generate", "--coarsen", "5", "--size", "16"], "--coarsen N"),
        (["demo", "--dealiasing", "smooth"], "--dealiasing {two-thirds,smooth}"),
        (["verify", "nothing.h5"], "FILE"),
    ],
)
def test_an_error_comes_with_the_help_of_its_option_alone(options, flag, capsys):
    with pytest.raises(SystemExit):
        cli.main(options)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith(f"warpjaxns {options[0]}: ")
    assert rest[0].startswith(flag)
    assert all(line.startswith("    ") for line in rest[1:])


def test_an_error_of_no_option_says_where_the_options_are(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", "--colour", "red"])
    assert capsys.readouterr().err == (
        "warpjaxns demo: unrecognized arguments: --colour red\n`warpjaxns demo --help` lists what there is\n"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("2:1", "low=2.0, high=1.0"),
        ("0:1:log", "low=0.0: a logarithm"),
        ("1:", "'1:': expected both ends"),
        ("1:2:3", "'1:2:3': expected a number, LOW:HIGH or LOW:HIGH:log"),
    ],
)
def test_wrong_ranges_name_their_option(given, message, capsys):
    assert f"argument --viscosity: {message}" in rejected(capsys, "generate", "--viscosity", given)


def test_a_command_is_required(capsys):
    assert "COMMAND" in rejected(capsys)
    assert "invalid choice" in rejected(capsys, "fly")


def test_an_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "argument --output" in rejected(capsys, *TINY, "--output", str(tmp_path / "file"))


def test_a_backend_that_cannot_run(monkeypatch, capsys, tmp_path):
    def refuse(*_):
        raise ValueError('backend="warp" cannot be used here: no such size')

    monkeypatch.setattr("warpjaxns._discretisation.check_backend", refuse)
    message = rejected(capsys, *TINY, "--backend", "warp", "--output", str(tmp_path))
    assert "no such size" in message


def test_a_missing_extra(monkeypatch, capsys):
    missing = {"matplotlib"}
    real = command_options.importlib.util.find_spec
    monkeypatch.setattr(
        command_options.importlib.util, "find_spec", lambda name: None if name in missing else real(name)
    )
    assert 'needs matplotlib: pip install -e ".[all]"' in rejected(capsys, *TINY)


def test_a_flow_that_blows_up_is_reported_and_not_written(tmp_path, capsys):
    code = cli.main([*TINY, "--steps", "40", "--dt", "10", "--output", str(tmp_path), "--quiet"])
    assert code == 1
    assert "not finite: try a shorter dt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_info_prints(monkeypatch, capsys):
    monkeypatch.setattr(warpjaxns, "info", lambda: types.SimpleNamespace(size=1), raising=False)
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().out == "namespace(size=1)\n"


def test_info_shows_as_text():
    info = warpjaxns.info()
    assert repr(info) == str(info)
    assert str(info).splitlines()[2].startswith("backend   auto = ")


def test_the_bar_says_what_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    demo(tmp_path, "--no-plot")
    message = capsys.readouterr().err
    stages = ["compiling and running the spin-up", "compiling:   0%", "optimising:   0%", "optimising: 100%"]
    places = [message.find(stage) for stage in stages]
    assert -1 < places[0] < places[1] < places[2] < places[3]
    assert "compiling: 100%" not in message


def test_a_bar_of_frames_says_that_nothing_is_done_yet(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with generate._Progress(quiet=False) as report:
        report(4, 20)  # of an earlier run
        assert "compiling:  20%" in capsys.readouterr().err
        report(20, 20)
    assert "generating: 100%" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        pytest.param([*TINY, "--no-plot", "--quiet", "--viscosity", "0.5"], marks=pytest.mark.full),
    ],
    ids=lambda command: command[0],
)
def test_warp_does_not_complain_of_the_driver(command, tmp_path):
    more = ["--output", str(tmp_path)] if command[0] == "demo" else []
    program = f"from warpjaxns import cli; raise SystemExit(cli.main({[*command, *more]}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "driver" not in done.stderr


def test_what_else_is_printed_meanwhile_is_passed_on(capfd):
    with _support._without_warning_of_driver():
        os.write(2, b"one\nWarp: Could not find or load the NVIDIA CUDA driver.\n")
        os.write(2, b"two\n")
    os.write(2, b"three\n")
    assert capfd.readouterr().err == "one\ntwo\nthree\n"


def test_an_interrupt_leaves_quietly(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("warpjaxns.experiments.developed_turbulence", interrupt)
    assert cli.main([*TINY, "--output", str(tmp_path), "--quiet", "--no-plot"]) == 130
    assert "interrupted" in capsys.readouterr().err
