"""Members over devices under plain `jit`: collectives, memory and results, for every transformation."""

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
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from layouts import fast_cases
from oracle import normal
from test_processes import free_port
from tolerances import ROLLOUT, assert_trees_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, diagnostics, primitive, velocity_of

GRID = Grid((6, 10), (2.0, 3.5))
MEMBERS, DEVICES = 8, 4
COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])
every_type = pytest.mark.parametrize("types", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
every_discretisation = pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=["fd", "modes"])


def placed(x, *spec, shape=(DEVICES,), types=AxisType.Auto):
    """Return x on a mesh of devices with the axes a, b, ..."""
    mesh = jax.make_mesh(shape, tuple("ab")[: len(shape)], (types,) * len(shape))
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))


def collectives(program) -> list[str]:
    """Return the collectives of a compiled program, asynchronous ones counted once."""
    return re.findall(rf" ({COLLECTIVES})(?:-start)?\(", program.as_text())


def check(f, x, expected=(), exact=True):
    """Check that f(x), with x sharded, communicates no more than `expected`, and gives what one device gives.

    `exact`: bit by bit. What XLA computes may be rounded otherwise for other numbers of members.
    """
    program = jax.jit(f).lower(x).compile()
    assert sorted(collectives(program)) == sorted(expected)
    actual, single = program(x), jax.jit(f)(np.asarray(x))
    assert_trees_close(actual, single, ROLLOUT)
    if exact:
        assert all(map(np.array_equal, jax.tree.leaves(actual), jax.tree.leaves(single)))
    return program, actual


def solver(backend, discretisation=FiniteDifference(), check_finite=False):
    how = {"backend": backend, "discretisation": discretisation, "check_finite": check_finite}
    return NavierStokes2D(GRID, viscosity=0.01, drag=0.2, dt=0.05, **how)


def transforms(backend, discretisation):
    """Return the functions of an ensemble that are tested, by name."""
    s = solver(backend, discretisation)
    forward = jax.vmap(lambda w: s.rollout(w, steps=3))

    def gradient(w):
        return jax.grad(lambda w: jnp.sum(jnp.sin(forward(w))))(w)

    def along(f):
        return lambda w: jax.jvp(f, (w,), (jnp.cos(w),))[1]

    return {
        "forward": forward,
        "movie": lambda w: s.rollout(w, steps=4, save_every=2),
        "gradient": gradient,
        "jvp": along(forward),
        "hvp": along(gradient),
    }


def of_viscosity(backend, discretisation):
    """Return the gradient of an ensemble's loss with respect to the viscosity that all members share."""
    s = solver(backend, discretisation)

    def loss(viscosity, w):
        return jnp.sum(jnp.sin(eqx.tree_at(lambda s: s.viscosity, s, viscosity).rollout(w, steps=3)))

    return lambda w: jax.grad(loss)(s.viscosity, w)


CHEAP = ["forward", "movie", "gradient", "jvp"]


@pytest.mark.covering(1, 2)
@every_backend
@every_discretisation
@every_type
@pytest.mark.parametrize("dtype", fast_cases(["float32", "float64"], 1))
@pytest.mark.parametrize("name", CHEAP)
def test_no_communication(backend, discretisation, types, dtype, name):
    x = placed(normal(0, (MEMBERS, *GRID.shape)).astype(dtype), "a", types=types)
    f = transforms(backend, discretisation)[name]
    program, actual = check(f, x, exact=backend == "warp" and discretisation == FiniteDifference())
    assert actual.sharding.shard_shape(actual.shape)[-3] == MEMBERS // DEVICES
    here, alone = (program.memory_analysis() for program in (program, jax.jit(f).lower(np.asarray(x)).compile()))
    assert here.argument_size_in_bytes * DEVICES == alone.argument_size_in_bytes
    assert here.output_size_in_bytes * DEVICES == alone.output_size_in_bytes
    assert here.temp_size_in_bytes < 0.7 * alone.temp_size_in_bytes  # with gathered members more than all of it


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_backend
@every_discretisation
@every_type
def test_second_derivatives(backend, discretisation, types):
    x = placed(normal(0, (MEMBERS, *GRID.shape)), "a", types=types)
    check(transforms(backend, discretisation)["hvp"], x, exact=False)


@pytest.mark.covering(1, 2)
@pytest.mark.parametrize("backend", fast_cases(["warp", "xla"], 0))
@every_discretisation
@every_type
def test_one_sum_for_a_shared_parameter(backend, discretisation, types):
    x = placed(normal(0, (MEMBERS, *GRID.shape)), "a", types=types)
    check(of_viscosity(backend, discretisation), x, ["all-reduce"], exact=False)


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_backend
@pytest.mark.parametrize("along", [("a", "b"), ("b", "a"), "b"], ids=str)
def test_other_meshes(backend, along):
    x = placed(normal(0, (MEMBERS, *GRID.shape)), along, shape=(2, 2))
    _, actual = check(transforms(backend, FiniteDifference())["gradient"], x, exact=backend == "warp")
    assert actual.sharding.is_equivalent_to(x.sharding, x.ndim)


def test_inside_shard_map_over_another_axis():
    x = placed(normal(0, (MEMBERS, *GRID.shape)), ("a", "b"), shape=(2, 2))
    f = transforms("warp", FiniteDifference())["gradient"]
    spec = PartitionSpec("a")
    g = jax.shard_map(f, mesh=x.sharding.mesh, in_specs=spec, out_specs=spec, axis_names={"a"})
    program = jax.jit(g).lower(x).compile()
    assert collectives(program) == []
    assert np.array_equal(program(x), jax.jit(f)(np.asarray(x)))


@pytest.mark.covering(1, 2)
@every_backend
@every_type
def test_checks_of_finite_results(backend, types):
    x = placed(normal(0, (MEMBERS, *GRID.shape)), "a", types=types)
    f = functools.partial(solver(backend, check_finite=True).rollout, steps=2)
    check(f, x, ["all-reduce"], exact=backend == "warp")


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_type
@every_discretisation
def test_diagnostics(types, discretisation):
    def all_of(w):
        energy = diagnostics.energy(GRID, w, discretisation=discretisation)
        return energy, diagnostics.energy_spectrum(GRID, w)[1], velocity_of(GRID, w)

    x = placed(normal(0, (MEMBERS, *GRID.shape)), "a", types=types)
    check(all_of, x, exact=False)
    if types == AxisType.Auto:
        movie = jnp.stack([x, 2 * x])
        check(jax.vmap(all_of, in_axes=1), movie, exact=False)


@pytest.mark.covering(1, 2)
@every_type
@every_backend
@pytest.mark.parametrize("spec", [(None, "a"), (None, None, "a"), ("a", "b")], ids=str)
def test_a_field_that_is_divided(types, backend, spec):
    shape = (2, 2) if "b" in spec else (2,)
    x = placed(normal(0, (MEMBERS, *GRID.shape)), *spec, shape=shape, types=types)
    with pytest.raises(Exception, match="Put the mesh on a batch axis"):
        jax.jit(solver(backend).step)(x)
    with pytest.raises(Exception, match="Put the mesh on a batch axis"):
        jax.jit(functools.partial(diagnostics.energy_spectrum, GRID))(x)


@pytest.mark.full
@pytest.mark.covering(1, 2)
@every_type
@every_discretisation
@pytest.mark.parametrize("spec", [(None, "a"), ("a", "b")], ids=str)
@pytest.mark.parametrize("kind", fast_cases(["axes", "vmap", "operator"], 1, 2))
def test_leading_axes_that_are_divided(types, discretisation, spec, kind):
    """Members become one axis, of which the parts must be contiguous: an inner axis may not be divided alone."""
    s = solver("xla", discretisation)
    f = {
        "axes": jax.grad(lambda w: jnp.sum(jnp.sin(s.rollout(w, steps=2)))),
        "vmap": jax.vmap(jax.vmap(functools.partial(s.rollout, steps=2))),
        "operator": functools.partial(diagnostics.energy, GRID, discretisation=discretisation),
    }[kind]
    x = placed(normal(0, (4, 8, *GRID.shape)), *spec, shape=(2, 2), types=types)
    with pytest.raises(Exception, match="shard the outermost one"):
        jax.jit(f).lower(x).compile()
    x = placed(normal(0, (2, 8, *GRID.shape)), "a", "b" if spec[0] else None, shape=(2, 2), types=types)
    _, actual = check(f, x, exact=False)
    assert jax.tree.leaves(actual)[0].sharding.shard_shape((2, 8))[:2] == (1, 4 if spec[0] else 8)


@wp.kernel(module="unique")
def scale(x: wp.array2d(dtype=wp.float64), factor: wp.array(dtype=wp.float64), y: wp.array2d(dtype=wp.float64)):
    i, j = wp.tid()
    y[i, j] = factor[0] * x[i, j] * x[i, j]


@pytest.mark.covering(1, 2)
@every_type
@pytest.mark.parametrize("spec", [("a",), (None, "a"), ("b", "a")], ids=str)
def test_kernels(types, spec):
    x = placed(normal(0, (4, 8, 3, 5)), *spec, shape=(2, 2), types=types)
    each = primitive(scale)
    f = jax.vmap(jax.vmap(lambda x: each(x, jnp.full(1, 3.0))))
    _, actual = check(f, x)
    assert actual.sharding.is_equivalent_to(x.sharding, x.ndim)
    check(jax.grad(lambda x: jnp.sum(jnp.sin(f(x)))), x)


def test_programs_have_names_of_their_content():
    x = placed(normal(0, (MEMBERS, *GRID.shape)), "a")

    def text(steps):
        return jax.jit(lambda w: solver("warp").rollout(w, steps=steps)).lower(x).as_text()

    assert text(3) == text(3) != text(4)


IMPORTS = """
import jax, numpy as np, sys, warnings
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import warpjaxns as wns
warnings.simplefilter("error")
"""
PROBLEM = """
grid = wns.Grid((6, 10), (2.0, 3.5))
solver = wns.NavierStokes2D(grid, viscosity=0.01, dt=0.05, backend="warp", check_finite=False)
f = jax.jit(jax.grad(lambda w: (jax.vmap(lambda w: solver.rollout(w, steps=3))(w) ** 2).sum()))
w = np.random.default_rng(0).normal(size=(8, 6, 10)).astype("float32")
sharding = NamedSharding(jax.make_mesh((4,), ("a",), (AxisType.Auto,)), PartitionSpec("a"))
"""


def python(before, after, *arguments, devices):
    """Start a Python process on so many devices, which has the problem between the two parts of its script."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", IMPORTS + before + PROBLEM + after, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def output(process):
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


@pytest.mark.full
def test_the_cache_on_disk_serves_another_process(tmp_path):
    before = """
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
"""
    after = """
w = jax.device_put(w, sharding)
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.split("/")[-1]))
result = f(w)
print("cache_hits" in events, "cache_misses" in events, float(np.abs(np.asarray(result)).sum()))
"""
    first, second = (output(python(before, after, tmp_path, devices=4)).split() for _ in range(2))
    assert first[:2] == ["False", "True"]
    assert second[:2] == ["True", "False"]
    assert first[2] == second[2]


@pytest.mark.full
def test_two_processes():
    before = """
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 2, int(sys.argv[2]))
"""
    after = """
x = jax.make_array_from_callback(w.shape, sharding, lambda index: w[index])
text = f.lower(x).compile().as_text()
result, alone = f(x), np.asarray(f(w))
print(len(result.addressable_shards), all(np.array_equal(s.data, alone[s.index]) for s in result.addressable_shards))
print("all-gather" in text)
"""
    port = free_port()
    processes = [python(before, after, port, rank, devices=2) for rank in range(2)]
    for process in processes:
        assert output(process).split()[-3:] == ["2", "True", "False"]
