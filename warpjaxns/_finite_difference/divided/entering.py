"""Needs of a device in order to solve the Poisson equation of its slab, and the one message that meets them.

For one wavenumber along x, psi is a sum over all rows, ``psi_j = g sum_i r^|i-j| omega_i``, with r of
`_coefficients.modes_of` and ``g = dy^2 r / (1 - r^2)``. The rows to the south of a slab of m rows enter by one number
at row -1, and those to the north by one at row m:

    p = sum_(i < 0) r^(-1-i) omega_i,    s = sum_(i >= m) r^(i-m) omega_i

A slab first solves alone, as if its m rows were periodic. Then its own rows enter, repeated for ever:

    p' = sum_j r^(m-1-j) omega_j / (1 - r^m),    s' = sum_j r^j omega_j / (1 - r^m)

These two numbers are its message. With R = r^m and slabs counted around the box, the P slabs of all give

    p_d = sum_(t = 1...P) c_t p'_(d-t),    s_d = sum_t c_t s'_(d+t),    c_t = (1 - R) / (1 - R^P) R^(t-1)

and the solution differs from the periodic one by ``g (r^(j+1) (p - p') + r^(m-j) (s - s'))`` at row j, from -1 to m. So
rows of psi beyond the slab need no message of their own.

The mean over x has r = 1. There psi = dy^2 q, with two sums ``p_j = p_(j-1) + v_j`` and ``q_j = p_j + q_(j+1)`` of v,
omega less its mean. The slab alone subtracts its own mean, and sends three real numbers, ``(p_(-1), mean, q_m)``.
Let D be its mean less that of all rows. Then p differs by dp + (j + 1) D, and

    q_j differs by dq + (m - j) dp + (m (m + 1) - j (j + 1)) / 2 D

**Near**: numbers of short waves decay within a slab. Where R is less than a rounding error, p and s are those of the
next slab, ``c_1 p'_(d-1)`` and ``c_1 s'_(d+1)``. So only the `far` wavenumbers, the first ones, need all slabs.

`transposed` is the transpose of this map from the messages of all slabs to what enters each. It swaps the directions
of p and s, and has a message of the same size. So reverse mode communicates as often as forward mode.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._coefficients import column_modes
from ..._grid import DividedGrid

ENOUGH = 2**24  # bytes, which take as long as two more collectives: 25 µs each, at some 350 GB/s


class Message(NamedTuple):
    """The message of a slab, what enters it, or the cotangents of these. All have leading axes.

    `south`, `north`: complex ``(wavenumbers,)``, p and s. `mean`: ``(3,)``. `first`, `last`: ``(nx,)``, rows of the
    state: those at the slab's edges as a message, and those beyond them as what enters.
    """

    south: Any
    north: Any
    mean: Any
    first: Any
    last: Any


class Constants(NamedTuple):
    """Constants of each wavenumber along x, float64: -log r, g, 1 / (1 - r^m), and c_t ``(P, wavenumbers)``.

    The last three are 0 for the mean over x.
    """

    rate: np.ndarray
    green: np.ndarray
    around: np.ndarray
    weights: np.ndarray


@functools.lru_cache(maxsize=64)
def constants(grid: DividedGrid) -> Constants:
    """Return the constants of a grid."""
    rate, _, _, factor, both = column_modes(grid.shape, grid.spacing).T
    there, turns = np.where(rate > 0, 1.0, 0.0), np.arange(grid.parts)[:, None]
    slab = np.expm1(-np.where(rate > 0, rate, 1) * grid.rows)
    box = np.expm1(-np.where(rate > 0, rate, 1) * grid.shape[0])
    weights = there * slab / box * np.exp(-rate * grid.rows * turns)
    return Constants(rate, 2 * grid.shape[1] * factor * both, -there / slab, weights)


def scaled(factors, numbers):
    """Return real factors times complex numbers, which strict promotion of types has no product for."""
    return jax.lax.complex(factors * numbers.real, factors * numbers.imag)


def far(grid: DividedGrid, real) -> int:
    """Return the number of wavenumbers whose sums reach further than the next slab, in a float type."""
    return int(np.sum(constants(grid).rate * grid.rows < -np.log(np.finfo(real).eps / 4)))


def to_neighbours(grid: DividedGrid, batch: int, real) -> bool:
    """Return whether short waves go to the neighbours only. With `exchange="auto"`: if that spares enough bytes."""
    if grid.exchange != "auto":
        return grid.exchange == "near"
    short = grid.shape[1] // 2 + 1 - far(grid, real)
    spared = (grid.parts - 1) * (4 * short + 2 * grid.shape[1]) - 2 * (2 * short + grid.shape[1])
    return batch * spared * np.dtype(real).itemsize > ENOUGH


@dataclasses.dataclass(frozen=True)
class Exchange:
    """The map from the messages of all slabs to what enters each, on the devices of a `shard_map`."""

    grid: DividedGrid

    def __call__(self, message: Message) -> Message:
        """Return what enters this slab, less what entered it alone, and the rows beyond its edges."""
        south, north, *rest = self._exchange(message, self._of_mean)
        return Message(south, north, *rest)

    def transposed(self, cotangent: Message) -> Message:
        """Return the cotangent of this slab's message."""

        def transposed_mean(everyone):
            return jax.linear_transpose(self._of_mean, everyone)(everyone)[0]

        swapped = cotangent._replace(south=cotangent.north, north=cotangent.south)
        north, south, *rest = self._exchange(swapped, transposed_mean)
        return Message(south, north, *rest)

    def _exchange(self, message, of_mean):
        """Return sums from the south, sums from the north, numbers of the mean, and the rows beyond the edges."""
        to_all = message.south.shape[-1]
        near = to_neighbours(self.grid, message.first.shape[0], message.first.dtype)
        if near:
            to_all = far(self.grid, message.first.dtype)
        south, north = message.south[..., :to_all], message.north[..., :to_all]
        numbers = [part for z in (south, north) for part in (z.real, z.imag)]
        numbers += [message.mean] if near else message[2:]
        everyone, here = jax.lax.all_gather(_packed(numbers), self.grid.axis), jax.lax.axis_index(self.grid.axis)
        a, b, c, d, mean, *rows = _unpacked(everyone, numbers)
        sums = self._carried(jax.lax.complex(a, b), here, -1), self._carried(jax.lax.complex(c, d), here, 1)
        if near:
            from_south, last = self._shifted(message.south, message.last, to_all, 1)
            from_north, first = self._shifted(message.north, message.first, to_all, -1)
            sums = (jnp.concatenate(both, axis=-1) for both in zip(sums, (from_south, from_north), strict=True))
        else:
            last, first = (rows[i][(here + step) % self.grid.parts] for i, step in ((1, -1), (0, 1)))
        return *sums, of_mean(mean)[here], last, first

    def _shifted(self, sums, row, start, step):
        """Return sums of short waves of the slab so many places before, less this slab's own, and its row."""
        short, parts = sums[..., start:], self.grid.parts
        numbers = [short.real, short.imag, row]
        turned = [(i, (i + step) % parts) for i in range(parts)]
        real, imag, row = _unpacked(jax.lax.ppermute(_packed(numbers), self.grid.axis, turned), numbers)
        weights = jnp.asarray(constants(self.grid).weights[0, start:], row.dtype)
        return scaled(weights[None], jax.lax.complex(real, imag)) - short, row

    def _carried(self, everyone, here, sign):
        """Return the sum over t of ``c_t everyone[here + sign t]``, less this slab's own."""
        parts = self.grid.parts
        in_order = jnp.take(everyone, (here + sign * np.arange(1, parts + 1, dtype=np.int32)) % parts, axis=0)
        weights = jnp.asarray(constants(self.grid).weights[:, : everyone.shape[-1]], everyone.real.dtype)
        return jnp.sum(scaled(weights[:, None], in_order), axis=0) - everyone[here]

    def _of_mean(self, everyone):
        """Return ``(dp, D, dq)`` of all slabs from ``(p_(-1), mean, q_m)`` of all slabs, ``(P, batch, 3)``."""
        ny, m = self.grid.shape[0], self.grid.rows
        p, mean, q = everyone[..., 0], everyone[..., 1], everyone[..., 2]
        triangle = m * (m + 1) / 2
        excess = mean - jnp.mean(mean, axis=0, keepdims=True)
        reached = m * (jnp.cumsum(excess, axis=0) - excess)  # p_(-1), up to a constant
        sums = m * (reached - p) + triangle * excess  # of p over each slab; alone it has none
        mean_p = jnp.sum(sums, axis=0, keepdims=True) / ny
        dp, sums = reached - mean_p - p, sums - m * mean_p
        dq = jnp.sum(sums, axis=0, keepdims=True) - jnp.cumsum(sums, axis=0) - q
        psi = m * dq + triangle * dp + (m * triangle - (m - 1) * triangle / 3) * excess  # sums of q over each slab
        return jnp.stack([dp, excess, dq - jnp.sum(psi, axis=0, keepdims=True) / ny], axis=-1)


def _packed(numbers):
    return jnp.concatenate(numbers, axis=-1)


def _unpacked(packed, like):
    return jnp.split(packed, np.cumsum([part.shape[-1] for part in like])[:-1], axis=-1)
