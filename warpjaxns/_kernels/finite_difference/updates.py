"""Updates of a stage at one point, given the neighbourhoods of fields: the tendency with forcing and a medium."""

import functools
import types

import warp as wp

from .further import further_values
from .medium import medium_values
from .plan import Plan
from .stencils import stencils
from .tendency import tendency, terms


@functools.cache
def updates(plan: Plan, scheme: str, forced: bool = False) -> types.SimpleNamespace:
    """Make the functions of a point. r, h: the medium, f: forcing, which count where the plan has them.

    - ``update(p, w, r, h, f, b, terms, metric)`` is ``b w + c dt R(w)``.
    - ``tangent(p, w, r, h, f, dp, dw, dr, dh, df, b, terms, dterms, metric)``: its derivative.
    - ``source(w, l, r, h, more, metric)`` is F(w, l): R's transpose about psi. `more`: coefficients of `further` terms.
    """
    real, by_point, further, medium = plan.real, tendency(plan.real, scheme, plan.terms), plan.terms > 0, plan.medium
    Patch, Metric, Terms = stencils(real).Patch, stencils(real).Metric, terms(real, plan.terms).Terms
    More = wp.types.vector(length=max(plan.terms, 1), dtype=real)
    rate, tangent_rate, bare_source = by_point.rate, by_point.tangent, by_point.source
    of_medium, medium_to_psi = medium_values(real, scheme).value, medium_values(real, scheme).to_psi
    if further:
        to_psi, More = further_values(real, plan.terms).to_psi, terms(real, plan.terms).Vector

    @wp.func
    def update(p: Patch, w: Patch, r: Patch, h: Patch, f: real, b: real, terms: Terms, metric: Metric):
        value = rate(p, w, terms)
        if medium:
            value += of_medium(p, r, h, metric, terms.h)
        if forced:
            value += terms.h * f
        return b * w[4] + value

    @wp.func
    def tangent(
        p: Patch,
        w: Patch,
        r: Patch,
        h: Patch,
        f: real,
        dp: Patch,
        dw: Patch,
        dr: Patch,
        dh: Patch,
        df: real,
        b: real,
        terms: Terms,
        dterms: Terms,
        metric: Metric,
    ):
        value = tangent_rate(p, w, dp, dw, terms, dterms)
        if medium:
            value += of_medium(dp, r, h, metric, terms.h)
            value += of_medium(p, dr, dh, metric, terms.h)
            value += of_medium(p, r, h, metric, dterms.h)
        if forced:
            value += terms.h * df + dterms.h * f
        return b * dw[4] + value

    @wp.func
    def source(w: Patch, l: Patch, r: Patch, h: Patch, more: More, metric: Metric):
        value = bare_source(w, l, metric)
        if further:
            value += to_psi(l, more)
        if medium:
            value += medium_to_psi(l, r, h, metric)
        return value

    return types.SimpleNamespace(update=update, tangent=tangent, source=source, More=More)
