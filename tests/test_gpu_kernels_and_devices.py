"""Tests on CUDA of users' own kernels and of several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from oracle import normal
from test_partition import collectives
from tolerances import GPU, GPU_GRADIENT, relative_error

import warpjaxns as wns
from warpjaxns import _ffi

pytestmark = pytest.mark.gpu
ROW = wp.array(dtype=wp.float64)
FIELD = wp.array2d(dtype=wp.float64)


@wp.kernel(module="unique")
def diffuse(x: FIELD, rate: ROW, y: FIELD):
    i, j = wp.tid()
    n = x.shape[1]
    y[i, j] = x[i, j] + rate[0] * (x[i, (j + 1) % n] - wp.float64(2.0) * x[i, j] + x[i, (j + n - 1) % n])


def diffused(x, rate):
    return x + rate[0] * (jnp.roll(x, -1, -1) - 2 * x + jnp.roll(x, 1, -1))


def close(actual, expected, table):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert relative_error(jax.device_get(a), jax.device_get(e)) < table[a.dtype.name]


def test_a_users_kernel():
    step = wns.primitive(diffuse)
    x, rate = jax.random.normal(jax.random.key(0), (3, 5, 8)), jnp.asarray([0.1])

    def results(step):
        def loss(x, rate):
            return jnp.sum(jnp.sin(step(step(x, rate), rate)))

        gradient = jax.grad(loss, (0, 1))
        return jax.jit(
            lambda x: (
                step(x[0], rate),
                gradient(x[0], rate),
                jax.vmap(step, (0, None))(x, rate),
                jax.vmap(gradient, (0, None))(x, rate),
                jax.grad(lambda r: jnp.sum(jax.vmap(loss, (0, None))(x, r)))(rate),
            )
        )(x)

    for _ in range(3):  # with other buffers each time
        close(results(step), results(diffused), GPU)


@wp.kernel(module="unique")
def count(x: FIELD, index: wp.array(dtype=int), y: FIELD, total: ROW):
    i, j = wp.tid()
    row = x[i]
    y[i, j] = wp.sin(row[(j + 1) % x.shape[1]]) * x[(i + 1) % x.shape[0], j]
    wp.atomic_add(total, index[j], wp.float64(i))  # whole numbers, whose sum is the same in any order


@pytest.mark.parametrize("block_dim", [32, 256])
def test_one_launch_for_all_members_of_a_users_kernel(monkeypatch, block_dim):
    # 3 x 5 threads a member: blocks hold threads of several members
    f = wns.primitive(count, num_outputs=2, output_shapes=lambda x, _: [x, 4], block_dim=block_dim)
    x, index = jax.random.normal(jax.random.key(0), (1024, 3, 5)), jnp.asarray([0, 3, 3, 1, 0], jnp.int32)

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(f(x, index)[0] ** 2))(x)

    launches, launch = [], wp.launch
    monkeypatch.setattr(wp, "launch", lambda *args, **kwargs: (launches.append(args), launch(*args, **kwargs))[1])
    for one, most in ((lambda x: f(x, index), 1), (gradient, 2)):
        batched = jax.jit(jax.vmap(one))
        for shift in range(2):  # the second time with other buffers
            launches.clear()
            together = jax.block_until_ready(batched(x + shift))
            assert len(launches) == most
            alone = jax.jit(lambda x: jax.lax.map(one, x))(x + shift)  # noqa: B023
            for a, e in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
                assert relative_error(jax.device_get(a), jax.device_get(e)) < 1e-15
    assert jnp.all(f(x[0], index)[1] == jnp.asarray([6.0, 3.0, 0.0, 6.0]))
    totals = jax.vmap(lambda x: f(x, index))(x)[1]
    np.testing.assert_array_equal(totals, np.tile([6.0, 3.0, 0.0, 6.0], (1024, 1)))


def test_members_over_several_devices():
    count = min(jax.device_count(), 4)
    if count == 1:
        pytest.skip("one device")
    grid = wns.Grid((64, 96), (2.0, 3.5))
    keys = jax.random.split(jax.random.key(0), 2 * count)
    omega = jnp.stack([wns.initial.random_vorticity(grid, key=key) for key in keys])
    mesh = Mesh(np.array(jax.devices()[:count]), ("devices",))

    def gradients(backend, shard):
        def rollout(viscosity, omega):
            solver = wns.NavierStokes2D(grid, viscosity=viscosity, dt=1e-3, backend=backend, check_finite=False)
            return solver.rollout(omega, steps=12)

        if shard:
            rollout = jax.shard_map(rollout, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P("devices"))
        loss = jax.value_and_grad(lambda nu, w: jnp.sum(jnp.sin(rollout(nu, w))), (0, 1))
        return jax.jit(loss)(jnp.asarray(1e-3), omega)

    for _ in range(3):
        close(gradients("warp", True), gradients("xla", False), GPU_GRADIENT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(64, 96), (64, 8192), (64, 16384)], ids=str)  # long rows have other blocks
@pytest.mark.parametrize("exchange", ["gather", "peers"])
def test_rows_over_several_devices(exchange, shape, dtype):
    """The gradient of a divided grid is that of the grid on one device, also where there is one slab."""
    whole = wns.Grid(shape, (2.0, 3.5))
    omega = wns.initial.random_vorticity(whole, key=jax.random.key(0)).astype(dtype)
    omega += 0.3 * normal(1, shape, dtype)  # noise, which a step changes by more than rounding

    def gradients(grid, backend):
        def loss(viscosity, omega):
            how = {"backend": backend, "check_finite": False, "adjoint": wns.Checkpointed(2)}
            solver = wns.NavierStokes2D(grid, viscosity=viscosity, dt=0.1 * whole.spacing[1], **how)
            return jnp.sum(jnp.sin(solver.rollout(omega, steps=4)))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(jnp.asarray(0.01 * whole.spacing[1], dtype), omega)

    for count in {1, min(jax.device_count(), 2)}:
        mesh = jax.make_mesh((count,), ("y",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])
        close(gradients(whole.over(mesh, "y", exchange), "warp"), gradients(whole, "xla"), GPU)


@pytest.fixture
def divided():
    """A solver on a grid that two devices share, whose kernels exchange messages, and a state."""
    if jax.device_count() == 1:
        pytest.skip("one device")
    mesh = jax.make_mesh((2,), ("y",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    grid = wns.Grid((64, 96), (2.0, 3.0)).over(mesh, "y", "peers")
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, check_finite=False)
    return solver, wns.initial.random_vorticity(grid, key=jax.random.key(0))


def test_messages_by_kernels(divided):
    """A rollout has no collective, one foreign call on each device, and the same bits each time."""
    solver, omega = divided
    program = jax.jit(lambda w: solver.rollout(w, steps=8)).lower(omega).compile()
    assert collectives(program) == []
    assert program.as_text().count("custom_call_target=") == 1
    first = np.asarray(program(omega))
    whole = wns.NavierStokes2D(wns.Grid((64, 96), (2.0, 3.0)), viscosity=1e-3, dt=1e-3)
    close(first, whole.rollout(jax.device_get(omega), steps=8), GPU)
    for _ in range(20):
        np.testing.assert_array_equal(program(omega), first)


def test_a_message_that_does_not_come(divided, monkeypatch):
    """A device whose call does nothing: the other one gives up, later calls fail, and all can begin anew."""
    solver, omega = divided
    program = jax.jit(lambda w: solver.rollout(w, steps=2))
    first, run = np.asarray(program(omega)), _ffi._Replay.__call__

    def on_one(replay, arrays, at):
        if arrays[0].device.ordinal == 0:
            run(replay, arrays, at)

    with monkeypatch.context() as broken:
        broken.setattr(_ffi._Replay, "__call__", on_one)
        assert np.isnan(np.asarray(program(omega))[:32]).all()
    with pytest.raises(Exception, match="without a message"):
        jax.block_until_ready(program(omega))
    wns.clear_caches()
    np.testing.assert_array_equal(program(omega), first)
