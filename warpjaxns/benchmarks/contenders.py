"""Contenders: solvers that build a program for a case and a task, which can be run and waited for."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._adjoint import Checkpointed, Direct
from .._discretisation import check_backend
from .._solver import NavierStokes2D
from .cases import TASKS, Case


@dataclasses.dataclass(frozen=True)
class Program:
    """A program to time: `start` enqueues the work, `wait` blocks until the result of `start` is ready.

    Attributes:
        compile_seconds: time of tracing and compiling, without the first run.
        memory: bytes by kind (``arguments``, ``outputs``, ``temporaries``) that a run needs.
        outcome: a function from the result of `start` to an array, by which contenders are compared.
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
        name: its name in tables.
        numerics: one line about its numerics.
        obstacle: a function of the case: why it cannot be run, or None.
        build: makes a `Program` of ``(case, task, steps)``.
        tasks: those of `TASKS` that it can do.
        own: whether it is part of this package.
    """

    name: str
    numerics: str
    obstacle: Callable[[Case], str | None]
    build: Callable[[Case, str, int], Program]
    tasks: tuple[str, ...] = TASKS
    own: bool = False


def backends(*names: str) -> list[Contender]:
    """Return this package's own backends as contenders.

    Args:
        names: ``"warp"``, ``"xla"``; none for both.
    """
    return [_backend(name) for name in names or ("warp", "xla")]


def _backend(name):
    def obstacle(case):
        try:
            check_backend(name, case.discretisation, case.grid, case.dtype)
        except ValueError as error:
            return str(error)
        return None

    def rollout(case, task, steps):
        solver = NavierStokes2D(
            case.grid,
            viscosity=case.viscosity,
            dt=case.dt,
            discretisation=case.discretisation,
            adjoint=Direct() if task == "gradient direct" else Checkpointed(),
            backend=name,
            check_finite=False,
        )
        return lambda omega: solver.rollout(omega, steps=steps)

    numerics = "the discretisation of the case"
    return Contender(name, numerics, obstacle, jax_builder(rollout), own=True)


def jax_builder(rollout: Callable[[Case, str, int], Callable]) -> Callable[[Case, str, int], Program]:
    """Return the `build` of a solver in JAX, from a function of case, task and steps that gives ``omega -> omega``."""

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
