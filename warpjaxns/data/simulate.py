"""Advances an ensemble on its devices and copies frames to the host, one frame behind."""

import contextlib
import dataclasses
import functools
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import initial
from .._adjoint import Direct
from .._coarsen import coarsen
from .._scalars import Scalar, State, vorticity_in
from .._show import show
from .._solver import NavierStokes2D
from ..diagnostics import enstrophy, resolution
from ..experiments import peak_wavenumber
from ..forcing import Law, kolmogorov, ring_noise
from ..forcing._drive import parts_of
from .drawing import drawing, member_key
from .ensemble import WAVENUMBERS, Ensemble
from .functions import name_of
from .parts import Steady

MEDIUM = {"obstacle", "topography", "mean_flow"}  # what a function of a user makes of a member's box
NOISE_STEPS = 32  # steps for which noise is in memory


class Frame(NamedTuple):
    """The members of a batch at one time, in the axes of The Well: x comes before y."""

    fields: dict[str, Any]  # (batch, nx, ny) float32, and velocity (batch, nx, ny, 2): u, v
    finite: np.ndarray | jax.Array  # (batch,) bool: squares of all fields of a member are finite
    error: np.ndarray | jax.Array  # (batch,): the estimate of `diagnostics.resolution`


def simulate(ensemble: Ensemble, batches: Sequence[int], devices: Sequence[Any]) -> Iterator[tuple[int, int, Frame]]:
    """Yield the frames of batches on the host, ``(batch, number, frame)``.

    Each device has a batch of its own, and devices take turns in what is yielded. The steps towards a device's next
    frame are enqueued before its last frame is waited for, across batches too. Every batch has `batch_size` members, so
    that one program serves all. The last batch repeats its last member.
    """
    streams = deque(_stream(ensemble, batches[i :: len(devices)], device) for i, device in enumerate(devices))
    waiting = deque()
    while streams or waiting:
        if streams:
            if (enqueued := next(streams[0], None)) is None:
                streams.popleft()
            else:
                waiting.append(enqueued)
                streams.rotate(-1)
        if len(waiting) > len(streams):
            batch, number, frame = waiting.popleft()
            yield batch, number, Frame(*jax.device_get(tuple(frame)))


def devices_of_process() -> list[Any]:
    """Return the devices that compute by default: all of this process of the default kind, or one of a CPU.

    Only JAX's default device does if there is one (`jax.default_device`).
    """
    (first,) = jnp.zeros(()).devices()
    if cast(Any, jax.config).jax_default_device is not None or first.platform == "cpu":  # whose devices share its cores
        return [first]
    return [device for device in jax.local_devices() if device.device_kind == first.device_kind]


def _stream(ensemble, batches, device):
    """Yield the frames of batches on a device, enqueued one at a time."""
    for batch in batches:
        members = ensemble.members(batch)
        members += members[-1:] * (ensemble.batch_size - len(members))
        solver = jax.device_put(solver_of(ensemble, members), device)
        numbers = jax.device_put(np.asarray(members, np.uint32), device)
        state = _spun_up(ensemble, solver, _start(ensemble, members, device), numbers)
        names, shape = tuple(scalar.name for scalar in ensemble.scalars), ensemble.saved_grid.shape
        yield batch, 0, _observe(solver, state, shape, names)
        for number in range(1, ensemble.frames):
            state = _advance(ensemble, solver, state, numbers, ensemble.save_every, 1, number - 1)
            yield batch, number, _observe(solver, state, shape, names)


def solver_of(ensemble: Ensemble, members: list[int]) -> NavierStokes2D:
    """Return the solver that advances members of an ensemble together."""
    parameters: dict[str, Any] = {
        name: value.astype(ensemble.precision) for name, value in ensemble.parameters(members).items()
    }
    numbers = np.asarray(members, np.uint32)
    parameters["scalars"] = _scalars(ensemble, parameters, numbers)
    amplitude = parameters.pop("forcing_amplitude")
    for name in WAVENUMBERS:
        parameters.pop(name, None)
    steady = None
    if ensemble.forced:
        how = {"discretisation": ensemble.discretisation, "dtype": ensemble.precision}
        wavenumbers = [int(number) for number in ensemble.wavenumbers("forcing_wavenumber", members)]
        units = {number: kolmogorov(ensemble.grid, number, 1.0, **how) for number in sorted(set(wavenumbers))}
        unit = jnp.stack([units[number] for number in wavenumbers]) if len(units) > 1 else units[wavenumbers[0]][None]
        steady = amplitude[:, None, None] * unit
    if ensemble.forcing is not None:
        with _drawing(ensemble):
            own = _of_members(numbers, ensemble, ensemble.forcing, (2,))
            own = own if isinstance(own, Law) else _on_grid(own, ensemble, ensemble.forcing)
        steady = own if steady is None else steady + own
    if ensemble.medium is not None:
        with _drawing(ensemble):
            parameters |= _medium(numbers, ensemble)
    return NavierStokes2D(
        ensemble.grid,
        dt=ensemble.dt,
        forcing=steady,
        discretisation=ensemble.discretisation,
        backend=ensemble.backend,
        adjoint=Direct(),  # has the longest calls; no derivative is taken
        check_finite=False,  # every frame is checked
        **parameters,
    )


def _scalars(ensemble, parameters, numbers):
    """Return the scalars of members. Takes their numbers out of the parameters."""
    scalars = []
    for i, scalar in enumerate(ensemble.scalars):
        kappa, gx, gy, bx, by = (parameters.pop(name, None) for name in scalar.numbers)
        source = None
        if scalar.forcing is not None:
            with _drawing(ensemble):
                source = _fields(numbers, ensemble, scalar.forcing, 9, i)
        gradient, buoyancy = (None if x is None else (x, y) for x, y in ((gx, gy), (bx, by)))
        scalars.append(Scalar(diffusivity=kappa, mean_gradient=gradient, forcing=source, buoyancy=buoyancy))
    return tuple(scalars)


@contextlib.contextmanager
def _drawing(ensemble):
    """Draw in the type of the ensemble: a draw in the other type is another one."""
    with drawing(), jax.enable_x64(ensemble.precision == "float64"):
        yield


_rollout = jax.jit(NavierStokes2D.rollout, static_argnames="steps")


def _spun_up(ensemble, solver, state, numbers):
    """Return the states at the first frame. Also drops what the discretisation does not keep."""
    steady = ensemble.spin_up
    if not isinstance(steady, Steady):
        return _advance(ensemble, solver, state, numbers, steady, 0, 0)
    before, done = None, jnp.zeros(len(numbers), bool)
    for window in range(steady.limit // steady.window):
        later, means = state, []
        for piece in range(8):
            part = window * 8 + piece
            later = _advance(ensemble, solver, later, numbers, steady.window // 8, 0, part)
            means.append(enstrophy(solver.grid, vorticity_in(later)))
        mean = sum(means) / 8
        state = jax.tree.map(functools.partial(jnp.where, done[:, None, None]), state, later)
        if before is not None:
            done |= ~(jnp.abs(mean - before) > steady.tolerance * before)  # also once it is not finite
        before = mean
        if done.all():
            return state
    warnings.warn(
        f"{len(np.unique(np.asarray(numbers)[~np.asarray(done)]))} members were not steady after the {steady.limit} "
        "steps of spin_up",
        RuntimeWarning,
        stacklevel=2,
    )
    return state


def _advance(ensemble, solver, state, numbers, steps, stream, part):
    """Advance members, with the noise of a part of their run. Noise is made for some steps at a time."""
    if ensemble.noise is None or steps == 0:
        return _rollout_from(ensemble, solver, state, stream, part * steps, steps=steps)
    for first in range(0, steps, NOISE_STEPS):
        length = min(NOISE_STEPS, steps - first)
        with drawing():
            noise = _noise(numbers, ensemble, length, np.uint32(stream), np.uint32(part), np.uint32(first))
        state = _rollout_from(ensemble, solver, state, stream, part * steps + first, steps=length, forcing=noise)
    return state


def _rollout_from(ensemble, solver, state, stream, first, **how):
    """Roll out from a step of a stream, on the clock of laws: it starts with the spin-up, which is stream 0."""
    if not parts_of(solver.forcing).moving:
        return _rollout(solver, state, **how)
    spin_up = ensemble.spin_up.limit if isinstance(ensemble.spin_up, Steady) else ensemble.spin_up
    with drawing():
        return _rollout(solver, state, **how, first_step=np.int32(first + stream * spin_up))


@functools.partial(jax.jit, static_argnames=("ensemble", "steps"))
def _noise(numbers, ensemble, steps, *place):
    """Return the noise of members for some steps, ``(steps, batch, ny, nx)``."""

    def fields(number):
        key = jax.random.fold_in(member_key(ensemble.seed, number), 5)
        for index in place:
            key = jax.random.fold_in(key, index)
        how = dataclasses.asdict(ensemble.noise) | {"discretisation": ensemble.discretisation}
        return ring_noise(ensemble.grid, key=key, steps=steps, dt=ensemble.dt, dtype=ensemble.precision, **how)

    return jax.vmap(fields, out_axes=1)(numbers)


@functools.partial(jax.jit, static_argnames=("ensemble", "function", "stream"))
def _of_members(numbers, ensemble, function, stream):
    """Return what a function of a user makes for members. `stream`: numbers of its own stream of random numbers."""

    def of(member):
        return function(ensemble.grid, functools.reduce(jax.random.fold_in, stream, member_key(ensemble.seed, member)))

    return jax.vmap(of)(numbers)


def _fields(numbers, ensemble, function, *stream):
    """Return the fields that a function of a user makes for members, ``(batch, ny, nx)``."""
    return _on_grid(_of_members(numbers, ensemble, function, stream), ensemble, function)


def _on_grid(values, ensemble, function):
    shape = np.shape(values)[1:] if isinstance(values, jax.Array) else None
    if shape != ensemble.grid.shape:
        what = show(values) if shape is None else f"arrays of shape {shape}"
        raise ValueError(f"{name_of(function)} returns {what}: expected {ensemble.grid.shape}")
    return values.astype(ensemble.precision)


def _medium(numbers, ensemble):
    """Return what members meet at the points of their grid, as arguments of a solver."""

    values = _of_members(numbers, ensemble, ensemble.medium, (6,))
    if not (isinstance(values, dict) and set(values) <= MEDIUM):
        raise ValueError(
            f"{name_of(ensemble.medium)} returns {show(values)}: expected a dictionary with some of "
            f"{', '.join(sorted(MEDIUM))}"
        )
    return jax.tree.map(lambda value: value.astype(ensemble.precision), values)


def _start(ensemble, members, device):
    """Return the initial states of members on a device, of fields ``(batch, ny, nx)``."""
    members = [0] * len(members) if ensemble.shared_initial else members
    numbers = jax.device_put(np.asarray(members, np.uint32), device)
    with _drawing(ensemble):
        omega = _initial_vorticity(ensemble, members, numbers)
        functions = [scalar.initial for scalar in ensemble.scalars]
        scalars = [
            jnp.zeros_like(omega) if function is None else _fields(numbers, ensemble, function, 8, i)
            for i, function in enumerate(functions)
        ]
    return State(omega, tuple(scalars)) if scalars else omega


def _initial_vorticity(ensemble, members, numbers):
    if callable(ensemble.initial):
        return _fields(numbers, ensemble, ensemble.initial, 0)
    if not ensemble.varying("initial_wavenumber"):
        return _initial_fields(numbers, ensemble, ensemble.initial_wavenumber)
    wavenumbers = ensemble.wavenumbers("initial_wavenumber", members)
    fields = [_draw(numbers[i : i + 1], ensemble, float(k)) for i, k in enumerate(wavenumbers)]
    return jnp.concatenate(fields)  # not jitted, since each wavenumber would be compiled


def _draw(members, ensemble, wavenumber):
    grid, dtype = ensemble.grid, ensemble.precision

    def field(member):
        key = jax.random.fold_in(member_key(ensemble.seed, member), 0)
        if ensemble.initial == "random_vorticity":
            return initial.random_vorticity(grid, key=key, max_wavenumber=wavenumber or 4.0, dtype=dtype)
        how = {"peak_wavenumber": wavenumber or peak_wavenumber(grid), "discretisation": ensemble.discretisation}
        return initial.decaying_turbulence(grid, key=key, dtype=dtype, **how)

    return jax.vmap(field)(members)


_initial_fields = jax.jit(_draw, static_argnames=("ensemble", "wavenumber"))


@functools.partial(jax.jit, static_argnames=("shape", "names"))
def _observe(solver, state, shape, names):
    """Return the frame of a state of fields ``(batch, ny, nx)``, on `shape` points. `names`: those of its scalars."""

    def saved(field):
        return jnp.swapaxes(coarsen(solver.grid, field, shape), -2, -1).astype(jnp.float32)

    vorticity, *scalars = map(saved, jax.tree.leaves(state))
    velocity = jnp.stack(tuple(map(saved, solver.velocity(state))), axis=-1)
    fields = {"vorticity": vorticity, "velocity": velocity, **dict(zip(names, scalars, strict=True))}
    # Values are checked in float32, as they will be written. Their squares overflow some steps before they do.
    squares = [jnp.sum(field**2, axis=tuple(range(1, field.ndim))) for field in fields.values()]
    return Frame(fields, jnp.isfinite(sum(squares)), resolution(solver, state).error)
