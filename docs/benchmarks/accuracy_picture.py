"""Draws error against time to solution from the JSON of `accuracy.py`, and has what the tables need of it.

    python docs/benchmarks/accuracy_picture.py docs/benchmarks/accuracy.json --output docs/images/accuracy.png

A column a flow, rollouts above gradients; filled dots are one member, hollow ones an ensemble. The dotted lines go on
with finite differences at second order from their most accurate run: a quarter of the error takes eight times as long.
"""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"shear": "Shear layer", "turbulence": "Decaying turbulence", "kolmogorov": "Kolmogorov flow"}
SECOND_ORDER = "finite differences"
FAMILIES = (SECOND_ORDER, "spectral", "Exponax", "JAX-CFD")
# Okabe and Ito's palette, which the colour-blind can tell apart
COLOURS = dict(zip(FAMILIES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))
TASKS = {"forward": "rollout", "gradient": "value and gradient"}
GREY = "#444444"
SMALLEST = 1e-6  # error drawn
FARTHEST = 30.0  # factor of the error over which second order is extrapolated


def front(data: dict, flow: str, family: str, task: str, members: int) -> list[tuple[float, float]]:
    """Return (seconds, error) of a code, the fastest first, without those that a faster one equals in accuracy."""
    wanted = {"flow": flow, "family": family, "task": task, "members": members}
    found = [r for r in data["times"] if r["seconds"] and all(r[name] == value for name, value in wanted.items())]
    kept: list[tuple[float, float]] = []
    for seconds, error in sorted((r["seconds"], r["error"]) for r in found):
        if not kept or error < kept[-1][1]:
            kept.append((seconds, error))
    return kept


def time_to(data: dict, flow: str, family: str, task: str, members: int, level: float) -> tuple[float, bool] | None:
    """Return the seconds to an error, and whether they are extrapolated, or None if the error was not reached."""
    points = front(data, flow, family, task, members)
    for seconds, error in points:
        if error <= level:
            return seconds, False
    if points and family == SECOND_ORDER and points[-1][1] <= FARTHEST * level:
        seconds, error = points[-1]
        return seconds * (error / level) ** 1.5, True
    return None


def points_to(data: dict, flow: str, scheme: str, level: float) -> tuple[int, bool] | None:
    """Return the points a side to an error of codes whose names begin so; the rest is as of `time_to`."""
    best: dict[int, float] = {}
    for r in data["errors"]:
        if r["flow"] == flow and r["code"].startswith(scheme):
            best[r["size"]] = min(float(r["error"]), best.get(r["size"], math.inf))
    enough = [size for size, error in best.items() if error <= level]
    if enough:
        return min(enough), False
    size = max(best, default=0)
    if best and scheme.startswith(SECOND_ORDER) and best[size] <= FARTHEST * level:
        return round(size * (best[size] / level) ** 0.5), True
    return None


def draw(data: dict) -> "Figure":
    """Return the picture."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    flows = [name for name in TITLES if any(r["flow"] == name for r in data["times"])]
    tasks = [task for task in TASKS if any(r["task"] == task for r in data["times"])]
    members = sorted({r["members"] for r in data["times"]})
    with rc_context({"font.size": 10.5, "axes.titlesize": 12, "axes.edgecolor": GREY}):
        figure = Figure(figsize=(1 + 3.9 * len(flows), 1.5 + 3.2 * len(tasks)), layout="constrained")
        panels = figure.subplots(len(tasks), len(flows), squeeze=False, sharex=True, sharey=True)
        for row, task in zip(panels, tasks, strict=True):
            for axes, flow in zip(row, flows, strict=True):
                _panel(axes, data, flow, task, members)
                axes.set_title(f"{TITLES[flow]}: {TASKS[task]}")
            row[0].set_ylabel("milliseconds")
        for axes in panels[-1]:
            axes.set_xlabel("relative error of the vorticity")
        _legend(figure, members, {record["family"] for record in data["times"]})
        figure.suptitle(f"{data['device'].get('kind', '')}, float32, every code at its best step")
    return figure


def _panel(axes, data, flow, task, members):
    for family, colour in COLOURS.items():
        for count, look in zip(members, _looks(members), strict=True):
            points = front(data, flow, family, task, count)
            if not points:
                continue
            axes.plot([e for _, e in points], [1e3 * s for s, _ in points], color=colour, **look)
            if family == SECOND_ORDER:
                seconds, error = points[-1]
                goal = min(error, max(1e-5, error / FARTHEST))
                line = [1e3 * seconds, 1e3 * seconds * (error / goal) ** 1.5]
                axes.plot([error, goal], line, color=colour, linestyle=":", linewidth=1.2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.3, SMALLEST)  # more accurate to the right
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def _looks(members):
    """Return the line and marker of each number of members."""
    one = {"marker": "o", "markersize": 4.5, "linestyle": "-"}
    crowd = {"marker": "o", "markersize": 4.5, "linestyle": "--", "linewidth": 1.0, "markerfacecolor": "white"}
    return [one, crowd, crowd | {"marker": "s"}][: len(members)]


def _legend(figure, members, families):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in COLOURS.items()]
    handles = [handle for handle in handles if handle.get_label() in families]
    for count, look in zip(members, _looks(members), strict=True):
        name = "one member" if count == 1 else f"{count} members"
        handles.append(Line2D([], [], color=GREY, label=name, **look))
    handles.append(Line2D([], [], color=GREY, linestyle=":", label="second order, extrapolated"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)


def main(argv: list[str] | None = None):
    """Read the file, draw it, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="JSON")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    options = parser.parse_args(argv)
    draw(json.loads(options.data.read_text())).savefig(options.output, dpi=130)


if __name__ == "__main__":
    main()
