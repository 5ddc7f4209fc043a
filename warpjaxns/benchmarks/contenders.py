"""Who takes part: a contender builds, for a case and a task, something that can be run and waited for."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._adjoint import Checkpointed, Direct
from .._checks import check_backend
from .._solver import NavierStokes2D
from .cases import TASKS, Case


@dataclasses.dataclass(frozen=True)
class Program:
    """Something to time: `start` enqueues the work, `wait` blocks until what `start` returned is there.

    Attributes:
        compile_seconds: of tracing and compiling, without the first run.
        memory: bytes by kind (``arguments``, ``outputs``, ``temporaries``) that a run needs.
        outcome: what `start` returned, as the array that tells whether all computed the same.
    """

    start: Callable[[], Any]
    wait: Callable[[Any], Any]
    compile_seconds: float
    memory: dict[str, int]
    outcome: Callable[[Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A solver that takes part.

    Attributes:
        name: in tables.
        numerics: one line on what it computes, as that may differ.
        obstacle: why it cannot run a case, or None.
        build: a `Program` of ``(case, task, steps)``.
        tasks: those of `TASKS` that it knows.
        own: whether it is part of this package.
    """

    name: str
    numerics: str
    obstacle: Callable[[Case], str | None]
    build: Callable[[Case, str, int], Program]
    tasks: tuple[str, ...] = TASKS
    own: bool = False


def backends(*names: str) -> list[Contender]:
    """This package's own backends as contenders.

    Args:
        names: ``"warp"``, ``"xla"``; none for both.
    """
    return [_backend(name) for name in names or ("warp", "xla")]


def _backend(name):
    def obstacle(case):
        try:
            check_backend(name, case.grid, case.dtype)
        except ValueError as error:
            return str(error)
        return None

    def rollout(case, task, steps):
        solver = NavierStokes2D(
            case.grid,
            viscosity=case.viscosity,
            dt=case.dt,
            advection=case.advection,
            adjoint=Direct() if task == "gradient direct" else Checkpointed(),
            backend=name,
            check_finite=False,
        )
        return lambda omega: solver.rollout(omega, steps=steps)

    numerics = "second-order finite differences, SSP-RK3"
    return Contender(name, numerics, obstacle, jax_builder(rollout), own=True)


def jax_builder(rollout: Callable[[Case, str, int], Callable]) -> Callable[[Case, str, int], Program]:
    """How a solver written in JAX builds its programs, from a function ``omega -> omega`` of case, task and steps."""

    def build(case, task, steps):
        omega = case.initial_state()
        jitted = jax.jit(_task(task, rollout(case, task, steps)))
        start = time.perf_counter()
        compiled = jitted.lower(omega).compile()
        seconds = time.perf_counter() - start
        return Program(
            start=lambda: jitted(omega),
            wait=jax.block_until_ready,
            compile_seconds=seconds,
            memory=_memory(compiled),
            outcome=lambda result: result if task == "forward" else result[1],
        )

    return build


def _task(task, rollout):
    if task == "forward":
        return rollout
    if task == "jvp":
        return lambda omega: jax.jvp(rollout, (omega,), (omega,))
    return jax.value_and_grad(lambda omega: jnp.mean(rollout(omega) ** 2))


def _memory(compiled):
    analysis = compiled.memory_analysis()
    if analysis is None:
        return {}
    return {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }
