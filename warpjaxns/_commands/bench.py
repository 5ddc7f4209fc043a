"""``warpjaxns bench``: time and memory of rollouts and their derivatives on this machine."""

import math
import os
import sys
import time
from argparse import BooleanOptionalAction
from functools import partial
from pathlib import Path

from .options import DISCRETISATIONS, UsageError, add_discretisation, discretisation_of, number, require, say, say_now

TASKS = ("forward", "gradient", "jvp")
# On the CPU an FFT in XLA's thread pool may wait for ever for threads of the same pool if several transforms run at
# once (seen with JAX 0.11 on two cores). One thread a program avoids this, at no cost for the sizes measured here.
XLA_ON_CPU = "--xla_cpu_multi_thread_eigen=false"
# Environment variables of XLA and JAX on which speed depends.
ENVIRONMENT = ("XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "CUDA_VISIBLE_DEVICES")


def add(commands):
    parser = commands.add_parser(
        "bench",
        help="measure rollouts, gradients and memory, Warp beside XLA and other packages",
        description="Measure what rollouts, their gradients and directional derivatives cost on this machine: Warp, "
        "XLA with the same numerics, and, where they are installed, Exponax, JAX-CFD and Warp's own example, in one "
        "process and in turns. Prints a table and writes bench.json (raw samples; complete after every case) and "
        "bench.png (throughput under the roof of the measured memory bandwidth). XLA_FLAGS are taken as they are set, "
        f"and recorded; where they leave it open, {XLA_ON_CPU} is added.",
    )
    parser.set_defaults(run=_run, parser=parser)
    count = number(int, least=1)

    def option(flag, text, default=None, shown=None, **more):
        text = f"{text} (default: {default if shown is None else shown})"
        parser.add_argument(flag, help=text.replace("%", "%%"), default=default, **more)

    # fmt: off
    option("--size", "points along each side; may be given several times", shown="a set that suits the device",
        type=number(int, least=4), action="append", metavar="N")
    option("--members", "flows advanced together; may be given several times, each with every --size", shown="1",
        type=count, action="append", metavar="N")
    option("--steps", "time steps of a forward sample", type=count, metavar="N",
        shown="500 on an accelerator; on a CPU and of other packages as many as take a second, 500 at most")
    option("--gradient-steps", "time steps of a sample of a derivative", shown="a fifth of --steps",
        type=count, metavar="N")
    option("--repeat", "samples of everything", 5, type=count, metavar="N")
    option("--what", "what to measure", shown="everything; without jvp if --quick", choices=TASKS, nargs="+")
    option("--backend", "of this package", ["warp", "xla"], shown="both", choices=("warp", "xla"), nargs="+")
    option("--precision", "floating-point type", "float32", choices=("float32", "float64"))
    add_discretisation(option)
    option("--budget", "start nothing new after this many seconds", shown="none", type=number(float, above=0),
        metavar="SECONDS")
    option("--against", "compare with the figures of an earlier run, and fail where one is slower by --threshold; on "
        "another machine times beside XLA are compared", shown="none", type=Path, metavar="JSON")
    option("--threshold", "of --against: the largest ratio of now to earlier", 1.25, type=number(float, above=0),
        metavar="RATIO")
    option("--output", "where the JSON and the plot go", Path("results/bench"), type=Path, metavar="FOLDER")
    # fmt: on
    parser.add_argument("--relative", action="store_true", help="of --against: compare times beside XLA on any machine")
    parser.add_argument("--peers", action=BooleanOptionalAction, default=True, help="measure other packages too")
    parser.add_argument("--quick", action="store_true", help="few, short cases: about a minute on two CPU cores")
    parser.add_argument("--no-plot", action="store_true", help="write no picture, and do without Matplotlib")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _run(options):
    if not options.no_plot:
        require("matplotlib")
    flags = os.environ.get("XLA_FLAGS", "")
    if XLA_ON_CPU.partition("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {XLA_ON_CPU}".strip()  # before JAX starts its backends
    import jax

    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"argument --output: {error}") from error
    options.what = options.what or (TASKS[:2] if options.quick else TASKS)
    if options.quick:
        options.repeat = min(options.repeat, 3)
    with jax.enable_x64(options.precision == "float64"):
        return _measure_all(options, options.output / "bench.json")


def _measure_all(options, path):
    from .. import benchmarks
    from ..benchmarks import report

    start = time.monotonic()
    earlier = _earlier(options)
    deadline = None if options.budget is None else start + options.budget
    contenders = benchmarks.backends(*dict.fromkeys(options.backend))
    contenders += benchmarks.peers() if options.peers else []
    cases = _cases(options)
    say_now(options, "the bandwidth of the memory")
    bandwidth = benchmarks.bandwidth(**({"megabytes": 32, "repeat": 3} if options.quick else {}))
    say_now(options, "")
    figures = _figures(options, contenders, cases)
    figures["bandwidth"] = bandwidth
    roof = None
    if options.discretisation == "finite-difference":
        least = benchmarks.least_bytes(options.precision)
        roof = bandwidth["bytes_per_second"] / least
        figures["bandwidth"] |= {"least_bytes_a_point_and_step": least, "roof": roof}
    say(options, *_preamble(figures), "", report.header())
    records, code = [], 0
    try:
        for case in cases:
            if _in_time(deadline):
                new = _measure_case(options, case, contenders, deadline, figures)
                records += new
                say(options, report.rows(new, roof))
            else:
                figures["skipped"].append({"case": case.label, "reason": "the time was up"})
                say(options, f"{case.label:<12}skipped: the time was up")
            figures["seconds"] = time.monotonic() - start
            report.write(path, figures)
        if _in_time(deadline) and not options.quick and "gradient" in options.what:
            figures["memory_growth"] = _growth(options, contenders, cases)
            report.write(path, figures)
    except KeyboardInterrupt:
        say_now(options, "")
        say(options, f"interrupted: {path} holds the cases before" if path.exists() else "interrupted")
        code = 130
    say(options, *_reasons(figures["skipped"]), f"Figures: {path}")
    if not options.no_plot and any(record.median for record in records):
        _draw(options, path.with_suffix(".png"), records, roof, figures["device"]["kind"])
    return code or _compare(options, figures, earlier)


def _measure_case(options, case, contenders, deadline, figures):
    """Measure a case, and return its records. Add records, and reasons of contenders left out, to the figures."""
    from .. import benchmarks

    records = benchmarks.measure(
        case,
        contenders,
        [task for task in benchmarks.TASKS if task.split()[0] in options.what],
        steps=options.steps,
        gradient_steps=options.gradient_steps,
        repeat=options.repeat,
        seconds=0.1 if options.quick else 1.0,
        deadline=deadline,
        report=partial(say_now, options),
    )
    say_now(options, "")
    figures["records"] += [record.to_dict() for record in records]
    reasons = {contender.name: contender.obstacle(case) for contender in contenders}
    left_out = ({"case": case.label, "solver": name, "reason": reason} for name, reason in reasons.items() if reason)
    figures["skipped"] += left_out
    return records


def _earlier(options):
    """Return the figures to compare with, read before anything is measured or overwritten, or None."""
    from ..benchmarks import against

    try:
        return None if options.against is None else against.read(options.against)
    except ValueError as error:
        raise UsageError(f"argument --against: {error}") from error


def _compare(options, figures, earlier):
    """Print changes, and return the exit code: 1 where a figure is over the threshold, or none could be compared."""
    from ..benchmarks import against

    if earlier is None:
        return 0
    absolute = not options.relative and against.same_machine(figures, earlier)
    changes = against.compare(figures, earlier, absolute)
    say(options, "", *against.lines(figures, earlier, changes, absolute, options.threshold))
    slower = [change for change in changes if change.over(options.threshold)]
    if not changes:
        print("warpjaxns: nothing to compare: the runs have no case, solver and task in common", file=sys.stderr)
    if slower:
        names = ", ".join(" ".join(change[:3]) for change in slower)
        print(f"warpjaxns: slower than {options.threshold:g} times the earlier run: {names}", file=sys.stderr)
    return int(bool(slower) or not changes)


def _draw(options, path, records, roof, device):
    from .._discretisation import to_dict
    from ..benchmarks.plot import throughput

    chosen = ", ".join(to_dict(records[0].case.discretisation).values())
    subtitle = f"{device}, {options.precision}, {chosen}"
    throughput(records, roof=roof, subtitle=subtitle).savefig(path, dpi=110)
    say(options, f"Picture: {path}")


def _in_time(deadline):
    return deadline is None or time.monotonic() < deadline


def _growth(options, contenders, cases):
    """Measure the growth of a gradient's memory with the number of steps, for one flow on the grid nearest to 512²."""
    from .. import benchmarks

    size = min((case.size for case in cases), key=lambda size: abs(math.log(size / 512)))
    case = benchmarks.Case(size, 1, options.precision, discretisation_of(options))
    able = [contender for contender in contenders if contender.own and contender.obstacle(case) is None]
    say_now(options, f"{case.label}: memory of long gradients")
    growth = {contender.name: benchmarks.memory_growth(case, contender) for contender in able}
    say_now(options, "")
    for name, of_steps in growth.items():
        sizes = ", ".join(f"{count / 2**20:.3g} MiB over {steps} steps" for steps, count in of_steps.items())
        say(options, f"{case.label}, {name}: temporaries of a checkpointed gradient: {sizes}")
    return {"case": case.label, "checkpointed_gradient": growth}


def _cases(options):
    import jax

    from .. import benchmarks

    pairs = benchmarks.default_cases(jax.default_backend(), quick=options.quick)
    if options.size or options.members:
        sizes = options.size or sorted({size for size, _ in pairs})
        pairs = [(size, members) for members in options.members or [1] for size in sizes]
    kind = options.precision, discretisation_of(options)
    return [benchmarks.Case(size, members, *kind) for size, members in dict.fromkeys(pairs)]


def _figures(options, contenders, cases):
    """Return the contents of the JSON before anything is measured."""
    import jax

    from .. import info
    from .._discretisation import to_dict
    from ..benchmarks import against
    from ..benchmarks.report import installed_versions

    device = jax.devices()[0]
    model = {"processor": against.processor()} if device.platform == "cpu" else {}
    left_out = (
        "run",
        "parser",
        "output",
        "quiet",
        "no_plot",
        "against",
        "threshold",
        "relative",
        *(n for o in DISCRETISATIONS.values() for n in o),
    )
    given = {name: value for name, value in vars(options).items() if name not in left_out}
    about = info()
    return {
        "command": "warpjaxns bench",
        "options": given | {"discretisation": to_dict(cases[0].discretisation)},
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "device": {"platform": device.platform, "kind": device.device_kind, "cpus": os.cpu_count()} | model,
        "driver": about.driver,
        "versions": about.versions | installed_versions("exponax", "jax-cfd"),
        "numerics": {contender.name: contender.numerics for contender in contenders},
        "cases": [case.label for case in cases],
        "bandwidth": {},
        "records": [],
        "skipped": [],
        "seconds": 0.0,
    }


def _preamble(figures):
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    memory = figures["bandwidth"]
    yield f"{figures['device']['kind']}; {versions}"
    most = ""
    if "roof" in memory:
        least, roof = memory["least_bytes_a_point_and_step"], memory["roof"]
        most = f"; a step moves {least} bytes a point or more: up to {roof / 1e9:.3g} Gpoint steps/s"
    yield f"Memory {memory['bytes_per_second'] / 1e9:.0f} GB/s{most}"
    yield from (f"{name}={value}" for name, value in figures["environment"].items())


def _reasons(skipped):
    """Return one line for each solver and reason, with all cases left out."""
    reasons = {}
    for item in skipped:
        if "solver" in item:
            reasons.setdefault((item["solver"], item["reason"]), []).append(item["case"])
    return [f"{solver} left out {', '.join(cases)}: {reason}" for (solver, reason), cases in reasons.items()]
