"""Zonal jets on a beta plane: noise at small scales feeds eddies, and eddies feed jets.

    python examples/zonal_jets.py

runs in a quarter of a minute on two CPU cores. On a beta plane the inverse cascade of energy halts where eddies become
Rossby waves, at about the wavenumber of Rhines. What it brings goes into jets along x (Rhines 1975,
doi:10.1017/S0022112075001504; Vallis and Maltrud 1993, doi:10.1175/1520-0485(1993)023<1346:GOMFAJ>2.0.CO;2). Drag takes
it out again. Eastward jets are sharp and westward ones broad, since a jet may be unstable where the gradient of
vorticity, ``beta - d2(u)/dy2``, changes its sign (Kuo 1949, doi:10.1175/1520-0469(1949)006<0105:DIOTDN>2.0.CO;2).
"""

import argparse
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

DRAG, ENERGY_RATE, BETA = 0.02, 0.02, 15.0  # so the velocity becomes about sqrt(ENERGY_RATE / DRAG) = 1
RING = 10  # the wavenumber of the noise
SHORTEST = 10.0  # the rate at which the shortest wave decays
PART = 0.5  # time between two zonal means


def make_solver(size: int, beta: float) -> wns.NavierStokes2D:
    """Return the solver, whose step keeps the Courant number of the jets near 0.5."""
    shortest = size // 3
    return wns.NavierStokes2D(
        wns.Grid((size, size)),
        viscosity=0.0,
        dt=PART / math.ceil(PART * 1.2 * size / (2 * math.pi)),
        drag=DRAG,
        beta=beta,
        hyperviscosity=SHORTEST / shortest**8,
        hyperviscosity_order=4,
        discretisation=wns.Spectral(),
    )


def zonal_mean(solver: wns.NavierStokes2D, omega: jax.Array) -> jax.Array:
    """Return the mean over x of the velocity along x, ``(..., ny)``."""
    return jnp.mean(solver.velocity(omega)[0], axis=-1)


def stir(solver: wns.NavierStokes2D, parts: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the last state, and the zonal means ``(parts, ny)`` of a flow that starts from rest."""
    steps = round(PART / float(solver.dt))
    noise = {"energy_rate": ENERGY_RATE, "wavenumber": RING, "discretisation": solver.discretisation}

    def part(omega, number):
        of_part = jax.random.fold_in(key, number)
        forcing = wns.forcing.ring_noise(solver.grid, key=of_part, steps=steps, dt=solver.dt, dtype="float32", **noise)
        omega = solver.rollout(omega, steps=steps, forcing=forcing)
        return omega, zonal_mean(solver, omega)

    rest = jnp.zeros(solver.grid.shape, jnp.float32)
    return jax.jit(lambda omega: jax.lax.scan(part, omega, jnp.arange(parts)))(rest)


def count_jets(profile: np.ndarray) -> int:
    """Return the strongest wavenumber of a profile, the number of its eastward jets."""
    return int(np.argmax(np.abs(np.fft.rfft(profile - profile.mean()))))


def draw(solver: wns.NavierStokes2D, omega, means: np.ndarray, profile: np.ndarray):
    """Return the picture: vorticity, zonal means over time, and their mean profile."""
    from matplotlib.figure import Figure

    y, times = np.asarray(solver.grid.y), PART * (1 + np.arange(len(means)))
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    map_axes, history, curve = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.15, 1.4, 0.9]})
    strong = float(np.percentile(np.abs(omega), 99.5))
    plotting.vorticity(map_axes, solver.grid, omega, title="Vorticity in the end", limit=strong)
    most = float(np.abs(means).max())
    image = history.pcolormesh(times, y, means.T, cmap="RdBu_r", vmin=-most, vmax=most, shading="nearest")
    figure.colorbar(image, ax=history, label="velocity along x")
    history.set(xlabel="time", ylabel="y", title="Mean along x: jets form, and drift")
    curve.plot(profile, y, color=plotting.RED, label="velocity")
    beta = float(np.asarray(solver.beta))
    gradient = beta - second_derivative(profile, solver.grid.spacing[0])
    curve.plot(gradient / beta, y, "--", color=plotting.GREY, label="gradient of vorticity / beta")
    curve.axvline(0, color="black", linewidth=0.5)
    curve.set(ylim=(0, solver.grid.extent[0]), title="Mean over the last half")
    curve.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    plotting.clean_axes(curve)
    return figure


def second_derivative(profile: np.ndarray, spacing: float) -> np.ndarray:
    """Return the second derivative of a periodic profile."""
    return (np.roll(profile, 1) - 2 * profile + np.roll(profile, -1)) / spacing**2


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Stir, draw, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="points along each side (default: %(default)s)")
    parser.add_argument("--time", type=float, default=200.0, help="how long to stir (default: %(default)s)")
    parser.add_argument("--beta", type=float, default=BETA, help="gradient of vorticity (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/zonal_jets"), metavar="FOLDER")
    options = parser.parse_args(argv)

    solver = make_solver(options.size, options.beta)
    last, means = stir(solver, math.ceil(options.time / PART), jax.random.key(options.seed))
    omega, means = np.asarray(last), np.asarray(means)
    late = means[len(means) // 2 :]
    profile = late.mean(0)
    energy = float(wns.diagnostics.energy(solver.grid, last, discretisation=solver.discretisation))
    gradient = options.beta - second_derivative(profile, solver.grid.spacing[0])
    measured = {
        "energy": energy,
        "share of the jets": float(0.5 * np.mean(means[-1] ** 2) / energy),
        "jets": count_jets(profile),
        "wavenumber of Rhines": math.sqrt(options.beta / (2 * math.sqrt(2 * energy))),
        "eastward over westward": float(profile.max() / -profile.min()),
        "least vorticity gradient over beta": float(gradient.min() / max(options.beta, 1e-6)),
    }
    for name, value in measured.items():
        print(f"{name}: {value:.3g}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "zonal_jets.png"
    draw(solver, omega, means, profile).savefig(path, dpi=110)
    print(f"picture: {path}")
    return measured


if __name__ == "__main__":
    main()
