"""A dye stirred: by turbulence across a mean gradient, and by the forcing that mixes it most.

    python examples/mixing.py

runs in about a minute on two CPU cores. First, turbulence that decays stirs a scalar with a mean gradient along y. The
budget of its variance says what the stirring produces and what diffusion takes. Then a stripe of dye is to be mixed
within a given time. A few large waves force the flow, with amplitudes that change from step to step and a fixed mean
square. Adam (Kingma and Ba 2015, arXiv:1412.6980) lowers the mix-norm at the end (Mathew, Mezic and Petzold 2005,
doi:10.1016/j.physd.2005.07.017) by gradients through the rollout.
"""

import argparse
import itertools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import warpjaxns as wns
from warpjaxns import plotting

SPECTRAL = wns.Spectral("rk3")
STIRRED, MIXED = 6.0, 5.0  # durations of the two parts
FORCE = 0.5  # root mean square of the forcing [1/time²]


def stirred(grid: wns.Grid, *, steps: int, saves: int, key: jax.Array):
    """Return the solver of a scalar with a mean gradient, and the states of a turbulence that stirs it."""
    dye = wns.Scalar(diffusivity=6e-3, mean_gradient=(0.0, 1.0))
    solver = wns.NavierStokes2D(grid, viscosity=6e-3, dt=STIRRED / steps, scalars=(dye,), discretisation=SPECTRAL)
    omega = wns.initial.decaying_turbulence(grid, key=key, peak_wavenumber=3, discretisation=SPECTRAL)
    start = wns.State(omega, (jnp.zeros_like(omega),))
    return solver, solver.rollout(start, steps=steps, save_every=steps // saves, include_initial=True)


def large_waves(grid: wns.Grid) -> jax.Array:
    """Return sines and cosines of the longest waves of the box, ``(waves, ny, nx)``, each of unit mean square."""
    x, y = grid.mesh()
    vectors = [(m, n) for m, n in itertools.product(range(-2, 3), range(3)) if (n, m) > (0, 0)]
    phases = jnp.stack([m * x + n * y for m, n in vectors])
    return math.sqrt(2) * jnp.concatenate([jnp.cos(phases), jnp.sin(phases)])


def minimise(loss, amplitudes, *, iterations: int, learning_rate: float):
    """Minimise by Adam. Return the amplitudes, and the losses ``(iterations + 1,)``."""
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, iterations))

    @jax.jit
    def iterate(amplitudes, state):
        value, gradient = jax.value_and_grad(loss)(amplitudes)
        update, state = optimiser.update(gradient, state)
        return optax.apply_updates(amplitudes, update), state, value

    state, values = optimiser.init(amplitudes), []
    for iteration in range(iterations):
        amplitudes, state, value = iterate(amplitudes, state)
        values.append(float(value))
        if iteration % 20 == 0:
            print(f"iteration {iteration:4d}   mix-norm {math.exp(value):.4f} of the initial one")
    return amplitudes, np.array([*values, float(loss(amplitudes))])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Stir, optimise, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=48, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=120, help="time steps, a multiple of 10 (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=80, help="of Adam (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/mixing"), metavar="FOLDER")
    options = parser.parse_args(argv)
    steps = options.steps
    if steps % 10:
        parser.error(f"--steps {steps}: expected a multiple of 10")
    grid = wns.Grid((options.size, options.size))

    # 1. A mean gradient, and the budget of the variance that stirring makes of it.
    solver, states = stirred(grid, steps=steps, saves=10, key=jax.random.key(0))
    (budget,) = wns.diagnostics.scalar_budgets(solver, states)
    balance = budget.production - budget.dissipation
    measured: dict[str, Any] = {
        "production": float(budget.production[-1]),
        "dissipation": float(budget.dissipation[-1]),
        "largest residual": float(jnp.max(jnp.abs(budget.rate - balance)) / jnp.max(budget.production)),
    }

    # 2. A stripe of dye, and the forcing that mixes it most. The amplitudes of each step have a given mean square.
    dye = wns.Scalar(diffusivity=4e-3)
    mixer = wns.NavierStokes2D(grid, viscosity=1e-2, dt=MIXED / steps, scalars=(dye,), discretisation=SPECTRAL)
    _, y = grid.mesh()
    start = wns.State(jnp.zeros(grid.shape), (jnp.tanh(2 * jnp.cos(y)),))
    waves = large_waves(grid)

    def forcing(amplitudes):
        size = jnp.linalg.norm(amplitudes, axis=1, keepdims=True)
        return jnp.einsum("tw,wyx->tyx", FORCE * amplitudes / size, waves)

    def mixed(amplitudes, **saves):
        return mixer.rollout(start, steps=steps, forcing=forcing(amplitudes), **saves)

    def size(c):
        return wns.diagnostics.mix_norm(grid, c, discretisation=SPECTRAL)

    def loss(amplitudes):
        return jnp.log(size(mixed(amplitudes).scalars[0]) / size(start.scalars[0]))

    first = jax.random.normal(jax.random.key(1), (1, waves.shape[0]))
    steady = jnp.repeat(first, steps, axis=0)
    best, losses = minimise(jax.jit(loss), steady, iterations=options.iterations, learning_rate=0.2)

    # 3. Is the gradient right? Along a random direction, against finite differences.
    direction, small = jax.random.normal(jax.random.key(2), best.shape), 1e-2
    measured["gradient"] = float(jnp.vdot(jax.jit(jax.grad(loss))(steady), direction))
    ends = [float(loss(steady + sign * small * direction)) for sign in (1, -1)]
    measured["differences"] = (ends[0] - ends[1]) / (2 * small)

    film = jax.jit(lambda a: mixed(a, save_every=steps // 10, include_initial=True))
    films = {"steady": film(steady), "optimal": film(best)}
    norms = {name: np.asarray(size(film.scalars[0])) for name, film in films.items()}
    measured |= {f"mix-norm, {name}": float(norm[-1] / norm[0]) for name, norm in norms.items()}
    for name, value in measured.items():
        print(f"{name}: {value:.4g}")
    measured["losses"] = losses

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "mixing.png"
    draw(grid, states, budget, films, norms, times=(STIRRED, MIXED)).savefig(path, dpi=100)
    print(f"picture: {path}")
    return measured


def draw(grid, states, budget, films, norms, *, times):
    """Draw both flows, the variance budget, and the mix-norm over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 7), layout="compressed")
    axes = figure.subplots(2, 4)
    plotting.vorticity(axes[0, 0], grid, states.vorticity[5], title=f"Turbulence, t = {times[0] / 2:g}")
    for panel, save in zip(axes[0, 1:3], (5, 10), strict=True):
        title = f"Scalar, t = {save * times[0] / 10:g}"
        plotting.vorticity(panel, grid, states.scalars[0][save], title=title, units="length G", label="c")
    curves, when = axes[0, 3], np.linspace(0, times[0], len(budget.value))
    for name, color, style in (("production", 0, "-"), ("dissipation", 1, "-"), ("rate", 2, "--")):
        curves.plot(when, getattr(budget, name), style, color=plotting.CURVES[color], label=name, linewidth=2)
    curves.set(title="Budget of half the variance", xlabel="t [time]")

    for panel, (name, film) in zip(axes[1, :2], films.items(), strict=True):
        title = f"Dye, {name} forcing, t = {times[1]:g}"
        plotting.vorticity(panel, grid, film.scalars[0][-1], title=title, units="1", label="c", limit=1)
    plotting.vorticity(axes[1, 2], grid, films["optimal"].vorticity[5], title=f"Optimal flow, t = {times[1] / 2:g}")
    for color, (name, norm) in enumerate(norms.items()):
        when = np.linspace(0, times[1], len(norm))
        axes[1, 3].plot(when, norm / norm[0], color=plotting.CURVES[color], label=name, linewidth=2)
    axes[1, 3].set(title="Mix-norm, of the initial one", xlabel="t [time]", ylim=(0, None))
    for panel in axes[:, 3]:
        panel.legend(frameon=False)
        panel.set_box_aspect(1)
        plotting.clean_axes(panel)
    return figure


if __name__ == "__main__":
    main()
