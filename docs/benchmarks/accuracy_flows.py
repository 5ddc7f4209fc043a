"""The flows of `accuracy.py`, and their resolved solution by a small spectral code of its own, in float64.

It shares nothing with the codes that are measured: padded products (the 3/2 rule), the classical fourth-order
Runge-Kutta scheme, and an integrating factor for viscosity and drag.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

import warpjaxns as wns

SIDE = 2 * math.pi  # of the box
FINE = 1024  # points a side on which initial fields are drawn
WAVES = 4  # of the Kolmogorov forcing


@dataclasses.dataclass(frozen=True)
class Flow:
    """A flow from time 0 to `time`.

    Attributes:
        kind: the initial field, a name in `initial_state`.
        viscosity: nu [length^2/time].
        time: when solutions are compared.
        drag: mu [1/time].
        amplitude: of the Kolmogorov force [length/time^2], which has `WAVES` waves along y; 0 for none.
    """

    kind: str
    viscosity: float
    time: float
    drag: float = 0.0
    amplitude: float = 0.0


FLOWS = {
    "shear": Flow("shear", viscosity=1e-3, time=4.0),
    "turbulence": Flow("turbulence", viscosity=2e-3, time=1.0),
    "kolmogorov": Flow("random", viscosity=1e-3, time=2.0, drag=0.1, amplitude=1.0),
}


@functools.cache
def initial_state(kind: str) -> np.ndarray:
    """Return the Fourier coefficients of an initial vorticity, complex128 ``(FINE, FINE)``."""
    grid, key = wns.Grid((FINE, FINE), (SIDE, SIDE)), jax.random.key(3)
    with jax.enable_x64(True), jax.threefry_partitionable(True):
        if kind == "shear":
            field = wns.initial.double_shear_layer(grid, dtype="float64")
        elif kind == "turbulence":
            field = wns.initial.decaying_turbulence(grid, key=key, peak_wavenumber=6, dtype="float64")
        else:
            field = 3 * wns.initial.random_vorticity(grid, key=key, dtype="float64")
    return np.fft.fft2(np.asarray(field)) / FINE**2


def speed(kind: str) -> float:
    """Return the largest speed of an initial field [length/time]."""
    modes = 2 * math.pi / SIDE * np.fft.fftfreq(FINE, 1 / FINE)
    ky, kx = modes[:, None], modes[None, :]
    psi = initial_state(kind) / np.where(ky**2 + kx**2 == 0, 1, ky**2 + kx**2)
    return float(np.max(np.hypot(sample(1j * ky * psi, FINE), sample(1j * kx * psi, FINE))))


def sample(coefficients: np.ndarray, size: int) -> np.ndarray:
    """Return the values of a Fourier series on ``(size, size)`` points, exactly: waves beyond the grid are aliased."""
    fine = len(coefficients)
    place = np.fft.fftfreq(fine, 1 / fine).astype(int) % size
    folded = np.zeros((size, size), complex)
    np.add.at(folded, (place[:, None], place[None, :]), coefficients)
    return np.fft.ifft2(folded).real * size**2


def forcing(flow: Flow, size: int) -> np.ndarray:
    """Return the vorticity forcing on ``(size, size)`` points: the exact curl of ``fx = amplitude sin(k y)``."""
    k, y = 2 * math.pi * WAVES / SIDE, np.arange(size) * (SIDE / size)
    return np.broadcast_to((-flow.amplitude * k * np.cos(k * y))[:, None], (size, size))


def solve(flow: Flow, modes: int, steps: int) -> np.ndarray:
    """Return the Fourier coefficients of a flow at its end, waves under ``modes / 2`` along each axis, in float64.

    Args:
        flow: the flow.
        modes: waves kept along each axis; products are made on ``3 modes / 2`` points.
        steps: time steps.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        start = np.fft.rfft2(_kept(sample(initial_state(flow.kind), modes)))
        force = np.fft.rfft2(forcing(flow, modes))
        end = _solve(jnp.asarray(start), jnp.asarray(force), flow, modes, steps)
        field = jnp.fft.irfft2(end, s=(modes, modes))
        return np.fft.fft2(np.asarray(field)) / modes**2


def _kept(field):
    """Return a field without the wave of two points, whose derivative has no sign."""
    size = len(field)
    spectrum = np.fft.fft2(field)
    spectrum[size // 2], spectrum[:, size // 2] = 0, 0
    return np.fft.ifft2(spectrum).real


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _solve(start, force, flow, modes, steps):
    points, dt, half = 3 * modes // 2, flow.time / steps, modes // 2
    ky = (2 * math.pi / SIDE * np.fft.fftfreq(modes, 1 / modes))[:, None]
    kx = (2 * math.pi / SIDE * np.fft.rfftfreq(modes, 1 / modes))[None, :]
    square = ky**2 + kx**2
    inverse = np.where(square == 0, 0, 1 / np.where(square == 0, 1, square))
    inner = (np.abs(ky) < half) & (kx < half)
    factor = np.exp(-(flow.viscosity * square + flow.drag) * dt / 2)  # of half a step

    def on_points(spectrum):
        wide = jnp.zeros((points, points // 2 + 1), spectrum.dtype)
        wide = wide.at[:half, :half].set(spectrum[:half, :half])
        wide = wide.at[points - half + 1 :, :half].set(spectrum[half + 1 :, :half])
        return jnp.fft.irfft2(wide, s=(points, points)) * (points / modes) ** 2

    def rate(w):  # -u w_x - v w_y + f,  u = psi_y,  v = -psi_x
        psi = inverse * w
        u, v = on_points(1j * ky * psi), on_points(-1j * kx * psi)
        product = jnp.fft.rfft2(-u * on_points(1j * kx * w) - v * on_points(1j * ky * w)) * (modes / points) ** 2
        narrow = jnp.zeros_like(w).at[:half, :half].set(product[:half, :half])
        narrow = narrow.at[half + 1 :, :half].set(product[points - half + 1 :, :half])
        return jnp.where(inner, narrow, 0) + force

    def step(w, _):
        a = rate(w)
        b = rate(factor * (w + dt / 2 * a))
        c = rate(factor * w + dt / 2 * b)
        d = rate(factor * (factor * w + dt * c))
        return factor**2 * (w + dt / 6 * a) + dt / 3 * factor * (b + c) + dt / 6 * d, None

    return jax.lax.scan(step, start, length=steps)[0]


def error(omega: np.ndarray | jax.Array, reference: np.ndarray) -> float:
    """Return the relative L2 error of a vorticity ``(size, size)`` on its own points, as a share of the reference."""
    exact = sample(reference, len(omega))
    return float(np.linalg.norm(np.asarray(omega, np.float64) - exact) / np.linalg.norm(exact))


def resolved(flow: Flow, modes: int, steps: int) -> tuple[np.ndarray, float]:
    """Return `solve`, and its relative difference from a run with two thirds of the waves and half the steps."""
    fewer = 2 * (modes // 3)
    fine, coarse = solve(flow, modes, steps), solve(flow, fewer, steps // 2)
    return fine, error(sample(coarse, fewer), fine)
