"""The operands that a solver hands to the primitives: its leaves, in a state's type and for its members."""

from typing import Any

import equinox as eqx
import jax
from equinox import AbstractVar

from ._checks import check_field
from ._discretisation import Discretisation, check_backend, engine_of
from ._grid import Grid
from ._parameters import broadcast, fields, members
from ._primitives.folding import merge
from ._scalars import Carried, Scalar, check_state, of_members, stepping, with_forcing
from ._terms import Terms
from .forcing._drive import Drive, add, check_step, parts_of, sum_of_fields
from .obstacles import spread


class Prepared(eqx.Module):
    """The part of a solver that prepares operands. `NavierStokes2D` describes the attributes."""

    viscosity: AbstractVar[Any]
    dt: AbstractVar[Any]
    drag: AbstractVar[Any]
    forcing: AbstractVar[Any]
    scalars: AbstractVar[tuple[Scalar, ...]]
    hyperviscosity_order: AbstractVar[int]
    grid: AbstractVar[Grid]
    discretisation: AbstractVar[Discretisation]
    backend: AbstractVar[str]

    @property
    def _numerics(self):
        return {"discretisation": self.discretisation, "grid": self.grid, "backend": self.backend}

    @property
    def _engine(self):
        return engine_of(self.discretisation)

    @property
    def _how(self):
        return self._engine.static(**self._numerics)

    @property
    def _stepping(self):
        """Numerics for advancing states, in the form of `_numerics`."""
        return {**self._numerics, "discretisation": stepping(self.discretisation, self.scalars)}

    @property
    def _stepping_engine(self):
        how = self._stepping
        engine = engine_of(how["discretisation"])
        return engine, engine.static(**how)

    @property
    def _what(self):
        """Name of a state in messages."""
        return "state" if self.scalars else "vorticity"

    def _vorticity(self, name, omega):
        omega = check_field(name, omega, self.grid)
        check_backend(self.backend, self.discretisation, self.grid, omega.dtype)
        return omega

    def _state(self, name, state):
        if not self.scalars:
            return self._vorticity(name, state)
        return check_state(name, state, self.grid, len(self.scalars))

    @property
    def _terms(self):
        return Terms(**{name: getattr(self, name) for name in Terms.__dataclass_fields__})

    def _spread_terms(self, omega):
        """Return the further terms for the primitives, or None."""
        terms = self._of_members(self._terms, omega)
        if self.scalars:
            return Carried(terms, of_members(self.scalars, omega))
        return terms if terms.given else None

    def _of_members(self, terms, omega):
        """Return terms with coefficients of states' type and members."""
        given, at_points = terms.given, {}
        if "topography" in given:
            at_points["topography"] = fields("topography", given.pop("topography"), omega, self.grid)
        if "obstacle" in given:
            at_points["obstacle"] = spread(given.pop("obstacle"), omega, self.grid)
        numbers = {
            name: jax.tree.map(lambda part, name=name: members(name, part, omega), value)
            for name, value in given.items()
        }
        return Terms(**numbers, **at_points, hyperviscosity_order=self.hyperviscosity_order)

    def _parameters(self, omega, law=None):
        """Return viscosity, drag and dt for the primitives. Linear forcing, of a law too, is negative drag."""
        viscosity, drag, dt = (members(name, getattr(self, name), omega) for name in ("viscosity", "drag", "dt"))
        for rate in parts_of(self.forcing, law).rates:
            drag = drag - members("rate", rate, omega)
        return viscosity, drag, dt

    def _force(self, omega, step):
        """Return the forcing that does not depend on the flow in step number `step`, ``(batch or 1, ny, nx)``."""
        force, moving = self._forcing(omega, None, None, 1), parts_of(self.forcing).moving
        if moving and step is None:
            names = ", ".join(type(law).__name__ for law in moving)
            raise ValueError(f"step=None: the solver's forcing changes in time ({names}); pass the number of steps")
        drive = Drive.of(moving, None if step is None else check_step("step", step), omega)
        if drive is None:
            return force[0]
        window, clock = drive.begin(self._engine, members("dt", self.dt, omega), self._how)
        return add(force, self._engine.to_field(window(clock, 1)[1][0], **self._how)[None])[0]

    def _forcing(self, omega, law, control, steps):
        """Return steady and given forcing for the primitives, ``(steps or 1, batch or 1, ny, nx)``, or a zero for none.

        Steady forcing is that of the solver, and of a law.
        """
        grid, lead = self.grid.shape, omega.shape[:-2]
        # `eqx.tree_at` checks nothing
        steady = [check_field("forcing", field, self.grid) for field in parts_of(self.forcing, law).steady]
        total = sum_of_fields(steady, omega)
        if control is not None:
            control = check_field("forcing", control, self.grid).astype(omega.dtype)
            if control.ndim < 3 or control.shape[0] != steps:
                raise ValueError(
                    f"forcing has shape {control.shape}: expected one field a step, "
                    f"(steps, ..., ny, nx) = ({steps}, ..., {grid[0]}, {grid[1]})"
                )
            if control.ndim == 3:
                control = control[:, None]
            else:
                missing = max(len(lead) - (control.ndim - 3), 0)
                control = control.reshape(steps, *(1,) * missing, *control.shape[1:])
                control = merge(broadcast("forcing", control, (steps, *lead, *grid), lead, omega), 1, len(lead))
            total = add(total, control)
        return total

    def _with_steady_terms(self, forcing, omega):
        """Return forcing with what bodies and topography make of a mean flow, and with the sources of scalars.

        With scalars it is ``(steps or 1, batch or 1, 1 + scalars, ny, nx)``.
        """
        if self._terms.medium:
            of_terms = self._engine.term_forcing(self._of_members(self._terms, omega), **self._how)
            forcing = forcing if of_terms is None else forcing + of_terms[None]
        return with_forcing(forcing, self.scalars, omega, self.grid) if self.scalars else forcing
