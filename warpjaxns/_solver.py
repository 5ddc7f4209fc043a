"""The solver: an Equinox module whose physical parameters are differentiable leaves."""

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._adjoint import Checkpointed, Direct
from ._arrays import largest, with_axes
from ._checks import (
    check_count,
    check_field,
    check_flag,
    check_grid,
    check_non_negative,
    check_option,
    check_positive,
    check_real,
)
from ._discretisation import Discretisation, FiniteDifference, check_backend, engine_of
from ._finite import Flag, raise_if_not_finite
from ._grid import Grid
from ._methods import method
from ._operators import streamfunction
from ._parameters import broadcast, members, optional, parameter
from ._prepared import Prepared
from ._primitives.folding import merge
from ._rollout import final_state, saved_states
from ._saves import check_saves, cut
from ._scalars import Scalar, State, check_scalars, flat, stepping, unflat, vorticity_in
from ._show import show
from ._terms import check_pair
from ._types import align
from .forcing._drive import Drive, check_forcing, check_step, longest_window, parts_of
from .forcing._laws import Law
from .obstacles import Obstacle, check_obstacles, check_resistance

Field: TypeAlias = Float[Array, "... ny nx"]


class NavierStokes2D(Prepared):
    """Two-dimensional incompressible flow in a periodic box, in vorticity form:

        d(omega)/dt = J(psi, omega) + nu Lap(omega) - mu omega + f,    Lap(psi) = -omega,
        u = d(psi)/dy,  v = -d(psi)/dx,  J(a, b) = a_x b_y - a_y b_x

    There can be further terms on the right-hand side, each if it is asked for:

        - beta v  -  (U d/dx + V d/dy) omega  -  nu_h (-Lap)^p omega  +  mu_h Lap^-1 omega
        + J(psi, h) - (U, V) . grad h  -  curl(chi (u + U) / eta)

    With a deformation radius L_d states are the potential vorticity ``omega = psi / L_d^2 - Lap(psi)``. A flow that
    carries scalars has a `State` in their place, in and out. `Spectral` has all of these. `FiniteDifference` has no
    hyperviscosity, no hypodrag together with a deformation radius, and none of these terms, nor scalars, on a grid that
    is divided over devices.

    `discretisation` says how: by finite differences or by Fourier modes. All methods are the same for both, and use its
    own operators.

    The solver is a pytree with the array leaves `viscosity`, `drag`, `dt` and `forcing`, and those of further terms. It
    can be differentiated, vmapped over, and be part of other modules. Everything else is static.

    Args:
        grid: where fields live.
        viscosity: nu >= 0 [length^2/time], a number or an array ``(...)`` like the leading axes of a state.
        dt: length of a step, > 0 [time], likewise.
        drag: mu >= 0 [1/time], likewise.
        forcing: steady forcing f ``(..., ny, nx)`` [1/time^2], a law of `warpjaxns.forcing`, or None.
        beta: gradient of the planet's vorticity along y [1 / (length time)], likewise a number or an array. None, here
            and below: the equation has no such term.
        mean_flow: (U, V), a uniform flow that carries everything [length/time]. `velocity` does not include it.
        hyperviscosity: nu_h >= 0 [length^(2p)/time].
        hyperviscosity_order: p >= 1, static. Viscosity is of order 1.
        hypodrag: mu_h >= 0 [1 / (length^2 time)], which damps the largest scales.
        deformation_radius: L_d > 0 [length], of equivalent-barotropic quasi-geostrophic flow.
        topography: h ``(..., ny, nx)`` [1/time], a field that is added to the vorticity that is advected.
        obstacle: an `Obstacle` with the mask chi and the permeability eta, or a tuple of them.
        scalars: a tuple of `Scalar`, which the flow carries.
        discretisation: `FiniteDifference()` or `Spectral()`, in space and time.
        adjoint: `Checkpointed()` or `Direct()`: the intermediate states that reverse mode keeps.
        backend: ``"warp"``, ``"xla"``, or ``"auto"`` (Warp on CUDA where it runs the grid, else XLA); see
            `warpjaxns.info`.
        check_finite: whether `step` and `rollout` raise when their result is not finite, mostly because `dt` is too
            long. The check costs a reduction a call, and on a GPU the host waits for its result.

    Raises:
        TypeError: an argument has another type.
        ValueError: a parameter is out of its range or that of float32; one step would multiply the finest wave beyond
            float32; an option is unknown; or ``backend="warp"`` cannot run the grid.

    States are float32 or float64; parameters are cast to their type.
    """

    viscosity: Array
    dt: Array
    drag: Array
    forcing: Array | Law | None
    beta: Array | None
    mean_flow: tuple[Array, Array] | None
    hyperviscosity: Array | None
    hypodrag: Array | None
    deformation_radius: Array | None
    topography: Array | None
    obstacle: tuple[Obstacle, ...] | None
    scalars: tuple[Scalar, ...]
    hyperviscosity_order: int = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    discretisation: Discretisation = eqx.field(static=True)
    adjoint: Direct | Checkpointed = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    check_finite: bool = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        *,
        viscosity,
        dt,
        drag=0.0,
        forcing=None,
        beta=None,
        mean_flow=None,
        hyperviscosity=None,
        hyperviscosity_order: int = 2,
        hypodrag=None,
        deformation_radius=None,
        topography=None,
        obstacle: Obstacle | Sequence[Obstacle] | None = None,
        scalars=(),
        discretisation: Discretisation = FiniteDifference(),
        adjoint: Direct | Checkpointed = Checkpointed(),
        backend: str = "auto",
        check_finite: bool = True,
    ):
        check_grid(grid)
        if not isinstance(adjoint, Direct | Checkpointed):
            raise TypeError(f"adjoint={show(adjoint)}: expected Direct() or Checkpointed(every=None)")
        check_flag("check_finite", check_finite)
        check_backend(backend, discretisation, grid, np.float32)
        self.scalars = check_scalars(scalars, grid)
        check_backend(backend, stepping(discretisation, self.scalars), grid, np.float32)
        self.grid = grid
        self.viscosity = parameter("viscosity", viscosity, check_non_negative)
        self.dt = parameter("dt", dt, check_positive)
        self.drag = parameter("drag", drag, check_non_negative)
        engine_of(discretisation).check_reach(grid, viscosity, drag, dt)
        for i, scalar in enumerate(self.scalars):
            engine_of(discretisation).check_reach(grid, scalar.diffusivity, 0.0, dt, f"scalars[{i}].diffusivity")
        self.forcing = None if forcing is None else check_forcing(forcing, grid, discretisation)
        self.beta = optional("beta", beta, check_real)
        self.mean_flow = None
        if mean_flow is not None:
            u, v = (parameter("mean_flow", part, check_real) for part in check_pair("mean_flow", mean_flow))
            self.mean_flow = u, v
        self.hyperviscosity = optional("hyperviscosity", hyperviscosity, check_non_negative)
        self.hyperviscosity_order = check_count("hyperviscosity_order", hyperviscosity_order, least=1)
        self.hypodrag = optional("hypodrag", hypodrag, check_non_negative)
        self.deformation_radius = optional("deformation_radius", deformation_radius, check_positive)
        self.topography = None if topography is None else check_field("topography", topography, grid)
        self.obstacle = None if obstacle is None else check_obstacles(obstacle, grid) or None
        engine_of(discretisation).check_terms(grid, self._terms)
        check_resistance(self.obstacle or (), dt, engine_of(discretisation).resistance_limit(discretisation))
        self.discretisation = discretisation
        self.adjoint = adjoint
        self.backend = str(backend)  # Equinox takes NumPy's strings for arrays
        self.check_finite = check_finite

    @method
    def step(self, omega: Field | State, *, first_step: int | Array = 0) -> Any:
        """Return the state one time step `dt` later: the vorticity ``(..., ny, nx)`` [1/time], or a `State`.

        `first_step`: the number of this step, as for `rollout`.
        """
        return self.rollout(self._state("omega", omega), steps=1, first_step=first_step)

    @method
    def rollout(
        self,
        omega0: Field | State,
        *,
        steps: int | None = None,
        save_every: int | None = None,
        save_at: Sequence[int] | np.ndarray | None = None,
        include_initial: bool = False,
        forcing: Array | Law | None = None,
        first_step: int | Array = 0,
        check: str | None = None,
    ) -> Any:
        """Return the vorticity after `steps` steps, or a trajectory.

        Args:
            omega0: initial vorticity ``(..., ny, nx)``, float32 or float64 [1/time]. Leading axes are members of an
                ensemble, advanced together. With scalars a `State`.
            steps: how many steps to take, >= 0. With `save_at` it may be left out.
            save_every: None, or k >= 1 that divides `steps`.
            save_at: None, or the increasing step counts >= 0 after which states are saved. No step follows the last
                save. Each run of equal distances is compiled apart.
            include_initial: whether the initial state is the first of the saved ones.
            forcing: None, or one field a step ``(steps, ..., ny, nx)`` [1/time^2], constant over the step and added
                to the solver's forcing of the vorticity. Leading axes after the first broadcast against those of
                `omega0`. Or a law of `warpjaxns.forcing`, which takes memory for the steps of a segment only.
            first_step: the number of the first step, >= 0, on the clock of laws. It may be traced. A run in parts
                passes the number of steps taken before.
            check: what happens if the result is not finite. ``"raise"``: an error. ``"flag"``: nothing, but a `Flag`
                is returned as well, without a callback into Python. None: ``"raise"`` if the solver has
                `check_finite`, else nothing.

        Returns:
            The last state [1/time], of omega0's form and shape. With ``save_every=k`` the states after k, 2k, ...,
            steps steps, ``(steps // k, ..., ny, nx)``. With `save_at` those after so many steps, ``(len(save_at), ...,
            ny, nx)``. With ``include_initial=True`` one more, in front. With ``check="flag"`` the pair of this and the
            flag.

        Raises:
            TypeError: wrong dtype, or a step count that is not an integer known when tracing.
            ValueError: wrong shape, negative `steps`, or saves that do not fit `steps`.
            RuntimeError: the result is not finite, where that is to raise.
        """
        state0 = self._state("omega0", omega0)
        omega0, start = vorticity_in(state0), flat(state0)
        steps, saves, initial = check_saves(steps, save_every, save_at, include_initial)
        if check is not None:
            check_option("check", check, ("raise", "flag"))
        law = check_forcing(forcing, self.grid, self.discretisation) if isinstance(forcing, Law) else None
        viscosity, drag, dt = self._parameters(omega0, law)
        control = self._with_steady_terms(
            self._forcing(omega0, law, None if law is not None else forcing, steps), omega0
        )
        drive = Drive.of(parts_of(self.forcing, law).moving, check_step("first_step", first_step), omega0)
        how = self._stepping
        engine = engine_of(how["discretisation"])
        step_bytes = engine.kept_fields(self.discretisation, self.grid) * _known_bytes(start)
        saves_or_end = ((max(steps, 1), min(steps, 1)),) if saves is None else saves
        runs = cut(self.adjoint, steps, saves_or_end, step_bytes, drive and longest_window(_known_bytes(start)))

        # a scan's state varies over all mesh axes that anything varies over, from the start
        more, structure = jax.tree.flatten((self._spread_terms(omega0), drive))
        operands = align(start, viscosity, drag, dt, control, *more)
        operands[5:] = jax.tree.unflatten(structure, operands[5:])
        how["flag"] = check == "flag"
        if saves is None:
            out, first = final_state(*operands, steps=steps, length=runs[0].length, direct=runs[0].direct, **how)
        else:
            out, first = saved_states(*operands, runs=runs, initial=initial, **how)
        states = unflat(out, state0)
        if first is not None:
            return states, Flag.of(first.reshape(vorticity_in(state0).shape[:-2]))
        if check == "raise" or self.check_finite:
            raise_if_not_finite(out, out.ndim - start.ndim, _advice(self.discretisation), self._what)
        return states

    @method
    def tendency(self, omega: Field | State, *, step: int | Array | None = None) -> Any:
        """Return the right-hand side ``J(psi, omega) + nu Lap(omega) - mu omega + f`` [1/time^2], of omega's shape.

        Further terms are part of it. With scalars it is a `State` of the rates of all fields. `step`: the number of
        steps taken before, for laws, as for `force`.
        """
        state = self._state("omega", omega)
        omega = vorticity_in(state)
        viscosity, drag, _ = self._parameters(omega)
        force, (engine, how) = self._with_steady_terms(self._force(omega, step)[None], omega)[0], self._stepping_engine
        rate = engine.tendency(flat(state), viscosity, drag, force, self._spread_terms(omega), **how)
        return unflat(rate, state)

    @method
    def force(self, omega: Field | State, *, step: int | Array | None = None) -> Field:
        """Return the solver's forcing f of the vorticity [1/time^2], of its shape: zero if there is none.

        Args:
            omega: vorticity ``(..., ny, nx)`` [1/time], or a `State`. Linear forcing depends on it.
            step: the number of steps taken before this state, >= 0, which may be traced. f is that of the step which
                follows. It is needed where a law changes in time.

        Raises:
            ValueError: f changes in time, and `step` is not given.
        """
        omega = self._vorticity("omega", vorticity_in(omega))
        force = jnp.broadcast_to(self._force(omega, step), merge(omega, 0, omega.ndim - 2).shape).reshape(omega.shape)
        for rate in parts_of(self.forcing).rates:
            force = force + members("rate", rate, omega).reshape(*(jnp.shape(rate) and omega.shape[:-2]), 1, 1) * omega
        return force

    @method
    def term_rates(self, omega: Field | State) -> dict[str, Field]:
        """Return what each further term adds to the `tendency` of vorticity [1/time^2], by name, of omega's shape.

        The buoyancy of all scalars together is one term.
        """
        state = self._state("omega", omega)
        vorticity, (engine, how) = vorticity_in(state), self._stepping_engine
        terms = self._spread_terms(vorticity)
        rates = engine.term_rates(flat(state), terms, **how) if terms else {}
        return {name: rate.reshape(vorticity.shape) for name, rate in rates.items()}

    @method
    def streamfunction(self, omega: Field | State) -> Field:
        """Return the streamfunction psi of a vorticity, ``Lap(psi) = -omega`` with zero mean [length^2/time].

        With a deformation radius it is ``Lap(psi) - psi / L_d^2 = -omega``.
        """
        vorticity = vorticity_in(omega)
        if self.deformation_radius is not None:
            vorticity = self._vorticity("omega", vorticity)
            given = flat(vorticity), self._of_members(self._terms, vorticity)
            vorticity = self._engine.relative_vorticity(*given, **self._how).reshape(vorticity.shape)
        return streamfunction(self.grid, vorticity, discretisation=self.discretisation, backend=self.backend)

    @method
    def velocity(self, omega: Field | State) -> tuple[Field, Field]:
        """Return the velocity ``(u, v) = (d psi/dy, -d psi/dx)`` [length/time], of zero mean.

        The derivatives are those of the discretisation, by `FiniteDifference` centred differences. Use it where the
        solver's own ones matter: with it the power of a force is exactly ``<u fx + v fy>``, and `cfl` is computed from
        it. `warpjaxns.velocity_of` is exact for the waves that the grid resolves, and adds a mean flow, which no
        vorticity holds.
        """
        u, along_x = self._engine.derivatives(self.streamfunction(omega), **self._how)
        return u, -along_x

    @method
    def diffusion_number(self) -> Float[Array, "..."]:
        """Return the diffusion number ``(nu lambda + mu) dt``: the decay rate of the shortest wave, times the step.

        Its eigenvalue lambda is ``4 (1 / dx^2 + 1 / dy^2)`` with `FiniteDifference`, which is stable up to 2.51 where
        advection is slow. `Spectral`, for which it is ``pi^2 (1 / dx^2 + 1 / dy^2)``, has no such limit. `cfl` has that
        of advection. Scalars decay at the rate ``kappa lambda``, and the fastest of all counts. The result has the
        shape ``(...)`` of the parameters, and JAX's default float type.
        """
        given = self.viscosity, self.drag, self.dt, *(scalar.diffusivity for scalar in self.scalars)
        parameters = [jnp.asarray(value, float) for value in given]
        ndim = max(value.ndim for value in parameters)
        viscosity, drag, dt, *diffusivities = (with_axes(value, ndim) for value in parameters)
        shortest = sum(float(values.max()) for values in self._engine.eigenvalues(self.grid))
        rates = [shortest * viscosity + drag, *(shortest * kappa for kappa in diffusivities)]
        return functools.reduce(jnp.maximum, rates) * dt

    @method
    def cfl(self, omega: Field | State) -> Float[Array, "..."]:
        """Return the Courant number ``max(|u| / dx + |v| / dy) dt``, shape ``(...)``.

        Where viscosity is small, `FiniteDifference` is stable up to about 1.7. `diffusion_number` has the limit of
        viscosity. ``Spectral()`` is stable up to 1.6, and ``Spectral("rk3")`` up to 0.83. With the smooth filter these
        limits are a third lower. By `FiniteDifference` the mean flow is part of u and v. By `Spectral` it is exact for
        any dt, and left out.
        """
        omega = self._vorticity("omega", vorticity_in(omega))
        u, v = self.velocity(omega)
        lead = omega.shape[:-2]
        if self.mean_flow is not None and self._engine.diffusion_limit(self.discretisation) is not None:
            # where linear terms are not exact, the mean flow limits dt too
            means = (broadcast("mean_flow", jnp.asarray(m, omega.dtype), lead, lead, omega) for m in self.mean_flow)
            u, v = (part + mean[..., None, None] for part, mean in zip((u, v), means, strict=True))
        dy, dx = self.grid.spacing
        rate = largest(jnp.abs(u) / dx + jnp.abs(v) / dy)
        return rate * broadcast("dt", jnp.asarray(self.dt, omega.dtype), lead, lead, omega)


def check_solver(value, *, alone: bool = False) -> None:
    """Check that `value` is a solver, and if `alone`, that its flow carries no scalars.

    Raises:
        TypeError: it is not.
        ValueError: it does.
    """
    if not isinstance(value, NavierStokes2D):
        raise TypeError(f"solver={show(value)}: expected a warpjaxns.NavierStokes2D")
    if alone and value.scalars:
        raise ValueError(
            f"solver has scalars={show(value.scalars)}: expected one without, since the vorticity advances alone here"
        )


def _advice(discretisation):
    """Return the end of the message about a state that is not finite."""
    engine = engine_of(discretisation)
    limits = f"solver.cfl(omega) must stay below about {engine.cfl_limit(discretisation):.3g}"
    if (most := engine.diffusion_limit(discretisation)) is not None:
        limits += f", and solver.diffusion_number() below {most}"
    return f"either the initial state was not, or dt is too long: {limits} (check_finite=False turns this check off)"


def _known_bytes(omega):
    """Return the bytes of a state, or of one member where a dimension is symbolic, as in `jax.export`."""
    known = [n for n in omega.shape if isinstance(n, int)]
    return math.prod(known) * omega.dtype.itemsize
