"""`warpjaxns bench --against`: a run compared with an earlier one."""

import copy
from pathlib import Path

import pytest

from warpjaxns import benchmarks, cli
from warpjaxns.benchmarks import against

GPU = {"platform": "gpu", "kind": "NVIDIA H200", "cpus": 16}
CPU = {"platform": "cpu", "kind": "cpu", "cpus": 2, "processor": "Model 1"}
SPEEDS = {("warp", "forward"): 2e-6, ("warp", "jvp"): 4e-6, ("xla", "forward"): 8e-6, ("xla", "jvp"): 8e-6}


def run(device=GPU, **changed):
    """Return the figures of a run; `changed`: seconds a step of Warp's tasks, or None for a failure."""
    records = [
        {"case": "64²", "contender": contender, "what": what, "dtype": "float32", "seconds_per_step": seconds}
        for (contender, what), seconds in SPEEDS.items()
    ]
    for record in records:
        record["error"] = None
        if record["contender"] == "warp" and record["what"] in changed:
            record["seconds_per_step"] = changed[record["what"]]
            record["error"] = None if changed[record["what"]] else "RuntimeError: no"
    return {"device": dict(device), "versions": {"jax": "0.11"}, "records": records}


def ratios(now, earlier):
    absolute = against.same_machine(now, earlier)
    return {change[1:3]: change.ratio for change in against.compare(now, earlier, absolute)}


def test_seconds_are_compared_on_the_same_machine():
    found = ratios(run(forward=3e-6), run())
    assert found == {("warp", "forward"): 1.5, ("warp", "jvp"): 1.0, ("xla", "forward"): 1.0, ("xla", "jvp"): 1.0}


@pytest.mark.parametrize("change", [{"kind": "another"}, {"processor": "Model 2"}, {"cpus": 4}, {"processor": None}])
def test_times_beside_xla_are_compared_on_another(change):
    slow = run(CPU | change, forward=3e-6)
    for record in slow["records"]:
        record["seconds_per_step"] *= 10  # a slow machine
    assert ratios(slow, run(CPU)) == pytest.approx({("warp", "forward"): 1.5, ("warp", "jvp"): 1.0})


def test_the_cores_beside_a_gpu_do_not_matter():
    assert against.same_machine(run(GPU | {"cpus": 1}), run())


def test_only_the_same_discretisation_and_type_are_compared():
    now = run()
    for record, name in zip(now["records"], ["dtype", "discretisation", "case", "contender"], strict=True):
        record[name] = {"name": "spectral"} if name == "discretisation" else "another"
    assert against.compare(now, run(), True) == []
    named = run()
    for record in named["records"]:
        record["discretisation"] = {"name": "finite-difference", "advection": "arakawa"}
    assert len(against.compare(named, run(), True)) == 4  # which is what earlier runs do not name


def test_what_does_not_run_any_more_is_over_every_threshold():
    (failed,) = [change for change in against.compare(run(jvp=None), run(), True) if change.what == "jvp"][:1]
    assert failed.over(1e9)
    assert "RuntimeError: no" in "\n".join(against.lines(run(), run(), [failed], True, 2))


def test_what_the_budget_left_out_is_not_compared():
    now = run(jvp=None)
    now["records"][1]["error"] = "skipped: the time was up"
    assert ("warp", "jvp") not in ratios(now, run())


def test_the_report_says_what_differs():
    now = run(GPU | {"kind": "NVIDIA L4"}, forward=3e-6)
    now["versions"] = {"jax": "0.12"}
    text = "\n".join(against.lines(now, run(), against.compare(now, run(), False), False, 1.25))
    assert "another machine: kind was NVIDIA H200, and is NVIDIA L4" in text
    assert "jax was 0.11, and is 0.12" in text
    assert "time over that of XLA" in text
    assert [line.split()[-1] for line in text.splitlines() if "1.50" in line] == ["1.25"]  # over it
    assert sum("over 1.25" in line for line in text.splitlines()) == 1


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Return a function that runs the command with samples of so many seconds, against a file."""

    def measure(case, contenders, tasks, **_):
        return [benchmarks.Record(case, "xla", task, steps=2, seconds=list(seconds)) for task in tasks]

    def command(*options):
        what = ["--what", "forward", "--size", "8", "--no-plot", "--no-peers", "--output", str(tmp_path)]
        return cli.main(["bench", *what, *options])

    seconds = [0.5, 0.4, 0.6]
    monkeypatch.setattr(benchmarks, "measure", measure)
    monkeypatch.setattr(benchmarks, "memory_growth", lambda *_: {})
    monkeypatch.setattr(benchmarks, "bandwidth", lambda **_: {"bytes_per_second": 1.0})
    monkeypatch.setenv("XLA_FLAGS", "")
    return command, seconds, tmp_path / "bench.json"


def test_the_exit_code(bench, capsys):
    command, seconds, path = bench
    assert command() == 0
    assert command("--against", str(path)) == 0  # the file that this run overwrites
    assert "1.00" in capsys.readouterr().out
    seconds[:] = [0.8]
    assert command("--against", str(path)) == 1
    assert "slower than 1.25 times the earlier run: 8² xla forward" in capsys.readouterr().err
    seconds[:] = [1.2]
    assert command("--against", str(path), "--threshold", "2") == 0
    assert command("--against", str(path), "--relative") == 1  # nothing but XLA was measured
    assert command("--against", str(path), "--what", "jvp") == 1
    assert "nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "no JSON", "[]", '{"records": []}', '{"records": [1]}'])
def test_a_file_that_is_none(text, bench, tmp_path, capsys):
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit):
        bench[0]("--against", str(path))
    assert "argument --against: " in capsys.readouterr().err
    assert not bench[2].exists()  # nothing was measured


def test_the_committed_figures_are_read():
    root = Path(__file__).parents[1] / "docs/benchmarks"
    for name in ("bench.json", "bench_xla.json", "bench_spectral.json", "bench_cpu.json"):
        figures = against.read(root / name)
        changes = against.compare(copy.deepcopy(figures), figures, True)
        assert changes
        assert {change.ratio for change in changes} <= {1.0, None}
