"""Errors for states that are not finite: the member, the line of the call, and all devices."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from oracle import normal

from warpjaxns import Grid, NavierStokes2D, _finite

GRID = Grid((6, 10), (2.0, 3.5))
MEMBERS, BAD = 8, 5
every_backend = pytest.mark.parametrize("backend", ["warp", "xla"])


def make(backend="xla", **options):
    return NavierStokes2D(GRID, viscosity=0.01, dt=0.05, backend=backend, **options)


def states():
    omega = normal(0, (MEMBERS, *GRID.shape))
    return omega, omega.at[BAD, 2, 3].set(jnp.nan)


def message(f, *operands):
    """Return the last line of the error that f raises."""
    with pytest.raises(RuntimeError) as caught:
        jax.block_until_ready(f(*operands))
    return str(caught.value).splitlines()[-1]


def test_an_eager_call_raises_itself_in_one_line():
    solver, (omega, bad) = make(), states()
    with pytest.raises(RuntimeError) as caught:
        solver.rollout(bad, steps=1)  # not waited for
    text = str(caught.value)
    assert text.startswith(f"the vorticity of member {BAD} is not finite: ")
    assert "\n" not in text
    assert "filter_jit" not in text
    assert "of member" not in message(solver.step, bad[BAD])
    solver.rollout(omega, steps=1)


def test_what_is_called_back_runs_no_program():
    # it would wait for a thread of the CPU client's, which may be the one that calls back, for ever
    good, bad, members = (jnp.asarray(n, jnp.int32) for n in (_finite.NONE_BAD, BAD, MEMBERS))
    jax.clear_caches()
    with jax.no_tracing():
        _finite._raise_if(good, members, advice="")
        with pytest.raises(_finite.NotFiniteError, match=f"of member {BAD} "):
            _finite._raise_if(bad, members, advice="")


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: f,
        jax.vmap,
        lambda f: lambda w: jax.vmap(jax.vmap(f))(w.reshape(2, 4, *GRID.shape)),
        lambda f: jax.grad(lambda w: jnp.sum(f(w) ** 2)),
        lambda f: lambda w: jax.lax.scan(lambda w, _: (f(w), None), w, length=2)[0],
    ],
    ids=["batch", "vmap", "nested vmap", "grad", "scan"],
)
def test_the_first_bad_member_is_named_under_jit(transform):
    solver, (omega, bad) = make(), states()
    f = jax.jit(transform(lambda w: solver.rollout(w, steps=1)))
    jax.block_until_ready(f(omega))
    text = message(f, bad.at[BAD + 1].set(jnp.inf))
    assert f"the vorticity of member {BAD} is not finite, in the call at {__file__}" in text


def test_the_line_is_that_of_the_rollout_that_failed():
    solver, (_, bad) = make(), states()

    def two(w):
        w = solver.rollout(jnp.nan_to_num(w), steps=1)
        return solver.rollout(w.at[BAD].set(jnp.nan), steps=1)

    first = two.__code__.co_firstlineno
    assert f"{__file__}:{first + 2}:" in message(jax.jit(two), bad)


def test_a_trajectory():
    solver, (_, bad) = make(), states()
    f = jax.jit(lambda w: solver.rollout(w, steps=2, save_every=1))
    assert f"of member {BAD} is" in message(f, bad)


@every_backend
def test_a_sharded_state_raises_on_every_device(backend):
    """If one device alone raised, the others would wait for ever, here in the sum at the end."""
    solver, (omega, bad) = make(backend), states()
    mesh = jax.make_mesh((4,), ("members",), axis_types=(AxisType.Auto,))
    omega, bad = jax.device_put((omega, bad), NamedSharding(mesh, PartitionSpec("members")))
    f = jax.jit(lambda w: jnp.sum(solver.rollout(w, steps=1)))
    jax.block_until_ready(f(omega))
    assert f"of member {BAD} is" in message(f, bad)
    jax.block_until_ready(f(omega))  # and again


def test_the_check_gathers_nothing():
    from warpjaxns._finite import raise_if_not_finite

    omega, _ = states()
    mesh = jax.make_mesh((4,), ("members",), axis_types=(AxisType.Auto,))
    omega = jax.device_put(omega, NamedSharding(mesh, PartitionSpec("members")))
    f = jax.jit(lambda w: raise_if_not_finite(w, 0, ""))
    program = f.lower(omega).compile().as_text()
    count = {kind: len(re.findall(rf"{kind}(?:-start)?\(", program)) for kind in ("all-reduce", "all-gather")}
    assert count == {"all-reduce": 1, "all-gather": 0}


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("manual", [("a", "b"), ("a",)], ids=["manual", "partly manual"])
def test_shard_map_raises_on_every_device(check_vma, manual):
    solver, (omega, bad) = make(), states()
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec(manual)

    def total(w):
        return jax.lax.psum(jnp.sum(solver.rollout(w, steps=1)), manual)

    options = {"in_specs": spec, "out_specs": PartitionSpec(), "axis_names": set(manual), "check_vma": check_vma}
    f = jax.jit(jax.shard_map(total, mesh=mesh, **options))
    assert np.isfinite(f(omega))
    assert "not finite" in message(f, bad)
    if check_vma:
        assert f"of member {BAD} is" in message(f, bad)


IN_FLIGHT = """
import jax, jax.numpy as jnp
import warpjaxns as wns
grid = wns.Grid((64, 64))
solver = wns.NavierStokes2D(grid, viscosity=1e-2, dt=1e-3)
step = jax.jit(lambda w: solver.rollout(w, steps=20))
omega, total = wns.initial.vortex_merger(grid), jnp.zeros(())
for _ in range(100):
    omega = step(omega)
    total = total + jnp.max(omega)
print(float(total) > 0)
"""


@pytest.mark.full
def test_calls_in_flight_do_not_wait_for_each_other():
    """A process of its own, which a callback that computes with JAX would hang."""
    result = subprocess.run([sys.executable, "-c", IN_FLIGHT], capture_output=True, text=True, timeout=100)
    assert result.stdout == "True\n", result.stderr
