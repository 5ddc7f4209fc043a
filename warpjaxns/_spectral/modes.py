"""The modes that a spectral state keeps, and its coefficients.

A state holds the modes ``0 <= mx <= Kx, |my| <= Ky`` of a real field; the others follow from ``conj``. Its array is
``(batch, Kx + 1, 2 Ky + 1, 2)``: the wavenumbers along x, then those along y in FFT order, real and imaginary parts
last. So kernels find the modes of a column of the spectrum next to each other. Coefficients are those of an
orthonormal basis: ``sigma / sqrt(ny nx)`` times those of `jnp.fft.rfft2`, where sigma is 1 for mx = 0 and sqrt(2) for
all others, which stand for two modes. So the inner product of two states is that of their fields, and what is
self-adjoint for fields is so for states. The column mx = 0 holds each of its modes twice, as m and
-m, and every operation keeps these conjugate to each other.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from .._arrays import with_axes
from .._coefficients import dealiasing_filter, kept_wavenumbers
from .._grid import Grid
from .._primitives.linear import irfft2, rfft2


@dataclasses.dataclass(frozen=True)
class Modes:
    """The modes kept on a grid."""

    grid: Grid
    dealiasing: str

    @property
    def highest(self) -> tuple[int, int]:
        """The largest wavenumbers kept, (Ky, Kx), in waves a side."""
        ky, kx = (kept_wavenumbers(n, self.dealiasing) for n in self.grid.shape)
        return ky, kx

    @property
    def shape(self) -> tuple[int, int]:
        """Wavenumbers of a state along x and along y."""
        ky, kx = self.highest
        return kx + 1, 2 * ky + 1

    @functools.cached_property
    def waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Waves a side along y and along x, float64, in arrays that broadcast to `shape`."""
        ky, kx = self.highest
        return np.r_[0 : ky + 1, -ky:0][None, :].astype(float), np.arange(kx + 1.0)[:, None]

    @property
    def wavenumbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The wavenumbers ky and kx [1 / length], float64."""
        (y, x), (height, width) = self.waves, self.grid.extent
        return 2 * math.pi / height * y, 2 * math.pi / width * x

    @property
    def squared(self) -> np.ndarray:
        """``k^2 = ky^2 + kx^2``."""
        ky, kx = self.wavenumbers
        return ky**2 + kx**2

    @property
    def inverse(self) -> np.ndarray:
        """``1 / k^2``, and 0 for the mean."""
        squared = self.squared
        squared[0, 0] = np.inf
        return 1 / squared

    @property
    def filters(self) -> tuple[np.ndarray, np.ndarray]:
        """The dealiasing filters along y and along x."""
        y, x = (dealiasing_filter(m, n, self.dealiasing) for m, n in zip(self.waves, self.grid.shape, strict=True))
        return y, x

    @property
    def filter(self) -> np.ndarray:
        """The dealiasing filter P of each mode."""
        y, x = self.filters
        return y * x

    @property
    def multiplicity(self) -> np.ndarray:
        """sigma of each mode: the root of the number of modes that a coefficient stands for."""
        return np.where(self.waves[1] > 0, math.sqrt(2), 1.0)


def times(symbol, state):
    """Return a symbol, real ``(..., 1)`` or complex ``(..., 2)``, times a state."""
    if symbol.shape[-1] == 1:
        return symbol * state
    return as_state(as_complex(symbol) * as_complex(state))


def conjugate(symbol):
    """Return the conjugate of a symbol."""
    return symbol if symbol.shape[-1] == 1 else as_state(as_complex(symbol).conj())


def constant(values: np.ndarray, like):
    """Return factors of modes, of the type of `like` and with as many axes."""
    return with_axes(jnp.asarray(values, like.dtype), like.ndim)


def as_complex(state):
    """Return the coefficients of a state as complex numbers."""
    return jax.lax.complex(state[..., 0], state[..., 1])


def as_state(coefficients):
    """Return the state with these coefficients."""
    return jnp.stack([coefficients.real, coefficients.imag], axis=-1)


def forward(modes: Modes, fields):
    """Return the coefficients of fields ``(..., ny, nx)``. The modes that a state does not keep are lost."""
    return kept(modes, rfft2(fields, norm="ortho"))


def kept(modes: Modes, spectrum):
    """Return the coefficients that a state keeps of those of ``rfft2(fields, norm="ortho")``."""
    (ky, kx), ny = modes.highest, modes.grid.shape[0]
    spectrum = spectrum[..., : kx + 1]
    both = jnp.concatenate([spectrum[..., : ky + 1, :], spectrum[..., ny - ky :, :]], axis=-2)
    both = jnp.swapaxes(both, -1, -2)
    return both * constant(modes.multiplicity, both)


def inverse(modes: Modes, coefficients):
    """Return the fields ``(..., ny, nx)`` with these coefficients."""
    (ky, kx), (ny, nx) = modes.highest, modes.grid.shape
    spectrum = jnp.swapaxes(coefficients * constant(1 / modes.multiplicity, coefficients), -1, -2)
    north, south = spectrum[..., : ky + 1, :], spectrum[..., ky + 1 :, :]
    lead, right = [(0, 0)] * (spectrum.ndim - 2), (0, nx // 2 - kx)
    parts = [jnp.pad(north, [*lead, (0, 0), right]), jnp.pad(south, [*lead, (ny - 2 * ky - 1, 0), right])]
    spectrum = jnp.concatenate(parts, axis=-2)
    return irfft2(spectrum, modes.grid.shape, norm="ortho")


def to_state(modes: Modes, field):
    """Return the state of a field ``(..., ny, nx)``. The modes that it does not keep are lost."""
    return as_state(forward(modes, field))


def to_field(modes: Modes, state):
    """Return the field of a state."""
    return inverse(modes, as_complex(state))
