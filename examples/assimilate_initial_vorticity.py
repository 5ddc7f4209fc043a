"""Strong-constraint 4D-Var: the initial vorticity from an old forecast and some drifting sensors.

    python examples/assimilate_initial_vorticity.py

runs in under a minute on two CPU cores. A background field, whose errors are known to be smooth, is corrected until the
rollout from it agrees with the readings of moving sensors. With omega0 = background + U v, where U is a square root of
the background covariance, the correction minimises

    cost(v) = |v|^2 / 2 + sum(((H rollout(background + U v) - observed) / noise)^2) / 2.

L-BFGS needs gradients of the cost. Gauss-Newton needs products with the linearised rollout and its transpose, for its
inner conjugate gradients (Courtier, Thepaut and Hollingsworth 1994, doi:10.1002/qj.49712051912). Both find the same
analysis. Its forecast is compared with that of the background. Costs are counted in rollouts over the window: forward,
tangent, or adjoint.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from least_squares import Minimum, gauss_newton, quasi_newton

import warpjaxns as wns
from warpjaxns import plotting

BACKGROUND_ERROR = 0.4  # relative to the root mean square of the vorticity
NOISE = 0.1  # of the sensors, likewise
READINGS = 20  # of each sensor, over the window
FORECAST = 3  # windows, the first of which is the assimilation's
DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}
QUICK = {"size": 32, "steps": 40}

Field = Float[Array, "ny nx"]


@dataclasses.dataclass(frozen=True)
class Assimilation:
    """Both analyses, and the errors of their forecasts.

    Attributes:
        truth: the initial vorticity ``(ny, nx)`` [1/time].
        background: the estimate before the assimilation ``(ny, nx)`` [1/time].
        analyses: the estimate of each method, by name ``(ny, nx)`` [1/time].
        minima: the minimisation of each method, by name.
        readings: number of readings.
        window: the length of the assimilation window [time].
        times: ``(times,)`` [time], from 0 to the end of the forecast.
        errors: of the background and of each method by name, ``(times,)``: the root mean square of the error of
            the vorticity, relative to that of the vorticity.
    """

    truth: Field
    background: Field
    analyses: dict[str, Field]
    minima: dict[str, Minimum]
    readings: int
    window: float
    times: np.ndarray
    errors: dict[str, np.ndarray]


def main(argv: list[str] | None = None) -> Assimilation:
    """Make up a truth and its readings, assimilate them, save the picture, and return the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="time steps of the window (default: %(default)s)")
    parser.add_argument("--sensors", type=int, default=40, help="how many (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=2e-3, help="of the gradient (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small setting, of a few seconds")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/assimilate_initial_vorticity"), metavar="FOLDER")
    options = parser.parse_args(argv)
    jax.config.update("jax_default_matmul_precision", "highest")  # GPUs round inner products to TF32 else
    if options.quick:
        options = parser.parse_args(argv, argparse.Namespace(**QUICK))  # what is given still counts
    if options.steps % READINGS:
        parser.error(f"argument --steps: {options.steps}: expected a multiple of the {READINGS} readings")
    of_flow, of_error, of_sensors, of_noise = jax.random.split(jax.random.key(options.seed), 4)

    # 1. The true flow, and a background that differs from it by a draw from the background covariance.
    grid = wns.Grid((options.size, options.size))
    discretisation = DISCRETISATIONS[options.discretisation]
    solver = wns.NavierStokes2D(
        grid,
        viscosity=2e-3,
        drag=0.05,
        dt=0.64 / options.size,
        forcing=wns.forcing.kolmogorov(grid, 4, 0.2, discretisation=discretisation),
        discretisation=discretisation,
        adjoint=wns.Direct(),  # Gauss-Newton uses one linearisation many times: keep what it needs
    )
    random_phases = wns.initial.decaying_turbulence(grid, key=of_flow, peak_wavenumber=min(4, options.size // 16))
    truth = jax.jit(lambda omega: solver.rollout(omega, steps=2 * options.size))(random_phases)
    scale = root_mean_square(truth)
    spread = smooth_spread(grid, deviation=BACKGROUND_ERROR * scale, length=grid.extent[1] / 18)
    background = truth - spread(jax.random.normal(of_error, grid.shape, truth.dtype))

    # 2. Readings of the true flow along the sensors' tracks.
    interval = options.steps // READINGS
    times = solver.dt * interval * (1 + jnp.arange(READINGS))
    sensors = Sensors.scattered(grid, options.sensors, of_sensors)

    def readings(omega0: Field) -> Float[Array, "times sensors"]:
        movie = solver.rollout(omega0, steps=options.steps, save_every=interval)
        return jax.vmap(lambda omega, time: interpolate(grid, omega, sensors.positions(time)))(movie, times)

    exact = jax.jit(readings)(truth)
    noise = NOISE * scale
    observed = exact + noise * jax.random.normal(of_noise, exact.shape, exact.dtype)

    # 3. The analyses: of the same residuals, whose squares make the cost.
    def residual(v: Field) -> Float[Array, " residuals"]:
        misfit = (readings(background + spread(v)) - observed) / noise
        return jnp.concatenate([v.ravel(), misfit.ravel()])

    start = jnp.zeros_like(background)
    methods = {"L-BFGS": quasi_newton, "Gauss-Newton": gauss_newton}
    minima = {name: minimise(residual, start, tolerance=options.tolerance) for name, minimise in methods.items()}
    analyses = {name: background + spread(minimum.v) for name, minimum in minima.items()}

    # 4. Forecasts beyond the window.
    steps = FORECAST * options.steps
    starts = {"background": background, **analyses}
    states = jnp.stack([truth, *starts.values()])
    movie = jax.jit(lambda omega: solver.rollout(omega, steps=steps, save_every=interval))(states)
    movie = jnp.concatenate([states[None], movie])
    errors = root_mean_square(movie[:, 1:] - movie[:, :1]) / root_mean_square(movie[:, :1])
    result = Assimilation(
        truth=truth,
        background=background,
        analyses=analyses,
        minima=minima,
        readings=observed.size,
        window=float(solver.dt) * options.steps,
        times=float(solver.dt) * interval * np.arange(len(movie)),
        errors=dict(zip(starts, np.asarray(errors).T, strict=True)),
    )
    report(result)

    # 5. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "assimilate_initial_vorticity.png"
    picture(result, grid, sensors).savefig(path, dpi=110)
    print(f"picture: {path}")
    return result


# The sensors and what they see


@dataclasses.dataclass(frozen=True)
class Sensors:
    """Sensors that drift through the box while they circle, as gliders do.

    Attributes:
        start: ``(sensors, 2)``, the centres of the circles at time 0, as (y, x) [length].
        drift: ``(sensors, 2)``, the velocity of the centres [length/time].
        radius: of the circles [length].
        phase: ``(sensors,)`` where on its circle each begins.
        frequency: of circling [1/time].
    """

    start: Float[Array, "sensors 2"]
    drift: Float[Array, "sensors 2"]
    radius: float
    phase: Float[Array, " sensors"]
    frequency: float

    @classmethod
    def scattered(cls, grid: wns.Grid, count: int, key) -> "Sensors":
        """Make sensors at random places, which drift by about an eighth of the box in a unit of time."""
        of_start, of_drift, of_phase = jax.random.split(key, 3)
        extent = jnp.asarray(grid.extent, float)
        start = jax.random.uniform(of_start, (count, 2)) * extent
        drift = jax.random.normal(of_drift, (count, 2)) * extent / 8
        phase = jax.random.uniform(of_phase, (count,)) * 2 * np.pi
        return cls(start, drift, 0.03 * min(grid.extent), phase, 1.0)

    def positions(self, time: Float[Array, ""]) -> Float[Array, "sensors 2"]:
        """Return the positions at `time`, as (y, x) [length], not wrapped into the box."""
        angle = 2 * np.pi * self.frequency * time + self.phase
        return self.start + self.drift * time + self.radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def interpolate(grid: wns.Grid, omega: Field, positions: Float[Array, "points 2"]) -> Float[Array, " points"]:
    """Return values between the points of the grid, bilinear and periodic, differentiable in field and positions.

    Args:
        grid: the box.
        omega: the field ``(ny, nx)``.
        positions: ``(points, 2)``, as (y, x) [length], anywhere: the box repeats.
    """
    shape = jnp.asarray(grid.shape)
    cells = positions / jnp.asarray(grid.spacing, positions.dtype)
    corner = jnp.floor(cells)
    weight_y, weight_x = (cells - corner).astype(omega.dtype).T
    y, x = (corner.astype(int) % shape).T
    above, right = (y + 1) % shape[0], (x + 1) % shape[1]
    low = (1 - weight_x) * omega[y, x] + weight_x * omega[y, right]
    high = (1 - weight_x) * omega[above, x] + weight_x * omega[above, right]
    return (1 - weight_y) * low + weight_y * high


# The background covariance


def smooth_spread(grid: wns.Grid, *, deviation, length: float) -> Callable[[Field], Field]:
    """Return U, the symmetric root of the covariance ``deviation^2 exp(-distance^2 / (2 length^2))`` without mean.

    Applied to white noise of unit variance it gives a smooth random field with that covariance. In Fourier space it
    is a product with ``exp(-(k length)^2 / 4)``, scaled to the variance.
    """
    ky, kx = (2 * np.pi * np.fft.fftfreq(n, d) for n, d in zip(grid.shape, grid.spacing, strict=True))
    filtered = np.exp(-(ky[:, None] ** 2 + kx[None, :] ** 2) * length**2 / 4)
    filtered[0, 0] = 0  # vorticity in a periodic box has no mean
    filtered /= np.sqrt(np.mean(filtered**2))
    half = filtered[:, : grid.shape[1] // 2 + 1]

    def spread(v: Field) -> Field:
        return deviation * jnp.fft.irfft2(jnp.asarray(half, v.dtype) * jnp.fft.rfft2(v), s=grid.shape)

    return spread


def root_mean_square(field: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Return the root mean square over the box."""
    return jnp.sqrt(jnp.mean(field**2, axis=(-2, -1)))


def report(result: Assimilation) -> None:
    """Print the result."""
    print(f"{'':14s}{'iterations':>11s}{'rollouts':>10s}{'cost':>10s}{'gradient':>10s}{'error at 0':>12s}")
    for name, found in result.minima.items():
        print(
            f"{name:14s}{len(found.costs) - 1:11d}{found.evaluations[-1]:10d}{found.costs[-1]:10.2f}"
            f"{found.gradient_norms[-1] / found.gradient_norms[0]:10.1e}{100 * result.errors[name][0]:10.1f} %"
        )
    readings = result.readings
    print(f"{readings} readings: a cost of {readings / 2:.0f} is expected where noise and covariance are as assumed")
    for what, time in (("end of the window", result.window), ("end of the forecast", result.times[-1])):
        place = int(np.argmin(np.abs(result.times - time)))
        errors = ", ".join(f"{name} {100 * error[place]:.1f} %" for name, error in result.errors.items())
        print(f"errors at the {what}, t = {time:.2f}: {errors}")


def picture(result: Assimilation, grid: wns.Grid, sensors: Sensors):
    """Draw truth, background and analysis, the error of the analysis, the cost, and the errors of the forecasts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.8), layout="constrained")
    (left, middle, right), (wrong, descent, skill) = figure.subplots(2, 3)
    limit = float(np.quantile(np.abs(result.truth), 0.999))
    analysis = result.analyses["Gauss-Newton"]
    names = list(result.errors)
    percent = {name: f"{100 * result.errors[name][0]:.0f} %" for name in names}
    for axes, field, title in (
        (left, result.truth, "Truth, t = 0, and the sensors' tracks"),
        (middle, result.background, f"Background, error {percent['background']}"),
        (right, analysis, f"Analysis, error {percent['Gauss-Newton']}"),
        (wrong, analysis - result.truth, "Analysis minus truth, same colours"),
    ):
        plotting.vorticity(axes, grid, field, title=title, limit=limit)
    height, width = grid.extent
    tracks = jax.vmap(sensors.positions)(jnp.linspace(0, result.window, 200))
    left.plot(*_broken_at_edges(tracks % jnp.asarray(grid.extent), grid), color="black", linewidth=1)

    colours = {"background": plotting.GREY, "L-BFGS": plotting.CURVES[1], "Gauss-Newton": plotting.CURVES[0]}
    for name, found in result.minima.items():
        label = f"{name}, {len(found.costs) - 1} iterations"
        descent.loglog(found.evaluations, found.costs, "o-", markersize=4, color=colours[name], label=label)
    descent.axhline(result.readings / 2, color=plotting.GREY, linewidth=1, linestyle="--", label="expected")
    descent.set(title="Cost", xlabel="rollouts: forward, tangent and adjoint")

    for name, style in zip(names, ("-", "-", "--"), strict=True):
        skill.plot(result.times, 100 * result.errors[name], style, color=colours[name], linewidth=2, label=name)
    skill.axvspan(0, result.window, color=plotting.GREY, alpha=0.12, linewidth=0, label="window of the readings")
    skill.set(title="Error of the forecast", xlabel="time [time]", ylabel="of the vorticity's rms [%]")
    skill.set(xlim=(0, result.times[-1]), ylim=(0, None))
    for axes in (descent, skill):
        plotting.clean_axes(axes)
        axes.legend(frameon=False)
        axes.set_box_aspect(height / width)
    return figure


def _broken_at_edges(tracks, grid):
    """Return x and y of tracks ``(times, sensors, 2)`` within the box, with gaps where a track leaves the box."""
    tracks = np.array(tracks)
    leaps = np.abs(np.diff(tracks, axis=0)) > np.asarray(grid.extent) / 2
    tracks[1:][leaps.any(axis=-1)] = np.nan
    return tracks[..., 1], tracks[..., 0]


if __name__ == "__main__":
    main()
