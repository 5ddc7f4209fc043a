"""Linear terms of `Spectral` besides viscosity and drag: an independent code, exact solutions, derivatives."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from spectral_cases import BACKENDS, LONG, SMALL, WIDE
from spectral_oracle import Oracle
from tolerances import DIFFERENCES, DOT, ROLLOUT, assert_close, assert_trees_close

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, Spectral, initial

every_backend = pytest.mark.parametrize("backend", BACKENDS)
# so large that each matters in a step, on grids of a unit of length
VALUES = {
    "viscosity": 1e-3,
    "drag": 0.3,
    "dt": 0.02,
    "beta": 9.0,
    "mean_flow": (1.5, -0.7),
    "hyperviscosity": 1e-6,
    "hypodrag": 2.0,
    "deformation_radius": 0.3,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, options, steps, and whether members have coefficients of their own."""

    grid: Grid = SMALL
    dealiasing: str = "two-thirds"
    integrator: str = "rk3"
    dtype: str = "float64"
    steps: int = 3
    adjoint: Direct | Checkpointed = Direct()
    per_member: bool = False
    names: tuple[str, ...] = tuple(VALUES)
    order: int = 2

    def __str__(self):
        ny, nx = self.grid.shape
        parts = [f"{ny}x{nx}", self.dealiasing, self.integrator, self.dtype, type(self.adjoint).__name__]
        return "-".join([*parts, *["members"] * self.per_member, *(["-".join(self.names)] * (len(self.names) < 8))])

    def fused(self, backend):
        how = {"discretisation": Spectral(self.integrator, self.dealiasing), "adjoint": self.adjoint}

        def run(omega, values):
            solver = NavierStokes2D(self.grid, **values, hyperviscosity_order=self.order, backend=backend, **how)
            return solver.rollout(omega, steps=self.steps)

        return run

    def operands(self):
        def spread(value):
            return jnp.asarray(value * (1 + np.arange(2) / 3) if self.per_member else value, self.dtype)

        values = {name: jax.tree.map(spread, VALUES[name]) for name in self.names}
        return normal(0, (2, *self.grid.shape), self.dtype), values

    def directions(self):
        """Return random directions, in the unit of each operand."""
        leaves, structure = jax.tree.flatten(self.operands())
        made = [np.asarray(normal(10 + i, x.shape)) * np.max(np.abs(x)) for i, x in enumerate(leaves)]
        return jax.tree.unflatten(structure, [jnp.asarray(x, self.dtype) for x in made])

    def oracle(self, omega, values):
        """Return what `fused` does, by the equation written with derivatives one by one."""

        def of(name, default=0.0):
            value = values.get(name, default)
            value = value if name == "mean_flow" else (value,)
            return [jnp.reshape(jnp.asarray(x, "float64"), (-1, 1, 1)) for x in value]

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            o = Oracle(self.grid, self.dealiasing, jnp)
            laplacian, mean = jnp.asarray(o.laplacian), jnp.asarray(o.laplacian == 0)
            screening = 1 / of("deformation_radius")[0] ** 2 if "deformation_radius" in values else 0.0
            o.inverse = jnp.where(mean, 0, 1 / jnp.where(mean, 1, laplacian - screening))
            (u, v), (beta,), (hyper,), (hypo,) = of("mean_flow", (0, 0)), of("beta"), of("hyperviscosity"), of("hypodrag")
            northward = o.dx * o.inverse  # v = d(inverse q)/dx
            linear = -u * o.dx - v * o.dy - beta * northward
            linear = linear - hyper * (-laplacian) ** self.order + hypo * np.divide(
                1, o.laplacian, out=np.zeros(self.grid.shape), where=o.laplacian != 0
            )
            drag = of("drag")[0] - linear
            spectrum = o.spectrum(jnp.asarray(omega, "float64"))
            for _ in range(self.steps):
                spectrum = o.step(spectrum, of("viscosity")[0], drag, of("dt")[0], 0.0, self.integrator)
            return o.field(spectrum).astype(self.dtype)


CASES = [
    Case(per_member=True, integrator="rk4", adjoint=Checkpointed()),
    Case(grid=WIDE, dealiasing="smooth", dtype="float32", per_member=True),
    Case(grid=WIDE, adjoint=Checkpointed(every=1)),
    Case(grid=WIDE, integrator="rk4", names=("viscosity", "dt", "beta"), per_member=True),
    Case(dealiasing="smooth", names=("viscosity", "dt", "deformation_radius")),
    Case(grid=LONG, dtype="float32", names=("viscosity", "dt", "mean_flow", "hyperviscosity"), order=3),
    Case(grid=LONG, dealiasing="smooth", integrator="rk4", per_member=True),
]
every_case = pytest.mark.parametrize("case", fast_cases(CASES, 0, 1), ids=str)


def derivatives(f, case):
    """Return value, jvp and vjp."""
    with jax.ensure_compile_time_eval():  # as constants of the program
        operands, tangents = case.operands(), case.directions()
    value, tangent = jax.jvp(f, operands, tangents)
    return value, tangent, jax.vjp(f, *operands)[1](normal(20, value.shape, case.dtype))


@functools.cache
def expected(case):
    return jax.jit(lambda: derivatives(case.oracle, case))()


@every_backend
@every_case
def test_value_jvp_and_vjp(case, backend):
    f = case.fused(backend)
    assert_close(jax.jit(f)(*case.operands()), expected(case)[0], ROLLOUT)
    assert_trees_close(jax.jit(lambda: derivatives(f, case))(), expected(case), ROLLOUT)


@every_backend
@pytest.mark.parametrize("case", fast_cases([CASES[0], CASES[2], CASES[4], CASES[6]], 0), ids=str)
def test_dot_products(case, backend):
    """Of each operand alone, and of all."""
    f, operands, w = case.fused(backend), case.operands(), normal(40, (2, *case.grid.shape))
    everything = case.directions()
    forward = jax.jit(lambda v: jax.jvp(f, operands, v)[1])
    backward = jax.jit(lambda w: jax.vjp(f, *operands)[1](w))(w)
    leaves, structure = jax.tree.flatten(everything)
    for only in [*range(len(leaves)), None]:
        v = jax.tree.unflatten(structure, [x if only in (None, i) else 0 * x for i, x in enumerate(leaves)])
        along = forward(v)
        scale = np.linalg.norm(along) * np.linalg.norm(w)
        assert scale > 1e-3
        assert abs(vdot(along, w) - vdot(v, backward)) <= DOT * scale


@every_backend
@pytest.mark.parametrize("adjoint", fast_cases([Checkpointed(), Direct()], 0), ids=str)
def test_second_derivatives(adjoint, backend):
    case = Case(steps=2, adjoint=adjoint)
    f, operands = case.fused(backend), case.operands()
    weights = normal(3, operands[0].shape)

    def loss(*operands):
        return vdot(f(*operands) ** 2, weights)

    check_grads(jax.jit(loss), operands, order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)
