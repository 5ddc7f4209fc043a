"""The arrays that reverse mode keeps of a stage."""

from typing import Any, NamedTuple


class Kept(NamedTuple):
    """The inputs of all stages, and their streamfunctions, each (stages steps, B, ny, nx)."""

    states: Any
    psis: Any
