"""Scalars by finite differences: an independent code, invariants, exact solutions, derivatives, budgets."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_code import trajectory
from jax.sharding import Mesh
from jax.test_util import check_grads
from layouts import fast_backends, fast_cases
from oracle import normal, vdot
from test_scalars import BOX, Case, derivatives, run, state_of
from tolerances import DOT, ORDER, ROLLOUT, SUMS, assert_close, assert_trees_close, relative_error

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Scalar,
    Spectral,
    State,
    diagnostics,
    initial,
)

SMALL, WIDE = Grid((6, 10), (2.0, 3.5)), Grid((10, 18), (1.2, 2.9))
NAMES = ("viscosity", "drag", "dt", "beta", "mean_flow")


@dataclasses.dataclass(frozen=True)
class Differences(Case):
    """A case by finite differences."""

    grid: Grid = SMALL
    steps: int = 2
    scheme: str = "arakawa"
    names: tuple[str, ...] = NAMES

    def __str__(self):
        return f"{self.scheme}-{super().__str__()}"

    @property
    def discretisation(self):
        return FiniteDifference(self.scheme)

    def _fused(self, backend, state, values, control):
        scalars = tuple(Scalar(**each) for each in values["scalars"])
        flow = values | {"scalars": scalars, "discretisation": self.discretisation, "adjoint": self.adjoint}
        return NavierStokes2D(self.grid, backend=backend, **flow).rollout(state, steps=self.steps, forcing=control)

    def oracle(self, state, values, control):
        """Return what `fused` does, one member after the other, by matrices."""

        def member(i):
            own = {name: value for name, value in values.items() if name != "forcing"}
            given = jax.tree.map(lambda x: x[i], own) if self.per_member else own
            given |= {"forcing": values["forcing"], "state": jax.tree.map(lambda x: x[i], state)}
            given |= {} if control is None else {"control": control[:, i]}
            wide = jax.tree.map(lambda x: jnp.asarray(x, "float64"), given)
            return trajectory(self.grid, self.discretisation, wide, self.steps)[-1]

        members = [member(i) for i in range(2)]
        return jax.tree.map(lambda *parts: jnp.stack(parts).astype(self.dtype), *members)


CASES = [
    Differences(per_member=True, adjoint=Checkpointed(every=1), control=True),
    Differences(grid=WIDE, scheme="central", scalars=1),
    Differences(grid=WIDE, dtype="float32", per_member=True, scalars=3, names=(*NAMES, "deformation_radius"), steps=1),
    Differences(names=("viscosity", "dt", "deformation_radius"), scalars=1, adjoint=Checkpointed()),
    Differences(scheme="central", dtype="float32", names=("viscosity", "dt"), control=True, adjoint=Direct()),
]


@functools.cache
def expected(case):
    return jax.jit(lambda: derivatives(case.oracle, case))()


@pytest.mark.parametrize(("backend", "case"), fast_backends(CASES, {"warp": [3]}), ids=str)
def test_value_jvp_and_vjp(case, backend):
    f = case.fused(backend)
    assert_trees_close(jax.jit(f)(*case.operands()), expected(case)[0], ROLLOUT)
    assert_trees_close(jax.jit(lambda: derivatives(f, case))(), expected(case), ROLLOUT)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
@pytest.mark.parametrize("case", fast_cases(CASES[:4:3], 1), ids=str)
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
@pytest.mark.parametrize("adjoint", [Checkpointed(every=1), Direct()], ids=str)
@pytest.mark.parametrize("backend", ["warp", "xla"])
def test_second_derivatives(adjoint, backend):
    case = Differences(adjoint=adjoint, scalars=1)
    operands = case.operands()
    weights = jax.tree.map(lambda x: normal(3, x.shape), operands[0])

    def loss(*operands):
        return vdot(jax.tree.map(jnp.square, case.fused(backend)(*operands)), weights)

    check_grads(jax.jit(loss), (*operands[:2], None), order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


def solver_of(*scalars, grid=BOX, scheme="arakawa", **options):
    good = {"viscosity": 0.0, "dt": 0.02, "discretisation": FiniteDifference(scheme), "backend": "xla"}
    return NavierStokes2D(grid, scalars=scalars, **{**good, **options})


# ------------------------------------------------------------------------------------------------ invariants


@pytest.mark.parametrize("scheme", ["arakawa", "central"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_advection_keeps_mean_and_variance(scheme, dtype):
    """Arakawa's Jacobian keeps both, and centred differences the mean of neither square."""
    solver = solver_of(Scalar(diffusivity=0.0), scheme=scheme, mean_flow=(0.4, -0.2))
    state = state_of(1, (2,), dtype)
    (c,), (rate,) = state.scalars, eqx.filter_jit(solver.tendency)(state).scalars
    scale = np.sum(np.abs(c * rate), axis=(-2, -1))
    assert np.all(np.abs(np.sum(rate, axis=(-2, -1))) < SUMS[dtype] * np.sum(np.abs(rate), axis=(-2, -1)))
    of_square = np.abs(np.sum(c * rate, axis=(-2, -1))) / scale
    assert np.all(of_square < SUMS[dtype]) if scheme == "arakawa" else np.all(of_square > 1e-4)


@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
def test_a_scalar_like_vorticity_stays_so(dtype):
    """With viscosity for diffusivity and the same forcing, both obey one equation."""
    grid, force = Grid((24, 30), (2.0, 3.0)), normal(3, (24, 30), dtype)
    omega = normal(4, grid.shape, dtype)
    solver = solver_of(Scalar(diffusivity=1e-3, forcing=force), grid=grid, viscosity=1e-3, dt=0.01, forcing=force)
    out = run(solver, State(omega, (omega,)), steps=50)
    assert_close(out.scalars[0], out.vorticity, ROLLOUT)
    plain = NavierStokes2D(grid, viscosity=1e-3, dt=0.01, forcing=force, backend="xla")
    assert_close(out.vorticity, run(plain, omega, steps=50), ROLLOUT)
    assert jnp.max(jnp.abs(out.vorticity - omega)) > 0.1


# ------------------------------------------------------------------------------------------------ exact solutions


def test_internal_waves_have_the_frequency_of_their_differences():
    """``N s / sqrt(lambda)``, with the factor s of a centred difference and an eigenvalue lambda of the Laplacian."""
    x, y = (np.asarray(a) for a in BOX.mesh())
    ky, kx = 2 * math.pi / BOX.extent[0], 2 * math.pi * 2 / BOX.extent[1]
    dy, dx = BOX.spacing
    s = math.sin(kx * dx) / dx
    size = math.hypot(2 * math.sin(kx * dx / 2) / dx, 2 * math.sin(ky * dy / 2) / dy)
    solver = solver_of(Scalar(diffusivity=0.0, mean_gradient=(0.0, 3.0), buoyancy=(0.0, 0.75)), dt=1e-3)
    frequency = 1.5 * s / size
    crests, amplitude = kx * x + ky * y, frequency / (0.75 * s)
    state = State(jnp.asarray(np.cos(crests)), (jnp.asarray(-amplitude * np.cos(crests)),))
    out = run(solver, state, steps=200)
    angle = 0.2 * frequency
    assert abs(frequency * math.hypot(kx, ky) / (1.5 * kx) - 1) > 0.05  # another one than without a grid
    assert_close(out.vorticity, np.cos(crests - angle), {"float64": 1e-9})
    assert_close(out.scalars[0], -amplitude * np.cos(crests - angle), {"float64": 1e-9})


@pytest.mark.full
@pytest.mark.parametrize("scheme", ["arakawa", "central"])
def test_the_error_falls_with_the_square_of_the_spacing(scheme):
    """A warm, stirred flow against `Spectral` on the finest grid, which resolves it to rounding."""

    def end(n, discretisation):
        grid = Grid((n, 2 * n), (2.0, 3.5))
        x, y = (2 * math.pi * a / side for a, side in zip(grid.mesh(), reversed(grid.extent), strict=True))
        state = State(jnp.sin(x + y) + jnp.cos(y), (jnp.cos(x) * jnp.sin(y),))
        warm = Scalar(diffusivity=0.01, mean_gradient=(0.5, 1.0), buoyancy=(0.0, 2.0))
        solver = solver_of(warm, grid=grid, viscosity=0.01, discretisation=discretisation, mean_flow=(0.3, 0.1))
        return run(solver, state, steps=25)

    exact = end(128, Spectral())
    errors = []
    for n in (32, 64):
        points = jax.tree.map(lambda x, n=n: x[:: 128 // n, :: 128 // n], exact)
        found = end(n, FiniteDifference(scheme))
        errors.append([relative_error(*pair) for pair in zip(*map(jax.tree.leaves, (found, points)), strict=True)])
    orders = np.log2(np.divide(*errors))
    assert np.all(np.abs(orders - 2) < ORDER), orders


# ------------------------------------------------------------------------------------------------ budgets


@pytest.mark.full
def test_budgets_close():
    """Variance, energy and the share of buoyancy in it, for a state and for its members."""
    case = Differences(grid=BOX, per_member=True, names=(*NAMES, "deformation_radius"), scalars=3)
    _, values, _ = case.operands()
    scalars = tuple(Scalar(**each) for each in values["scalars"])
    solver = NavierStokes2D(BOX, **values | {"scalars": scalars, "backend": "xla"})
    state = run(solver, state_of(3, (2,)), steps=1)
    variance, flow, fluxes = eqx.filter_jit(
        lambda s: (
            diagnostics.scalar_budgets(solver, s),
            diagnostics.budgets(solver, s),
            diagnostics.scalar_fluxes(solver, s),
        )
    )(state)
    energy = flow.energy
    assert set(energy.terms) == {"beta", "mean_flow", "buoyancy"}
    assert np.all(np.abs(energy.residual) < SUMS["float64"] * np.abs(energy.terms["buoyancy"]) * 10)
    pairs = [scalar.buoyancy or (0, 0) for scalar in scalars]
    assert_close(energy.terms["buoyancy"], sum(b * f for p, g in zip(pairs, fluxes) for b, f in zip(p, g)))  # noqa: B905
    norms = {"discretisation": FiniteDifference()}
    for scalar, budget, c in zip(scalars, variance, state.scalars, strict=True):
        assert_close(budget.dissipation, scalar.diffusivity * diagnostics.gradient_norm(BOX, c, **norms) ** 2)
        assert np.all(np.abs(budget.residual) < 1e-12 * np.abs(budget.dissipation))
    assert np.all(np.asarray(variance[1].injection) != 0)
    assert np.all(np.asarray(variance[0].production) != 0)


def test_boussinesq_flow_keeps_its_energy():
    """Kinetic energy and ``by / gy`` times the variance, with nothing that dissipates: budgets, and a rollout."""
    solver = solver_of(Scalar(diffusivity=0.0, mean_gradient=(0.0, 4.0), buoyancy=(0.0, 9.0)), dt=0.002)
    states = run(solver, state_of(1), steps=100, save_every=50, include_initial=True)
    (variance,), (energy, _) = eqx.filter_jit(
        lambda s: (diagnostics.scalar_budgets(solver, s), diagnostics.budgets(solver, s))
    )(states)
    exchanged = energy.rate + 9 / 4 * variance.rate
    assert np.all(np.abs(exchanged) < 1e-12 * np.abs(energy.rate))
    total = np.asarray(energy.value + 9 / 4 * variance.value)
    assert np.max(np.abs(total / total[0] - 1)) < 1e-5
    assert np.ptp(np.asarray(energy.value)) > 0.1 * total[0]


# ------------------------------------------------------------------------------------------------ the solver


def test_diffusivities_limit_the_step():
    quick = solver_of(Scalar(diffusivity=jnp.asarray([0.1, 1e-3])), Scalar(diffusivity=0.02), viscosity=0.05)
    shortest = sum(4 / side**2 for side in BOX.spacing)
    assert_close(quick.diffusion_number(), shortest * np.array([0.1, 0.05]) * 0.02)


@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device")
def test_a_divided_grid():
    mesh = Mesh(np.array(jax.devices()[:2]), ("y",))
    with pytest.raises(ValueError, match=r"scalars=.*divided grid.*wns\.Spectral\(\)"):
        solver_of(Scalar(diffusivity=0.1), grid=Grid((16, 16)).over(mesh, "y"))


@pytest.mark.full
def test_stirring_by_turbulence_on_both_backends():
    """A rollout with laws of time and saves."""
    omega = initial.decaying_turbulence(WIDE, key=jax.random.key(0), peak_wavenumber=2, dtype="float32")
    found = []
    for backend in ("warp", "xla"):
        scalar = Scalar(diffusivity=1e-2, mean_gradient=(0.0, 1.0), buoyancy=(0.0, 0.5))
        solver = solver_of(scalar, grid=WIDE, viscosity=1e-2, dt=0.01, backend=backend)
        found.append(run(solver, State(omega, (jnp.zeros_like(omega),)), steps=6, save_every=3))
    assert_trees_close(*found, ROLLOUT)
