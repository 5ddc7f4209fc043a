"""Advances an ensemble on its devices and copies frames to the host, one frame behind."""

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from .. import initial
from .._adjoint import Direct
from .._coarsen import coarsen
from .._solver import NavierStokes2D
from ..diagnostics import resolution
from ..experiments import peak_wavenumber
from ..forcing import kolmogorov
from .ensemble import Ensemble, drawing, member_key


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
        omega = _start(ensemble, np.asarray(members, np.uint32), device)
        omega = _rollout(solver, omega, steps=ensemble.spin_up)  # drops what the discretisation does not keep
        yield batch, 0, _observe(solver, omega, ensemble.saved_grid.shape)
        for number in range(1, ensemble.frames):
            omega = _rollout(solver, omega, steps=ensemble.save_every)
            yield batch, number, _observe(solver, omega, ensemble.saved_grid.shape)


def solver_of(ensemble: Ensemble, members: list[int]) -> NavierStokes2D:
    """Return the solver that advances members of an ensemble together."""
    parameters: dict[str, Any] = {
        name: value.astype(ensemble.precision) for name, value in ensemble.parameters(members).items()
    }
    amplitude = parameters.pop("forcing_amplitude")
    steady = None
    if ensemble.forced:
        how = {"discretisation": ensemble.discretisation, "dtype": ensemble.precision}
        unit = kolmogorov(ensemble.grid, ensemble.forcing_wavenumber, 1.0, **how)
        steady = amplitude[:, None, None] * unit[None]
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


def _start(ensemble, members, device):
    """Return the initial fields of members on a device, ``(batch, ny, nx)``."""
    if ensemble.shared_initial:
        members = np.zeros_like(members)
    with drawing():
        return _initial_fields(jax.device_put(members, device), ensemble)


@functools.partial(jax.jit, static_argnames="ensemble")
def _initial_fields(members, ensemble):
    grid, wavenumber, dtype = ensemble.grid, ensemble.initial_wavenumber, ensemble.precision

    def field(member):
        key = jax.random.fold_in(member_key(ensemble.seed, member), 0)
        if ensemble.initial == "random_vorticity":
            return initial.random_vorticity(grid, key=key, max_wavenumber=wavenumber or 4.0, dtype=dtype)
        how = {"peak_wavenumber": wavenumber or peak_wavenumber(grid), "discretisation": ensemble.discretisation}
        return initial.decaying_turbulence(grid, key=key, dtype=dtype, **how)

    return jax.vmap(field)(members)


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
