"""Measurements: all contenders in one process, in turns, so that a drifting clock affects all equally.

On an accelerator a sample is the wall time of one call of a jitted function, among several that are enqueued before any
result is waited for, as in a training loop. A record also has

- the wall time of a single call until its result is ready; the excess is host time and latency that no kernel hides;
- the time until that call returns, in which the host enqueues the work.

On a CPU calls do not overlap, and the single call is the sample.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from .. import _ffi
from .._checks import check_count, check_option
from .._discretisation import to_dict
from .cases import TASKS, Case
from .contenders import Contender, Program, backends

ROW = 0.1  # seconds that calls in a row should take together
IN_A_ROW = 4, 20  # least and largest number of calls in a row
PROBE = 5  # steps of the probe that sets the length of a sample on a CPU


@dataclasses.dataclass
class Record:
    """One task of one contender in one case.

    Attributes:
        case: the case.
        contender: name of the contender.
        what: the task, one of `TASKS`.
        steps: time steps of a sample.
        seconds: the samples [s].
        lone_seconds: wall times of single calls [s].
        enqueue_seconds: times until the same calls returned [s].
        compile_seconds: time of tracing and compiling, for the first time in this process [s]. Warp's kernels are
            compiled by the first run (or found in Warp's cache on disk).
        first_seconds: time of the first run [s].
        recompile_seconds: time of tracing and compiling again, with kernels loaded (``forward`` only) [s].
        memory: bytes of ``arguments``, ``outputs`` and ``temporaries``.
        launches: runs of Warp launch functions while samples were taken. On CUDA it is 0 where graphs were replayed.
        mean_square: mean square of the last state, gradient or tangent, by which contenders are compared.
        error: why there are no samples, or None.
    """

    case: Case
    contender: str
    what: str
    steps: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)
    lone_seconds: list[float] = dataclasses.field(default_factory=list)
    enqueue_seconds: list[float] = dataclasses.field(default_factory=list)
    compile_seconds: float | None = None
    first_seconds: float | None = None
    recompile_seconds: float | None = None
    memory: dict[str, int] = dataclasses.field(default_factory=dict)
    launches: int = 0
    mean_square: float | None = None
    error: str | None = None

    @property
    def median(self) -> float | None:
        """Median of the samples [s]."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def quartiles(self) -> tuple[float, float] | None:
        """First and third quartile of the samples [s]."""
        if len(self.seconds) < 2:
            return (self.seconds[0], self.seconds[0]) if self.seconds else None
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    @property
    def seconds_per_step(self) -> float | None:
        """Median wall time a time step [s]."""
        return self.median / self.steps if self.median is not None else None

    @property
    def throughput(self) -> float | None:
        """Grid points times time steps a second, of all members together."""
        return self.case.points / self.seconds_per_step if self.seconds_per_step is not None else None

    def to_dict(self) -> dict:
        """Return all figures, raw and derived, for a JSON file."""
        derived = ("median", "quartiles", "seconds_per_step", "throughput")
        case = dataclasses.asdict(self.case) | {"dt": self.case.dt, "discretisation": to_dict(self.case.discretisation)}
        return case | dataclasses.asdict(self) | {"case": self.case.label} | {n: getattr(self, n) for n in derived}


def measure(
    case: Case,
    contenders: Sequence[Contender] | None = None,
    tasks: Sequence[str] = TASKS,
    *,
    steps: int | None = None,
    gradient_steps: int | None = None,
    repeat: int = 5,
    seconds: float = 1.0,
    deadline: float | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Record]:
    """Measure tasks of all contenders in one case.

    Args:
        case: grid and ensemble.
        contenders: the contenders; None: this package's backends, Warp and XLA.
        tasks: some of `TASKS`.
        steps: time steps of a forward sample; None: 500 for this package on an accelerator. Other packages, and all
            on a CPU, take as many as last `seconds`, at most 500.
        gradient_steps: time steps of all other samples; None: a fifth of `steps`.
        repeat: samples of each task.
        seconds: see `steps`.
        deadline: a value of `time.monotonic`, after which nothing more is built or sampled.
        report: called with a line on what comes next.

    Returns:
        A record for each contender that can run the case, and each of its tasks. One that ran out of memory, failed or
        was skipped has an `error` instead of samples.

    Raises:
        TypeError: an argument has another type, or float64 is asked for while `jax_enable_x64` is off.
        ValueError: an argument is out of its range.
    """
    for task in tasks:
        check_option("tasks", task, TASKS)
    for name, count in {"steps": steps, "gradient_steps": gradient_steps}.items():
        if count is not None:
            check_count(name, count, least=1)
    check_count("repeat", repeat, least=1)
    case.initial_state()  # refuses float64 without x64

    entries: list[tuple[Record, Program]] = []
    records: list[Record] = []
    for contender in backends() if contenders is None else contenders:
        if contender.obstacle(case) is not None:
            continue
        length = steps
        for task in tasks:
            if task not in contender.tasks:
                continue
            if report:
                report(f"{case.label}: building {contender.name}, {task}")
            record = Record(case, contender.name, task)
            records.append(record)
            if length is None:
                length = _attempt(record, deadline, partial(_length, contender, case, seconds))
            if length is not None:
                record.steps = length if task == "forward" else gradient_steps or max(1, length // 5)
                program = _attempt(record, deadline, partial(_build, contender, record))
                if program is not None:
                    entries.append((record, program))
    for turn in range(repeat):
        if report:
            report(f"{case.label}: sample {turn + 1} of {repeat}")
        first = turn % max(len(entries), 1)
        for record, program in entries[first:] + entries[:first]:
            _attempt(record, deadline, partial(_sample, program, record))
    return records


def memory_growth(case: Case, contender: Contender, steps: Sequence[int] = (100, 1000, 10000)) -> dict[int, int]:
    """Return the bytes of temporaries of a checkpointed gradient of `steps` steps. It is compiled, not run."""
    return {n: contender.build(case, "gradient checkpointed", n).memory["temporaries"] for n in steps}


def _attempt(record: Record, deadline: float | None, action: Callable):
    """Return the result of `action`, or None if it or an earlier one failed, or time is up. The record says why."""
    if record.error is not None:
        return None
    if deadline is not None and time.monotonic() > deadline:
        if not record.seconds:
            record.error = "skipped: the time was up"
        return None
    try:
        return action()
    except Exception as error:  # a benchmark goes on with the next one, whatever it was
        record.error = _reason(error)
        return None


def _reason(error: Exception) -> str:
    text = str(error)
    lines = text.strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
        return f"out of memory: {first}"
    return f"{type(error).__name__}: {first}"


def _length(contender: Contender, case: Case, seconds: float) -> int:
    """Return the number of steps of a forward sample."""
    if contender.own and jax.default_backend() != "cpu":
        return 500
    probe = contender.build(case, "forward", PROBE)
    times = []
    for _ in range(4):  # the first compiles Warp's kernels
        start = time.perf_counter()
        probe.wait(probe.start())
        times.append(time.perf_counter() - start)
    wanted = seconds * PROBE / min(times)
    return int(min(500, max(10, wanted // 10 * 10)))


def _build(contender: Contender, record: Record) -> Program:
    """Compile and run once, and record times, memory and outcome."""
    program = contender.build(record.case, record.what, record.steps)
    start = time.perf_counter()
    outcome = program.wait(program.start())
    record.first_seconds = time.perf_counter() - start
    record.compile_seconds, record.memory = program.compile_seconds, program.memory
    record.mean_square = float(jnp.mean(jnp.square(program.outcome(outcome))))
    if record.what == "forward":
        program = contender.build(record.case, record.what, record.steps)
        record.recompile_seconds = program.compile_seconds
        program.wait(program.start())
    return program


def _sample(program: Program, record: Record) -> None:
    launches = _ffi.statistics()["launches"]
    start = time.perf_counter()
    pending = program.start()
    returned = time.perf_counter()
    program.wait(pending)
    record.lone_seconds.append(time.perf_counter() - start)
    record.enqueue_seconds.append(returned - start)
    if jax.default_backend() == "cpu":
        record.seconds.append(record.lone_seconds[-1])
    else:
        fewest, most = IN_A_ROW
        calls = min(most, max(fewest, math.ceil(ROW / record.lone_seconds[-1])))
        start = time.perf_counter()
        pending = [program.start() for _ in range(calls)]
        for result in pending:
            program.wait(result)
        record.seconds.append((time.perf_counter() - start) / calls)
    record.launches += _ffi.statistics()["launches"] - launches
