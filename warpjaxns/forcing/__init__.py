"""Forcing: Kolmogorov forcing, the curl of any force, noise, laws of time, and forcing of your own.

The solver takes a vorticity forcing f [1 / time^2] in one of three ways:

- steady, ``NavierStokes2D(..., forcing=f)`` with f ``(ny, nx)``, or ``(..., ny, nx)`` for members of an ensemble;
- one field a step, ``solver.rollout(omega, steps=steps, forcing=f)`` with f ``(steps, ny, nx)``. It is constant over
  the step. Sampled in the middle of the step, at ``(n + 1/2) dt``, it is of second order in dt; sampled at the start,
  of first order;
- a law of time in either place, such as ``Sine(field, frequency)``. It needs no field a step.

All can be differentiated, so a forcing of your own is any JAX function that returns such an array. `from_momentum`
makes one of a force ``(fx, fy)``:

```python
def jet(grid, position, width):
    x, y = grid.mesh()
    fx = jnp.exp(-(((y - position) / width) ** 2))
    return wns.forcing.from_momentum(grid, fx, jnp.zeros_like(fx))

solver = wns.NavierStokes2D(grid, viscosity=1e-3, dt=1e-2, forcing=jet(grid, 3.0, 0.5))
```

A forcing that depends on the flow goes into a scan over steps, and is constant over each step:

```python
def body(omega, _):
    return solver.rollout(omega, steps=1, forcing=feedback(omega)[None]), None

omega, _ = jax.lax.scan(body, omega, length=steps)
```

`warpjaxns.primitive` makes such a function of a Warp kernel, with its gradient: see ``examples/stirring.py``.
"""

from ._drive import sampled
from ._fields import from_momentum, kolmogorov, ring_noise
from ._laws import Exponential, Law, Linear, Piecewise, Separable, Sine, Space, Steps, Sum
from ._noise import OrnsteinUhlenbeck

__all__ = [
    "Exponential",
    "Law",
    "Linear",
    "OrnsteinUhlenbeck",
    "Piecewise",
    "Separable",
    "Sine",
    "Space",
    "Steps",
    "Sum",
    "from_momentum",
    "kolmogorov",
    "ring_noise",
    "sampled",
]


def __dir__():
    return __all__
