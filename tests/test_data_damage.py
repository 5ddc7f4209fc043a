"""Damaged or foreign files: they are named in errors, and never lost or taken for a run's own."""

import importlib
import json
import os
import shutil
import types

import pytest

h5py = pytest.importorskip("h5py")

from warpjaxns import cli, data  # noqa: E402
from warpjaxns.data import Ensemble, OptionsError, Range, generate, verify  # noqa: E402

module = importlib.import_module("warpjaxns.data.generate")  # the package has a function of its name
ENSEMBLE = Ensemble((16, 24), count=5, steps=8, save_every=2, dt=0.02, viscosity=Range(1e-3, 1e-1), batch_size=2)
COMMAND = ["generate", "--size", "16x24", "--count", "5", "--steps", "8", "--save-every", "2", "--batch-size", "2"]
COMMAND += ["--dt", "0.02", "--viscosity", "1e-3:1e-1", "--quiet"]
DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "garbage": lambda content: bytes(range(256)),
    "a list": lambda content: b"[1, 2, 3]",
    "another dict": lambda content: b"{}",
    "a line more": lambda content: content + b"\n[]",
    "another digit": lambda content: content.replace(b"2", b"3", 1),
    "deep": lambda content: b"[" * 100_000,
}
damages = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "a.h5"
    generate(path, ENSEMBLE)
    return path


@pytest.fixture(scope="module")
def whole(finished):
    """Return the bytes of an undisturbed run."""
    return finished.read_bytes()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Return the parts of a run that only lacks room to assemble them."""
    return stopped_at_the_end(tmp_path_factory.mktemp("interrupted") / "a.h5", ENSEMBLE)


@pytest.fixture
def output(interrupted, tmp_path):
    """Return the path of a file to be written, with finished parts beside it."""
    shutil.copytree(interrupted, tmp_path / "a.h5.parts")
    return tmp_path / "a.h5"


def stopped_at_the_end(path, ensemble):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=0))
        with pytest.raises(OSError, match="all batches are done"):
            generate(path, ensemble)
    return path.with_name(path.name + ".parts")


def folder(output):
    return output.with_name(output.name + ".parts")


def change(path, damage):
    path.write_bytes(damage(path.read_bytes()))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    path.write_bytes(content)


class TestFilesOfOthers:
    @pytest.mark.parametrize("name", ["thesis.tex", "notes.tmp", "assembled", "part-1.json"])
    @pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
    def test_where_a_run_would_begin(self, name, resume, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "simulate", None)  # nothing runs
        theirs = tmp_path / "a.h5.parts" / name
        theirs.parent.mkdir()
        theirs.write_text("years of work")
        with pytest.raises(OptionsError, match=rf"{name} is not of a run .* move it away"):
            generate(tmp_path / "a.h5", ENSEMBLE, resume=resume)
        assert os.listdir(theirs.parent) == [name]
        assert theirs.read_text() == "years of work"

    def test_overwriting_leaves_them(self, whole, tmp_path):
        theirs = tmp_path / "a.h5.parts" / "sub" / "notes.tmp"
        theirs.parent.mkdir(parents=True)
        theirs.touch()
        generate(tmp_path / "a.h5", ENSEMBLE, overwrite=True)
        assert (tmp_path / "a.h5").read_bytes() == whole
        assert theirs.exists()
        assert os.listdir(tmp_path / "a.h5.parts") == ["sub"]

    def test_among_the_parts_of_an_interrupted_run(self, output, whole):
        (folder(output) / "notes.tmp").touch()
        generate(output, ENSEMBLE, resume=True)
        assert output.read_bytes() == whole
        assert os.listdir(folder(output)) == ["notes.tmp"]

    def test_beside_a_file_that_is_finished(self, finished, tmp_path):
        shutil.copy(finished, tmp_path)
        (tmp_path / "a.h5.parts").mkdir()
        (tmp_path / "a.h5.parts" / "thesis.tex").touch()
        generate(tmp_path / "a.h5", ENSEMBLE, resume=True)
        assert os.listdir(tmp_path / "a.h5.parts") == ["thesis.tex"]

    def test_parts_without_a_manifest(self, output, whole):
        (folder(output) / "manifest.json").unlink()
        with pytest.raises(OptionsError, match="holds the batches"):
            generate(output, ENSEMBLE)
        with pytest.raises(OptionsError, match=r"manifest\.json is missing.* start over"):
            generate(output, ENSEMBLE, resume=True)
        assert len(os.listdir(folder(output))) == 8  # with the locks
        generate(output, ENSEMBLE, overwrite=True)
        assert output.read_bytes() == whole


class TestManifest:
    @damages
    def test_damaged(self, damage, output, whole, capsys):
        change(folder(output) / "manifest.json", damage)
        before = sorted(os.listdir(folder(output)))
        with pytest.raises(SystemExit) as stop:
            cli.main([*COMMAND, "--output", str(output), "--resume"])
        assert stop.value.code == 2
        message = capsys.readouterr().err
        assert f"{folder(output)}/manifest.json" in message
        assert "damaged" in message
        assert "start over (--overwrite)" in message
        assert sorted(os.listdir(folder(output))) == before
        generate(output, ENSEMBLE, overwrite=True)
        assert output.read_bytes() == whole

    def test_damaged_and_both_asked_for(self, output):
        change(folder(output) / "manifest.json", DAMAGES["half"])
        generate(output, ENSEMBLE, overwrite=True, resume=True)
        assert verify(output) == ()

    def test_an_index_in_its_place(self, output):
        shutil.copy(folder(output) / "part-000000.json", folder(output) / "manifest.json")
        with pytest.raises(OptionsError, match=r"manifest\.json is not a manifest.* start over"):
            generate(output, ENSEMBLE, resume=True)

    def test_of_an_earlier_version(self, output):
        path = folder(output) / "manifest.json"
        values = json.loads(path.read_text())
        del values["crc32"]
        path.write_text(json.dumps(values))
        with pytest.raises(OptionsError, match=r"manifest\.json has no checksum: .* an earlier version .* start over"):
            generate(output, ENSEMBLE, resume=True)

    def test_other_flags_of_the_compiler(self, output, monkeypatch):
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        with pytest.raises(OptionsError, match=r"XLA_FLAGS: .*, now --xla_cpu_enable_fast_math=true"):
            generate(output, ENSEMBLE, resume=True)


class TestParts:
    @damages
    def test_a_damaged_index(self, damage, output, whole):
        change(folder(output) / "part-000001.json", damage)
        with pytest.warns(RuntimeWarning, match=r"part-000001\.json .*damaged.*; batch 1 is computed again"):
            generate(output, ENSEMBLE, resume=True)
        assert output.read_bytes() == whole

    @pytest.mark.filterwarnings("default::RuntimeWarning")
    def test_a_damaged_index_on_the_command_line(self, output, capsys):
        change(folder(output) / "part-000001.json", DAMAGES["half"])
        assert cli.main([*COMMAND, "--output", str(output), "--resume"]) == 0
        assert "part-000001.json is damaged; batch 1 is computed again" in capsys.readouterr().err

    def test_a_copy_of_another_part(self, output, whole):
        for kind in ("chunks", "json"):
            shutil.copy(folder(output) / f"part-000000.{kind}", folder(output) / f"part-000001.{kind}")
        with pytest.warns(RuntimeWarning, match=r"part-000001\.json is of another batch or run; batch 1 is computed"):
            generate(output, ENSEMBLE, resume=True)
        assert output.read_bytes() == whole

    def test_a_part_of_another_run(self, output, whole, tmp_path):
        other = stopped_at_the_end(tmp_path / "b.h5", Ensemble(**{**vars(ENSEMBLE), "seed": 1}))
        for kind in ("chunks", "json"):
            shutil.copy(other / f"part-000001.{kind}", folder(output))
        with pytest.warns(RuntimeWarning, match=r"part-000001\.json is of another batch or run"):
            generate(output, ENSEMBLE, resume=True)
        assert output.read_bytes() == whole

    def test_chunks_that_are_gone(self, output, whole):
        (folder(output) / "part-000002.chunks").unlink()
        with pytest.warns(RuntimeWarning, match=r"part-000002\.chunks is damaged; batch 2 is computed again"):
            generate(output, ENSEMBLE, resume=True)
        assert output.read_bytes() == whole


class TestLinks:
    def test_the_output_is_followed(self, output, whole, tmp_path):
        """Write through a symbolic link. The parts lie beside the file, and are found through a second link too."""
        for name in ("one.h5", "two.h5"):
            (tmp_path / name).symlink_to(output)
        with pytest.raises(OptionsError, match=rf"{folder(output)} holds the batches"):
            generate(tmp_path / "one.h5", ENSEMBLE)
        assert generate(tmp_path / "two.h5", ENSEMBLE, resume=True).path == tmp_path / "two.h5"
        assert sorted(os.listdir(tmp_path)) == ["a.h5", "one.h5", "two.h5"]
        assert not output.is_symlink()
        assert (tmp_path / "one.h5").is_symlink()
        assert output.read_bytes() == whole
        with pytest.raises(OptionsError, match="it exists"):
            generate(tmp_path / "one.h5", ENSEMBLE)

    def test_what_was_kept_is_said_of_where_it_is(self, output, tmp_path, monkeypatch, capsys):
        (tmp_path / "link.h5").symlink_to(output)
        monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=0))
        assert cli.main([*COMMAND, "--output", str(tmp_path / "link.h5"), "--resume"])
        assert f"3 of 3 batches are kept in {folder(output)};" in capsys.readouterr().err

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_the_folder_of_parts_is_not(self, overwrite, interrupted, tmp_path):
        (tmp_path / "a.h5.parts").symlink_to(interrupted)
        before = sorted(os.listdir(interrupted))
        with pytest.raises(OptionsError, match=r"a\.h5\.parts is a symbolic link"):
            generate(tmp_path / "a.h5", ENSEMBLE, resume=True, overwrite=overwrite)
        assert sorted(os.listdir(interrupted)) == before

    @pytest.mark.parametrize("name", ["lock", "manifest.json", "part-000001.chunks"])
    def test_nor_is_one_among_them(self, name, output, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        (folder(output) / name).rename(elsewhere)
        (folder(output) / name).symlink_to(elsewhere)
        content = elsewhere.read_bytes()
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(OptionsError, match=f"{name} is a symbolic link"):
                generate(output, ENSEMBLE, **how)
        assert elsewhere.read_bytes() == content
        assert (folder(output) / name).is_symlink()

    def test_a_folder_as_output(self, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "simulate", None)  # nothing runs
        (tmp_path / "a.h5").mkdir()
        with pytest.raises(OptionsError, match="is not a file"):
            generate(tmp_path / "a.h5", ENSEMBLE, overwrite=True)

    def test_a_file_as_the_folder_of_parts(self, tmp_path):
        (tmp_path / "a.h5.parts").write_text("theirs")
        with pytest.raises(OptionsError, match=r"a\.h5\.parts is a symbolic link or a file; move it away"):
            generate(tmp_path / "a.h5", ENSEMBLE, overwrite=True)
        assert (tmp_path / "a.h5.parts").read_text() == "theirs"


class TestVerify:
    @pytest.fixture
    def copy(self, finished, tmp_path):
        return shutil.copy(finished, tmp_path / "a.h5")

    def test_what_is_as_it_was_written(self, finished, capsys):
        assert verify(finished) == ()
        assert cli.main(["verify", str(finished)]) == 0
        assert capsys.readouterr().out == f"{finished}: as it was written\n"

    def test_a_damaged_chunk_is_named(self, copy, capsys, monkeypatch):
        with h5py.File(copy) as file:
            stored = file["t1_fields/velocity"].id.get_chunk_info_by_coord((3, 0, 0, 0, 0))
        flip(copy, stored.byte_offset + stored.size // 2)
        assert verify(copy) == ("velocity of trajectory 3, frames 0 to 4, is damaged",)
        assert cli.main(["verify", str(copy)]) == 1
        assert f"{copy}: velocity of trajectory 3, frames 0 to 4, is damaged" in capsys.readouterr().err
        monkeypatch.setattr(module, "simulate", None)
        assert generate(copy, ENSEMBLE, resume=True).trajectories == 5  # resuming does not verify

    def test_the_last_frames_of_several_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr("warpjaxns.data.layout.CHUNK_BYTES", 2**12)  # two frames, which do not divide five
        generate(tmp_path / "b.h5", ENSEMBLE)
        assert verify(tmp_path / "b.h5") == ()
        with h5py.File(tmp_path / "b.h5") as file:
            stored = file["t0_fields/vorticity"].id.get_chunk_info_by_coord((1, 4, 0, 0))
        flip(tmp_path / "b.h5", stored.byte_offset)
        assert verify(tmp_path / "b.h5") == ("vorticity of trajectory 1, frames 4 to 4, is damaged",)

    def test_any_byte(self, copy, whole):
        for position in range(0, len(whole), 997):
            flip(copy, position)
            try:
                assert verify(copy), position
            except ValueError as error:
                assert "holds no checksums" in str(error)  # noqa: PT017 (their name was hit)
            flip(copy, position)
        assert verify(copy) == ()

    @pytest.mark.parametrize("damage", [DAMAGES["empty"], DAMAGES["half"], DAMAGES["garbage"]])
    def test_what_is_no_longer_a_file_of_its_kind(self, damage, copy):
        change(copy, damage)
        assert "it cannot be read as HDF5" in verify(copy)[0]
        with pytest.raises(OptionsError, match=r"it is damaged, or generate has not written it.*\(--overwrite\)"):
            generate(copy, ENSEMBLE, resume=True)

    def test_bytes_more(self, copy):
        change(copy, lambda content: content + b"\n")
        assert "what is not a field is damaged" in verify(copy)[0]

    def test_a_parameter_that_was_changed(self, copy):
        with h5py.File(copy, "r+") as file:
            file["scalars/viscosity"][2] = 1.0
        assert verify(copy) == (
            "what is not a field is damaged: names, parameters, provenance, or where the fields are",
        )

    def test_damaged_provenance(self, copy):
        with h5py.File(copy, "r+") as file:
            file["provenance"].attrs["ensemble"] = "{"
        assert verify(copy)
        with pytest.raises(ValueError, match=r"a\.h5 is not in the layout of The Well, or damaged"):
            data.open(copy)
        with pytest.raises(OptionsError, match="it is damaged, or generate has not written it"):
            generate(copy, ENSEMBLE, resume=True)

    def test_a_file_of_an_earlier_version(self, copy, capsys):
        """Read a file of an earlier version, which counts as finished."""
        with h5py.File(copy, "r+") as file:
            del file["provenance/checksums"]
        with pytest.raises(ValueError, match="holds no checksums: an earlier version"):
            verify(copy)
        with pytest.raises(SystemExit) as stop:
            cli.main(["verify", str(copy)])
        assert stop.value.code == 2
        assert "holds no checksums" in capsys.readouterr().err
        assert generate(copy, ENSEMBLE, resume=True).trajectories == 5
        with data.open(copy) as flows:
            assert len(flows) == 5

    def test_no_file(self, tmp_path, capsys):
        with pytest.raises(FileNotFoundError):
            verify(tmp_path / "a.h5")
        with pytest.raises(SystemExit) as stop:
            cli.main(["verify", str(tmp_path / "a.h5")])
        assert stop.value.code == 2
        assert "argument FILE" in capsys.readouterr().err
