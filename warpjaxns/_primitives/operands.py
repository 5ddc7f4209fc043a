"""Operands of the primitives for time steps, by name. Both discretisations have the same.

A new parameter of the equation is a field of `Operands` and an entry in each constant below. Each discretisation uses
it in its `algebra`, and in the tendency at a point of its kernels. A linear term of Fourier modes needs none of this:
it is a symbol (`_spectral.terms`).
"""

import itertools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.interpreters import ad


class Operands(NamedTuple):
    """Operands of a time step. Their tangents, cotangents and properties have the same form.

    Layout, with one explicit batch axis (`define`): omega (B, *state), in which a state is a field ``(ny, nx)``, its
    spectrum, or the spectra of a vorticity and scalars; viscosity, drag and dt (B,) or (1,); forcing (steps or 1, B or
    1, *state), or (1, 1, 1, ...) for none.

    Two belong together: linear (B or 1, *any), by which a discretisation knows all other linear terms, or
    (1, 1, ...) for none; and screening (B,) or (1,), the number F of ``F psi - Lap psi = q``. Fourier modes have the
    terms' symbol (`_spectral.terms`), finite differences their coefficients (`_finite_difference.terms`).

    medium (B or 1, ny, nx, 2), or (1, 1, 1, 1) for none, is what the flow meets at each point: the resistance r of
    obstacles [1/time] and the topography h [1/time]. It adds ``-curl(r u) + J(psi, h)``.

    coupling (B or 1, scalars, 4): the mean gradient and the buoyancy of each scalar, each along x and y, or (1, 1, 1).
    Finite differences have the diffusivity before them.
    """

    omega: Any
    viscosity: Any
    drag: Any
    dt: Any
    forcing: Any
    screening: Any = None
    linear: Any = None
    medium: Any = None
    coupling: Any = None


BATCH_AXES = Operands(omega=0, viscosity=0, drag=0, dt=0, forcing=1, screening=0, linear=0, medium=0, coupling=0)
# whether an operand must have the batch axis in full; members may share the others
HAS_BATCH = Operands(True, *[False] * (len(Operands._fields) - 1))


def complete(x: Operands) -> Operands:
    """Return operands with those that stand for no further terms, where none are given."""
    least = {"screening": (1,), "linear": (1,) * x.omega.ndim, "medium": (1,) * 4, "coupling": (1,) * 3}
    none = {name: jnp.zeros(shape, x.omega.dtype) for name, shape in least.items() if getattr(x, name) is None}
    return x._replace(**none)


def has_medium(x: Operands) -> bool:
    """Return whether there are obstacles or topography. A single number stands for none."""
    return x.medium.shape[-1] > 1


def split(flat, *kinds: type) -> list:
    """Split a flat list of operands into tuples of these kinds, and the rest."""
    rest = iter(flat)
    return [*(kind(*itertools.islice(rest, len(kind._fields))) for kind in kinds), list(rest)]


def per_member(x: Operands) -> Operands:
    """Return the shapes of cotangents with a value for each member. `x`: arrays or types."""
    state, steps = x.omega.shape, x.forcing.shape[0]
    number, *more = state[:1], *((state[0], *each.shape[1:]) for each in (x.linear, x.medium, x.coupling))
    return Operands(state, number, number, number, (steps, *state), number, *more)


def zeros(x: Operands) -> Operands:
    """Return zero tangents of the least size: a full state, and a single number for every parameter."""
    least = (jnp.zeros((1,) * p.ndim, p.dtype) for p in x[1:])
    return Operands(jnp.zeros(x.omega.shape, x.omega.dtype), *least)


def materialised(tangents: Operands, x: Operands) -> Operands:
    """Return the tangents as arrays: symbolic zeros become `zeros`."""
    given = zip(tangents, zeros(x), strict=True)
    return Operands(*(zero if type(t) is ad.Zero else t for t, zero in given))
