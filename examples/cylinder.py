"""Flow past a cylinder at a Reynolds number of 100: its vortex street, and a shape with less drag.

    python examples/cylinder.py                                     # under a minute on two CPU cores
    python examples/cylinder.py --points 24 --height 16 --length 32 --time 300 --iterations 20    # on a GPU

The unit of length is the diameter, that of velocity the mean flow. A body is a resistance at points of the grid, and a
layer across the box turns the wake back into a uniform stream before it comes in again. First the frequency of the
vortices and the mean drag are measured. Williamson (1996, doi:10.1146/annurev.fl.28.010196.002401) gives a Strouhal
number of 0.164 without walls. Then the gradient of the mean drag with respect to the outline changes the body, at
constant area. The gradient goes through all time steps and through the mask.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

REYNOLDS, AREA = 100, np.pi / 4


class Box(NamedTuple):
    """Setting that stays the same: the grid, the length of steps, and the place of the body."""

    grid: wns.Grid
    dt: float
    centre: tuple[float, float]

    def body(self, shape: jax.Array) -> wns.Obstacle:
        """Return a body with the outline ``r = R (1 + sum a_k cos(k angle))``, k = 2, 3, ..., and the cylinder's area.

        Its mask is smaller by what the surface seems to be further out.
        """
        permeability, width = 0.4 * self.dt, self.grid.spacing[0]
        shift = wns.obstacles.displacement(permeability=permeability, viscosity=1 / REYNOLDS, width=width)
        scale = jnp.sqrt(AREA / (np.pi * (1 + jnp.sum(shape**2) / 2)))

        def distance(y, x):
            y, x = y - self.centre[0], x - self.centre[1]
            angle = jnp.arctan2(y, x + 1e-6)  # the origin, where there is no angle, is no point
            waves = sum(a * jnp.cos((k + 2) * angle) for k, a in enumerate(shape))
            return jnp.sqrt(y**2 + x**2 + 1e-12) - scale * (1 + waves) + shift

        return wns.obstacles.from_signed_distance(self.grid, distance, permeability=permeability, width=width)

    def solver(self, shape: jax.Array) -> wns.NavierStokes2D:
        """Return the solver of the flow past a body."""
        length = self.grid.extent[1]
        layer = wns.obstacles.fringe(self.grid, start=0.85 * length, length=0.15 * length, permeability=0.3)
        how = {"discretisation": wns.Spectral(), "adjoint": wns.Checkpointed(), "check_finite": False}
        return wns.NavierStokes2D(
            self.grid,
            viscosity=1 / REYNOLDS,
            dt=self.dt,
            mean_flow=(1.0, 0.0),
            obstacle=(self.body(shape), layer),
            **how,
        )


def forces(solver: wns.NavierStokes2D, omega: jax.Array, steps: int, every: int) -> tuple[jax.Array, jax.Array]:
    """Return the vorticity after some steps, and the coefficients of drag and lift on the way ``(2, saves)``."""
    frames = solver.rollout(omega, steps=steps, save_every=every)
    return frames[-1], 2 * jnp.stack(wns.diagnostics.body_force(solver, frames))


def frequency(signal: np.ndarray, interval: float) -> float:
    """Return the frequency of an oscillation, from the times at which it rises through its mean."""
    signal = signal - signal.mean()
    (before,) = np.nonzero((signal[:-1] < 0) & (signal[1:] >= 0))
    times = before + signal[before] / (signal[before] - signal[before + 1])
    return float("nan") if len(times) < 2 else (len(times) - 1) / ((times[-1] - times[0]) * interval)


def disturbed(box: Box) -> jax.Array:
    """Return a weak vortex behind the body, on one side of it, from which the street begins."""
    x, y = box.grid.mesh()
    return 0.5 * jnp.exp(-((x - box.centre[1] - 1.5) ** 2) - (y - box.centre[0] - 0.5) ** 2)


def less_drag(box: Box, shape: jax.Array, omega: jax.Array, steps: int, every: int, iterations: int):
    """Return shapes and the mean drag of each. The flow goes on from one to the next."""

    @jax.jit
    def drag_and_slope(shape, omega):
        def drag(shape):
            later, coefficients = forces(box.solver(shape), omega, steps, every)
            return jnp.mean(coefficients[0, coefficients.shape[1] // 2 :]), later

        return jax.value_and_grad(drag, has_aux=True)(shape)

    shapes, drags = [shape], []
    for _ in range(iterations):
        (drag, omega), slope = drag_and_slope(shape, omega)
        drags.append(float(drag))
        shape = shape - 0.04 * slope / jnp.linalg.norm(slope)
        shapes.append(shape)
        print(f"drag {drag:.3f}, by the outline {np.round(np.asarray(slope), 2)}")
    return shapes, drags, omega


def draw(box: Box, flows, coefficients, interval: float, path: Path) -> None:
    """Draw the flow past both bodies, and the coefficients of their forces."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(3, 1)
    limit = 4.0
    for at, (title, mask, omega) in zip(axes, flows, strict=False):
        plotting.vorticity(at, box.grid, jnp.clip(omega, -limit, limit), title=title)
        at.set(ylim=(box.centre[0] - 4, box.centre[0] + 4), xlabel="x [diameters]", ylabel="y [diameters]")
        at.contour(box.grid.x, box.grid.y, mask, levels=[0.5], colors="black", linewidths=1)
    for name, (values, colour) in coefficients.items():
        axes[2].plot(interval * np.arange(1, len(values) + 1), values, color=colour, label=name)
    axes[2].set(xlabel="time [diameters / mean flow]", ylabel="coefficient")
    axes[2].legend(frameon=False, ncols=2)
    plotting.clean_axes(axes[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"picture: {path}")


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Measure the street, change the shape, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--points", type=int, default=8, help="points a diameter (default: %(default)s)")
    parser.add_argument("--height", type=float, default=16, help="of the box, in diameters (default: %(default)s)")
    parser.add_argument("--length", type=float, default=32, help="of the box, in diameters (default: %(default)s)")
    parser.add_argument("--time", type=float, default=100, help="of the first flow (default: %(default)s)")
    parser.add_argument("--window", type=float, default=8, help="time of one gradient (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=4, help="changes of the shape (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/cylinder"), metavar="FOLDER")
    options = parser.parse_args(argv)

    shape = round(options.height * options.points), round(options.length * options.points)
    extent = shape[0] / options.points, shape[1] / options.points
    box = Box(wns.Grid(shape, extent), 0.5 / options.points, (extent[0] / 2, 0.4 * extent[1]))
    every = max(round(0.25 / box.dt), 1)
    interval = every * box.dt

    @eqx.filter_jit
    def flow(solver, omega, time):
        return forces(solver, omega, round(time / interval) * every, every)

    cylinder = jnp.zeros(6)
    omega, coefficients = flow(box.solver(cylinder), disturbed(box), options.time)
    drag, lift = np.asarray(coefficients)[:, coefficients.shape[1] // 2 :]
    measured = {"strouhal": frequency(lift, interval), "drag": float(drag.mean()), "lift": float(np.ptp(lift) / 2)}
    measured["blockage"] = 1 / extent[0]
    print(
        "Strouhal number {strouhal:.4f}, mean drag coefficient {drag:.3f}, amplitude of the lift {lift:.3f}, "
        "blockage {blockage:.3f}".format(**measured)
    )

    window = round(options.window / interval) * every
    shapes, _, later = less_drag(box, cylinder, omega, window, every, options.iterations)
    new = box.solver(shapes[-1])
    later, after = flow(new, later, 2 * options.window)
    measured["least drag"] = float(jnp.mean(after[0, after.shape[1] // 2 :]))
    print("mean drag coefficient of the new shape {:.3f}".format(measured["least drag"]))

    flows = [
        (f"A cylinder at Re = {REYNOLDS}", box.body(cylinder).mask, omega),
        (f"After {options.iterations} steps to less drag, at the same area", box.body(shapes[-1]).mask, later),
    ]
    curves = {
        "drag": (np.asarray(coefficients[0]), plotting.CURVES[0]),
        "lift": (np.asarray(coefficients[1]), plotting.GREY),
    }
    draw(box, flows, curves, interval, options.output / "cylinder.png")
    return measured


if __name__ == "__main__":
    main()
