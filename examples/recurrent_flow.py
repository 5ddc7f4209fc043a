"""An unstable periodic orbit of two-dimensional turbulence, found by Newton's method through the solver.

    python examples/recurrent_flow.py

runs in about a minute on two CPU cores. Turbulence driven by the force ``sin(4 y)`` at a Reynolds number of 40 comes
near flows that repeat themselves exactly, and leaves them again since they are unstable (Chandler and Kerswell 2013,
doi:10.1017/jfm.2013.122). A near recurrence of the turbulent flow gives a first guess of such a flow. Newton's method
finds the flow itself: of the equation

    omega(x + s, y + m pi / 2, t + T) = omega(x, y, t)

the field omega, the period T and the shift s are unknown, and m is given. `jax.jvp` of a rollout applies the derivative
(`newton_krylov.py` has the rest). The period enters as ``dt = T / steps``, by which the solver can be differentiated as
by all its parameters.
"""

import argparse
import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import newton_krylov
import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

WAVES = 4  # of the force
REYNOLDS = 40.0
COARSE = "smooth"  # dealiasing of the first search, on a grid that leaves few modes out
SEED, SPIN_UP, LENGTH, INTERVAL = 16, 30.0, 120.0, 0.1  # a turbulent flow that comes near the orbit


@dataclasses.dataclass(frozen=True)
class Orbit:
    """A flow ``omega(x + shift, y + turns pi / 2, t + period) = omega(x, y, t)``, or a guess of one.

    Attributes:
        omega: vorticity at its start ``(n, n)``, NumPy in float64.
        period: T.
        shift: s, in [-pi, pi].
        turns: m, quarters of the box along y.
        residual: by how much the equation fails, relative to the norm of omega.
    """

    omega: np.ndarray
    period: float
    shift: float
    turns: int
    residual: float


def solver_of(size: int, reynolds: float, dt: float, dealiasing: str = "two-thirds") -> wns.NavierStokes2D:
    """Return the solver of Kolmogorov's flow in their units: the force is sin(4 y), and the viscosity 1 / Re."""
    grid, spectral = wns.Grid((size, size)), wns.Spectral(dealiasing=dealiasing)
    force = wns.forcing.kolmogorov(grid, WAVES, 1.0, discretisation=spectral, dtype="float64")
    return wns.NavierStokes2D(grid, viscosity=1 / reynolds, dt=dt, forcing=force, discretisation=spectral)


def dissipation(solver, omega):
    """Return the dissipation rate ``<omega^2> / Re``, relative to that of the laminar flow, ``Re / (2 WAVES^2)``."""
    return 2 * WAVES**2 * solver.viscosity**2 * jnp.mean(omega**2, (-2, -1))


def moved(field, shift, turns=0):
    """Return the field at ``(x + shift, y + turns pi / 2)``, of a band-limited field on (0, 2 pi)^2."""
    *_, ny, nx = field.shape
    angles = shift * np.arange(nx // 2 + 1.0)
    field = jnp.fft.irfft(jnp.fft.rfft(field) * jax.lax.complex(jnp.cos(angles), jnp.sin(angles)), nx)
    return jnp.roll(field, -turns * ny // 4, -2)


# ------------------------------------------------------------------------------------------------ a first guess


def recurrences(states, interval: float, longest: float, size: int = 32):
    """Return how nearly each state is repeated later, at best over shifts along x and quarters along y.

    Args:
        states: of one flow ``(times, n, n)``, `interval` apart.
        interval: time between states.
        longest: the longest period looked for.
        size: shifts along x that are tried.

    Returns:
        ``(distance, shift, turns)``, each ``(periods, times)``: the distance relative to the norm of the state, for
        periods of 1, 2, ... intervals. Where a flow ends the distance is infinite.
    """
    keep = 10  # longer waves hold nearly all of the enstrophy
    modes = np.fft.rfft2(states)[:, np.r_[0 : keep + 1, -keep:0], : keep + 1]
    modes[..., 1:] *= math.sqrt(2)  # as kx and -kx
    norms = np.sum(np.abs(modes) ** 2, (1, 2))
    ky = np.r_[0 : keep + 1, -keep:0]
    periods = round(longest / interval)
    found = [np.full((periods, len(states)), fill) for fill in (np.inf, 0.0, 0.0)]
    for lag in range(1, periods + 1):
        product = np.conj(modes[:-lag]) * modes[lag:]
        for turns in range(4):
            along_x = np.sum(product * np.exp(0.5j * np.pi * turns * ky)[None, :, None], 1)
            correlation = size * np.fft.ifft(along_x, size).real
            best = np.argmax(correlation, 1)
            squared = norms[:-lag] + norms[lag:] - 2 * np.max(correlation, 1)
            distance = np.sqrt(np.maximum(squared, 0) / norms[:-lag])
            shift = (2 * np.pi * best / size + np.pi) % (2 * np.pi) - np.pi
            place = found[0][lag - 1, :-lag]
            better = distance < place
            for array, value in zip(found, (distance, shift, np.full_like(distance, turns)), strict=True):
                array[lag - 1, :-lag][better] = value[better]
    return tuple(found)


def guesses(states, interval: float, shortest: float, longest: float, count: int) -> list[Orbit]:
    """Return the nearest recurrences of a flow as orbits, the nearest first, none beside another."""
    distance, shift, turns = recurrences(states, interval, longest)
    distance[: round(shortest / interval)] = np.inf  # all is near after no time
    orbits = []
    while len(orbits) < count and np.isfinite(distance.min()):
        lag, start = np.unravel_index(np.argmin(distance), distance.shape)
        values = (states[start], (lag + 1) * interval, float(shift[lag, start]), int(turns[lag, start]))
        orbits.append(Orbit(*values, float(distance[lag, start])))
        distance[:, max(start - round(5 / interval), 0) : start + round(5 / interval)] = np.inf
    return orbits


def nearest_recurrence(solver, seed=SEED, shortest=4.5, longest=6.5) -> Orbit:
    """Return the nearest recurrence of a turbulent flow from random vorticity, from SPIN_UP to LENGTH."""
    omega = 3 * wns.initial.random_vorticity(solver.grid, key=jax.random.key(seed), dtype="float64")
    every = round(INTERVAL / float(solver.dt))
    run = jax.jit(lambda w: solver.rollout(w, steps=round(LENGTH / INTERVAL) * every, save_every=every))
    states = np.asarray(run(omega))[round(SPIN_UP / INTERVAL) :]
    return guesses(states, INTERVAL, shortest, longest, 1)[0]


# ------------------------------------------------------------------------------------------------ Newton's method


class Equation:
    """The equation of an orbit, as functions of points that `newton_krylov` takes.

    A point is one vector: the field, and period and shift, each times the length by which a unit of it moves the field.
    Two more equations keep the field from moving on along its orbit, or along x, where nothing would change.
    """

    def __init__(self, solver, guess: Orbit):
        self.solver, self.turns, self.shape = solver, guess.turns, guess.omega.shape
        self.steps = math.ceil(guess.period / float(solver.dt))
        omega = np.asarray(jax.jit(lambda w: solver.rollout(w, steps=0))(jnp.asarray(guess.omega)))
        self.norm = float(np.linalg.norm(omega))
        # an equilibrium does not move at all
        self.weights = [max(float(jnp.linalg.norm(g)), 1e-6 * self.norm) for g in _along(solver, omega)]
        self.start = np.r_[omega.ravel(), np.array([guess.period, guess.shift]) * self.weights]

    def parts(self, point):
        """Return field, period and shift of a point, or those of a direction."""
        period, shift = point[-2:] / self.weights
        return jnp.asarray(point[:-2].reshape(self.shape)), jnp.asarray(period), jnp.asarray(shift)

    def mismatch(self, point) -> np.ndarray:
        """Return the field a period later, moved back, minus the field; and two zeros."""
        return np.r_[np.ravel(_mismatch(self.solver, *self.parts(point), steps=self.steps, turns=self.turns)), 0, 0]

    def linearised(self, point):
        """Return the function that applies the derivative at a point."""
        parts = self.parts(point)
        units = [np.ravel(g) / max(float(jnp.linalg.norm(g)), 1e-300) for g in _along(self.solver, parts[0])]

        def apply(direction):
            change = _linearised(self.solver, parts, self.parts(direction), steps=self.steps, turns=self.turns)
            return np.r_[np.ravel(change), [unit @ direction[:-2] for unit in units]]

        return apply

    def orbit(self, point, mismatch) -> Orbit:
        """Return a point as an orbit."""
        omega, period, shift = self.parts(point)
        around = (float(shift) + math.pi) % (2 * math.pi) - math.pi
        return Orbit(np.asarray(omega), float(period), around, self.turns, float(np.linalg.norm(mismatch)) / self.norm)


@functools.partial(jax.jit, static_argnames=("steps", "turns"))
def _mismatch(solver, omega, period, shift, *, steps, turns):
    solver = dataclasses.replace(solver, dt=period / steps)
    return moved(solver.rollout(omega, steps=steps), shift, turns) - omega


@functools.partial(jax.jit, static_argnames=("steps", "turns"))
def _linearised(solver, point, direction, *, steps, turns):
    return jax.jvp(lambda *p: _mismatch(solver, *p, steps=steps, turns=turns), point, direction)[1]


@jax.jit
def _along(solver, omega):
    """Return the derivatives of a flow by time and along x, the directions in which an orbit can be moved freely."""
    return solver.tendency(omega), jax.jvp(lambda s: moved(omega, s), (0.0,), (1.0,))[1]


def newton(solver, guess: Orbit, *, tolerance=1e-10, iterations=40, krylov=50, report=None) -> Orbit:
    """Return the orbit that Newton's method reaches from a guess, converged or not.

    `report` is called with the number of each iteration, the residual, the period and the shift. The search ends where
    the period leaves half to twice that of the guess: it goes to an equilibrium, which has any.
    """
    equation = Equation(solver, guess)

    def allowed(point):
        return 0.5 < float(equation.parts(point)[1]) / guess.period < 2

    def told(iteration, residual, point):
        if report is not None:
            report(iteration, residual, *map(float, equation.parts(point)[1:]))

    limits = {"tolerance": tolerance, "iterations": iterations, "krylov": krylov, "allowed": allowed}
    found = newton_krylov.solve(
        equation.mismatch, equation.linearised, equation.start, scale=equation.norm, report=told, **limits
    )
    return equation.orbit(found.point, found.mismatch)


# ------------------------------------------------------------------------------------------------ what was found


def multipliers(solver, orbit: Orbit, count: int, krylov: int = 60) -> np.ndarray:
    """Return the largest Floquet multipliers of an orbit, by which its perturbations grow in a period."""
    equation = Equation(solver, orbit)
    product = equation.linearised(equation.start)

    def apply(vector):
        return vector + product(np.r_[vector, 0, 0])[:-2]

    noise = jnp.asarray(np.random.default_rng(0).standard_normal(orbit.omega.shape))
    start = np.ravel(jax.jit(lambda w: solver.rollout(w, steps=1))(noise))
    matrix = newton_krylov.arnoldi(apply, start, krylov, 0.0)[1]
    values = np.linalg.eigvals(matrix[:-1])
    return values[np.argsort(-np.abs(values))][:count]


def around(solver, orbit: Orbit, frames: int = 4):
    """Return the dissipation through a period ``(steps + 1,)``, and fields at equal parts of it."""
    steps = math.ceil(orbit.period / float(solver.dt))
    run = jax.jit(
        lambda w, dt: dataclasses.replace(solver, dt=dt).rollout(w, steps=steps, save_every=1, include_initial=True)
    )
    states = np.asarray(run(jnp.asarray(orbit.omega), jnp.asarray(orbit.period / steps)))
    return np.asarray(dissipation(solver, states)), states[:: steps // frames][:frames]


def resampled(omega, size: int) -> np.ndarray:
    """Return a field at more points along each side, by its Fourier modes."""
    (n, _), half = omega.shape, omega.shape[0] // 2
    modes, more = np.fft.rfft2(omega), np.zeros((size, size // 2 + 1), complex)
    more[:half, :half], more[1 - half :, :half] = modes[:half, :half], modes[1 - half :, :half]
    return np.fft.irfft2(more, (size, size)) * (size / n) ** 2


def show(iteration, residual, period, shift):
    """Print an iteration of Newton's method."""
    print(f"iteration {iteration:2d}   residual {residual:.1e}   period {period:.6f}   shift {shift:+.6f}", flush=True)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Find the orbit, save its picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--size", type=int, default=32, help="points along each side of the search (default: %(default)s)"
    )
    parser.add_argument(
        "--fine", type=int, default=48, help="points that the orbit is converged on (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=40, help="of Newton's method at most (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/recurrent_flow"), metavar="FOLDER")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)  # an orbit is known to 1e-10
    # 1. A turbulent flow, and where it nearly repeats itself.
    coarse = solver_of(options.size, REYNOLDS, 0.05, COARSE)
    guess = nearest_recurrence(coarse)
    print(f"near recurrence: period {guess.period:.1f}, shift {guess.shift:+.2f}, distance {guess.residual:.2f}")

    # 2. The orbit, on few points and then on more.
    history = []

    def report(*numbers):
        history.append(numbers)
        show(*numbers)

    orbit = newton(coarse, guess, iterations=options.iterations, report=report)
    solver = solver_of(options.fine, REYNOLDS, 0.05 * min(1, 48 / options.fine))
    fine = dataclasses.replace(orbit, omega=resampled(orbit.omega, options.fine))
    orbit = newton(solver, fine, iterations=options.iterations, report=report)

    # 3. What it is.
    rate, fields = around(solver, orbit)
    growing = multipliers(solver, orbit, 6)
    measured = {"orbit": orbit, "history": np.array(history), "dissipation": rate, "multipliers": growing}
    print(f"period {orbit.period:.5f}, shift {orbit.shift:+.5f}, residual {orbit.residual:.1e}")
    print(f"dissipation {rate.mean():.5f} of the laminar flow's, from {rate.min():.5f} to {rate.max():.5f}")
    print("multipliers", np.array2string(growing, precision=3))

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "recurrent_flow.png"
    draw(solver.grid, orbit, fields, measured).savefig(path, dpi=90)
    print(f"picture: {path}")
    return measured


def draw(grid, orbit, fields, measured):
    """Draw fields at four phases of the orbit, its dissipation, and the way of Newton's method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 7.4), layout="constrained")
    axes = figure.subplots(2, 4)
    limit = float(np.max(np.abs(fields)))
    for number, (panel, field) in enumerate(zip(axes[0], fields, strict=True)):
        when = orbit.period * number / len(fields)
        plotting.vorticity(panel, grid, field, title=f"t = {when:.2f}", units=None, limit=limit)
    grid_spec = axes[1, 0].get_gridspec()
    for panel in axes[1]:
        panel.remove()
    left, right = figure.add_subplot(grid_spec[1, :2]), figure.add_subplot(grid_spec[1, 2:])
    rate, history = measured["dissipation"], measured["history"]
    left.plot(np.linspace(0, 2 * orbit.period, 2 * len(rate) - 1), np.r_[rate, rate[1:]], color=plotting.RED)
    left.set(title="Two periods", xlabel="t", ylabel="dissipation / laminar", ylim=(0, None))
    right.semilogy(history[:, 1], "o-", color=plotting.RED)
    right.set(title="Newton's method, on few points and on more", xlabel="iteration", ylabel="residual")
    right.set_xticks(range(0, len(history), 2))
    for panel in (left, right):
        plotting.clean_axes(panel)
    return figure


if __name__ == "__main__":
    main()
