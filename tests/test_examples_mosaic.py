"""The adapter for Mosaic, where its packages are installed (docs/guides/mosaic.md)."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mosaic_shared")

FILE = Path(__file__).parent.parent / "examples/mosaic/tesseract_api.py"


@pytest.fixture(scope="module")
def api():
    spec = importlib.util.spec_from_file_location("mosaic_adapter", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs_of(api, **changes):
    x = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    u, v = np.sin(x)[:, None] * np.cos(x) + 0.3, -np.cos(x)[:, None] * np.sin(x)
    good = {"v0": np.stack([u, v], -1)[:, :, None].astype("float32"), "steps": 10}
    good |= {"viscosity": np.array([0.05], "float32"), "dt": np.array([0.02], "float32")}
    return api.InputSchema(**good | changes)


def test_taylor_and_green_are_carried_and_decay(api):
    inputs = inputs_of(api)
    found = np.asarray(api.apply(inputs).result)
    x = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    moved = x[:, None] - 0.3 * 0.2
    u, v = np.sin(moved) * np.cos(x) * np.exp(-0.02) + 0.3, -np.cos(moved) * np.sin(x) * np.exp(-0.02)
    np.testing.assert_allclose(found[:, :, 0, 0], u, atol=1e-5)
    np.testing.assert_allclose(found[:, :, 0, 1], v, atol=1e-5)


def test_products_with_the_derivative_are_transposes(api):
    inputs, rng = inputs_of(api), np.random.default_rng(0)
    shapes = {"v0": (16, 16, 1, 2), "viscosity": (1,), "dt": (1,)}
    tangents = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
    cotangent = rng.standard_normal((16, 16, 1, 2)).astype("float32")
    pushed = api.jacobian_vector_product(inputs, set(shapes), {"result"}, tangents)["result"]
    pulled = api.vector_jacobian_product(inputs, set(shapes), {"result"}, {"result": cotangent})
    assert set(pulled) == set(shapes)
    both = np.vdot(pushed, cotangent), sum(np.vdot(pulled[name], tangents[name]) for name in shapes)
    assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_walls_are_refused(api):
    with pytest.raises(ValueError, match="periodic"):
        inputs_of(api, obstacle={})
