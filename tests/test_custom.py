import contextlib
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import warp as wp
from jax.sharding import Mesh, PartitionSpec
from tolerances import assert_close
from warp._src.jax import ffi as warp_ffi

from warpjaxns import _ffi
from warpjaxns._custom import primitive

FLOATS = {"float32": wp.float32, "float64": wp.float64}


@functools.cache
def kernels(dtype):
    F = FLOATS[dtype]

    @wp.kernel(module="unique")
    def diffuse(x: wp.array(dtype=F), rate: wp.array(dtype=F), y: wp.array(dtype=F)):
        i = wp.tid()
        n = x.shape[0]
        y[i] = x[i] * x[i] + rate[0] * (x[(i + 1) % n] - F(2.0) * x[i] + x[(i + n - 1) % n])

    @wp.kernel(module="unique")
    def advect(p: wp.array2d(dtype=F), q: wp.array2d(dtype=F), out: wp.array2d(dtype=F)):
        i, j = wp.tid()
        n = (i + 1) % p.shape[0]
        w = (j + p.shape[1] - 1) % p.shape[1]
        out[i, j] = p[n, j] * q[i, w] + wp.sin(p[i, w])

    return primitive(diffuse), primitive(advect)


def diffuse_in_jax(x, rate):
    return x * x + rate[0] * (jnp.roll(x, -1) - 2 * x + jnp.roll(x, 1))


def advect_in_jax(p, q):
    return jnp.roll(p, -1, 0) * jnp.roll(q, 1, 1) + jnp.sin(jnp.roll(p, 1, 1))


def normal(seed, shape, dtype="float64"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def loss(f):
    return lambda *args: jnp.sum(jnp.sin(f(*args)))


def compare(f, expected, *args):
    for actual, value in zip(jax.tree.leaves(f(*args)), jax.tree.leaves(jax.jit(expected)(*args)), strict=True):
        assert_close(actual, value)


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_against_jax(dtype, transform):
    diffuse, advect = kernels(dtype)
    args = normal(0, (7,), dtype), normal(1, (1,), dtype)
    compare(transform(diffuse), diffuse_in_jax, *args)
    compare(transform(jax.grad(loss(diffuse), (0, 1))), jax.grad(loss(diffuse_in_jax), (0, 1)), *args)
    args = normal(0, (4, 6), dtype), normal(1, (4, 6), dtype)
    compare(transform(advect), advect_in_jax, *args)
    compare(transform(jax.grad(loss(advect), (0, 1))), jax.grad(loss(advect_in_jax), (0, 1)), *args)


BATCHES = {
    "both": ((0, 0), 0),
    "one shared": ((0, None), 0),
    "other shared": ((None, 1), 0),
    "axes": ((2, 1), 1),
}


@pytest.mark.covering(1)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_vmap_is_a_loop(batch, dtype):
    # A stencil over members folded into the first axis would wrap from one member to the next.
    _, advect = kernels(dtype)
    in_axes, out_axes = BATCHES[batch]
    args = []
    for seed, axis in enumerate(in_axes):
        x = normal(seed, (4, 6) if axis is None else (3, 4, 6), dtype)
        args.append(x if axis is None else jnp.moveaxis(x, 0, axis))

    def mapped(f):
        return jax.vmap(f, in_axes, out_axes)

    compare(mapped(advect), mapped(advect_in_jax), *args)
    members = [[a if x is None else jnp.take(a, m, x) for a, x in zip(args, in_axes, strict=True)] for m in range(3)]
    assert_close(mapped(advect)(*args), jnp.stack([advect(*member) for member in members], out_axes))

    gradient = jax.grad(loss(mapped(advect)), (0, 1))  # of a shared operand: summed over members
    compare(jax.jit(gradient), jax.grad(loss(mapped(advect_in_jax)), (0, 1)), *args)

    def each(f):  # of a shared operand: one for each member
        return jax.vmap(jax.grad(loss(f), (0, 1)), in_axes)

    compare(each(advect), each(advect_in_jax), *args)


def test_nested_vmap():
    diffuse, _ = kernels("float64")
    x, rate = normal(0, (2, 7, 3)), normal(1, (3, 1))

    def nested(f):
        return jax.vmap(jax.vmap(f, (0, None), 1), (2, 0), 2)

    compare(nested(diffuse), nested(diffuse_in_jax), x, rate)
    compare(jax.grad(loss(nested(diffuse)), (0, 1)), jax.grad(loss(nested(diffuse_in_jax)), (0, 1)), x, rate)


def test_vmap_is_one_call():
    _, advect = kernels("float64")
    p, q = normal(0, (5, 4, 6)), normal(1, (4, 6))
    before = _ffi.statistics()["launches"]
    jax.block_until_ready(jax.vmap(advect, (0, None))(p, q))
    assert _ffi.statistics()["launches"] == before + 1


def test_scan_and_checkpoint():
    diffuse, _ = kernels("float64")

    def rollout(f):
        def run(x, rate):
            step = jax.checkpoint(lambda x, _: (x + 0.1 * f(x, rate), None))
            return jax.lax.scan(step, x, None, length=6)[0]

        return jax.jit(jax.grad(loss(run), (0, 1)))

    compare(rollout(diffuse), rollout(diffuse_in_jax), 0.3 * normal(0, (7,)), jnp.array([0.2]))


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(check_vma):
    diffuse, _ = kernels("float64")
    mesh = Mesh(np.array(jax.devices()), ("d",))
    spec = PartitionSpec("d")
    x, rate = normal(0, (2 * len(jax.devices()), 7)), jnp.array([0.3])
    expected = jax.vmap(diffuse_in_jax, (0, None))
    sharded = jax.shard_map(
        jax.vmap(diffuse, (0, None)),
        mesh=mesh,
        in_specs=(spec, PartitionSpec()),
        out_specs=spec,
        check_vma=check_vma,
    )
    compare(jax.jit(sharded), expected, x, rate)
    compare(jax.jit(jax.grad(loss(sharded), (0, 1))), jax.grad(loss(expected), (0, 1)), x, rate)


@wp.kernel(module="unique")
def statistics(
    x: wp.array2d(dtype=wp.float64),
    index: wp.array(dtype=wp.int32),
    power: int,
    factor: wp.float64,
    total: wp.array(dtype=wp.float64),
    powered: wp.array2d(dtype=wp.float64),
    count: wp.array(dtype=wp.int32),
):
    i, j = wp.tid()
    value = wp.pow(x[i, j], wp.float64(power))
    powered[i, j] = factor * value
    wp.atomic_add(total, index[i], value)
    wp.atomic_add(count, index[i], 1)


SHAPES = {
    "sequence": [(3,), (4, 5), 3],
    "dictionary": {"powered": (4, 5), "total": 3, "count": (3,)},
    "function": lambda x, index: [(3,), x, (3,)],
}


def statistics_in_jax(x, index, factor):
    total = jnp.zeros(3).at[index].add(jnp.sum(x**3, 1))
    return total, factor * x**3


@pytest.mark.parametrize("shapes", SHAPES)
def test_several_outputs_of_several_shapes(shapes):
    f = primitive(statistics, num_outputs=3, output_shapes=SHAPES[shapes], launch_dims=lambda x, index: x)
    x, index = 1 + normal(0, (4, 5)) ** 2, jnp.array([0, 2, 0, 2], jnp.int32)
    for _ in range(2):  # accumulated into zeros each time
        total, powered, count = f(x, index, 3, factor=2.0)
        np.testing.assert_array_equal(count, [10, 0, 10])
        assert_close(total, statistics_in_jax(x, index, 2.0)[0])
        assert_close(powered, statistics_in_jax(x, index, 2.0)[1])

    def value(outputs):
        return jnp.sum(outputs[0] ** 2) + jnp.sum(jnp.sin(outputs[1]))

    gradient = jax.jit(jax.grad(lambda x: value(f(x, index, 3, 2.0))))
    compare(gradient, jax.grad(lambda x: value(statistics_in_jax(x, index, 2.0))), x)


def test_integers_have_no_derivative():
    f = primitive(statistics, num_outputs=3, output_shapes=[(3,), (4, 5), (3,)], launch_dims=(4, 5))
    x, index = 1 + normal(0, (4, 5)) ** 2, jnp.array([0, 2, 0, 2], jnp.int32)
    _, pullback = jax.vjp(lambda x, index: f(x, index, 3, 2.0), x, index)
    zeros = np.zeros(3, jax.dtypes.float0)
    dx, dindex = pullback((jnp.ones(3), jnp.zeros((4, 5)), zeros))
    assert_close(dx, 3 * x**2)
    assert dindex.dtype == jax.dtypes.float0
    assert dindex.shape == index.shape


@wp.kernel(module="unique")
def rotate(v: wp.array(dtype=wp.vec2d), m: wp.array(dtype=wp.mat22d), out: wp.array(dtype=wp.vec2d)):
    i = wp.tid()
    out[i] = m[0] * v[i]


def test_vectors_and_matrices():
    f = primitive(rotate)
    v, m = normal(0, (3, 5, 2)), normal(1, (1, 2, 2))

    def expected(v, m):
        return v @ m[0].T

    compare(f, expected, v[0], m)
    batched, reference = jax.vmap(f, (0, None)), jax.vmap(expected, (0, None))
    compare(jax.grad(loss(batched), (0, 1)), jax.grad(loss(reference), (0, 1)), v, m)


@wp.kernel(module="unique")
def chained(x: wp.array(dtype=wp.float64), y: wp.array(dtype=wp.float64), z: wp.array(dtype=wp.float64)):
    i = wp.tid()
    y[i] = x[i] * x[i]
    z[i] = y[i] * y[i]


def test_an_output_read_again_and_untouched_cotangents():
    f = primitive(chained, num_outputs=2)
    x = normal(0, (5,))
    _, pullback = jax.vjp(f, x)
    cotangents = jnp.ones(5), jnp.ones(5)
    for _ in range(2):  # Warp's adjoint adds to the cotangent of y, and must do so in a copy
        assert_close(pullback(cotangents)[0], 2 * x + 4 * x**3)
    np.testing.assert_array_equal(cotangents[0], 1.0)


@wp.kernel(module="unique")
def total_alone(x: wp.array(dtype=wp.float64), out: wp.array(dtype=wp.float64)):
    for i in range(x.shape[0]):
        out[0] += x[i] * x[i]


def test_a_kernel_without_threads_runs_once():
    f = primitive(total_alone, output_shapes=(1,))
    x = normal(0, (5,))
    assert_close(f(x), jnp.sum(x**2)[None])
    assert_close(jax.grad(lambda x: f(x)[0])(x), 2 * x)


def registries():
    descriptors = sum(len(callable_.call_descriptors) for callable_ in warp_ffi._FFI_CALLABLE_REGISTRY.values())
    return len(warp_ffi._FFI_CALLABLE_REGISTRY), len(warp_ffi._FFI_KERNEL_REGISTRY), descriptors


@wp.kernel(module="unique")
def multiply(x: wp.array(dtype=wp.float64), factor: float, y: wp.array(dtype=wp.float64)):
    i = wp.tid()
    y[i] = x[i] * wp.float64(factor)


@pytest.mark.full
def test_nothing_grows():
    x = normal(0, (2, 6))

    def gradient():
        f = primitive(multiply)
        return jax.grad(lambda x: jnp.sum(jax.vmap(lambda x: f(x, 2.0))(x) ** 2))

    gradient()(x)
    before = registries()
    for _ in range(200):
        jax.jit(gradient()).lower(x)
    compiled = jax.jit(gradient())
    for _ in range(3000):
        result = compiled(x)
    for _ in range(100):
        gradient()(x)
    assert_close(result, 8 * x)
    assert registries() == before


def test_a_word_about_compiling_names_the_kernel(monkeypatch, capfd):
    excuse, names = _ffi._excuse, []

    def overheard(program):
        with monkeypatch.context() as patched:
            patched.setattr(_ffi, "PATIENCE", 0.01)
            with excuse(program):
                time.sleep(0.3)
        names.append(capfd.readouterr().err)
        return contextlib.nullcontext()

    monkeypatch.setattr(_ffi, "_excuse", overheard)
    jax.block_until_ready(primitive(multiply)(jnp.ones(3), 12.5))  # a signature of its own
    assert ["compiling kernels of multiply;" in name for name in names] == [True]


def test_static_values_are_told_apart():
    f = primitive(multiply)
    x = jnp.ones(2)
    assert float(f(x, 2.0)[0]) == float(f(x, 2)[0]) == 2.0
    assert np.signbit(f(x, -0.0)[0])
    assert not np.signbit(f(x, 0.0)[0])
    before = registries()
    assert jnp.isnan(f(x, float("nan"))[0])
    assert jnp.isnan(f(x, float("nan"))[0])
    assert registries()[0] == before[0] + 1


@wp.kernel(module="unique", enable_backward=False)
def forward_only(x: wp.array(dtype=wp.float64), y: wp.array(dtype=wp.float64)):
    i = wp.tid()
    y[i] = x[i] * x[i]


def test_without_an_adjoint():
    f = primitive(forward_only)
    x = normal(0, (4,))
    assert_close(f(x), x**2)
    with pytest.raises(ValueError, match=r"'forward_only' has no adjoint.*enable_backward=False"):
        jax.grad(lambda x: jnp.sum(f(x)))(x)


def test_what_has_no_derivative_says_so():
    diffuse, _ = kernels("float64")
    x, rate = normal(0, (5,)), jnp.array([0.1])

    def scalar(x):
        return jnp.sum(diffuse(x, rate) ** 2)

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(scalar, (x,), (x,))
    for second in (
        jax.grad(lambda x: jnp.sum(jax.grad(scalar)(x) ** 2)),
        jax.hessian(scalar),
        jax.jit(jax.hessian(scalar)),
    ):
        with pytest.raises(NotImplementedError, match="second derivative of the Warp kernel 'diffuse'"):
            second(x)


def test_a_traced_scalar_must_be_an_array():
    f = primitive(multiply)
    x = jnp.ones(3)
    with pytest.raises(TypeError, match=r"'factor'.*plain scalar.*array of one element"):
        jax.grad(lambda factor: jnp.sum(f(x, factor)))(2.0)
    with pytest.raises(TypeError, match="array of one element"):
        jax.jit(f)(x, 2.0)
    diffuse, _ = kernels("float64")
    with pytest.raises(ValueError, match=r"'rate'.*jnp.reshape\(value, \(1,\)\)"):
        diffuse(x, jnp.asarray(0.1))


def test_arguments_that_do_not_fit():
    diffuse, advect = kernels("float64")
    x = normal(0, (5,))
    with pytest.raises(TypeError, match="dtype float64, and got float32"):
        diffuse(x.astype(jnp.float32), x[:1])
    with pytest.raises(ValueError, match="has 2 axes"):
        advect(x, x)
    with pytest.raises(TypeError, match="missing a required argument"):
        diffuse(x)
    with pytest.raises(TypeError):
        primitive(statistics, num_outputs=3, output_shapes=[3, (1, 1), 3])(x[None], jnp.zeros(1, jnp.int32), 2.5, 1.0)
    with pytest.raises(TypeError, match=r"output_shapes of kernel 'multiply' has 8.0 for a shape: expected integers"):
        primitive(multiply, output_shapes=8.0)(x, 1.0)
    with pytest.raises(TypeError, match=r"launch_dims of kernel 'multiply' has \(5.0,\)"):
        primitive(multiply, launch_dims=(5.0,))(x, 1.0)
    with pytest.raises(TypeError, match=r"of kernel 'multiply' is one number of type float32, and got 'a'"):
        primitive(multiply)(x, "a")
    with pytest.raises(ValueError, match="its shape is"):
        primitive(statistics, num_outputs=3)(x[None], jnp.zeros(1, jnp.int32), 2, 1.0)
    with pytest.raises(ValueError, match="names"):
        primitive(multiply, output_shapes={"z": 3})(x, 1.0)
    with pytest.raises(ValueError, match="give launch_dims"):
        primitive(multiply, launch_dims=(5, 2))(x, 1.0)
    with pytest.raises(ValueError, match="give launch_dims"):
        primitive(total_alone, launch_dims=5, output_shapes=1)(x)


def test_kernels_that_do_not_fit():
    @wp.struct
    class Pair:
        a: float
        b: float

    @wp.kernel(module="unique")
    def structured(x: wp.array(dtype=float), pair: Pair, y: wp.array(dtype=float)):
        y[0] = pair.a

    @wp.kernel(module="unique")
    def generic(x: wp.array(dtype=wp.Float), y: wp.array(dtype=wp.Float)):
        y[0] = x[0]

    with pytest.raises(TypeError, match=r"'pair'.*neither"):
        primitive(structured)
    with pytest.raises(TypeError, match="generic"):
        primitive(generic)
    with pytest.raises(TypeError, match="expected a Warp kernel"):
        primitive(diffuse_in_jax)
    with pytest.raises(ValueError, match="num_outputs"):
        primitive(multiply, num_outputs=4)
    with pytest.raises(TypeError, match=r"'factor'.*must be an array"):
        primitive(multiply, num_outputs=2)


def test_numpy_arrays_that_jax_would_round_are_refused():
    single = kernels("float32")[0]
    rate = jnp.array([0.1], jnp.float32)
    with jax.enable_x64(False):
        for wide in (np.array([16777217.0]), [np.float64(16777217.0)]):
            with pytest.raises(TypeError, match=r"'x' of kernel 'diffuse' is float64 .*jax_enable_x64.* float32"):
                single(wide, rate)
        with pytest.raises(TypeError, match=r"'x' of kernel 'diffuse' is int64 .*jax_enable_x64.* int32"):
            single(np.array([2**32]), rate)
        assert single([0.0, 1.0], rate).dtype == jnp.float32  # Python's numbers take JAX's type
    with pytest.raises(TypeError, match=r"'x' of kernel 'diffuse' is an array of type float32, and got None"):
        single(None, rate)
