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


@dataclasses.dataclass(frozen=True)
class Exchange:
    """The map from the messages of all slabs to what enters each, on the devices of a `shard_map`."""

    grid: DividedGrid

    def __call__(self, message: Message) -> Message:
        """Return what enters this slab, less what entered it alone, and the rows beyond its edges."""
        everyone, here = self._gather(message)
        before, after = (here - 1) % self.grid.parts, (here + 1) % self.grid.parts
        return Message(
            self._carried(everyone.south, here, -1),
            self._carried(everyone.north, here, 1),
            self._of_mean(everyone.mean)[here],
            everyone.last[before],
            everyone.first[after],
        )

    def transposed(self, cotangent: Message) -> Message:
        """Return the cotangent of this slab's message."""
        everyone, here = self._gather(cotangent)
        before, after = (here - 1) % self.grid.parts, (here + 1) % self.grid.parts
        return Message(
            self._carried(everyone.south, here, 1),
            self._carried(everyone.north, here, -1),
            jax.linear_transpose(self._of_mean, everyone.mean)(everyone.mean)[0][here],
            everyone.last[before],
            everyone.first[after],
        )

    def _gather(self, message):
        """Return the messages of all slabs along a new first axis, by one collective, and the number of this one."""
        parts = [part for z in message[:2] for part in (z.real, z.imag)] + list(message[2:])
        ends = np.cumsum([part.shape[-1] for part in parts])[:-1]
        everyone = jax.lax.all_gather(jnp.concatenate(parts, axis=-1), self.grid.axis)
        a, b, c, d, *rest = jnp.split(everyone, ends, axis=-1)
        return Message(jax.lax.complex(a, b), jax.lax.complex(c, d), *rest), jax.lax.axis_index(self.grid.axis)

    def _carried(self, everyone, here, sign):
        """Return the sum over t of ``c_t everyone[here + sign t]``, less this slab's own."""
        parts = self.grid.parts
        in_order = jnp.take(everyone, (here + sign * np.arange(1, parts + 1, dtype=np.int32)) % parts, axis=0)
        weights = jnp.asarray(constants(self.grid).weights, everyone.real.dtype)
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
