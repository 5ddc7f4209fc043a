"""The command line: ``warpjaxns demo`` and ``warpjaxns info``.

A subcommand is a function that adds its parser and names the function to run; `COMMANDS` lists them. Nothing
heavy is imported before a command runs.
"""

import argparse
import importlib.util
import json
import math
import platform
import sys
from pathlib import Path

INSTALL = 'pip install "warpjaxns[all]"'


class UsageError(Exception):
    """A request that cannot be met. Its message goes to the user, without a traceback, with exit code 2."""


def main(argv: list[str] | None = None) -> int:
    """Run a command line, ``sys.argv[1:]`` by default, and return its exit code.

    0: done; 1: the computation failed; 130: interrupted. Wrong options leave by ``SystemExit(2)``.
    """
    parser = argparse.ArgumentParser(
        prog="warpjaxns",
        description="Differentiable two-dimensional Navier-Stokes: JAX on NVIDIA Warp kernels.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    options = parser.parse_args(argv)
    try:
        return options.run(options)
    except UsageError as error:
        return options.parser.error(str(error))  # exits
    except FloatingPointError as error:
        print(f"warpjaxns: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("warpjaxns: interrupted, nothing was written", file=sys.stderr)
        return 130


def require(*modules: str) -> None:
    """Refuse to start without optional packages, before any time is spent.

    Raises:
        UsageError: one is missing; the message says what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"this command needs {' and '.join(missing)}: {INSTALL}")


def number(kind: type, *, least: float = -math.inf, above: float = -math.inf):
    """An argparse type: a finite number of `kind`, at least `least` and greater than `above`."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least and value > above):
            noun = "an integer" if kind is int else "a number"
            bound = f"greater than {above}" if math.isfinite(above) else f"at least {least}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected {noun} {bound}")
        return value

    return parse


# ------------------------------------------------------------------ info


def _add_info(commands):
    parser = commands.add_parser("info", help="print versions, devices and which backend runs where")
    parser.set_defaults(run=_info, parser=parser)


def _info(options):
    import warpjaxns

    print(warpjaxns.info())
    return 0


# ------------------------------------------------------------------ demo

CPU = {"size": 128, "iterations": 200}  # about a minute on two cores
ACCELERATOR = {"size": 512, "iterations": 300}


def _add_demo(commands):
    parser = commands.add_parser(
        "demo",
        help="run the optimal-perturbation experiment",
        description="Find the small perturbation of a turbulent flow that grows most: spin up decaying "
        "turbulence, then climb the gradient of the distance between the perturbed and the unperturbed "
        "rollout, with Adam and a projection onto a ball. Writes optimal_perturbation.png and "
        "optimal_perturbation.json.",
    )
    parser.set_defaults(run=_demo, parser=parser)
    positive, count = number(float, above=0), number(int, least=1)
    of_device = {name: f"{CPU[name]} on a CPU, {ACCELERATOR[name]} on an accelerator" for name in CPU}

    def add(flag, text, default=None, shown=None, **more):
        text = f"{text} (default: {default if shown is None else shown})"
        parser.add_argument(flag, help=text.replace("%", "%%"), default=default, **more)

    # fmt: off
    add("--size", "points along each side of the box", shown=of_device["size"],
        type=number(int, least=4), metavar="N")
    add("--steps", "time steps from the perturbation to where the flows are compared", 80,
        type=count, metavar="N")
    add("--iterations", "iterations of the optimiser", shown=of_device["iterations"],
        type=count, metavar="N")
    add("--spin-up", "time steps before the experiment", shown="as many as reach time 0.5",
        type=number(int, least=0), metavar="N")
    add("--viscosity", "kinematic viscosity [length^2/time]; the box is 2 pi wide", 1e-3,
        type=number(float, least=0), metavar="NU")
    add("--dt", "length of a time step", shown="0.512 / size, about the same Courant number on every grid",
        type=positive)
    add("--radius", "largest size of the perturbation, relative to that of the flow", 0.2, type=positive)
    add("--learning-rate", "Adam's, about the change of vorticity in one iteration [1/time]", 0.02,
        type=positive, metavar="RATE")
    add("--advection", "scheme of the advection term", "arakawa", choices=("arakawa", "central"))
    add("--backend", "what computes; auto: Warp on CUDA where it supports the size, else XLA", "auto",
        choices=("auto", "warp", "xla"))
    add("--adjoint", "save memory by computing states again, or keep them all and be faster", "checkpointed",
        choices=("checkpointed", "direct"))
    add("--precision", "floating-point type", "float32", choices=("float32", "float64"))
    add("--seed", "of the random flow and of the first perturbation", 0, type=number(int, least=0))
    add("--output", "where the picture and the figures go", Path("results/optimal_perturbation"),
        type=Path, metavar="FOLDER")
    # fmt: on
    parser.add_argument("--no-plot", action="store_true", help="write no picture, and do without Matplotlib")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _demo(options):
    require("optax", "tqdm", *(() if options.no_plot else ("matplotlib",)))
    import jax

    _fill_defaults(options, CPU if jax.default_backend() == "cpu" else ACCELERATOR)
    with jax.enable_x64(options.precision == "float64"):
        solver = _solver(options)
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"argument --output: {error}") from error
        result, of_noise = _experiment(solver, options)
        figures = _figures(result, of_noise, options)

        path = options.output / "optimal_perturbation.json"
        path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        _say(options, _conclusion(figures["result"]), f"Figures: {path}")
        if not options.no_plot:
            from .plotting import optimal_perturbation

            path = path.with_suffix(".png")
            optimal_perturbation(result).savefig(path, dpi=110)
            _say(options, f"Picture: {path}")
    return 0


def _fill_defaults(options, of_device):
    for name, value in of_device.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.dt is None:
        options.dt = 0.512 / options.size
    if options.spin_up is None:
        options.spin_up = max(1, round(0.5 / options.dt))


def _solver(options):
    from . import Checkpointed, Direct, Grid, NavierStokes2D
    from ._checks import check_backend

    grid = Grid((options.size, options.size))
    try:
        check_backend(options.backend, grid, options.precision)
    except ValueError as error:
        raise UsageError(f"argument --backend: {error}") from error
    return NavierStokes2D(
        grid,
        viscosity=options.viscosity,
        dt=options.dt,
        advection=options.advection,
        adjoint={"direct": Direct(), "checkpointed": Checkpointed()}[options.adjoint],
        backend=options.backend,
        check_finite=False,  # the experiment looks for itself
    )


def _experiment(solver, options):
    """The result, and the gain of noise as large as the optimal perturbation."""
    import jax
    from tqdm import tqdm

    from . import experiments

    size, device = options.size, jax.devices()[0].device_kind
    _say(options, f"Decaying turbulence on {size} x {size} points, {options.precision}, on {device}")
    of_flow, of_noise = jax.random.split(jax.random.key(options.seed))
    flow = experiments.developed_turbulence(solver, key=of_flow, spin_up=options.spin_up, dtype=options.precision)
    # Much smaller than the ball: what is left of the noise in the end does not show.
    noise = experiments.random_perturbation(flow, norm=options.radius / 20, key=of_noise)
    with tqdm(total=options.iterations, disable=options.quiet or None, desc="optimising", unit="it") as bar:

        def report(_, loss, norm):
            bar.set_postfix_str(f"loss {loss:.4g}, norm {norm:.4f}")
            bar.update()

        result = experiments.optimal_perturbation(
            solver,
            flow,
            noise,
            steps=options.steps,
            radius=options.radius,
            learning_rate=options.learning_rate,
            iterations=options.iterations,
            report=report,
        )
    noise = experiments.random_perturbation(flow, norm=float(result.norms[-1]), key=of_noise)
    return result, float(experiments.gain(solver, flow, noise, steps=options.steps))


def _figures(result, gain_of_noise, options):
    """What goes into the JSON file: numbers and names only."""
    import jax
    import numpy as np

    device = jax.devices()[0]
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    left_out = ("run", "parser", "output", "quiet", "no_plot")
    return {
        "parameters": {name: value for name, value in vars(options).items() if name not in left_out},
        "result": {
            "loss_first": float(result.losses[0]),
            "loss_last": result.loss,
            "gain": result.gain,
            "gain_of_noise_of_the_same_norm": gain_of_noise,
            "relative_norm": float(result.norms[-1]),
            "base_norm": float(np.linalg.norm(result.base)),
            "perturbation_norm": float(np.linalg.norm(result.perturbation)),
            "lead_time": result.lead_time,
            "seconds_per_iteration": result.seconds_per_iteration,
            "seconds_compiling": result.compile_seconds,
            "iteration_memory_bytes": result.memory,
            "device_peak_memory_bytes": peak,
        },
        "history": {"loss": result.losses.tolist(), "relative_norm": result.norms.tolist()},
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions():
    from importlib.metadata import version

    from . import __version__

    others = {name: version(name) for name in ("jax", "warp-lang", "equinox", "optax", "numpy")}
    return {"warpjaxns": __version__, **others}


def _conclusion(result):
    return (
        f"A perturbation of {100 * result['relative_norm']:.3g} % of the flow's size grows "
        f"{math.sqrt(result['gain']):.3g}-fold by time {result['lead_time']:.3g}; noise of the same size, "
        f"{math.sqrt(result['gain_of_noise_of_the_same_norm']):.3g}-fold. "
        f"{1e3 * result['seconds_per_iteration']:.3g} ms an iteration."
    )


def _say(options, *lines):
    if not options.quiet:
        print(*lines, sep="\n", flush=True)


COMMANDS = (_add_demo, _add_info)

if __name__ == "__main__":
    raise SystemExit(main())
