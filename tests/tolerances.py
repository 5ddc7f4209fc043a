"""The one table of tolerances. Errors are relative: ``norm(actual - expected) / norm(expected)``."""

import numpy as np

RELATIVE = {"float32": 2e-6, "float64": 1e-12}  # one application of an operator
ROLLOUT = {"float32": 1e-5, "float64": 1e-11}  # tens of steps, and derivatives through them


def relative_error(actual, expected) -> float:
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-300))


def assert_close(actual, expected, table=RELATIVE):
    dtype = np.asarray(actual).dtype.name
    error = relative_error(actual, expected)
    assert error <= table[dtype], f"relative error {error:.2e} > {table[dtype]:.0e} ({dtype})"
