import importlib.util
import os

FLAG = "--xla_force_host_platform_device_count=4"
if FLAG not in os.environ.get("XLA_FLAGS", ""):  # before JAX starts, in each worker of xdist
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()

import jax
import pytest
from jaxtyping import install_import_hook

# Check the annotations of what JAX users call. Warp's kernels are not Python, and must stay as they are written.
if importlib.util.find_spec("beartype"):
    CHECKED = ["_solver", "_operators", "_rollout", "_adjoint", "_checks", "_grid", "_primitives"]
    CHECKED += ["initial", "diagnostics", "forcing", "_custom"]
    install_import_hook([f"warpjaxns.{name}" for name in CHECKED], "beartype.beartype")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_collection_modifyitems(items):
    if any(device.platform == "gpu" for device in jax.devices()):
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def key():
    return jax.random.key(0)
