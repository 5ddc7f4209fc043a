"""``warpjaxns verify``: a check of a training set for damage."""

import sys
from pathlib import Path

from .options import UsageError, require


def add(commands):
    parser = commands.add_parser(
        "verify",
        help="check a training set for damage",
        description="Compare every byte of a file that `warpjaxns generate` wrote with the checksums in it. Returns 0 "
        "where all is well, 1 where something is damaged, which is printed, and 2 where there are no checksums.",
    )
    parser.set_defaults(run=_run, parser=parser)
    parser.add_argument("file", help="the training set", type=Path, metavar="FILE")


def _run(options):
    require("h5py")
    from .. import data

    try:
        damage = data.verify(options.file)
    except (OSError, ValueError) as error:
        raise UsageError(f"argument FILE: {error}") from error
    for sentence in damage:
        print(f"warpjaxns: {options.file}: {sentence}", file=sys.stderr)
    if damage:
        print("warpjaxns: take a copy, or make the file again (warpjaxns generate --overwrite)", file=sys.stderr)
        return 1
    print(f"{options.file}: as it was written")
    return 0
