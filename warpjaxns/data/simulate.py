"""Advances an ensemble on its devices and copies frames to the host, one frame behind."""

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
from .._show import show
from .._solver import NavierStokes2D
from ..diagnostics import enstrophy, resolution
from ..experiments import peak_wavenumber
from ..forcing import Law, kolmogorov, ring_noise
from ..forcing._drive import parts_of
from .ensemble import WAVENUMBERS, Ensemble, drawing, member_key
from .functions import name_of
from .parts import Steady

MEDIUM = {"obstacle", "topography", "mean_flow"}  # what a function of a user makes of a member's box
NOISE_STEPS = 32  # steps for which noise is in memory


class Frame(NamedTuple):
    """The members of a batch at one time, in the axes of The Well: x comes before y."""

    vorticity: np.ndarray | jax.Array  # (batch, nx, ny) float32
    velocity: np.ndarray | jax.Array  # (batch, nx, ny, 2) float32: u, v
    finite: np.ndarray | jax.Array  # (batch,) bool: energy and enstrophy of a member are finite
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
        omega = _spun_up(ensemble, solver, _start(ensemble, members, device), numbers)
        yield batch, 0, _observe(solver, omega, ensemble.saved_grid.shape)
        for number in range(1, ensemble.frames):
            omega = _advance(ensemble, solver, omega, numbers, ensemble.save_every, 1, number - 1)
            yield batch, number, _observe(solver, omega, ensemble.saved_grid.shape)


def solver_of(ensemble: Ensemble, members: list[int]) -> NavierStokes2D:
    """Return the solver that advances members of an ensemble together."""
    parameters: dict[str, Any] = {
        name: value.astype(ensemble.precision) for name, value in ensemble.parameters(members).items()
    }
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
        with drawing(), jax.enable_x64(ensemble.precision == "float64"):  # a draw in the other type is another one
            own = _fields(np.asarray(members, np.uint32), ensemble, ensemble.forcing, 2)
        steady = own if steady is None else steady + own
    if ensemble.medium is not None:
        with drawing(), jax.enable_x64(ensemble.precision == "float64"):
            parameters |= _medium(np.asarray(members, np.uint32), ensemble)
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


_rollout = jax.jit(NavierStokes2D.rollout, static_argnames="steps")


def _spun_up(ensemble, solver, omega, numbers):
    """Return the states at the first frame. Also drops what the discretisation does not keep."""
    steady = ensemble.spin_up
    if not isinstance(steady, Steady):
        return _advance(ensemble, solver, omega, numbers, steady, 0, 0)
    before, done = None, jnp.zeros(len(numbers), bool)
    for window in range(steady.limit // steady.window):
        later, means = omega, []
        for piece in range(8):
            part = window * 8 + piece
            later = _advance(ensemble, solver, later, numbers, steady.window // 8, 0, part)
            means.append(enstrophy(solver.grid, later))
        mean = sum(means) / 8
        omega = jnp.where(done[:, None, None], omega, later)
        if before is not None:
            done |= ~(jnp.abs(mean - before) > steady.tolerance * before)  # also once it is not finite
        before = mean
        if done.all():
            return omega
    warnings.warn(
        f"{len(np.unique(np.asarray(numbers)[~np.asarray(done)]))} members were not steady after the {steady.limit} "
        "steps of spin_up",
        RuntimeWarning,
        stacklevel=2,
    )
    return omega


def _advance(ensemble, solver, omega, numbers, steps, stream, part):
    """Advance members, with the noise of a part of their run. Noise is made for some steps at a time."""
    if ensemble.noise is None or steps == 0:
        return _rollout_from(ensemble, solver, omega, stream, part * steps, steps=steps)
    for first in range(0, steps, NOISE_STEPS):
        length = min(NOISE_STEPS, steps - first)
        with drawing():
            noise = _noise(numbers, ensemble, length, np.uint32(stream), np.uint32(part), np.uint32(first))
        omega = _rollout_from(ensemble, solver, omega, stream, part * steps + first, steps=length, forcing=noise)
    return omega


def _rollout_from(ensemble, solver, omega, stream, first, **how):
    """Roll out from a step of a stream, on the clock of laws: it starts with the spin-up, which is stream 0."""
    if not parts_of(solver.forcing).moving:
        return _rollout(solver, omega, **how)
    spin_up = ensemble.spin_up.limit if isinstance(ensemble.spin_up, Steady) else ensemble.spin_up
    with drawing():
        return _rollout(solver, omega, **how, first_step=np.int32(first + stream * spin_up))


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
    """Return what a function of a user makes for members. `stream`: its own stream of random numbers."""
    return jax.vmap(lambda n: function(ensemble.grid, jax.random.fold_in(member_key(ensemble.seed, n), stream)))(
        numbers
    )


def _fields(numbers, ensemble, function, stream):
    """Return the fields that a function of a user makes for members, ``(batch, ny, nx)``, or the law with theirs."""

    values = _of_members(numbers, ensemble, function, stream)
    if isinstance(values, Law):
        return values
    if values.shape[1:] != ensemble.grid.shape:
        raise ValueError(
            f"{name_of(function)} returns arrays of shape {values.shape[1:]}: expected {ensemble.grid.shape}"
        )
    return values.astype(ensemble.precision)


def _medium(numbers, ensemble):
    """Return what members meet at the points of their grid, as arguments of a solver."""

    values = _of_members(numbers, ensemble, ensemble.medium, 6)
    if not (isinstance(values, dict) and set(values) <= MEDIUM):
        raise ValueError(
            f"{name_of(ensemble.medium)} returns {show(values)}: expected a dictionary with some of "
            f"{', '.join(sorted(MEDIUM))}"
        )
    return jax.tree.map(lambda value: value.astype(ensemble.precision), values)


def _start(ensemble, members, device):
    """Return the initial fields of members on a device, ``(batch, ny, nx)``."""
    members = [0] * len(members) if ensemble.shared_initial else members
    numbers = jax.device_put(np.asarray(members, np.uint32), device)
    with drawing():
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


@functools.partial(jax.jit, static_argnames="shape")
def _observe(solver, omega, shape):
    """Return the frame of a state ``(batch, ny, nx)``, on `shape` points."""
    u, v = solver.velocity(omega)
    saved = (coarsen(solver.grid, field, shape) for field in (omega, u, v))
    vorticity, u, v = (jnp.swapaxes(field, -2, -1).astype(jnp.float32) for field in saved)
    velocity = jnp.stack((u, v), axis=-1)
    # Values are checked in float32, as they will be written. Their squares overflow some steps before they do.
    finite = jnp.isfinite(jnp.sum(vorticity**2, axis=(1, 2)) + jnp.sum(velocity**2, axis=(1, 2, 3)))
    return Frame(vorticity, velocity, finite, resolution(solver, omega).error)
