"""Ensembles as configuration files, in YAML: the arguments of `Ensemble` by their names.

shape: [128, 128]
count: 64
end_time: 4.0
save_every: 50
dt: 4e-3
viscosity: 1e-4:1e-2:log                    # or {low: 1e-4, high: 1e-2, log: true}
initial: my_flows:vortices                  # a function, where Python finds the module
noise: {energy_rate: 0.1, wavenumber: 8}
scalars: [{name: salt, diffusivity: 1e-3, mean_gradient: [0, 1], buoyancy: [0, -2], initial: my_flows:layers}]
spin_up: {window: 200, limit: 4000}
discretisation: {name: spectral, integrator: rk4, dealiasing: two-thirds}
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from .._discretisation import NAMES, from_dict
from . import stored
from .ensemble import FUNCTIONS, Ensemble
from .parts import Noise, Range, Steady
from .scalars import Scalar


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Return the arguments of an `Ensemble` that a file has.

    Args:
        path: a YAML file, or a training set, whose provenance has them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, has an argument that `Ensemble` has not, or is a training set without provenance.
    """
    path = Path(path)
    if path.suffix in (".hdf5", ".h5"):
        values = stored.read(path).provenance.get("ensemble")
        if values is None:
            raise ValueError(f"{path} does not say how it was made: generate has not written it")
    else:
        import yaml

        try:
            values = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected the arguments of Ensemble by their names, such as 'count: 64'")
    return arguments_of(values)


def write_config(path: str | os.PathLike, ensemble: Ensemble) -> None:
    """Write the arguments of an ensemble as YAML, for `read_config` and ``warpjaxns generate --config``."""
    import yaml

    Path(path).write_text(yaml.safe_dump(ensemble.as_dict(), sort_keys=False, default_flow_style=None))


def arguments_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an `Ensemble` from what JSON or YAML can hold, as `Ensemble.as_dict` makes them.

    Raises:
        ValueError: a name is unknown, or a value cannot be understood.
    """
    known = {field.name for field in dataclasses.fields(Ensemble)}
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{unknown[0]}: Ensemble has no such argument; it has {', '.join(sorted(known))}")
    return {name: _value(name, value) for name, value in values.items()}


def _value(name, value):
    kinds = {"noise": Noise, "spin_up": Steady, "discretisation": from_dict, "scalars": Scalar}
    if isinstance(value, dict):
        kind = kinds.get(name, Range)
        try:
            parts = {key: _value(key, part) for key, part in value.items()}
            return kind(parts) if kind is from_dict else kind(**parts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name}={value!r} cannot be understood: {error}") from error
    if name == "discretisation" and value in NAMES:
        return NAMES[value]()
    if isinstance(value, list):
        return tuple(_value(name, part) for part in value)
    if isinstance(value, str) and name not in FUNCTIONS:
        low, *rest = value.split(":")
        if rest:
            try:
                return Range(float(low), float(rest[0]), rest[1:] == ["log"])
            except ValueError as error:
                raise ValueError(f"{name}={value!r}: expected LOW:HIGH or LOW:HIGH:log ({error})") from error
    return _number(value)


def _number(value):
    """Return text that is a number as one: YAML 1.1 takes 1e-3, without a point, for text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
