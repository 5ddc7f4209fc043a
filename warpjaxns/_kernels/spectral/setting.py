"""The setting of a launch: all that stays the same through the kernels of a call."""

import dataclasses
from typing import Any

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
