"""A forcing written as a Warp kernel, differentiated with the solver: a paddle stirs a fluid at rest.

    python examples/stirring.py

runs in half a minute on two CPU cores. The kernel gives the force of a round paddle on the fluid. `warpjaxns.primitive`
makes a JAX function of it, whose gradient launches the adjoint kernel that Warp generates. So the final energy of the
fluid can be differentiated with respect to the radius of the paddle's circle.
"""

import argparse
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

import warpjaxns as wns
from warpjaxns import plotting

vector = wp.array(dtype=wp.float32)


@wp.kernel(module="unique")
def paddle(x: vector, y: vector, centre: vector, force: wp.array2d(dtype=wp.float32)):
    """A bump of height 2 and width 0.3 around `centre`."""
    i, j = wp.tid()
    dx = x[j] - centre[0]
    dy = y[i] - centre[1]
    force[i, j] = 2.0 * wp.exp(-(dx * dx + dy * dy) / 0.09)


bump = wns.primitive(paddle, output_shapes=lambda x, y, centre: (y[0], x[0]))


DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}


def stir(solver: wns.NavierStokes2D, radius: jax.Array, steps: int) -> jax.Array:
    """Return the forcing ``(steps, ny, nx)`` of a paddle that goes once round a circle about the middle of the box."""
    grid = solver.grid
    x, y = (jnp.asarray(points, jnp.float32) for points in (grid.x, grid.y))

    def at(angle):
        direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        force = bump(x, y, math.pi + radius * direction)
        along = -direction[1] * force, direction[0] * force  # the circle
        return wns.forcing.from_momentum(solver.grid, *along, discretisation=solver.discretisation)

    return jax.lax.map(at, jnp.linspace(0, 2 * math.pi, steps, endpoint=False, dtype=jnp.float32))


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Stir, differentiate, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=320, help="time steps of one turn (default: %(default)s)")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/stirring"), metavar="FOLDER")
    options = parser.parse_args(argv)

    grid = wns.Grid((options.size, options.size))
    how = {"discretisation": DISCRETISATIONS[options.discretisation]}
    solver = wns.NavierStokes2D(grid, viscosity=2e-3, dt=8.0 / options.steps, **how)

    @jax.jit
    def stirred(radius):
        rest = jnp.zeros(grid.shape, jnp.float32)
        omega = solver.rollout(rest, steps=options.steps, forcing=stir(solver, radius, options.steps))
        return wns.diagnostics.energy(grid, omega, **how), omega

    radius = jnp.float32(1.5)
    (energy, omega), slope = jax.jit(jax.value_and_grad(stirred, has_aux=True))(radius)
    change = (stirred(radius + 0.05)[0] - stirred(radius - 0.05)[0]) / 0.1
    measured = {"energy": float(energy), "gradient": float(slope), "differences": float(change)}
    print(
        "energy {energy:.4f}, by the radius {gradient:.4f}, by finite differences {differences:.4f}".format(**measured)
    )

    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    plotting.vorticity(axes, grid, omega, title="A fluid at rest, stirred once round the dashed circle")
    turn = float(radius) * np.exp(1j * np.linspace(0, 2 * math.pi, 100))
    axes.plot(math.pi + turn.real, math.pi + turn.imag, "--", color=plotting.GREY, linewidth=1)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "stirring.png"
    figure.savefig(path, dpi=110)
    print(f"picture: {path}")
    return measured


if __name__ == "__main__":
    main()
