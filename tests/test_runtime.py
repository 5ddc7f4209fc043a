import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp

import warpjaxns as wns
from warpjaxns import _ffi, _support
from warpjaxns._kernels.fft.lines import Lines
from warpjaxns._kernels.finite_difference.planner import make_plan, unsupported

GRID = wns.Grid((6, 10), (2.0, 3.5))


def test_info_names_versions_devices_and_the_choice():
    info = wns.info()
    assert info.versions["jax"] == jax.__version__
    assert info.versions["warp-lang"] == wp.__version__
    assert info.versions["warpjaxns"] == wns.__version__
    assert len(info.devices) == len(jax.devices())
    text = str(info)
    for part in (jax.__version__, f"auto = {info.auto}", info.auto_reason):
        assert part in text


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what auto means on the CPU")
def test_auto_is_xla_on_the_cpu():
    info = wns.info(GRID, np.float32)
    assert info.auto == "xla"
    assert "cpu" in info.auto_reason
    lowered = jax.jit(wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01).step).lower(jnp.zeros(GRID.shape))
    assert "fft" in lowered.as_text()


def test_auto_falls_back_on_sizes_that_warp_lacks(monkeypatch):
    monkeypatch.setattr(_support.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(_support, "cuda_obstacle", lambda: None)
    monkeypatch.setattr(_support, "shared_memory", lambda: 227 * 1024)
    assert wns.info(GRID).auto == "warp"
    odd = wns.info(wns.Grid((14, 10)))
    assert odd.auto == "xla"
    assert "14" in odd.auto_reason
    long = wns.info(wns.Grid((64, 65536)))
    assert long.auto == "xla"
    assert "shared memory" in long.auto_reason
    assert wns.info(wns.Grid((16384, 32768)), "float32").auto == "warp"


def test_an_old_driver_is_named(monkeypatch):
    class Gpu:
        platform = "gpu"

    monkeypatch.setattr(_support.wp, "get_cuda_device_count", lambda: 0)
    monkeypatch.setattr(_support.wp, "get_cuda_driver_version", lambda: (12, 4))
    monkeypatch.setattr(_support.jax, "devices", lambda: [Gpu()])
    obstacle = _support.cuda_obstacle.__wrapped__()
    assert "12.4" in obstacle
    assert "update the NVIDIA driver" in obstacle


def test_warmup_compiles_what_a_gradient_needs():
    solver = wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend="warp")
    omega = wns.initial.random_vorticity(GRID, key=jax.random.key(0), max_wavenumber=1)
    wns.warmup(solver)
    known = _ffi.statistics()["callables"]
    jax.grad(lambda w: jnp.sum(solver.rollout(w, steps=1) ** 2))(omega)
    assert _ffi.statistics()["callables"] == known


def test_results_survive_clearing_the_caches():
    solver = wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01, backend="warp")
    omega = wns.initial.random_vorticity(GRID, key=jax.random.key(0), max_wavenumber=1)
    compiled = jax.jit(lambda w: solver.rollout(w, steps=2))
    before = compiled(omega), solver.streamfunction(omega)
    wns.clear_caches()
    assert _ffi.statistics()["captures"] == 0
    for a, b in zip(before, (compiled(omega), solver.streamfunction(omega)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("limit", [99, 163, 227])
def test_plans_fit_the_device(limit):
    limit *= 1024
    for n in (8, 64, 100, 512, 1024, 2048, 2560, 4096, 8192, 16384, 19683, 32768):
        for dtype in ("float32", "float64"):
            for batch in (1, 64):
                plan = make_plan((n, n), dtype, batch, limit)
                # the least a block can do is a line of one row, or of two if rows are odd: nothing else refuses a grid
                least = Lines(n, 2, 2, plan.real) if n % 2 else Lines(n // 2, 1, 1, plan.real, one_row=True)
                assert (unsupported(plan, limit) is None) == (least.nbytes <= limit)
                for sweep in (plan.for_adjoint, plan.for_source):
                    slabs = 0 if sweep.copies_rows else 2 * sweep.slab_bytes
                    assert sweep.sweep_bytes - slabs <= max(limit, least.nbytes)


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match="solver"):
        wns.warmup(GRID)
    with pytest.raises(TypeError, match=r"batch=3: .* \(8,\)"):
        wns.warmup(wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01), batch=3)
    solver = wns.NavierStokes2D(GRID, viscosity=0.1, dt=0.01)
    for batch, kind in (((-1,), ValueError), ((2.5,), TypeError), ("ab", TypeError), ("", TypeError)):
        with pytest.raises(kind, match="batch="):
            wns.warmup(solver, batch=batch)
    with pytest.raises(TypeError, match="gradient='yes'"):
        wns.warmup(solver, gradient="yes")
    with pytest.raises(TypeError, match="grid"):
        wns.info((16, 20))
    with pytest.raises(TypeError, match="dtype='x'"):
        wns.info(GRID, dtype="x")
