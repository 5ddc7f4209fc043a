"""The setting of a launch: all that stays the same through the kernels of a call."""

import dataclasses
from typing import Any

import warp as wp

from ..._coefficients import low_storage
from .places import Tables
from .plan import Plan


@dataclasses.dataclass(frozen=True)
class Setting:
    """A plan, the integrator, the steps of a call, the wavenumbers of one wave (`symbols.Scale`), and the tables."""

    plan: Plan
    integrator: str
    steps: int
    scale: Any
    tables: Tables

    @property
    def coefficients(self) -> list:
        """The coefficients a and b of all stages and their durations, a vector each."""
        stages = low_storage(self.integrator)
        Coefficients = wp.types.vector(length=len(stages), dtype=self.plan.real)
        return [Coefficients(*column) for column in zip(*stages, strict=True)]
