"""The periodic box and the points at which fields are sampled."""

import dataclasses
import math
import numbers

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ._show import show

# Within these lengths float32 holds the constants of the operators, up to 8 / spacing^2 and (side / 2 pi)^2, and their
# inverses.
SHORTEST, LONGEST = 1e-18, 1e19
EXCHANGES = "auto", "gather", "near", "peers"


@dataclasses.dataclass(frozen=True)
class Grid:
    """A uniform grid on the doubly periodic box ``[0, Ly) x [0, Lx)``.

    A grid is static and hashable. Two grids of the same shape and extent are equal. A grid may be closed over or passed
    as a static argument.

    Args:
        shape: points ``(ny, nx)``, each at least 4.
        extent: side lengths ``(Ly, Lx)`` [length], each positive, from 1e-18 a point to 1e19.

    Raises:
        TypeError: `shape` does not hold two integers, or `extent` two real numbers.
        ValueError: a size is under 4; a side is not positive and finite, or float32 cannot hold the constants of its
            operators.

    Fields on a grid are arrays ``(..., ny, nx)``: y is axis -2, x is axis -1.
    """

    shape: tuple[int, int]
    extent: tuple[float, float] = (2 * math.pi, 2 * math.pi)

    def __post_init__(self):
        shape = _pair("shape", self.shape, numbers.Integral, "two integers (ny, nx)")
        extent = _pair("extent", self.extent, numbers.Real, "two real numbers (Ly, Lx)")
        if min(shape) < 4:
            raise ValueError(f"shape={show(shape)}: the stencils need at least 4 points along each axis")
        if not all(0 < side < math.inf for side in extent):
            raise ValueError(f"extent={show(extent)}: both sides must be positive and finite")
        if any(side > LONGEST or n > side / SHORTEST for side, n in zip(extent, shape, strict=True)):
            raise ValueError(
                f"extent={show(extent)} for the shape={show(shape)}: expected sides up to {LONGEST:g} and points at "
                f"least {SHORTEST:g} apart, whose squares float32 can hold; take another unit of length"
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "extent", tuple(float(side) for side in extent))

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance between points ``(dy, dx)`` [length]."""
        (ny, nx), (height, width) = self.shape, self.extent
        return height / ny, width / nx

    @property
    def y(self) -> np.ndarray:
        """Coordinates along axis -2, shape ``(ny,)``, float64, starting at 0 [length]."""
        return np.arange(self.shape[0]) * self.spacing[0]

    @property
    def x(self) -> np.ndarray:
        """Coordinates along axis -1, shape ``(nx,)``, float64, starting at 0 [length]."""
        return np.arange(self.shape[1]) * self.spacing[1]

    def mesh(self) -> tuple[jax.Array, jax.Array]:
        """Coordinates ``(X, Y)`` [length] of every point, each of shape ``(ny, nx)`` and JAX's default float type."""
        x, y = jnp.meshgrid(jnp.asarray(self.x, float), jnp.asarray(self.y, float))
        return x, y

    def over(self, mesh: Mesh, axis: str, exchange: str = "auto") -> "DividedGrid":
        """Return this grid with its rows divided over an axis of a mesh of devices.

        Each device holds a slab of ``ny / P`` rows, P being the length of the axis. A solver on such a grid has the
        methods and results of any other, and its fields are sharded along y (`DividedGrid.sharding`).

        Args:
            mesh: devices. Its other axes may divide members.
            axis: the name of one of its axes.
            exchange: the way of messages between slabs. "gather": all to all devices, by one all-gather. "near": those
                of short waves to the two neighbours only, since they decay within a slab; that is less to receive on
                many devices, in three collectives. "peers": kernels write those of time steps into the memory of other
                devices, without the host; up to 8 CUDA devices of a host that can access each other's memory, all of
                one process, or each of its own.
                "auto": "near" where that spares a device 16 MiB a message, else "gather".

        Raises:
            TypeError: `mesh` is not a `jax.sharding.Mesh`.
            ValueError: the mesh has no such axis, or axes of another type than `Auto`, or the axis does not divide ny
                into slabs of at least 2 rows; or there is no such exchange.
        """
        return DividedGrid(self.shape, self.extent, devices=mesh, axis=axis, exchange=exchange)


@dataclasses.dataclass(frozen=True)
class DividedGrid(Grid):
    """A grid whose rows are divided over an axis of a mesh of devices. `Grid.over` makes one.

    Args:
        shape: as in `Grid`.
        extent: as in `Grid`.
        devices: the mesh.
        axis: the name of the axis.
        exchange: the way of messages between slabs, as in `Grid.over`.

    Raises:
        TypeError: `devices` is not a `jax.sharding.Mesh`.
        ValueError: the mesh has no such axis, or axes of another type than `Auto`, or the axis does not divide ny into
            slabs of at least 2 rows; or there is no such exchange.
    """

    _: dataclasses.KW_ONLY
    devices: Mesh
    axis: str
    exchange: str = "auto"

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.devices, Mesh):
            raise TypeError(f"mesh={show(self.devices)}: expected a jax.sharding.Mesh, as jax.make_mesh makes")
        names = self.devices.axis_names
        if self.axis not in names:
            raise ValueError(f"axis={show(self.axis)}: the mesh has the axes {', '.join(map(repr, names))}")
        if any(kind != AxisType.Auto for kind in self.devices.axis_types):
            raise ValueError(
                f"mesh has axes of the types {', '.join(kind.name for kind in self.devices.axis_types)}: expected "
                "Auto, as jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(names)) makes them"
            )
        ny = self.shape[0]
        if ny % self.parts or ny // self.parts < 2:
            fitting = [n for n in range(1, ny // 2 + 1) if ny % n == 0]
            raise ValueError(
                f"axis={show(self.axis)} has {self.parts} devices, which do not divide the {ny} rows of the grid into "
                f"equal slabs of at least 2: expected a number of devices among {fitting}, or another ny"
            )
        if self.exchange not in EXCHANGES:
            raise ValueError(f"exchange={show(self.exchange)}: expected one of {', '.join(map(repr, EXCHANGES))}")

    @property
    def parts(self) -> int:
        """The number of slabs."""
        return self.devices.shape[self.axis]

    @property
    def rows(self) -> int:
        """The rows of a slab."""
        return self.shape[0] // self.parts

    def sharding(self, *leading: str | tuple[str, ...] | None) -> NamedSharding:
        """Return the sharding of a field, for `jax.device_put`.

        Args:
            leading: for each leading axis of the field, the axis of the mesh that divides it, or None.
        """
        return NamedSharding(self.devices, PartitionSpec(*leading, self.axis, None))

    def place(self, field: jax.Array) -> jax.Array:
        """Return a field ``(..., ny, nx)`` on the devices of the mesh, its rows divided among them.

        Every function of the package does so with the fields that it is given. One that is on the mesh already stays.
        """
        lead = field.ndim - 2
        if isinstance(field, jax.core.Tracer):
            spec = PartitionSpec(*[PartitionSpec.UNCONSTRAINED] * lead, self.axis, None)
            return jax.lax.with_sharding_constraint(field, NamedSharding(self.devices, spec))
        if field.sharding.device_set == set(self.devices.devices.flat):
            return field
        return jax.device_put(field, self.sharding(*[None] * lead))

    def of_rows(self, rows: int) -> Grid:
        """Return a periodic grid of so many rows (at least 4), with the same spacing."""
        return Grid((rows, self.shape[1]), (rows * self.spacing[0], self.extent[1]))


def _pair(name, value, kind, expected):
    ordered = isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.ndim)
    pair = tuple(value) if ordered else ()
    if len(pair) != 2 or not all(isinstance(item, kind) and not isinstance(item, bool) for item in pair):
        raise TypeError(f"{name}={show(value)}: expected {expected}")
    return pair
