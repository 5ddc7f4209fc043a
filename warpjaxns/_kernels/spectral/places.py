"""Constants of a grid in the address table."""

from typing import NamedTuple

from ..hardware.address_table import Buffer


class Tables(NamedTuple):
    """Constants of a grid, as buffers: roots of unity along y and x, and the dealiasing filters of rows and columns.

    The filters are one array, the factors of the rows of a state before those of its columns.
    """

    roots_y: Buffer
    roots_x: Buffer
    filters: Buffer
