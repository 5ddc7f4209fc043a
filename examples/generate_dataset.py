"""A training set of one initial field and many viscosities, written to disk, read back, and drawn.

    python examples/generate_dataset.py

runs in under a minute on two CPU cores. ``warpjaxns generate`` writes such files with more options. If this script is
interrupted, the next run resumes.
"""

import argparse
import time
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Generate, read, check and draw; return the figures that are printed."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="points along each side (default: %(default)s)")
    parser.add_argument("--count", type=int, default=12, help="members of the ensemble (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="time steps (default: %(default)s)")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/generate_dataset"), metavar="FOLDER")
    options = parser.parse_args(argv)

    # 1. What to compute: every member starts from the same field, with a viscosity of its own.
    ensemble = wns.data.Ensemble(
        (options.size, options.size),
        count=options.count,
        steps=options.steps,
        save_every=options.steps // 10,
        dt=0.512 / options.size,
        viscosity=wns.data.Range(8e-4, 3e-2, log=True),
        discretisation=DISCRETISATIONS[options.discretisation],
        shared_initial=True,
        batch_size=4,
    )

    # 2. Compute and write it. A second run of this script finds it done.
    path = options.output / "train.hdf5"
    start = time.perf_counter()
    summary = wns.data.generate(path, ensemble, resume=True)
    frames = summary.trajectories * ensemble.frames
    print(f"{path}: {frames} frames, {path.stat().st_size / 2**20:.1f} MiB, {time.perf_counter() - start:.1f} s")

    with wns.data.open(path) as flows:
        # 3. Read it as JAX arrays, shuffled: pairs of consecutive frames, which the solver must connect.
        pairs = next(flows.batches(4, key=jax.random.key(0), window=2))
        how = {"dt": ensemble.dt, "discretisation": flows.discretisation}
        solver = wns.NavierStokes2D(flows.grid, viscosity=pairs["viscosity"], **how)
        now, later = pairs["vorticity"][:, 0], pairs["vorticity"][:, 1]
        error = jnp.linalg.norm(solver.rollout(now, steps=ensemble.save_every) - later) / jnp.linalg.norm(later)

        # 4. Read it as an xarray.Dataset, one chunk at a time.
        enstrophy = 0.5 * (flows.dataset.vorticity**2).mean(["y", "x"])
        enstrophy = enstrophy / enstrophy.isel(time=0)
        kept = enstrophy.isel(time=-1).values
        by_viscosity = np.argsort(flows.parameters["viscosity"])
        figure = draw(flows, enstrophy, by_viscosity)

    picture = options.output / "generate_dataset.png"
    figure.savefig(picture, dpi=110)
    results = {
        "trajectories": summary.trajectories,
        "error_of_the_next_frame": float(error),
        "enstrophy_kept_at_least_viscosity": float(kept[by_viscosity[0]]),
        "enstrophy_kept_at_most_viscosity": float(kept[by_viscosity[-1]]),
        "falls_with_viscosity": bool(np.all(np.diff(kept[by_viscosity]) < 0)),
    }
    print("\n".join(f"{name.replace('_', ' ')}: {value:.3g}" for name, value in results.items()))
    print(f"picture: {picture}")
    return results


def draw(flows, enstrophy, by_viscosity):
    """Draw three members at three times, and the enstrophy of all members."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    viscosity = flows.parameters["viscosity"]
    shown = by_viscosity[[0, len(by_viscosity) // 2, -1]]
    times = [0, len(flows.time) // 2, len(flows.time) - 1]
    vorticity = flows.dataset.vorticity

    figure = Figure(figsize=(15, 8.2), layout="constrained")
    fields, curve = cast(Any, figure.subfigures(1, 2, width_ratios=(1.35, 1)))
    panels = fields.subplots(3, 3, sharex=True, sharey=True)
    for row, member in enumerate(shown):
        for column, frame in enumerate(times):
            axes, omega = panels[row, column], vorticity.isel(member=member, time=frame).values
            limit = float(np.quantile(np.abs(omega), 0.999)) or 1.0
            title = f"t = {flows.time[frame]:.2g}" if row == 0 else None
            plotting.vorticity(axes, flows.grid, omega, title=title, limit=limit, units=None)
            axes.set(xlabel="x [length]" if row == 2 else "", ylabel="")
        panels[row, 0].set_ylabel(rf"$\nu$ = {viscosity[member]:.2g}" + "\ny [length]")
    fields.suptitle("Vorticity, each in its own range")

    axes = curve.subplots()
    colours = ScalarMappable(LogNorm(viscosity.min(), viscosity.max()), "cividis")
    for member in by_viscosity:
        axes.plot(flows.time, enstrophy.isel(member=member), color=colours.to_rgba(viscosity[member]), linewidth=2)
    axes.set(xlabel="t [time]", ylabel="enstrophy, relative to t = 0")
    axes.set_ylim(0, 1)
    axes.set_xlim(flows.time[0], flows.time[-1])
    plotting.clean_axes(axes)
    figure.colorbar(colours, ax=axes, label="viscosity [length²/time]", pad=0.02)
    curve.suptitle(f"All {len(flows)} members")
    return figure


if __name__ == "__main__":
    main()
