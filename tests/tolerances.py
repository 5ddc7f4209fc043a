"""Tolerances of all tests. Errors are relative: ``norm(actual - expected) / norm(expected)``."""

import jax
import numpy as np

COLUMNS = {"float32": 3e-7, "float64": 3e-15}  # of the largest that the solution can be
FFT = {"float32": 3e-7, "float64": 6e-16}  # a transform of up to 2048 points
RELATIVE = {"float32": 2e-6, "float64": 1e-12}  # one application of an operator
ROLLOUT = {"float32": 1e-5, "float64": 1e-11}  # tens of steps, and derivatives through them
SUMS = {"float32": 1e-6, "float64": 1e-14}  # what cancels, in units of what is summed
GPU = {"float32": 1e-5, "float64": 1e-12}  # against XLA on CUDA, sizes to 2048
GPU_GRADIENT = {"float32": 1e-4, "float64": 1e-11}
DOT = 1e-11  # <J v, w> = <v, J^T w> in float64, in units of |J v| |w|
DIFFERENCES = 1e-6  # derivatives against finite differences in float64
ORDER = 0.1  # measured orders of convergence


def allowed_on_gpu(dtype: str, error_of_xla: float, shape: tuple[int, ...], size: int, twice: bool) -> float:
    """Return the relative error that terms may have on CUDA, given that of XLA in the same type.

    It may be twice that, or that of the table. With a medium (`twice`) finite differences divide differences of psi by
    the spacing twice, so that rounding grows with the square of the points a side. Ten times the error of XLA's
    transforms is then allowed to the recursions along y. `size`: of the result; the error of few numbers may be small
    by chance.
    """
    least = max(GPU_GRADIENT[dtype], twice * max(shape) ** 2 * 1e-16, (size < 1000) * 4 * GPU_GRADIENT[dtype])
    return max((10 if twice else 2) * error_of_xla, least)


def relative_error(actual, expected) -> float:
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300))


def assert_close(actual, expected, table=RELATIVE):
    dtype = np.asarray(actual).dtype.name
    error = relative_error(actual, expected)
    assert error <= table[dtype], f"relative error {error:.2e} > {table[dtype]:.0e} ({dtype})"


def assert_trees_close(actual, expected, table=RELATIVE):
    """Compare two pytrees, leaf by leaf."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        assert_close(a, e, table)
