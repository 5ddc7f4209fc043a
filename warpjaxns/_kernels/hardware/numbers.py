"""Real and complex number types: their names in Warp and in native code."""

import warp as wp

REALS = {"float32": wp.float32, "float64": wp.float64}


def complex_type(real):
    """Return the 2-vector that stands for a complex number."""
    return wp.vec2d if real is wp.float64 else wp.vec2f


def c_name(real) -> str:
    """Return the name of a real type in C++."""
    return "double" if real is wp.float64 else "float"
