"""Experiments: the perturbation of a turbulent flow that grows most.

Two rollouts start from a vorticity field omega0 [1/time] and from omega0 + delta. Gradient ascent through the
solver finds the delta, no larger than a given radius, that drives them furthest apart:

    minimise  -<(rollout(omega0 + delta) - rollout(omega0))^2>   over   |delta| <= radius |omega0|,

where <.> is the mean over the box and |.| the root of the sum of squares. Needs Optax (the extra ``plot``).
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from ._checks import FLOATS, check_count, check_field, check_grid, check_key, check_positive
from ._grid import Grid
from ._operators import projected
from ._show import show
from ._solver import NavierStokes2D, check_solver
from .diagnostics import fundamental_wavenumber
from .initial import decaying_turbulence

__all__ = [
    "OptimalPerturbation",
    "developed_turbulence",
    "gain",
    "optimal_perturbation",
    "peak_wavenumber",
    "random_perturbation",
]

Report = Callable[[int, float, float], None]


def __dir__():
    return __all__


@dataclasses.dataclass(frozen=True)
class OptimalPerturbation:
    """The result of `optimal_perturbation`. Fields are vorticities ``(ny, nx)`` [1/time].

    Attributes:
        solver: the solver that advanced the fields.
        steps: time steps of each rollout.
        base: omega0, the start of the unperturbed rollout.
        perturbation: delta after the last iteration.
        final_base: the final state from `base`.
        final_perturbed: the final state from ``base + perturbation``.
        losses: ``(iterations,)``, the loss at the start of each iteration, before its update [1/time^2].
        norms: ``(iterations,)``, ``|delta| / |omega0|`` after each update.
        seconds: ``(iterations,)``, wall time from the end of one iteration to that of the next, without compilation.
        compile_seconds: wall time of tracing and compiling one iteration.
        memory: bytes that one compiled iteration needs, arguments included; None where XLA reports none.
    """

    solver: NavierStokes2D
    steps: int
    base: Float[Array, "ny nx"]
    perturbation: Float[Array, "ny nx"]
    final_base: Float[Array, "ny nx"]
    final_perturbed: Float[Array, "ny nx"]
    losses: np.ndarray
    norms: np.ndarray
    seconds: np.ndarray
    compile_seconds: float
    memory: int | None

    @property
    def lead_time(self) -> float:
        """Time from the perturbation to the final fields, ``steps dt`` [time]."""
        return self.steps * float(self.solver.dt)

    @property
    def loss(self) -> float:
        """The loss of the returned perturbation, after the last update [1/time^2]."""
        return -float(jnp.mean((self.final_perturbed - self.final_base) ** 2))

    @property
    def gain(self) -> float:
        """Growth of the squared perturbation, ``|difference at the end|^2 / |delta|^2``."""
        return -self.loss / float(jnp.mean(self.perturbation**2))

    @property
    def seconds_per_iteration(self) -> float:
        """Median wall time of an iteration [s]."""
        return float(np.median(self.seconds))


def developed_turbulence(
    solver: NavierStokes2D, *, key: Key[Array, ""], spin_up: int = 500, dtype: DTypeLike | None = None
) -> Float[Array, "ny nx"]:
    """Return decaying turbulence [1/time] after `spin_up` steps, in which random phases have become vortices.

    It starts from `initial.decaying_turbulence` with the peak at `peak_wavenumber`.

    Args:
        solver: advances the field.
        key: one key of `jax.random.key`.
        spin_up: time steps, zero or more.
        dtype: float32 or float64; None for JAX's default float type.

    Raises:
        TypeError: an argument has another type.
        ValueError: `spin_up` is negative, or the flow carries scalars.
        RuntimeError: the flow became non-finite (unless the solver's `check_finite` is off).
    """
    check_solver(solver, alone=True)
    spin_up = check_count("spin_up", spin_up, least=0)
    how = {"peak_wavenumber": peak_wavenumber(solver.grid), "discretisation": solver.discretisation}
    omega = decaying_turbulence(solver.grid, key=key, dtype=dtype, **how)
    return _rollout(solver, omega, steps=spin_up)


def peak_wavenumber(grid: Grid) -> float:
    """Return the peak of the spectrum in multiples of ``2 pi / max(extent)``: 12, or less to have 16 points a wave."""
    check_grid(grid)
    shortest_wave = 16 * max(grid.spacing)
    return min(12.0, 2 * math.pi / shortest_wave / fundamental_wavenumber(grid))


def random_perturbation(base: Float[Array, "ny nx"], *, norm: float, key: Key[Array, ""]) -> Float[Array, "ny nx"]:
    """Return white Gaussian noise of size ``|delta| = norm |base|``, of the shape, dtype and unit of `base`.

    Args:
        base: vorticity ``(ny, nx)`` [1/time].
        norm: size of the noise relative to `base`, positive.
        key: one key of `jax.random.key`.

    Raises:
        TypeError: `base` is not a float32 or float64 array, `key` not a new-style key, or `norm` not a real number.
        ValueError: `norm` is not positive.
    """
    if not isinstance(base, jax.Array | np.ndarray) or base.dtype not in FLOATS:
        raise TypeError(f"base={show(base)}: expected a float32 or float64 array (ny, nx)")
    check_key("key", key)
    check_positive("norm", norm)
    noise = jax.random.normal(key, base.shape, base.dtype)
    return noise * (jnp.asarray(norm, base.dtype) * jnp.linalg.norm(base) / jnp.linalg.norm(noise))


def gain(
    solver: NavierStokes2D, base: Float[Array, "ny nx"], perturbation: Float[Array, "ny nx"], *, steps: int
) -> Float[Array, ""]:
    """Return the growth of a squared perturbation, ``|rollout(base + delta) - rollout(base)|^2 / |delta|^2``.

    Args:
        solver: advances the fields.
        base: vorticity ``(ny, nx)`` [1/time].
        perturbation: delta ``(ny, nx)`` [1/time], not zero.
        steps: time steps of each rollout.

    Raises:
        TypeError: an argument has another type.
        ValueError: a field does not live on the solver's grid, `steps` is negative, or the flow carries scalars.
        RuntimeError: a flow became non-finite (unless the solver's `check_finite` is off).
    """
    check_solver(solver, alone=True)
    steps = check_count("steps", steps, least=0)
    base, perturbation = check_field("base", base, solver.grid), check_field("perturbation", perturbation, solver.grid)
    apart = _rollout(solver, base + perturbation, steps=steps) - _rollout(solver, base, steps=steps)
    return jnp.sum(apart**2) / jnp.sum(perturbation**2)


def optimal_perturbation(
    solver: NavierStokes2D,
    base: Float[Array, "ny nx"],
    perturbation: Float[Array, "ny nx"],
    *,
    steps: int,
    radius: float = 0.2,
    learning_rate: float = 0.01,
    iterations: int = 300,
    report: Report | None = None,
) -> OptimalPerturbation:
    """Find the perturbation that makes two rollouts diverge most, by Adam with projection onto a ball.

    Each iteration computes the loss ``-<(rollout(base + delta) - rollout(base))^2>`` and its gradient. It moves delta
    by Adam (Kingma and Ba, arXiv 1412.6980; default decay rates), and scales it back to ``|delta| = radius |base|``
    where it has become larger.

    Args:
        solver: advances the fields; its `adjoint` decides memory and speed.
        base: omega0, vorticity ``(ny, nx)`` [1/time], float32 or float64.
        perturbation: the first delta, of the shape and dtype of `base` [1/time]. It must not be zero, where the
            gradient vanishes.
        steps: time steps of each rollout, at least 1.
        radius: the largest ``|delta| / |base|``, positive.
        learning_rate: of Adam, positive: about the change of a value of delta in one iteration [1/time].
        iterations: number of iterations, at least 1.
        report: called after every iteration with its number from 0, the loss before its update, and
            ``|delta| / |base|`` after it.

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range, `base` or `perturbation` is zero, or the flow carries scalars.
        FloatingPointError: a loss, or one of the fields, is not finite.
    """
    check_solver(solver, alone=True)
    steps = check_count("steps", steps, least=1)
    iterations = check_count("iterations", iterations, least=1)
    check_positive("radius", radius, static=True)
    check_positive("learning_rate", learning_rate, static=True)
    base, perturbation = _check_fields(solver.grid, base, perturbation)

    unchecked = dataclasses.replace(solver, check_finite=False)  # results are checked here
    final_base = _rollout(unchecked, base, steps=steps)
    _check_finite("The unperturbed rollout", final_base)

    perturbation = jnp.array(perturbation, copy=True)  # its buffer is donated: the caller's stays
    fixed = (
        unchecked,
        base,
        final_base,
        jnp.asarray(radius, base.dtype),
        jnp.asarray(learning_rate, base.dtype),
    )
    start = time.perf_counter()
    state = _optimiser(learning_rate).init(perturbation)
    iterate = _iterate.lower(*fixed, perturbation, state, steps=steps).compile()
    compile_seconds = time.perf_counter() - start

    history, times = np.zeros((iterations, 2)), [time.perf_counter()]

    def record(i, numbers):
        loss, norm = history[i] = [float(number) for number in numbers]  # waits for the device
        times.append(time.perf_counter())
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise FloatingPointError(_not_finite(f"Iteration {i} (loss {loss}, norm {norm})"))
        if report is not None:
            report(i, loss, norm)

    before = None
    for i in range(iterations):
        perturbation, state, *numbers = iterate(*fixed, perturbation, state)
        if before is not None:  # while the device works on this iteration
            record(i - 1, before)
        before = numbers
    record(iterations - 1, before)

    final_perturbed = _rollout(unchecked, base + perturbation, steps=steps)
    _check_finite("The perturbed rollout", final_perturbed)
    losses, norms = history.T
    return OptimalPerturbation(
        solver=solver,
        steps=steps,
        base=base,
        perturbation=perturbation,
        final_base=final_base,
        final_perturbed=final_perturbed,
        losses=losses,
        norms=norms,
        seconds=np.diff(times),
        compile_seconds=compile_seconds,
        memory=_memory(iterate),
    )


_rollout = jax.jit(NavierStokes2D.rollout, static_argnames="steps")


@functools.partial(jax.jit, static_argnames="steps", donate_argnames=("perturbation", "state"))
def _iterate(solver, base, final_base, radius, learning_rate, perturbation, state, *, steps):
    """Take one step of Adam and project. Return the new perturbation and state, the old loss, and the new norm."""

    def loss_of(perturbation):
        final = solver.rollout(base + perturbation, steps=steps)
        return -jnp.mean((final - final_base) ** 2)

    loss, gradient = jax.value_and_grad(loss_of)(perturbation)
    with jax.numpy_dtype_promotion("standard"):  # Optax itself mixes types, which strict promotion refuses
        update, state = _optimiser(learning_rate).update(gradient, state)
    # Adam moves what the discretisation does not keep too
    perturbation = projected(solver.grid, perturbation + update, solver.discretisation, solver.backend)
    base_norm, norm = jnp.linalg.norm(base), jnp.linalg.norm(perturbation)
    largest = radius * base_norm
    perturbation = perturbation * (largest / jnp.maximum(norm, largest))
    return perturbation, state, loss, jnp.minimum(norm, largest) / base_norm


def _optimiser(learning_rate):
    import optax  # an extra: the solver does not need it

    return optax.adam(learning_rate, b1=0.9, b2=0.999, eps=1e-8)


def _check_fields(grid, base, perturbation):
    base = check_field("base", base, grid)
    perturbation = check_field("perturbation", perturbation, grid)
    for name, field in {"base": base, "perturbation": perturbation}.items():
        if field.ndim != 2:
            raise ValueError(f"{name} has shape {field.shape}: expected one field (ny, nx) = {grid.shape}")
        if not jnp.any(field):
            raise ValueError(f"{name} is zero everywhere: expected a field with a positive norm")
    if base.dtype != perturbation.dtype:
        raise TypeError(f"perturbation has dtype {perturbation.dtype}: expected that of base, {base.dtype}")
    return base, perturbation


def _check_finite(what, field):
    if not jnp.all(jnp.isfinite(field)):
        raise FloatingPointError(_not_finite(what))


def _not_finite(what):
    return f"{what} is not finite: try a shorter dt, a larger viscosity, or a smaller learning_rate or radius"


def _memory(compiled):
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(analysis, size) for size in sizes) - analysis.alias_size_in_bytes
