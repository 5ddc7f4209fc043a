"""Time steps with further linear terms over those of the plain equation, by the backend that ``"auto"`` takes.

    python docs/benchmarks/terms.py

Prints microseconds a step of the plain equation, and the ratio for each set of terms, forward and with the gradient.
Runs take turns, and each counts by its fastest.
"""

import time

import jax
import jax.numpy as jnp

import warpjaxns as wns

TERMS = {
    "plain": {},
    "beta": {"beta": 1.0},
    "deformation radius": {"deformation_radius": 0.5},
    "all": {
        "beta": 1.0,
        "mean_flow": (1.0, 0.5),
        "hyperviscosity": 1e-9,
        "hypodrag": 0.1,
        "deformation_radius": 0.5,
    },
}
CASES = [(64, 1), (64, 256), (512, 1), (512, 16), (2048, 1)]  # points a side, members
STEPS, TURNS = 80, 9


def seconds(run, omega) -> float:
    """Return the time that a run takes."""
    start = time.perf_counter()
    jax.block_until_ready(run(omega))
    return time.perf_counter() - start


def main():
    """Measure all cases."""
    for n, members in CASES:
        grid = wns.Grid((n, n))
        omega = jax.random.normal(jax.random.key(0), (members, n, n), "float32")
        for kind in ("forward", "gradient"):
            runs = {}
            for name, terms in TERMS.items():
                how = {"discretisation": wns.Spectral(), "check_finite": False}
                solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-4, **terms, **how)

                def final(omega, solver=solver):
                    return solver.rollout(omega, steps=STEPS)

                def loss(omega, final=final):
                    return jnp.mean(final(omega) ** 2)

                runs[name] = jax.jit(final if kind == "forward" else jax.grad(loss))
                jax.block_until_ready(runs[name](omega))
            best = dict.fromkeys(runs, float("inf"))
            for _ in range(TURNS):
                best = {name: min(best[name], seconds(run, omega)) for name, run in runs.items()}
            ratios = "  ".join(f"{name} {best[name] / best['plain']:.2f}" for name in TERMS if name != "plain")
            print(f"{members} x {n}^2 {kind}: {best['plain'] / STEPS * 1e6:.1f} us a step;  {ratios}", flush=True)


if __name__ == "__main__":
    main()
