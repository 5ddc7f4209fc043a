"""The command line: ``warpjaxns demo``, ``warpjaxns info`` and so on.

A subcommand is a module of `_commands`. Its ``add(commands)`` adds its parser and names the function to run. `COMMANDS`
lists all subcommands. JAX and Warp are imported when a command runs, and not before.
"""

import sys

from ._commands import bench, demo, generate, info, verify
from ._commands.options import Parser, UsageError
from ._version import VERSION

COMMANDS = (demo, bench, generate, verify, info)


def main(argv: list[str] | None = None) -> int:
    """Run a command line, ``sys.argv[1:]`` by default, and return its exit code.

    Exit codes are 0: done; 1: the computation failed; 130: interrupted. Wrong options raise ``SystemExit(2)``.
    """
    parser = Parser(
        prog="warpjaxns",
        description="Differentiable two-dimensional Navier-Stokes: JAX on NVIDIA Warp kernels.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    options, unknown = parser.parse_known_args(argv)
    try:
        if unknown:
            raise UsageError(f"unrecognized arguments: {' '.join(unknown)}")
        return options.run(options)
    except UsageError as error:
        return options.parser.error(str(error))  # exits
    except FloatingPointError as error:
        print(f"warpjaxns: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("warpjaxns: interrupted, nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
