"""The medium of a flow, obstacles and topography: one complex field at points, by which velocities are multiplied.

With the resistance r and the topography h, ``m = r - i h``, and ``z = C w`` of `reference`,

    M(m, w) = Re E[m (C w)] = -curl(r u) + J(psi, h),    E = F^-1 P conj(kappa) F

since ``-curl(r u) = Re E[r z]``, and ``J(psi, h) = -div(u h) = Re E[-i h z]``. M is linear in both, with the transposes

    <l, M(m, w)> = <w, Re C*[conj(m) E* l]> = <m, conj(C w) E* l>

It conserves energy but for r, as ``E* psi = -z`` where P is 1: ``<psi, M(m, w)> = -<r, |z|^2>``.

Symbols of real and imaginary parts are taken apart as in `reference`: ``Re E[a + i b]`` is ``-i kx a + i ky b``. Each
function makes one call for all its inverse transforms, and one for the forward ones, advection included.
"""

import jax.numpy as jnp

from .._terms import Terms
from ..obstacles import resistance
from .modes import Modes, as_complex, as_state, constant, forward, inverse
from .reference import stretching, velocity
from .terms import screened, screening


def _curl(modes: Modes, like):
    """Return ``-i P kx`` and ``i P ky``."""
    (ky, kx), filtered = modes.wavenumbers, modes.filter
    return -1j * constant(filtered * kx, like), 1j * constant(filtered * ky, like)


def _parts(medium):
    return medium[..., 0], medium[..., 1]


def _product(medium, v, u):
    """Return the real and the imaginary part of ``m (v + i u)``."""
    r, h = _parts(medium)
    return r * v + h * u, r * u - h * v


def resist(modes: Modes, medium, w):
    """Return ``M(m, w)``."""
    v, u = inverse(modes, jnp.stack(velocity(modes, as_complex(w))))
    return _of_product(modes, *_product(medium, v, u))


def _of_product(modes, real, imaginary):
    real, imaginary = forward(modes, jnp.stack([real, imaginary]))
    along, across = _curl(modes, real)
    return as_state(along * real + across * imaginary)


def advection(modes: Modes, w, medium):
    """Return ``B(w, w) + M(m, w)``."""
    v, u = inverse(modes, jnp.stack(velocity(modes, as_complex(w))))
    square, double, real, imaginary = forward(modes, jnp.stack([v * v - u * u, 2 * u * v, *_product(medium, v, u)]))
    (shear, stretch), (along, across) = stretching(modes, real), _curl(modes, real)
    return as_state(shear * square - stretch * double + along * real + across * imaginary)


def pullback(modes: Modes, w, l, medium):
    """Return half of the transpose of `advection` about w, and its cotangent of m, ``(batch, ny, nx, 2)``.

    They are ``G(w, l) + Re C*[conj(m) E* l] / 2`` and, with ``c = conj(C w) E* l``, the pair ``Re c`` and ``-Im c``.
    """
    w, l = map(as_complex, jnp.broadcast_arrays(w, l))
    (shear, stretch), (along, across) = stretching(modes, l), _curl(modes, l)
    inner = [*velocity(modes, w), shear * l, -stretch * l, -along * l, -across * l]
    v, u, real, imaginary, p, q = inverse(modes, jnp.stack(inner))
    r, h = _parts(medium)
    real, imaginary = v * real + u * imaginary, v * imaginary - u * real
    real, imaginary = real + (r * p - h * q) / 2, imaginary + (r * q + h * p) / 2
    real, imaginary = forward(modes, jnp.stack([real, imaginary]))
    ky, kx = modes.wavenumbers
    moved = as_state(1j * (constant(kx, w) * real - constant(ky, w) * imaginary) * constant(modes.inverse, w))
    return moved, jnp.stack([v * p + u * q, u * p - v * q], axis=-1)


# ------------------------------------------------------------------------------------------------ terms of a solver


def _topography(modes: Modes, terms: Terms):
    """Return the topography on the modes that a state keeps: with products exact, the flow has its invariants."""
    return inverse(modes, forward(modes, terms.topography))


def _pair(r, h):
    return jnp.stack(jnp.broadcast_arrays(r, h), axis=-1)


def _media(modes: Modes, terms: Terms, *, whole: bool = False) -> dict:
    """Return the medium of each term, by name. `whole`: where it acts on the whole flow, the mean flow included."""
    media = {}
    if terms.topography is not None:
        h = _topography(modes, terms)
        media["topography"] = _pair(jnp.zeros_like(h), h)
    if terms.obstacle is not None:
        r = resistance(terms.obstacle, whole=whole)
        media["obstacle"] = _pair(r, jnp.zeros_like(r))
    return media


def operand(modes: Modes, terms: Terms):
    """Return the operand `medium` of time steps, or None."""
    media = list(_media(modes, terms).values())
    return sum(media[1:], media[0]) if media else None


def _of_mean_flow(modes: Modes, terms: Terms) -> dict:
    """Return states that each term adds to the right-hand side whatever the state is: ``Re E[m (V + i U)]``."""
    if terms.mean_flow is None:
        return {}
    u, v = (part[:, None, None] for part in terms.mean_flow)
    media = _media(modes, terms, whole=True)
    return {name: _of_product(modes, *_product(medium, v, u)) for name, medium in media.items()}


def forcing(modes: Modes, terms: Terms):
    """Return the state that all of them add, ``(batch or 1, columns, rows, 2)``, or None."""
    parts = list(_of_mean_flow(modes, terms).values())
    return sum(parts[1:], parts[0]) if parts else None


def rates(modes: Modes, terms: Terms, w) -> dict:
    """Return what each term adds to the right-hand side, by name."""
    w = screened(modes, screening(terms), w) * w
    steady = _of_mean_flow(modes, terms)
    return {name: resist(modes, medium, w) + steady.get(name, 0) for name, medium in _media(modes, terms).items()}
