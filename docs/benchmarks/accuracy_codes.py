"""The codes that `accuracy.py` compares: both engines of this package, Exponax and JAX-CFD, each with its schemes.

A code is a function ``rollout(flow, size, dt, steps, members, recompute)`` that returns ``omega -> omega`` on
``(size, size)`` points, or ``(members, size, size)``. `recompute` asks it to keep less for a gradient, and take longer.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from accuracy_flows import SIDE, WAVES, Flow, forcing

import warpjaxns as wns


@dataclasses.dataclass(frozen=True)
class Code:
    """A code with one scheme.

    Attributes:
        family: the code; of its schemes the best one at each error is shown.
        scheme: what is chosen within it.
        sizes: points a side that are measured.
        rollout: see the head of this file.
    """

    family: str
    scheme: str
    sizes: tuple[int, ...]
    rollout: Callable[..., Callable[[jax.Array], jax.Array]]

    @property
    def name(self) -> str:
        """Family and scheme."""
        return f"{self.family}, {self.scheme}"


def _ours(discretisation, flow: Flow, size, dt, steps, members=1, recompute=False):
    grid = wns.Grid((size, size), (SIDE, SIDE))
    solver = wns.NavierStokes2D(
        grid,
        viscosity=flow.viscosity,
        dt=dt,
        drag=flow.drag,
        forcing=_force(flow, size) if flow.amplitude else None,
        discretisation=discretisation,
        adjoint=wns.Checkpointed() if recompute else wns.Direct(),
        check_finite=False,
    )
    return lambda omega: solver.rollout(omega, steps=steps)


def _force(flow, size):
    return jnp.asarray(forcing(flow, size), jnp.zeros(()).dtype)


def _exponax(order, flow: Flow, size, dt, steps, members=1, recompute=False):
    import exponax  # pyright: ignore[reportMissingImports]

    # Its forcing varies along the second axis. In the transposed box the vorticity has the other sign, and so has f.
    turned = bool(flow.amplitude)
    linear = {"diffusivity": flow.viscosity, "drag": -flow.drag, "order": order}
    with jax.numpy_dtype_promotion("standard"):
        if turned:
            force = {"injection_mode": WAVES, "injection_scale": -flow.amplitude}
            stepper = exponax.stepper.KolmogorovFlowVorticity(2, SIDE, size, dt, **linear, **force)
        else:
            stepper = exponax.stepper.NavierStokesVorticity(2, SIDE, size, dt, **linear)

    def rollout(omega):
        start = exponax.fft(-omega.T[None] if turned else omega[None], num_spatial_dims=2)
        end = _repeat(stepper.step_fourier, start, steps, recompute)
        end = exponax.ifft(end, num_spatial_dims=2, num_points=size)[0]
        return -end.T if turned else end

    return _per_member(rollout)


def _jax_cfd(scheme, flow: Flow, size, dt, steps, members=1, recompute=False):
    from jax_cfd.base import forcings, grids  # pyright: ignore[reportMissingImports]
    from jax_cfd.spectral import equations, time_stepping  # pyright: ignore[reportMissingImports]

    def force(grid):
        return forcings.kolmogorov_forcing(grid, scale=flow.amplitude, k=WAVES, offsets=((0, 0), (0, 0)))

    with jax.numpy_dtype_promotion("standard"):
        grid = grids.Grid((size, size), domain=((0, SIDE), (0, SIDE)))
        forcing_fn = force if flow.amplitude else None
        equation = equations.NavierStokes2D(flow.viscosity, grid, drag=flow.drag, smooth=True, forcing_fn=forcing_fn)
        step = getattr(time_stepping, f"crank_nicolson_{scheme}")(equation, dt)

    def rollout(omega):  # its first axis is x
        end = _repeat(step, jnp.fft.rfftn(omega.T), steps, recompute)
        return jnp.fft.irfftn(end, s=omega.T.shape).T

    return _per_member(rollout)


def _repeat(step, state, steps, recompute):
    """Return the state after `steps` steps; with `recompute` a gradient keeps one state a step."""

    def body(state, _):
        return step(state), None

    return jax.lax.scan(jax.checkpoint(body) if recompute else body, state, length=steps)[0]


def _per_member(rollout):
    def promoted(omega):
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return jax.vmap(rollout)(omega) if omega.ndim == 3 else rollout(omega)

    return promoted


def _bound(function, value):
    return functools.partial(function, value)


FINITE = (128, 256, 512, 1024, 2048, 4096)
FOURIER = (48, 64, 96, 128, 192, 256, 384, 512)
COARSE = (48, 64, 96)  # of a scheme of second order, which is out of the race where errors are small
SPECTRA = [(i, d) for i in ("rk3", "rk4") for d in ("two-thirds", "smooth")]
CODES = (
    Code("finite differences", "Arakawa, SSP-RK3", FINITE, _bound(_ours, wns.FiniteDifference())),
    *(
        Code("spectral", f"{i}, {d}", FOURIER, _bound(_ours, wns.Spectral(integrator=i, dealiasing=d)))
        for i, d in SPECTRA
    ),
    *(Code("Exponax", f"ETDRK{o}", FOURIER if o > 2 else COARSE, _bound(_exponax, o)) for o in (2, 3, 4)),
    *(Code("JAX-CFD", scheme, FOURIER, _bound(_jax_cfd, scheme)) for scheme in ("rk3", "rk4")),
)
