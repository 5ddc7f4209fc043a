"""Scalars that a flow carries: an independent code, exact solutions, derivatives, budgets and mixing."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from emulator import COMPILER, emulated
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from layouts import SATURATED, fast_backends, fast_cases, hand_in, hand_in_spectral
from oracle import normal, vdot
from spectral_cases import LONG, SMALL, WIDE
from spectral_oracle import Oracle, over
from tolerances import DOT, RELATIVE, ROLLOUT, SUMS, assert_close, assert_trees_close

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Scalar,
    Spectral,
    State,
    adaptive_steps,
    diagnostics,
    initial,
    obstacles,
)

BOX = Grid((12, 18), (2.0, 3.5))
# so large that each matters in a step, on grids of a unit of length
FLOW = {
    "viscosity": 1e-3,
    "drag": 0.3,
    "dt": 0.02,
    "beta": 9.0,
    "mean_flow": (1.5, -0.7),
    "hyperviscosity": 1e-6,
    "deformation_radius": 0.3,
}
SCALARS = (
    {"diffusivity": 2e-3, "mean_gradient": (1.7, -3.0), "buoyancy": (-2.0, 5.0)},
    {"diffusivity": 5e-3, "mean_gradient": (-4.0, 0.6)},
    {"diffusivity": 1e-3, "buoyancy": (3.0, 1.0)},
)


class ScalarOracle(Oracle):
    """The equations, with a state ``(batch, 1 + scalars, ny, nx)`` in the place of a vorticity."""

    def __init__(self, grid, dealiasing, gradients, buoyancies, screening):
        super().__init__(grid, dealiasing, jnp)
        self.gradients, self.buoyancies = gradients, buoyancies
        mean = jnp.asarray(self.laplacian == 0)
        self.inverse = jnp.where(mean, 0, 1 / jnp.where(mean, 1, self.laplacian - screening))

    def advection(self, spectrum):
        q, scalars = spectrum[:, :1], spectrum[:, 1:]
        of_q = super().advection(q)
        u, v = self.velocity(q)
        if self.exact:
            advected = u * self.field(self.dx * scalars) + v * self.field(self.dy * scalars)
            of_scalars = -self.filter * jnp.fft.fft2(advected)
        else:
            c = self.field(scalars)
            of_scalars = -self.filter * (self.dx * jnp.fft.fft2(u * c) + self.dy * jnp.fft.fft2(v * c))
        u, v = jnp.fft.fft2(u), jnp.fft.fft2(v)
        for i, ((gx, gy), (bx, by)) in enumerate(zip(self.gradients, self.buoyancies, strict=True)):
            of_scalars = of_scalars.at[:, i].add(-(gx * u + gy * v)[:, 0])
            c = scalars[:, i : i + 1]
            of_q = of_q + self.dx * (by * c) - self.dy * (bx * c)
        return jnp.concatenate([of_q, of_scalars], axis=1)


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, options, steps, and whether members have coefficients of their own."""

    grid: Grid = SMALL
    dealiasing: str = "two-thirds"
    integrator: str = "rk3"
    dtype: str = "float64"
    steps: int = 3
    adjoint: Direct | Checkpointed = Direct()  # noqa: RUF009
    per_member: bool = False
    scalars: int = 2
    control: bool = False
    names: tuple[str, ...] = tuple(FLOW)

    def __str__(self):
        ny, nx = self.grid.shape
        parts = [f"{ny}x{nx}", self.dealiasing, self.integrator, self.dtype, type(self.adjoint).__name__]
        return "-".join([*parts, *["members"] * self.per_member, str(self.scalars), *["control"] * self.control])

    def fused(self, backend):
        return functools.partial(self._fused, backend)

    def _fused(self, backend, state, values, control):
        discretisation = Spectral(self.integrator, self.dealiasing)
        scalars = tuple(Scalar(**each) for each in values["scalars"])
        flow = values | {"scalars": scalars, "discretisation": discretisation, "adjoint": self.adjoint}
        return NavierStokes2D(self.grid, backend=backend, **flow).rollout(state, steps=self.steps, forcing=control)

    def operands(self):
        def spread(value):
            return jnp.asarray(value * (1 + np.arange(2) / 3) if self.per_member else value, self.dtype)

        shape = (2, *self.grid.shape)
        values = {name: jax.tree.map(spread, FLOW[name]) for name in self.names}
        scalars = jax.tree.map(spread, SCALARS[: self.scalars])
        for i, scalar in enumerate(scalars[1:]):
            scalar["forcing"] = normal(7 + i, shape if self.per_member else self.grid.shape, self.dtype)
        fields = [normal(i, shape, self.dtype) for i in range(1 + self.scalars)]
        control = normal(5, (self.steps, *shape), self.dtype) if self.control else None
        values |= {"forcing": normal(6, self.grid.shape, self.dtype), "scalars": scalars}
        return State(fields[0], tuple(fields[1:])), values, control

    def directions(self):
        """Return random directions, in the unit of each operand."""
        leaves, structure = jax.tree.flatten(self.operands())
        made = [np.asarray(normal(30 + i, x.shape)) * np.max(np.abs(x)) for i, x in enumerate(leaves)]
        return jax.tree.unflatten(structure, [jnp.asarray(x, self.dtype) for x in made])

    def oracle(self, state, values, control):
        """Return what `fused` does."""

        def number(value):
            return jnp.reshape(jnp.asarray(value, "float64"), (-1, 1, 1, 1))

        def stack(parts, axis=1):
            return jnp.stack(jnp.broadcast_arrays(*parts), axis=axis)

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            scalars = values["scalars"]
            pairs = [
                [tuple(map(number, scalar.get(name, (0.0, 0.0)))) for scalar in scalars]
                for name in ("mean_gradient", "buoyancy")
            ]
            of = {name: jax.tree.map(number, values.get(name, 0.0)) for name in FLOW if name != "mean_flow"}
            screening = 1 / of["deformation_radius"] ** 2 if "deformation_radius" in values else 0.0
            o = ScalarOracle(self.grid, self.dealiasing, *pairs, screening)
            U, V = map(number, values.get("mean_flow", (0.0, 0.0)))
            stream = U * o.dx + V * o.dy
            hyper = of["hyperviscosity"] * o.laplacian**2
            of_q = of["drag"] + stream + of["beta"] * o.dx * o.inverse + hyper
            drag = stack([each[:, 0] for each in [of_q, *[stream] * len(scalars)]])
            diffusion = [of["viscosity"], *(number(scalar["diffusivity"]) for scalar in scalars)]
            diffusion = stack([each[:, 0] for each in diffusion])
            x = o.spectrum(jnp.stack([jnp.asarray(c, "float64") for c in (state.vorticity, *state.scalars)], axis=1))

            def step(x, i):
                forces = [values["forcing"] + (0 if control is None else control[i])]
                forces += [scalar.get("forcing", 0.0) for scalar in scalars]
                force = o.spectrum(stack([jnp.broadcast_to(f, state.vorticity.shape) for f in forces]))
                return o.step(x, diffusion, drag, of["dt"], force, self.integrator), None

            x = over(jnp, step, x, self.steps)
            first, *rest = jnp.moveaxis(o.field(x).astype(self.dtype), 1, 0)
            return State(first, tuple(rest))


CASES = [
    Case(per_member=True, adjoint=Checkpointed(every=1), control=True, steps=2),
    Case(grid=WIDE, dealiasing="smooth", dtype="float32", per_member=True, scalars=3, integrator="rk4", steps=1),
    Case(grid=WIDE, adjoint=Checkpointed(every=1), scalars=1),
    Case(grid=LONG, names=("viscosity", "dt"), scalars=3, dtype="float32", adjoint=Checkpointed(every=2)),
    Case(grid=LONG, dealiasing="smooth", integrator="rk4", names=("viscosity", "dt", "mean_flow"), control=True),
    Case(Grid((12, 10), (2.0, 3.3)), scalars=3, steps=1),  # also of `test_blocks_of_rows`
]
every_case = pytest.mark.parametrize(("backend", "case"), fast_backends(CASES, {"xla": [5]}), ids=str)


def derivatives(f, case):
    """Return value, jvp and vjp."""
    with jax.ensure_compile_time_eval():  # as constants of the program
        operands, tangents = case.operands(), case.directions()
        weights = jax.tree.map(lambda x: normal(20, x.shape, case.dtype), operands[0])
    value, tangent = jax.jvp(f, operands, tangents)
    return value, tangent, jax.vjp(f, *operands)[1](weights)


@functools.cache
def expected(case):
    return jax.jit(lambda: derivatives(case.oracle, case))()


def check(case, backend):
    """Compare value and derivatives with those of an independent code, which JAX differentiates."""
    f = case.fused(backend)
    assert_trees_close(jax.jit(f)(*case.operands()), expected(case)[0], ROLLOUT)
    assert_trees_close(jax.jit(lambda: derivatives(f, case))(), expected(case), ROLLOUT)


@every_case
def test_value_jvp_and_vjp(case, backend):
    check(case, backend)


STEPS = [
    Case(steps=1, grid=BOX, per_member=True, scalars=3, dealiasing="smooth", dtype="float32"),
    Case(steps=2, grid=LONG, scalars=2, names=("viscosity", "dt"), control=True),
    Case(steps=1, grid=WIDE, scalars=1, integrator="rk4"),
]


@pytest.mark.parametrize(("backend", "case"), fast_backends(STEPS, {}), ids=str)
def test_steps_are_those_of_the_independent_code(case, backend):
    operands = case.operands()
    out = jax.jit(lambda: case.fused(backend)(*operands))()
    assert_trees_close(out, jax.jit(lambda: case.oracle(*operands))(), RELATIVE if case.steps == 1 else ROLLOUT)


# columns (radix, columns, at once), rows (radix, rows), what else a plan depends on, and the case
THREADS = [
    (
        *((8, 4, 2), (8, 4), SATURATED),
        Case(Grid((18, 20), (2.0, 3.3)), "smooth", dtype="float32", per_member=True, control=True),
    ),
    ((8, 2, 1), (8, 3), {}, Case(Grid((45, 30), (2.0, 3.4)), scalars=3, steps=2, names=("viscosity", "dt"))),
    ((4, 1, 2), (4, 1), {}, Case(Grid((64, 20), (2.0, 3.5)), scalars=1, steps=1, integrator="rk4")),
    ((8, 2, 4), (8, 3), SATURATED, Case(Grid((30, 45), (2.0, 3.4)), scalars=3, steps=2, names=("viscosity", "dt"))),
    ((8, 2, 1), (8, 3), {"memory": 2000}, Case(Grid((32, 30), (2.0, 3.4)), steps=2, names=("viscosity", "dt"))),
]


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
@pytest.mark.full
@pytest.mark.parametrize(("columns", "rows", "more", "case"), THREADS)
def test_kernels_with_all_threads(columns, rows, more, case, monkeypatch, tmp_path):
    """Run blocks as a GPU does, on the CPU (`emulator`)."""
    hand_in_spectral(monkeypatch, columns, rows, more.get("memory"))
    hand_in(monkeypatch, {name: value for name, value in more.items() if name != "memory"})
    emulator = emulated(monkeypatch, tmp_path)
    found, reference = (jax.jit(lambda b=b: derivatives(case.fused(b), case))() for b in ("warp", "xla"))
    assert {"scalar_columns", "scalar_products", "scalar_sweep", "scalar_pullbacks"} <= set(emulator.launched)
    assert_trees_close(found, reference, ROLLOUT)


@pytest.mark.parametrize(
    "tables", [pytest.param({}, id="one product", marks=pytest.mark.full), pytest.param(SATURATED, id="all products")]
)
def test_blocks_of_rows(tables, monkeypatch):
    hand_in(monkeypatch, tables)
    check(CASES[5], "warp")


@pytest.mark.parametrize(("backend", "case"), fast_backends([CASES[0], CASES[2], CASES[4]], {}), ids=str)
def test_dot_products(case, backend):
    """Take the products of each operand alone, and of all."""
    f, operands, everything = case.fused(backend), case.operands(), case.directions()
    w = jax.tree.map(lambda x: normal(40, x.shape), operands[0])
    forward = jax.jit(lambda v: jax.jvp(f, operands, v)[1])
    backward = jax.jit(lambda w: jax.vjp(f, *operands)[1](w))(w)
    leaves, structure = jax.tree.flatten(everything)
    for only in [*range(len(leaves)), None]:
        v = jax.tree.unflatten(structure, [x if only in (None, i) else 0 * x for i, x in enumerate(leaves)])
        along = forward(v)
        scale = math.sqrt(vdot(along, along) * vdot(w, w))
        assert scale > 1e-3
        assert abs(vdot(along, w) - vdot(v, backward)) <= DOT * scale


@pytest.mark.full
def test_a_hessian_is_symmetric():
    """By the sweep's derivative, which runs all steps anew."""
    case = Case(steps=1, scalars=1, names=("viscosity", "dt"))
    operands, (a, b) = case.operands(), (case.directions(), jax.tree.map(jnp.square, case.directions()))

    @jax.jit
    def along(v):
        def loss(*x):
            return sum(jnp.sum(field**3) for field in jax.tree.leaves(case.fused("xla")(*x)))

        return jax.jvp(jax.grad(loss, (0, 1)), operands, v)[1]

    first, second = vdot(b[:2], along(a)), vdot(a[:2], along(b))
    assert abs(first - second) <= DOT * abs(first)


@pytest.mark.full
@pytest.mark.parametrize("adjoint", [Checkpointed(every=1), Direct()], ids=str)
def test_second_derivatives(adjoint):
    case = Case(steps=2, adjoint=adjoint, scalars=1)
    operands = case.operands()
    weights = jax.tree.map(lambda x: normal(3, x.shape), operands[0])

    def loss(*operands):
        return vdot(jax.tree.map(jnp.square, case.fused("xla")(*operands)), weights)

    check_grads(jax.jit(loss), (*operands[:2], None), order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


# ------------------------------------------------------------------------------------------------ exact solutions


def solver_of(*scalars, grid=BOX, **options):
    good = {"viscosity": 0.0, "dt": 0.05, "discretisation": Spectral("rk3")}
    return NavierStokes2D(grid, scalars=scalars, **{**good, **options})


def run(solver, state, **how):
    return eqx.filter_jit(solver.rollout)(state, **how)


def state_of(count, lead=(), dtype="float64", grid=BOX):
    """Return white noise."""
    first, *rest = normal(2, (1 + count, *lead, *grid.shape), dtype)
    return State(first, tuple(rest))


@pytest.mark.full
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
def test_a_scalar_like_vorticity_stays_so(dtype):
    """With viscosity for diffusivity and the same forcing, both obey one equation, by two different products."""
    grid, force = Grid((24, 30), (2.0, 3.0)), normal(3, (24, 30), dtype)
    omega = normal(4, grid.shape, dtype)
    solver = solver_of(Scalar(diffusivity=1e-3, forcing=force), grid=grid, viscosity=1e-3, dt=0.01, forcing=force)
    out = run(solver, State(omega, (omega,)), steps=50)
    assert_close(out.scalars[0], out.vorticity, ROLLOUT)
    plain = NavierStokes2D(grid, viscosity=1e-3, dt=0.01, forcing=force, discretisation=Spectral("rk3"), backend="xla")
    assert_close(out.vorticity, run(plain, omega, steps=50), ROLLOUT)
    assert jnp.max(jnp.abs(out.vorticity - omega)) > 0.1


def test_a_scalar_of_a_fluid_at_rest_diffuses():
    c = initial.taylor_green(BOX)
    source = jnp.full(BOX.shape, 0.4)
    solver = solver_of(Scalar(diffusivity=0.03, forcing=source))
    (after,) = run(solver, State(0 * c, (c + 1,)), steps=10).scalars
    squared = sum((2 * math.pi / side) ** 2 for side in BOX.extent)
    assert_close(after, np.asarray(c) * math.exp(-0.03 * squared * 0.5) + 1 + 0.4 * 0.5, ROLLOUT)


@pytest.mark.full
def test_internal_waves_have_their_frequency():
    """``N kx / k`` with ``N^2 = gy by`` (Gill 1982, section 6.4). A single wave is an exact solution, up to dt^4."""
    x, y = (np.asarray(a) for a in BOX.mesh())
    ky, kx = 2 * math.pi / BOX.extent[0], 2 * math.pi * 2 / BOX.extent[1]
    stratified = Scalar(diffusivity=0.0, mean_gradient=(0.0, 3.0), buoyancy=(0.0, 0.75))
    solver = solver_of(stratified, dt=0.01, discretisation=Spectral())
    frequency = 1.5 * kx / math.hypot(kx, ky)
    crests = kx * x + ky * y
    amplitude = frequency / (0.75 * kx)
    state = State(jnp.asarray(np.cos(crests)), (jnp.asarray(-amplitude * np.cos(crests)),))
    out = run(solver, state, steps=100)
    assert_close(out.vorticity, np.cos(crests - frequency), {"float64": 1e-9})
    assert_close(out.scalars[0], -amplitude * np.cos(crests - frequency), {"float64": 1e-9})


# ------------------------------------------------------------------------------------------------ budgets


@pytest.mark.full
def test_budgets_close():
    """Variance, and kinetic and potential energy together, for a state and for its members."""
    case = Case(grid=BOX, per_member=True, names=("viscosity", "dt", "drag", "mean_flow"), scalars=3)
    _, values, _ = case.operands()
    solver = NavierStokes2D(
        BOX, **values | {"scalars": tuple(Scalar(**s) for s in values["scalars"]), "discretisation": Spectral("rk3")}
    )
    state = run(solver, state_of(3, (2,)), steps=1)
    variance, flow, fluxes, rates = eqx.filter_jit(
        lambda s: (
            diagnostics.scalar_budgets(solver, s),
            diagnostics.budgets(solver, s),
            diagnostics.scalar_fluxes(solver, s),
            solver.tendency(s),
        )
    )(state)
    energy = flow.energy
    assert set(energy.terms) == {"mean_flow", "buoyancy"}
    assert np.all(np.abs(energy.residual) < SUMS["float64"] * np.abs(energy.terms["buoyancy"]) * 10)
    lift = sum(
        b * flux
        for scalar, each in zip(solver.scalars, fluxes, strict=True)
        for b, flux in zip(scalar.buoyancy or (0, 0), each, strict=True)
    )
    assert_close(energy.terms["buoyancy"], lift)
    u, v = solver.velocity(state)
    for scalar, budget, c, rate, flux in zip(
        solver.scalars, variance, state.scalars, rates.scalars, fluxes, strict=True
    ):
        deviation = c - jnp.mean(c, (-2, -1), keepdims=True)
        assert_close(budget.rate, jnp.mean(deviation * rate, (-2, -1)))
        assert_close(budget.value, jnp.var(c, (-2, -1)) / 2)
        assert_trees_close(flux, (jnp.mean(u * c, (-2, -1)), jnp.mean(v * c, (-2, -1))))
        assert_close(budget.dissipation, scalar.diffusivity * diagnostics.gradient_norm(BOX, c) ** 2)
        assert np.all(np.abs(budget.residual) < 1e-12 * np.abs(budget.dissipation))
    assert np.all(np.asarray(variance[1].injection) != 0)
    assert np.all(np.asarray(variance[2].production) == 0)


@pytest.mark.full
def test_boussinesq_flow_keeps_its_energy():
    """Kinetic energy and ``by / gy`` times the variance, with nothing that dissipates: budgets, and a rollout."""
    solver = solver_of(
        Scalar(diffusivity=0.0, mean_gradient=(0.0, 4.0), buoyancy=(0.0, 9.0)), dt=0.005, discretisation=Spectral()
    )
    states = run(solver, state_of(1), steps=40, save_every=20, include_initial=True)
    (variance,), (energy, _) = eqx.filter_jit(
        lambda s: (diagnostics.scalar_budgets(solver, s), diagnostics.budgets(solver, s))
    )(states)
    exchanged = energy.rate + 9 / 4 * variance.rate
    assert np.all(np.abs(exchanged) < 1e-12 * np.abs(energy.rate))
    total = np.asarray(energy.value + 9 / 4 * variance.value)
    assert np.max(np.abs(total / total[0] - 1)) < 1e-6
    assert np.ptp(np.asarray(energy.value)) > 0.1 * total[0]


@pytest.mark.parametrize("how", fast_cases([FiniteDifference(), Spectral("rk3")], 0), ids=["differences", "spectral"])
def test_diagnostics_of_the_flow_take_a_state(how):
    body = obstacles.cylinder(BOX, centre=(1.0, 1.5), radius=0.4, permeability=0.1)
    flow = {"viscosity": 0.01, "obstacle": body, "mean_flow": (0.5, 0.0), "discretisation": how}
    solver, state = solver_of(Scalar(diffusivity=0.01), **flow), state_of(1, (2,))
    for function in (
        diagnostics.body_force,
        diagnostics.resolution,
        diagnostics.reynolds_number,
        diagnostics.cfl,
    ):
        found, expected = jax.jit(lambda s, f=function: (f(solver, s), f(solver, s.vorticity)))(state)
        assert_trees_close(found, expected)
        assert all(leaf.shape == (2,) for leaf in jax.tree.leaves(found))


def test_norms_of_a_wave():
    x, y = BOX.mesh()
    ky, kx = 2 * math.pi / BOX.extent[0], 2 * math.pi * 2 / BOX.extent[1]
    c = 3 + jnp.stack([jnp.cos(kx * x + ky * y), 2 * jnp.sin(kx * x) + 0 * y])
    k, amplitude = np.array([math.hypot(kx, ky), kx]), np.array([1, 2]) / math.sqrt(2)
    assert_close(diagnostics.gradient_norm(BOX, c), amplitude * k)
    assert_close(diagnostics.mix_norm(BOX, c), amplitude * k**-0.5)
    assert_close(diagnostics.mix_norm(BOX, c, order=1), amplitude / k)
    gradient = jax.jit(jax.grad(lambda c: diagnostics.mix_norm(BOX, c)))(jnp.ones(BOX.shape))
    assert np.all(np.asarray(gradient) == 0)


# ------------------------------------------------------------------------------------------------ the solver

either = pytest.mark.parametrize("how", [Spectral("rk3"), FiniteDifference()], ids=["spectral", "differences"])


@pytest.mark.full
@either
def test_saves_and_flags(how):
    solver = solver_of(Scalar(diffusivity=0.01), Scalar(diffusivity=0.02), dt=0.01, discretisation=how)
    state = state_of(2, (2,))
    every = run(solver, state, steps=4, save_every=2, include_initial=True)
    assert jax.tree.structure(every) == jax.tree.structure(state)
    last = jax.tree.map(lambda x: x[-1], every)
    assert_trees_close(run(solver, jax.tree.map(lambda x: x[1], every), steps=2), last)
    first = jax.tree.map(lambda x: x[0], every)
    assert_trees_close(run(solver, first, steps=0), first)
    bad = state._replace(scalars=(state.scalars[0], state.scalars[1].at[1, 0, 0].set(jnp.nan)))
    out, flag = run(solver, bad, save_at=(1, 3), check="flag")
    assert out.vorticity.shape == (2, *state.vorticity.shape)
    assert flag.step.tolist() == [-1, 0]
    with pytest.raises(RuntimeError, match="the state of member 1 is not finite"):
        run(solver, bad, steps=1)
    rates = eqx.filter_jit(solver.tendency)(state)
    step = eqx.filter_jit(eqx.tree_at(lambda s: s.dt, solver, jnp.asarray(1e-6)).step)(state)
    for rate, before, after in zip(*map(jax.tree.leaves, (rates, first, step)), strict=True):
        assert_close((after - before) / 1e-6, rate, {"float64": 1e-4})
    assert_close(*jax.jit(lambda s: (solver.cfl(s), solver.cfl(s.vorticity)))(state))
    assert_trees_close(solver.velocity(state), solver.velocity(state.vorticity))


@pytest.mark.full
@either
def test_members_share_scalars_and_their_coefficients(how):
    """Scalars without members serve all, and `vmap` maps over states and coefficients."""
    shared, many = state_of(1), state_of(1, (2,))

    @jax.jit
    def out(state, diffusivity):
        scalar = Scalar(diffusivity=diffusivity, mean_gradient=(0.0, 1.0))
        return solver_of(scalar, dt=0.01, discretisation=how).rollout(state, steps=2)

    mixed = out(State(many.vorticity, shared.scalars), 0.1)
    each = out(many, jnp.asarray([0.1, 0.2]))
    for i, kappa in enumerate((0.1, 0.2)):
        alone = out(State(many.vorticity[i], shared.scalars), 0.1)
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], mixed), alone)
        alone = out(jax.tree.map(lambda x, i=i: x[i], many), kappa)
        assert_trees_close(jax.tree.map(lambda x, i=i: x[i], each), alone)
    assert_trees_close(jax.vmap(out)(many, jnp.asarray([0.1, 0.2])), each)


def test_scalars_are_leaves():
    scalar = Scalar(diffusivity=0.1, mean_gradient=(1.0, 2.0), forcing=np.ones(BOX.shape), buoyancy=(0.0, 1.0))
    plain, solver = NavierStokes2D(BOX, viscosity=0.1, dt=0.1, discretisation=Spectral()), solver_of(scalar)
    assert len(jax.tree.leaves(solver)) == len(jax.tree.leaves(plain)) + 6
    changed = eqx.tree_at(lambda s: s.scalars[0].forcing, solver, jnp.ones((3, 4)))
    with pytest.raises(ValueError, match=r"scalars\[0\].forcing has shape \(3, 4\)"):
        changed.rollout(state_of(1), steps=1)


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device")
@pytest.mark.full
@either
def test_a_sharded_batch_stays_sharded(how):
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("members",)), PartitionSpec("members"))
    state = jax.device_put(state_of(1, (4,)), sharding)

    @jax.jit
    def loss(state, kappa):
        scalar = Scalar(diffusivity=kappa, buoyancy=(0.0, 1.0))
        solver = solver_of(scalar, dt=0.01, check_finite=False, discretisation=how)
        out = solver.rollout(state, steps=2)
        return vdot(out, out), out

    run = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, out), gradient = run(state, 0.1)
    for field in jax.tree.leaves((out, gradient[0])):
        assert field.sharding.is_equivalent_to(sharding, field.ndim)
    (_, expected), derivatives = run(jax.device_put(state, jax.devices()[0]), 0.1)
    assert_trees_close(out, expected)
    assert_trees_close(gradient, derivatives, ROLLOUT)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Scalar(diffusivity=-1.0), "diffusivity=-1.0.*zero or a positive"),
        (lambda: Scalar(diffusivity=0.1, mean_gradient=1.0), "mean_gradient=1.0.*pair"),
        (lambda: Scalar(diffusivity=0.1, buoyancy=("up", 1.0)), "buoyancy='up'"),
        (lambda: solver_of(0.1), "scalars=.*0.1.*Scalar"),
        (lambda: solver_of(Scalar(diffusivity=0.1, forcing=np.ones(3))), r"scalars\[0\].forcing has shape \(3,\)"),
        (
            lambda: solver_of(Scalar(diffusivity=1e30), discretisation=FiniteDifference()),
            r"scalars\[0\].diffusivity=1e\+30.*expected 4 scalars\[0\].diffusivity dt",
        ),
        (
            lambda: solver_of(Scalar(diffusivity=0.1), grid=Grid((7, 8)), backend="warp"),
            'backend="warp".*prime factor.*backend="xla"',
        ),
        (lambda: one().rollout(jnp.ones(BOX.shape), steps=1), "omega0 is of type .*State.*1 scalar,"),
        (lambda: one().rollout(state_of(2), steps=1), "omega0 has 2 scalars.*1 scalar"),
        (lambda: one().step(State(jnp.ones(BOX.shape), (jnp.ones((3, 3)),))), r"omega.scalars\[0\] has shape \(3, 3\)"),
        (
            lambda: one().step(State(jnp.ones(BOX.shape), (jnp.ones(BOX.shape, "float32"),))),
            r"omega.scalars\[0\] has dtype float32",
        ),
        (lambda: one().step(State(jnp.ones((2, *BOX.shape)), (jnp.ones((3, *BOX.shape)),))), "leading axes"),
        (lambda: one().step(State(jnp.ones(BOX.shape), jnp.ones(BOX.shape))), "omega.scalars is of type.*tuple"),
        (lambda: solver_of().rollout(state_of(1), steps=1), "omega0 is of type State"),
        (lambda: diagnostics.scalar_budgets(solver_of(), state_of(1)), "solver=.*scalars="),
        (lambda: diagnostics.mix_norm(BOX, jnp.ones(BOX.shape), order=0), "order=0.*positive"),
    ],
)
def test_errors(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


one = functools.partial(solver_of, Scalar(diffusivity=0.1))


@pytest.mark.full
def test_adaptive_steps():
    """A rollout of the same steps, since nothing changes the Courant number of a fluid at rest."""
    solver = solver_of(Scalar(diffusivity=0.01), viscosity=0.01)
    _, y = BOX.mesh()
    state = State(jnp.zeros((2, *BOX.shape)), (jnp.cos(math.pi * y),))
    found = eqx.filter_jit(adaptive_steps)(solver, state, until=0.4, courant=0.5, every=2, most_segments=4, longest=0.1)
    assert_close(found.time, np.full(2, 0.4))
    assert found.steps.tolist() == [4, 4]
    assert_close(found.omega.scalars[0][1], np.cos(math.pi * np.asarray(y)) * math.exp(-0.01 * math.pi**2 * 0.4))
