"""Discretisations: what a user chooses, and the engine behind each.

An engine is a module with the functions of `Engine`. All else in the package knows a discretisation by these.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import jax
import numpy as np

from ._checks import check_option
from ._grid import DividedGrid, Grid
from ._show import show
from ._support import peers_obstacle

ADVECTION = ("arakawa", "central")
INTEGRATORS = ("rk4", "rk3")
DEALIASING = ("two-thirds", "smooth")


class _Options:
    """Options of a discretisation, which are plain strings once they are checked."""

    def _check(self, **choices: tuple[str, ...]):
        for name, options in choices.items():
            check_option(name, getattr(self, name), options)
            object.__setattr__(self, name, str(getattr(self, name)))  # Equinox takes NumPy's strings for arrays


@dataclasses.dataclass(frozen=True)
class FiniteDifference(_Options):
    """Finite differences of second order, and SSP-RK3 in time (Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5).

    The Laplacian has five points, and the streamfunction is its exact inverse. The error falls with the square of the
    spacing. Steps are explicit, so both `NavierStokes2D.cfl` (under about 1.7) and `NavierStokes2D.diffusion_number`
    (under 2.51) limit dt.

    Take it where the flow has edges that a grid does not resolve, or where one digit is enough: on the same grid
    its step costs less. Take `Spectral` where a smooth flow is wanted to two digits or more.

    Args:
        advection: ``"arakawa"`` (Arakawa 1966, doi:10.1016/0021-9991(66)90015-5), which conserves energy and enstrophy
            to rounding, or ``"central"``, plain centred differences, which conserve neither.

    Raises:
        ValueError: `advection` is unknown.
    """

    advection: str = "arakawa"

    def __post_init__(self):
        self._check(advection=ADVECTION)


@dataclasses.dataclass(frozen=True)
class Spectral(_Options):
    """Fourier modes, with products taken at the points of the grid.

    The error of a smooth, resolved flow falls faster than any power of the spacing. Viscosity and drag are integrated
    exactly, as a factor of each mode, so they do not limit dt. `NavierStokes2D.cfl` does.

    Take it where a smooth flow is wanted to two digits or more. A front or a filament that is thinner than the grid
    rings all over the box: `FiniteDifference` keeps such an error where it arises.

    Args:
        integrator: ``"rk4"``, five stages of fourth order (Carpenter and Kennedy 1994, NASA TM 109112), or ``"rk3"``,
            three stages of third order (Williamson 1980, doi:10.1016/0021-9991(80)90033-9).
        dealiasing: ``"two-thirds"`` keeps the modes ``3 |m| < n`` along each axis (Orszag 1971,
            doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2). Their products are exact, so advection conserves
            energy and enstrophy to rounding. ``"smooth"`` keeps the modes ``2 |m| < n``, and damps the shortest waves
            of products along each axis by ``exp(-36 (2 m / n)^36)`` (Hou and Li 2007, doi:10.1016/j.jcp.2007.04.014).
            It is more accurate on the same grid, but conserves neither exactly, and its waves limit dt more.

    A state is projected onto the modes that are kept, by a rollout of no steps too.

    Raises:
        ValueError: an option is unknown.
    """

    integrator: str = "rk4"
    dealiasing: str = "two-thirds"

    def __post_init__(self):
        self._check(integrator=INTEGRATORS, dealiasing=DEALIASING)


@dataclasses.dataclass(frozen=True)
class FiniteDifferenceWithScalars(FiniteDifference):
    """`FiniteDifference` for a flow that carries scalars, whose states hold them too. A solver makes it of its own."""


@dataclasses.dataclass(frozen=True)
class SpectralWithScalars(Spectral):
    """`Spectral` for a flow that carries scalars, whose states hold them too. A solver makes it of its own."""


Discretisation: TypeAlias = FiniteDifference | Spectral
NAMES = {"finite-difference": FiniteDifference, "spectral": Spectral}  # for the command line and files


class Engine(Protocol):
    """The functions of an engine.

    Fields are ``(batch, ny, nx)``. `how` is what `static` returned. An operator is the one that the time steps use.
    """

    def static(self, discretisation: Any, grid: Grid, backend: str) -> dict[str, Any]:
        """Return the static parameters of the engine's primitives, `grid` and `backend` among them."""
        ...

    def obstacle(self, grid: Grid, dtype: Any, platform: str) -> str | None:
        """Return why Warp cannot run this grid in this type on this platform ("cpu" or "cuda"), or None."""
        ...

    def to_state(self, field: jax.Array, /, **how) -> jax.Array:
        """Return the state that time steps advance, ``(batch, *state)``."""
        ...

    def forcing_to_state(self, forcing: jax.Array, /, **how) -> jax.Array:
        """Return the forcing of time steps, of ``(steps or 1, batch or 1, ny, nx)``, or ``(1, 1, 1, 1)`` for none."""
        ...

    def spectrum_to_state(self, spectrum: jax.Array, /, **how) -> jax.Array:
        """Return states from the coefficients of fields, those of ``rfft2(fields, norm="ortho")``.

        Any leading axes are allowed. No field has waves of two points.
        """
        ...

    def to_field(self, state: jax.Array, /, **how) -> jax.Array:
        """Return the field of a state."""
        ...

    advance: Callable[..., jax.Array]  # `_primitives.steps.Steps.advance`

    def tendency(
        self, field: jax.Array, viscosity: jax.Array, drag: jax.Array, force: jax.Array, terms: Any = None, /, **how
    ) -> jax.Array:
        """Return the right-hand side. Parameters are ``(batch,)`` or ``(1,)``, and `force` broadcasts."""
        ...

    def check_terms(self, grid: Grid, terms: Any, /) -> None:
        """Check that the engine has these further terms, a `_terms.Terms`."""
        ...

    def term_operands(self, terms: Any, /, **how) -> tuple[jax.Array | None, ...]:
        """Return the operands of time steps that stand for the terms, from the fifth on (`_primitives.operands`)."""
        ...

    def term_forcing(self, terms: Any, /, **how) -> jax.Array | None:
        """Return what the terms add to the right-hand side whatever the state is, ``(batch or 1, ny, nx)``, or None."""
        ...

    def term_rates(self, field: jax.Array, terms: Any, /, **how) -> dict[str, jax.Array]:
        """Return what each of the terms adds to the right-hand side, by name."""
        ...

    def relative_vorticity(self, field: jax.Array, terms: Any, /, **how) -> jax.Array:
        """Return ``-Lap psi`` of a state's field, which differs from it with a deformation radius."""
        ...

    def streamfunction(self, field: jax.Array, /, **how) -> jax.Array:
        """Return psi of zero mean, ``Lap(psi) = -(field - mean)``."""
        ...

    def laplacian(self, field: jax.Array, /, **how) -> jax.Array:
        """Return the Laplacian."""
        ...

    def jacobian(self, a: jax.Array, b: jax.Array, /, **how) -> jax.Array:
        """Return ``J(a, b) = a_x b_y - a_y b_x``. Either operand may be ``(1, ny, nx)``."""
        ...

    def derivatives(self, field: jax.Array, /, **how) -> tuple[jax.Array, jax.Array]:
        """Return the derivatives along y and along x. Each is antisymmetric. Any leading axes are allowed."""
        ...

    def second_derivatives(self, field: jax.Array, /, **how) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the second derivatives along y, along x, and along both."""
        ...

    def diffusion(self, coefficient: jax.Array, field: jax.Array, /, **how) -> jax.Array:
        """Return ``div(coefficient grad field)``: no mean, and no production of ``field^2`` if coefficient >= 0."""
        ...

    def derivative_factor(self, wavenumber: float, spacing: float, /) -> float:
        """Return s, with which the derivative of ``sin(k x)`` is ``s cos(k x)``."""
        ...

    def eigenvalues(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Return those of minus the Laplacian, float64, along y ``(ny,)`` and x ``(nx // 2 + 1,)``, in FFT order."""
        ...

    def highest_waves(self, discretisation: Any, grid: Grid, /) -> tuple[float, float]:
        """Return the most waves a side, along y and along x, of the modes that a state keeps."""
        ...

    def kept_fields(self, discretisation: Any, grid: Grid, /) -> float:
        """Return the fields that reverse mode keeps of a step with `Direct`."""
        ...

    def cfl_limit(self, discretisation: Any, /) -> float:
        """Return the Courant number up to which steps are stable, about."""
        ...

    def diffusion_limit(self, discretisation: Any, /) -> float | None:
        """Return the diffusion number up to which steps are stable, or None if all are."""
        ...

    def resistance_limit(self, discretisation: Any, /) -> float:
        """Return ``dt chi / eta`` of an obstacle up to which steps are stable."""
        ...

    def check_reach(self, grid: Grid, viscosity: Any, drag: Any, dt: Any, /, name: str = "viscosity") -> None:
        """Check that a step does not multiply a wave by more than float32 holds. `name`: that of the viscosity."""
        ...


def engine_of(discretisation: Discretisation) -> Engine:
    """Return the engine of a discretisation."""
    if isinstance(discretisation, FiniteDifferenceWithScalars):
        from ._finite_difference.scalars import engine as carrying

        return cast(Engine, carrying)  # it has what advances states
    if isinstance(discretisation, FiniteDifference):
        from ._finite_difference import engine as finite_difference

        return finite_difference
    if isinstance(discretisation, SpectralWithScalars):
        from ._spectral.scalars import engine as with_scalars

        return cast(Engine, with_scalars)
    from ._spectral import engine as spectral

    return spectral


def check_discretisation(value: Any, grid: Grid | None = None) -> None:
    """Check that `value` is a discretisation, and that it runs on `grid`.

    Raises:
        TypeError: it is none.
        ValueError: only finite differences run on a divided grid.
    """
    if not isinstance(value, Discretisation):
        raise TypeError(
            f"discretisation={show(value)}: expected warpjaxns.FiniteDifference(...) or warpjaxns.Spectral(...)"
        )
    if isinstance(grid, DividedGrid) and isinstance(value, Spectral):
        raise ValueError(
            f"discretisation={show(value)}: modes need the whole grid on each device, and this one is divided over "
            f"{show(grid.axis)}; expected FiniteDifference(), or a Grid that is not divided: its members may be sharded"
        )


def check_backend(backend: Any, discretisation: Any, grid: Grid, dtype: Any) -> None:
    """Check both, and that ``"warp"`` can run this grid and dtype on JAX's default platform.

    Raises:
        TypeError: `discretisation` is none.
        ValueError: `backend` is unknown, or cannot, with the reason.
    """
    check_discretisation(discretisation, grid)
    check_option("backend", backend, ("auto", "warp", "xla"))
    by_peers = grid if isinstance(grid, DividedGrid) and grid.exchange == "peers" else None
    if backend == "warp" or by_peers:
        platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        obstacle = engine_of(discretisation).obstacle(grid, dtype, platform)
        if obstacle and backend == "warp":
            raise ValueError(f'backend="warp" cannot be used here: {obstacle}, or backend="xla"')
        if by_peers:
            obstacle = obstacle or (backend == "xla" and 'the backend is "xla"') or peers_obstacle(by_peers)
            if obstacle:
                raise ValueError(f'exchange="peers" cannot be used here: {obstacle}; use exchange="auto"')


def to_dict(discretisation: Discretisation) -> dict[str, str]:
    """Return name and options, for JSON."""
    name = next(name for name, kind in NAMES.items() if isinstance(discretisation, kind))
    return {"name": name, **dataclasses.asdict(discretisation)}


def from_dict(values: dict[str, str]) -> Discretisation:
    """Return the discretisation of `to_dict`."""
    return NAMES[values["name"]](**{name: value for name, value in values.items() if name != "name"})
