"""Singular vectors of a Kolmogorov flow: the perturbations that grow most, infinitesimal and of finite size.

    python examples/singular_vectors.py

runs in about a minute on two CPU cores. The rollout of a small perturbation is the linearisation M. `jax.jvp` applies
M, and `jax.vjp` its transpose. Block power iteration on M^T M (Halko, Martinsson and Tropp 2011, doi:10.1137/090771806)
finds the singular vectors, the directions of largest growth |M v| / |v| (Trefethen et al. 1993,
doi:10.1126/science.261.5121.578). Perturbations of finite size saturate, and others grow most. `optimal_perturbation`
searches for them by Adam, and gradient ascent on the sphere of a given size refines them.
"""

import argparse
import functools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns
from warpjaxns import experiments, plotting

DISCRETISATIONS = {"finite-difference": wns.FiniteDifference(), "spectral": wns.Spectral()}


def singular_vectors(solver, base, *, steps: int, count: int, iterations: int, key: jax.Array):
    """Return the leading singular values and vectors of the rollout from `base`, in the norm of vorticity.

    Returns:
        ``(values, initial, evolved, history)``: values ``(count,)``; right singular vectors ``(count, ny, nx)``,
        orthonormal; left ones ``M v / sigma``, also orthonormal; and the values after every iteration.
    """

    def advance(omega):
        return solver.rollout(omega, steps=steps)

    def push(block):
        return jax.vmap(lambda v: jax.jvp(advance, (base,), (v,))[1])(block)

    def pull(block):
        return jax.vmap(jax.vjp(advance, base)[1])(block)[0]

    def orthonormal(block):
        columns, _ = jnp.linalg.qr(block.reshape(block.shape[0], -1).T)
        return columns.T.reshape(block.shape)

    @jax.jit
    def iterate(block):
        evolved = push(block)
        # Singular values and vectors of M within the block: Rayleigh and Ritz.
        left, values, right = jnp.linalg.svd(evolved.reshape(block.shape[0], -1).T, full_matrices=False)
        initial = jnp.einsum("ab,bij->aij", right, block)
        return values, initial, left.T.reshape(block.shape), orthonormal(pull(evolved))

    # A few more directions than asked for: the last ones converge slowly.
    block = orthonormal(jax.random.normal(key, (count + 4, *base.shape), base.dtype))
    values, initial, evolved, block = iterate(block)
    history = [np.asarray(values[:count])]
    for _ in range(iterations - 1):
        values, initial, evolved, block = iterate(block)
        history.append(np.asarray(values[:count]))
    return values[:count], initial[:count], evolved[:count], np.stack(history)


@functools.partial(jax.jit, static_argnames=("steps", "iterations"))
def ascend(solver, base, perturbation, *, steps: int, iterations: int):
    """Maximise the distance between two rollouts by gradient ascent, on the sphere of the perturbation's size.

    Adam scales every point's gradient by its own history, which turns a steady gradient into its sign. So it stops at a
    perturbation like ``sign(gradient)``. The perturbation of largest growth is parallel to the gradient.
    """
    radius, final = jnp.linalg.norm(perturbation), solver.rollout(base, steps=steps)

    @jax.value_and_grad
    def distance(delta):
        return jnp.sum((solver.rollout(base + delta, steps=steps) - final) ** 2)

    def body(_, carry):
        delta, (value, gradient), step = carry
        moved = delta / radius + step * gradient / jnp.linalg.norm(gradient)
        moved = moved * (radius / jnp.linalg.norm(moved))
        found = distance(moved)
        better = found[0] > value  # else stay, and try half as far
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), (moved, found), (delta, (value, gradient)))
        return *kept, step * jnp.where(better, 1.5, 0.5)

    start = (perturbation, distance(perturbation), jnp.ones((), perturbation.dtype))
    return jax.lax.fori_loop(0, iterations, body, start)[0]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Find the singular vectors and the nonlinear optima, save the picture, and return the measurements."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", type=int, default=48, help="points along each side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="time steps of a rollout (default: %(default)s)")
    parser.add_argument("--spin-up", type=int, default=2500, help="time steps before it (default: %(default)s)")
    parser.add_argument("--count", type=int, default=8, help="singular vectors (default: %(default)s)")
    parser.add_argument("--power-iterations", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=80, help="of each ascent (default: %(default)s)")
    parser.add_argument("--radii", type=float, nargs="+", default=[0.001, 0.1, 0.3, 1.0], help="sizes of perturbations")
    parser.add_argument("--discretisation", choices=DISCRETISATIONS, default="finite-difference")
    parser.add_argument("--output", type=Path, default=Path("results/singular_vectors"), metavar="FOLDER")
    options = parser.parse_args(argv)
    jax.config.update("jax_default_matmul_precision", "highest")  # GPUs round inner products to TF32 else
    steps, iterations = options.steps, options.iterations

    # 1. A Kolmogorov flow that has become turbulent.
    grid = wns.Grid((options.size, options.size))
    how = {"discretisation": DISCRETISATIONS[options.discretisation]}
    force = wns.forcing.kolmogorov(grid, 3, 1.0, **how)
    solver = wns.NavierStokes2D(grid, viscosity=1e-2, drag=0.05, dt=1.2 / options.size, forcing=force, **how)
    flow_key, block_key, noise_key = jax.random.split(jax.random.key(0), 3)
    start = wns.initial.random_vorticity(grid, key=flow_key)
    base = jax.jit(lambda w: solver.rollout(w, steps=options.spin_up))(start)

    # 2. Its singular vectors.
    values, initial, evolved, history = singular_vectors(
        solver, base, steps=steps, count=options.count, iterations=options.power_iterations, key=block_key
    )
    print("singular values", np.array2string(np.asarray(values), precision=4))

    # 3. The nonlinear optima: the smallest from noise, each of the others from the one before.
    size, radii = float(jnp.linalg.norm(base)), sorted(options.radii)
    gain = jax.jit(lambda delta: experiments.gain(solver, base, delta, steps=steps))
    growth = {"singular vector": [], "Adam": [], "ascent": []}
    optima, delta = [], experiments.random_perturbation(base, norm=1.0, key=noise_key)
    for radius in radii:
        delta = delta * (radius * size / jnp.linalg.norm(delta))
        step = 0.1 * radius * size / math.sqrt(base.size)  # a tenth of the perturbation's rms
        found = experiments.optimal_perturbation(
            solver, base, delta, steps=steps, radius=radius, learning_rate=step, iterations=iterations
        )
        delta = ascend(solver, base, found.perturbation, steps=steps, iterations=iterations)
        optima.append(delta)
        signs = [math.sqrt(gain(sign * radius * size * initial[0])) for sign in (1, -1)]
        for name, value in (("singular vector", max(signs)), ("Adam", found.gain**0.5), ("ascent", gain(delta) ** 0.5)):
            growth[name].append(float(value))
    cosine = abs(float(jnp.vdot(optima[0], initial[0]) / jnp.linalg.norm(optima[0])))
    measured = {"values": np.asarray(values), "history": history, "radii": radii, "growth": growth, "cosine": cosine}
    print(f"cosine of the first singular vector and the optimum of size {radii[0]}: {cosine:.6f}")
    for radius, *row in zip(radii, *growth.values(), strict=True):
        print(f"size {radius:5.3f}: growth of " + ", ".join(f"{n} {g:.4f}" for n, g in zip(growth, row, strict=True)))

    # 4. The picture.
    shown = max(len(radii) - 2, 0)
    last = [jax.jit(lambda w: solver.rollout(w, steps=steps))(w) for w in (base, base + optima[shown])]
    columns = [
        ("Flow", base, last[0]),
        ("Singular vector 1", initial[0], evolved[0]),
        ("Singular vector 2", initial[1], evolved[1]),
        (f"Optimum of size {radii[shown]:g}", optima[shown], last[1] - last[0]),
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "singular_vectors.png"
    draw(grid, columns, f"t = {steps * float(solver.dt):.3g}", measured).savefig(path, dpi=100)
    print(f"picture: {path}")
    return measured


def draw(grid, columns, lead, measured):
    """Draw fields at both ends of the rollout, the singular values, and growth over size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(18.5, 7.2), layout="constrained")
    axes = figure.subplots(2, 5, width_ratios=(1, 1, 1, 1, 1.1))
    for column, (title, *fields) in enumerate(columns):
        for panel, field, when in zip(axes[:, column], fields, ("t = 0", lead), strict=True):
            # Colour bars for the flow only: the scale of the other fields is arbitrary.
            units = None if column else "1/time"
            plotting.vorticity(panel, grid, field, title=f"{title}, {when}", units=units)
            if column:
                panel.set_ylabel("")

    top, bottom = axes[:, 4]
    numbers = np.arange(1, len(measured["values"]) + 1)
    top.plot(numbers, measured["values"], "o", color=plotting.RED)
    top.axhline(1, color=plotting.GREY, linewidth=1, linestyle=":")
    top.set(title="Singular values", xlabel="number", ylabel="growth |M v| / |v|", ylim=(0, None), xticks=numbers)
    bottom.axhline(measured["values"][0], color=plotting.GREY, linewidth=1, linestyle=":", label="singular value 1")
    looks = {
        "singular vector": ("s--", plotting.CURVES[0]),
        "Adam": ("^:", plotting.CURVES[4]),
        "ascent": ("o-", plotting.RED),
    }
    names = {"singular vector": "singular vector 1", "Adam": "optimum by Adam", "ascent": "optimum by ascent"}
    for name, (style, color) in looks.items():
        bottom.plot(measured["radii"], measured["growth"][name], style, color=color, label=names[name])
    bottom.set(title="Growth at finite size", xlabel="size, relative to the flow", ylabel="growth", xscale="log")
    bottom.set_ylim(bottom=0)
    bottom.legend(frameon=False, loc="lower left")
    for panel in (top, bottom):
        plotting.clean_axes(panel)
    return figure


if __name__ == "__main__":
    main()
