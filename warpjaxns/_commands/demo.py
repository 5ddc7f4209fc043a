"""``warpjaxns demo``: the optimal-perturbation experiment."""

import json
import math
from pathlib import Path

from .options import (
    DISCRETISATIONS,
    LARGEST_COUNT,
    UsageError,
    add_discretisation,
    discretisation_of,
    number,
    plain_warnings,
    require,
    say,
    say_now,
    seed,
    versions,
)

CPU = {"size": 128, "iterations": 200}  # about a minute on two cores
ACCELERATOR = {"size": 512, "iterations": 300}


def add(commands):
    parser = commands.add_parser(
        "demo",
        help="run the optimal-perturbation experiment",
        description="Find the small perturbation of a turbulent flow that grows most: spin up decaying "
        "turbulence, then ascend the gradient of the distance between the perturbed and the unperturbed "
        "rollout, with Adam and a projection onto a ball. Writes optimal_perturbation.png and "
        "optimal_perturbation.json.",
    )
    parser.set_defaults(run=_run, parser=parser)
    positive, count = number(float, above=0), number(int, least=1)
    of_device = {name: f"{CPU[name]} on a CPU, {ACCELERATOR[name]} on an accelerator" for name in CPU}

    def option(flag, text, default=None, shown=None, **more):
        text = f"{text} (default: {default if shown is None else shown})"
        parser.add_argument(flag, help=text.replace("%", "%%"), default=default, **more)

    # fmt: off
    option("--size", "points along each side of the box", shown=of_device["size"],
        type=number(int, least=4), metavar="N")
    option("--steps", "time steps from the perturbation to where the flows are compared", 80,
        type=count, metavar="N")
    option("--iterations", "iterations of the optimiser", shown=of_device["iterations"],
        type=count, metavar="N")
    option("--spin-up", "time steps before the experiment", shown="as many as reach time 0.5",
        type=number(int, least=0), metavar="N")
    option("--viscosity", "kinematic viscosity [length^2/time]; the box is 2 pi wide", 1e-3,
        type=number(float, least=0), metavar="NU")
    option("--dt", "length of a time step", shown="0.512 / size, about the same Courant number on every grid",
        type=positive)
    option("--radius", "largest size of the perturbation, relative to that of the flow", 0.2, type=positive)
    option("--learning-rate", "Adam's, about the change of vorticity in one iteration [1/time]", 0.02,
        type=positive, metavar="RATE")
    add_discretisation(option)
    option("--backend", "what computes; auto: Warp on CUDA where it supports the size, else XLA", "auto",
        choices=("auto", "warp", "xla"))
    option("--adjoint", "save memory by computing states again, or keep them all and be faster", "checkpointed",
        choices=("checkpointed", "direct"))
    option("--precision", "floating-point type", "float32", choices=("float32", "float64"))
    option("--seed", "of the random flow and of the first perturbation", 0, type=seed)
    option("--output", "where the picture and the figures go", Path("results/optimal_perturbation"),
        type=Path, metavar="FOLDER")
    # fmt: on
    parser.add_argument("--no-plot", action="store_true", help="write no picture, and do without Matplotlib")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors and warnings")


def _run(options):
    require("optax", "tqdm", *(() if options.no_plot else ("matplotlib",)))
    import jax

    _fill_defaults(options, CPU if jax.default_backend() == "cpu" else ACCELERATOR)
    with jax.enable_x64(options.precision == "float64"), plain_warnings():
        solver = _solver(options)
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"argument --output: {error}") from error
        result, of_noise = _experiment(solver, options)
        figures = _figures(result, of_noise, options)

        path = options.output / "optimal_perturbation.json"
        path.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n")
        say(options, _conclusion(figures["result"]), f"Figures: {path}")
        if not options.no_plot:
            from ..plotting import optimal_perturbation

            path = path.with_suffix(".png")
            optimal_perturbation(result).savefig(path, dpi=110)
            say(options, f"Picture: {path}")
    return 0


def _fill_defaults(options, of_device):
    for name, value in of_device.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.dt is None:
        options.dt = 0.512 / options.size
    if options.spin_up is None:
        steps = 0.5 / options.dt
        if steps > LARGEST_COUNT:
            raise UsageError(f"argument --dt: {options.dt:g} is too short to reach time 0.5; give --spin-up as well")
        options.spin_up = max(1, round(steps))


def _solver(options):
    from .. import Checkpointed, Direct, Grid, NavierStokes2D
    from .._discretisation import check_backend

    grid, discretisation = Grid((options.size, options.size)), discretisation_of(options)
    try:
        check_backend(options.backend, discretisation, grid, options.precision)
    except ValueError as error:
        raise UsageError(f"argument --backend: {error}") from error
    try:
        return NavierStokes2D(
            grid,
            viscosity=options.viscosity,
            dt=options.dt,
            discretisation=discretisation,
            adjoint={"direct": Direct(), "checkpointed": Checkpointed()}[options.adjoint],
            backend=options.backend,
            check_finite=False,  # the experiment checks for itself
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _experiment(solver, options):
    """Run the experiment. Return its result, and the gain of noise as large as the optimal perturbation."""
    import jax
    from tqdm import tqdm

    from .. import experiments
    from ..diagnostics._resolution import resolution, warn_if_not_resolved

    size, device = options.size, jax.devices()[0].device_kind
    say(options, f"Decaying turbulence on {size} x {size} points, {options.precision}, on {device}")
    of_flow, of_noise = jax.random.split(jax.random.key(options.seed))
    say_now(options, "compiling and running the spin-up")
    flow = experiments.developed_turbulence(solver, key=of_flow, spin_up=options.spin_up, dtype=options.precision)
    say_now(options, "")
    warn_if_not_resolved(resolution(solver, flow).error, solver, "at the start of the experiment")
    # Much smaller than the ball, so that the noise does not show in the end.
    noise = experiments.random_perturbation(flow, norm=options.radius / 20, key=of_noise)
    with tqdm(total=options.iterations, disable=options.quiet or None, desc="compiling", unit="it") as bar:

        def report(number, loss, norm):
            if number == 0:
                bar.reset()  # its speed is that of iterations
                bar.set_description("optimising", refresh=False)
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
    """Return the contents of the JSON file: numbers and names only."""
    import jax
    import numpy as np

    from .._discretisation import to_dict

    device = jax.devices()[0]
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    left_out = ("run", "parser", "output", "quiet", "no_plot", *(n for o in DISCRETISATIONS.values() for n in o))
    parameters = {name: value for name, value in vars(options).items() if name not in left_out}
    return {
        "parameters": parameters | {"discretisation": to_dict(result.solver.discretisation)},
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
        "versions": versions(),
    }


def _conclusion(result):
    return (
        f"A perturbation of {100 * result['relative_norm']:.3g} % of the flow's size grows "
        f"{math.sqrt(result['gain']):.3g}-fold by time {result['lead_time']:.3g}; noise of the same size, "
        f"{math.sqrt(result['gain_of_noise_of_the_same_norm']):.3g}-fold. "
        f"{1e3 * result['seconds_per_iteration']:.3g} ms an iteration."
    )
