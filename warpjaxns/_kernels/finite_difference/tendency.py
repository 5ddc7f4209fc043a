"""The tendency at one point, ``R(w) = J(psi, w) + nu Lap w - mu w + f``, its tangent and its adjoint.

A term of the equation is added here: its coefficient to `Terms` (and to `parameters.Parameters`), its value to
`linear`, or to the stencils of `rate`. The tangent and the cotangents of the coefficients follow by the product rule.
Terms that only some equations have are in `further`.
"""

import functools
import types

import warp as wp

from ..._coefficients import FIRST, SECOND
from ..parameters import parameter_functions
from .further import further_terms, further_values
from .stencils import stencils


@functools.cache
def terms(real, count: int = 0) -> types.SimpleNamespace:
    """Make the functions that load the coefficients of the terms, of which `count` are `further` ones.

    - ``numbers(table, parameters, member)``: viscosity, drag and dt of a member, a `Numbers`.
    - ``weighted(numbers, c, metric)``: `Terms`, with ``h = c dt`` in each coefficient.
    - ``tangent(numbers, tangents, c, metric)``: their derivative in the direction of other `Numbers`.
    """
    if count:
        return further_terms(real, count)
    kit, given = stencils(real), parameter_functions(real)
    Metric, scaled, Numbers = kit.Metric, kit.scaled, given.Numbers

    @wp.struct
    class Terms:
        """``h (nu/dx^2, nu/dy^2, 1/(4 dx dy))``, ``h mu``, h."""

        metric: Metric
        drag: real
        h: real

    @wp.func
    def weighted(given: Numbers, c: real, metric: Metric):
        result = Terms()
        h = c * given.dt
        result.metric = scaled(metric, h * given.viscosity, h)
        result.drag = h * given.drag
        result.h = h
        return result

    @wp.func
    def tangent(given: Numbers, direction: Numbers, c: real, metric: Metric):
        h = c * given.dt
        result = Terms()
        result.h = c * direction.dt
        result.drag = result.h * given.drag + h * direction.drag
        result.metric = scaled(metric, result.h * given.viscosity + h * direction.viscosity, result.h)
        return result

    return types.SimpleNamespace(
        Numbers=Numbers,
        Terms=Terms,
        numbers=given.numbers,
        weighted=weighted,
        tangent=tangent,
        of_member=given.of_member,
    )


@functools.cache
def tendency(real, scheme: str, count: int = 0) -> types.SimpleNamespace:
    """Make the tendency's functions. With `count` coefficients of `further` terms these are in `rate` and `adjoint`.

    - ``rate(psi, w, terms)``: ``h R(w)``, without forcing.
    - ``tangent(psi, w, dpsi, dw, terms, dterms)``: its derivative.
    - ``linear(w, metric)``: R without advection and forcing is the sum of coefficients times these, ``(Lap w, -w)``;
      the coefficients are viscosity and drag.
    - ``advection(psi, w, metric)``: ``J(psi, w)``.
    - ``source(w, l, metric)``: ``F(w, l)``, and ``carried(l, psi, metric)``: ``G(l, psi)``, the transposes of J.
    - ``adjoint(l, terms, b, solved, carried)``: ``b l + h R'(w)^T l = b l + h (S F(w, l) + G(l, psi) + nu Lap l - mu
      l)``, given S F(w, l) at the point, `solved`, and ``h G(l, psi)``, `carried`.
    """
    kit, Terms = stencils(real), terms(real, count).Terms
    Patch, Metric, laplacian, jacobian = kit.Patch, kit.Metric, kit.laplacian, kit.jacobian[scheme]
    Linear = wp.types.vector(length=2, dtype=real)

    @wp.func
    def rate(psi: Patch, w: Patch, terms: Terms):
        return laplacian(w, terms.metric) + jacobian(psi, w, terms.metric) - terms.drag * w[4]

    @wp.func
    def tangent(psi: Patch, w: Patch, dpsi: Patch, dw: Patch, terms: Terms, dterms: Terms):
        return jacobian(dpsi, w, terms.metric) + rate(psi, dw, terms) + rate(psi, w, dterms)

    @wp.func
    def linear(w: Patch, metric: Metric):
        return Linear(laplacian(w, metric), -w[4])

    @wp.func
    def adjoint(l: Patch, terms: Terms, b: real, solved: real, carried: real):
        return laplacian(l, terms.metric) + carried + terms.h * solved - terms.drag * l[4] + b * l[4]

    made = types.SimpleNamespace(
        rate=rate,
        tangent=tangent,
        linear=linear,
        advection=jacobian,
        source=kit.jacobian[FIRST[scheme]],
        carried=kit.jacobian[SECOND[scheme]],
        adjoint=adjoint,
    )
    if not count:
        return made
    by_term = further_values(real, count)
    value, to_state = by_term.value, by_term.to_state

    @wp.func
    def full_rate(psi: Patch, w: Patch, terms: Terms):
        return rate(psi, w, terms) + value(psi, w, terms.more)

    @wp.func
    def full_tangent(psi: Patch, w: Patch, dpsi: Patch, dw: Patch, terms: Terms, dterms: Terms):
        further = value(dpsi, dw, terms.more) + value(psi, w, dterms.more)
        return tangent(psi, w, dpsi, dw, terms, dterms) + further

    @wp.func
    def full_adjoint(l: Patch, terms: Terms, b: real, solved: real, carried: real):
        return adjoint(l, terms, b, solved, carried) + to_state(l, terms.more)

    made.rate, made.tangent, made.adjoint = full_rate, full_tangent, full_adjoint
    return made


@functools.cache
def parameter_shares(real, scheme: str, count: int = 0) -> types.SimpleNamespace:
    """Make the functions for cotangents of the parameters, from ``w_s = ... + c dt R(w)`` and the cotangent l of w_s.

    A stage adds ``c dt <l, Lap w>`` to the cotangent of viscosity, ``-c dt <l, w>`` to that of drag, and ``c <l,
    R(w)>`` to that of dt. All three follow from sums over points of ``<l, linear>`` and ``<l, J(psi, w) + f>``, in
    which `further` terms stand with J.

    - ``add(sums, l, w, metric)`` and ``add_rest(sums, product)`` add the products of a point to these sums, a 3-vector.
    - ``shares(sums, numbers, c)``: the shares of a stage in the cotangents of viscosity, drag and dt.
    """
    kit, Numbers, linear = stencils(real), terms(real, count).Numbers, tendency(real, scheme).linear
    Patch, Metric, Sums = kit.Patch, kit.Metric, wp.types.vector(length=3, dtype=real)

    @wp.func
    def add(sums: Sums, l: real, w: Patch, metric: Metric):
        values = linear(w, metric)
        return Sums(sums[0] + l * values[0], sums[1] + l * values[1], sums[2])

    @wp.func
    def add_rest(sums: Sums, product: real):
        return Sums(sums[0], sums[1], sums[2] + product)

    @wp.func
    def shares(sums: Sums, given: Numbers, c: real):
        h = c * given.dt
        product = given.viscosity * sums[0] + given.drag * sums[1] + sums[2]  # <l, R(w)>
        return Sums(h * sums[0], h * sums[1], c * product)

    return types.SimpleNamespace(Sums=Sums, add=add, add_rest=add_rest, shares=shares)
