"""One grid over several devices: results are those of one device, with one collective a stage."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from jax.sharding import AxisType, Mesh
from layouts import fast_cases
from oracle import normal
from test_partition import collectives, output
from test_processes import free_port
from tolerances import RELATIVE, ROLLOUT, assert_trees_close, relative_error

from warpjaxns import (
    Checkpointed,
    Direct,
    FiniteDifference,
    Grid,
    NavierStokes2D,
    Spectral,
    closures,
    coarsen,
    diagnostics,
    initial,
    jacobian,
    laplacian,
    streamfunction,
    velocity_of,
)
from warpjaxns._finite_difference.divided.entering import constants, far, to_neighbours
from warpjaxns._kernels.finite_difference import divided as kernels
from warpjaxns._kernels.finite_difference.planner import make_divided_plan
from warpjaxns._kernels.hardware.limits import LARGEST_BLOCK

GRID = Grid((16, 10), (2.0, 3.5))  # on 4 devices a slab is one band of four rows, for Warp
TOLERANCE = {"float32": ROLLOUT["float32"], "float64": 1e-12}
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def mesh_of(*shape) -> Mesh:
    """Return a mesh of the first devices, whose last axis divides rows."""
    devices = np.array(jax.devices()[: int(np.prod(shape))]).reshape(shape)
    return Mesh(devices, ("members", "y")[-len(shape) :], axis_types=(AxisType.Auto,) * len(shape))


def flow(grid, dtype="float64", batch=()):
    """Return large waves, on which advection counts, noise and a mean."""
    x, y = (np.asarray(coordinate) for coordinate in grid.mesh())
    waves = np.sin(2 * np.pi * x / grid.extent[1]) * np.cos(2 * np.pi * y / grid.extent[0] + 1)
    return jnp.asarray(5 * waves + np.asarray(normal(0, (*batch, *grid.shape))) + 0.3, dtype)


CHECKPOINTED = Checkpointed()


def solver(grid, adjoint=CHECKPOINTED, advection="arakawa", backend="xla", forcing=True):
    force = normal(1, grid.shape) if forcing else None
    how = {"adjoint": adjoint, "discretisation": FiniteDifference(advection), "backend": backend}
    return NavierStokes2D(grid, viscosity=0.01, drag=0.2, dt=0.03, forcing=force, check_finite=False, **how)


def loss(solver, omega):
    return jnp.sum(jnp.sin(solver.rollout(omega, steps=2)))


def movie(solver, omega):
    control = jnp.asarray(normal(2, (4, *solver.grid.shape)), omega.dtype)
    return solver.rollout(omega, steps=4, save_every=2, forcing=control)


def forward(solver, omega):
    return solver.rollout(omega, steps=2)


def tangent(solver, omega):
    return jax.jvp(functools.partial(forward, solver), (omega,), (jnp.cos(omega),))


def gradient(solver, omega):
    return jax.grad(loss, argnums=1)(solver, omega)


def gradient_of_parameters(solver, omega):
    return eqx.filter_grad(loss)(solver, omega)


def gradient_of_control(solver, omega):
    control = jnp.asarray(normal(2, (2, *solver.grid.shape)), omega.dtype)
    return jax.grad(lambda c: jnp.sum(jnp.sin(solver.rollout(omega, steps=2, forcing=c))))(control)


def hessian_product(solver, omega):
    return jax.jvp(functools.partial(gradient, solver), (omega,), (jnp.cos(omega),))[1]


def transposed_hessian_product(solver, omega):
    return jax.grad(lambda w: jnp.sum(jnp.cos(omega) * gradient(solver, w)))(omega)


# the functions of a solver and a state, with their collectives: a stage has one, in each pass
ROUNDS = {
    forward: ["all-gather"] * 3,
    movie: ["all-gather"] * 3,
    tangent: ["all-gather"] * 3,
    gradient: ["all-gather"] * 9,  # steps, steps that keep their stages, sweep
    gradient_of_parameters: ["all-gather"] * 9 + ["all-reduce"],
    gradient_of_control: ["all-gather"] * 9,
    hessian_product: None,  # made of operators
    transposed_hessian_product: None,
}
SECOND = hessian_product, transposed_hessian_product  # which XLA compiles for seconds
FIRST = [f for f in ROUNDS if f not in SECOND]


def functions(some, fast=()):
    parameters = [pytest.param(f, marks=pytest.mark.full if f not in fast else ()) for f in some]
    return pytest.mark.parametrize("function", parameters, ids=lambda f: f.__name__)


def check(function, whole, divided, omega, rounds, members=()):
    """Check a function of a solver and a state on a divided grid: results, their sharding, and its collectives."""
    placed = jax.device_put(omega, divided.grid.sharding(*members))
    program = jax.jit(lambda omega: function(divided, omega)).lower(placed).compile()
    actual, expected = program(placed), jax.jit(lambda omega: function(whole, omega))(omega)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert relative_error(a, e) <= TOLERANCE[omega.dtype.name]
        if a.shape[-2:] == divided.grid.shape:
            assert a.sharding.shard_shape(a.shape)[-2] == divided.grid.rows
            if len(divided.grid.devices.axis_names) == 2 and len(a) == len(omega):  # one a member
                assert a.sharding.shard_shape(a.shape)[0] == len(a) // divided.grid.devices.shape["members"]
    if rounds is not None:
        assert sorted(collectives(program)) == sorted(rounds)
    return program


def check_steps(backend, function, dtype, parts, advection, forcing, grid=GRID):
    whole, divided = (
        solver(g, advection=advection, forcing=forcing, backend=b)
        for g, b in ((grid, "xla"), (grid.over(mesh_of(parts), "y"), backend))
    )
    rounds = ROUNDS[function]
    if backend == "warp" and rounds and len(rounds) > 3:  # the sweep begins with a message of the first cotangent
        rounds = [*rounds, "all-gather"]
    program = check(function, whole, divided, flow(grid, dtype), rounds if parts > 1 else None)
    if backend == "warp" and function is gradient_of_parameters:
        kept = rf"\[6,1,{divided.grid.rows + 2},{grid.shape[1]}\]"
        assert re.search(f"{kept}.* custom-call", program.as_text())
        assert not re.search(f"= .*{kept}.* (fusion|copy|concatenate|dynamic-update-slice)", program.as_text())


@pytest.mark.covering(1, 2)
@functions(FIRST, [tangent])
@every_dtype
@pytest.mark.parametrize("parts", fast_cases([1, 2, 4], 2))
@pytest.mark.parametrize("advection", ["arakawa", "central"])
@pytest.mark.parametrize("forcing", [True, False])
def test_steps(function, dtype, parts, advection, forcing):
    check_steps("xla", function, dtype, parts, advection, forcing)


@pytest.mark.full
@pytest.mark.covering(1, 1)
@pytest.mark.parametrize("backend", ["warp", "xla"])
@functions(SECOND)
@every_dtype
@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("advection", ["arakawa", "central"])
def test_second_derivatives(backend, function, dtype, parts, advection):
    check_steps(backend, function, dtype, parts, advection, True)


@pytest.mark.covering(1, 2)
@functions(FIRST, [gradient_of_parameters])
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", [2, pytest.param(4, marks=pytest.mark.full)])
@pytest.mark.parametrize("advection", ["arakawa", pytest.param("central", marks=pytest.mark.full)])
@pytest.mark.parametrize("forcing", [True, pytest.param(False, marks=pytest.mark.full)])
def test_steps_by_warp(function, dtype, parts, advection, forcing):
    check_steps("warp", function, dtype, parts, advection, forcing)


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_dtype
@pytest.mark.parametrize("shape", [(48, 128), (32, 45), (24, 16)], ids=str)
@functions([forward, tangent, gradient_of_parameters])
def test_many_bands_by_warp(dtype, shape, function):
    check_steps("warp", function, dtype, 2, "arakawa", True, Grid(shape, (2.0, 3.5)))


# a narrow box: of its 13 wavenumbers four reach further than the next slab in float64, and one in float32
NARROW = Grid((32, 24), (7.0, 0.5))


@pytest.mark.covering(1, 2)
@functions(ROUNDS, [tangent])
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("parts", fast_cases([2, 4], 1))
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 1))
def test_near(function, dtype, parts, backend):
    """Short waves go to the neighbours only."""
    near = NARROW.over(mesh_of(parts), "y", exchange="near")
    whole, divided = solver(NARROW), solver(near, backend=backend)
    rounds = ROUNDS[function]
    if rounds and backend == "warp" and len(rounds) > 3:
        rounds = [*rounds, "all-gather"]
    if rounds:
        count = len(ROUNDS[function]) - ("all-reduce" in rounds)
        rounds = [*rounds, *["collective-permute"] * 2 * count]
    check(function, whole, divided, flow(NARROW, dtype), rounds)


@pytest.mark.parametrize(("dtype", "expected"), [("float64", 4), ("float32", 1)])
def test_far_waves(dtype, expected):
    """The numbers of the other waves are less than a rounding error one slab further on."""
    grid = NARROW.over(mesh_of(4), "y", exchange="near")
    assert far(grid, dtype) == expected
    decay = constants(grid).weights[1, 1:] / constants(grid).weights[0, 1:]
    rounding = np.finfo(dtype).eps
    assert np.all(decay[expected - 1 :] < rounding)
    assert np.all(decay[: expected - 1] > rounding / 4)


def test_exchange_is_chosen_by_its_bytes():
    def chosen(nx, batch=1, **how):
        grid = Grid((4096, nx)).over(mesh_of(4), "y", **how)
        return to_neighbours(grid, batch, "float32")

    assert [chosen(nx) for nx in (1024, 2**20)] == [False, True]
    assert [chosen(1024, batch) for batch in (64, 4096)] == [False, True]
    assert chosen(64, exchange="near")
    assert not chosen(2**20, exchange="gather")


@pytest.mark.full
def test_direct():
    whole, divided = (solver(g, Direct()) for g in (GRID, GRID.over(mesh_of(4), "y")))
    check(gradient, whole, divided, flow(GRID), ["all-gather"] * 6)


@pytest.mark.covering(1, 1)
@functions(ROUNDS, [movie])
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
def test_members_and_rows(function, dtype):
    whole, divided = (solver(g) for g in (GRID, GRID.over(mesh_of(2, 2), "y")))
    mapped = function
    if function is movie:

        def mapped(solver, omega):
            return jax.vmap(functools.partial(movie, solver))(omega)

    rounds = ROUNDS[function]
    if function is gradient_of_parameters:  # one sum over slabs, one over members for each of the four
        rounds = None
    if function is gradient_of_control:  # members share it
        rounds = [*rounds, "all-reduce"]
    check(mapped, whole, divided, flow(GRID, dtype, (4,)), rounds, ["members"])


@pytest.mark.covering(1, 2)
@every_dtype
@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("shape", [(8, 10), (16, 5), (24, 32)])
@pytest.mark.parametrize("extent", [(2.0, 3.5), (1.0, 40.0), (40.0, 1.0)], ids=["square", "wide", "tall"])
def test_poisson(dtype, parts, shape, extent):
    grid = Grid(shape, extent)
    divided, omega = grid.over(mesh_of(parts), "y"), flow(grid, dtype)
    psi = streamfunction(divided, omega)
    # in units of the largest psi of such a vorticity, which a slab alone may have
    largest = (max(extent) / (2 * np.pi)) ** 2 * np.linalg.norm(np.asarray(omega, float))
    error = np.linalg.norm(np.asarray(psi, float) - np.asarray(streamfunction(grid, omega), float))
    assert error <= RELATIVE[dtype] * largest
    assert abs(float(jnp.mean(psi))) <= RELATIVE[dtype] * float(jnp.max(jnp.abs(psi)))
    assert psi.sharding.shard_shape(psi.shape)[0] == divided.rows
    residual = jnp.max(jnp.abs(laplacian(divided, psi) + omega - jnp.mean(omega)))
    assert float(residual) <= RELATIVE[dtype] * largest * sum(4 / side**2 for side in divided.spacing)


@pytest.mark.full
def test_operators():
    divided, a, b = GRID.over(mesh_of(4), "y"), flow(GRID), normal(3, (3, *GRID.shape))
    assert_trees_close(jacobian(divided, a, b), jacobian(GRID, a, b))
    here, whole = solver(divided), solver(GRID)
    for name in ("tendency", "streamfunction", "velocity", "cfl"):
        assert_trees_close(getattr(here, name)(b), getattr(whole, name)(b))
    assert_trees_close(here.step(b), whole.step(b))


@pytest.mark.covering(1)
@pytest.mark.parametrize(
    "name",
    fast_cases(
        ["energy", "spectrum", "gradient", "flux", "resolution", "budgets", "velocity", "coarsen", "closure"], 2, 5, 7
    ),
)
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_diagnostics(name, shape):
    function = {
        "energy": lambda s, w: diagnostics.energy(s.grid, w),
        "spectrum": lambda s, w: diagnostics.energy_spectrum(s.grid, w),
        "gradient": lambda s, w: jax.grad(lambda w: jnp.sum(jnp.sin(diagnostics.energy_spectrum(s.grid, w)[1])))(w),
        "flux": lambda s, w: diagnostics.enstrophy_flux(s.grid, w),
        "resolution": lambda s, w: diagnostics.resolution(s, w),
        "budgets": lambda s, w: tuple(part[:5] for part in diagnostics.budgets(s, w)),
        "velocity": lambda s, w: velocity_of(s.grid, w),
        "coarsen": lambda s, w: coarsen(s.grid, w, (4, 6)),
        "closure": lambda s, w: closures.smagorinsky(s.grid, w, 0.1),
    }[name]
    members = ["members"] if len(shape) == 2 else [None]
    whole, divided = solver(GRID), solver(GRID.over(mesh_of(*shape), "y"))
    check(function, whole, divided, flow(GRID, batch=(2,)), None, members)


@pytest.mark.full
@every_dtype
def test_kernels_are_loaded_beforehand(dtype):
    """On the CPU, where a kernel may also be loaded later: those that are named can be."""
    device = [wp.get_device("cpu")]
    for kind in ("state", "tangent", "sweep"):
        plan = make_divided_plan(GRID.shape, dtype, kind=kind).on(cpu=True)
        if kind == "sweep":
            needed = kernels.sweep_kernels(plan, "arakawa", True)
        else:
            needed = kernels.step_kernels(plan, "arakawa", True, kind == "state")
        kernels.load(plan, needed, kind == "sweep", device)


@every_dtype
@pytest.mark.parametrize("kind", ["state", "sweep"])
@pytest.mark.parametrize("rows", [8192, 131072, 2**20])
def test_blocks_have_threads_for_any_number_of_rows(dtype, kind, rows):
    plan = make_divided_plan((rows, 8192), dtype, kind=kind)
    assert max(plan.column_chunks.block_dim, plan.sweep_lines.block_dim) <= LARGEST_BLOCK
    assert plan.column_chunks.threads * plan.column_chunks.values * plan.rows == rows


def test_long_rows_leave_no_room_to_keep_sums_few():
    """In float32 a block of the sweep has four rows of 8192 points; in float64 only two fit."""
    plans = [make_divided_plan((4096, 8192), dtype, kind="sweep") for dtype in ("float32", "float64")]
    assert [plan.rows for plan in plans] == [4, 2]
    assert all(plan.sweep_bytes <= plan.shared_memory for plan in plans)
    assert [plan.sweep_lines.block_dim for plan in plans] == [512, 256]


@pytest.mark.full
def test_rows_of_a_wide_box():
    grid = Grid((16, 16384), (0.6, 600.0))
    make = functools.partial(solver, backend="auto", forcing=False)
    y, x = grid.y[:, None], grid.x  # no noise, whose longest waves would have a large streamfunction, and round it
    omega = 5 * jnp.cos(2 * np.pi * y / 0.6 + 1) * jnp.sin(2 * np.pi * (x / 600 + 2 * y / 0.6))
    check(forward, make(grid), make(grid.over(mesh_of(2), "y")), omega, ["all-gather"] * 3)


@pytest.mark.full
def test_initial_flows_are_divided(key):
    grid = GRID.over(mesh_of(4), "y")
    make = functools.partial(initial.random_vorticity, key=key, max_wavenumber=2)
    omega = make(grid)
    assert_trees_close(omega, make(GRID))
    assert omega.sharding.is_equivalent_to(grid.sharding(), 2)


@pytest.mark.full
def test_not_finite_raises():
    checked = NavierStokes2D(GRID.over(mesh_of(4), "y"), viscosity=1.0, dt=1.0, backend="xla")
    with pytest.raises(RuntimeError, match="not finite"):
        checked.rollout(flow(GRID).at[0, 0].set(jnp.nan), steps=1)


def test_static():
    one, other = (GRID.over(mesh_of(4), "y") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != GRID
    assert one != GRID.over(mesh_of(2), "y")


def test_errors():
    mesh = mesh_of(4)
    with pytest.raises(TypeError, match=r"mesh=4: expected a jax.sharding.Mesh"):
        GRID.over(4, "y")  # pyright: ignore
    with pytest.raises(ValueError, match=r"axis='x': the mesh has the axes 'y'"):
        GRID.over(mesh, "x")
    with pytest.raises(ValueError, match=r"4 devices, which do not divide the 10 rows .* among \[1, 2, 5\]"):
        Grid((10, 8)).over(mesh, "y")
    with pytest.raises(ValueError, match="slabs of at least 2"):
        Grid((4, 8)).over(mesh, "y")
    with pytest.raises(ValueError, match=r"exchange='far': expected one of 'auto', 'gather', 'near'"):
        GRID.over(mesh, "y", exchange="far")
    with pytest.raises(ValueError, match="Explicit: expected Auto"):
        GRID.over(jax.make_mesh((4,), ("y",), axis_types=(AxisType.Explicit,)), "y")
    with pytest.raises(ValueError, match=r'backend="warp".* each device has 2 rows; use an even number'):
        NavierStokes2D(Grid((8, 8)).over(mesh, "y"), viscosity=1.0, dt=0.1, backend="warp")
    with pytest.raises(ValueError, match=r'rows of 65536 points .* use shorter rows, or backend="xla"'):
        NavierStokes2D(Grid((32, 65536)).over(mesh, "y"), viscosity=1.0, dt=0.1, backend="warp")
    with pytest.raises(ValueError, match=r"Spectral.*expected FiniteDifference\(\)"):
        NavierStokes2D(GRID.over(mesh, "y"), viscosity=1.0, dt=0.1, discretisation=Spectral())


@pytest.mark.full
def test_eight_devices():
    """The steps and their derivatives on 8 slabs of one row pair, in a process that has so many devices."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    script = (
        "import jax; jax.config.update('jax_enable_x64', True); import test_divided as t;"
        "a, b = (t.solver(grid) for grid in (t.GRID, t.GRID.over(t.mesh_of(8), 'y')));"
        "[t.check(f, a, b, t.flow(t.GRID), rounds) for f, rounds in t.ROUNDS.items()]"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": f"{here}:{here.parent}"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=600)


TWO_PROCESSES = """
import sys, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
import test_divided as t
mesh = jax.make_mesh((4,), ("y",), (t.AxisType.Auto,))
grid, omega = t.GRID.over(mesh, "y"), t.flow(t.GRID)
expected = np.asarray(t.gradient(t.solver(t.GRID), omega))
for backend in ("xla", "warp"):
    made = jax.jit(t.gradient)(t.solver(grid, backend=backend), grid.place(omega))
    print(all(t.relative_error(s.data, expected[s.index]) < 1e-12 for s in made.addressable_shards))
"""


@pytest.mark.full
def test_two_processes():
    port = free_port()
    here = Path(__file__).parent
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    environment = {**os.environ, **flags, "PYTHONPATH": f"{here}:{here.parent}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(port), str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        assert output(process).split()[-2:] == ["True", "True"]
