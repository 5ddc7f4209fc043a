"""JAX's default of 32 bits, in another process, since the other tests turn 64 bits on."""

import subprocess
import sys

import pytest

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, warp
import warpjaxns as wns
from warpjaxns._kernels.hardware.address_table import OPTIONS

warp.config.optimization_level = OPTIONS["module_options"]["max_unroll"] = 1  # compiles sooner, as in conftest.py

grid = wns.Grid((16, 24))
omega = wns.initial.decaying_turbulence(grid, key=jax.random.key(0), peak_wavenumber=4)
assert omega.dtype == jnp.float32
for number in (1e-3, np.float64(1e-3), np.float32(1e-3), jnp.float32(1e-3), 1, np.int64(1)):
    solver = wns.NavierStokes2D(grid, viscosity=number, dt=np.float64(1e-3), forcing=np.ones(grid.shape, np.float32))
    assert solver.viscosity.dtype == solver.dt.dtype == jnp.float32
for backend in ("warp", "xla"):
    solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-3, backend=backend)
    loss, grad = jax.value_and_grad(lambda w: jnp.mean(solver.rollout(w, steps=10) ** 2))(omega)
    assert loss.dtype == grad.dtype == jnp.float32 and jnp.all(jnp.isfinite(grad))
for call in (solver.step, solver.velocity, lambda w: wns.diagnostics.energy(grid, w)):
    try:
        call(np.zeros(grid.shape))
    except TypeError as error:
        assert "float64" in str(error) and "jax_enable_x64" in str(error)
    else:
        raise AssertionError("float64 was rounded silently")
noise = wns.forcing.ring_noise(grid, key=jax.random.key(1), steps=4, dt=0.1, energy_rate=1, wavenumber=4)
budgets = jax.jit(lambda flow: wns.diagnostics.budgets(solver, flow, forcing=noise))
for flow in (
    wns.initial.vortex_merger(grid, separation=np.float64(1)),
    wns.initial.double_shear_layer(grid),
    wns.initial.lamb_dipole(grid),
    wns.initial.from_spectrum(grid, np.ones(4), key=jax.random.key(2)),
    wns.forcing.kolmogorov(grid, 2, np.float64(1)),
):
    assert flow.dtype == noise.dtype == jnp.float32
    for part in jax.tree.leaves(budgets(flow)):
        assert part.dtype == jnp.float32
print("done")
"""


@pytest.mark.full
def test_everything_is_float32_and_nothing_is_rounded_silently():
    # all warnings are errors, among them JAX's when it truncates a type
    result = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("done\n")
