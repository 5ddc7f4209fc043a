"""The folder of a file and of its parts: files that a run may write, and files that it may remove."""

import contextlib
import os
import re
import stat
from pathlib import Path

# Names of a run's files. Other files in the folder of parts do not belong to a run.
OWN = re.compile(
    r"lock(-turn|-\d+-of-\d+)?|manifest\.json(\.tmp)?|assembled\.tmp|part-\d{6,}\.(chunks|tmp|json(\.tmp)?)"
)


class OptionsError(ValueError):
    """A request that does not fit the files on the disk. The message says which would."""


def target_of(output: Path) -> Path:
    """Return the file that `output` names: the target of a symbolic link, or itself."""
    return Path(os.path.realpath(output)) if output.is_symlink() else output


def folder_of(target: Path) -> Path:
    """Return the folder of the parts of an unfinished file."""
    return target.with_name(target.name + ".parts")


def contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the contents of a folder of parts: the files of a run, and everything else.

    A symbolic link or a folder is never a file of a run. Manifest and locks come last: files removed in this order
    belong to a run to the end.
    """
    own, others = [], []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # renamed or removed by another process of the run
            continue
        (own if OWN.fullmatch(path.name) and stat.S_ISREG(mode) else others).append(path)
    return sorted(own, key=lambda path: (is_lock(path), path.name == "manifest.json")), others


def is_lock(path: Path) -> bool:
    """Return whether a file of a run is a lock."""
    return path.name.startswith("lock")


def refuse_to_lose(target: Path, resume: bool, overwrite: bool, finished: str) -> None:
    """Refuse to write if files would be lost that the user did not allow to be. Changes nothing.

    Args:
        target: the file that would be written.
        resume: whether an interrupted run may be continued.
        overwrite: whether the file, and the parts of an interrupted run, may be lost.
        finished: the message about an existing file.

    Raises:
        OptionsError: the file exists, or its folder of parts holds files that would be lost or in the way.
    """
    folder = folder_of(target)
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise OptionsError(f"{target} is not a file; write another one")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OptionsError(
            f"{folder} is a symbolic link or a file; move it away, as the parts lie in a folder beside their file"
        )
    if target.exists() and not overwrite:
        raise OptionsError(f"{target}: {finished}; overwrite it (--overwrite), or write another file")
    own, others = contents(folder)
    in_the_way = [path for path in others if OWN.fullmatch(path.name)]
    if in_the_way:
        raise OptionsError(f"{in_the_way[0]} is a symbolic link or a folder; move it away, as a file is to be there")
    if overwrite:
        return
    kept = [path for path in own if path.suffix in (".json", ".chunks")]
    if kept and not resume:
        raise OptionsError(
            f"{folder} holds the batches of an interrupted run; continue it (--resume), or start over (--overwrite)"
        )
    manifest = folder / "manifest.json"
    if kept and manifest not in own:
        raise OptionsError(f"{manifest} is missing, so that nothing can be resumed; start over (--overwrite)")
    if others and not kept:
        raise OptionsError(
            f"{others[0]} is not of a run that writes {target}; move it away, write another file, or leave it where it "
            "is (--overwrite)"
        )


def remove(folder: Path) -> None:
    """Delete the files of a run, and the folder if it is then empty."""
    for path in contents(folder)[0]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
