"""Pictures of `validation.py`, from what its cases returned."""

import math
from typing import TYPE_CHECKING

import numpy as np

import warpjaxns as wns
from warpjaxns import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "finite differences": plotting.CURVES[0],
    "finite differences, SSP-RK3": plotting.CURVES[0],
    "spectral": plotting.RED,
    "spectral, rk4": plotting.RED,
    "spectral, two-thirds": plotting.RED,
    "spectral, rk3": plotting.CURVES[4],
    "spectral, smooth": plotting.CURVES[4],
}


def _panels(count: int, width=4.6) -> tuple["Figure", list]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, 4.0), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, count))
    for panel in panels:
        plotting.clean_axes(panel)
    return figure, list(panels)


def _slope(panel, at, power, text):
    """Draw a power law through a point over a factor of four."""
    x = at[0] * np.array([1.0, 4.0])
    y = at[1] * np.array([1.0, 4.0**power])
    panel.plot(x, y, color=plotting.GREY, linewidth=1, linestyle=":")
    panel.annotate(text, (x[1], y[1]), color=plotting.GREY, fontsize=9)


def convergence(space: dict, time: dict) -> "Figure":
    """Draw errors against points a side and against the number of steps."""
    figure, (left, right) = _panels(2)
    for name, errors in space["errors"].items():
        left.loglog(space["sizes"], errors, "o-", color=COLOURS[name], label=name)
    for name, errors in time["errors"].items():
        right.loglog(time["steps"], errors, "o-", color=COLOURS[name], label=name)
    _slope(left, (16, 0.5), -2, "order 2")
    _slope(right, (40, 3e-4), -3, "order 3")
    _slope(right, (40, 7e-7), -4, "order 4")
    left.set(title="In space", xlabel="points a side", ylabel="relative error of the vorticity")
    right.set(title="In time", xlabel="steps to t = 0.4")
    for panel, ticks in ((left, space["sizes"]), (right, time["steps"])):
        panel.set_xticks(ticks, [str(n) for n in ticks])
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=9)
    return figure


def kolmogorov(found: dict, rates, critical) -> "Figure":
    """Draw growth rates and critical Reynolds numbers; lines from NumPy's functions, dots as measured."""
    figure, (left, right) = _panels(2)
    lengths = np.linspace(0.02, 0.99, 80)
    for colour, reynolds in zip(plotting.CURVES, sorted({row["reynolds"] for row in found["rates"]}), strict=False):
        left.plot(lengths, [rates(a, reynolds)[0] for a in lengths], color=colour, label=f"Re = {reynolds:g}")
        rows = [row for row in found["rates"] if row["reynolds"] == reynolds]
        left.plot([row["length"] for row in rows], [row["measured"] for row in rows], "o", color=colour)
    left.axhline(0, color=plotting.GREY, linewidth=0.8)
    left.set(title="Growth rates", xlabel="wavenumber along x", ylabel="growth rate", ylim=(-0.4, None))
    left.legend(frameon=False, fontsize=9)
    lengths = np.linspace(0.02, 0.93, 60)
    right.plot(lengths, [critical(a) for a in lengths], color=plotting.GREY, label="eigenvalues, NumPy")
    looks = {"spectral": ("o", plotting.RED), "finite differences, 32": ("s", plotting.CURVES[0])}
    for name, (marker, colour) in looks.items():
        rows = found["critical"]
        right.plot([r["length"] for r in rows], [r[name] for r in rows], marker, color=colour, label=name, mfc="none")
    right.axhline(math.sqrt(2), color=plotting.GREY, linewidth=1, linestyle=":")
    right.annotate("√2, infinite box", (0.98, math.sqrt(2)), ha="right", va="bottom", color=plotting.GREY, fontsize=9)
    right.set(title="Critical Reynolds numbers", xlabel="wavenumber along x", yscale="log", ylim=(1.2, 12))
    right.set_yticks([1.5, 2, 3, 5, 10], ["1.5", "2", "3", "5", "10"])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=9)
    return figure


def decay(found: dict, states: np.ndarray) -> "Figure":
    """Draw the vorticity of decaying turbulence, its energy and enstrophy, and its spectra."""
    figure, panels = _panels(4, 4.2)
    grid, times = wns.Grid(states.shape[1:]), found["times"]
    for panel, number in zip(panels, (1, len(times) - 1), strict=False):
        limit = 3 * float(np.std(states[number]))
        plotting.vorticity(panel, grid, states[number], title=f"t = {times[number]:g}", units=None, limit=limit)
    for name in ("finite differences", "spectral"):
        for quantity, line in (("energy", "--"), ("enstrophy", "-")):
            values = np.asarray(found[name][quantity])
            panels[2].plot(times, values / values[0], line, color=COLOURS[name], label=f"{quantity}, {name}")
    panels[2].set(title="Decay", xlabel="t", ylabel="relative to t = 0", ylim=(0, None))
    panels[2].legend(frameon=False, fontsize=9)
    k = np.asarray(found["wavenumbers"])
    for number, line in ((0, ":"), (1, "--"), (len(times) - 1, "-")):
        for name in ("finite differences", "spectral"):
            label = f"t = {times[number]:g}, {name}" if number else None
            panels[3].loglog(k, found[name]["spectra"][number], line, color=COLOURS[name], label=label)
    _slope(panels[3], (15, 2e-2), -3, "k⁻³")
    panels[3].set(title="Energy spectra", xlabel="wavenumber", ylim=(1e-9, 1), xlim=(1, 128))
    panels[3].legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def gradients(found: dict) -> "Figure":
    """Draw errors of gradients against the horizon."""
    figure, panels = _panels(2)
    looks = {"adjoint and tangent": "o-", "differences": "^:", "float32": "s--"}
    for panel, name in zip(panels, ("finite differences", "spectral"), strict=True):
        for colour, (row, style) in zip((plotting.RED, plotting.GREY, plotting.CURVES[0]), looks.items(), strict=True):
            values = np.maximum(found[name][row], 1e-17)
            panel.loglog(found["steps"], values, style, color=colour, label=row)
        panel.set(title=name.capitalize(), xlabel="steps", ylim=(1e-17, 1e-3))
        panel.set_xticks(found["steps"], [str(n) for n in found["steps"]])
        panel.minorticks_off()
    panels[0].set_ylabel("relative error")
    panels[0].legend(frameon=False, fontsize=9)
    return figure
