"""Terms, bodies and scalars on CUDA: kernels against XLA."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from oracle import normal
from tolerances import allowed_on_gpu, relative_error

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Scalar, Spectral, State, initial, obstacles

pytestmark = pytest.mark.gpu
STEPS = 6
FINITE, FOURIER = FiniteDifference(), Spectral()
SHAPES = [((64, 96), 1), ((64, 64), 140), ((256, 192), 1), ((512, 512), 1), ((128, 256), 20), ((1024, 2048), 1)]


def linear(grid, discretisation):
    more = {} if discretisation == FINITE else {"hyperviscosity": 1e-8}
    return {"beta": 5.0, "mean_flow": (0.4, -0.3), "hypodrag": 0.5, **more}


def screened(grid, discretisation):
    return {"beta": 5.0, "deformation_radius": 0.3}


def medium(grid, discretisation):
    height, width = grid.extent
    body = obstacles.cylinder(grid, centre=(0.4 * height, 0.5 * width), radius=0.15 * height, permeability=0.05)
    layer = obstacles.fringe(grid, start=0.8 * width, length=0.1 * width, permeability=0.1)
    hills = normal(3, grid.shape)
    return {"mean_flow": (0.5, 0.2), "obstacle": (body, layer), "topography": hills}


def scalars(count):
    def given(grid, discretisation):
        pairs = [(0.3, 0.5), (-0.2, 0.1), (0.0, 1.0)]
        return {
            "scalars": tuple(
                Scalar(diffusivity=1e-3 * (i + 1), mean_gradient=pairs[i], buoyancy=pairs[-1 - i], forcing=None)
                for i in range(count)
            ),
            "beta": 2.0,
        }

    given.__name__ = f"{count}-scalars"
    return given


CASES = [
    *[(linear, FINITE, *case) for case in SHAPES],
    *[(screened, FINITE, *case) for case in SHAPES[:4]],
    *[(medium, how, *case) for how in (FINITE, FOURIER) for case in SHAPES],
    *[(scalars(count), FOURIER, *SHAPES[i]) for i, count in enumerate((1, 2, 3, 2, 1, 2))],
    *[(scalars(count), FINITE, *SHAPES[i]) for i, count in enumerate((1, 2, 3, 2))],
]


def name_of(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("physics", "how", "shape", "members"), CASES, ids=name_of)
def test_rollouts_and_derivatives(physics, how, shape, members, dtype):
    grid = Grid(shape, (2.0, 3.0))
    waves = [initial.random_vorticity(grid, key=jax.random.key(i), max_wavenumber=6, dtype="float64") for i in range(4)]
    states = [jnp.stack([jnp.roll(3 * wave, 5 * m, -1) for m in range(members)]) for wave in waves]
    options = physics(grid, how)
    count = len(options.get("scalars", ()))
    state = State(states[0], tuple(states[1 : 1 + count])) if count else states[0]

    def solver_by(backend):
        how_it_runs = {"discretisation": how, "backend": backend}
        return NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, drag=0.1, **how_it_runs, **options)

    def results(solver, state):
        leaves, rest = eqx.partition(solver, eqx.is_inexact_array)

        def loss(leaves, state):
            last = eqx.combine(leaves, rest).rollout(state, steps=STEPS)
            return sum(jnp.mean(jnp.sin(field) * jnp.roll(field, 3, -1)) for field in jax.tree.leaves(last))

        gradient = jax.grad(loss, (0, 1))(leaves, state)
        out, tangent = jax.jvp(lambda s: solver.rollout(s, steps=STEPS), (state,), (state,))
        return out, tangent, gradient[1], gradient[0]

    def run(backend, dtype):
        given = solver_by(backend), state
        given = jax.tree.map(lambda x: jnp.asarray(x, dtype) if eqx.is_inexact_array(x) else x, given)
        return jax.tree.leaves(eqx.filter_jit(results)(*given))

    exact = run("xla", "float64")
    for actual, of_xla, reference in zip(run("warp", dtype), run("xla", dtype), exact, strict=True):
        error, twice = relative_error(of_xla, reference), physics is medium and how == FINITE
        assert relative_error(actual, reference) <= allowed_on_gpu(dtype, error, shape, actual.size, twice)
