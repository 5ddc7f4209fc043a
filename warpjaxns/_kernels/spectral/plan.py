"""The plan of the spectral kernels: how their work is cut into blocks."""

import dataclasses
import functools
import math

from ..._coefficients import kept_wavenumbers
from ..fft.lines import Lines
from ..hardware.limits import LARGEST_BLOCK
from ..hardware.numbers import REALS, complex_type
from ..tuning import SpectralColumns, SpectralResident, SpectralRows

PITCH = 4  # complex numbers to which the rows of half-transformed fields are padded


@dataclasses.dataclass(frozen=True)
class Plan:
    """A grid shape, float type and dealiasing for which kernels are compiled, and how work is cut up.

    Args:
        rows: blocks of the kernels that work on rows.
        advance: blocks of those that work on columns, for a state alone.
        tangent: the same for a state and its tangent.
        sweep: the same for the backward sweep.
        resident: how a block keeps a member through all steps; None where it does not.
        resident_tangent: the same with a tangent.
        resident_sweep: the same for the backward sweep.
        apart: whether products at the same points have blocks of their own, which write other arrays than they read.
        shared_memory: bytes that a block may use.
        serial: for the CPU, where a block has one thread.
    """

    shape: tuple[int, int]
    dtype: str
    dealiasing: str
    rows: SpectralRows
    advance: SpectralColumns
    tangent: SpectralColumns
    sweep: SpectralColumns
    resident: SpectralResident | None = None
    resident_tangent: SpectralResident | None = None
    resident_sweep: SpectralResident | None = None
    apart: bool = False
    shared_memory: int = 0
    serial: bool = False

    def on(self, cpu: bool) -> "Plan":
        """Return the plan for the CPU where `cpu`, else this plan."""
        if not cpu:
            return self
        cuts = {name: getattr(self, name)._replace(columns=1) for name in ("advance", "tangent", "sweep")}
        return dataclasses.replace(self, serial=True, rows=self.rows._replace(rows=1), **cuts)

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
        """True where products are multiplied by a filter."""
        return self.dealiasing == "smooth"

    @property
    def gain(self) -> float:
        """``1 / sqrt(ny nx)``: what the transforms, which have no factors, leave to the coefficients of states."""
        return 1 / math.sqrt(self.shape[0] * self.shape[1])

    @property
    def pitch(self) -> int:
        """Numbers from a wavenumber kx to -kx in a row of half-transformed numbers."""
        return -(-self.modes[0] // PITCH) * PITCH

    def halves(self, batch: int) -> tuple[type, tuple[int, ...]]:
        """Return the type and shape of an array of half-transformed fields."""
        return self.complex, (batch, self.shape[0], 2 * self.pitch)

    @functools.cached_property
    def row_lines(self) -> Lines:
        """Lines of a block of the row kernels."""
        groups = 1 if self.serial else self.rows.rows
        return Lines(
            self.shape[1], groups, groups, self.real, self.rows.radix, self.serial, precise=True, narrow=groups > 1
        )

    def column_lines(self, cut: SpectralColumns, count: int = 2) -> Lines:
        """Return the lines of a block of the column kernels. `count`: columns of each kx that are in memory."""
        groups = 1 if self.serial else cut.columns * min(cut.at_once, count)
        lines = Lines(self.shape[0], count * cut.columns, groups, self.real, cut.radix, self.serial, precise=True)
        return dataclasses.replace(lines, interleaved=cut.columns)

    def parts(self, cut: SpectralColumns) -> int:
        """Return the blocks of a column kernel for each member."""
        return -(-self.modes[0] // cut.columns)

    @staticmethod
    def bounds(lines: Lines, cut: SpectralRows | SpectralColumns) -> tuple[int, int]:
        """Return the threads of a block, and the fewest blocks that are to share a multiprocessor."""
        return lines.block_dim, max(1, cut.occupancy // lines.counted_threads)

    def need(self, cut: SpectralColumns, count: int = 2) -> tuple[int, int]:
        """Return the threads and bytes of shared memory of a block of the column kernels."""
        lines = self.column_lines(cut, count)
        return lines.block_dim, lines.nbytes

    def fits(self, cut: SpectralColumns, count: int, limit: int | None = None) -> bool:
        """Return whether a block may have so many threads and bytes. `limit`: bytes; None: those of the plan."""
        threads, need = self.need(cut, count)
        return threads <= LARGEST_BLOCK and need <= (limit or self.shared_memory)

    @property
    def sweeps_together(self) -> bool:
        """True where a block of the sweep has room for the columns of strain and velocity."""
        return self.fits(self.sweep, 4)
