"""The film on the first page: a small, optimal change of a turbulent flow, and what becomes of it.

    python docs/site/home_film.py

writes docs/images/optimal_perturbation.gif, in about two minutes on two CPU cores.
"""

import argparse
import io
from pathlib import Path

import jax
import numpy as np

import warpjaxns as wns
from warpjaxns import experiments, plotting

COLOURS, GREYS = 41, 8  # of the fields and of the text; more make the film larger, not better


def main(argv: list[str] | None = None) -> Path:
    """Find the perturbation, draw the film, and return its path."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=240, help="time steps of the film (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=60, help="of the optimiser (default: %(default)s)")
    parser.add_argument("--radius", type=float, default=0.05, help="relative size of the change (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=30, help="of the film (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent.parent / "images/optimal_perturbation.gif")
    options = parser.parse_args(argv)

    grid = wns.Grid((options.size, options.size))
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=0.512 / options.size)
    flow_key, noise_key = jax.random.split(jax.random.key(0))
    flow = experiments.developed_turbulence(solver, key=flow_key, spin_up=2 * options.size)
    noise = experiments.random_perturbation(flow, norm=options.radius / 10, key=noise_key)
    result = experiments.optimal_perturbation(
        solver,
        flow,
        noise,
        steps=options.steps,
        radius=options.radius,
        learning_rate=0.02,
        iterations=options.iterations,
    )
    every = options.steps // options.frames
    starts = np.stack([flow, flow + result.perturbation])
    states = solver.rollout(starts, steps=every * options.frames, save_every=every)
    states = np.concatenate([starts[None], states])
    times = float(solver.dt) * every * np.arange(len(states))
    size, growth = 100 * result.norms[-1], np.sqrt(result.gain)
    write(options.output, grid, states, times, f"A change of {size:.0f} % that grows {growth:.1f}-fold")
    print(f"{options.output.name}: {options.output.stat().st_size / 2**20:.2f} MiB, gain {result.gain:.3g}")
    return options.output


def write(path: Path, grid: wns.Grid, states: np.ndarray, times: np.ndarray, title: str) -> None:
    """Draw ``(frames, 2, ny, nx)`` vorticities and their difference as a GIF."""
    from PIL import Image

    limit = float(np.quantile(np.abs(states), 0.998))
    frames = [Image.open(frame(grid, a, b, time, limit, title)) for (a, b), time in zip(states, times, strict=True)]
    palette = Image.new("P", (1, 1))  # one for all, or colours would flicker
    palette.putpalette(colours())
    frames = [image.convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    durations = [100] * (len(frames) - 1) + [1500]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def colours() -> list[int]:
    """Red, green and blue of the colour map of `plotting.vorticity`, and of greys."""
    from matplotlib import colormaps

    greys = np.repeat(np.linspace(0, 1, GREYS)[:, None], 3, axis=1)
    table = np.concatenate([colormaps["RdBu_r"](np.linspace(0, 1, COLOURS))[:, :3], greys])
    return np.round(255 * table).astype(int).ravel().tolist()


def frame(grid, base, perturbed, time, limit, title) -> io.BytesIO:
    """One picture of the film, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.3), layout="constrained")
    names = ("the flow", "the flow, changed", "difference")
    for axes, field, name in zip(figure.subplots(1, 3), (base, perturbed, perturbed - base), names, strict=True):
        plotting.vorticity(axes, grid, field, title=name, limit=limit, units=None)
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
    figure.suptitle(f"{title},   time {time:4.2f}")
    out = io.BytesIO()
    figure.savefig(out, dpi=80)
    return out


if __name__ == "__main__":
    main()
