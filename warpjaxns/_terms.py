"""The terms that a solver may have besides advection, viscosity and drag: their coefficients, by name."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._show import show

LINEAR = ("beta", "mean_flow", "hyperviscosity", "hypodrag", "deformation_radius")
MEDIUM = ("topography", "obstacle")  # products at points
NAMES = (*LINEAR, *MEDIUM)


class Terms(eqx.Module):
    """Coefficients of terms, None for those that are not there.

    Each is a number or an array of them, but `mean_flow` is a pair ``(U, V)``, `topography` a field, and `obstacle` a
    tuple of `Obstacle`. For engines numbers are ``(batch,)`` or ``(1,)``, and fields ``(batch, ny, nx)`` or ``(1, ny,
    nx)``. `NavierStokes2D` says what they mean. `terms` of either engine has the linear ones, and `medium` the
    others.
    """

    beta: Any = None
    mean_flow: Any = None
    hyperviscosity: Any = None
    hypodrag: Any = None
    deformation_radius: Any = None
    topography: Any = None
    obstacle: Any = None
    hyperviscosity_order: int = eqx.field(static=True, default=2)

    @property
    def given(self) -> dict[str, Any]:
        """The coefficients that are there, by name."""
        values = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def linear(self) -> bool:
        """True where any of them is linear in the modes of a state."""
        return any(name in self.given for name in LINEAR)

    @property
    def medium(self) -> bool:
        """True where any of them is a product at points."""
        return any(name in self.given for name in MEDIUM)

    @property
    def dtype(self):
        """The type of the coefficients, which they have in common once they are operands."""
        return jax.tree.leaves(self)[0].dtype


def screening(terms: Terms):
    """Return F of ``F psi - Lap psi = q``, ``(batch,)`` or ``(1,)``: ``1 / L_d^2``, or 0 without a radius."""
    if terms.deformation_radius is None:
        return jnp.zeros(1, terms.dtype)
    return 1 / terms.deformation_radius**2


def check_pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return `value` as a pair.

    Raises:
        TypeError: it is none.
    """
    try:
        if not (isinstance(value, tuple | list) or hasattr(value, "shape")):
            raise TypeError  # sets have no order, and the parts of bytes are numbers
        first, second = value
    except Exception:  # whatever `value` raises
        raise TypeError(f"{name}={show(value)}: expected a pair of numbers or arrays, such as (1.0, 0.0)") from None
    return first, second
