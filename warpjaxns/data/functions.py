"""Functions of a user in an ensemble, which a file records by their names."""

import importlib
import inspect
import zlib
from collections.abc import Callable
from typing import Any


def check_function(name: str, value: Any) -> Callable:
    """Return the function that is given, or named as ``"module:function"``.

    Raises:
        TypeError: it is neither.
        ValueError: it cannot be found again by its name, as a lambda or a function inside another one.
    """
    if isinstance(value, str) and ":" in value:
        return resolve(name, value)
    if not callable(value):
        raise TypeError(f"{name}={value!r}: expected a function, or the name of one as 'module:function'")
    try:
        found = resolve(name, name_of(value))
    except (ValueError, AttributeError):
        found = None
    if found is not value:
        raise ValueError(
            f"{name}={value!r}: expected a function at the top of a module, so that a file can say which one it was"
        )
    return value


def resolve(name: str, place: str) -> Callable:
    """Return the function at ``module:function``.

    Raises:
        ValueError: there is none.
    """
    module, _, function = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name}={place!r}: there is no such function ({error})") from error
    if not callable(found):
        raise ValueError(f"{name}={place!r}: expected a function")
    return found


def name_of(function: Callable) -> str:
    """Return ``module:function``."""
    return f"{function.__module__}:{function.__qualname__}"


def checksum(function: Callable) -> str:
    """Return the CRC-32 of the source of a function, or "unknown" where there is none."""
    try:
        return f"{zlib.crc32(inspect.getsource(function).encode()):08x}"
    except (OSError, TypeError):
        return "unknown"
