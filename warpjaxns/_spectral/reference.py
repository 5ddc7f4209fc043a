"""Advection in plain `jax.numpy`: the oracle of every test and the ``"xla"`` backend.

With ``kappa = ky + i kx``, ``C = F^-1 (-1 / conj kappa) F`` makes the velocity ``z = v + i u`` of a vorticity. With the
dealiasing filter P, ``D = F^-1 P (i/2) conj(kappa)^2 F`` makes the advection of a product of velocities:

    B(a, b) = Re D[(C a)(C b)],    G(b, l) = Re C*[conj(C b) D* l]

``B(w, w) = -u . grad w``. Symbols of real and imaginary parts are taken apart here, so that all transforms are real:
``(i/2) conj(kappa)^2 = kx ky + (i/2) (ky^2 - kx^2)`` and ``-1 / kappa = (i kx - ky) / k^2``. States are laid out as in
`modes`. Each function makes one call for all its inverse transforms, and one for the forward ones.
"""

import jax.numpy as jnp

from .modes import Modes, as_complex, as_state, constant, forward, inverse


def stretching(modes: Modes, like):
    """Return ``P kx ky`` and ``P (ky^2 - kx^2) / 2``."""
    (ky, kx), filtered = modes.wavenumbers, modes.filter
    return constant(filtered * ky * kx, like), constant(filtered * (ky**2 - kx**2) / 2, like)


def velocity(modes: Modes, coefficients):
    """Return the coefficients of v and u."""
    ky, kx = modes.wavenumbers
    psi = coefficients * constant(modes.inverse, coefficients)
    return [-1j * constant(kx, psi) * psi, 1j * constant(ky, psi) * psi]


def _advected(modes: Modes, real, imaginary):
    """Return the state ``Re D[real + i imaginary]``."""
    real, imaginary = forward(modes, jnp.stack([real, imaginary]))
    shear, stretch = stretching(modes, real)
    return as_state(shear * real - stretch * imaginary)


def advection(modes: Modes, a):
    """Return ``B(a, a)``."""
    v, u = inverse(modes, jnp.stack(velocity(modes, as_complex(a))))
    return _advected(modes, v * v - u * u, 2 * u * v)


def transport(modes: Modes, a, b):
    """Return ``B(a, b)``."""
    velocities = [part for state in jnp.broadcast_arrays(a, b) for part in velocity(modes, as_complex(state))]
    va, ua, vb, ub = inverse(modes, jnp.stack(velocities))
    return _advected(modes, va * vb - ua * ub, ua * vb + va * ub)


def pullback(modes: Modes, b, l):
    """Return ``G(b, l)``."""
    b, l = map(as_complex, jnp.broadcast_arrays(b, l))
    shear, stretch = stretching(modes, l)
    v, u, real, imaginary = inverse(modes, jnp.stack([*velocity(modes, b), shear * l, -stretch * l]))
    real, imaginary = forward(modes, jnp.stack([v * real + u * imaginary, v * imaginary - u * real]))
    ky, kx = modes.wavenumbers
    return as_state(1j * (constant(kx, b) * real - constant(ky, b) * imaginary) * constant(modes.inverse, b))
