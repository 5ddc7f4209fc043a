"""Tables of accuracy and of several devices, for `tables.py`."""

import math

from cells import data, figure, table, two_digits

LEVELS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
DISCRETISATIONS = {  # the beginnings of the names of codes in `accuracy.json`
    "finite differences": "finite differences",
    "spectral, two-thirds": "spectral, rk3, two-thirds",
    "spectral, smooth": "spectral, rk3, smooth",
}


def points() -> str:
    """Return the points a side for an error, of each flow and discretisation."""
    from accuracy_picture import TITLES, points_to

    found, body = data("accuracy"), []
    for flow, title in TITLES.items():
        for name, scheme in DISCRETISATIONS.items():
            cells = [points_to(found, flow, scheme, level) for level in LEVELS]
            if any(cells):
                body.append([title, name, *(_marked(cell, lambda n: f"{n:.0f}") for cell in cells)])
    return table(["flow", "discretisation", *map(_percent, LEVELS)], body)


def accuracy() -> str:
    """Return the milliseconds of a rollout with an error, of each flow and code."""
    from accuracy_picture import FAMILIES, TITLES, time_to

    found, body = data("accuracy"), []
    for flow, title in TITLES.items():
        for family in FAMILIES:
            cells = [time_to(found, flow, family, "forward", 1, level) for level in LEVELS]
            if any(cells):
                body.append([title, family, *(_marked(cell, lambda t: _short(1e3 * t)) for cell in cells)])
    return table(["flow", "code", *map(_percent, LEVELS)], body)


def lead() -> str:
    """Return how many times as long as this package the better of the two others takes, where both reach an error."""
    from accuracy_picture import FAMILIES, TITLES, time_to

    found, body = data("accuracy"), []
    for flow, title in TITLES.items():
        for task, members in ((t, m) for t in ("forward", "gradient") for m in (1, 16)):
            cells = []
            for level in LEVELS:
                reached = [time_to(found, flow, family, task, members, level) for family in FAMILIES]
                times = [math.inf if r is None or r[1] else r[0] for r in reached]
                ours, theirs = min(times[:2]), min(times[2:])
                cells.append(two_digits(theirs / ours) if theirs < math.inf else "only here" if ours < math.inf else "")
            what = "rollout" if task == "forward" else "gradient"
            body.append([title, f"{what}, {members} member{'s' * (members > 1)}", *cells])
    return table(["flow", "", *map(_percent, LEVELS)], body)


def device() -> str:
    """Return where `accuracy.json` was measured."""
    found = data("accuracy")
    return f"Measured on: {found['device']['kind']}, JAX {found['versions']['jax']}."


def members() -> str:
    """Return times of ensembles on two devices of one process: `jit`, `shard_map`, and half of the members on one."""
    body = []
    for case in data("members")["cases"]:
        if "error" in case or case["task"] not in ("forward", "gradient"):
            continue
        found = [min(case[way]["microseconds a step"]) for way in ("jit", "shard_map", "one device")]
        name = {"FiniteDifference": "finite differences", "Spectral": "spectral, rk4"}[case["discretisation"]]
        shape, share = f"{case['members']} x {case['size']}²", f"{100 * found[1] / found[0]:.1f} %"
        body.append([shape, name, case["task"], *map(figure, found), share])
    head = [
        "members of a device",
        "discretisation",
        "",
        "`jit`",
        "`shard_map`",
        "one device alone",
        "`jit` to `shard_map`",
    ]
    return table(head, body)


def slabs() -> str:
    """Return times of a grid on one device, as it is and as one slab, and on two."""
    found, body = data("slabs"), []
    for task in ("forward", "gradient"):
        records = {r["devices"]: r for r in found if r["task"] == task}
        whole = records[0]["median"]
        for devices, record in records.items():
            share = f"{100 * whole / record['median'] / max(devices, 1):.0f} %"
            cells = [
                f"{devices} slab{'s' * (devices > 1)}" if devices else "not divided",
                figure(record["median"]),
                share,
            ]
            used = record["temporaries_a_device"] + record["arguments_a_device"]
            body.append([task, *cells, f"{used / 2**30:.1f}"])
    return table(["", "", "microseconds a step", "efficiency", "GiB a device"], body)


def peers() -> str:
    """Return times of a grid on one device, and on two by either way of messages, and the efficiency with kernels."""
    cases, body = {}, []
    for record in data("slabs-peers") + data("slabs-peers-96"):
        case = record["task"], record["steps"], record["size"][0]
        cases.setdefault(case, {})[record["exchange"]] = record["median"]
    for (task, steps, n), took in sorted(cases.items()):
        if len(took) == 3:
            share = f"{100 * took['none'] / took['peers'] / 2:.0f} %"
            ways = (figure(took[way]) for way in ("none", "gather", "peers"))
            body.append([task, str(steps), f"{n}²", *ways, share])
    return table(["", "steps a call", "points", "one GPU", "two, all-gather", "two, kernels", "efficiency"], body)


def mailboxes() -> str:
    """Return times of an exchange between two devices: by kernels, and by XLA."""
    found, body = data("mailboxes"), []
    most = max(record.get("blocks", 0) for record in found)
    for size in sorted({record["bytes"] for record in found}):
        ways = {r["way"]: r["microseconds"] for r in found if r["bytes"] == size and r.get("blocks", most) == most}
        body.append([f"{size >> 10} KiB", *(figure(ways[way]) for way in ("one kernel", "graph", "all-gather"))])
    return table(["message", "in one kernel", "in a graph", "all-gather of XLA"], body)


def long_rows() -> str:
    """Return times of grids with long rows, and of XLA where it was measured."""
    runs, body = [data(name) for name in ("long_rows", "long_rows_float64")], []
    before = data("long_rows_before")["times"]
    runs[0]["times"] |= {name: took for name, took in before.items() if name.endswith("xla")}
    for dtype, found in ((run["dtype"], run["times"]) for run in runs):
        for name in (name for name in found if name.endswith("warp")):
            ours, theirs = found[name], found.get(name.replace("warp", "xla"))
            size, task, _ = name.split()
            took = ours["microseconds_a_step"]
            other = theirs["microseconds_a_step"] if theirs else None
            beside = [figure(other), two_digits(other / took)] if other else ["", ""]
            cells = [figure(took), f"{1e3 * ours['nanoseconds_a_point']:.0f}", *beside]
            body.append([size.replace("x", " x "), dtype, task, *cells])
    return table(["rows x points", "", "", "Warp", "picoseconds a point", "XLA", "XLA / Warp"], body)


def _marked(cell, text):
    """Return a cell of a table: a value and whether it is extrapolated, or nothing."""
    if cell is None:
        return ""
    value, extrapolated = cell
    return "~" + text(float(f"{value:.2g}")) if extrapolated else text(value)


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 0.995 else two_digits(value)


MADE = (points, accuracy, lead, device, members, slabs, long_rows, peers, mailboxes)
