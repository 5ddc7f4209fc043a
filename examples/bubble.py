"""A warm bubble rises (Boussinesq), and its height is differentiated by what slows it.

    python examples/bubble.py

runs in under a minute on two CPU cores. The fluid is at rest, and a round bubble of it is warm. Buoyancy turns it into
a pair of vortices that rises. Kinetic and potential energy, and what viscosity takes, add up to what there was. Reverse
mode gives the derivative of the height in the end by viscosity, diffusivity and buoyancy, in one sweep.
"""

import argparse
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

RADIUS, EDGE, BOTTOM, TIME = 0.22, 0.06, 0.5, 3.0


def bubble(grid: wns.Grid, *, radius: float = RADIUS) -> wns.State:
    """Return a fluid at rest with a warm bubble near the bottom."""
    x, y = grid.mesh()
    distance = jnp.hypot(x - grid.extent[1] / 2, y - BOTTOM)
    return wns.State(jnp.zeros(grid.shape), ((1 - jnp.tanh((distance - radius) / EDGE)) / 2,))


def height(grid: wns.Grid, c: jax.Array) -> jax.Array:
    """Return the mean height of what is warm. It is that of the fluid while nothing warm leaves through the top."""
    _, y = grid.mesh()
    return jnp.mean(y * c, axis=(-2, -1)) / jnp.mean(c, axis=(-2, -1))


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Let it rise, check the energy budget and the gradient, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="points across, twice as many up (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=160, help="time steps, a multiple of 40 (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/bubble"), metavar="FOLDER")
    options = parser.parse_args(argv)
    if options.steps % 40:
        parser.error(f"--steps {options.steps}: expected a multiple of 40")

    # 1. A state is the vorticity and the temperature. A degree accelerates upwards by 1.
    grid = wns.Grid((2 * options.size, options.size), extent=(2.0, 1.0))
    warmth = wns.Scalar(diffusivity=1e-3, buoyancy=(0.0, 1.0))
    solver = wns.NavierStokes2D(
        grid, viscosity=1e-3, dt=TIME / options.steps, scalars=(warmth,), discretisation=wns.Spectral("rk3")
    )
    start = bubble(grid)

    @jax.jit
    def rise(state):
        states = solver.rollout(state, steps=options.steps, save_every=options.steps // 40, include_initial=True)
        return states, wns.diagnostics.budgets(solver, states).energy

    states, energy = rise(start)
    (c,) = states.scalars
    times = np.linspace(0, TIME, len(c))

    # 2. Energy: what rises falls in potential energy, -b <y c>.
    kinetic = np.asarray(energy.value, float)
    potential = -np.asarray(jnp.mean(grid.mesh()[1] * c, axis=(-2, -1)), float)
    rate = np.asarray(energy.dissipation, float)
    taken = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(times))])
    # diffusion moves warmth up and down alike, so potential energy changes by buoyancy alone
    total = kinetic + potential - potential[0] + taken
    measured: dict[str, Any] = {
        "kinetic energy": kinetic[-1],
        "released": potential[0] - potential[-1],
        "taken by viscosity": taken[-1],
        "not accounted for": abs(total).max(),
        "height": float(height(grid, c[-1])),
    }

    # 3. Derivatives of the height, and one of them by finite differences.
    def last_height(solver):
        return height(grid, solver.rollout(start, steps=options.steps).scalars[0])

    slope = eqx.filter_jit(eqx.filter_grad(last_height))(solver)
    measured["by viscosity"] = float(slope.viscosity)
    measured["by diffusivity"] = float(slope.scalars[0].diffusivity)
    measured["by buoyancy"] = float(slope.scalars[0].buoyancy[1])

    @eqx.filter_jit
    def with_buoyancy(b):
        return last_height(eqx.tree_at(lambda s: s.scalars[0].buoyancy[1], solver, b))

    ends = [float(with_buoyancy(jnp.asarray(1 + sign * 0.02))) for sign in (1, -1)]
    measured["by buoyancy, differences"] = (ends[0] - ends[1]) / 0.04
    for name, value in measured.items():
        print(f"{name}: {value:.4g}")

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "bubble.png"
    budget = {"kinetic": kinetic, "potential": potential - potential[0], "taken by viscosity": taken, "sum": total}
    draw(grid, states, times, budget).savefig(path, dpi=100)
    print(f"picture: {path}")
    return measured


def draw(grid, states, times, energies):
    """Draw the temperature at four times, the vorticity at the last one, and the energies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 5.5), layout="compressed")
    axes = figure.subplots(1, 6, width_ratios=(1, 1, 1, 1, 1, 1.6))
    (c,) = states.scalars
    for panel, save in zip(axes, (0, 16, 28, 40), strict=False):
        last = save == 40
        plotting.vorticity(
            panel, grid, c[save], title=f"t = {times[save]:.3g}", limit=1, label="c", units="degree" if last else None
        )
    plotting.vorticity(axes[4], grid, states.vorticity[-1], title=f"Vorticity, t = {times[-1]:.3g}")
    for panel in axes[1:5]:
        panel.set_ylabel("")
    for color, (name, values) in enumerate(energies.items()):
        style = "--" if name == "sum" else "-"
        axes[5].plot(times, values, style, color=plotting.CURVES[color], label=name, linewidth=2)
    axes[5].set(title="Energy", xlabel="t [time]", ylabel="[length²/time²]")
    axes[5].legend(frameon=False)
    axes[5].set_box_aspect(1)
    plotting.clean_axes(axes[5])
    return figure


if __name__ == "__main__":
    main()
