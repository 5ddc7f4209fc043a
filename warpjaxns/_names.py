"""Names of programs: hashes of their content, equal in every process.

JAX stores compiled programs on disk, exports them, and finds their foreign calls again by name. A running number would
name another program in another process.
"""

import dataclasses
import hashlib
from typing import Any

import warp as wp

from ._version import VERSION


def name_of(value: Any) -> str:
    """Return a name for `value`. Names are equal for equal values and only for these, in any process.

    The versions of this package and of Warp are part of the name.

    Raises:
        TypeError: part of `value` is neither plain data, a dataclass, a type, nor a Warp kernel.
    """
    return hashlib.sha256(f"{VERSION} {wp.__version__} {_describe(value)}".encode()).hexdigest()[:32]


def _describe(value):
    if value is None or isinstance(value, str | int | float | bytes):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_describe, value))})"
    if isinstance(value, wp.Kernel):
        return f"{value.key} of {value.module.get_module_hash().hex()}"
    if isinstance(value, type):  # Warp's types of vectors and matrices share a name
        parts = getattr(value, "_wp_scalar_type_", None), getattr(value, "_shape_", None)
        return f"{value.__name__}{_describe(parts) if parts[0] else ''}"
    if dataclasses.is_dataclass(value):
        fields = (f for f in dataclasses.fields(value) if f.compare)
        return f"{type(value).__name__}({', '.join(f'{f.name}={_describe(getattr(value, f.name))}' for f in fields)})"
    raise TypeError(f"{value!r} of type {type(value).__name__} has no name that another process would give it too")
