"""Places in the address table that belong together, as kernels take them."""

from typing import NamedTuple

import warp as wp

from ..hardware.address_table import NO_ARRAY, Buffer, Place


class Tables(NamedTuple):
    """Constants of a grid, as buffers: modes of columns (`_coefficients.column_modes`), and roots of unity along x."""

    modes: Buffer
    roots: Buffer


@wp.struct
class TablePlaces:
    """Places of `Tables`."""

    modes: Place
    roots: Place


@wp.struct
class Fields:
    """Places of a state and of its tangent."""

    state: Place
    tangent: Place


@wp.struct
class Spectrum:
    """Places of a field's spectra, of the sums of slabs, and of what enters a device (`entering`).

    `NO_ARRAY` for one that the plan does not use.
    """

    values: Place
    sums: Place
    entering: Place


def table_places(tables: Tables) -> TablePlaces:
    """Return the places of the tables."""
    result = TablePlaces()
    result.modes, result.roots = tables.modes.place, tables.roots.place
    return result


def fields(state: Buffer, tangent: Buffer | None = None) -> Fields:
    """Return the places of a state and, if there is one, of its tangent."""
    result = Fields()
    result.state, result.tangent = _place(state), _place(tangent)
    return result


def spectrum(values: Buffer | None, sums: Buffer | None) -> Spectrum:
    """Return the places of a field's spectra and sums."""
    result = Spectrum()
    result.values, result.sums, result.entering = _place(values), _place(sums), NO_ARRAY
    return result


def from_others(given: Spectrum, entering: Buffer) -> Spectrum:
    """Return the places of a spectrum, with what enters from other devices."""
    given.entering = entering.place
    return given


def _place(buffer):
    return NO_ARRAY if buffer is None else buffer.place
