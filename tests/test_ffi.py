import contextlib
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from jax.sharding import Mesh, PartitionSpec
from warp._src.jax import ffi as warp_ffi

from warpjaxns import _ffi
from warpjaxns._kernels.finite_difference import operators
from warpjaxns._kernels.finite_difference.planner import make_plan
from warpjaxns._kernels.hardware.fill import Addresses, Entries, fill, fill_moved
from warpjaxns._kernels.hardware.limits import TABLE_SLOTS


@wp.kernel(module="unique", enable_backward=False)
def scale(x: wp.array(dtype=wp.float32), v: wp.array(dtype=wp.vec2f), y: wp.array(dtype=wp.vec2f)):
    i = wp.tid()
    y[i] = x[i] * v[i]


def call(x, v):
    def launch(x, v, y):
        wp.launch(scale, dim=y.shape, inputs=[x, v], outputs=[y])

    (y,) = _ffi.call(launch, x, v, key=scale, inputs=[wp.float32, wp.vec2f], outputs=[(wp.vec2f, x.shape)])
    return y


def operands(n):
    return jnp.arange(1, n + 1, dtype=jnp.float32), jnp.arange(2 * n, dtype=jnp.float32).reshape(n, 2)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_vectors_trail_in_the_jax_shape(transform):
    x, v = operands(6)
    np.testing.assert_array_equal(transform(call)(x, v), x[:, None] * v)


def test_two_shapes_of_one_key():
    for n in (3, 5, 3):
        x, v = operands(n)
        np.testing.assert_array_equal(call(x, v), x[:, None] * v)


def test_every_device():
    x, v = operands(4)
    assert len(jax.devices()) > 1
    for device in jax.devices():
        y = call(jax.device_put(x, device), jax.device_put(v, device))
        assert y.device == device
        np.testing.assert_array_equal(y, x[:, None] * v)


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("size", [16, 20])  # of which one is first seen inside shard_map
def test_shard_map(check_vma, size):
    mesh = Mesh(np.array(jax.devices()), ("d",))
    x, v = operands(size)
    spec = PartitionSpec("d")
    sharded = jax.shard_map(call, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=check_vma)
    for f in (sharded, jax.jit(sharded)):
        np.testing.assert_array_equal(f(x, v), x[:, None] * v)
    n = size // len(jax.devices())
    np.testing.assert_array_equal(call(x[:n], v[:n]), x[:n, None] * v[:n])


def test_scan_and_threads_of_one_program():
    x, v = operands(8)
    out, _ = jax.jit(lambda v: jax.lax.scan(lambda v, _: (call(x / 4, v), None), v, length=5))(v)
    np.testing.assert_allclose(out, (x[:, None] / 4) ** 5 * v, rtol=1e-5)


def registries():
    ours = _ffi._callables.values()
    return (
        len(warp_ffi._FFI_CALLABLE_REGISTRY),
        len(warp_ffi._FFI_CALLBACK_REGISTRY),
        sum(len(callable_.call_descriptors) for callable_ in ours),
        _ffi.statistics()["callables"],
    )


def test_nothing_grows_with_traces_or_calls():
    x, v = operands(7)
    call(x, v)
    before = registries()
    for _ in range(200):
        jax.jit(lambda x, v: call(x, v)).lower(x, v)  # a new function: traced and lowered again
    compiled = jax.jit(lambda x, v: call(x, v))
    launches = _ffi.statistics()["launches"]
    for _ in range(2000):
        result = compiled(x, v)
    for _ in range(300):
        call(x, v)
    jax.block_until_ready(result)
    assert registries() == before
    assert _ffi.statistics()["launches"] - launches >= 2299
    assert all(len(callable_.call_descriptors) == 1 for callable_ in _ffi._callables.values())


def test_an_eager_call_compiles_once(compiled):
    x, v = operands(9)
    y = x + 1
    assert compiled(lambda: call(x, v))
    assert not compiled(lambda: call(y, v))


def test_the_first_function_of_a_key_serves():
    x = jnp.ones(3, jnp.float32)

    def fill(value):
        (y,) = _ffi.call(lambda x, y: y.fill_(value), x, key=("fill",), outputs=[(wp.float32, (3,))])
        return y

    assert float(fill(2.0)[0]) == float(fill(3.0)[0]) == 2.0


def test_what_does_not_fit_is_refused():
    x, v = operands(4)
    with pytest.raises(TypeError, match=r"operand 1 is float32\[4, 1\], which cannot hold vec2f"):
        call(x, v[:, :1])
    with pytest.raises(TypeError, match="operand 0 is int32"):
        call(x.astype(jnp.int32), v)


def test_more_arrays_than_a_table_has_room_for():
    x = jnp.ones(1)
    with pytest.raises(ValueError, match="a graph has 30 operands and 3 outputs; 32 in all fit"):
        _ffi.call(lambda *arrays: None, *[x] * 30, key="many", outputs=[(wp.float64, (1,))] * 3, graph=True)


@pytest.mark.parametrize("count", [1, 17, TABLE_SLOTS])
def test_a_table_is_filled(count):
    expected = np.random.default_rng(count).integers(2**63, 2**64, count, np.uint64)
    table, addresses = wp.zeros(count, dtype=wp.uint64, device="cpu"), Addresses()
    for i, address in enumerate(expected.tolist()):
        addresses[i] = address
    wp.launch(fill, dim=1, inputs=[addresses, table], device="cpu")
    np.testing.assert_array_equal(table.numpy(), expected)


def test_a_table_of_arrays_that_move():
    table, at = wp.zeros(3, dtype=wp.uint64, device="cpu"), wp.array([5, 7], dtype=wp.int32, device="cpu")
    addresses, entries, slices = Addresses(2**63, 2**62, 2**61, *[0] * 29), Entries(0, 1, 1, *[0] * 29), Addresses()
    slices[0], slices[1] = 2**40, 3  # the third array does not move
    wp.launch(fill_moved, dim=1, inputs=[addresses, at, entries, slices, table], device="cpu")
    np.testing.assert_array_equal(table.numpy(), [2**63 + 5 * 2**40, 2**62 + 21, 2**61])


def test_slices_known_on_the_device_only():
    """Each turn of a loop writes to the next slice of an array that stays where it is."""
    plan = make_plan((4, 6), "float32").on(cpu=True)
    given = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 4, 6)), jnp.float32)

    def copy(fields, turn):
        where = {"key": "copies", "outputs": [(wp.float32, fields.shape)], "aliases": {0: 0}, "moving": {0: 0, 1: 1}}
        at = jnp.stack([turn, turn + 1])
        return _ffi.call(lambda a, b: operators.copy(plan, a[0], b[0]), fields, at=at, graph=True, **where)[0], None

    program = jax.jit(lambda given: jax.lax.scan(copy, given, jnp.arange(1, 4, dtype=jnp.int32))[0]).lower(given)
    before = given.copy()
    np.testing.assert_array_equal(program.compile()(given), given[jnp.array([0, 1, 1, 1, 1])])
    np.testing.assert_array_equal(given, before)


def test_an_error_in_the_launch_is_raised(capfd):
    def launch(x, y):
        raise RuntimeError("this launch fails")

    with pytest.raises(Exception, match="this launch fails"):
        jax.block_until_ready(_ffi.call(launch, jnp.ones(2), key="fails", outputs=[(wp.float64, (2,))]))
    capfd.readouterr()


def test_clear_keeps_compiled_programs():
    x, v = operands(6)
    compiled = jax.jit(call)
    expected = compiled(x, v)
    _ffi.clear()
    assert _ffi.statistics()["captures"] == 0
    np.testing.assert_array_equal(compiled(x, v), expected)


def test_a_word_about_compiling(monkeypatch, capfd):
    monkeypatch.setattr(_ffi, "PATIENCE", 0.05)

    def slow(x, y):
        time.sleep(0.3)
        wp.copy(y, x)

    for expected in (1, 0):  # said once
        x = jnp.ones(3, jnp.float32)
        jax.block_until_ready(_ffi.call(slow, x, key=("slow", 3), outputs=[(wp.float32, x.shape)]))
        assert capfd.readouterr().err.count("compiling kernels of slow") == expected


@pytest.mark.parametrize("broken", [0, 2, _ffi.ATTEMPTS])
def test_a_broken_capture_begins_again(broken, monkeypatch):
    """CUDA breaks a capture if another thread waits for the device."""
    launched = []

    def launch():
        launched.append(None)
        if len(launched) <= broken:
            raise RuntimeError("operation failed due to a previous error during capture")

    @contextlib.contextmanager
    def capture(capture_mode):
        yield types.SimpleNamespace(graph=len(launched))

    monkeypatch.setattr(_ffi.wp, "ScopedCapture", capture)
    if broken < _ffi.ATTEMPTS:
        assert _ffi._captured(launch) == broken
        assert len(launched) == broken + 1
    else:
        with pytest.raises(RuntimeError, match="previous error"):
            _ffi._captured(launch)
        assert len(launched) == broken
