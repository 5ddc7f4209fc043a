"""The Poisson equation along y, on the CPU and, marked gpu, by several threads on CUDA."""

import numpy as np
import pytest
import warp as wp
from tolerances import COLUMNS

from warpjaxns._coefficients import modes_of
from warpjaxns._kernels.finite_difference.columns import Columns
from warpjaxns._kernels.finite_difference.recursions import column_functions
from warpjaxns._kernels.hardware.numbers import complex_type

REALS = {"float32": wp.float32, "float64": wp.float64}
EIGENVALUES = np.array([0.0, 0.3, 1.0, 17.0, 400.0, 2.0e5])
SPACING = (0.05, 0.2)


def solve(columns, omega, mode, device):
    """Solve the columns of one block, as the kernel `solve_columns` does, without addresses."""
    real, held, count, size = columns.real, columns.values, columns.count, columns.size
    by_column = column_functions(columns)
    northward, southward, centred, reach = by_column.northward, by_column.southward, by_column.centred, by_column.powers
    Complex, Values, Mode = complex_type(real), columns.Values, columns.Mode

    block_dim, options = columns.block_dim, {"max_unroll": 32}

    @wp.kernel(module="unique", enable_backward=False, module_options=options, launch_bounds=block_dim)
    def run(column: wp.array2d(dtype=Complex), mode: wp.array(dtype=Mode), out: wp.array2d(dtype=Complex)):
        _, thread = wp.tid()
        c = thread % count
        t = thread // count
        sums = wp.tile_empty(shape=(size,), dtype=real, storage="shared")
        values = Values()
        for e in range(held):
            value = column[c, t * held + e]
            values[2 * e] = value[0]
            values[2 * e + 1] = value[1]
        powers = reach(mode[c][0], t)
        values = southward(northward(values, mode[c], powers, sums, c, t), mode[c], powers, sums, c, t)
        less = centred(values, sums, c, t)
        if mode[c][2] == real(0.0):
            values = less
        for e in range(held):
            out[c, t * held + e] = mode[c][3] * Complex(values[2 * e], values[2 * e + 1])

    dtype = wp.dtype_to_numpy(real)
    given = wp.array(np.stack([omega.real, omega.imag], -1).astype(dtype), dtype=Complex, device=device)
    table = wp.array(mode.astype(dtype), dtype=Mode, device=device)
    out = wp.zeros_like(given)
    wp.launch_tiled(run, dim=[1], inputs=[given, table], outputs=[out], block_dim=block_dim, device=device)
    return out.numpy() @ np.array([1, 1j])


def expected(omega, eigenvalues, nx):
    """Solve by Fourier transforms in double precision. Return psi, and the largest effect of rounding omega."""
    n = omega.shape[-1]
    m = np.arange(n)
    along_y = (2 * np.sin(np.pi * np.minimum(m, n - m) / n) / SPACING[0]) ** 2
    total = along_y + eigenvalues[:, None]
    total[total == 0] = np.inf
    gain = (1 / total).max(-1) / (2 * nx)
    return np.fft.ifft(np.fft.fft(omega) / total) / (2 * nx), gain * np.linalg.norm(omega, axis=-1)


def check(columns, device, eigenvalues, nx=6):
    n, count, dtype = columns.n, columns.count, np.dtype(wp.dtype_to_numpy(columns.real))
    parts = np.random.default_rng(n).standard_normal((2, count, n)).astype(dtype)
    omega = parts[0].astype("float64") + 1j * parts[1]
    actual = solve(columns, omega, modes_of(eigenvalues, (n, nx), SPACING), device)
    reference, size = expected(omega, eigenvalues, nx)
    error = np.linalg.norm(actual - reference, axis=-1) / size
    assert error.max() < COLUMNS[dtype.name]


@pytest.mark.covering(1)
@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("eigenvalue", EIGENVALUES)
@pytest.mark.parametrize("n", [4, 5, 45, 64, 243, 1024])
def test_one_thread_a_column(n, eigenvalue, dtype):
    check(Columns(n, 1, 16, REALS[dtype], serial=True), "cpu", np.array([eigenvalue]))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", REALS)
@pytest.mark.parametrize("n", [4, 45, 64, 96, 243, 256, 1000, 1024, 2048])
@pytest.mark.parametrize("count", [1, 4, 8, 16])
@pytest.mark.parametrize("wanted", [8, 32])
def test_many_threads_a_column(n, count, wanted, dtype):
    columns = Columns(n, count, wanted, REALS[dtype])
    assert columns.threads * columns.values == n
    if columns.block_dim > 1024:
        pytest.skip("more threads than a block has")
    check(columns, "cuda:0", np.resize(EIGENVALUES, count))


def test_modes():
    n, nx, eigenvalues = 64, 10, EIGENVALUES
    rate, loss, around, factor, both = modes_of(eigenvalues, (n, nx), SPACING).T
    r = 1 - loss
    np.testing.assert_allclose(r + 1 / r, 2 + SPACING[0] ** 2 * eigenvalues, rtol=1e-13)
    np.testing.assert_allclose(r, np.exp(-rate), rtol=1e-12)
    np.testing.assert_allclose(around[1:], 1 / (1 - r[1:] ** n), rtol=1e-12)
    np.testing.assert_allclose(both[1:], 1 / (1 - r[1:] ** 2), rtol=1e-12)
    assert around[0] == both[0] == 0
    np.testing.assert_allclose(factor, SPACING[0] ** 2 * r / (2 * nx), rtol=1e-13)
    tiny = modes_of(np.array([1e-14]), (n, nx), SPACING)[0]  # r + 1/r - 2 is below the rounding of 2
    np.testing.assert_allclose(tiny[:2], SPACING[0] * 1e-7, rtol=1e-8)


def test_who_shares_a_column():
    columns = Columns(256, 8, 16, wp.float32)
    assert (columns.values, columns.threads, columns.lanes, columns.lane_groups) == (16, 16, 4, 4)
    assert Columns(1000, 8, 16, wp.float32).values == 10  # a divisor
    odd = Columns(135, 4, 16, wp.float32)
    assert (odd.values, odd.threads, odd.lanes, odd.lane_groups) == (15, 9, 1, 9)
