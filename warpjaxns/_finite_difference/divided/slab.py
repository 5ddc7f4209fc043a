"""A slab of a divided grid, as a domain of `algebra`: its m rows, then row m and row -1, which are its neighbours'.

A periodic stencil on these m + 2 rows is right on the first m.

Every function runs on each device, inside a `shard_map` over the axis of the mesh that divides the grid. `surround` and
`gather` have one collective each.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..._coefficients import eigenvalues
from ..._grid import DividedGrid, Grid
from .entering import Exchange, Message, constants, scaled


@dataclasses.dataclass(frozen=True)
class Slab:
    """The slab of this device."""

    divided: DividedGrid

    @property
    def grid(self) -> Grid:
        """A periodic grid of the slab's rows and one more on either side, whose outermost results are not used."""
        return self.divided.of_rows(self.divided.rows + 2)

    def surround(self, omega):
        """Return the state and its streamfunction, each with the rows around the slab."""
        alone, sums = self._alone(omega)
        entering = Exchange(self.divided)(Message(*sums, omega[:, 0], omega[:, -1]))
        rows = jnp.concatenate([omega, entering.last[:, None], entering.first[:, None]], axis=1)
        return rows, self._with_all(alone, entering[:3])

    def gather(self, omega, psi):
        """Return the transpose of `surround`."""
        like = jax.ShapeDtypeStruct(self.trim(omega).shape, omega.dtype)
        alone, sums = jax.eval_shape(self._alone, like)
        to_alone, (south, north, mean) = jax.linear_transpose(self._with_all, alone, sums)(psi)
        cotangent = Message(south, north, mean, omega[:, -1], omega[:, -2])
        to_message = Exchange(self.divided).transposed(cotangent)
        (to_omega,) = jax.linear_transpose(self._alone, like)((to_alone, tuple(to_message[:3])))
        others = self.divided.rows - 1
        first = jnp.pad(to_message.first[:, None], ((0, 0), (0, others), (0, 0)))
        last = jnp.pad(to_message.last[:, None], ((0, 0), (others, 0), (0, 0)))
        return self.trim(omega) + to_omega + (first + last)

    def pad(self, field):
        """Return a field with rows of zeros around."""
        return jnp.pad(field, ((0, 0), (0, 2), (0, 0)))

    def trim(self, field):
        """Return a field without the rows around."""
        return field[:, :-2]

    def rows_of(self, fields, number, first: int, count: int):
        """Return rows of one of several fields, ``(numbers, batch, rows, nx)``. `number`: an int32, or an integer."""
        zero, (_, batch, _, nx) = np.int32(0), fields.shape
        return jax.lax.dynamic_slice(fields, (number, zero, np.int32(first), zero), (1, batch, count, nx))[0]

    def _alone(self, omega):
        """Return transformed rows of psi as if the slab were periodic, and the first three parts of a `Message`."""
        m, real, about = self.divided.rows, omega.dtype, constants(self.divided)
        rate, around = (jnp.asarray(values, real) for values in (about.rate, about.around))
        rows = jnp.fft.rfft(omega, axis=-1)
        psi = jnp.fft.ifft(scaled(self._green(real)[None], jnp.fft.fft(rows, axis=1)), axis=1)
        j = jnp.arange(m, dtype=real)[:, None]
        south = jnp.sum(scaled(jnp.exp(-rate[None] * (m - 1 - j))[None], rows), axis=1)
        north = jnp.sum(scaled(jnp.exp(-rate[None] * j)[None], rows), axis=1)
        means = rows[:, :, 0].real
        mean = jnp.mean(means, axis=1, keepdims=True)
        p = -jnp.mean((m - j[:, 0])[None] * (means - mean), axis=1)
        q = psi[:, 0, 0].real / self.divided.spacing[0] ** 2
        return psi, (scaled(around[None], south), scaled(around[None], north), jnp.stack([p, mean[:, 0], q], axis=-1))

    def _with_all(self, alone, entering):
        """Return psi and the rows around it, from the results of `_alone` and of `Exchange`."""
        south, north, mean = entering
        m, about, real = self.divided.rows, constants(self.divided), mean.dtype
        rate, green = (jnp.asarray(values, real) for values in (about.rate, about.green))
        j = jnp.asarray([*range(m + 1), -1], real)[:, None]
        others = scaled(jnp.exp(-rate[None] * (j + 1))[None], scaled(green[None], south)[:, None])
        others += scaled(jnp.exp(-rate[None] * (m - j))[None], scaled(green[None], north)[:, None])
        dp, excess, dq = (part[:, None, None] for part in (mean[:, 0], mean[:, 1], mean[:, 2]))
        of_mean = dq + (m - j)[None] * dp + ((m * (m + 1) - j * (j + 1)) / 2)[None] * excess
        is_mean = (np.arange(rate.size) == 0)[None, None]
        of_mean = jnp.where(is_mean, self.divided.spacing[0] ** 2 * of_mean, jnp.zeros((), real))
        around = jnp.concatenate([alone, alone[:, :1], alone[:, -1:]], axis=1) + others
        spectra = jax.lax.complex(around.real + of_mean, around.imag)
        return jnp.fft.irfft(spectra, n=self.divided.shape[1], axis=-1)

    def _green(self, real):
        """Return the inverse of minus the Laplacian of a periodic slab, made from two short tables."""
        shape = self.divided.rows, self.divided.shape[1]
        along_y, along_x = (jnp.asarray(values, real) for values in eigenvalues(shape, self.divided.spacing))
        denominator = along_y[:, None] + along_x[None, : shape[1] // 2 + 1]
        return jnp.where(denominator > 0, 1 / jnp.where(denominator > 0, denominator, 1), 0)
