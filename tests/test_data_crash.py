"""Interruptions of `generate` of any kind, at any point: finished batches are kept, and the file has the same bytes."""

import contextlib
import dataclasses
import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import jax
import pytest

pytest.importorskip("h5py")

from warpjaxns import cli
from warpjaxns.data import Ensemble, Range, generate

ENSEMBLE = Ensemble(
    (16, 24), count=5, steps=8, save_every=2, dt=0.02, viscosity=Range(1e-3, 1e-1), extent=(2.0, 3.5), batch_size=2
)
COMMAND = ["generate", "--size", "16x24", "--count", "40", "--steps", "8", "--save-every", "2", "--batch-size", "2"]
# The command line, with time to send a signal in the middle: a frame takes a while, and the fortieth for ever.
SLOWLY = """
import importlib, itertools, signal, sys, time
from warpjaxns import cli

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
simulate = importlib.import_module("warpjaxns.data.simulate")
observe, frames = simulate._observe, itertools.count(1)
simulate._observe = lambda *arguments: (time.sleep(0.03 if next(frames) < 40 else 600), observe(*arguments))[1]
sys.exit(cli.main(sys.argv[1:]))
"""


class Crash(BaseException):
    """An exception that nothing handles, as if the process had ended here."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the bytes of an uninterrupted run."""
    path = tmp_path_factory.mktemp("whole") / "a.h5"
    generate(path, ENSEMBLE)
    return path.read_bytes()


def parts(output):
    return sorted(path.name for path in output.with_name(output.name + ".parts").glob("part-*.json"))


@pytest.mark.full
def test_the_time_leaves_no_trace(whole, tmp_path):
    time.sleep(1.1)  # HDF5 counts seconds
    generate(tmp_path / "b.h5", ENSEMBLE)
    assert (tmp_path / "b.h5").read_bytes() == whole


@pytest.mark.full
@pytest.mark.parametrize(
    ("setting", "value"),
    [pytest.param("jax_threefry_partitionable", False, marks=pytest.mark.full), ("jax_random_seed_offset", 1)],
)
def test_begun_with_other_settings_for_random_numbers(setting, value, whole, tmp_path):
    def report(done, total):
        if done >= 11:
            raise KeyboardInterrupt

    before = getattr(jax.config, setting)
    jax.config.update(setting, value)
    try:
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path / "a.h5", ENSEMBLE, report=report)
    finally:
        jax.config.update(setting, before)
    assert parts(tmp_path / "a.h5") == ["part-000000.json"]
    generate(tmp_path / "a.h5", ENSEMBLE, resume=True)
    assert (tmp_path / "a.h5").read_bytes() == whole


@pytest.mark.parametrize("frames", range(1, 16))
def test_stopped_after_any_frame(frames, whole, tmp_path):
    """Stop three times in a row, from each frame on."""
    output, seen = tmp_path / "a.h5", []

    def report(done, total):
        seen.append(done)
        if len(seen) > frames:
            seen.clear()
            raise KeyboardInterrupt

    for _ in range(3):
        try:
            generate(output, ENSEMBLE, resume=True, report=report)
        except KeyboardInterrupt:
            assert not output.exists()
    generate(output, ENSEMBLE, resume=True)
    assert output.read_bytes() == whole
    assert os.listdir(tmp_path) == ["a.h5"]


def test_only_what_is_missing_is_computed(whole, tmp_path, monkeypatch):
    output, computed = tmp_path / "a.h5", []

    def report(done, total):
        if done >= 11:  # one frame into the second batch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(output, ENSEMBLE, report=report)
    assert parts(output) == ["part-000000.json"]
    module = importlib.import_module("warpjaxns.data.generate")
    simulate = module.simulate
    monkeypatch.setattr(
        module, "simulate", lambda of, batches, on: computed.extend(batches) or simulate(of, batches, on)
    )
    generate(output, ENSEMBLE, resume=True)
    assert computed == [1, 2]
    assert output.read_bytes() == whole


SYSTEM = [(Path, "open"), (Path, "replace"), (Path, "unlink"), (os, "fsync"), (Path, "mkdir")]


def crash_at(monkeypatch, number, error):
    """Make one file operation, counted by `number`, raise before (odd) or after (even) it is done."""
    lock, count = threading.Lock(), [0]

    def wrap(function):
        def call(*arguments, **options):
            with lock:
                count[0] += 1
                mine = count[0]
            if mine == number // 2 and number % 2 == 0:
                raise error
            result = function(*arguments, **options)
            if mine == number // 2 and number % 2 == 1:
                raise error
            return result

        return call

    for owner, name in SYSTEM:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))
    return count


@pytest.mark.full
@pytest.mark.parametrize(
    "error",
    [pytest.param(Crash(), marks=pytest.mark.full), OSError(errno.ENOSPC, "No space left on device")],
    ids=["crash", "full disk"],
)
def test_stopped_at_any_file_operation(error, tmp_path, monkeypatch):
    """Stop before and after each file operation, until there is none left."""
    smaller = dataclasses.replace(ENSEMBLE, count=3, steps=4)
    generate(tmp_path / "whole.h5", smaller)
    whole = (tmp_path / "whole.h5").read_bytes()
    for number in range(2, 1000, 1 if isinstance(error, Crash) else 2):
        output = tmp_path / str(number) / "a.h5"
        with monkeypatch.context() as patch, contextlib.suppress(type(error)):
            count = crash_at(patch, number, error)
            generate(output, smaller)
        if count[0] < number // 2:
            break
        assert not output.exists() or output.read_bytes() == whole
        generate(output, smaller, resume=True)
        assert output.read_bytes() == whole
        assert os.listdir(output.parent) == ["a.h5"]
    assert number > 60  # there were that many


def test_a_full_disk_is_reported_at_once(tmp_path, monkeypatch, capsys):
    """Check that a full disk is reported at once, with the number of finished batches."""
    work = importlib.import_module("warpjaxns.data.work")
    append, appended = work.PartWriter.append, []

    def full(self, chunks):
        appended.append(self)
        if len(appended) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, chunks)

    monkeypatch.setattr(work.PartWriter, "append", full)
    output = tmp_path / "a.h5"
    assert cli.main([*COMMAND, "--output", str(output), "--quiet"]) == 1
    message = capsys.readouterr().err
    assert "No space left on device" in message
    assert f"4 of 20 batches are kept in {output}.parts; the same command with --resume goes on" in message
    assert len(appended) == 5  # nothing was written after the failure
    assert not list(tmp_path.glob("**/*.tmp"))  # and what could not be finished gave its room back
    monkeypatch.undo()
    assert cli.main([*COMMAND, "--output", str(output), "--quiet", "--resume"]) == 0


@pytest.mark.parametrize(("share", "kept"), [(0.1, 0), (0.6, 3)], ids=["parts", "the file itself"])
def test_a_file_system_that_takes_no_more(share, kept, whole, tmp_path):
    """Make the system refuse writes, to a part and to HDF5 in the middle of its file."""
    output, (soft, hard) = tmp_path / "a.h5", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * len(whole)), hard))
    try:
        with pytest.raises(OSError) as error:  # noqa: PT011 (its number says it)
            generate(output, ENSEMBLE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno == errno.EFBIG
    assert len(parts(output)) == kept
    assert not output.exists()
    generate(output, ENSEMBLE, resume=True)
    assert output.read_bytes() == whole


def test_no_room_to_put_the_parts_together(whole, tmp_path, monkeypatch):
    output = tmp_path / "a.h5"
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"all batches are done; putting them together takes .* bytes and 1,000 are free"):
        generate(output, ENSEMBLE)
    assert len(parts(output)) == 3
    monkeypatch.undo()
    generate(output, ENSEMBLE, resume=True)
    assert output.read_bytes() == whole


def test_a_damaged_part_is_computed_again(whole, tmp_path, monkeypatch):
    output = tmp_path / "a.h5"
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=0))
    with pytest.raises(OSError, match="all batches are done"):
        generate(output, ENSEMBLE)
    monkeypatch.undo()
    folder = tmp_path / "a.h5.parts"
    content = bytearray((folder / "part-000001.chunks").read_bytes())
    content[100] ^= 1
    (folder / "part-000001.chunks").write_bytes(content)
    (folder / "part-000002.chunks").write_bytes(b"short")
    with (
        pytest.warns(RuntimeWarning, match=r"part-000002\.chunks is damaged; batch 2 is computed again"),
        pytest.raises(OSError, match=r"part-000001\.chunks is damaged"),
    ):
        generate(output, ENSEMBLE, resume=True)
    generate(output, ENSEMBLE, resume=True)
    assert output.read_bytes() == whole


def start(*arguments):
    """Start a run in another process."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SLOWLY, *COMMAND, *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(parts_wanted, output, process):
    deadline = time.monotonic() + 120
    while len(parts(output)) < parts_wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.mark.full
def test_killed_and_interrupted(tmp_path):
    """Kill a run, interrupt it, and let it finish."""
    reference, output = tmp_path / "reference.h5", tmp_path / "a.h5"
    assert cli.main([*COMMAND, "--output", str(reference), "--quiet"]) == 0

    process = start("--output", str(output))
    wait_for(1, output, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    killed = parts(output)
    assert 1 <= len(killed) < 20
    assert not output.exists()

    process = start("--output", str(output), "--resume")
    wait_for(len(killed) + 1, output, process)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == 130, message
    assert f"{len(parts(output))} of 20 batches are kept" in message
    assert "Traceback" not in message
    assert parts(output)[: len(killed)] == killed

    assert cli.main([*COMMAND, "--output", str(output), "--quiet", "--resume"]) == 0
    assert output.read_bytes() == reference.read_bytes()
