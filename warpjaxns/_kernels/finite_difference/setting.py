"""The setting of a launch: all that stays the same through the kernels of a call."""

import dataclasses
import functools

from .places import Tables
from .plan import Plan
from .stencils import stencils


@dataclasses.dataclass(frozen=True)
class Setting:
    """A plan, the advection scheme, the metric (`_coefficients.metric`), the steps of a call, and the tables."""

    plan: Plan
    scheme: str
    metric_values: tuple[float, float, float]
    steps: int
    tables: Tables

    @functools.cached_property
    def metric(self):
        """The metric, as kernels take it."""
        return stencils(self.plan.real).Metric(*self.metric_values)
