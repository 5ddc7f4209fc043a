"""Optimal control: the least forcing, in the enstrophy norm, that keeps two vortices apart.

    python examples/control_enstrophy.py

runs in under a minute on two CPU cores. Two near vortices merge if left alone. A control, one field of forcing a time
step ``(steps, ny, nx)``, brings them to a target instead: unharmed, turned by a right angle about each other. It
minimises

    J = |omega(T) - target|^2 / |omega_free(T) - target|^2 + weight * dt sum_n 0.5 <f_n^2>

by L-BFGS (Liu and Nocedal 1989, doi:10.1007/BF01589116). The gradient has 100 000 numbers or more, and comes from
reverse mode through the rollout. The forcing that moves the vorticity to the target along a straight line is computed
for comparison.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import warpjaxns as wns
from warpjaxns import plotting

DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}


def straight_line(solver, start, target, *, steps: int):
    """Return the control that moves the vorticity from `start` to `target` in equal steps, ``(steps, ny, nx)``."""
    time = steps * solver.dt
    places = jnp.linspace(0, 1, steps + 1)[:-1, None, None] + 0.5 / steps  # in the middle of each step
    return (target - start) / time - solver.tendency(start + places * (target - start))


def minimise(loss, control, *, iterations: int):
    """Minimise by L-BFGS with a line search. Return the control, and the losses ``(iterations + 1,)``."""
    optimiser = optax.lbfgs(memory_size=10)
    evaluate = optax.value_and_grad_from_state(loss)

    @jax.jit
    def iterate(control, state):
        value, gradient = evaluate(control, state=state)
        update, state = optimiser.update(gradient, state, control, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(control, update), state, value

    state, values = optimiser.init(control), []
    for iteration in range(iterations):
        control, state, value = iterate(control, state)
        values.append(float(value))
        if iteration % 10 == 0:
            print(f"iteration {iteration:4d}   J {value:.6f}")
    return control, np.array([*values, float(loss(control))])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Optimise the control, check its gradient, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=48, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=80, help="time steps (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=60, help="of L-BFGS (default: %(default)s)")
    parser.add_argument("--weight", type=float, default=0.02, help="of the cost (default: %(default)s)")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/control_enstrophy"), metavar="FOLDER")
    options = parser.parse_args(argv)
    jax.config.update("jax_default_matmul_precision", "highest")  # GPUs round inner products to TF32 else
    steps = options.steps

    # 1. Two vortices that merge, and their target.
    grid = wns.Grid((options.size, options.size))
    discretisation = DISCRETISATIONS[options.discretisation]
    solver = wns.NavierStokes2D(grid, viscosity=2e-3, dt=10.0 / steps, discretisation=discretisation)
    start = wns.initial.vortex_merger(grid, separation=1.8, radius=0.55, amplitude=4.0)
    target = start.T

    @jax.jit
    def rollout(control):
        return solver.rollout(start, steps=steps, forcing=control)

    none = jnp.zeros((steps, *grid.shape), start.dtype)
    free = rollout(none)
    miss = jnp.mean((free - target) ** 2)

    # 2. The loss, and the control that lowers it.
    def cost(control):
        return solver.dt.astype(control.dtype) * jnp.sum(jnp.mean(control**2, axis=(-2, -1))) / 2

    def misfit(control):
        return jnp.mean((rollout(control) - target) ** 2) / miss

    @jax.jit
    def loss(control):
        return misfit(control) + options.weight * cost(control)

    control, losses = minimise(loss, none, iterations=options.iterations)

    # 3. Is the gradient right? Along a random direction, against finite differences.
    direction, small = jax.random.normal(jax.random.key(1), control.shape, control.dtype), 1e-3
    by_gradient = float(jnp.vdot(jax.jit(jax.grad(loss))(control / 2), direction))
    ends = [float(loss(control / 2 + sign * small * direction)) for sign in (1, -1)]
    by_differences = (ends[0] - ends[1]) / (2 * small)

    line = straight_line(solver, start, target, steps=steps)
    measured = {
        "losses": losses,
        "misfit": float(misfit(control)),
        "cost": float(cost(control)),
        "misfit of straight line": float(misfit(line)),
        "cost of straight line": float(cost(line)),
        "gradient": by_gradient,
        "differences": by_differences,
    }
    for name, value in measured.items():
        if name != "losses":
            print(f"{name}: {value:.6g}")

    # 4. The picture.
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "control_enstrophy.png"
    fields = {"Start": start, "Left alone": free, "Controlled": rollout(control), "Target": target}
    draw(solver, fields, control, line, losses).savefig(path, dpi=100)
    print(f"picture: {path}")
    return measured


def draw(solver, fields, control, line, losses):
    """Draw the flows, the control half-way, the loss over the iterations, and the size of the control over time."""
    from matplotlib.figure import Figure

    steps = control.shape[0]
    time = steps * float(solver.dt)
    limit = float(np.abs(fields["Start"]).max())
    figure = Figure(figsize=(16, 7), layout="compressed")
    axes = figure.subplots(2, 4)
    for panel, (name, field) in zip(axes[0], fields.items(), strict=True):
        when = "t = 0" if name == "Start" else f"t = {time:.3g}"
        last = panel is axes[0, -1]
        plotting.vorticity(
            panel, solver.grid, field, title=f"{name}, {when}", limit=limit, units="1/time" if last else None
        )
    for panel, step in zip(axes[1, :2], (0, steps // 2), strict=True):
        title = f"Control, t = {step * float(solver.dt):.3g}"
        plotting.vorticity(panel, solver.grid, control[step], title=title, units="1/time²", label="$f$")

    for panel in (*axes[0, 1:], axes[1, 1]):
        panel.set_ylabel("")

    left, right = axes[1, 2:]
    left.semilogy(losses, color=plotting.RED, linewidth=2)
    left.set(title="Loss", xlabel="iteration of L-BFGS", ylabel="J")
    times = (np.arange(steps) + 0.5) * float(solver.dt)
    for f, style, color, label in (
        (line, "--", plotting.GREY, "straight line"),
        (control, "-", plotting.RED, "optimal"),
    ):
        right.plot(
            times, np.sqrt(np.mean(np.asarray(f) ** 2, axis=(-2, -1))), style, color=color, linewidth=2, label=label
        )
    right.set(title="Size of the control", xlabel="t [time]", ylabel="rms of f [1/time²]", ylim=(0, None))
    right.legend(frameon=False)
    for panel in (left, right):
        panel.set_box_aspect(1)
        plotting.clean_axes(panel)
    return figure


if __name__ == "__main__":
    main()
