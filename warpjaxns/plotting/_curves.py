"""Curves: spectra over wavenumber, budgets over time."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Array, Float

from .._checks import check_field, check_grid
from .._discretisation import Discretisation, FiniteDifference
from .._grid import Grid
from ..diagnostics import Budget, energy_spectrum
from ._style import GREY, clean_axes, curve_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Series = Float[Array | np.ndarray, " points"]


def spectra(
    axes: "Axes",
    grid: Grid,
    flows: Mapping[str, Float[Array | np.ndarray, "..."] | tuple[Series, Series]],
    *,
    discretisation: Discretisation = FiniteDifference(),
    slopes: Sequence[float | int] | Mapping[float, tuple[float, float]] = (-3,),
    decades: float | int = 8,
    title: str | None = None,
) -> "list[Line2D]":
    """Draw energy spectra on logarithmic axes, with power laws to compare them with.

    Theory predicts ``E ~ k^(-5/3)`` at scales larger than those of the forcing, and ``k^-3`` at smaller ones (Kraichnan
    1967, doi:10.1063/1.1762301). Reference lines lie above the highest curve by a factor of 2.

    Args:
        axes: Matplotlib axes to draw on.
        grid: the box.
        flows: for each label, vorticity ``(..., ny, nx)`` [1/time], whose spectra are averaged over leading axes. Or a
            pair ``(k, E)`` as `diagnostics.energy_spectrum` returns it: wavenumbers [1/length] and energy
            [length^3/time^2], both ``(shells,)``. Values that are not positive are left out.
        discretisation: gives the operators.
        slopes: exponents of the reference lines, drawn over the middle of the wavenumbers; or a mapping from
            exponents to the wavenumbers where each line starts and ends.
        decades: decades that the axis may reach below the highest value, positive.
        title: of the axes, or None.

    Returns:
        The lines, of the spectra first and then of the slopes.

    Raises:
        TypeError: a flow is neither a float32 or float64 field nor a pair.
        ValueError: there is nothing to draw, a field does not live on `grid`, or a pair differs in shape.
        FloatingPointError: a spectrum is not finite.
    """
    check_grid(grid)
    curves = {label: _curve(f"flows[{label!r}]", flow, grid, discretisation) for label, flow in flows.items()}
    if not any(k.size for k, _ in curves.values()):
        raise ValueError(f"flows={list(flows)}: expected at least one spectrum with positive values")
    lines = []
    for number, (label, (k, energy)) in enumerate(curves.items()):
        lines += axes.loglog(k, energy, label=label, linewidth=1.8, **curve_style(number))
    highest = max(energy.max() for _, energy in curves.values() if energy.size)
    lowest = min(energy.min() for _, energy in curves.values() if energy.size)
    if not isinstance(slopes, Mapping):
        slopes = dict.fromkeys(slopes, _middle(curves))
    lines += [_reference(axes, curves, slope, *span) for slope, span in slopes.items()]
    axes.set_ylim(bottom=max(lowest / 2, highest * 10.0 ** -float(decades)))
    axes.set(xlabel="wavenumber k [1/length]", ylabel="E(k) [length³/time²]", title=title or "")
    axes.legend(frameon=False, loc="lower left")
    clean_axes(axes)
    return lines


def _curve(name, flow, grid, discretisation):
    """Return wavenumbers and positive values of a spectrum, which is given or that of fields."""
    if isinstance(flow, tuple):
        if len(flow) != 2:
            raise ValueError(f"{name} has length {len(flow)}: expected a field, or a pair of wavenumbers and values")
        k, energy = map(np.asarray, flow)
    else:
        field = check_field(name, flow, grid)
        k, energy = map(np.asarray, energy_spectrum(grid, field, discretisation=discretisation))
        energy = energy.reshape(-1, energy.shape[-1]).mean(axis=0)
    if k.ndim != 1 or k.shape != energy.shape:
        raise ValueError(
            f"{name} has shapes {k.shape} and {energy.shape}: expected wavenumbers and values, both (shells,); of an "
            "ensemble, draw the mean or one member"
        )
    if not np.all(np.isfinite(energy)):
        raise FloatingPointError(f"{name} is not finite")
    drawn = (k > 0) & (energy > 0)
    return k[drawn], energy[drawn]


def _middle(curves):
    """Return the middle half of the wavenumbers, on a logarithmic axis."""
    k = np.concatenate([k for k, _ in curves.values()])
    low, high = math.log(k.min()), math.log(k.max())
    return math.exp(low + 0.3 * (high - low)), math.exp(low + 0.75 * (high - low))


def _reference(axes, curves, slope, start, end):
    """Return a line ``c k^slope``, with the lowest c that keeps it twice above every curve from `start` to `end`."""
    constants = [
        np.max(energy[inside] / k[inside] ** float(slope))
        for k, energy in curves.values()
        if np.any(inside := (k >= start) & (k <= end))
    ]
    if not constants:
        raise ValueError(f"slopes[{slope}]={start, end}: no spectrum has wavenumbers there")
    k = np.array([start, end])
    values = 2 * max(constants) * k ** float(slope)
    (line,) = axes.loglog(k, values, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
    middle = math.sqrt(start * end), math.sqrt(values[0] * values[1])
    exponent = Fraction(slope).limit_denominator(9)
    name = str(exponent) if abs(exponent - slope) < 1e-3 else f"{slope:.3g}"
    axes.annotate(f"$k^{{{name}}}$", middle, xytext=(4, 4), textcoords="offset points", color=GREY)
    return line


def budgets(
    axes: "Axes",
    times: Series,
    budget: Budget | Mapping[str, Series],
    *,
    title: str | None = None,
    units: str | None = None,
) -> "list[Line2D]":
    """Draw the terms of a budget over time, and their residual.

    Args:
        axes: Matplotlib axes to draw on.
        times: ``(times,)`` [time].
        budget: one of the two that `diagnostics.budgets` returns, for states ``(times, ny, nx)``. Its rate and its
            terms are drawn, losses as negative numbers. Terms that are zero throughout are left out. Or any terms by
            name, each ``(times,)``. A term ``residual``, which should vanish, is dashed, and its label gives its
            largest magnitude.
        title: of the axes, or None.
        units: of the terms, at the axis, such as ``"length²/time³"`` for energy, or None.

    Returns:
        The lines, in the order of the terms.

    Raises:
        ValueError: there are no terms, or the shape of one is not that of `times`.
        FloatingPointError: a term is not finite.
    """
    times = np.asarray(times)
    terms = {name: np.asarray(term) for name, term in _terms(budget).items()}
    if not terms:
        raise ValueError(f"budget={budget}: expected at least one term")
    for name, term in terms.items():
        if times.ndim != 1 or term.shape != times.shape:
            raise ValueError(f"budget[{name!r}] has shape {term.shape}, times {times.shape}: expected (times,) of both")
        if not np.all(np.isfinite(term)):
            raise FloatingPointError(f"budget[{name!r}] is not finite")

    axes.axhline(0, color=GREY, linewidth=0.8)
    lines = []
    for name, term in terms.items():
        label, style = name, curve_style(len(lines))
        if name == "residual":
            label, style = f"residual (up to {np.abs(term).max():.0e})", {"color": "black", "linestyle": (0, (4, 2))}
        lines += axes.plot(times, term, label=label, linewidth=1.8, **style)
    axes.set(xlabel="t [time]", title=title or "")
    if units is not None:
        axes.set_ylabel(f"rate of change [{units}]")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, which go anywhere
    clean_axes(axes)
    return lines


def _terms(budget):
    if not isinstance(budget, Budget):
        return budget
    parts = {
        "injection": budget.injection,
        "\N{MINUS SIGN}dissipation": -budget.dissipation,
        "\N{MINUS SIGN}drag": -budget.drag,
    }
    parts |= {name.replace("_", " "): part for name, part in budget.terms.items()}
    parts = {name: part for name, part in parts.items() if np.any(part)}
    return {"rate": budget.rate, **parts, "residual": budget.residual}
