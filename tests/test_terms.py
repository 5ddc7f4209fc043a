"""Linear terms of `Spectral` besides viscosity and drag: an independent code, exact solutions, derivatives."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from layouts import fast_cases
from oracle import normal, vdot
from spectral_cases import BACKENDS, LONG, SMALL, WIDE
from spectral_oracle import Oracle, over
from test_repeats import equations
from tolerances import DOT, ORDER, ROLLOUT, assert_close, assert_trees_close

from warpjaxns import Checkpointed, Direct, Grid, NavierStokes2D, Spectral, diagnostics, initial
from warpjaxns._primitives.operands import Operands
from warpjaxns._spectral.modes import Modes

every_backend = pytest.mark.parametrize("backend", BACKENDS)
# the kernels have been compared with the oracle; exact solutions are those of the equation
every_dtype = pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
mostly_xla = pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
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

DIRECT = Direct()


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, options, steps, and whether members have coefficients of their own."""

    grid: Grid = SMALL
    dealiasing: str = "two-thirds"
    integrator: str = "rk3"
    dtype: str = "float64"
    steps: int = 3
    adjoint: Direct | Checkpointed = DIRECT
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
            values = self.options(values)
            solver = NavierStokes2D(self.grid, **values, hyperviscosity_order=self.order, backend=backend, **how)
            return solver.rollout(omega, steps=self.steps)

        return run

    def options(self, values):
        """Return the solver's arguments, given those that are differentiated."""
        return values

    def code(self, values):
        """Return the independent code."""
        return Oracle(self.grid, self.dealiasing, jnp)

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
            o = self.code(values)
            laplacian, mean = jnp.asarray(o.laplacian), jnp.asarray(o.laplacian == 0)
            screening = 1 / of("deformation_radius")[0] ** 2 if "deformation_radius" in values else 0.0
            o.inverse = jnp.where(mean, 0, 1 / jnp.where(mean, 1, laplacian - screening))
            (u, v), (beta,), (hyper,), (hypo,) = (
                of("mean_flow", (0, 0)),
                of("beta"),
                of("hyperviscosity"),
                of("hypodrag"),
            )
            northward = o.dx * o.inverse  # v = d(inverse q)/dx
            linear = -u * o.dx - v * o.dy - beta * northward
            linear = (
                linear
                - hyper * (-laplacian) ** self.order
                + hypo * np.divide(1, o.laplacian, out=np.zeros(self.grid.shape), where=o.laplacian != 0)
            )
            drag = of("drag")[0] - linear

            def step(spectrum, _):
                return o.step(spectrum, of("viscosity")[0], drag, of("dt")[0], 0.0, self.integrator), None

            spectrum = over(jnp, step, o.spectrum(jnp.asarray(omega, "float64")), self.steps)
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
every_case = pytest.mark.parametrize("case", fast_cases(CASES, 1), ids=str)


def derivatives(f, case):
    """Return value, jvp and vjp."""
    with jax.ensure_compile_time_eval():  # as constants of the program
        operands, tangents = case.operands(), case.directions()
    value, tangent = jax.jvp(f, operands, tangents)
    return value, tangent, jax.vjp(f, *operands)[1](normal(20, value.shape, case.dtype))


@functools.cache
def expected(case):
    return jax.jit(lambda: derivatives(case.oracle, case))()


def check(case, backend="warp"):
    """Compare value and derivatives, and the value without differentiation, which is another program."""
    f = case.fused(backend)
    assert_close(jax.jit(f)(*case.operands()), expected(case)[0], ROLLOUT)
    assert_trees_close(jax.jit(lambda: derivatives(f, case))(), expected(case), ROLLOUT)


@pytest.mark.full
@every_backend
@every_case
def test_value_jvp_and_vjp(case, backend):
    check(case, backend)


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("case", fast_cases([CASES[0], CASES[2], CASES[4], CASES[6]], 0), ids=str)
def test_dot_products(case, backend):
    """Take the products of each operand alone, and of all."""
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


@pytest.mark.full
@every_backend
@pytest.mark.parametrize("adjoint", [Checkpointed(), Direct()], ids=str)
def test_second_derivatives(adjoint, backend):
    case = Case(steps=2, adjoint=adjoint)
    f, operands = case.fused(backend), case.operands()
    weights = normal(3, operands[0].shape)

    def loss(*operands):
        return vdot(f(*operands) ** 2, weights)

    check_grads(jax.jit(loss), operands, order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


# ------------------------------------------------------------------------------------------------ exact solutions

BOX = Grid((24, 32), (2.0, 3.0))


def wave(grid, my, mx, amplitude=1.0, dtype="float64"):
    """Return ``cos(k . x)``, and its wavenumber (ky, kx)."""
    x, y = grid.mesh()
    ky, kx = (2 * math.pi * m / side for m, side in zip((my, mx), grid.extent, strict=True))
    return jnp.asarray(amplitude * np.cos(ky * np.asarray(y) + kx * np.asarray(x)), dtype), (ky, kx)


def solver_of(backend, grid=BOX, **options):
    good = {"viscosity": 0.0, "dt": 0.05, "discretisation": Spectral(), "backend": backend}
    return NavierStokes2D(grid, **{**good, **options})


@pytest.mark.full
@pytest.mark.covering(1)
@every_dtype
@pytest.mark.parametrize("radius", [None, 0.2], ids=["rigid", "radius"])
@mostly_xla
def test_a_rossby_wave_has_its_frequency(backend, radius, dtype):
    """``omega = -beta kx / (k^2 + F)``, and a single wave is an exact solution (Pedlosky 1987, section 3.16)."""
    omega, (ky, kx) = wave(BOX, 2, -3, dtype=dtype)
    solver = solver_of(backend, beta=40.0, mean_flow=(0.7, -0.3), deformation_radius=radius)
    states = jax.jit(lambda w: solver.rollout(w, steps=20, save_every=10))(omega)
    screening = 0 if radius is None else radius**-2
    frequency = -40.0 * kx / (ky**2 + kx**2 + screening) + 0.7 * kx - 0.3 * ky
    x, y = (np.asarray(a) for a in BOX.mesh())
    for time, state in zip((0.5, 1.0), states, strict=True):
        assert abs(frequency * time) > 1
        assert_close(state, np.cos(ky * y + kx * x - frequency * time), ROLLOUT)


@pytest.mark.full
@mostly_xla
def test_a_packet_of_rossby_waves_has_their_group_velocity(backend):
    """Along x ``beta (kx^2 - ky^2) / k^4`` without a deformation radius: opposite to the crests where kx > ky."""
    grid, beta = Grid((8, 256), (1.0, 8.0)), 200.0
    x, y = (np.asarray(a) for a in grid.mesh())
    kx, ky = 2 * math.pi * 40 / 8, 2 * math.pi
    packet = np.exp(-((x - 4.0) ** 2) / 0.8)
    omega = jnp.asarray(1e-6 * packet * np.cos(kx * x + ky * y))  # so small that advection is nothing
    later = np.asarray(jax.jit(lambda w: solver_of(backend, grid, beta=beta).rollout(w, steps=40))(omega))

    def place(field):
        """Return where the packet is, from the phase of the longest wave of its energy."""
        energy = np.mean(np.asarray(field) ** 2, axis=0)
        return -np.angle(np.sum(energy * np.exp(-2j * math.pi * x[0] / 8))) * 8 / (2 * math.pi) % 8

    squared = kx**2 + ky**2
    group, phase = beta * (kx**2 - ky**2) / squared**2, -beta / squared
    assert group * phase < 0
    moved = place(later) - place(omega)
    assert abs(moved - 2.0 * group) < 0.02 * abs(2.0 * group)
    assert abs(moved) > 4 * grid.spacing[1]


@pytest.mark.full
@every_dtype
@mostly_xla
def test_taylor_green_vortices_with_hyperviscosity_and_hypodrag(backend, dtype):
    omega, order = initial.taylor_green(BOX, amplitude=0.5, dtype=dtype), 3
    squared = sum((2 * math.pi / side) ** 2 for side in BOX.extent)
    values = {"viscosity": 0.02, "drag": 0.2, "hyperviscosity": 2e-4, "hypodrag": 3.0}

    def energy(values):
        solver = solver_of(backend, hyperviscosity_order=order, **values)
        return jnp.mean(solver.rollout(omega, steps=20) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(energy))({n: jnp.asarray(v, dtype) for n, v in values.items()})
    symbol = {"viscosity": squared, "drag": 1.0, "hyperviscosity": squared**order, "hypodrag": 1 / squared}
    rate = sum(symbol[name] * values[name] for name in values)
    assert rate > 1
    exact = math.exp(-2 * rate) * np.mean(np.asarray(omega, "float64") ** 2)
    assert_close(value, np.asarray(exact, dtype), ROLLOUT)
    for name, factor in symbol.items():
        assert_close(gradient[name], np.asarray(-2 * factor * exact, dtype), ROLLOUT)


@pytest.mark.full
@mostly_xla
def test_a_mean_flow_carries_everything(backend):
    """It is a Galilean transformation: after L / U the flow is where it would be without, and between it is shifted."""
    omega = jnp.asarray(normal(5, BOX.shape)) * 3
    rest, carried = (solver_of(backend, viscosity=1e-3, dt=0.01, mean_flow=u) for u in (None, (3.0, -2.0)))
    still, moved = (jax.jit(lambda w, s=s: s.rollout(w, steps=50))(omega) for s in (rest, carried))
    # half a length along x and along y
    assert_close(moved, np.roll(np.asarray(still), (-12, 16), axis=(0, 1)), {"float64": 1e-10})


@pytest.mark.full
@mostly_xla
def test_quasi_geostrophic_flow_keeps_its_invariants(backend):
    """Total energy ``0.5 <psi q>`` and potential enstrophy, with advection in the way of neither."""
    solver = solver_of(backend, beta=5.0, deformation_radius=0.3, mean_flow=(1.0, 0.5))
    omega = jax.jit(lambda w: solver.rollout(w, steps=0))(normal(6, BOX.shape) * 2)
    budgets = jax.jit(lambda w: diagnostics.budgets(solver, w))(omega)
    for budget in budgets:
        assert set(budget.terms) == {"beta", "mean_flow"}
        scale = jnp.sqrt(jnp.mean(solver.tendency(omega) ** 2) * budget.value)
        for part in (budget.rate, budget.residual, *budget.terms.values()):
            assert abs(part) < 1e-13 * scale
    psi, (u, v) = solver.streamfunction(omega), solver.velocity(omega)
    assert_close(2 * budgets.energy.value, jnp.mean(u**2 + v**2 + psi**2 / 0.3**2))


@mostly_xla
def test_budgets_close_with_every_term(backend):
    values = {name: value for name, value in VALUES.items() if name != "dt"}
    solver = solver_of(backend, **values)
    omega = jax.jit(lambda w: solver.rollout(w, steps=0))(normal(7, (2, *BOX.shape)))
    found = jax.jit(lambda w: diagnostics.budgets(solver, w))(omega)
    rate = solver.tendency(omega)
    for budget, weight in zip(found, (solver.streamfunction(omega), omega), strict=True):
        assert set(budget.terms) == {"beta", "mean_flow", "hyperviscosity", "hypodrag"}
        assert_close(budget.rate, jnp.mean(weight * rate, (-2, -1)))
        assert np.all(np.asarray(budget.terms["hyperviscosity"]) < 0)
        assert np.all(np.asarray(budget.terms["hypodrag"]) < 0)
        assert np.all(np.abs(budget.residual) < 1e-12 * np.abs(budget.rate))


@pytest.mark.full
def test_order_in_dt_is_kept():
    """Fourth, since linear terms are exact; so a stiff term does not limit dt."""
    omega = 5 * initial.taylor_green(BOX) + wave(BOX, 2, 1, 2.0)[0]
    terms = {"beta": 30.0, "hyperviscosity": 1e-4, "deformation_radius": 0.5}

    @functools.partial(jax.jit, static_argnums=0)
    def run(steps):
        return solver_of("xla", dt=0.4 / steps, **terms).rollout(omega, steps=steps)

    exact = run(320)
    errors = [float(jnp.linalg.norm(run(n) - exact)) for n in (20, 40)]
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 4 * ORDER


# ------------------------------------------------------------------------------------------------ the solver


def test_terms_are_leaves_where_they_are_given():
    plain, with_terms = solver_of("xla"), solver_of("xla", beta=1.0, mean_flow=(1.0, jnp.ones(3)))
    assert len(jax.tree.leaves(with_terms)) == len(jax.tree.leaves(plain)) + 3
    assert with_terms.term_rates(jnp.ones((3, *BOX.shape))).keys() == {"beta", "mean_flow"}
    assert plain.term_rates(jnp.ones(BOX.shape)) == {}


@pytest.mark.full
@mostly_xla
def test_vmap_over_coefficients(backend):
    omega, betas = normal(8, BOX.shape), jnp.asarray([1.0, 20.0])
    many = jax.jit(jax.vmap(lambda beta: solver_of(backend, beta=beta).rollout(omega, steps=2)))(betas)
    for beta, one in zip(betas, many, strict=True):
        assert_close(one, solver_of(backend, beta=beta).rollout(omega, steps=2))


@pytest.mark.full
@pytest.mark.skipif(len(jax.devices()) < 2, reason="one device")
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
def test_a_sharded_batch_stays_sharded(backend):
    """Members have coefficients of their own on either device, and the cotangent of a shared one is a sum."""
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:2]), ("members",)), PartitionSpec("members"))
    omega, betas = jax.device_put((normal(9, (4, *BOX.shape)), jnp.linspace(1.0, 9.0, 4)), sharding)

    weights = normal(10, (1, *BOX.shape))

    @jax.jit
    def run(omega, betas, flow):
        def loss(omega, betas, flow):
            solver = solver_of(backend, beta=betas, mean_flow=(flow, 0.0), check_finite=False)
            out = solver.rollout(omega, steps=2)
            return jnp.sum(weights * out**3), out  # without weights no mean flow would change it

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(omega, betas, flow)

    (_, out), gradient = run(omega, betas, 0.5)
    assert out.sharding.is_equivalent_to(sharding, out.ndim)
    assert gradient[0].sharding.is_equivalent_to(sharding, out.ndim)
    alone = jax.device_put((omega, betas), jax.devices()[0])
    (_, expected), derivatives = run(*alone, 0.5)
    assert_close(out, expected)
    assert_trees_close(gradient, derivatives, ROLLOUT)


def test_solvers_without_terms_have_no_symbol():
    """They pass a single number, and their kernels read none."""
    (width, rows), omega = Modes(BOX, "two-thirds").shape, jnp.ones(BOX.shape)
    for terms, shape in (({}, (1, 1, 1, 1)), ({"beta": 1.0}, (1, width, rows, 2))):
        solver = solver_of("warp", check_finite=False, **terms)
        program = jax.make_jaxpr(lambda w, s=solver: s.rollout(w, steps=2))(omega)
        (equation,) = equations(program.jaxpr, "spectral_advance")
        assert equation.invars[Operands._fields.index("linear")].aval.shape == shape


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": "strong"}, "beta='strong'"),
        ({"mean_flow": 1.0}, "mean_flow=1.0.*pair"),
        ({"mean_flow": (1.0, None)}, "mean_flow=None"),
        ({"hyperviscosity": -1.0}, "hyperviscosity=-1.0.*zero or a positive"),
        ({"hyperviscosity_order": 0}, "hyperviscosity_order=0.*at least 1"),
        ({"hyperviscosity_order": 1.5}, "hyperviscosity_order=1.5.*integer"),
        ({"hyperviscosity": 1.0, "hyperviscosity_order": 40}, "hyperviscosity_order=40.*at most"),
        ({"hypodrag": float("nan")}, "hypodrag=nan"),
        ({"deformation_radius": 0.0}, "deformation_radius=0.0.*positive"),
    ],
    ids=str,
)
def test_errors(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        solver_of("xla", **changes)
