"""Ornstein-Uhlenbeck noise on a ring of wavenumbers."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._checks import check_non_negative, check_positive
from .._discretisation import Discretisation
from .._grid import Grid
from .._modes import between, check_resolved
from .._parameters import broadcast, parameter
from .._show import show
from .._terms import check_pair
from .._types import align
from ._laws import Law, Space, Steps


class OrnsteinUhlenbeck(Law):
    """Noise with a correlation time, on a ring of wavenumbers: each mode is an Ornstein-Uhlenbeck process.

    All modes with ``|k| / k1`` in the ring have independent complex amplitudes of the same variance. These are
    stationary from the first step on, and advance from one step to the next by the exact solution,

        x_(n+1) = exp(-dt / tau) x_n + sqrt(1 - exp(-2 dt / tau)) xi_(n+1),

    with xi normal. The force is constant over a step. Over steps of time distance s it has zero mean and

        E <f(t) f(t + s)> = amplitude^2 exp(-s / tau)

    (Uhlenbeck and Ornstein 1930, doi:10.1103/PhysRev.36.823; as a forcing of turbulence Eswaran and Pope 1988,
    doi:10.1016/0045-7930(88)90013-8).

    The number xi of a mode follows from the key, the number of the step and the place of the mode in the ring. So the
    noise is the same for both backends and discretisations, both dtypes, any adjoint and saves, and all grids of the
    same extent that resolve the ring. Waves of two points are left out.

    Args:
        key: a key of `jax.random.key`, whose noise all members share; or keys ``(...)``, one a member, as of
            ``jax.random.split(key, members)``. A solver with a key is differentiated by `eqx.filter_grad`.
        wavenumbers: the ring ``(lowest, highest)``, in multiples of ``k1 = 2 pi / max(Ly, Lx)``.
        amplitude: root mean square of f [1 / time^2], a number or an array ``(...)`` like the leading axes of a state.
        correlation_time: tau [time], positive, likewise.

    Raises:
        TypeError: `key` is not a new-style key, or an argument has another type.
        ValueError: a number is out of its range.
    """

    key: Array
    amplitude: Array
    correlation_time: Array
    wavenumbers: tuple[float, float] = eqx.field(static=True)

    def __init__(self, *, key: Any, wavenumbers: tuple[float, float], amplitude, correlation_time):
        if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
            raise TypeError(f"key={show(key)}: expected a key from jax.random.key(seed), or an array of keys")
        lowest, highest = check_pair("wavenumbers", wavenumbers)
        for value in (lowest, highest):
            check_positive("wavenumbers", value, static=True)
        if lowest > highest:
            raise ValueError(f"wavenumbers={show(wavenumbers)}: expected the lowest one first")
        self.key = key
        self.wavenumbers = float(lowest), float(highest)
        self.amplitude = parameter("amplitude", amplitude, check_non_negative)
        self.correlation_time = parameter("correlation_time", correlation_time, check_positive)

    def check(self, grid: Grid, discretisation: Discretisation) -> None:
        """Check that the discretisation resolves the ring, and that it holds a mode.

        Raises:
            ValueError: it does not.
        """
        check_resolved("wavenumbers", self.wavenumbers[1], grid, discretisation)
        if not len(self._modes(grid)[0]):
            raise ValueError(f"wavenumbers={self.wavenumbers}: the ring holds no mode; widen it")

    def _modes(self, grid):
        """Return the waves a side along y and x of the modes of the ring, without their conjugates.

        Their order does not depend on the points of the grid.
        """
        (ny, nx), longest = grid.shape, max(grid.extent)
        my, mx = np.arange(-((ny - 1) // 2), (ny + 1) // 2), np.arange((nx + 1) // 2)
        of_y, of_x = (longest / side for side in grid.extent)
        there = between(np.hypot(of_x * mx[:, None], of_y * my[None, :]), *self.wavenumbers)
        there &= (mx[:, None] > 0) | (my[None, :] > 0)
        x, y = np.nonzero(there)
        return my[y], mx[x]

    def _spread(self, name, value, omega):
        if name != "key":
            return super()._spread(name, value, omega)
        lead = omega.shape[:-2]
        return (broadcast(name, value, lead, lead, omega) if value.ndim else value).reshape(1, -1)

    def _normal(self, number, count):
        """Return the numbers xi of a step, ``(keys, count, 2)``. They are the same for both dtypes."""

        def draw(key):
            return jax.random.normal(jax.random.fold_in(key, number), (count, 2), "float32")

        return jax.vmap(draw)(self.key[0]).astype(self.amplitude.dtype)

    def _factors(self, dt):
        """Return ``exp(-dt / tau)`` and ``sqrt(1 - exp(-2 dt / tau))``, each ``(members or 1, 1, 1)``."""
        lags = (dt / self.correlation_time)[0][:, None, None]
        return jnp.exp(-lags), jnp.sqrt(-jnp.expm1(-2 * lags))

    def start(self, space: Space, first: Array | None, dt: Array) -> Array:
        """Return the amplitudes of the first step ``(members or 1, modes, 2)``, of variance 1."""
        count, (decay, drive) = len(self._modes(space.grid)[0]), self._factors(dt)
        x = self._normal(0, count)
        x, decay, drive = align(x, decay, drive)
        x = jnp.broadcast_to(x, (max(len(x), len(decay)), *x.shape[1:])) if len(x) != len(decay) else x
        if first is None:
            return x
        return jax.lax.fori_loop(0, first, lambda n, x: decay * x + drive * self._normal(n + 1, count), x)

    def window(self, carry: Array, steps: Steps, space: Space) -> tuple[Array, Array]:
        """Return the amplitudes of the step after these, and the forces."""
        my, mx = self._modes(space.grid)
        decay, drive = self._factors(steps.dt)
        later = jax.vmap(lambda n: self._normal(n + 1, len(my)))(steps.number[:, 0])

        def body(x, xi):
            return decay * x + drive * xi, x

        carry, x = jax.lax.scan(body, carry, later)
        ny, nx = space.grid.shape
        size = self.amplitude * math.sqrt(ny * nx / (4 * len(my)))  # E <f^2> is twice the sum over half the modes
        x = x * size[:, :, None, None]
        spectrum = jnp.zeros((*x.shape[:2], ny, nx // 2 + 1), jax.lax.complex(x, x).dtype)
        value, alone = jax.lax.complex(x[..., 0], x[..., 1]), mx == 0
        spectrum = spectrum.at[..., my % ny, mx].set(value)
        spectrum = spectrum.at[..., -my[alone] % ny, 0].set(jnp.conj(value[..., alone]))  # the field is real
        return carry, space.state_of_spectrum(spectrum)
