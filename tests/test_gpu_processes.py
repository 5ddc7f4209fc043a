"""Tests on CUDA of processes that divide a grid, and whose kernels exchange messages. One GPU may serve all."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from test_processes import free_port, outputs_of

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parent.parent
BEGIN = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType
port, rank, device, groups, slabs = map(int, sys.argv[1:])
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(f"localhost:{port}", groups * slabs, rank, local_device_ids=[device])
import warpjaxns as wns
from tolerances import GPU, GPU_GRADIENT, relative_error
whole = wns.Grid((64, 96), (2.0, 3.0))
mesh = jax.make_mesh((groups, slabs), ("members", "y"), axis_types=(AxisType.Auto,) * 2)
grid = whole.over(mesh, "y", "peers")

def solver(grid):
    return wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, check_finite=False, adjoint=wns.Checkpointed(4))

def rollout(grid):
    return lambda omega: solver(grid).rollout(omega, steps=8)

def place(field):  # without the comparison of all processes that `device_put` makes
    return jax.make_array_from_callback(field.shape, grid.sharding("members"), lambda index: np.asarray(field)[index])

def own(field):
    (shard,) = field.addressable_shards
    return np.asarray(shard.data), shard.index

def close(made, expected, table):
    mine, index = own(made)
    error = relative_error(mine, np.asarray(expected)[index])
    assert error < table[mine.dtype.name], error

def fields(dtype):
    made = [wns.initial.random_vorticity(whole, key=jax.random.key(seed)).astype(dtype) for seed in range(4)]
    return jnp.stack(made[:2]), jnp.stack(made[2:])  # two members each
"""
DERIVATIVES = """
for dtype in ("float32", "float64") if groups * slabs == 2 else ("float64",):
    omega, other = fields(dtype)
    program = jax.jit(rollout(grid)).lower(place(omega)).compile()
    assert program.as_text().count("custom_call_target=") == 1
    close(program(place(omega)), rollout(whole)(omega), GPU)
    first = own(program(place(omega)))[0]
    for _ in range(5):
        np.testing.assert_array_equal(own(program(place(omega)))[0], first)
    back = jax.jit(lambda w, v: jax.vjp(rollout(grid), w)[1](v)[0])(place(omega), place(other))
    close(back, jax.vjp(rollout(whole), omega)[1](other)[0], GPU_GRADIENT)
    along = jax.jit(lambda w, v: jax.jvp(rollout(grid), (w,), (v,))[1])(place(omega), place(other))
    close(along, jax.jvp(rollout(whole), (omega,), (other,))[1], GPU_GRADIENT)
print("right", flush=True)
jax.distributed.shutdown()
"""
LEFT_OUT = """
from warpjaxns._kernels.hardware import groups
groups.PATIENCE_WITH_PROCESSES = 3
omega, _ = fields("float32")
program = jax.jit(rollout(grid))
first = own(program(place(omega)))[0]
if rank == 0:
    assert np.isnan(own(program(place(omega)))[0]).all()
    try:
        jax.block_until_ready(program(place(omega)))
    except Exception as error:
        assert "without a message" in str(error) and "in all processes" in str(error), error
    else:
        raise AssertionError("a call after one that had given up")
wns.clear_caches()  # waits for the other process
np.testing.assert_array_equal(own(program(place(omega)))[0], first)
print("right", flush=True)
jax.distributed.shutdown()
"""


def run(code, groups, slabs):
    """Run a process for each slab of each group, with a GPU of its own if there are so many."""
    count = jax.local_device_count()
    port = free_port()
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + code, *map(str, (port, rank, rank % count, groups, slabs))],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(groups * slabs)
    ]
    for out in outputs_of(processes):
        assert "right" in out.splitlines(), out


@pytest.mark.parametrize(("groups", "slabs"), [(1, 2), (1, 4), (2, 2), (1, 8)])
def test_derivatives(groups, slabs):
    """A rollout is one foreign call in each process, with the same bits each time, and derivatives are right.

    Groups have a member each.
    """
    run(DERIVATIVES, groups, slabs)


def test_a_call_that_is_left_out():
    """The process that makes it gives up, later calls fail, and both can begin anew."""
    run(LEFT_OUT, 1, 2)
