"""Training sets that several processes and devices compute: the same bytes as by one, however they come and go."""

import dataclasses
import importlib
import os

import jax
import pytest
from layouts import fast_cases

pytest.importorskip("h5py")

from warpjaxns import Spectral, cli
from warpjaxns.data import Ensemble, OptionsError, Range, Summary, generate

module = importlib.import_module("warpjaxns.data.generate")  # the package has a function of its name
ENSEMBLE = Ensemble(
    (16, 24), count=9, steps=8, save_every=2, dt=0.02, viscosity=Range(1e-3, 1e-1), extent=(2.0, 3.5), batch_size=2
)
ENSEMBLES = {
    "xla": dataclasses.replace(ENSEMBLE, backend="xla"),
    "warp, float64": dataclasses.replace(ENSEMBLE, backend="warp", precision="float64"),
    "modes, forced": dataclasses.replace(ENSEMBLE, discretisation=Spectral(), forcing_amplitude=Range(0.5, 1.0)),
    "one initial field": dataclasses.replace(ENSEMBLE, shared_initial=True, spin_up=1),
}
COMMAND = ["generate", "--size", "16x24", "--count", "9", "--steps", "8", "--save-every", "2", "--batch-size", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function from an ensemble to the bytes of its file by one process, on one device."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def of(ensemble=ENSEMBLE):
        if ensemble not in known:
            path = folder / f"{len(known)}.h5"
            generate(path, ensemble)
            known[ensemble] = path.read_bytes()
        return known[ensemble]

    return of


@pytest.fixture
def output(tmp_path):
    return tmp_path / "a.h5"


def share(output, index, count, ensemble=ENSEMBLE, **options):
    return generate(output, ensemble, process_index=index, process_count=count, **options)


def stop_after(frames):
    def report(done, total):
        if done >= frames:
            raise KeyboardInterrupt

    return report


def names(output):
    """Return the names of the parts that are done."""
    return sorted(path.name for path in output.with_name("a.h5.parts").glob("part-*.json"))


@pytest.mark.parametrize("ensemble", fast_cases(list(ENSEMBLES.values()), 0))
def test_devices_take_turns(ensemble, whole, output):
    seen = []
    generate(output, ensemble, devices=jax.devices()[1:4], report=lambda *numbers: seen.append(numbers))
    assert output.read_bytes() == whole(ensemble)
    # three devices compute batches of two members in turns, then two the others, of two and of one
    steps = [2] * 15 + [2, 1] * 5
    assert seen == [(sum(steps[:n]), 45) for n in range(26)]


@pytest.mark.full
def test_the_default_device(output, whole, monkeypatch):
    used = []
    simulate = module.simulate
    monkeypatch.setattr(module, "simulate", lambda of, some, on: used.extend(on) or simulate(of, some, on))
    with jax.default_device(jax.devices()[2]):
        generate(output, ENSEMBLE)
    assert used == [jax.devices()[2]]
    assert output.read_bytes() == whole()


@pytest.mark.parametrize("order", fast_cases([[1, 0], [0, 1], [2, 0, 1], [5, 0, 6, 4, 1, 2, 3]], 0, 3), ids=str)
def test_the_last_process_writes_the_file(order, whole, output):
    count, left = len(order), 5
    for index in order[:-1]:
        summary = share(output, index, count)
        left -= len(range(index, 5, count))
        assert summary.missing == left
        assert output.exists() == (left == 0)
    assert share(output, order[-1], count) == Summary(output, 9, ())
    assert output.read_bytes() == whole()
    assert os.listdir(output.parent) == ["a.h5"]
    assert share(output, 0, count) == Summary(output, 9, ())  # once more: nothing to do


def test_one_is_interrupted_and_continues(whole, output, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        share(output, 0, 2, report=stop_after(11))  # one frame into the second of its batches 0, 2, 4
    assert names(output) == ["part-000000.json"]
    assert share(output, 1, 2) == Summary(output, 6, (), missing=2)
    computed, simulate = [], module.simulate
    monkeypatch.setattr(module, "simulate", lambda of, some, on: computed.extend(some) or simulate(of, some, on))
    seen = []
    share(output, 0, 2, report=lambda *numbers: seen.append(numbers))
    assert computed == [2, 4]
    assert (seen[0], seen[-1]) == ((10, 25), (25, 25))
    assert output.read_bytes() == whole()


def test_another_number_of_processes_continues(whole, output):
    share(output, 0, 2)
    share(output, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        share(output, 1, 3, report=stop_after(11))
    generate(output, ENSEMBLE, resume=True)
    assert output.read_bytes() == whole()
    assert os.listdir(output.parent) == ["a.h5"]


def test_others_end_while_a_part_is_being_written(output, monkeypatch):
    monkeypatch.setattr("warpjaxns.data.layout.CHUNK_BYTES", 1)  # a frame a block, so that a part grows
    generate(output.with_name("b.h5"), ENSEMBLE)
    others = []

    def report(done, total):
        if done in (8, 16):
            others.append(share(output, 1, 2).missing)

    share(output, 0, 2, report=report)
    assert others in ([3, 2], [3, 3])  # the first part is sealed in the background
    assert output.read_bytes() == output.with_name("b.h5").read_bytes()


@pytest.mark.parametrize("place", ["refuse_to_lose", "_compute"])
def test_others_finish_in_between(place, whole, output, monkeypatch):
    """Let the other processes finish after the first look at the file, or after this one's last batch."""
    function, once = getattr(module, place), []

    def others(*arguments):
        result = function(*arguments)
        if not once:
            once.append(True)
            for index in (0, 2) if place == "_compute" else (0, 1, 2):
                share(output, index, 3)
            once.append(output.stat().st_ino)
        return result

    monkeypatch.setattr(module, place, others)
    computed = []
    assert share(output, 1, 3, report=lambda done, total: computed.append(done)) == Summary(output, 9, ())
    assert bool(computed) == (place == "_compute")
    assert once[1:] == [output.stat().st_ino]
    assert output.read_bytes() == whole()
    assert os.listdir(output.parent) == ["a.h5"]


class TestRefusals:
    def test_the_same_share_at_once(self, output):
        def report(done, total):
            with pytest.raises(OptionsError, match="written by another process 1 of 2"):
                share(output, 1, 2)
            with pytest.raises(OptionsError, match="written by another process, one of 2"):
                share(output, 1, 3)
            with pytest.raises(OptionsError, match="written by another process, one of 2"):
                generate(output, ENSEMBLE, resume=True)

        share(output, 1, 2, report=report)

    def test_others_beside_one(self, output):
        def report(done, total):
            with pytest.raises(OptionsError, match="written by another process, one of 1"):
                share(output, 1, 2)

        generate(output, ENSEMBLE, report=report)

    def test_other_options(self, output):
        share(output, 0, 2)
        other = dataclasses.replace(ENSEMBLE, seed=1)
        for how in ({}, {"overwrite": True}):
            with pytest.raises(OptionsError, match=r"seed: 0, now 1\); take its own, or delete .*a\.h5\.parts"):
                share(output, 1, 2, other, **how)

    def test_an_existing_file(self, output, whole):
        output.write_bytes(b"something else")
        with pytest.raises(OptionsError, match="overwrite it"):
            share(output, 0, 2)
        share(output, 0, 2, overwrite=True)
        assert output.read_bytes() == b"something else"
        share(output, 1, 2, overwrite=True)
        assert output.read_bytes() == whole()

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"process_index": 2, "process_count": 2}, ValueError, "process_index=2: expected less than"),
            ({"process_count": 0}, ValueError, "process_count=0: expected at least 1"),
            ({"devices": []}, ValueError, "at least one"),
            ({"devices": ["cpu"]}, TypeError, r"devices=\['cpu'\]: expected some of jax.local_devices"),
        ],
    )
    def test_arguments(self, options, error, message, output):
        with pytest.raises(error, match=message):
            generate(output, ENSEMBLE, **options)
        assert not os.listdir(output.parent)


class TestCommand:
    def test_processes(self, output, capsys):
        for index in range(2):
            options = ["--process", str(index), "--processes", "2"]
            assert cli.main([*COMMAND, *options, "--output", str(output)]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert first == f"process 0 of 2 is done; 3 of 5 batches are, and the last process to end writes {output}"
        assert second.startswith(f"{output}: 9 x 5 frames of 16 x 24")

    @pytest.mark.parametrize("names", [("SLURM_PROCID", "SLURM_NTASKS"), ("PMI_RANK", "PMI_SIZE")])
    def test_a_launcher_says_which(self, names, output, monkeypatch):
        given = []
        monkeypatch.setattr("warpjaxns.data.generate", lambda *_, **how: given.append(how) or Summary(output, 1, (), 1))
        for name, value in zip(names, ("3", "4"), strict=True):
            monkeypatch.setenv(name, value)
        assert cli.main([*COMMAND, "--distributed", "--output", str(output), "--quiet"]) == 0
        assert (given[0]["process_index"], given[0]["process_count"]) == (3, 4)
        assert cli.main([*COMMAND, "--output", str(output), "--quiet"]) == 0  # a batch script's own step has these too
        assert (given[1]["process_index"], given[1]["process_count"]) == (0, 1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--process", "1"], "give both, or none"),
            (["--process", "2", "--processes", "2"], "argument --process: 2 is not less than --processes 2"),
            (["--distributed"], "none of SLURM_PROCID, "),
            (["--distributed", "--processes", "2"], "leave out --process and --processes"),
        ],
    )
    def test_wrong_options(self, options, message, capsys, output):
        with pytest.raises(SystemExit) as stop:
            cli.main([*COMMAND, *options, "--output", str(output)])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
