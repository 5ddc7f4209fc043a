"""Coefficients of the numerics, which kernels and `jax.numpy` share: plain data of no array library.

A time scheme is an entry of `RUNGE_KUTTA`.
"""

import numpy as np

# Runge-Kutta schemes in low-storage form. Stage s of a step: w_s = a w_0 + b w_(s-1) + c dt R(w_(s-1)).
RUNGE_KUTTA = {
    # Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5
    "ssp-rk3": ((0.0, 1.0, 1.0), (3 / 4, 1 / 4, 1 / 4), (1 / 3, 2 / 3, 2 / 3)),
}
SCHEME = "ssp-rk3"
STAGES = len(RUNGE_KUTTA[SCHEME])

# Transposes of the Jacobian's stencils: <c, J(a, b)> = <a, FIRST(b, c)> = <b, SECOND(c, a)>. By summation by parts, in
# which Arakawa's J is its own transpose, and the three stencils of which it is the mean take each other's place.
FIRST = {
    "arakawa": "arakawa",
    "central": "cross_plus",
    "plus_cross": "central",
    "cross_plus": "plus_cross",
}
SECOND = {
    "arakawa": "arakawa",
    "central": "plus_cross",
    "plus_cross": "cross_plus",
    "cross_plus": "central",
}


def runge_kutta(dtype) -> tuple[tuple[float, float, float], ...]:
    """Return (a, b, c) of each stage in a float type, rounded such that a + b is 1.

    The float32 numbers nearest to 1/3 and 2/3 add up to 1 + 3e-8. Every step would multiply the state by this factor.
    """
    rounded = [(float(np.dtype(dtype).type(b)), c) for _, b, c in RUNGE_KUTTA[SCHEME]]
    return tuple((1 - b, b, c) for b, c in rounded)


def metric(spacing: tuple[float, float]) -> tuple[float, float, float]:
    """Return the factors of the stencils, ``(1/dx^2, 1/dy^2, 1/(4 dx dy))``, from ``(dy, dx)``."""
    dy, dx = spacing
    return 1 / dx**2, 1 / dy**2, 1 / (4 * dx * dy)


def eigenvalues(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of the negative 5-point Laplacian along y and along x, float64, FFT order.

    ``lambda_m = (2 - 2 cos(2 pi m / n)) / h^2``, written as ``(2 sin(pi m / n) / h)^2``, with n - m for m where that is
    less, so that small wavenumbers of either sign keep all their digits.
    """

    def one(n, h):
        m = np.arange(n)
        return (2 * np.sin(np.pi * np.minimum(m, n - m) / n) / h) ** 2

    return one(shape[0], spacing[0]), one(shape[1], spacing[1])


def column_modes(shape: tuple[int, int], spacing: tuple[float, float]) -> np.ndarray:
    """Return the constants of each wavenumber along x that the solve along y needs (`modes_of`)."""
    return modes_of(eigenvalues(shape, spacing)[1][: shape[1] // 2 + 1], shape, spacing)


def modes_of(along_x: np.ndarray, shape: tuple[int, int], spacing: tuple[float, float]) -> np.ndarray:
    """Return the constants of these eigenvalues along x that the solve along y needs, ``(eigenvalues, 5)``, float64.

    With ``r + 1/r = 2 + dy^2 lambda``, ``0 < r <= 1``, they are ``-log r``, ``1 - r``, ``1 / (1 - r^ny)``, the factor
    ``dy^2 r / (2 nx)`` of the solution, in which ``1 / (2 nx)`` is that of the transforms, and ``1 / (1 - r^2)``. The
    third and the last are 0 for the mean over x.
    """
    (ny, nx), dy = shape, spacing[0]
    half = along_x * dy**2 / 2  # (r + 1/r) / 2 - 1
    rate = np.log1p(half + np.sqrt(half * (half + 2)))
    around, both = (np.divide(-1, np.expm1(-rate * m), out=np.zeros_like(rate), where=rate > 0) for m in (ny, 2))
    return np.stack([rate, -np.expm1(-rate), around, dy**2 * np.exp(-rate) / (2 * nx), both], axis=-1)
