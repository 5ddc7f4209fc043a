"""Linear terms of `FiniteDifference` besides viscosity and drag: an independent code, exact solutions, derivatives.

The independent code has matrices in the place of stencils and of Fourier transforms.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.test_util import check_grads
from layouts import SATURATED, always, fast_backends, fast_cases, hand_in
from oracle import COEFFICIENTS, normal, vdot
from test_repeats import equations
from tolerances import DOT, ROLLOUT, assert_close, assert_trees_close

import warpjaxns as wns
from warpjaxns import Checkpointed, Direct, FiniteDifference, Grid, NavierStokes2D, diagnostics, initial
from warpjaxns._kernels import tuning
from warpjaxns._primitives.operands import Operands

BACKENDS = ["warp", "xla"]
SMALL, WIDE = Grid((6, 10), (2.0, 3.5)), Grid((10, 18), (0.7, 2.9))
# so large that each matters in a step, on grids of a unit of length
VALUES = {
    "viscosity": 1e-3,
    "drag": 0.3,
    "dt": 5e-3,
    "beta": 9.0,
    "mean_flow": (1.5, -0.7),
    "hypodrag": 2.0,
}
WITH_RADIUS = {**{name: value for name, value in VALUES.items() if name != "hypodrag"}, "deformation_radius": 0.3}
BODY = ("mask", "permeability")
NUMBERS = {**VALUES, **WITH_RADIUS, "permeability": 0.05}
WITH_MEDIUM = (*VALUES, "topography", *BODY)
DIRECT = Direct()


# ------------------------------------------------------------------------------------------------ an independent code


@functools.cache
def matrices(grid):
    """Return the centred differences along x and y, the Laplacian, and its eigenvalues and vectors, the mean last."""
    (ny, nx), (dy, dx) = grid.shape, grid.spacing

    def along(n, h):
        east = np.roll(np.eye(n), 1, axis=1)  # row i has a 1 at column i + 1
        return (east - east.T) / (2 * h), (east + east.T - 2 * np.eye(n)) / h**2

    (first_y, second_y), (first_x, second_x) = along(ny, dy), along(nx, dx)
    laplacian = np.kron(second_y, np.eye(nx)) + np.kron(np.eye(ny), second_x)
    return np.kron(np.eye(ny), first_x), np.kron(first_y, np.eye(nx)), laplacian, np.linalg.eigh(laplacian)


@functools.cache
def edges(grid):
    """Return the differences and the means of neighbours along x, and those along y."""
    (ny, nx), (dy, dx) = grid.shape, grid.spacing
    next_x = np.kron(np.eye(ny), np.roll(np.eye(nx), 1, axis=1))
    next_y = np.kron(np.roll(np.eye(ny), 1, axis=1), np.eye(nx))
    one = np.eye(ny * nx)
    return [((step - one) / h, (step + one) / 2) for step, h in ((next_x, dx), (next_y, dy))]


def tendency(grid, scheme, w, values):
    """Return R of one member ``(ny nx,)``, with `values` as numbers."""
    along_x, along_y, laplacian, (eigenvalues, vectors) = matrices(grid)
    number = 1 / values["deformation_radius"] ** 2 if "deformation_radius" in values else 0.0
    psi = vectors[:, :-1] @ ((vectors[:, :-1].T @ w) / (number - eigenvalues[:-1]))
    q = w + values["topography"].ravel() if "topography" in values else w
    psi_x, psi_y, q_x, q_y = along_x @ psi, along_y @ psi, along_x @ q, along_y @ q
    advection = psi_x * q_y - psi_y * q_x
    if scheme == "arakawa":  # the mean of the advective form and of both fluxes
        advection += along_x @ (psi * q_y) - along_y @ (psi * q_x)
        advection += along_y @ (q * psi_x) - along_x @ (q * psi_y)
        advection /= 3
    u, v = values.get("mean_flow", (0.0, 0.0))
    rate = advection + values["viscosity"] * (laplacian @ w) - values.get("drag", 0.0) * w
    rate += values.get("beta", 0.0) * psi_x - u * q_x - v * q_y
    if "mask" in values:  # the resistance to the flow across each edge between two points
        r = (values["mask"] / values["permeability"]).ravel()
        for (difference, mean), uniform in zip(edges(grid), (-v, u), strict=True):
            rate -= difference.T @ ((mean @ r) * (difference @ psi + uniform))
    return rate - values.get("hypodrag", 0.0) * psi


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, options, steps, whether members have coefficients of their own, and the terms."""

    grid: Grid = SMALL
    scheme: str = "arakawa"
    dtype: str = "float64"
    steps: int = 2
    adjoint: Direct | Checkpointed = DIRECT
    per_member: bool = False
    names: tuple[str, ...] = tuple(VALUES)
    held: tuple[str, ...] = ()  # not differentiated

    def __str__(self):
        ny, nx = self.grid.shape
        parts = [f"{ny}x{nx}", self.scheme, self.dtype, type(self.adjoint).__name__, *["members"] * self.per_member]
        return "-".join([*parts, *self.names[2:]])

    def fused(self, backend):
        how = {"discretisation": FiniteDifference(self.scheme), "adjoint": self.adjoint, "check_finite": False}

        def run(omega, values):
            given = {name: value for name, value in values.items() if name not in BODY}
            if "mask" in values:
                given["obstacle"] = wns.Obstacle(*(values[name] for name in BODY))
            return NavierStokes2D(self.grid, **given, backend=backend, **how).rollout(omega, steps=self.steps)

        return run

    def operands(self):
        def spread(value):
            return jnp.asarray(value * (1 + np.arange(2) / 3) if self.per_member else value, self.dtype)

        values = {name: jax.tree.map(spread, NUMBERS[name]) for name in self.names if name in NUMBERS}
        shape = (2, *self.grid.shape) if self.per_member else self.grid.shape
        fields = {"topography": 5 * normal(1, shape), "mask": np.random.default_rng(2).uniform(0, 1, shape)}
        values |= {name: jnp.asarray(fields[name], self.dtype) for name in self.names if name in fields}
        return normal(0, (2, *self.grid.shape), self.dtype), values

    def directions(self):
        """Return random directions, in the unit of each operand."""
        leaves, structure = jax.tree.flatten(self.operands())
        made = [np.asarray(normal(10 + i, x.shape)) * np.max(np.abs(x)) for i, x in enumerate(leaves)]
        return jax.tree.unflatten(structure, [jnp.asarray(x, self.dtype) for x in made])

    def oracle(self, omega, values):
        """Return what `fused` does, by the independent code."""

        def one(w, values):
            def stage(carry, s):
                start, w = carry
                a, b, c = jnp.asarray(COEFFICIENTS)[s % 3]
                start = jnp.where(s % 3 == 0, w, start)
                rate = tendency(self.grid, self.scheme, w, values)
                return (start, a * start + b * w + c * values["dt"] * rate), None

            (_, w), _ = jax.lax.scan(stage, (w.ravel(), w.ravel()), jnp.arange(3 * self.steps))
            return w.reshape(self.grid.shape)

        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            wide = jax.tree.map(lambda x: jnp.asarray(x, "float64"), (omega, values))
            return jax.vmap(one, (0, 0 if self.per_member else None))(*wide).astype(self.dtype)


CASES = [
    Case(per_member=True, adjoint=Checkpointed()),
    Case(grid=WIDE, names=tuple(WITH_RADIUS), per_member=True),
    Case(grid=WIDE, dtype="float32", adjoint=Checkpointed(every=1)),
    Case(scheme="central", names=tuple(WITH_RADIUS), dtype="float32", per_member=True),
    Case(grid=WIDE, scheme="central", names=("viscosity", "dt", "beta")),
    Case(names=("viscosity", "dt", "deformation_radius"), adjoint=Checkpointed()),
    Case(names=WITH_MEDIUM, per_member=True),
    Case(grid=WIDE, scheme="central", names=(*WITH_RADIUS, "topography", *BODY), adjoint=Checkpointed()),
    Case(names=("viscosity", "dt", *BODY), dtype="float32", per_member=True),
    Case(grid=WIDE, names=tuple(WITH_RADIUS), per_member=True, held=("deformation_radius",)),
]
every_case = pytest.mark.parametrize(("backend", "case"), fast_backends(CASES, {"warp": (7,)}), ids=str)


def derivatives(f, case):
    """Return value, jvp and vjp."""
    with jax.ensure_compile_time_eval():  # as constants of the program
        (omega, values), (domega, dvalues) = case.operands(), case.directions()
    constant = {name: values.pop(name) for name in case.held}
    towards = domega, {name: dvalues[name] for name in values}

    def of_moving(omega, values):
        return f(omega, values | constant)

    value, tangent = jax.jvp(of_moving, (omega, values), towards)
    return value, tangent, jax.vjp(of_moving, omega, values)[1](normal(20, value.shape, case.dtype))


@functools.cache
def expected(case):
    return jax.jit(lambda: derivatives(case.oracle, case))()


def check(case, backend="warp", wanted=None):
    """Compare value and derivatives, and the value without differentiation, which is another program.

    `wanted`: what they are to be; None: those of the independent code.
    """
    wanted = wanted or expected(case)
    f = case.fused(backend)
    assert_close(jax.jit(f)(*case.operands()), wanted[0], ROLLOUT)
    assert_trees_close(jax.jit(lambda: derivatives(f, case))(), wanted, ROLLOUT)


@every_case
def test_value_jvp_and_vjp(case, backend):
    check(case, backend)


@pytest.mark.full
@pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))
@pytest.mark.parametrize("names", fast_cases([tuple(WITH_RADIUS), WITH_MEDIUM], 0), ids=["radius", "medium"])
def test_dot_products(names, backend):
    """Take the products of each operand alone, and of all."""
    case = Case(per_member=True, names=names)
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
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("names", [WITH_MEDIUM, tuple(WITH_RADIUS)], ids=["medium", "radius"])
def test_second_derivatives(names, backend):
    case = Case(steps=1, names=names)
    f, operands = case.fused(backend), case.operands()
    weights = normal(3, operands[0].shape)

    def loss(*operands):
        return vdot(f(*operands) ** 2, weights)

    check_grads(jax.jit(loss), operands, order=2, modes=["fwd", "rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


# ------------------------------------------------------------------------------------------------ exact solutions

BOX = Grid((12, 16), (2.0, 3.0))
# the kernels have been compared with the oracle; exact solutions are those of the equation
mostly_xla = pytest.mark.parametrize("backend", fast_cases(BACKENDS, 1))


def solver_of(backend, grid=BOX, **options):
    return NavierStokes2D(grid, **{"viscosity": 0.0, "dt": 0.05, "backend": backend, **options})


@mostly_xla
@pytest.mark.parametrize("other", [{"hypodrag": 3.0}, {"deformation_radius": 0.3}], ids=lambda other: next(iter(other)))
def test_a_single_wave_has_its_frequency_and_decay(backend, other):
    """It is an exact solution of the equations on the grid, with the eigenvalues of their differences.

    A step multiplies it by ``1 + z + z^2 / 2 + z^3 / 6``.
    """
    (my, mx), (dy, dx), steps = (2, -3), BOX.spacing, 20
    y, x = np.meshgrid(np.arange(12) * dy, np.arange(16) * dx, indexing="ij")
    ky, kx = 2 * np.pi * my / 2.0, 2 * np.pi * mx / 3.0
    along_y, along_x = np.sin(ky * dy) / dy, np.sin(kx * dx) / dx
    squared = (2 * np.sin(ky * dy / 2) / dy) ** 2 + (2 * np.sin(kx * dx / 2) / dx) ** 2
    screening = 0.3**-2 if "deformation_radius" in other else 0.0
    frequency = -40.0 * along_x / (squared + screening) + 0.7 * along_x - 0.3 * along_y
    rate = -1j * frequency - 1e-3 * squared - other.get("hypodrag", 0.0) / squared
    z = rate * 0.02
    factor = (1 + z + z**2 / 2 + z**3 / 6) ** steps
    assert abs(np.angle(np.exp(-1j * frequency * 0.02 * steps))) > 0.5
    wave = np.exp(1j * (ky * y + kx * x))
    solver = solver_of(backend, viscosity=1e-3, dt=0.02, beta=40.0, mean_flow=(0.7, -0.3), **other)
    state = jax.jit(lambda w: solver.rollout(w, steps=steps))(jnp.asarray(wave.real))
    assert_close(state, (factor * wave).real, ROLLOUT)


SLABS = {**SATURATED, "SLABS": {4096: always(tuning.Slabs(4, 8, True, True, False))}}


@pytest.mark.full
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 0))
@pytest.mark.parametrize(
    "tables",
    fast_cases([SLABS, SATURATED, {}, {**SATURATED, "LONGEST_COLUMN": 4, "ROWS_OF_PART": 4}], 0),
    ids=["slabs", "columns", "resident", "parts"],
)
def test_a_large_deformation_radius(tables, dtype, monkeypatch):
    """Recursions along y then lose next to nothing from row to row, and means must not grow."""
    hand_in(monkeypatch, tables)
    grid, radii = Grid((16, 24), (1.0, 2.0)), jnp.asarray([0.01, 3.0, 100.0, 1e4], dtype)
    omega = normal(11, (4, *grid.shape), dtype)
    centred = omega - jnp.mean(omega, (-2, -1), keepdims=True)
    given = {"viscosity": 0.0, "dt": 0.01, "deformation_radius": radii, "check_finite": False}
    changes = {}
    for backend, start in (("warp", centred), ("xla", centred.astype("float64"))):
        solver = NavierStokes2D(grid, backend=backend, **given)
        changes[backend] = np.asarray(jax.jit(lambda w, s=solver: s.rollout(w, steps=1) - w)(start))
    for radius, found, exact in zip(radii, changes["warp"], changes["xla"], strict=True):
        error = np.linalg.norm(found - exact) / np.linalg.norm(omega)  # of a change that is small beside the state
        assert error < {"float32": 2e-7, "float64": 1e-15}[dtype], radius


@pytest.mark.full
@mostly_xla
def test_a_mean_flow_carries_taylor_green_vortices(backend):
    """The error of their place is of second order in the spacing."""
    errors = []
    for n in (16, 32):
        grid = Grid((n, n + 8), (1.0, 1.0))
        omega = initial.taylor_green(grid)
        solver = solver_of(backend, grid, dt=0.25 / n, mean_flow=(1.0, -1.0))
        state = jax.jit(lambda w, s=solver, n=n: s.rollout(w, steps=2 * n))(omega)  # over half a side: the same flow
        errors.append(np.linalg.norm(state - omega) / np.linalg.norm(omega))
    assert errors[0] < 0.2
    assert 3 < errors[0] / errors[1] < 5.5


@mostly_xla
@pytest.mark.parametrize("values", fast_cases([VALUES, WITH_RADIUS], 1), ids=["hypodrag", "radius"])
def test_budgets_close_with_every_term(backend, values):
    """Beta plane and mean flow change neither energy nor enstrophy, and Arakawa's advection does not."""
    solver = solver_of(backend, **values)
    omega = normal(7, (2, *BOX.shape)) + 0.5  # the mean has no flow
    found = jax.jit(lambda w: diagnostics.budgets(solver, w))(omega)
    rate, psi = solver.tendency(omega), solver.streamfunction(omega)
    assert set(found.energy.terms) == set(values) & {"beta", "mean_flow", "hypodrag"}
    for budget, weight in zip(found, (psi, omega), strict=True):
        scale = jnp.sqrt(jnp.mean(rate**2) * jnp.mean(weight**2))
        assert_close(budget.rate, jnp.mean(weight * rate, (-2, -1)))
        for none in (budget.residual, budget.terms["beta"], budget.terms["mean_flow"]):
            assert np.all(np.abs(none) < 1e-14 * scale)
        assert np.all(np.asarray(budget.terms.get("hypodrag", -1.0)) < 0)
    operators = {"discretisation": solver.discretisation, "backend": backend}
    screening = values.get("deformation_radius", np.inf) ** -2
    centred = omega - jnp.mean(omega, (-2, -1), keepdims=True)
    assert_close(screening * psi - wns.laplacian(BOX, psi, **operators), centred)


@pytest.mark.full
@mostly_xla
def test_invariants_with_a_medium(backend):
    """Topography does no work, and keeps the enstrophy of ``omega + h``. A body takes energy out, as the edges say."""
    h, mask, omega = 5 * normal(1, BOX.shape), np.random.default_rng(2).uniform(0, 1, BOX.shape), normal(7, BOX.shape)
    body = wns.Obstacle(jnp.asarray(mask), 0.5)
    hills, bodies = (solver_of(backend, topography=field, obstacle=body) for field, body in ((h, None), (None, body)))
    over_hills = jax.jit(lambda w: diagnostics.budgets(hills, w))(omega).energy
    rate = hills.tendency(omega)
    scale = jnp.sqrt(jnp.mean(rate**2) * jnp.mean(omega**2))
    assert abs(over_hills.terms["topography"]) < 1e-14 * scale
    assert abs(over_hills.rate) < 1e-14 * scale
    assert abs(jnp.mean((omega + h) * rate)) < 1e-14 * jnp.sqrt(jnp.mean(rate**2) * jnp.mean((omega + h) ** 2))
    past_bodies = jax.jit(lambda w: diagnostics.budgets(bodies, w))(omega).energy
    psi, r = np.asarray(bodies.streamfunction(omega)).ravel(), mask.ravel() / 0.5
    lost = sum(np.mean((mean @ r) * (difference @ psi) ** 2) for difference, mean in edges(BOX))
    assert_close(past_bodies.terms["obstacle"], -lost)
    assert_close(past_bodies.rate, -lost)


def test_the_courant_number_has_the_mean_flow():
    """Here it limits dt. With Fourier modes it does not."""
    omega, (dy, dx) = jnp.zeros(BOX.shape), BOX.spacing
    still = 0.05 * (3.0 / dx + 2.0 / dy)
    differences = solver_of("xla", mean_flow=(3.0, -2.0))
    modes = solver_of("xla", mean_flow=(3.0, -2.0), discretisation=wns.Spectral())
    found = jax.jit(lambda w: (differences.cfl(w), modes.cfl(w)))(omega)
    assert_close(found[0], jnp.asarray(still))
    assert found[1] == 0


# ------------------------------------------------------------------------------------------------ the solver


def test_solvers_without_terms_have_no_coefficients():
    """They pass a single number, and their kernels read none."""
    omega = jnp.ones(BOX.shape)
    for given, shape in (({}, (1, 1, 1)), ({"beta": 1.0}, (1, 1, 4)), ({"deformation_radius": 1.0}, (1, 1, 3))):
        solver = solver_of("xla", check_finite=False, **given)
        program = jax.make_jaxpr(lambda w, s=solver: s.rollout(w, steps=2))(omega)
        (equation,) = equations(program.jaxpr, "advance")
        assert equation.invars[Operands._fields.index("linear")].aval.shape == shape


@pytest.mark.full
@mostly_xla
def test_vmap_over_coefficients(backend):
    omega, radii = normal(8, BOX.shape), jnp.asarray([0.2, 2.0])

    def run(radius):
        return solver_of(backend, beta=2.0, deformation_radius=radius).rollout(omega, steps=2)

    for radius, one in zip(radii, jax.jit(jax.vmap(run))(radii), strict=True):
        assert_close(one, run(radius))


@pytest.mark.parametrize(
    ("grid", "given", "words"),
    [
        (BOX, {"hyperviscosity": 1e-6}, "hyperviscosity=1e-06"),
        (BOX, {"hypodrag": 1.0, "deformation_radius": 1.0}, "hypodrag=1.0, deformation_radius=1.0"),
        (BOX.over(Mesh(np.array(jax.devices()[:2]), ("y",)), "y"), {"beta": 2.0}, "beta=2.0.*divided grid"),
    ],
    ids=["hyperviscosity", "hypodrag", "divided"],
)
def test_finite_differences_name_what_can(grid, given, words):
    with pytest.raises(ValueError, match=words + r".*wns\.Spectral\(\)"):
        NavierStokes2D(grid, viscosity=0.1, dt=0.1, **given)
