"""Statistics of fields, as The Well has them in its ``stats.yaml``, and what they are for: normalisation.

For each field: `mean`, `std` and `rms` of its values, and of the differences from one frame to the next `mean_delta`,
`std_delta` and `rms_delta`. They are taken over all trajectories, frames and points, for each component of a vector.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .chunks import Chunks

NORMALISATIONS = ("standard", "rms")
NAMES = ("mean", "std", "rms", "mean_delta", "std_delta", "rms_delta")
Statistics = dict[str, dict[str, float | list[float]]]


class Sums:
    """Running sums of the frames of one trajectory: of values, squares, differences and their squares.

    Args:
        axes: the axes of a block of frames to sum over, the first of which is time.
    """

    def __init__(self, axes: tuple[int, ...]):
        self._axes, self._last = axes, None
        self.totals = np.zeros(4)

    def add(self, frames: np.ndarray) -> None:
        """Add the frames that follow those added before."""
        values = frames.astype(np.float64)
        before = values[:1] if self._last is None else self._last
        steps = np.diff(values, axis=0, prepend=before)
        sums = np.stack([np.sum(part, self._axes) for part in (values, values**2, steps, steps**2)])
        self.totals = sums if self._last is None else self.totals + sums
        self._last = values[-1:]


def statistics(sums: Sequence[Any], frames: int, points: int) -> dict[str, float | list[float]]:
    """Return the statistics of a field from the `Sums.totals` of each trajectory, ``(4,)`` or ``(4, components)``."""
    every = np.array(sums)
    totals = np.apply_along_axis(math.fsum, 0, every)  # does not depend on how members were batched
    counts = len(every) * points * np.array([frames, max(frames - 1, 1)])
    found = {}
    for suffix, count, (first, second) in zip(("", "_delta"), counts, (totals[:2], totals[2:]), strict=True):
        mean, square = first / count, second / count
        found |= {f"mean{suffix}": mean, f"std{suffix}": np.sqrt(np.maximum(square - mean**2, 0))}
        found[f"rms{suffix}"] = np.sqrt(square)
    return {name: found[name].tolist() for name in NAMES}


def of_chunks(chunks: "Chunks") -> Statistics:
    """Return the statistics of all fields of a file, which is read once."""
    from .chunks import Block, block_length

    stored, found = chunks.stored, {}
    frames, (ny, nx) = len(stored.time), stored.grid.shape
    for name, field in stored.fields.items():
        totals = []
        for row in range(len(stored.members)):
            sums = Sums((0, 2, 3) if field.vector else (0, 1, 2))
            for number in range(-(-frames // block_length(field))):
                sums.add(chunks.read(Block(name, row, number)))
            totals.append(sums.totals)
        if totals:
            found[name] = statistics(totals, frames, ny * nx)
    return found


def scaling(found: Statistics, fields: Sequence[str], by: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return what to subtract from each field, and what to divide by, with axes to broadcast over y and x.

    A scale of zero, such as that of a fluid at rest, is one.
    """
    out = {}
    for name in fields:
        mean, std, rms = (np.asarray(found[name][key], np.float32)[..., None, None] for key in ("mean", "std", "rms"))
        shift, scale = (mean, std) if by == "standard" else (np.zeros_like(mean), rms)
        out[name] = shift, np.where(scale > 0, scale, np.float32(1))
    return out


def write_yaml(path: Path, found: Statistics) -> None:
    """Write statistics as The Well's ``stats.yaml``."""
    lines = []
    for key in NAMES:
        lines.append(f"{key}:")
        for name, values in found.items():
            value = values[key]
            shown = f"[{', '.join(map(_number, value))}]" if isinstance(value, list) else _number(value)
            lines.append(f"  {name}: {shown}")
    path.write_text("\n".join(lines) + "\n")


def _number(value):
    return f"{value:.17e}"  # YAML 1.1 takes 1e-05, without a point, for text
