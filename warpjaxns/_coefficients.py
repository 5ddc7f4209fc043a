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

# Runge-Kutta schemes that keep two arrays (2N storage), with increasing abscissas: (a, b, c) of each stage, c at its
# start. Stage s of a step: d_s = a d_(s-1) + dt N(w_(s-1)), w_s = w_(s-1) + b d_s. Then both are carried from this
# stage's time to that of the next by exp((c_(s+1) - c_s) dt L), with the linear terms L, and c = 1 after the last.
LOW_STORAGE = {
    # Williamson 1980, doi:10.1016/0021-9991(80)90033-9, case 7: third order
    "rk3": ((0.0, 1 / 3, 0.0), (-5 / 9, 15 / 16, 1 / 3), (-153 / 128, 8 / 15, 3 / 4)),
    # Carpenter and Kennedy 1994, NASA TM 109112: fourth order
    "rk4": (
        (0.0, 1432997174477 / 9575080441755, 0.0),
        (-567301805773 / 1357537059087, 5161836677717 / 13612068292357, 1432997174477 / 9575080441755),
        (-2404267990393 / 2016746695238, 1720146321549 / 2090206949498, 2526269341429 / 6820363962896),
        (-3550918686646 / 2091501179385, 3134564353537 / 4481467310338, 2006345519317 / 3224310063776),
        (-1275806237668 / 842570457699, 2277821191437 / 14882151754819, 2802321613138 / 2924317926251),
    ),
}

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


def low_storage(integrator: str) -> tuple[tuple[float, float, float], ...]:
    """Return (a, b, duration) of each stage. The durations are those of the linear terms, in steps, and add up to 1."""
    stages = LOW_STORAGE[integrator]
    ends = [c for _, _, c in stages[1:]] + [1.0]
    return tuple((a, b, end - c) for (a, b, c), end in zip(stages, ends, strict=True))


def kept_wavenumbers(n: int, dealiasing: str) -> int:
    """Return the largest wavenumber, in waves a side of n points, that a spectral state keeps.

    Under the 2/3 rule ``3 m < n``, with which products are exact (Orszag 1971,
    doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2). The smooth filter keeps all of more than two points.
    """
    return (n - 1) // {"two-thirds": 3, "smooth": 2}[dealiasing]


def dealiasing_filter(m: np.ndarray, n: int, dealiasing: str) -> np.ndarray:
    """Return the factors of products at wavenumbers m, in waves a side of n points.

    They are 1 under the 2/3 rule, and ``exp(-36 (2 m / n)^36)`` with the smooth filter (Hou and Li 2007,
    doi:10.1016/j.jcp.2007.04.014).
    """
    return np.ones(m.shape) if dealiasing == "two-thirds" else np.exp(-36 * np.abs(2 * m / n) ** 36)


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


def modes_of(along_x, shape: tuple[int, int], spacing: tuple[float, float], xp=np):
    """Return the constants of these eigenvalues along x that the solve along y needs, ``(eigenvalues, 5)``.

    With ``r + 1/r = 2 + dy^2 lambda``, ``0 < r <= 1``, they are ``-log r``, ``1 - r``, ``1 / (1 - r^ny)``, the factor
    ``dy^2 r / (2 nx)`` of the solution, in which ``1 / (2 nx)`` is that of the transforms, and ``1 / (1 - r^2)``. The
    third and the last are 0 for the mean over x. `xp`: the array library.
    """
    (ny, nx), dy = shape, spacing[0]
    half = along_x * dy**2 / 2  # (r + 1/r) / 2 - 1
    rate = xp.log1p(half + xp.sqrt(half * (half + 2)))
    some = xp.where(rate > 0, rate, 1)
    around, both = (xp.where(rate > 0, -1 / xp.expm1(-some * m), 0) for m in (ny, 2))
    return xp.stack([rate, -xp.expm1(-rate), around, dy**2 * xp.exp(-rate) / (2 * nx), both], axis=-1)
