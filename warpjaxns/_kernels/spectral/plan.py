"""The plan of the spectral kernels: how their work is cut into blocks."""

import dataclasses
import functools

import numpy as np

from ..._coefficients import kept_wavenumbers
from ..fft.lines import Lines
from ..hardware.limits import LARGEST_BLOCK
from ..hardware.numbers import REALS, complex_type

PITCH = 4  # complex numbers to which the rows of half-transformed velocities are padded


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape, float type and dealiasing for which kernels are compiled, and how work is cut up.

    A *column pair* is the columns of the wavenumbers kx and -kx, which a block transforms together.

    Args:
        rows: grid rows that a block of the row kernels transforms.
        row_radix: the largest radix of their transforms.
        row_occupancy: threads that are to share a multiprocessor; more have fewer registers each.
        columns: column pairs of a block of the column kernels.
        column_radix: the largest radix of their transforms.
        column_occupancy: as for rows.
        at_once: columns of a pair that are transformed at the same time: 1 or 2.
        paired: whether kx and -kx are neighbours in a row of half-transformed numbers. Then the pieces of memory that
            the column kernels touch are twice as long, and those of the row kernels have gaps.
        shared_memory: bytes that a block may use.
        serial: for the CPU, where a block has one thread.
    """

    shape: tuple[int, int]
    dtype: str
    dealiasing: str
    rows: int = 4
    row_radix: int = 8
    row_occupancy: int = 512
    columns: int = 4
    column_radix: int = 8
    column_occupancy: int = 512
    at_once: int = 2
    paired: bool = False
    shared_memory: int = 0
    serial: bool = False

    def on(self, cpu: bool) -> "Plan":
        """Return the plan for the CPU where `cpu`, else this plan."""
        return dataclasses.replace(self, serial=True, columns=1, rows=1) if cpu else self

    @property
    def real(self) -> type:
        """Warp's float type."""
        return REALS[self.dtype]

    @property
    def complex(self) -> type:
        """Warp's 2-vector that stands for a complex number."""
        return complex_type(self.real)

    @property
    def highest(self) -> tuple[int, int]:
        """The largest wavenumbers that a state keeps, along y and x."""
        ky, kx = (kept_wavenumbers(n, self.dealiasing) for n in self.shape)
        return ky, kx

    @property
    def modes(self) -> tuple[int, int]:
        """Wavenumbers of a state along x and along y."""
        ky, kx = self.highest
        return kx + 1, 2 * ky + 1

    @property
    def filtered(self) -> bool:
        """Whether products are multiplied by a filter."""
        return self.dealiasing == "smooth"

    @property
    def pitch(self) -> int:
        """Room for the wavenumbers of one sign in a row of half-transformed numbers."""
        return -(-self.modes[0] // PITCH) * PITCH

    @property
    def places(self) -> tuple[int, int]:
        """Distances in a row of half-transformed numbers: from a wavenumber to the next, and from kx to -kx."""
        return (2, 1) if self.paired else (1, self.pitch)

    @functools.cached_property
    def row_lines(self) -> Lines:
        """Lines of a block of the row kernels."""
        groups = 1 if self.serial else self.rows
        return Lines(self.shape[1], groups, groups, self.real, self.row_radix, self.serial)

    def column_lines(self, count: int = 2) -> Lines:
        """Return the lines of a block of the column kernels. `count`: columns of every pair that are in memory."""
        interleaved = 1 if self.serial else self.columns
        groups = 1 if self.serial else interleaved * self.at_once
        lines = Lines(self.shape[0], count * interleaved, groups, self.real, self.column_radix, self.serial)
        return dataclasses.replace(lines, interleaved=interleaved)

    @property
    def parts(self) -> int:
        """Blocks of the column kernels for each member."""
        return -(-self.modes[0] // self.columns)

    @staticmethod
    def bounds(lines: Lines, occupancy: int) -> tuple[int, int]:
        """Return the threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, occupancy // lines.block_dim)

    def halves(self, batch: int) -> tuple[type, tuple[int, ...]]:
        """Return the type and shape of an array of half-transformed fields."""
        return self.complex, (batch, self.shape[0], 2 * self.pitch)

    def need(self, count: int = 2) -> tuple[int, int]:
        """Return the threads and bytes of shared memory of a block that the kernels need. `count`: as above."""
        rows, columns = self.row_lines, self.column_lines(count)
        return max(rows.block_dim, columns.block_dim), max(rows.nbytes, columns.nbytes)

    def fits(self, count: int = 2) -> bool:
        """Return whether a block may have so many threads and bytes."""
        threads, need = self.need(count)
        return threads <= LARGEST_BLOCK and need <= self.shared_memory

    @property
    def gain(self) -> float:
        """``1 / sqrt(ny nx)``: what the transforms, which have no factors, leave to the coefficients of states."""
        return 1 / float(np.sqrt(self.shape[0] * self.shape[1]))
