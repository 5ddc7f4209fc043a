"""Saves of a rollout: which states come back, and how the steps between them are cut into segments."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from ._adjoint import Checkpointed, Direct
from ._checks import check_count, check_flag
from ._show import show


class Run(NamedTuple):
    """A run of saves at equal distances.

    Args:
        gap: steps between two saves.
        saves: how many saves.
        length: steps of a segment.
        direct: segments before each save whose stages reverse mode keeps.
    """

    gap: int
    saves: int
    length: int
    direct: int


def check_saves(steps: Any, save_every: Any, save_at: Any, include_initial: Any) -> tuple[int, Any, bool]:
    """Return the number of steps, the saves as pairs (gap, count) or None, and whether the initial state is saved.

    Raises:
        TypeError: a count is not an integer known when tracing, or `include_initial` is not True or False.
        ValueError: the arguments do not fit each other.
    """
    check_flag("include_initial", include_initial)
    if save_at is not None:
        if save_every is not None:
            raise ValueError(f"save_at={show(save_at)} and save_every={show(save_every)}: expected one of them")
        at = _increasing("save_at", save_at)
        steps = at[-1] if steps is None else check_count("steps", steps, least=0)
        if at[-1] > steps:
            raise ValueError(f"save_at={show(save_at)} goes beyond steps={steps}: expected counts from 0 to steps")
        gaps = [after - before for before, after in itertools.pairwise((0, *at)) if after > 0]
        saves = tuple((gap, len(list(same))) for gap, same in itertools.groupby(gaps))
        return steps, saves, include_initial or at[0] == 0
    steps = check_count("steps", steps, least=0)
    if save_every is not None:
        save_every = check_count("save_every", save_every, least=1)
        if steps % save_every:
            raise ValueError(f"steps={steps} is not a multiple of save_every={save_every}")
        return steps, ((save_every, steps // save_every),), include_initial
    if include_initial:
        raise ValueError("include_initial=True needs a trajectory: pass save_every=k or save_at=(...) as well")
    return steps, None, False


def _increasing(name, values):
    """Return increasing counts as a tuple."""
    if not isinstance(values, list | tuple | range | np.ndarray) or getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name}={show(values)}: expected a tuple of increasing step counts, such as (10, 100, 1000)")
    counts = tuple(check_count(name, value, least=0) for value in values)
    if not counts or any(before >= after for before, after in itertools.pairwise(counts)):
        raise ValueError(f"{name}={show(values)}: expected increasing step counts, at least one")
    return counts


def cut(
    adjoint: Direct | Checkpointed, steps: int, saves, step_bytes: float, longest: int | None = None
) -> tuple[Run, ...]:
    """Return the saves with their segments. `longest`: about the most steps of one, where the user does not say.

    The gradient begins at the end, so the last segments keep their stages. They are divided evenly among the saves of a
    run.
    """
    lengths = [adjoint.call_length(steps, gap, longest) for gap, _ in saves]
    segments = [count * -(-gap // length) for (gap, count), length in zip(saves, lengths, strict=True)]
    kept = adjoint.direct(sum(segments), lengths[-1], step_bytes) if saves else 0
    runs = []
    for (gap, count), length, here in reversed([*zip(saves, lengths, segments, strict=True)]):
        direct = max(0, min(kept, here))
        kept -= direct
        runs.append(Run(gap, count, length, direct // max(count, 1)))
    return tuple(reversed(runs))
