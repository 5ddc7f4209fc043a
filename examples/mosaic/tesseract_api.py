"""Mosaic's interface to the solver: a Tesseract of its problem `ns-grid` (pasteurlabs/mosaic).

Velocities are ``(x, y, 1, component)`` there, and the state here is the vorticity ``(y, x)``. The mean of a velocity,
which no vorticity holds, is a mean flow. docs/guides/mosaic.md says how to run it.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from mosaic_shared.problems.navier_stokes_grid import InputSchema as CanonicalInput
from mosaic_shared.problems.navier_stokes_grid import OutputSchema as CanonicalOutput
from mosaic_shared.schema_types import make_differentiable
from pydantic import Field, model_validator

import warpjaxns as wns

DIFFERENTIABLE = ("v0", "viscosity", "dt")


class InputSchema(make_differentiable(CanonicalInput, list(DIFFERENTIABLE))):
    """Mosaic's inputs, and how the equation is discretised."""

    dealiasing: Literal["smooth", "two-thirds"] = Field(default="smooth", description="of warpjaxns.Spectral")

    @model_validator(mode="after")
    def only_what_the_solver_has(self):
        """Refuse walls, obstacles, and fields that are not square and two-dimensional."""
        if not self.boundary_conditions.is_fully_periodic or self.obstacle is not None:
            raise ValueError("warpjaxns solves flow in periodic boxes: expected periodic faces and no obstacle")
        if self.v0.shape[2:] != (1, 2) or self.v0.shape[0] != self.v0.shape[1]:
            raise ValueError(f"v0 has shape {self.v0.shape}: expected (N, N, 1, 2)")
        return self


class OutputSchema(make_differentiable(CanonicalOutput, ["result"])):
    """Mosaic's outputs."""


@functools.partial(jax.jit, static_argnames=("steps", "extent", "dealiasing"))
def solve(values: dict[str, Any], steps: int, extent: float, dealiasing: str):
    """Return the velocity ``(N, N, 1, 2)`` after some steps; `values` has the differentiable inputs."""
    u, v = (jnp.asarray(values["v0"][:, :, 0, part]).T for part in (0, 1))
    grid, mean = wns.Grid(u.shape, (extent, extent)), (jnp.mean(u), jnp.mean(v))
    omega = wns.vorticity_of(grid, u - mean[0], v - mean[1])
    viscosity, dt = (jnp.asarray(values[name])[0] for name in ("viscosity", "dt"))
    given = {"mean_flow": mean, "discretisation": wns.Spectral(dealiasing=dealiasing), "check_finite": False}
    last = wns.NavierStokes2D(grid, viscosity=viscosity, dt=dt, **given).rollout(omega, steps=steps)
    return jnp.stack([part.T for part in wns.velocity_of(grid, last, mean=mean)], -1)[:, :, None, :]


def _split(inputs: InputSchema):
    values = {name: jnp.asarray(getattr(inputs, name)) for name in DIFFERENTIABLE}
    return values, {"steps": inputs.steps, "extent": inputs.domain_extent, "dealiasing": inputs.dealiasing}


def apply(inputs: InputSchema) -> OutputSchema:
    """Return the last velocity."""
    values, static = _split(inputs)
    return OutputSchema(result=solve(values, **static))


def vector_jacobian_product(
    inputs: InputSchema, vjp_inputs: set[str], vjp_outputs: set[str], cotangent_vector: dict[str, Any]
) -> dict[str, Any]:
    """Return the cotangents of some inputs."""
    values, static = _split(inputs)
    return _pullback(
        {name: values[name] for name in sorted(vjp_inputs)}, values, jnp.asarray(cotangent_vector["result"]), **static
    )


def jacobian_vector_product(
    inputs: InputSchema, jvp_inputs: set[str], jvp_outputs: set[str], tangent_vector: dict[str, Any]
) -> dict[str, Any]:
    """Return the tangent of the last velocity."""
    values, static = _split(inputs)
    chosen = {name: values[name] for name in sorted(jvp_inputs)}
    tangents = {name: jnp.asarray(tangent_vector[name]) for name in chosen}
    return {"result": _push(chosen, tangents, values, **static)}


@functools.partial(jax.jit, static_argnames=("steps", "extent", "dealiasing"))
def _pullback(chosen, values, cotangent, **static):
    return jax.vjp(lambda c: solve(values | c, **static), chosen)[1](cotangent)[0]


@functools.partial(jax.jit, static_argnames=("steps", "extent", "dealiasing"))
def _push(chosen, tangents, values, **static):
    return jax.jvp(lambda c: solve(values | c, **static), (chosen,), (tangents,))[1]


def abstract_eval(abstract_inputs: Any) -> dict[str, Any]:
    """Return the shape of the result, which is that of `v0`."""
    shape = abstract_inputs.model_dump()["v0"]
    return {"result": {"shape": tuple(shape["shape"]), "dtype": "float32"}}
