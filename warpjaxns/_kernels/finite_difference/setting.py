"""The setting of a launch: all that stays the same through the kernels of a call."""

import dataclasses
import functools
from collections.abc import Callable

from .places import Tables
from .plan import Plan
from .poisson import Spectra
from .stencils import stencils


@dataclasses.dataclass(frozen=True)
class Setting:
    """A plan, the advection scheme, the metric (`_coefficients.metric`), the steps of a call, and the tables.

    `spectra`: makes `Spectra`, which also know of the rows around fields.
    """

    plan: Plan
    scheme: str
    metric_values: tuple[float, float, float]
    steps: int
    tables: Tables
    spectra: Callable[..., Spectra] = Spectra

    @functools.cached_property
    def metric(self):
        """The metric, as kernels take it."""
        return stencils(self.plan.real).Metric(*self.metric_values)
