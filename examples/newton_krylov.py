"""Newton's method for functions whose derivative is known by its products only, with GMRES and a limit to each step.

`recurrent_flow.py` solves its equations by `solve`. GMRES gives the linearised mismatch in a Krylov space of some tens
of dimensions. In it the best step within a ball is found exactly (Viswanath 2007, doi:10.1017/S0022112007005459; Dennis
and Schnabel 1996, doi:10.1137/1.9781611971200, section 6.4.1).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

Report = Callable[[int, float, np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Solution:
    """A point ``(n,)``, the mismatch that is left there ``(n,)``, and whether it is as small as wanted."""

    point: np.ndarray
    mismatch: np.ndarray
    converged: bool


def solve(
    mismatch, linearised, start, *, scale, tolerance, iterations, krylov, allowed=None, report: Report | None = None
) -> Solution:
    """Find a point at which a function is zero.

    Args:
        mismatch: the function, of a point ``(n,)``.
        linearised: a function of a point that returns the product of the derivative there with a vector ``(n,)``.
        start: the first point.
        scale: what a mismatch of 1 is relative to; steps begin within a tenth of it.
        tolerance: of ``|mismatch| / scale``.
        iterations: at most.
        krylov: products with the derivative in an iteration, at most.
        allowed: whether a point may be tried at all; where it may not, the search ends.
        report: called with the number of each iteration, ``|mismatch| / scale`` and the point.
    """
    point, value, radius = start, mismatch(start), 0.1 * scale
    for iteration in range(iterations + 1):
        size = np.linalg.norm(value)
        if report is not None:
            report(iteration, size / scale, point)
        if size <= tolerance * scale or iteration == iterations:
            break
        basis, matrix = arnoldi(linearised(point), -value, krylov, min(1e-3, max(0.1 * size / scale, 1e-8)))
        while True:  # the ball grows where the linear model foretells the mismatch, and shrinks where it does not
            inner = hook_step(matrix, size, radius)
            trial = point + basis[:, :-1] @ inner
            if allowed is not None and not allowed(trial):
                return Solution(point, value, False)
            later, length = mismatch(trial), np.linalg.norm(inner)
            foretold = size - np.linalg.norm(matrix @ inner - size * np.eye(len(matrix))[0])
            ratio = (size - np.linalg.norm(later)) / foretold
            if ratio > 0.75:
                radius = max(radius, 3 * length)
            elif not ratio > 0.25:  # so that what is not finite counts as bad
                radius = length / 3
            if ratio > 0.01:
                break
            if radius < 1e-12 * scale:
                return Solution(point, value, False)
        point, value = trial, later
    return Solution(point, value, bool(size <= tolerance * scale))


def arnoldi(apply, right, count: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthonormal basis of a Krylov space ``(n, k + 1)``, and the matrix in it ``(k + 1, k)``.

    It ends where the least squares of GMRES are below `tolerance`, relative to `right`, and after `count` products.
    """
    basis = np.zeros((count + 1, right.size))
    basis[0] = right / np.linalg.norm(right)
    matrix = np.zeros((count + 1, count))
    k = 0
    for k in range(count):
        vector = apply(basis[k])
        for _ in range(2):  # the second time for what rounding left
            coefficients = basis[: k + 1] @ vector
            vector = vector - coefficients @ basis[: k + 1]
            matrix[: k + 1, k] += coefficients
        matrix[k + 1, k] = np.linalg.norm(vector)
        basis[k + 1] = vector / max(matrix[k + 1, k], 1e-300)
        square, first = matrix[: k + 2, : k + 1], np.eye(k + 2)[0]
        if np.linalg.norm(square @ np.linalg.lstsq(square, first, rcond=None)[0] - first) < tolerance:
            break
    return basis[: k + 2].T, matrix[: k + 2, : k + 1]


def hook_step(matrix, norm: float, radius: float) -> np.ndarray:
    """Return the y of norm up to `radius` that minimises ``|matrix y - norm e_1|``, with ``e_1 = (1, 0, 0, ...)``."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    wanted = norm * left[0]

    def step(damping):
        return wanted * values / (values**2 + damping)

    if np.linalg.norm(step(0.0)) <= radius:
        return right.T @ step(0.0)
    low, high = 0.0, 1e-12
    while np.linalg.norm(step(high)) > radius:
        low, high = high, 4 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(step(middle)) > radius else (low, middle)
    return right.T @ step(high)
