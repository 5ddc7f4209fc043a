"""Places in the address table that belong together, as the spectral kernels take them."""

from typing import NamedTuple

import warp as wp

from ..hardware.address_table import NO_ARRAY, Buffer, Place


class Tables(NamedTuple):
    """Constants of a grid, as buffers: roots of unity along y and x, and the dealiasing filters.

    The filters are one array, the factors of a state's wavenumbers along y before those along x.
    """

    roots_y: Buffer
    roots_x: Buffer
    filters: Buffer


@wp.struct
class Fields:
    """Places of a state and of its tangent."""

    state: Place
    tangent: Place


def fields(state: Buffer, tangent: Buffer | None = None) -> Fields:
    """Return the places of a state and, if there is one, of its tangent."""
    result = Fields()
    result.state, result.tangent = state.place, NO_ARRAY if tangent is None else tangent.place
    return result


@wp.struct
class Cotangents:
    """Places of the two cotangents that go from stage to stage of a backward sweep."""

    first: Place
    second: Place


def cotangents(first: Buffer, second: Buffer) -> Cotangents:
    """Return the places of the cotangents."""
    result = Cotangents()
    result.first, result.second = first.place, second.place
    return result
