"""Viscosity and forcing amplitude of a flow, recovered from the readings of a few noisy sensors.

    python examples/recover_viscosity.py

runs in under a minute on two CPU cores. The sensors stand still at random points, 1 % of the grid, and read the
vorticity a few times. Both parameters are positive, so their logarithms are fitted. Adam descends the misfit

    chi2 / N = < ((simulated - observed) / noise)^2 >     over all N readings

by gradients through the rollout. The curvature of the misfit at its minimum gives the errors of the parameters. With J
the derivative of the scaled differences, by forward mode, (J^T J)^-1 is the covariance of the logarithms (Gauss-Newton;
Tarantola 2005, doi:10.1137/1.9780898717921). The initial vorticity is taken as known.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

import warpjaxns as wns
from warpjaxns import experiments, plotting

VISCOSITY, AMPLITUDE = 5e-3, 0.3  # the truth [length^2/time], [length/time^2]
START = (4 * VISCOSITY, AMPLITUDE / 4)  # the first guess
WAVENUMBER = 4  # of the forcing
NOISE = 0.05  # relative to the root mean square of the vorticity
DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}
QUICK = {"size": 32, "steps": 40, "iterations": 150, "sensors": 30}

Parameters = Float[Array, "2"]  # log(viscosity), log(amplitude)


@dataclasses.dataclass(frozen=True)
class Recovery:
    """The result. Parameters are in the order (viscosity, amplitude).

    Attributes:
        truth: ``(2,)`` [length^2/time], [length/time^2].
        estimate: ``(2,)``, in the same units.
        deviation: ``(2,)``, standard deviations of the logarithms, which are nearly relative ones of the parameters.
        correlation: correlation of the errors of the two logarithms.
        remaining: ``(2,)``, distance of the estimate from the minimum, in standard deviations.
        path: ``(iterations + 1, 2)``, the parameters from the start to the estimate.
        misfits: ``(iterations + 1,)``, chi2 / N of each of these.
    """

    truth: np.ndarray
    estimate: np.ndarray
    deviation: np.ndarray
    correlation: float
    remaining: np.ndarray
    path: np.ndarray
    misfits: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Relative errors ``(2,)``."""
        return self.estimate / self.truth - 1


def main(argv: list[str] | None = None) -> Recovery:
    """Make readings of a flow, recover the parameters from them, save the picture, and return the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="time steps of a rollout (default: %(default)s)")
    parser.add_argument("--sensors", type=int, default=40, help="how many (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=150, help="of Adam (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of flow, sensors and noise (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small setting, of a few seconds")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/recover_viscosity"), metavar="FOLDER")
    options = parser.parse_args(argv)
    jax.config.update("jax_default_matmul_precision", "highest")  # GPUs round inner products to TF32 else
    if options.quick:
        options = parser.parse_args(argv, argparse.Namespace(**QUICK))  # what is given still counts

    # 1. A flow whose parameters are functions of two numbers to be found, and sensors in it.
    grid = wns.Grid((options.size, options.size))
    solver_of = functools.partial(make_solver, grid, DISCRETISATIONS[options.discretisation])
    of_flow, of_sensors, of_noise = jax.random.split(jax.random.key(options.seed), 3)
    truth = jnp.log(jnp.array([VISCOSITY, AMPLITUDE]))
    omega0 = experiments.developed_turbulence(solver_of(truth), key=of_flow, spin_up=50)
    rows, columns = place_sensors(grid, options.sensors, of_sensors)

    def readings(parameters: Parameters) -> Float[Array, "times sensors"]:
        movie = solver_of(parameters).rollout(omega0, steps=options.steps, save_every=options.steps // 10)
        return movie[:, rows, columns]

    # 2. Readings of the true flow, with noise.
    exact = jax.jit(readings)(truth)
    noise = NOISE * jnp.sqrt(jnp.mean(omega0**2))
    observed = exact + noise * jax.random.normal(of_noise, exact.shape, exact.dtype)

    # 3. The parameters that explain them best, and how well these are known.
    def residual(parameters: Parameters) -> Float[Array, " readings"]:
        return ((readings(parameters) - observed) / noise).ravel()

    start = jnp.log(jnp.array(START))
    path, misfits = fit(residual, start, iterations=options.iterations)
    covariance, remaining = gauss_newton(residual, path[-1])
    deviation = np.sqrt(np.diag(covariance))
    result = Recovery(
        truth=np.exp(truth),
        estimate=np.exp(path[-1]),
        deviation=deviation,
        correlation=float(covariance[0, 1] / deviation.prod()),
        remaining=remaining / deviation,
        path=np.exp(path),
        misfits=np.asarray(misfits),
    )
    report(result, observed.size)

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "recover_viscosity.png"
    final = solver_of(jnp.log(result.estimate)).rollout(omega0, steps=options.steps)
    picture(result, grid, final, (rows, columns), observed[-1]).savefig(path, dpi=110)
    print(f"picture: {path}")
    return result


def make_solver(grid: wns.Grid, discretisation, parameters: Parameters) -> wns.NavierStokes2D:
    """Return the solver with the viscosity and the amplitude of the forcing whose logarithms are given."""
    viscosity, amplitude = jnp.exp(parameters)
    forcing = wns.forcing.kolmogorov(grid, WAVENUMBER, amplitude, discretisation=discretisation)
    how = {"discretisation": discretisation, "forcing": forcing}
    return wns.NavierStokes2D(grid, viscosity=viscosity, dt=1 / grid.shape[0], **how)


def place_sensors(grid: wns.Grid, count: int, key) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns ``(count,)`` of different random points of the grid."""
    ny, nx = grid.shape
    return np.divmod(np.asarray(jax.random.choice(key, ny * nx, (count,), replace=False)), nx)


def fit(residual: Callable, start: Parameters, *, iterations: int, learning_rate: float = 0.1):
    """Minimise ``mean(residual^2)`` by Adam, whose rate falls to zero along a cosine.

    Returns:
        The parameters ``(iterations + 1, 2)`` from `start` on, and their misfits.
    """
    rate = optax.cosine_decay_schedule(learning_rate, iterations)
    optimiser = optax.adam(rate, b2=0.95)  # gradients shrink by orders of magnitude: forget the first ones soon

    def misfit(parameters):
        return jnp.mean(residual(parameters) ** 2)

    def iterate(carry, _):
        parameters, state = carry
        value, gradient = jax.value_and_grad(misfit)(parameters)
        update, state = optimiser.update(gradient, state)
        return (cast(Array, optax.apply_updates(parameters, update)), state), (parameters, value)

    @jax.jit
    def run(start):
        (last, _), (path, values) = jax.lax.scan(iterate, (start, optimiser.init(start)), length=iterations)
        return jnp.append(path, last[None], axis=0), jnp.append(values, misfit(last))

    return run(start)


def gauss_newton(residual: Callable, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Return the covariance ``(J^T J)^-1`` for residuals of unit variance, and the step ``-(J^T J)^-1 J^T r``.

    The step leads to the minimum. Forward mode gives the two columns of J, which cost less than a row for each reading.
    """
    values, columns = jax.jit(lambda p: (residual(p), jax.jacfwd(residual)(p)))(parameters)
    covariance = np.linalg.inv(np.asarray(columns.T @ columns))
    return covariance, -covariance @ np.asarray(columns.T @ values)


def report(result: Recovery, readings: int) -> None:
    """Print the result."""
    names = ("viscosity", "forcing amplitude")
    for name, *row in zip(names, result.truth, result.estimate, result.error, result.deviation, strict=True):
        truth, estimate, error, deviation = row
        print(
            f"{name:17s} truth {truth:.5f}   found {estimate:.5f}   error {100 * error:+.2f} %, "
            f"{abs(error) / deviation:.1f} standard deviations of {100 * deviation:.2f} %"
        )
    print(
        f"chi2 / N {result.misfits[-1]:.3f} over {readings} readings; correlation {result.correlation:+.2f}; "
        f"{np.abs(result.remaining).max():.2f} standard deviations from the minimum"
    )


def picture(result: Recovery, grid: wns.Grid, omega, sensors, observed):
    """Draw readings over the simulated flow, both parameters over the iterations, and the misfit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.9), layout="constrained")
    flow, parameters, misfit = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))

    image = plotting.vorticity(flow, grid, omega, title="Readings (dots) over the recovered flow, last time")
    rows, columns = sensors
    flow.scatter(
        grid.x[columns], grid.y[rows], c=observed, s=55, cmap=image.cmap, norm=image.norm, edgecolors="black", zorder=3
    )

    for place, name in enumerate(("viscosity", "forcing amplitude")):
        error, deviation = 100 * result.error[place], 100 * result.deviation[place]
        label = f"{name}: {error:+.1f} % ± {deviation:.1f} %".replace("-", "\N{MINUS SIGN}")
        ratio = result.path[:, place] / result.truth[place]
        parameters.semilogy(ratio, color=plotting.CURVES[place], linewidth=2, label=label)
    parameters.axhline(1, color=plotting.GREY, linewidth=1, linestyle="--")
    parameters.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"], minor=False)
    parameters.set_yticks([], minor=True)
    parameters.set(title="Parameters, relative to the truth", xlabel="iteration")

    misfit.semilogy(result.misfits, color=plotting.CURVES[2], linewidth=2, label="misfit")
    misfit.axhline(1, color=plotting.GREY, linewidth=1, linestyle="--", label="noise alone")
    misfit.set(title=r"Misfit $\chi^2 / N$", xlabel="iteration")
    for axes in (parameters, misfit):
        plotting.clean_axes(axes)
        axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
