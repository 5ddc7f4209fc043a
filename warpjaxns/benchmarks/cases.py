"""Cases and tasks: the grids and ensembles of a benchmark, and the computations on them."""

import dataclasses

import jax
import jax.numpy as jnp

from .._checks import check_count, check_dtype, check_option
from .._discretisation import Discretisation, FiniteDifference, check_discretisation
from .._grid import Grid
from ..initial import random_vorticity

# A rollout; the value and gradient of the mean square of its last state with respect to its first, with both adjoints;
# its derivative in one direction.
TASKS = ("forward", "gradient direct", "gradient checkpointed", "jvp")


@dataclasses.dataclass(frozen=True)
class Case:
    """An ensemble of decaying flows in the default box.

    Args:
        size: points along each side, at least 4.
        members: independent flows that are advanced together, at least 1.
        dtype: ``"float32"`` or ``"float64"``.
        discretisation: of this package's backends.
        viscosity: of the flows [length^2/time].

    Raises:
        TypeError: an argument has another type.
        ValueError: an argument is out of its range.
    """

    size: int
    members: int = 1
    dtype: str = "float32"
    discretisation: Discretisation = FiniteDifference()
    viscosity: float = 1e-3

    def __post_init__(self):
        check_count("size", self.size, least=4)
        check_count("members", self.members, least=1)
        check_option("dtype", self.dtype, ("float32", "float64"))
        check_discretisation(self.discretisation)

    @property
    def grid(self) -> Grid:
        """The grid of each member."""
        return Grid((self.size, self.size))

    @property
    def dt(self) -> float:
        """Length of a time step [time]: about the same Courant number on every grid, and well within stability."""
        return max(0.512 / self.size, 2.5e-4)

    @property
    def points(self) -> int:
        """Grid points of all members together."""
        return self.members * self.size**2

    @property
    def label(self) -> str:
        """The case for tables, such as ``64 x 128²``."""
        return f"{self.members} x {self.size}²" if self.members > 1 else f"{self.size}²"

    def initial_state(self) -> jax.Array:
        """Return smooth random vorticity [1/time], ``(members, ny, nx)``, or ``(ny, nx)`` for a single member.

        Raises:
            TypeError: float64 while `jax_enable_x64` is off.
        """
        dtype = check_dtype("dtype", self.dtype)

        def member(key):
            return random_vorticity(self.grid, key=key, max_wavenumber=min(6, self.size // 2), dtype=dtype)

        key = jax.random.key(0)
        field = jax.vmap(member)(jax.random.split(key, self.members)) if self.members > 1 else member(key)
        return field * jnp.asarray(3, dtype)


def default_cases(platform: str, *, quick: bool = False) -> list[tuple[int, int]]:
    """Return the ``(size, members)`` that ``warpjaxns bench`` measures on a platform (``"cpu"``, ``"gpu"``)."""
    if platform == "cpu":
        return [(64, 1), (128, 1)] if quick else [(64, 1), (128, 1), (256, 1), (64, 16)]
    if quick:
        return [(256, 1), (512, 1), (1024, 1), (128, 64)]
    single = [(size, 1) for size in (256, 512, 1024, 2048, 4096)]
    ensembles = [(64, 64), (64, 1024), (128, 64), (128, 1024), (256, 16), (256, 64), (512, 16), (512, 64), (1024, 16)]
    return single + ensembles
