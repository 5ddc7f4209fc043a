"""Faults of `warpjaxns generate`: kills, Ctrl-C, folders that take nothing, two runs at once."""

import random
import signal
import sys
import time
from pathlib import Path

from processes import AS_NOBODY, Outcome, fault, finish, quoted, ran, start

GENERATE = ["generate", "--size", "32", "--count", "16", "--steps", "4000", "--save-every", "100", "--batch-size", "2"]
GENERATE += ["--dt", "0.005", "--viscosity", "0.1", "--backend", "xla", "--quiet"]
ON_A_FULL_DISK = """
mount -t tmpfs -o size=200k disk "$2" || exit 99
"$1" -m warpjaxns.cli "${@:4}" --output "$2/a.h5"; code=$?
mount -o remount,size=50m "$2"
"$1" -m warpjaxns.cli "${@:4}" --output "$2/a.h5" --resume && cmp "$2/a.h5" "$3" >&2 || exit 98
exit $code
"""


def undisturbed(folder: Path) -> bytes:
    """Return the file of an undisturbed run."""
    code, said = ran(*GENERATE, "--output", folder / "undisturbed.h5")
    assert code == 0, said
    return (folder / "undisturbed.h5").read_bytes()


def resumed(folder: Path, expected: bytes) -> bool:
    """Return whether a run that goes on ends with the file of an undisturbed one, its checksums, and nothing else."""
    codes = [ran(*GENERATE, "--output", folder / "a.h5", "--resume")[0], ran("verify", folder / "a.h5")[0]]
    names = {path.name for path in folder.iterdir()}
    return codes == [0, 0] and (folder / "a.h5").read_bytes() == expected and names == {"undisturbed.h5", "a.h5"}


def parts(folder: Path) -> list[Path]:
    """Return the parts that a run has finished, of 8."""
    return list(folder.glob("a.h5.parts/part-*.json"))


@fault("`kill -9` during `generate`, at random moments, each time resumed")
def killed(folder: Path, kills: int) -> Outcome:
    """Kill a run, and the runs that resume it, five times, at most two parts further each; let it end; begin anew."""
    expected = undisturbed(folder)
    done, ended, wrong, generator = 0, 0, 0, random.Random(0)
    while done < kills:
        for _ in range(5):
            enough = min(len(parts(folder)) + generator.choice((0, 1, 2)), 8)
            process = start(*GENERATE, "--output", folder / "a.h5", "--resume")
            time.sleep(generator.uniform(0, 4))  # before, or while, it computes
            while len(parts(folder)) < enough and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += process.returncode == -signal.SIGKILL
            wrong += (folder / "a.h5").exists() and (folder / "a.h5").read_bytes() != expected
        wrong += not resumed(folder, expected)
        ended += 1
        (folder / "a.h5").unlink(missing_ok=True)
    said = f"{done} kills of {ended} runs, which then ended: {wrong} files differ from that of an undisturbed run"
    return Outcome(said, not wrong)


@fault("Ctrl-C during `generate`")
def interrupted(folder: Path, kills: int) -> Outcome:
    """Interrupt a run once it has a part."""
    expected = undisturbed(folder)
    process = start(*GENERATE, "--output", folder / "a.h5")
    while not parts(folder) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    return Outcome(quoted(code, said), code == 130 and resumed(folder, expected))


@fault("`generate` into a folder that is read-only")
def read_only(folder: Path, kills: int) -> Outcome:
    """Write where the user may not."""
    target = folder / "locked"
    target.mkdir(mode=0o555)
    folder.chmod(0o755)
    code = AS_NOBODY + "sys.exit(cli.main(sys.argv[1:]))"
    code, said = ran(*GENERATE, "--output", target / "a.h5", code=code, HOME=str(folder))
    return Outcome(quoted(code, said), code == 1 and "ermission denied" in said and not list(target.iterdir()))


@fault("`generate` on a disk of 200 kB, which then has more")
def full_disk(folder: Path, kills: int) -> Outcome:
    """Fill a file system of this process alone, make it larger, and resume."""
    undisturbed(folder)
    (folder / "disk").mkdir()
    words = [sys.executable, folder / "disk", folder / "undisturbed.h5", *GENERATE]
    code, said = ran(*words, command=("unshare", "--mount", "bash", "-c", ON_A_FULL_DISK, "bash"))
    return Outcome(quoted(code, said), code == 1 and "No space left" in said)


@fault("two runs of `generate` for one file at once")
def both(folder: Path, kills: int) -> Outcome:
    """Start two runs together."""
    expected = undisturbed(folder)
    first = start(*GENERATE, "--output", folder / "a.h5")
    second = start(*GENERATE, "--output", folder / "a.h5", "--resume")
    results = [finish(process) for process in (first, second)]
    code, said = max(results)  # one of them is refused
    right = min(results)[0] == 0 and code == 2 and (folder / "a.h5").read_bytes() == expected
    return Outcome(quoted(code, said), right)
