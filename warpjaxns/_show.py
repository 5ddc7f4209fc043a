"""Values in error messages."""

import reprlib
from collections.abc import Callable
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 100


def show(value: Any, form: Callable[[Any], str] = _short.repr) -> str:
    """Return `value` on one short line, as its repr or another `form`. Its type stands for it if that fails."""
    try:
        text = " ".join(form(value).split())
    except Exception:  # a repr may raise anything, and must not hide the message
        return f"<{type(value).__name__}>"
    return text if len(text) <= 120 else f"{text[:117]}..."
