"""Obstacles and topography as terms of `Spectral`: an independent code, derivatives, invariants."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_terms
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from spectral_cases import BACKENDS, LONG, WIDE
from spectral_oracle import Oracle
from test_repeats import equations
from tolerances import DIFFERENCES, ROLLOUT, SUMS, assert_close

from warpjaxns import Checkpointed, Grid, NavierStokes2D, Obstacle, Spectral, diagnostics, initial
from warpjaxns._primitives.operands import Operands

# so large that each matters in a step
MEDIUM = {"topography": 6.0, "mask": 1.0, "permeability": 0.05, "layer": 1.0}


class Penalised(Oracle):
    """The equation with a resistance of bodies and of layers, a topography and a mean flow."""

    def __init__(self, case, values, xp):
        super().__init__(case.grid, case.dealiasing, xp)
        self.bodies, self.layers = self._resistance(values, "mask"), self._resistance(values, "layer") * 2
        topography = xp.asarray(values.get("topography", 0.0), "float64")
        self.topography = self.spectrum(topography) if topography.ndim else None
        uniform = values.get("mean_flow", (0.0, 0.0))
        self.uniform = [xp.reshape(xp.asarray(part, "float64"), (-1, 1, 1)) for part in uniform]

    def _resistance(self, values, name):
        mask = self.xp.asarray(values.get(name, 0.0), "float64")
        return mask / self.xp.reshape(self.xp.asarray(values.get("permeability", 1.0), "float64"), (-1, 1, 1))

    def advection(self, spectrum):
        """Add ``-curl(r u) - (u + U) . grad h``."""
        rate = super().advection(spectrum)
        u, v = self.velocity(spectrum)
        whole = u + self.uniform[0], v + self.uniform[1]
        force = [self.bodies * full + self.layers * part for full, part in zip(whole, (u, v), strict=True)]
        along_x, along_y = map(self.xp.fft.fft2, force)
        rate = rate - self.filter * (self.dx * along_y - self.dy * along_x)
        if self.topography is None:
            return rate
        if self.exact:
            h_x, h_y = self.field(self.dx * self.topography), self.field(self.dy * self.topography)
            return rate - self.filter * self.xp.fft.fft2(whole[0] * h_x + whole[1] * h_y)
        h = self.field(self.topography)
        along_x, along_y = (self.xp.fft.fft2(part * h) for part in whole)
        return rate - self.filter * (self.dx * along_x + self.dy * along_y)


@dataclasses.dataclass(frozen=True)
class Case(test_terms.Case):
    """A case with a medium: the names among `MEDIUM` and those of linear terms."""

    names: tuple[str, ...] = (*test_terms.VALUES, *MEDIUM)
    rows: float = 1.0  # the part of them that has bodies

    def __str__(self):
        left_out = {*test_terms.VALUES, *MEDIUM} - {*self.names}
        return "-".join([super().__str__(), *["without", *sorted(left_out)] * bool(left_out)])

    def operands(self):
        here = tuple(name for name in self.names if name in test_terms.VALUES)
        omega, values = test_terms.Case.operands(dataclasses.replace(self, names=here))
        members = 2 if self.per_member else 1
        for i, name in enumerate(name for name in MEDIUM if name in self.names):
            field = np.asarray(normal(30 + i, (members, *self.grid.shape)))
            if name == "permeability":
                value = MEDIUM[name] * (1 + np.arange(members) / 3)
            elif name == "topography":
                value = MEDIUM[name] * field
            else:
                value = MEDIUM[name] / (1 + np.exp(field)) * (grid_rows(self.grid) < self.rows)
            values[name] = jnp.asarray(value if self.per_member else value[0], self.dtype)
        return omega, values

    def options(self, values):
        values = {"viscosity": 0.0, **values}
        obstacles = []
        if "mask" in values:
            obstacles = [Obstacle(values.pop("mask"), values["permeability"])]
        if "layer" in values:
            obstacles.append(Obstacle(values.pop("layer"), values["permeability"] / 2, restores=True))
        values.pop("permeability", None)
        return values | ({"obstacle": obstacles} if obstacles else {})

    def code(self, values):
        return Penalised(self, values, jnp)


def grid_rows(grid):
    """Return where each row is, from 0 to 1."""
    return np.arange(grid.shape[0])[:, None] / grid.shape[0]


CASES = [
    Case(per_member=True, adjoint=Checkpointed()),
    Case(grid=WIDE, dealiasing="smooth", dtype="float32", names=("viscosity", "dt", *MEDIUM)),
    Case(grid=WIDE, adjoint=Checkpointed(every=1), names=("viscosity", "dt", "topography", "deformation_radius")),
    Case(dealiasing="smooth", names=("dt", "mask", "permeability", "mean_flow"), per_member=True, integrator="rk4"),
    Case(grid=LONG, dtype="float32", per_member=True),
]
every_case = pytest.mark.parametrize("case", fast_cases(CASES, 0), ids=str)
every_backend = pytest.mark.parametrize("backend", BACKENDS)
# the kernels have been compared with the oracle; exact solutions are those of the equation
mostly_xla = pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))


@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 0))
@every_case
def test_value_jvp_and_vjp(case, backend):
    test_terms.check(case, backend)


@pytest.mark.full
@mostly_xla
@pytest.mark.parametrize("case", fast_cases([Case(per_member=True, steps=2), CASES[3]], 0), ids=str)
def test_dot_products(case, backend):
    """Take the products of each operand alone, and of all."""
    test_terms.test_dot_products(case, backend)


@every_backend
@pytest.mark.parametrize("adjoint", fast_cases([Checkpointed(), test_terms.DIRECT]), ids=str)
def test_second_derivatives(adjoint, backend):
    names = ("dt", "deformation_radius", "mean_flow", *MEDIUM)
    case = Case(steps=1, adjoint=adjoint, names=names)
    operands = case.operands()
    weights = normal(3, operands[0].shape)

    def loss(*operands):
        return vdot(case.fused(backend)(*operands) ** 2, weights)

    check_grads(jax.jit(loss), operands, order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


# ------------------------------------------------------------------------------------------------ exact solutions

BOX = Grid((24, 32), (2.0, 3.0))


def solver_of(backend="xla", grid=BOX, **options):
    good = {"viscosity": 0.0, "dt": 0.02, "discretisation": Spectral(), "backend": backend}
    return NavierStokes2D(grid, **{**good, **options})


def projected(solver, field):
    return jax.jit(lambda w: solver.rollout(w, steps=0))(field)


@mostly_xla
def test_a_uniform_resistance_is_a_drag(backend):
    """It damps all but the mean, as no velocity has it. One is a product at points, the other an integrating factor."""
    omega = normal(1, BOX.shape)
    omega = omega - jnp.mean(omega)
    body = solver_of(backend, dt=1e-3, obstacle=Obstacle(jnp.ones(BOX.shape), 0.5))
    drag = solver_of(backend, dt=1e-3, drag=2.0)
    ours, exact = (jax.jit(lambda w, s=s: s.rollout(w, steps=10))(omega) for s in (body, drag))
    assert_close(ours, exact, {"float64": 1e-11})


@pytest.mark.full
@every_backend
def test_a_flow_over_topography_that_does_not_move(backend):
    """``omega + h = c psi`` is steady (Bretherton and Haidvogel 1976, doi:10.1017/S0022112076001195)."""
    plain = solver_of(backend)
    omega = projected(plain, normal(2, BOX.shape))
    h = 30.0 * plain.streamfunction(omega) - omega
    over = solver_of(backend, topography=h)
    rate, without = over.tendency(omega), plain.tendency(omega)
    assert float(jnp.linalg.norm(rate)) < SUMS["float64"] * float(jnp.linalg.norm(without))
    assert_close(jax.jit(lambda w: over.rollout(w, steps=20))(omega), omega, {"float64": 1e-11})


@pytest.mark.full
@mostly_xla
@pytest.mark.parametrize("radius", fast_cases([None, 0.3], 1), ids=["rigid", "radius"])
def test_invariants_over_topography(backend, radius):
    """Energy, and the potential enstrophy ``0.5 <(omega + h)^2>``, but for the error of steps."""
    h = 3.0 * normal(3, BOX.shape)
    solver = solver_of(backend, topography=h, deformation_radius=radius)
    omega, kept = projected(solver, 3 * normal(4, BOX.shape)), projected(solver, h)
    rate, psi = solver.tendency(omega), solver.streamfunction(omega)
    scale = jnp.sqrt(jnp.mean(rate**2))
    assert abs(jnp.mean(psi * rate)) < 1e-13 * scale * jnp.sqrt(jnp.mean(psi**2))
    assert abs(jnp.mean((omega + kept) * rate)) < 1e-13 * scale * jnp.sqrt(jnp.mean((omega + kept) ** 2))
    assert abs(jnp.mean(omega * rate)) > 1e-4 * scale * jnp.sqrt(jnp.mean(omega**2))  # which is not conserved

    def invariants(omega):
        return jnp.stack([jnp.mean(solver.streamfunction(omega) * omega), jnp.mean((omega + kept) ** 2)])

    @functools.partial(jax.jit, static_argnums=0)
    def change(steps):
        slower = dataclasses.replace(solver, dt=jnp.asarray(0.8 / steps))
        return invariants(slower.rollout(omega, steps=steps)) / invariants(omega) - 1

    errors = [np.abs(change(steps)) for steps in (20, 40)]
    assert np.all(errors[1] < 1e-7)
    assert np.all(np.log2(errors[0] / errors[1]) > 3.4)


@pytest.mark.full
@every_backend
def test_penalisation_takes_energy_and_no_more_than_it_says(backend):
    mask = 1 / (1 + jnp.exp(-4 * normal(5, BOX.shape)))
    solver = solver_of(backend, obstacle=Obstacle(mask, 0.1), topography=normal(6, BOX.shape))
    omega = projected(solver, normal(7, (2, *BOX.shape)))
    budget = diagnostics.budgets(solver, omega).energy
    u, v = solver.velocity(omega)
    assert_close(budget.terms["obstacle"], -jnp.mean(mask[None] / 0.1 * (u**2 + v**2), (-2, -1)))
    energies = [diagnostics.energy(BOX, w, discretisation=Spectral()) for w in (omega, solver.step(omega))]
    assert np.all(np.asarray(energies[1]) < np.asarray(energies[0]))


@pytest.mark.full
@mostly_xla
def test_budgets_close_with_every_term(backend):
    case = Case(grid=BOX)
    omega, values = case.operands()
    solver = solver_of(backend, **case.options(values))
    omega = projected(solver, omega)
    found = jax.jit(lambda w: diagnostics.budgets(solver, w))(omega)
    for budget, weight in zip(found, (solver.streamfunction(omega), omega), strict=True):
        assert set(budget.terms) == {"beta", "mean_flow", "hyperviscosity", "hypodrag", "topography", "obstacle"}
        assert_close(budget.rate, jnp.mean(weight * solver.tendency(omega), (-2, -1)))
        assert np.all(np.abs(budget.residual) < 1e-12 * np.abs(budget.rate))


@pytest.mark.full
def test_order_in_dt_is_kept():
    omega = 5 * initial.taylor_green(BOX)
    terms = {"topography": 4 * normal(8, BOX.shape), "obstacle": Obstacle(jnp.ones(BOX.shape) / 2, 0.2)}

    @functools.partial(jax.jit, static_argnums=0)
    def run(steps):
        return solver_of(dt=0.4 / steps, mean_flow=(1.0, 0.0), **terms).rollout(omega, steps=steps)

    exact = run(320)
    errors = [float(jnp.linalg.norm(run(n) - exact)) for n in (20, 40)]
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.2


# ------------------------------------------------------------------------------------------------ the solver


def test_leaves_are_those_that_are_given():
    plain, more = solver_of(), solver_of(topography=jnp.ones(BOX.shape), obstacle=Obstacle(jnp.ones(BOX.shape), 1.0))
    assert len(jax.tree.leaves(more)) == len(jax.tree.leaves(plain)) + 3


def test_solvers_without_a_medium_pass_a_single_number():
    omega = jnp.ones(BOX.shape)
    for terms, shape in (({}, (1, 1, 1, 1)), ({"topography": jnp.ones(BOX.shape)}, (1, *BOX.shape, 2))):
        solver = solver_of("xla", check_finite=False, **terms)
        program = jax.make_jaxpr(lambda w, s=solver: s.rollout(w, steps=2))(omega)
        (equation,) = equations(program.jaxpr, "spectral_advance")
        assert equation.invars[Operands._fields.index("medium")].aval.shape == shape
        assert equation.invars[Operands._fields.index("linear")].aval.shape == (1, 1, 1, 1)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 0))
def test_a_body_in_some_rows_only(backend):
    """Blocks of rows without one leave out its transforms, also in the sweep if its cotangent is not wanted."""
    case = Case(names=("dt", "mask", "permeability"), rows=0.4, steps=2)
    omega, values = case.operands()
    weights = normal(19, omega.shape)
    ours, exact = (
        jax.jit(jax.value_and_grad(lambda w, f=f: vdot(weights, f(w, values))))(omega)
        for f in (case.fused(backend), case.oracle)
    )
    assert_close(ours[0], exact[0], ROLLOUT)
    assert_close(ours[1], exact[1], ROLLOUT)


@pytest.mark.full
@mostly_xla
def test_members_and_vmap(backend):
    """Members have media of their own, along leading axes or mapped over; a forcing of each step is added to."""
    omega, h = normal(9, (2, *BOX.shape)), normal(10, (2, *BOX.shape))
    mask, forcing = 1 / (1 + jnp.exp(normal(11, (2, *BOX.shape)))), normal(12, (3, *BOX.shape))

    def run(omega, h, mask, permeability):
        body = Obstacle(mask, permeability)
        solver = solver_of(backend, topography=h, obstacle=body, mean_flow=(1.0, -0.5), check_finite=False)
        return solver.rollout(omega, steps=3, forcing=forcing)

    permeability = jnp.asarray([0.1, 0.2])
    many = jax.jit(run)(omega, h, mask, permeability)
    mapped = jax.jit(jax.vmap(run))(omega, h, mask, permeability)
    alone = jnp.stack([jax.jit(run)(*one) for one in zip(omega, h, mask, permeability, strict=True)])
    assert_close(many, alone, ROLLOUT)
    assert_close(mapped, alone, ROLLOUT)


@pytest.mark.full
@every_backend
def test_the_gradient_is_that_of_finite_differences(backend):
    """Compare that of the mask, the permeability and the topography, through several segments."""
    omega, weights = normal(13, BOX.shape), normal(14, BOX.shape)
    start = {"mask": 1 / (1 + jnp.exp(normal(15, BOX.shape))), "h": normal(16, BOX.shape), "eta": jnp.asarray(0.1)}

    @jax.jit
    def loss(x):
        solver = solver_of(backend, topography=x["h"], obstacle=Obstacle(x["mask"], x["eta"]), mean_flow=(1.0, 0.0))
        return vdot(weights, solver.rollout(omega, steps=12))

    gradient = jax.jit(jax.grad(loss))(start)
    for name, direction in {"mask": normal(17, BOX.shape), "h": normal(18, BOX.shape), "eta": jnp.ones(())}.items():
        step = 1e-4 if name != "eta" else 1e-5
        there, back = (loss(start | {name: start[name] + sign * step * direction}) for sign in (1, -1))
        numeric = float(there - back) / (2 * step)
        assert abs(numeric - float(vdot(gradient[name], direction))) < DIFFERENCES * abs(numeric)
