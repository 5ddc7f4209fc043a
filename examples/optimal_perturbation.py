"""The perturbation of a turbulent flow that grows most, found by gradients through the solver.

    python examples/optimal_perturbation.py --size 96 --iterations 100

runs in under a minute on two CPU cores. ``warpjaxns demo`` is the same experiment with more options.
"""

import argparse
from pathlib import Path

import jax

import warpjaxns as wns
from warpjaxns import experiments, plotting

DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}


def main(argv: list[str] | None = None) -> experiments.OptimalPerturbation:
    """Run the experiment, save its picture, and return the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=80, help="time steps of a rollout (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=100, help="of the optimiser (default: %(default)s)")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/optimal_perturbation"), metavar="FOLDER")
    options = parser.parse_args(argv)

    # 1. A solver. Rolled out for `steps` steps, it is a function that JAX differentiates.
    grid = wns.Grid((options.size, options.size))
    discretisation = DISCRETISATIONS[options.discretisation]
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=0.512 / options.size, discretisation=discretisation)

    # 2. A turbulent flow, and a little noise to start from.
    flow_key, noise_key = jax.random.split(jax.random.key(0))
    flow = experiments.developed_turbulence(solver, key=flow_key, spin_up=100)
    noise = experiments.random_perturbation(flow, norm=0.01, key=noise_key)

    # 3. Ascend the gradient of the distance between the two rollouts, within 20 % of the flow's norm.
    def report(iteration, loss, norm):
        if iteration % 10 == 0:
            print(f"iteration {iteration:4d}   loss {loss:10.4f}   relative norm {norm:.4f}")

    result = experiments.optimal_perturbation(
        solver,
        flow,
        noise,
        steps=options.steps,
        radius=0.2,
        learning_rate=0.02,
        iterations=options.iterations,
        report=report,
    )
    print(f"gain {result.gain:.3g}, {1e3 * result.seconds_per_iteration:.3g} ms an iteration")

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "optimal_perturbation.png"
    plotting.optimal_perturbation(result).savefig(path, dpi=110)
    print(f"picture: {path}")
    return result


if __name__ == "__main__":
    main()
