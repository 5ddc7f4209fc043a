"""Measures error against time to solution: both engines, Exponax and JAX-CFD, in three flows.

    python docs/benchmarks/accuracy.py errors --flows shear --output shear.json    # every code, size and step
    python docs/benchmarks/accuracy.py times --output shear.json                   # the best of them, from that file
    python docs/benchmarks/accuracy.py merge shear.json turbulence.json --output docs/benchmarks/accuracy.json

The error is the relative L2 norm of the vorticity's error at the end of the flow, on the code's own points, against a
resolved solution in float64 that none of the codes computes (`accuracy_flows.py`). States are float32, as timed.

`errors` takes longer and longer steps away: it begins near the longest stable one, and ends when shorter steps do not
help any more. `times` finds for each code and each of `LEVELS` the cheapest scheme, size and step that is as accurate,
and times these: the whole rollout, and the value and gradient of the mean square of its end by its start. A sample is
the time of a call among several in a row. Both write the file after every record, and start nothing new after
`--seconds`. Called again, they go on with what is missing.
"""

import argparse
import json
import math
import statistics
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import accuracy_flows as flows
import jax
import jax.numpy as jnp
from accuracy_codes import CODES, Code

from warpjaxns._commands.options import versions

LEVELS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5)
PEERS = ("exponax", "jax-cfd")
TASKS = ("forward", "gradient")
CHUNK = 20  # steps of a call while errors are measured
STEPS = [CHUNK, *sorted(CHUNK * n * 2**k for k in range(12) for n in (2, 3))]
TRIES = 7  # steps that are tried for a size
HELPS = 0.9  # a shorter step helps if it makes the error less than this times what it was
SAMPLES = 5
KEYS = {"errors": ("flow", "code", "size", "steps"), "times": ("flow", "code", "size", "steps", "members", "task")}


class File:
    """The JSON file: records by their keys, written after each."""

    def __init__(self, path: Path, *others: Path):
        self.path = path
        self.data = {"command": [], "device": {}, "versions": {}, "flows": {}, "errors": [], "times": []}
        for other in (path, *others):
            if other.exists():
                self.add(json.loads(other.read_text()))

    def add(self, data: dict):
        """Take the records of another file, in the place of those with the same keys."""
        for part, names in KEYS.items():
            records = {tuple(r[n] for n in names): r for r in (*self.data[part], *data[part])}
            self.data[part] = [*records.values()]
        for part in ("device", "versions", "flows"):
            self.data[part] |= data[part]
        self.data["command"] += data["command"]

    def has(self, part: str, *key) -> bool:
        """Return whether there is a record of a key, or of the beginning of one."""
        names = KEYS[part][: len(key)]
        return any(tuple(r[n] for n in names) == key for r in self.data[part])

    def put(self, part: str, record: dict):
        """Add a record, show it, and write the file."""
        self.data[part].append(record)
        print("  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in record.values()), flush=True)
        self.write()

    def write(self):
        """Write the file."""
        self.path.write_text(json.dumps(self.data, indent=1) + "\n")


# ------------------------------------------------------------------------------------------------ errors


def errors(file: File, names: list[str], codes: list[Code], modes: int, late) -> None:
    """Measure the errors of codes in flows."""
    for name in names:
        flow, reference = flows.FLOWS[name], None
        for code in codes:
            for size in code.sizes:
                if late() or file.has("errors", name, code.name, size) or _enough(file, name, code):
                    continue
                if reference is None:
                    reference = _reference(file, name, modes)
                _scan(file, name, flow, code, size, reference)


def _enough(file, name, code):
    """Return whether a code has reached the last level, which is near the rounding of float32."""
    found = [r["error"] for r in file.data["errors"] if (r["flow"], r["code"]) == (name, code.name)]
    return min(found, default=1.0) <= LEVELS[-1]


def _reference(file, name, modes):
    flow = flows.FLOWS[name]
    steps = 2 * math.ceil(flow.time * flows.speed(flow.kind) * (modes / 2))  # a Courant number of 1/2
    solution, difference = flows.resolved(flow, modes, steps)
    print(f"{name}: the reference of {modes} waves and {steps} steps differs by {difference:.1e} from one of fewer")
    about = {"viscosity": flow.viscosity, "time": flow.time, "drag": flow.drag, "amplitude": flow.amplitude}
    file.data["flows"][name] = about | {"modes": modes, "steps": steps, "difference": difference}
    return solution


def _scan(file, name, flow, code, size, reference):
    """Measure the errors of one size with shorter and shorter steps."""
    start = jnp.asarray(flows.sample(flows.initial_state(flow.kind), size), "float32")
    advance = jax.jit(lambda dt, omega: code.rollout(flow, size, dt, CHUNK)(omega))
    # about half as many steps as a scheme needs that is stable up to 2.8, with two thirds of the waves
    least, found = flow.time * flows.speed(flow.kind) * (size / 3) / 2.8 / 2, []
    jax.block_until_ready(advance(jnp.float32(flow.time / least), start))  # compiles
    for steps in [n for n in STEPS if n >= least][:TRIES]:
        dt, omega, begin = jnp.float32(flow.time / steps), start, time.perf_counter()
        for _ in range(steps // CHUNK):
            omega = advance(dt, omega)
        jax.block_until_ready(omega)
        cost = time.perf_counter() - begin
        error = flows.error(omega, reference)
        if not math.isfinite(error) or error > 1:
            continue
        record = {"flow": name, "code": code.name, "family": code.family, "size": size, "steps": steps}
        file.put("errors", record | {"dt": flow.time / steps, "error": error, "cost": cost})
        found.append(error)
        if len(found) > 1 and found[-1] > HELPS * found[-2]:
            break


# ------------------------------------------------------------------------------------------------ times


def best(records: list[dict], levels=LEVELS) -> list[dict]:
    """Return of the errors of one flow and code the cheapest at each level, without repetitions."""
    chosen = []
    for level in levels:
        enough = [r for r in records if r["error"] <= level]
        record = min(enough, key=lambda r: r["cost"], default=None)
        if record is not None and record not in chosen:
            chosen.append(record)
    return chosen


def times(file: File, names, codes: list[Code], members, tasks, most: float, longest: float, late) -> None:
    """Time the best rollouts of each code, unless they take about `longest` seconds or more."""
    known = {code.name: code for code in codes}
    for name in names:
        found = [r for r in file.data["errors"] if r["flow"] == name and r["code"] in known]
        for family in dict.fromkeys(r["family"] for r in found):
            for record in best([r for r in found if r["family"] == family]):
                for count in members:
                    for task in tasks:
                        key = [record[n] for n in ("flow", "code", "size", "steps")]
                        cost = record["cost"] * count * (4 if task == "gradient" else 1)
                        if cost < longest and not late() and not file.has("times", *key, count, task):
                            file.put("times", _time(known[record["code"]], record, count, task, most))


def _time(code, record, members, task, most):
    """Return the time of a rollout, or of its value and gradient, as a record."""
    flow, size, steps = flows.FLOWS[record["flow"]], record["size"], record["steps"]
    result = {name: record[name] for name in ("flow", "code", "family", "size", "steps", "dt", "error")}
    result |= {"members": members, "task": task, "recompute": False, "seconds": None, "samples": [], "failed": ""}
    omega = jnp.asarray(flows.sample(flows.initial_state(flow.kind), size), "float32")
    omega = jnp.stack([omega] * members) if members > 1 else omega
    try:
        for recompute in (False, True) if task == "gradient" else (False,):
            rollout = code.rollout(flow, size, flow.time / steps, steps, members, recompute)
            program = jax.jit(_task(task, rollout)).lower(omega).compile()
            needed = program.memory_analysis()
            result["recompute"] = recompute
            if needed is None or needed.temp_size_in_bytes < most * 2**30:
                break
        else:
            raise MemoryError(f"the gradient needs more than {most} GiB")
        result["samples"] = _samples(lambda: program(omega))
        result["seconds"] = statistics.median(result["samples"])
    except Exception as error:  # the others go on, whatever it was
        result["failed"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return result


def _task(task, rollout):
    if task == "forward":
        return rollout
    return jax.value_and_grad(lambda omega: jnp.mean(rollout(omega) ** 2))


def _samples(start):
    """Return the seconds a call, of several in a row, several times."""
    jax.block_until_ready(start())
    begin = time.perf_counter()
    jax.block_until_ready(start())
    lone = time.perf_counter() - begin
    # calls in a row that all transform with several threads may wait for each other for ever on a CPU
    calls = 1 if jax.default_backend() == "cpu" else max(2, min(20, math.ceil(0.05 / lone)))
    if lone > 1:
        return [lone]
    samples = []
    for _ in range(SAMPLES if lone < 0.2 else 1):
        begin = time.perf_counter()
        pending = [start() for _ in range(calls)]
        jax.block_until_ready(pending)
        samples.append((time.perf_counter() - begin) / calls)
    return samples


# ------------------------------------------------------------------------------------------------ command line


def main(argv: list[str] | None = None) -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("errors", "times", "merge"))
    parser.add_argument("others", nargs="*", type=Path, metavar="JSON", help="files to merge")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    parser.add_argument("--flows", nargs="+", choices=tuple(flows.FLOWS), default=[*flows.FLOWS])
    parser.add_argument("--codes", nargs="+", help="beginnings of their names", default=[""])
    parser.add_argument("--sizes", nargs="+", type=int, help="only these of a code's sizes")
    parser.add_argument("--members", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS])
    parser.add_argument("--modes", type=int, default=768, help="waves along each axis of the reference")
    parser.add_argument("--memory", type=float, default=100, help="GiB that a gradient may take")
    parser.add_argument("--longest", type=float, default=4, help="seconds of a call over which it is not timed")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start nothing new after so many")
    options = parser.parse_args(argv)
    file, begin = File(options.output, *options.others), time.monotonic()

    def late():
        return time.monotonic() - begin > options.seconds

    if options.what != "merge":
        device = jax.devices()[0]
        words = sys.argv[1:] if argv is None else argv
        file.data["command"].append(" ".join(Path(word).name if "/" in word else word for word in words))
        file.data["device"] = {"platform": device.platform, "kind": device.device_kind}
        peers = [name for name in PEERS if find_spec(name.replace("-", "_"))]
        file.data["versions"] = versions() | {name: version(name) for name in peers}
    codes = [code for code in CODES if code.name.startswith(tuple(options.codes))]
    if options.sizes:
        codes = [Code(c.family, c.scheme, tuple(n for n in c.sizes if n in options.sizes), c.rollout) for c in codes]
    if options.what == "errors":
        errors(file, options.flows, codes, options.modes, late)
    elif options.what == "times":
        most, longest = options.memory, options.longest
        times(file, options.flows, codes, options.members, options.tasks, most, longest, late)
    file.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
