"""Runs steps with terms, bodies, scalars, or on a divided grid, their tangents and adjoints, for NVIDIA's sanitizer.

    compute-sanitizer --tool memcheck --kernel-name kns=cuda_kernel python docs/benchmarks/sanitize_physics.py

and so on. The filter leaves out kernels of XLA. Kernels are launched one after the other, not as graphs. Run it once
without the sanitizer first, as `sanitize`, which has the kernels of the plain equation.
"""

import argparse
import itertools
import types

import jax
import jax.numpy as jnp
import warp as wp
from jax.sharding import AxisType

import warpjaxns as wns
from warpjaxns import _ffi

# (ny, nx), members, dtype: resident or not, products apart or together, factors 3 and 5
CASES = [((64, 64), 1, "float32"), ((60, 96), 2, "float64"), ((512, 64), 1, "float32"), ((256, 256), 6, "float32")]
LINEAR = {"beta": 1.0, "mean_flow": (1.0, 0.5), "hypodrag": 0.1}
DIVIDED = {"divided": "gather", "peers": "peers"}  # ways of messages; a single slab has the kernels of several
LONG_ROWS = ((64, 16384), 1, "float32")  # whose psi goes through memory; as divided grids
SCALARS = (
    wns.Scalar(diffusivity=1e-3, mean_gradient=(0.0, 1.0), buoyancy=(0.0, 1.0)),
    wns.Scalar(diffusivity=1e-3),
    wns.Scalar(diffusivity=1e-3, mean_gradient=(1.0, 0.0)),
)


def physics(grid: wns.Grid, spectral: bool) -> dict[str, dict]:
    """Return sets of terms by name, as arguments of a solver."""
    height, width = grid.extent
    body = wns.obstacles.cylinder(grid, centre=(height / 2, width / 3), radius=0.1 * height, permeability=0.01)
    sets = {
        "linear": LINEAR,
        "radius": {"beta": 1.0, "deformation_radius": 0.5},
        "body": {"obstacle": body, "mean_flow": (1.0, 0.0), "topography": jnp.ones(grid.shape)},
    }
    sets |= {f"{count} scalars": {"scalars": SCALARS[:count]} for count in (1, 3)}
    return sets if spectral else sets | {name: {} for name in DIVIDED}


def run(shape, members: int, dtype: str, how, name: str, backend: str) -> float:
    """Take a step, and return the largest number of it, its tangent, and its gradient."""
    grid = wns.Grid(shape, (2.0, 3.0))
    options = physics(grid, isinstance(how, wns.Spectral))[name]
    if name in DIVIDED:
        grid = grid.over(jax.make_mesh((1,), ("y",), (AxisType.Auto,)), "y", DIVIDED[name])
    solver = wns.NavierStokes2D(
        grid, viscosity=1e-3, dt=1e-4, forcing=jnp.ones(shape), discretisation=how, backend=backend, **options
    )
    omega = jax.random.normal(jax.random.key(0), (members, *shape))
    state = wns.State(omega, (omega,) * len(solver.scalars)) if solver.scalars else omega
    solver, state = jax.tree.map(lambda x: jnp.asarray(x, dtype), (solver, state))

    def final(solver, state):
        return solver.rollout(state, steps=1)

    def loss(solver, state):
        return sum(jnp.mean(field**2) for field in jax.tree.leaves(final(solver, state)))

    made = jax.jvp(final, (solver, state), (solver, state)), jax.grad(loss, (0, 1))(solver, state)
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(made))


def leave_out_graphs():
    """Put the launches themselves in the place of CUDA graphs."""
    _ffi._captured = lambda launch: types.SimpleNamespace(graph=types.SimpleNamespace(value=0), launch=launch)
    _ffi.make_programmatic = lambda graph: 0
    wp.capture_launch = lambda graph: graph.launch()


def main(argv: list[str] | None = None):
    """Run all cases, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=int, default=0, help="leave out so many runs")
    parser.add_argument("--every", type=int, default=1, help="take one in so many of the others")
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    engines = (wns.FiniteDifference(), wns.Spectral("rk3"))
    runs = [
        (*case, how, name)
        for case, how in itertools.product(CASES, engines)
        for name in physics(wns.Grid(case[0], (2.0, 3.0)), isinstance(how, wns.Spectral))
    ]
    runs += [(*LONG_ROWS, engines[0], name) for name in DIVIDED]
    for each in runs[options.start :: options.every]:
        print(*each, run(*each, options.backend), flush=True)


if __name__ == "__main__":
    leave_out_graphs()
    main()
