"""Several processes on this host, as there would be one on each of several hosts. JAX joins them by gloo."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tolerances import relative_error

pytestmark = pytest.mark.full
ROOT = Path(__file__).parent.parent
COMMAND = ["generate", "--size", "16x24", "--count", "24", "--steps", "8", "--save-every", "2", "--batch-size", "2"]
# The command line, where a frame takes as many seconds as the first argument says: time to send a signal.
SLOWLY = """
import importlib, sys, time
from warpjaxns import cli
simulate = importlib.import_module("warpjaxns.data.simulate")
observe, pause = simulate._observe, float(sys.argv.pop(1))
simulate._observe = lambda *arguments: (time.sleep(pause), observe(*arguments))[1]
sys.exit(cli.main(sys.argv[1:]))
"""
JOIN = """
import sys
import jax
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
"""


def start(code, *arguments, devices=1):
    """Start a Python process on so many devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]),
    }
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    environment["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={devices}"])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def free_port() -> int:
    """Return a port of this host on which nothing listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_two(code, *arguments, devices):
    """Start two processes that join each other."""
    port = free_port()
    return [start(JOIN + code, port, index, *arguments, devices=devices) for index in range(2)]


def outputs_of(processes):
    """Return what processes print, once all have ended well. None outlives an error."""
    try:
        said = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for process, (_, err) in zip(processes, said, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in said]


def output_of(process):
    return outputs_of([process])[0]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return the file of one process."""
    path = tmp_path_factory.mktemp("reference") / "a.h5"
    output_of(start(SLOWLY, 0, *COMMAND, "--output", path))
    return path


def test_a_training_set_of_which_one_process_is_killed(reference, tmp_path):
    output = tmp_path / "a.h5"

    def part(pause, index):
        return start(SLOWLY, pause, *COMMAND, "--output", output, "--process", index, "--processes", 2)

    def done():
        return sorted(path.name for path in tmp_path.glob("a.h5.parts/part-*.json"))

    def of_first():
        return [name for name in done() if int(name[5:11]) % 2 == 0]

    first, second = part(0.1, 0), part(0, 1)
    deadline = time.monotonic() + 120
    while not of_first() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    kept = of_first()
    assert 1 <= len(kept) < 6
    assert "process 1 of 2 is done; " in output_of(second)
    assert not output.exists()
    assert len(done()) == 6 + len(kept)
    assert f"{output}: 24 x 5 frames" in output_of(part(0, 0))
    assert output.read_bytes() == reference.read_bytes()
    assert os.listdir(tmp_path) == ["a.h5"]


def test_a_training_set_of_processes_that_end_together(reference, tmp_path):
    output = tmp_path / "a.h5"
    options = ["--output", output, "--processes", 3, "--process"]
    said = outputs_of([start(SLOWLY, 0, *COMMAND, *options, index) for index in range(3)])
    assert any(f"{output}: 24 x 5 frames" in out for out in said)
    assert output.read_bytes() == reference.read_bytes()
    assert os.listdir(tmp_path) == ["a.h5"]


def test_processes_that_jax_joins(tmp_path):
    """They share a training set by default, and a member that is not finite raises in both."""
    code = """
import os, time
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import warpjaxns as wns

ensemble = wns.data.Ensemble((16, 24), count=7, steps=4, save_every=2, dt=0.02, viscosity=0.1, batch_size=2)
summary = wns.data.generate(sys.argv[3], ensemble, devices=jax.local_devices())
multihost_utils.sync_global_devices("generated")
with wns.data.open(sys.argv[3]) as flows:
    print(len(flows), sum(len(batch["time"]) for batch in flows.batches(1)))

w = np.random.default_rng(0).normal(size=(8, 6, 10)).astype("float32")
sharding = NamedSharding(jax.make_mesh((4,), ("members",), (AxisType.Auto,)), PartitionSpec("members"))
place = lambda w: jax.make_array_from_callback(w.shape, sharding, lambda index: w[index])

def roll(w, backend):
    solver = wns.NavierStokes2D(wns.Grid((6, 10), (2.0, 3.5)), viscosity=0.01, dt=0.05, backend=backend)
    return jnp.sum(solver.rollout(w, steps=2))

functions = [jax.jit(lambda w, b=b: roll(w, b)) for b in ("warp", "xla")]
for f, bad in [(f, bad) for f in functions for bad in (2, 7)]:  # one of each process
    jax.block_until_ready(f(place(w)))
    w_bad = w.copy()
    w_bad[bad, 2, 3] = np.nan
    start = time.monotonic()
    try:
        jax.block_until_ready(f(place(w_bad)))
    except RuntimeError as error:
        print(f"of member {bad} is not finite" in str(error), time.monotonic() - start < 10)
sys.stdout.flush()
jax.distributed.shutdown()
os._exit(0)  # JAX's own end would raise the errors once more
"""
    for out in outputs_of(start_two(code, tmp_path / "a.h5", devices=2)):
        lines = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
        assert lines == ["7 10", *["True True"] * 4]  # of 21 samples each process has 10


def test_what_processes_tell_each_other():
    code = """
import time
import warpjaxns as wns
from warpjaxns import _processes
both, here = _processes.Processes((1, 0)), jax.process_index()
time.sleep(here)
print(both.share("a", bytes([here])), both.share("b", bytes([here + 2])))
start = time.monotonic()
time.sleep(here)
both.meet("c")
print(time.monotonic() - start >= 1)
_processes.PATIENCE = 1
if here == 0:
    for wait in (lambda: both.share("d", b""), lambda: both.meet("e")):
        try:
            wait()
        except RuntimeError as error:
            print(error)
"""
    common = [str([bytes([n + 1]), bytes([n])]) for n in (0, 2)]
    first, second = outputs_of(start_two(code, devices=1))
    assert first.splitlines()[:2] == [" ".join(common), "True"] == second.splitlines()
    errors = first.splitlines()[2:]
    assert errors[0] == "process 1 has not come to the same point within 1 s (d): all must run the same program"
    assert errors[1].startswith("one of the processes (1, 0) has not come to the same point within 1 s (e)")


def test_training_a_closure(tmp_path):
    code = """
import dataclasses
import numpy as np
import train_closure as example
example.QUICK = dataclasses.replace(example.QUICK, unroll=1, layers=2, blocks=4, training=3, held_out=2, spin_up=0.2)
folder, *options = sys.argv[3:]
result = example.main(["--quick", "--iterations", "5", "--output", folder, *options])
print(*result["losses"], *(result[name]["error"] for name in ("coarse", "Smagorinsky", "learned")))
"""
    pytest.importorskip("optax")
    pytest.importorskip("matplotlib")
    alone, together = tmp_path / "alone", tmp_path / "together"
    (expected,) = output_of(start("import sys\n" + code, 0, 0, alone)).splitlines()[-1:]
    said = outputs_of(start_two(code, together, "--distributed", devices=2))
    numbers = [np.array(out.splitlines()[-1].split(), float) for out in said]
    assert np.array_equal(*numbers)
    assert relative_error(numbers[0], np.array(expected.split(), float)) < 1e-5
    assert ["Model and picture" in out for out in said] == [True, False]
    files = sorted(path.name for path in together.iterdir())
    assert files == ["closure.eqx", "train_closure.png"]
    sizes = [(folder / "closure.eqx").stat().st_size for folder in (alone, together)]
    assert sizes[0] == sizes[1]
