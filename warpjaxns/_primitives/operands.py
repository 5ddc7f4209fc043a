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

    Layout, with one explicit batch axis (`define`): omega (B, *state), in which a state is a field ``(ny, nx)`` or its
    spectrum; viscosity, drag and dt (B,) or (1,); forcing (steps or 1, B or 1, *state), or (1, 1, 1, ...) for none.

    The last two belong together: linear (B or 1, *any), by which a discretisation knows all other linear terms, or
    (1, 1, ...) for none; and screening (B,) or (1,), the number F of ``F psi - Lap psi = q``. Fourier modes have the
    terms' symbol (`_spectral.terms`), finite differences their coefficients (`_finite_difference.terms`).
    """

    omega: Any
    viscosity: Any
    drag: Any
    dt: Any
    forcing: Any
    screening: Any = None
    linear: Any = None


BATCH_AXES = Operands(omega=0, viscosity=0, drag=0, dt=0, forcing=1, screening=0, linear=0)
# whether an operand must have the batch axis in full; members may share the others
HAS_BATCH = Operands(True, *[False] * (len(Operands._fields) - 1))


def complete(x: Operands) -> Operands:
    """Return operands without further linear terms, where none are given."""
    if x.linear is not None:
        return x
    dtype = x.omega.dtype
    return x._replace(screening=jnp.zeros(1, dtype), linear=jnp.zeros((1,) * x.omega.ndim, dtype))


def split(flat, *kinds: type) -> list:
    """Split a flat list of operands into tuples of these kinds, and the rest."""
    rest = iter(flat)
    return [*(kind(*itertools.islice(rest, len(kind._fields))) for kind in kinds), list(rest)]


def per_member(x: Operands) -> Operands:
    """Return the shapes of cotangents with a value for each member. `x`: arrays or types."""
    batch, steps = x.omega.shape[0], x.forcing.shape[0]
    shape, linear = (batch,), (batch, *x.linear.shape[1:])
    return Operands(x.omega.shape, shape, shape, shape, (steps, *x.omega.shape), screening=shape, linear=linear)


def zeros(x: Operands) -> Operands:
    """Return zero tangents of the least size: a full state, and a single number for every parameter."""
    least = (jnp.zeros((1,) * p.ndim, p.dtype) for p in x[1:])
    return Operands(jnp.zeros(x.omega.shape, x.omega.dtype), *least)


def materialised(tangents: Operands, x: Operands) -> Operands:
    """Return the tangents as arrays: symbolic zeros become `zeros`."""
    given = zip(tangents, zeros(x), strict=True)
    return Operands(*(zero if type(t) is ad.Zero else t for t, zero in given))
