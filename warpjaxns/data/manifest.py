"""The manifest: all that the bytes of a file follow from."""

import os
import platform
import zlib
from importlib.metadata import version
from typing import Any

from .._version import VERSION
from .ensemble import Ensemble


def manifest(ensemble: Ensemble, device: Any) -> dict[str, dict[str, Any]]:
    """Return the ensemble, and the software and device that compute and write it.

    Random numbers follow from the ensemble alone: see `warpjaxns.data.drawing.drawing`.
    """
    import h5py

    names = ("jax", "jaxlib", "warp-lang", "equinox", "numpy", "h5py")
    flags = os.environ.get("XLA_FLAGS", "")  # they decide what a compiler makes of the last bits
    software = {
        "warpjaxns": VERSION,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "hdf5": h5py.version.hdf5_version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "device": device.device_kind,
        **({"XLA_FLAGS": flags} if flags else {}),
        **{f"source of {name}": checksum for name, checksum in ensemble.functions.items()},
    }
    return {"ensemble": ensemble.as_dict(), "software": software}


def differences(old: dict, new: dict) -> list[str]:
    """Return the entries in which two manifests differ, as ``name: old, now new``."""
    out = []
    for part in ("ensemble", "software"):
        before, now = old.get(part, {}), new.get(part, {})
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                out.append(f"{name}: {_shown(before.get(name))}, now {_shown(now.get(name))}")
    return out


def _shown(value):
    if isinstance(value, dict) and "name" in value:  # a discretisation
        name, *options = value.values()
        return f"{name} ({', '.join(options)})"
    if isinstance(value, dict) and "low" not in value:  # noise, or a spin-up
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, dict):  # a Range
        return f"{value['low']} to {value['high']}{' (log)' if value['log'] else ''}"
    return value
