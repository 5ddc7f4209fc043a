"""The plot of a run: throughput against size, with the roof of the memory bandwidth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from .timing import Record

# Okabe and Ito's palette, which the colour-blind can tell apart
COLOURS = {
    "warp": "#0072B2",
    "xla": "#E69F00",
    "Exponax": "#009E73",
    "JAX-CFD": "#CC79A7",
    "Warp's example": "#D55E00",
}
GREY = "#444444"
TITLES = {"forward": "Rollout", "gradient": "Value and gradient", "jvp": "Directional derivative"}


def throughput(records: Sequence[Record], *, roof: float | None = None, subtitle: str = "") -> "Figure":
    """Draw grid points times steps a second against size: a column a task, single flows above ensembles.

    Args:
        records: of `measure`; those without samples are left out.
        roof: throughput [points steps / s] that the memory's bandwidth allows a rollout; None draws none.
        subtitle: a line under the title, on device and types.

    Raises:
        ValueError: no record has samples.

    Returns:
        A new figure; ``figure.savefig(path)`` writes it.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    records = [record for record in records if record.median is not None]
    if not records:
        raise ValueError("records holds no samples: nothing to draw")
    tasks = [task for task in TITLES if any(record.what.startswith(task) for record in records)]
    crowds = [crowd for crowd in (False, True) if any((record.case.members > 1) == crowd for record in records)]
    with rc_context({"font.size": 10.5, "axes.titlesize": 12, "axes.edgecolor": GREY}):
        size = (1.2 + 4.4 * len(tasks), 1.9 + 3.7 * len(crowds))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(crowds), len(tasks), squeeze=False, sharey=True)
        for row, crowd in zip(panels, crowds, strict=True):
            for axes, task in zip(row, tasks, strict=True):
                chosen = [r for r in records if r.what.startswith(task) and (r.case.members > 1) == crowd]
                _panel(axes, chosen, roof if task == "forward" else None)
                axes.set_title(TITLES[task] + (", ensembles" if crowd else ""))
            row[0].set_ylabel("points x steps / second")
        _legend(figure, records, roof)
        figure.suptitle(subtitle, fontsize=12)
    return figure


def _panel(axes, records, roof):
    """Draw one task: single flows as lines over the size, or ensembles side by side."""
    cases = sorted({record.case for record in records}, key=lambda case: (case.size, case.members))
    crowd = any(case.members > 1 for case in cases)
    place = {case: index if crowd else case.size for index, case in enumerate(cases)}
    series: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        series.setdefault((record.contender, record.what), []).append(record)
    for (contender, what), points in series.items():
        points = sorted(points, key=lambda record: place[record.case])
        kept = not what.endswith("checkpointed")
        look = {"color": COLOURS.get(contender, GREY), "marker": "o" if kept else "s", "markersize": 5.5}
        line = "none" if crowd else "-" if kept else "--"
        axes.plot([place[r.case] for r in points], [r.throughput for r in points], linestyle=line, **look)
    if roof:
        axes.axhline(roof, color=GREY, linewidth=1.4, linestyle=":")
    axes.set_yscale("log")
    if crowd:
        axes.set_xlim(-0.6, len(cases) - 0.4)
        axes.set_xlabel("members x grid")
    else:
        axes.set_xscale("log", base=2)
        axes.set_xlabel("grid")
        if cases:
            axes.set_xlim(cases[0].size / 1.35, cases[-1].size * 1.35)
    axes.minorticks_off()
    axes.set_xticks(list(place.values()), [case.label for case in cases])
    axes.tick_params(axis="x", rotation=40 if crowd and len(cases) > 3 else 0)
    axes.grid(alpha=0.25, which="major")
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure, records, roof):
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(record.contender for record in records))
    handles = [Line2D([], [], color=COLOURS.get(name, GREY), linewidth=2.5, label=name) for name in names]
    if any(record.what == "gradient checkpointed" for record in records):
        handles.append(Line2D([], [], color=GREY, marker="o", markersize=5.5, label="gradient: all stages kept"))
        handles.append(Line2D([], [], color=GREY, marker="s", markersize=5.5, ls="--", label="gradient: checkpointed"))
    if roof:
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="roof: memory bandwidth"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False)
