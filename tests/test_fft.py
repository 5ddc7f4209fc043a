"""The FFT inside the kernels, on the CPU; `test_gpu.py` runs sizes that matter on CUDA through the solver."""

import math

import numpy as np
import pytest
import warp as wp
from tolerances import FFT

from warpjaxns._kernels.fft import Lines, barrier, complex_type, factorise, roots_of_unity

REALS = {"float32": wp.float32, "float64": wp.float64}
# every radix alone, and every number of passes; 5-smooth composites; odd lengths; with and without padding
SIZES = [4, 5, 6, 9, 15, 16, 20, 27, 32, 45, 50, 60, 64, 96, 100, 128, 256, 512, 1000, 1024, 2048]
FLOAT32_TOO = [4, 9, 16, 45, 100, 512, 1000, 2048]


def transform(n, dtype, lines, sign, skip=1):
    """Transform all but the first `skip` lines of a buffer, two at a time on CUDA."""
    real, count = REALS[dtype], len(lines)
    buffers = Lines(n, count, 2, real)
    get, put, size = buffers.get, buffers.put, buffers.size
    apply = buffers.forward if sign > 0 else buffers.inverse
    Complex = complex_type(real)

    @wp.kernel(module="unique", enable_backward=False)
    def run(lines: wp.array2d(dtype=Complex), roots: wp.array(dtype=Complex), out: wp.array2d(dtype=Complex)):
        _, thread = wp.tid()
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        for item in range(thread, count * n, wp.block_dim()):
            put(buffer, item // n, item % n, lines[item // n, item % n])
        barrier()
        apply(buffer, roots, thread, skip, count - skip)
        for item in range(thread, count * n, wp.block_dim()):
            out[item // n, item % n] = get(buffer, item // n, item % n)

    def on_cpu(values, dtype=Complex):
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device="cpu")

    parts = np.stack([lines.real, lines.imag], -1).astype(dtype)
    given, roots = on_cpu(parts), on_cpu(roots_of_unity(n, dtype))
    out = wp.zeros((count, n), dtype=Complex, device="cpu")
    wp.launch_tiled(run, dim=[1], inputs=[given, roots], outputs=[out], block_dim=buffers.block_dim, device="cpu")
    return parts[..., 0] + 1j * parts[..., 1].astype("float64"), out.numpy() @ np.array([1, 1j])


@pytest.mark.parametrize(("n", "dtype"), [(n, "float64") for n in SIZES] + [(n, "float32") for n in FLOAT32_TOO])
def test_against_numpy(n, dtype):
    generator = np.random.default_rng(n)
    noise = generator.standard_normal((6, n)) + 1j * generator.standard_normal((6, n))
    for sign in (1, -1):
        given, actual = transform(n, dtype, noise, sign)
        expected = np.fft.fft(given) if sign > 0 else np.fft.ifft(given) * n
        error = np.linalg.norm(actual[1:] - expected[1:], axis=-1) / np.linalg.norm(expected[1:], axis=-1)
        assert error.max() < FFT[dtype]
        np.testing.assert_array_equal(actual[0], given[0])  # not asked for


def smooth(n):
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def test_factorise():
    for n in range(2, 4097):
        factors = factorise(n)
        assert bool(factors) == smooth(n), n
        assert not factors or math.prod(factors) == n
        assert set(factors) <= {2, 3, 4, 5, 8, 16}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_roots_of_unity_are_rounded_once(dtype):
    pi = np.longdouble("3.14159265358979323846264338327950288")
    angle = 2 * pi * np.arange(1000, dtype=np.longdouble) / 1000
    exact = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
    assert np.abs(roots_of_unity(1000, dtype) - exact).max() < np.finfo(dtype).eps
