"""``warpjaxns generate``: training sets."""

import argparse
import os
import sys
from pathlib import Path

from .options import (
    DISCRETISATIONS,
    UsageError,
    add_discretisation,
    discretisation_of,
    number,
    plain_warnings,
    require,
    say,
    seed,
    shown,
)

ARGUMENTS = (  # options that are arguments of `data.Ensemble` of the same name
    *("count", "steps", "end_time", "save_every", "dt", "viscosity", "drag", "forcing_amplitude", "forcing_wavenumber"),
    *("extent", "initial", "initial_wavenumber", "shared_initial", "spin_up", "seed", "batch_size", "coarsen"),
    *("compression", "precision", "backend"),
)
LAUNCHERS = (  # variables with the number of a process and of all: Slurm, Open MPI, MPICH and its descendants
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


def add(commands):
    parser = commands.add_parser(
        "generate",
        help="write a training set",
        description="Compute an ensemble of flows and write it to an HDF5 file in the layout of The Well. Finished "
        "batches are kept in OUTPUT.parts until all are done: interrupted, the same command with --resume goes on, and "
        "ends in the same file to the byte. A member that becomes non-finite is recorded as failed, and left out.",
    )
    parser.set_defaults(run=_run, parser=parser)
    count = number(int, least=1)
    parameter = _range(number(float, least=0))

    defaults = {}

    def option(flag, text, default=None, shown=None, **more):
        text = f"{text} (default: {default if shown is None else shown})"
        added = parser.add_argument(flag, help=text.replace("%", "%%"), **more)
        defaults[added.dest] = default  # what is None was not given, and --config may say it

    # fmt: off
    option("--output", "the file, ending in .hdf5 or .h5", Path("results/dataset/train.hdf5"),
        type=Path, metavar="FILE")
    option("--size", "points along each side of the box, or along y and x", (256, 256), "256",
        type=_pair(number(int, least=4)), metavar="N|NYxNX")
    option("--extent", "side of the box, or sides along y and x [length]", (6.283185307179586,) * 2, "2 pi",
        type=_pair(number(float, above=0)), metavar="L|LYxLX")
    option("--count", "members, each one trajectory", 64, type=count, metavar="N")
    option("--steps", "time steps from the first saved frame to the last", shown="1000", type=count, metavar="N")
    option("--end-time", "time of the last frame [time], in place of --steps", shown="that of --steps",
        type=number(float, above=0), metavar="T")
    option("--save-every", "time steps from one saved frame to the next; divides --steps", 50,
        type=count, metavar="N")
    option("--spin-up", "time steps before the first saved frame", 0, type=number(int, least=0), metavar="N")
    option("--dt", "length of a time step [time]", shown="0.08 of the finer spacing",
        type=number(float, above=0))
    option("--viscosity", "kinematic viscosity [length^2/time], or the range that each member draws it from",
        1e-3, type=parameter, metavar="NU|LOW:HIGH[:log]")
    option("--drag", "linear drag [1/time], or its range", 0.0, type=parameter, metavar="MU|LOW:HIGH[:log]")
    option("--forcing-amplitude", "amplitude of Kolmogorov's forcing [length/time^2], or its range; "
        "a negative one as --forcing-amplitude=-1:1", 0.0,
        type=_range(number(float)), metavar="A|LOW:HIGH[:log]")
    option("--forcing-wavenumber", "its wavenumber, in multiples of 2 pi / Ly", 4, type=count, metavar="N")
    option("--initial", "initial fields", "decaying_turbulence",
        choices=("decaying_turbulence", "random_vorticity"))
    option("--initial-wavenumber", "peak of their spectrum, or for random_vorticity the end of their band, in "
        "multiples of 2 pi / max(Ly, Lx)", shown="12 or what 16 points a wave allow; 4",
        type=number(float, above=0), metavar="K")
    option("--seed", "of all random numbers; another one makes another set, e.g. for validation", 0, type=seed)
    option("--batch-size", "members that are advanced together", 16, type=count, metavar="N")
    option("--coarsen", "factor by which saved frames are coarser, by a sharp spectral filter", 1,
        type=count, metavar="N")
    option("--compression", "level of gzip", 1, type=int, choices=range(10), metavar="0-9")
    add_discretisation(option)
    option("--precision", "floating-point type of the computation; frames are float32", "float32",
        choices=("float32", "float64"))
    option("--backend", "what computes; auto: Warp on CUDA where it supports the size, else XLA", "auto",
        choices=("auto", "warp", "xla"))
    option("--process", "number of this process, one of several that compute the file", shown="0",
        type=number(int, least=0), metavar="I")
    option("--processes", "number of these processes", shown="1", type=count, metavar="N")
    # fmt: on
    parser.add_argument("--distributed", action="store_true", help="take both from the environment of srun or mpirun")
    parser.set_defaults(output=defaults["output"], defaults=defaults)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a YAML file with arguments of data.Ensemble, or a training set whose arguments to take; other options "
        "replace those in it",
    )
    parser.add_argument(
        "--shared-initial", action="store_true", default=None, help="all members start from the same field"
    )
    parser.add_argument("--resume", action="store_true", help="go on where the same command was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file, or start over")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors, warnings and failed members")


def _run(options):
    require("h5py", "tqdm")
    from .. import data

    ensemble = _ensemble(options)
    index, processes = _process(options)
    again = {"resume": options.resume, "overwrite": options.overwrite}
    again |= {"process_index": index, "process_count": processes}
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"argument --output: {error}") from error
    with _Progress(options.quiet) as progress, plain_warnings():
        try:
            summary = data.generate(options.output, ensemble, report=progress, **again)
        except data.OptionsError as error:
            raise UsageError(str(error)) from error
        except ValueError as error:
            raise UsageError(f"argument --output: {error}") from error
        except OSError as error:
            print(f"warpjaxns: {error}\n{_kept(options, ensemble)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"warpjaxns: interrupted\n{_kept(options, ensemble)}", file=sys.stderr)
            return 130
    if summary.missing:
        done = ensemble.batches - summary.missing
        say(
            options,
            f"process {index} of {processes} is done; {done} of {ensemble.batches} batches are, and the last process "
            f"to end writes {summary.path}",
        )
        return 0
    if summary.failed:
        names = ", ".join(map(str, summary.failed[:10])) + (", ..." if len(summary.failed) > 10 else "")
        print(
            f"warpjaxns: {len(summary.failed)} of {ensemble.count} members became non-finite and were left out "
            f"({names}); {summary.path} has their parameters under provenance/failed. A shorter --dt may help.",
            file=sys.stderr,
        )
    ny, nx = ensemble.saved_grid.shape
    size = f"{summary.path.stat().st_size / 2**20:,.1f} MiB"
    say(options, f"{summary.path}: {summary.trajectories} x {ensemble.frames} frames of {ny} x {nx}, {size}")
    return 0 if summary.trajectories else 1


def _process(options):
    """Return the number of this process, and of all that compute the file."""
    given = options.process, options.processes
    if options.distributed:
        if given != (None, None):
            raise UsageError("argument --distributed: leave out --process and --processes, or this one")
        found = [names for names in LAUNCHERS if all(name in os.environ for name in names)]
        if not found:
            names = ", ".join(name for names in LAUNCHERS for name in names)
            raise UsageError(
                f"argument --distributed: none of {names} is set; start it by srun or mpirun, or give --process and "
                "--processes"
            )
        given = tuple(int(os.environ[name]) for name in found[0])
    if None in given and given != (None, None):
        raise UsageError("arguments --process and --processes: give both, or none")
    index, count = (0, 1) if None in given else given
    if index >= count:
        raise UsageError(f"argument --process: {index} is not less than --processes {count}")
    return index, count


def _ensemble(options):
    from .. import data
    from .._discretisation import to_dict

    values = _configured(options)
    named = "discretisation", *(name for options_of in DISCRETISATIONS.values() for name in options_of)
    if any(getattr(options, name) is not None for name in named) or "discretisation" not in values:
        configured = to_dict(values["discretisation"])["name"] if "discretisation" in values else None
        options.discretisation = options.discretisation or configured or options.defaults["discretisation"]
        values["discretisation"] = discretisation_of(options)
    given = {name: getattr(options, name) for name in ("size", *ARGUMENTS) if getattr(options, name) is not None}
    for name, value in given.items():
        if isinstance(value, tuple) and name not in ("size", "extent"):
            try:
                given[name] = data.Range(*value)
            except ValueError as error:
                raise UsageError(f"argument --{name.replace('_', '-')}: {error}") from error
    if {"steps", "end_time"} & set(given):
        values = {name: value for name, value in values.items() if name not in ("steps", "end_time")}
    if "size" in given:
        given["shape"] = given.pop("size")
    defaults = {"shape": options.defaults["size"], **{name: options.defaults.get(name) for name in ARGUMENTS}}
    values = {**{name: value for name, value in defaults.items() if value is not None}, **values, **given}
    if "end_time" not in values:
        values.setdefault("steps", 1000)
    if "dt" not in values:
        values["dt"] = 0.08 * min(side / n for side, n in zip(values["extent"], values["shape"], strict=True))
    try:
        return data.Ensemble(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _configured(options):
    """Return the arguments that --config names."""
    from .. import data

    if options.config is None:
        return {}
    if options.config.suffix not in (".h5", ".hdf5"):
        require("yaml")
    try:
        return data.read_config(options.config)
    except (OSError, ValueError) as error:
        raise UsageError(f"argument --config: {error}") from error


def _kept(options, ensemble):
    from ..data.place import folder_of, target_of

    folder = folder_of(target_of(options.output))
    done = len(list(folder.glob("part-*.json")))
    return (
        f"{done} of {ensemble.batches} batches are kept in {folder}; the same command with --resume goes on from there"
    )


class _Progress:
    """A progress bar over all frames of all members."""

    def __init__(self, quiet):
        self._quiet, self._bar = quiet, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done, total):
        from tqdm import tqdm

        if self._bar is None:
            hidden = True if self._quiet else None
            self._bar = tqdm(total=total, initial=done, disable=hidden, desc="compiling", unit="frame")
        elif done > self._bar.n:
            self._bar.set_description("generating", refresh=False)
        self._bar.update(done - self._bar.n)


def _pair(kind):
    """Return an argparse type: ``256`` or ``128x256``, as a pair of `kind`."""

    def parse(text):
        values = [kind(part) for part in text.split("x")]
        if len(values) > 2:
            raise argparse.ArgumentTypeError(f"{shown(text)}: expected one number, or two as in 128x256")
        return values[0], values[-1]

    return parse


def _range(kind):
    """Return an argparse type: a number, or ``LOW:HIGH[:log]`` as a tuple of arguments of `data.Range`."""

    def parse(text):
        low, *rest = text.split(":")
        if not rest:
            return kind(low)
        if len(rest) > 2 or rest[1:] not in ([], ["log"]):
            raise argparse.ArgumentTypeError(f"{shown(text)}: expected a number, LOW:HIGH or LOW:HIGH:log")
        if "" in (low, rest[0]):
            raise argparse.ArgumentTypeError(f"{shown(text)}: expected both ends, LOW:HIGH or LOW:HIGH:log")
        return kind(low), kind(rest[0]), rest[1:] == ["log"]

    return parse
