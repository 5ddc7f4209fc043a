"""Writes the tables of figures in the README and the pages, from the JSON files here.

    python docs/benchmarks/tables.py            # write them
    python docs/benchmarks/tables.py --check    # fail where text and data differ

`<!-- table: name -->` and `<!-- end -->` surround a table in a page.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tables_accuracy
import tables_examples
import tables_mosaic
import tables_trust
import tables_validation
from cells import data, figure, table, two_digits

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)
TASKS = {
    "forward": "forward",
    "`Direct`": "gradient direct",
    "`Checkpointed`": "gradient checkpointed",
    "`jvp`": "jvp",
}
WITH_XLA = {"64 x 64²": "bench_small", "1024 x 64²": "bench_small", "512²": "bench_xla", "1024²": "bench_xla"}


def times(name: str) -> dict[tuple[str, str, str], float]:
    """Return the microseconds a step of a run of `warpjaxns bench`, by case, contender and task."""
    records = data(name)["records"]
    return {(r["case"], r["contender"], r["what"]): 1e6 * r["seconds_per_step"] for r in records}


def rows(name: str, contender: str = "warp", tasks=TASKS) -> dict[str, list[Any]]:
    """Return the times of all tasks, by case; None for one that was not measured."""
    found = times(name)
    cases = dict.fromkeys(case for case, _, _ in found)
    return {case: [found.get((case, contender, TASKS[task])) for task in tasks] for case in cases}


def with_xla() -> dict[str, tuple[list[float], list[float]]]:
    """Return the times of Warp and of XLA in one run, by case."""
    tasks = list(TASKS)[:3]
    return {case: (rows(run, "warp", tasks)[case], rows(run, "xla", tasks)[case]) for case, run in WITH_XLA.items()}


# ------------------------------------------------------------------------------------------------ README


def perturbation() -> str:
    """Return an iteration of the optimal perturbation, here and by Warp's example."""
    cases = [case for case in data("warp_example").items() if case[0] != "command"]
    head = [""]
    for case, _ in cases:
        steps, size = re.findall(r"(\d+) steps at (\d+)", case)[0]
        head += [f"{size}², {steps} steps", ""]
    names = {"Warp's example": "warp example", "`Direct()`": "warpjaxns direct"}
    names["`Checkpointed()`"] = "warpjaxns checkpointed"
    body = []
    for title, name in names.items():
        cells = [title]
        for _, case in cases:
            cells += [f"{case[name]['milliseconds']:.1f} ms", f"{case[name]['peak_bytes'] / 2**20:.0f} MiB"]
        body.append(cells)
    return table(head, body)


def perturbation_factors() -> str:
    """Return the factors of time and memory by which Warp's example exceeds this package."""
    body = []
    for case, results in data("warp_example").items():
        if case == "command":
            continue
        steps, size = re.findall(r"(\d+) steps at (\d+)", case)[0]
        theirs, cells = results["warp example"], []
        for name in ("warpjaxns direct", "warpjaxns checkpointed"):
            ours = results[name]
            cells.append(f"{theirs['milliseconds'] / ours['milliseconds']:.1f}")
            cells.append(two_digits(theirs["peak_bytes"] / ours["peak_bytes"]))
        body.append([f"{size}², {steps} steps", *cells])
    return table(["", "`Direct`: time", "memory", "`Checkpointed`: time", "memory"], body)


def beside_xla() -> str:
    """Return times of Warp and of XLA."""
    head = ["members x grid", *list(TASKS)[:3], "XLA: forward", *list(TASKS)[1:3]]
    return table(head, [[case, *(f"{t:.0f}" for t in warp + xla)] for case, (warp, xla) in with_xla().items()])


def selection() -> str:
    """Return times of Warp alone, of some cases."""
    found = rows("bench")
    cases = ["256²", "64 x 128²", "1024 x 128²", "64 x 256²", "64 x 512²", "16 x 1024²", "2048²", "4096²"]
    return table(["members x grid", *TASKS], [[case, *(f"{t:.0f}" for t in found[case])] for case in cases])


# ------------------------------------------------------------------------------------------------ pages


def speed() -> str:
    """Return times of all cases, and the factor by which XLA is slower."""
    return _speed("bench", with_xla())


def spectral_speed() -> str:
    """Return the same of Fourier modes; Warp and XLA in one run."""
    found, three = times("bench_spectral"), [TASKS[task] for task in list(TASKS)[:3]]
    cases = {case for case, _, _ in found if all((case, "xla", task) in found for task in three)}
    both = {case: tuple([found[case, who, task] for task in three] for who in ("warp", "xla")) for case in cases}
    return _speed("bench_spectral", both)


def _speed(run, xla):
    body = []
    for case, found in rows(run).items():
        ratios = [two_digits(theirs / ours) for ours, theirs in zip(*xla[case], strict=True)] if case in xla else []
        body.append([case, *map(figure, found), *([", ".join(ratios)] if xla else [])])
    return table(["members x grid", *TASKS, *(["XLA / Warp"] if xla else [])], body)


def bounds() -> str:
    """Return times of all cases, the time that their bytes take, and derivatives in units of a rollout."""
    from warpjaxns._kernels.finite_difference.planner import make_plan
    from warpjaxns.benchmarks import least_bytes

    rate, body = data("bench")["bandwidth"]["bytes_per_second"], []
    for case, found in rows("bench").items():
        members, size = (int(number or 1) for number in re.findall(r"(?:(\d+) x )?(\d+)²", case)[0])
        plan = make_plan((size, size), "float32", members)
        by_slabs = plan.by_slabs and plan.resident is None
        how = "resident" if plan.resident else "columns"
        if by_slabs:
            how = "slabs, recompute" if plan.recompute else "slabs"
        number = least_bytes("float32", rows=plan.rows if by_slabs else None, spectra=not plan.recompute)
        bytes_time = 1e6 * members * size**2 * number / rate
        ratios = [f"{figure(t)} ({t / found[0]:.2f})" for t in found[1:]]
        body.append([case, how, figure(bytes_time), figure(found[0]), *ratios])
    return table(["members x grid", "path", "bytes", *TASKS], body)


def counters() -> str:
    """Return instructions of a stage, and the warps that a multiprocessor holds."""
    body = []
    for case, kernels in data("counters").items():
        names = [k["kernel"] for k in kernels]
        copied = next(i for i, name in enumerate(names) if name.startswith("copy"))
        begun = next(i for i, name in enumerate(names) if name in ("source_rows", *_RESIDENT_SWEEP))
        swept = max(i for i, name in enumerate(names) if name in ("sweep_rows", *_RESIDENT_SWEEP))
        cells = []
        for part in (kernels[:copied], kernels[begun : swept + 1], kernels[swept + 1 :]):
            part = [k for k in part if k["kernel"] != "forward_rows"]
            stages = [k["million instructions"] / (6 if _is_resident(k["kernel"]) else 1) for k in part]
            held = [f"{k['warps a multiprocessor']:.0f}" for k in part if not _is_along_y(k["kernel"])]
            cells += [figure(sum(stages)), " and ".join(held)]
        members, size = case.split("x")
        body.append([f"{size}²" if members == "1" else f"{members} x {size}²", *cells])
    return table(["members x grid", "forward", "warps", "sweep", "warps", "state and tangent", "warps"], body)


_RESIDENT_SWEEP = ("adjoint_members", "resident_sweep")


def _is_resident(kernel):
    """Return whether a kernel takes all steps, six stages, by its name in either layout of the files."""
    return kernel.endswith("_members") or kernel.startswith("resident_")


def _is_along_y(kernel):
    return kernel.startswith("between") or kernel == "solve_columns"


def facts() -> str:
    """Return the measurements of `facts.py`, for three sizes."""
    found = data("facts")
    sizes = list(found["accuracy"])

    def line(title, value):
        return [title, *map(value, sizes)]

    host, error = found["host_share"], found["accuracy"]
    body = [
        line("a step in float64, in steps in float32", lambda n: f"{found['double_precision'][n]['ratio']:.2f}"),
        line('with `advection="central"`, microseconds', lambda n: figure(found["schemes"][n]["central"])),
        line("over 2000 steps, microseconds a step", lambda n: figure(host[n]["2000 steps"])),
        line("over 100 steps, calls in a row", lambda n: figure(host[n]["100 steps"])),
        line("over 100 steps, a call by itself", lambda n: figure(host[n]["100 steps by themselves"])),
        line("relative error in float32 after 100 steps", lambda n: _exponent(error[n]["warp, float32"])),
        line("the same of XLA", lambda n: _exponent(error[n]["xla, float32"])),
    ]
    return table(["", *(f"{n}²" for n in sizes)], body)


def hessian() -> str:
    """Return the time of a Hessian product beside that of a gradient, now and with more foreign calls."""
    found: dict[str, dict[str, dict]] = {}
    for record in data("hessian"):
        case = f"{record['members']} x {record['points']}²".removeprefix("1 x ")
        found.setdefault(case, {})[record["state"]] = record
    body = []
    for case, states in found.items():
        now, before = states["6 calls"], states["51 calls"]
        times = [figure(value) for value in (now["gradient"], now["product"], before["product"])]
        body.append([case, *times, f"{before['product'] / now['product']:.1f}"])
    return table(["", "gradient", "product", "with 51 calls a step", "ratio"], body)


def _exponent(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


MADE = (
    perturbation,
    perturbation_factors,
    beside_xla,
    selection,
    speed,
    spectral_speed,
    bounds,
    counters,
    facts,
    hessian,
)
OTHERS = (
    *(*tables_accuracy.MADE, *tables_examples.MADE, *tables_mosaic.MADE),
    *(*tables_trust.MADE, *tables_validation.MADE),
)
TABLES: dict[str, Callable[[], str]] = {function.__name__: function for function in (*MADE, *OTHERS)}


def written(text: str) -> str:
    """Return a page with its tables made anew.

    Raises:
        KeyError: there is no table of that name.
    """
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main(argv: list[str] | None = None) -> int:
    """Write all tables, or name the pages that differ from the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page would change")
    options = parser.parse_args(argv)
    changed = [page for page in PAGES if written(page.read_text()) != page.read_text()]
    for page in changed:
        print(f"{page.relative_to(ROOT)}: {'its tables are not those of the data' if options.check else 'written'}")
        if not options.check:
            page.write_text(written(page.read_text()))
    return int(bool(changed) and options.check)


if __name__ == "__main__":
    sys.exit(main())
