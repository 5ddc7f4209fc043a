"""The FFT inside the kernels, on the CPU; `test_gpu.py` runs sizes that matter on CUDA through the solver."""

import itertools
import math

import numpy as np
import pytest
import warp as wp
from emulator import COMPILER, Emulator
from tolerances import FFT

from warpjaxns._kernels.fft.lines import MOST_VALUES, Lines, factorise, smooth
from warpjaxns._kernels.fft.transforms import line_functions, roots_of_unity
from warpjaxns._kernels.hardware.intrinsics import barrier
from warpjaxns._kernels.hardware.numbers import complex_type

REALS = {"float32": wp.float32, "float64": wp.float64}
# every radix alone, and every number of passes; 5-smooth composites; odd lengths; with and without padding
SIZES = [4, 5, 6, 9, 15, 16, 20, 27, 32, 45, 50, 60, 64, 96, 100, 128, 256, 512, 1000, 1024, 2048]
FLOAT32_TOO = [4, 9, 16, 45, 100, 512, 1000, 2048]
FAST = {(5, "float64"), (9, "float32"), (16, "float64"), (60, "float64"), (100, "float32"), (1000, "float64")}
CASES = [(n, "float64") for n in SIZES] + [(n, "float32") for n in FLOAT32_TOO]
# (length, radix, narrow) of lines whose threads share a pass unevenly, or whose radices are not prime or powers of two
SHARED = [(48, 4, True), (80, 8, True), (96, 8, False), (96, 16, True), (160, 4, False), (192, 8, False)]
SHARED += [(320, 8, False), (384, 8, False), (384, 16, False), (640, 16, False), (768, 16, False), (1000, 16, False)]
SHARED += [(60, 8, False), (75, 4, False), (100, 4, False), (1200, 16, False), (1280, 16, False), (1536, 16, False)]


def transform(buffers, lines, sign, device, emulator=None):
    """Transform lines, and read them from the buffer afterwards."""
    n, count, real, size = buffers.n, buffers.count, buffers.real, buffers.size
    threads, held, Values, Complex = buffers.threads, buffers.values, buffers.Values, complex_type(real)
    by_line = line_functions(buffers)
    get, publish, factors = by_line.get, by_line.publish, by_line.factors
    apply = by_line.forward if sign > 0 else by_line.inverse

    @wp.kernel(module="unique", enable_backward=False, module_options={"max_unroll": 64})
    def run(lines: wp.array2d(dtype=Complex), roots: wp.array(dtype=Complex), out: wp.array2d(dtype=Complex)):
        _, thread = wp.tid()
        buffer = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        line = thread // threads
        t = thread - line * threads
        values = Values()
        for e in range(held):
            value = lines[line, t + threads * e]
            values[2 * e] = value[0]
            values[2 * e + 1] = value[1]
        publish(apply(values, buffer, factors(roots, t), line, t), buffer, line, t)
        barrier()
        for e in range(held):
            out[line, t + threads * e] = get(buffer, line, t + threads * e)

    def on_device(values):
        return wp.array(np.ascontiguousarray(values), dtype=Complex, device=device)

    dtype = wp.dtype_to_numpy(real)
    given, roots = on_device(np.stack([lines.real, lines.imag], -1).astype(dtype)), on_device(roots_of_unity(n, dtype))
    out = wp.zeros((count, n), dtype=Complex, device=device)
    if emulator:
        emulator.launch(run, given, 1, [roots, out], buffers.block_dim)
    else:
        wp.launch_tiled(run, dim=[1], inputs=[given, roots], outputs=[out], block_dim=buffers.block_dim, device=device)
    return out.numpy() @ np.array([1, 1j])


def errors(buffers, device, emulator=None):
    """Return the largest relative errors of a line, forward and inverse."""
    dtype, count, n = wp.dtype_to_numpy(buffers.real), buffers.count, buffers.n
    generator = np.random.default_rng(n)
    parts = generator.standard_normal((2, count, n)).astype(dtype)
    given = parts[0].astype("float64") + 1j * parts[1]
    for sign in (1, -1):
        actual = transform(buffers, given, sign, device, emulator)
        expected = np.fft.fft(given) if sign > 0 else np.fft.ifft(given) * n
        yield (np.linalg.norm(actual - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max()


def check(buffers, device, emulator=None):
    for error in errors(buffers, device, emulator):
        assert error < FFT[wp.dtype_to_numpy(buffers.real).__name__]


@pytest.mark.parametrize("n", [256, 1000, pytest.param(2048, marks=pytest.mark.full)])
def test_precise_lines(n):
    """They have two thirds of the rounding errors at most."""
    plain, precise = (list(errors(Lines(n, 1, 1, wp.float32, serial=True, precise=p), "cpu")) for p in (False, True))
    assert max(precise) < 0.67 * min(plain)
    assert max(precise) < 2e-7


@pytest.mark.parametrize(
    ("n", "dtype"), [pytest.param(*case, marks=[] if case in FAST else pytest.mark.full) for case in CASES]
)
def test_against_numpy(n, dtype):
    check(Lines(n, 1, 1, REALS[dtype], serial=True), "cpu")


@pytest.mark.parametrize("radix", [4, pytest.param(8, marks=pytest.mark.full)])
def test_smaller_radices(radix):
    check(Lines(256, 1, 1, wp.float64, radix=radix, serial=True), "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("radix", [4, 8, 16])
def test_on_cuda(dtype, radix):
    for n in SIZES if radix == 16 else [64, 128, 256, 512]:
        check(Lines(n, 2, 2, REALS[dtype], radix=radix), "cuda:0")


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
@pytest.mark.parametrize(
    ("n", "radix", "narrow"), [pytest.param(*c, marks=[] if c[0] == 192 else pytest.mark.full) for c in SHARED]
)
def test_threads_that_share_a_line(n, radix, narrow, emulated_kernels):
    emulator, order = Emulator(emulated_kernels), 1 + n % 3
    emulator.order = order
    check(Lines(n, 3, 3, wp.float32 if radix == 8 else wp.float64, radix, narrow=narrow), "cpu", emulator)


def test_smooth():
    twos, threes, fives = ([p**k for k in range(13)] for p in (2, 3, 5))
    products = {a * b * c for a, b, c in itertools.product(twos, threes, fives)}
    assert [n for n in range(1, 4097) if smooth(n)] == sorted(n for n in products if n <= 4096)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("wanted", [2, 4, 8, 16])
def test_factorise(wanted, narrow):
    for n in filter(smooth, range(2, 4097)):
        values, radices = factorise(n, wanted, narrow)
        assert math.prod(radices) == n
        assert values <= MOST_VALUES
        assert n % values == values % radices[0] == values % radices[-1] == 0
        assert set(radices) <= {2, 3, 4, 5, 6, 8, 10, 12, 16, 20}
        if n & (n - 1) == 0:  # every pass is even, and no radix is larger than what was asked for
            assert values == max(radices) <= wanted
            assert all(values % radix == 0 for radix in radices)


def test_threads_of_lines_as_people_want_them():
    """Threads hold about as many numbers as for powers of two. Lines of a resident member are alone."""
    for n, radix in {48: 4, 96: 8, 160: 4, 192: 8, 320: 8, 384: 8, 640: 16, 768: 16, 1000: 16, 1536: 16}.items():
        assert radix / 2 < Lines(n, 1, 1, wp.float32, radix).values <= radix
    for n in (48, 80, 96):
        lines = Lines(n, 1, 1, wp.float32, 8, narrow=True)
        assert lines.alone
        assert 5 <= lines.values <= 12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_roots_of_unity_are_rounded_once(dtype):
    pi = np.longdouble("3.14159265358979323846264338327950288")
    angle = 2 * pi * np.arange(1000, dtype=np.longdouble) / 1000
    exact = np.stack([np.cos(angle), -np.sin(angle)], axis=-1)
    assert np.abs(roots_of_unity(1000, dtype) - exact).max() < np.finfo(dtype).eps
