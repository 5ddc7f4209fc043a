import json
import os
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import ROLLOUT

import warpjaxns as wns
from warpjaxns import benchmarks, cli
from warpjaxns.benchmarks import adapters, report, timing
from warpjaxns.benchmarks.contenders import Contender, Program

TINY = ["bench", "--steps", "6", "--gradient-steps", "4", "--repeat", "3", "--no-peers"]


@pytest.fixture(autouse=True)
def small_triad(monkeypatch):
    real = benchmarks.bandwidth
    monkeypatch.setattr(benchmarks, "bandwidth", lambda **_: real(megabytes=1, repeat=2))
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # the command adds to it


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "new" / "folder"
    with pytest.MonkeyPatch.context() as patch:
        real = benchmarks.bandwidth
        patch.setattr(benchmarks, "bandwidth", lambda **_: real(megabytes=1, repeat=2))
        patch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
        assert (
            cli.main([*TINY, "--size", "16", "--members", "2", "--precision", "float64", "--output", str(folder)]) == 0
        )
    return json.loads((folder / "bench.json").read_text()), folder


def fake(name="fake", run=lambda task: 1.0, log=None):
    """Return a contender that computes nothing. `run` of the task gives its result, or raises."""

    def build(case, task, steps):
        def start():
            if log is not None:
                log.append((name, task))
            return run(task)

        return Program(start, lambda result: result, 0.5, {"temporaries": 3}, jnp.asarray)

    return Contender(name, "none", lambda case: None, build, tasks=("forward", "gradient direct"))


@pytest.mark.full
def test_every_backend_and_task_is_recorded(figures):
    records = figures[0]["records"]
    assert [(r["contender"], r["what"]) for r in records] == [
        (backend, task) for backend in ("warp", "xla") for task in benchmarks.TASKS
    ]
    for record in records:
        steps = 6 if record["what"] == "forward" else 4
        assert (record["error"], record["steps"], record["size"], record["members"]) == (None, steps, 16, 2)
        assert len(record["seconds"]) == len(record["lone_seconds"]) == len(record["enqueue_seconds"]) == 3
        assert all(0 < e <= s for e, s in zip(record["enqueue_seconds"], record["lone_seconds"], strict=True))
        assert record["median"] == sorted(record["seconds"])[1]
        assert record["throughput"] == pytest.approx(2 * 16**2 * steps / record["median"])
        assert (record["launches"] == 0) == (record["contender"] == "xla" or figures[0]["device"]["platform"] == "gpu")
        assert min(record["compile_seconds"], record["first_seconds"]) > 0


@pytest.mark.full
def test_backends_computed_the_same(figures):
    results = {(r["contender"], r["what"]): r["mean_square"] for r in figures[0]["records"]}
    for task in benchmarks.TASKS:
        assert results["warp", task] == pytest.approx(results["xla", task], rel=ROLLOUT["float64"])
    case = benchmarks.Case(16, 2, "float64")
    solver = wns.NavierStokes2D(case.grid, viscosity=1e-3, dt=0.032)
    last = solver.rollout(case.initial_state(), steps=6)
    assert results["xla", "forward"] == pytest.approx(float(jnp.mean(last**2)), rel=ROLLOUT["float64"])


@pytest.mark.full
def test_memory_is_that_of_the_program(figures):
    field = 2 * 16 * 16 * 8
    for record in figures[0]["records"]:
        outputs = 2 * field if record["what"] == "jvp" else field
        assert record["memory"]["arguments"] == field
        assert outputs <= record["memory"]["outputs"] <= outputs + 64


@pytest.mark.full
def test_memory_grows_like_the_square_root(figures):
    growth = figures[0]["memory_growth"]
    assert growth["case"] == "16²"
    for of_steps in growth["checkpointed_gradient"].values():
        assert list(of_steps) == ["100", "1000", "10000"]
        assert of_steps["100"] < of_steps["1000"] < of_steps["10000"] < 30 * of_steps["100"]


@pytest.mark.full
def test_what_speed_depends_on_is_recorded(figures):
    found = figures[0]
    flags = "--xla_backend_optimization_level=0 --xla_cpu_multi_thread_eigen=false"
    assert found["environment"]["XLA_FLAGS"] == flags
    assert {"jax", "jaxlib", "warp-lang", "python", "warpjaxns"} <= set(found["versions"])
    assert found["options"]["precision"] == "float64"
    assert found["bandwidth"]["least_bytes_a_point_and_step"] == 88
    assert found["bandwidth"]["roof"] == pytest.approx(found["bandwidth"]["bytes_per_second"] / 88)
    assert found["options"]["discretisation"] == {"name": "finite-difference", "advection": "arakawa"}
    assert not any("/" in str(value) for value in found["options"].values())


@pytest.mark.full
def test_the_picture_is_not_blank(figures):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    pixels = imread(figures[1] / "bench.png")[..., :3]
    for colour in ("#0072B2", "#E69F00"):
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert np.sum(np.abs(pixels - wanted).max(axis=-1) < 0.02) > 50, colour


def test_no_records_no_picture():
    pytest.importorskip("matplotlib")
    from warpjaxns.benchmarks.plot import throughput

    with pytest.raises(ValueError, match="no samples"):
        throughput([benchmarks.Record(benchmarks.Case(16), "warp", "forward", error="out of memory")])


def test_least_bytes():
    assert benchmarks.least_bytes() == 44
    assert benchmarks.least_bytes("float64") == 88
    assert benchmarks.least_bytes(spectra=True) == 68
    assert benchmarks.least_bytes(spectra=True, rows=4) == benchmarks.least_bytes(rows=None) == 80
    assert benchmarks.least_bytes(spectra=True, stages=1) == 20  # Euler: the two kernels alone


def test_bandwidth_counts_three_arrays():
    found = benchmarks.bandwidth(megabytes=1, repeat=3)
    assert found["array_bytes"] == 2**20
    assert found["bytes_per_second"] == pytest.approx(3 * 2**20 / min(found["seconds"]))
    assert found["median"] <= found["bytes_per_second"]


def test_contenders_take_turns():
    log = []
    contenders = [fake("a", log=log), fake("b", log=log)]
    records = benchmarks.measure(benchmarks.Case(8), contenders, ["gradient direct"], steps=2, repeat=4)
    assert log[:2] == [("a", "gradient direct"), ("b", "gradient direct")]  # built, and run once
    assert [name for name, _ in log[2:]] == list("abbaabba")
    assert [len(record.seconds) for record in records] == [4, 4]


@pytest.mark.parametrize(("seconds", "calls"), [(0.001, 20), (0.0101, 10), (0.06, 4)])
def test_calls_in_a_row_on_an_accelerator(seconds, calls, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    log = []  # each call takes so many seconds of this clock
    clock = types.SimpleNamespace(perf_counter=lambda: seconds * len(log), monotonic=time.monotonic)
    monkeypatch.setattr(timing, "time", clock)
    task = "gradient direct"
    (record,) = benchmarks.measure(benchmarks.Case(8), [fake(log=log)], [task], steps=2, repeat=1)
    assert len(log) == 2 + calls  # the first run, the one by itself, and the row
    assert record.seconds == pytest.approx([seconds])
    assert record.lone_seconds == pytest.approx([seconds])


@pytest.mark.parametrize("text", ["RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore", "CUDA out of memory"])
def test_running_out_of_memory_is_a_result(text):
    def run(task):
        if task == "gradient direct":
            raise RuntimeError(text)
        return 1.0

    tasks = ["gradient direct", "forward"]
    failed, done = benchmarks.measure(benchmarks.Case(8), [fake(run=run)], tasks, steps=2, repeat=2)
    assert failed.error == f"out of memory: {text.splitlines()[0]}"
    assert failed.median is None
    assert failed.throughput is None
    assert (done.error, len(done.seconds)) == (None, 2)
    assert "out of memory" in report.rows([failed, done]).splitlines()[0]


def test_a_failure_names_itself():
    def run(task):
        raise ZeroDivisionError

    (record,) = benchmarks.measure(benchmarks.Case(8), [fake(run=run)], ["forward"], steps=2)
    assert record.error == "ZeroDivisionError: ZeroDivisionError"


def test_after_the_deadline_nothing_starts():
    log = []
    records = benchmarks.measure(
        benchmarks.Case(8), [fake(log=log)], ["forward"], steps=2, deadline=time.monotonic() - 1
    )
    assert log == []
    assert [record.error for record in records] == ["skipped: the time was up"]


def test_the_length_of_a_sample_is_found():
    def run(task):
        time.sleep(0.01)
        return 1.0

    tasks = ["forward", "gradient direct"]
    forward, gradient = benchmarks.measure(benchmarks.Case(8), [fake(run=run)], tasks, repeat=1, seconds=0.2)
    assert 10 <= forward.steps <= 100  # the probe's 5 steps take 10 ms and a little
    assert gradient.steps == forward.steps // 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["backward"]}, "tasks='backward': expected one of"),
        ({"steps": 0}, "steps=0: expected at least 1"),
        ({"gradient_steps": 0}, "gradient_steps=0"),
        ({"repeat": 0}, "repeat=0"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        benchmarks.measure(benchmarks.Case(8), [], **options)


@pytest.mark.parametrize("options", [{"size": 3}, {"members": 0}, {"dtype": "half"}, {"discretisation": "spectral"}])
def test_wrong_cases(options):
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        benchmarks.Case(**({"size": 8} | options))


@pytest.mark.full
def test_a_spectral_case(tmp_path, capsys):
    options = ["--discretisation", "spectral", "--backend", "xla", "--what", "forward", "--steps", "4", "--no-plot"]
    assert cli.main([*TINY, *options, "--size", "16", "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    (record,) = found["records"]
    expected = {"name": "spectral", "integrator": "rk4", "dealiasing": "two-thirds"}
    assert record["discretisation"] == found["options"]["discretisation"] == expected
    case = benchmarks.Case(16, discretisation=wns.Spectral())
    solver = wns.NavierStokes2D(case.grid, viscosity=1e-3, dt=case.dt, discretisation=wns.Spectral())
    last = solver.rollout(case.initial_state(), steps=4)
    assert record["mean_square"] == pytest.approx(float(jnp.mean(last**2)), rel=ROLLOUT["float32"])
    assert "roof" not in found["bandwidth"]  # which is of the bytes of finite differences
    assert "a step moves" not in capsys.readouterr().out


def test_a_terminal_shows_what_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    options = ["--backend", "xla", "--what", "forward", "--steps", "2", "--repeat", "2", "--no-plot", "--size", "8"]
    assert cli.main([*TINY, *options, "--output", str(tmp_path)]) == 0
    shown = capsys.readouterr().err.split("\r\x1b[K")
    assert shown[:3] == ["", "the bandwidth of the memory", ""]
    assert shown[3:] == ["8²: building xla, forward", "8²: sample 1 of 2", "8²: sample 2 of 2", ""]


def test_a_budget_skips_the_rest(tmp_path, capsys):
    assert cli.main([*TINY, "--size", "16", "--budget", "1e-9", "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["records"] == []
    assert found["skipped"] == [{"case": "16²", "reason": "the time was up"}]
    assert "16²         skipped: the time was up" in capsys.readouterr().out
    assert not (tmp_path / "bench.png").exists()


def test_an_interrupt_leaves_the_cases_before(tmp_path, monkeypatch, capsys):
    def measure(case, *_, **__):
        if case.size == 16:
            raise KeyboardInterrupt
        return [benchmarks.Record(case, "xla", "forward", steps=2, seconds=[0.5])]

    monkeypatch.setattr(benchmarks, "measure", measure)
    options = ["--size", "8", "--size", "16", "--no-plot", "--output", str(tmp_path)]
    assert cli.main([*TINY, *options]) == 130
    (record,) = json.loads((tmp_path / "bench.json").read_text())["records"]
    assert (record["size"], record["throughput"]) == (8, 8 * 8 * 2 / 0.5)
    assert "interrupted" in capsys.readouterr().out


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "bench.json"
    report.write(path, {"records": [1]})
    with pytest.raises(TypeError):
        report.write(path, {"records": [1, object()]})
    assert json.loads(path.read_text()) == {"records": [1]}
    assert list(tmp_path.iterdir()) == [path]


def test_an_absent_peer_says_so():
    case = benchmarks.Case(16)
    assert adapters._installed("no_such_package.inside")(case) == "not installed"
    assert [peer.name for peer in benchmarks.peers()] == ["Exponax", "JAX-CFD", "Warp's example"]
    assert isinstance(benchmarks.peers()[2].obstacle(case), str)  # its grid is fixed at 512²


@pytest.mark.parametrize(("index", "module"), [(0, "exponax"), (1, "jax_cfd")])
def test_peers_solve_the_same_equations(index, module):
    pytest.importorskip(module)
    contenders = [*benchmarks.backends("xla"), benchmarks.peers()[index]]
    tasks = ["forward", "gradient direct", "jvp"]
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # peers follow the default type
        records = benchmarks.measure(benchmarks.Case(64, 2), contenders, tasks, steps=20, gradient_steps=20, repeat=1)
    assert [record.error for record in records] == [None] * 6
    for ours, theirs in zip(records[:3], records[3:], strict=True):
        assert theirs.mean_square == pytest.approx(ours.mean_square, rel=0.02)  # other numerics
