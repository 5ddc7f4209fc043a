"""Cases of the spectral engine: its time steps from field to field, and their operands."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spectral_oracle
from oracle import directions, normal

from warpjaxns import Grid
from warpjaxns._spectral import engine

# members of SMALL are resident, those of WIDE are too large
SMALL, WIDE = Grid((6, 10), (2.0, 3.5)), Grid((9, 72), (0.7, 5.9))
BACKENDS = ["warp", "xla"]
DTYPES = ["float32", "float64"]
INTEGRATORS = ["rk3", "rk4"]
DEALIASINGS = ["two-thirds", "smooth"]
ALL = ("viscosity", "drag", "dt", "forcing")


# grid, dealiasing and float type, by which kernels are compiled: every pair, and in the fast tier two of each
LONG = Grid((10, 15), (5.0, 4.0))
KERNELS = [
    (SMALL, "two-thirds", "float64"),
    (WIDE, "smooth", "float32"),
    (SMALL, "smooth", "float32"),
    (WIDE, "two-thirds", "float64"),
    (LONG, "two-thirds", "float32"),
    (LONG, "smooth", "float64"),
]
every_kernel = pytest.mark.parametrize(
    ("grid", "dealiasing", "dtype"),
    [
        pytest.param(*which, marks=[pytest.mark.full] * (i > 1), id=f"{which[0].shape}-{which[1]}-{which[2]}")
        for i, which in enumerate(KERNELS)
    ],
)

# of fields and of states; a program each, where operation by operation would be twenty
to_state, to_field = (jax.jit(f, static_argnames=("grid", "dealiasing")) for f in (engine.to_state, engine.to_field))


@dataclasses.dataclass(frozen=True)
class Case:
    """A case: grid, options, steps, and the operands that members have of their own."""

    grid: Grid = SMALL
    dealiasing: str = "two-thirds"
    integrator: str = "rk3"
    dtype: str = "float64"
    steps: int = 2
    repeats: int = 1
    direct: int = 0  # repetitions at the end whose stages reverse mode keeps
    batch: int = 2
    per_member: tuple[str, ...] = ()
    forcing: str = "steady"

    def __str__(self):
        parts = [f"{self.grid.shape[0]}x{self.grid.shape[1]}", f"{self.steps}x{self.repeats}", self.dtype]
        parts += [self.dealiasing, self.integrator, self.forcing, f"direct{self.direct}" * (self.direct > 0)]
        return "-".join(filter(None, [*parts, *self.per_member]))

    @property
    def where(self):
        return {"grid": self.grid, "dealiasing": self.dealiasing}

    def fused(self, backend):
        """Return the steps of a backend, or of the oracle."""
        if backend == "oracle":
            return self.oracle
        how = {"steps": self.steps, "repeats": self.repeats, "direct": self.direct, "backend": backend}

        def run(omega, viscosity, drag, dt, forcing):
            state, force = engine.to_state(omega, **self.where), engine.forcing_to_state(forcing, **self.where)
            out = engine.advance(state, viscosity, drag, dt, force, integrator=self.integrator, **self.where, **how)
            return engine.to_field(out, **self.where)

        return run

    @property
    def oracle(self):
        how = {"integrator": self.integrator, "steps": self.steps * self.repeats}
        return functools.partial(spectral_oracle.advance, **self.where, **how)

    def operands(self, seed=0):
        def count(name):
            return self.batch if name in self.per_member else 1

        dy, dx = self.grid.spacing
        omega = normal(seed, (self.batch, *self.grid.shape), self.dtype)
        # so large that every term matters: viscosity damps the shortest waves by a fifth in a step
        scales = {"viscosity": 0.1 * min(dx, dy), "drag": 0.3, "dt": 0.2 * min(dx, dy)}
        values = [jnp.asarray(scale * (1 + np.arange(count(name)) / 3), self.dtype) for name, scale in scales.items()]
        steps = {"none": 1, "steady": 1, "per step": self.steps}[self.forcing]
        shape = (1,) * 4 if self.forcing == "none" else (steps, count("forcing"), *self.grid.shape)
        forcing = (
            jnp.asarray(np.zeros(shape), self.dtype) if self.forcing == "none" else normal(seed + 1, shape, self.dtype)
        )
        return omega, *values, forcing

    @property
    def alone(self):
        """The number of operands that can be differentiated: a single zero that stands for no forcing cannot."""
        return 4 if self.forcing == "none" else 5

    def like(self, operands, seed):
        """Return random directions, in the unit of each operand; zero for a missing forcing."""
        return directions(operands, seed, self.dtype)
