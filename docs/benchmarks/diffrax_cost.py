"""Time Diffrax over `solver.tendency` beside rollouts, forward and backward, on whatever device JAX has.

    python docs/benchmarks/diffrax_cost.py 128

Errors are those in time: relative to a rollout of a thousand steps. Times are the least of nine, taken in turns.
"""

import sys
import time

import diffrax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp

import warpjaxns as wns

points = int(sys.argv[1])
grid = wns.Grid((points, points))
omega0 = 3 * wns.initial.random_vorticity(grid, key=jax.random.key(0))


def rollout(steps):
    """Return a rollout to time 1."""
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1 / steps, check_finite=False)
    return lambda omega: solver.rollout(omega, steps=steps)


def by_diffrax(omega):
    """Return the state at time 1, and the number of steps."""
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1.0, check_finite=False)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, omega, solver: solver.tendency(omega)),
        diffrax.Tsit5(),
        t0=0.0,
        t1=1.0,
        dt0=1e-3,
        y0=omega,
        args=solver,
        stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6, pcoeff=0.3, icoeff=0.4),
        max_steps=4096,
    )
    return solution.ys[-1], solution.stats["num_steps"]


reference = rollout(1000)(omega0)
taken = int(jax.jit(by_diffrax)(omega0)[1])
forward = {f"Diffrax, {taken} steps of 6": lambda omega: by_diffrax(omega)[0]}
forward |= {f"rollout, {steps} steps of 3": rollout(steps) for steps in (100, 200)}
programs = {}
for name, f in forward.items():
    error = jnp.linalg.norm(f(omega0) - reference) / jnp.linalg.norm(reference)
    programs[f"{name}, error {float(error):.1e}"] = jax.jit(f)
    programs[f"{name}, gradient"] = jax.jit(jax.grad(lambda omega, f=f: jnp.mean(f(omega) ** 2)))
best = {}
for _ in range(10):  # the first one compiles
    for name, program in programs.items():
        start = time.perf_counter()
        jax.block_until_ready(program(omega0))
        best[name] = min(best.get(name, float("inf")), time.perf_counter() - start)
print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, diffrax {diffrax.__version__}, {grid.shape}, float32")
for name, seconds in best.items():
    print(f"{name:50} {1e3 * seconds:8.1f} ms")
