"""Metrics by which forecasts are compared with a reference: errors, correlations, spectra, and how flows part.

Fields are vorticities ``(..., ny, nx)``, such as rollouts of two solvers with the same ``save_every``. Their leading
axes broadcast, and each of them has a value of its own. Values over time ``(times, ...)`` have time on axis 0, as
rollouts have. All can be differentiated, jitted and vmapped.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._arrays import square_root, with_axes
from ._checks import FLOATS, check_field, check_leading_axes, check_real
from ._discretisation import Discretisation, FiniteDifference, check_discretisation, engine_of
from ._grid import Grid
from ._modes import MARGIN
from ._show import show
from .diagnostics import energy_spectrum
from .diagnostics._fields import mean

__all__ = ["correlation", "correlation_time", "divergence_rate", "nrmse", "separation", "spectral_error"]


def __dir__():
    return __all__


def nrmse(grid: Grid, omega: Float[Array, "... ny nx"], reference: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Return the normalised root-mean-square error ``rms(omega - reference) / rms(reference)``.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        reference: the vorticity that it should be, of the same dtype. It may not be zero everywhere.

    Raises:
        TypeError: a field is not a float32 or float64 array, or the two differ in dtype.
        ValueError: a field does not live on `grid`, or leading axes do not broadcast.
    """
    omega, reference = _pair(grid, omega, reference)
    return _rms(omega - reference) / _rms(reference)


def correlation(
    grid: Grid, omega: Float[Array, "... ny nx"], reference: Float[Array, "... ny nx"]
) -> Float[Array, "..."]:
    """Return Pearson's correlation of two vorticities over the box, from -1 to 1.

    It is 0 if one is at rest or not finite.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        reference: another one, of the same dtype.

    Raises:
        TypeError: a field is not a float32 or float64 array, or the two differ in dtype.
        ValueError: a field does not live on `grid`, or leading axes do not broadcast.
    """
    a, b = (field - mean(field)[..., None, None] for field in _pair(grid, omega, reference))
    scale = _rms(a) * _rms(b)
    return jnp.where(scale > 0, mean(a * b) / jnp.where(scale > 0, scale, 1), 0)


def correlation_time(
    times: Float[Array | np.ndarray, " times"],
    correlation: Float[Array | np.ndarray, "times ..."],
    *,
    threshold: float | Float[Array, ""] = 0.95,
) -> Float[Array, "..."]:
    """Return the time at which a correlation first falls to a threshold, interpolated between frames.

    Kochkov et al. (2021, doi:10.1073/pnas.2101784118) report it for a threshold of 0.95. A value that is not finite, as
    where a forecast has blown up, counts as 0. A correlation that stays above the threshold has the last time.

    Args:
        times: of the frames ``(times,)``, ascending [time].
        correlation: the values of `correlation` ``(times, ...)``, float32 or float64.
        threshold: where forecasts are no longer counted as good.

    Raises:
        TypeError: the values are not float32 or float64, or `threshold` is not one real number.
        ValueError: there is not one value for each time, or no time.
    """
    times, values = _series("correlation", times, correlation)
    check_real("threshold", threshold)
    threshold = jnp.asarray(threshold, values.dtype)
    values = jnp.where(jnp.isfinite(values), values, 0)
    fallen = values <= threshold
    falls, first = jnp.any(fallen, 0), jnp.argmax(fallen, 0)
    after = jnp.maximum(first, 1)[None]
    (high, low), (start, end) = (
        [jnp.take_along_axis(series, index, 0)[0] for index in (after - 1, after)]
        for series in (values, jnp.broadcast_to(times, values.shape))
    )
    inside = falls & (first > 0)
    share = jnp.where(inside, high - threshold, 0) / jnp.where(inside, high - low, 1)
    return jnp.where(falls, start + share * (end - start), times[-1])


def spectral_error(
    grid: Grid,
    omega: Float[Array, "... ny nx"],
    reference: Float[Array, "... ny nx"],
    *,
    discretisation: Discretisation = FiniteDifference(),
) -> Float[Array, "..."]:
    """Return the root-mean-square difference of two energy spectra, in decades: of ``log10 E(k)`` over all k.

    Shells count up to the highest wavenumber that is resolved in every direction. A value of 0.3 means spectra that
    differ by a factor of two. A shell without any energy in one of the flows makes it infinite.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        reference: another one, of the same dtype.
        discretisation: gives the operators and the wavenumbers that are kept.

    Raises:
        TypeError: a field is not a float32 or float64 array, the two differ in dtype, or `discretisation` is none.
        ValueError: a field does not live on `grid`, or leading axes do not broadcast.
    """
    omega, reference = _pair(grid, omega, reference)
    check_discretisation(discretisation, grid)
    most = engine_of(discretisation).highest_waves(discretisation, grid)
    highest = min(waves / side for waves, side in zip(most, grid.extent, strict=True))
    shells = int(highest * max(grid.extent) * (1 + MARGIN))
    ours, theirs = (
        jnp.log10(energy_spectrum(grid, field, discretisation=discretisation)[1][..., :shells])
        for field in (omega, reference)
    )
    ndim = max(ours.ndim, theirs.ndim)
    return square_root(jnp.mean((with_axes(ours, ndim) - with_axes(theirs, ndim)) ** 2, -1))


def separation(grid: Grid, omega: Float[Array, "... ny nx"], other: Float[Array, "... ny nx"]) -> Float[Array, "..."]:
    """Return how far two flows have come apart, ``rms(omega - other) / sqrt(rms(omega)^2 + rms(other)^2)``.

    It is 0 for equal fields, and about 1 once flows have forgotten that they began alike.

    Args:
        grid: the box.
        omega: vorticity ``(..., ny, nx)`` [1 / time].
        other: another one, of the same dtype. The two may not be zero everywhere together.

    Raises:
        TypeError: a field is not a float32 or float64 array, or the two differ in dtype.
        ValueError: a field does not live on `grid`, or leading axes do not broadcast.
    """
    omega, other = _pair(grid, omega, other, "other")
    return _rms(omega - other) / square_root(mean(omega**2) + mean(other**2))


def divergence_rate(
    times: Float[Array | np.ndarray, " times"],
    separation: Float[Array | np.ndarray, "times ..."],
    *,
    most: float | Float[Array, ""] = 0.1,
) -> Float[Array, "..."]:
    """Return the exponential rate [1 / time] at which two flows part, while their separation is small.

    It is the slope of ``log(separation)`` over time by least squares, over all frames before the first separation above
    `most`. On an attractor, and for long times, it tends to the leading Lyapunov exponent
    (`diagnostics.lyapunov_exponent`).

    Args:
        times: of the frames ``(times,)``, ascending [time].
        separation: the values of `separation` ``(times, ...)``, float32 or float64. Zeros are left out.
        most: the largest separation that is counted as small.

    Returns:
        The rate, or NaN where fewer than two frames count.

    Raises:
        TypeError: the values are not float32 or float64, or `most` is not one real number.
        ValueError: there is not one value for each time, or no time.
    """
    times, values = _series("separation", times, separation)
    check_real("most", most)
    small = jnp.cumsum(~(values <= jnp.asarray(most, values.dtype)), 0) == 0
    counts = small & (values > 0)
    number = jnp.sum(counts, 0).astype(values.dtype)

    def centred(series):
        """Return the series less its mean over the frames that count, and 0 in all others."""
        average = jnp.sum(jnp.where(counts, series, 0), 0) / jnp.maximum(number, 1)
        return jnp.where(counts, series - average[None], 0)

    time, growth = centred(times), centred(jnp.log(jnp.where(counts, values, 1)))
    enough = number > 1
    return jnp.where(enough, jnp.sum(time * growth, 0) / jnp.where(enough, jnp.sum(time * time, 0), 1), jnp.nan)


def _pair(grid, omega, reference, name="reference"):
    omega, reference = check_field("omega", omega, grid), check_field(name, reference, grid)
    if omega.dtype != reference.dtype:
        raise TypeError(f"{name} has dtype {reference.dtype}: expected that of omega, {omega.dtype}")
    check_leading_axes("omega", omega, name, reference)
    ndim = max(omega.ndim, reference.ndim)
    return with_axes(omega, ndim), with_axes(reference, ndim)


def _series(name, times, values):
    """Return values over time as JAX arrays of one dtype, with times of as many axes."""
    try:
        values, times = jnp.asarray(values), jnp.asarray(times)
    except Exception as error:  # whatever they raise when they are looked at
        raise TypeError(f"{name}={show(values)}, times={show(times)}: expected arrays; {show(error, str)}") from None
    if values.dtype not in FLOATS or not any(jnp.issubdtype(times.dtype, kind) for kind in (np.floating, np.integer)):
        raise TypeError(
            f"{name} has dtype {values.dtype}, times {times.dtype}: expected float32 or float64, real times"
        )
    if times.ndim != 1 or not times.size or values.shape[:1] != times.shape:
        raise ValueError(
            f"{name} has shape {values.shape}, times {times.shape}: expected (times, ...) and (times,), with at least "
            "one time"
        )
    return times.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1)), values


def _rms(field: jax.Array) -> jax.Array:
    return square_root(mean(field * field))
