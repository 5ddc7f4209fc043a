"""Time steps with further terms over those of the plain equation, by the backend that ``"auto"`` takes.

    python docs/benchmarks/terms.py
    python docs/benchmarks/terms.py --discretisation finite-difference --size 512

Prints microseconds a step of the plain equation, and the ratio for each set of terms, forward and with the gradient.
Runs take turns, and each counts by its fastest.
"""

import argparse
import time

import jax
import jax.numpy as jnp

import warpjaxns as wns

LINEAR = {"beta": 1.0, "mean_flow": (1.0, 0.5), "hypodrag": 0.1}
SCALAR = {"diffusivity": 1e-3, "mean_gradient": (0.0, 1.0), "buoyancy": (0.0, 1.0)}
ENGINES = {"spectral": wns.Spectral(), "finite-difference": wns.FiniteDifference()}
CASES = [(64, 1), (64, 256), (512, 1), (512, 16), (2048, 1)]  # points a side, members
STEPS, TURNS = 80, 9


def terms(name: str, grid: wns.Grid) -> dict[str, dict]:
    """Return sets of terms by name, as arguments of a solver."""
    height, width = grid.extent
    body = wns.obstacles.cylinder(grid, centre=(height / 2, width / 3), radius=0.1 * height, permeability=0.01)
    hills = jnp.sin(3 * grid.x) + jnp.cos(2 * grid.y)[:, None]
    sets = {
        "plain": {},
        "beta": {"beta": 1.0},
        "linear": LINEAR,
        "deformation radius": {"deformation_radius": 0.5},
        "obstacle": {"obstacle": body, "mean_flow": (1.0, 0.0)},
        "topography": {"topography": hills},
    }
    if name == "spectral":
        sets["linear"] = {**LINEAR, "hyperviscosity": 1e-9, "deformation_radius": 0.5}
    sets["scalar"] = {"scalars": wns.Scalar(**SCALAR)}
    sets["two scalars"] = {"scalars": (wns.Scalar(**SCALAR), wns.Scalar(diffusivity=1e-3))}
    return sets


def seconds(run, omega) -> float:
    """Return the time that a run takes."""
    start = time.perf_counter()
    jax.block_until_ready(run(omega))
    return time.perf_counter() - start


def measure(name: str, n: int, members: int) -> None:
    """Measure a case of an engine, forward and with the gradient."""
    grid = wns.Grid((n, n))
    omega = jax.random.normal(jax.random.key(0), (members, n, n), "float32")
    for kind in ("forward", "gradient"):
        runs, states = {}, {}
        for title, options in terms(name, grid).items():
            how = {"discretisation": ENGINES[name], "check_finite": False}
            solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-4, **options, **how)
            states[title] = wns.State(omega, (omega,) * len(solver.scalars)) if solver.scalars else omega

            def final(state, solver=solver):
                return solver.rollout(state, steps=STEPS)

            def loss(state, final=final):
                return sum(jnp.mean(field**2) for field in jax.tree.leaves(final(state)))

            runs[title] = jax.jit(final if kind == "forward" else jax.grad(loss))
            jax.block_until_ready(runs[title](states[title]))
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(TURNS):
            best = {title: min(best[title], seconds(run, states[title])) for title, run in runs.items()}
        ratios = "  ".join(f"{title} {best[title] / best['plain']:.2f}" for title in runs if title != "plain")
        each = f"{1e6 * best['plain'] / STEPS:.1f} us a step"
        print(f"{name} {members} x {n}^2 {kind}: {each};  {ratios}", flush=True)


def main(argv: list[str] | None = None):
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--discretisation", choices=list(ENGINES), nargs="+", default=list(ENGINES))
    parser.add_argument("--size", type=int, nargs="+", default=sorted({n for n, _ in CASES}))
    options = parser.parse_args(argv)
    for name in options.discretisation:
        for n, members in CASES:
            if n in options.size:
                measure(name, n, members)


if __name__ == "__main__":
    main()
