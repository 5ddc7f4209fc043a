"""The setting of a launch: what stays the same through all kernels of a call."""

import dataclasses
import functools

from .places import Tables
from .plan import Plan
from .stencils import stencils


@dataclasses.dataclass(frozen=True)
class Setting:
    """A plan, the advection scheme, the stencils' factors (`_coefficients.metric`), steps of a call, and the tables."""

    plan: Plan
    scheme: str
    factors: tuple[float, float, float]
    steps: int
    tables: Tables

    @functools.cached_property
    def metric(self):
        """The factors, as kernels take them."""
        return stencils(self.plan.real).Metric(*self.factors)
